//! Certificates: who a machine is, who says so, and whom it lets in.
//!
//! Each organisation has a root and under it two intermediates, one for gateways and one for connectors. The
//! ends trust the other kind's *intermediate*, not the root: under the root only the extended key usage would
//! keep one role from playing the other.
//!
//! - [`identity`] — the one parser for all kinds of names, carried as a URI in the subject alternative name.
//! - [`issue`] — makes roots, intermediates and leaves; deterministic for given keys (Ed25519), serials,
//!   dates.
//! - [`server`] — the installation's own authority, for its API and for relays.
//! - [`leaf`] — what a verified leaf says: identity, permitted targets, end of validity.
//! - [`revoked`] — whom to believe no more, although the certificate says otherwise.
//! - [`verify`] — what each side checks before it believes the other.
//! - [`tls`] — the TLS 1.3 configurations that QUIC runs on.
//! - [`explain()`] — sentences for people.
//!
//! No file is read here: PEM and DER come in as bytes.
//!
//! ```
//! use adit_core::pki::{Anchors, Authority, Certified, Expected, Identity, Key, KeyKind, Name, Office, Role};
//! use adit_core::pki::{Serial, Terms, TrustDomain, tls};
//! use adit_core::time::{UnixTime, WallCell};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let terms = |serial| Terms { serial: Serial::new(serial), not_before: UnixTime(0), not_after: UnixTime(1_000_000) };
//!
//! // What `adit ca new` and `adit ca issue` do. `terms` gives serial numbers and dates.
//! let (organisation, domain): (Name, TrustDomain) = ("acme".parse()?, "adit.local".parse()?);
//! let key = || Key::generate(KeyKind::EcdsaP256);
//! let root = Authority::root(organisation.clone(), domain.clone(), &key(), terms(1))?;
//! let gateways = root.intermediate(Office::Gateway, &key(), terms(2))?;
//! let connectors = root.intermediate(Office::Connector, &key(), terms(3))?;
//! let own = key();
//! let role = Role::Gateway { gateway: "gw-1".parse()?, instance: Name::zero() };
//! let leaf = gateways.issue(role, None, &own.public(), terms(4))?;
//!
//! // A gateway trusts those who issue to connectors, and shows its chain.
//! let own = Certified::new(vec![leaf, gateways.certificate().clone()], own)?;
//! let trusted = Anchors::new(&[connectors.certificate().clone()])?;
//! let expected = Expected { organisation, trust_domain: domain };
//! let config = tls::server_config(&own, trusted, expected, &[b"adit/1"], WallCell::default())?;
//! assert_eq!(own.identity().to_string(), "spiffe://adit.local/org/acme/gateway/gw-1/0");
//! # Ok(())
//! # }
//! ```

mod explain;
pub mod identity;
pub mod issue;
pub mod key;
pub mod leaf;
pub mod pem;
pub mod revoked;
pub mod server;
mod targets;
pub mod tls;
pub mod verify;

pub use explain::{explain, explain_alert, refuses_certificate};
pub use identity::{Identity, Name, Role, TrustDomain};
pub use issue::{Authority, AuthorityInfo, Office, Serial, Terms};
pub use key::{Key, KeyKind, PublicKey};
pub use leaf::PeerInfo;
pub use revoked::Revoked;
pub use server::ServerAuthority;
pub use targets::{BadTargets, MAX_TARGETS};
pub use tls::{Anchors, Certified};
pub use verify::{Expected, Refused};

#[cfg(test)]
mod tests;
