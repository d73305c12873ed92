//! What the platform does on somebody else's PostgreSQL, as an admin user that is no superuser.

mod server;
mod sessions;
