//! Dynamic secrets at scale: many leases at once through gateway and relay, and lives of leases during which every part
//! crashes at random. The admin user on the server is no superuser.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod crashes;
mod scale;
mod world;
