//! Certificates: who a machine is, who says so, and whom it lets in.
//!
//! Each organisation has a root and under it two intermediates, one for gateways and one for connectors. The
//! ends trust the other kind's *intermediate*, not the root: under the root only the extended key usage would
//! keep one role from playing the other.
//!
//! - [`identity`] — the one parser for all kinds of names, carried as a URI in the subject alternative name.
//! - [`issue`] — makes roots, intermediates and leaves; deterministic for given keys (Ed25519), serials,
//!   dates.
//! - [`leaf`] — what a verified leaf says: identity, permitted targets, end of validity.
//! - [`verify`] — what each side checks before it believes the other.
//! - [`tls`] — the TLS 1.3 configurations that QUIC runs on.
//! - [`explain()`] — sentences for people.
//!
//! No file is read here: PEM and DER come in as bytes.

mod explain;
pub mod identity;
pub mod issue;
pub mod key;
pub mod leaf;
pub mod pem;
mod targets;
pub mod tls;
pub mod verify;

pub use explain::{explain, explain_alert, refuses_certificate};
pub use identity::{Identity, Name, Role, TrustDomain};
pub use issue::{Authority, AuthorityInfo, Office, Serial, Terms};
pub use key::{Key, KeyKind, PublicKey};
pub use leaf::PeerInfo;
pub use targets::{BadTargets, MAX_TARGETS};
pub use tls::{Anchors, Certified};
pub use verify::{Expected, Refused};

#[cfg(test)]
mod tests;
