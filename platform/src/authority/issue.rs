//! Leaves of an organisation. Each is recorded with the change that it is issued in, so that it can be revoked.

use std::time::Duration;

use adit_core::pki::issue::IssueError;
use adit_core::pki::{Identity, Name, Office, PeerInfo, PublicKey, Role, pem};
use adit_core::time::UnixTime;
use rustls_pki_types::CertificateDer;

use super::{AuthorityError, in_office, terms};
use crate::store::{Change, StoreError, of_row, to_row};

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The leaf and its intermediate, PEM.
    pub chain: String,
    /// The leaf's serial number, in hex.
    pub serial: String,
    /// The last second of its validity.
    pub not_after: u64,
    /// Whom it names: a SPIFFE id; of a relay or the API the first host.
    pub subject: String,
}

/// Issues to the instance `instance` of the gateway `gateway` (its name), for `life`.
///
/// # Errors
/// [`AuthorityError`].
pub async fn gateway(
    change: &mut Change,
    gateway: &str,
    instance: &str,
    key: &PublicKey,
    life: Duration,
) -> Result<Issued, AuthorityError> {
    let role = Role::Gateway { gateway: gateway.parse()?, instance: instance.parse()? };
    issue(change, Office::Gateway, instance, role, None, key, life).await
}

/// Issues to a person, whose identity has this id and this name, for exactly these `targets`: 1 to 64.
///
/// # Errors
/// [`AuthorityError`].
pub async fn person(
    change: &mut Change,
    identity: &str,
    name: &str,
    targets: &[String],
    key: &PublicKey,
    life: Duration,
) -> Result<Issued, AuthorityError> {
    let role = Role::Person { identity: name.parse()? };
    issue(change, Office::Connector, identity, role, Some(targets), key, life).await
}

/// Issues to the platform instance `instance`, as a connector of the change's organisation.
///
/// # Errors
/// [`AuthorityError`].
pub async fn platform(
    change: &mut Change,
    instance: &str,
    key: &PublicKey,
    life: Duration,
) -> Result<Issued, AuthorityError> {
    let role = Role::Platform { instance: instance.parse()? };
    issue(change, Office::Connector, instance, role, None, key, life).await
}

/// The SPIFFE id of who is `role` in the organisation with this name.
///
/// # Errors
/// [`AuthorityError::Name`].
pub fn spiffe(trust_domain: &str, organisation: &str, role: Role) -> Result<String, AuthorityError> {
    let organisation: Name = organisation.parse()?;
    Ok(Identity { trust_domain: trust_domain.parse()?, organisation, role }.to_string())
}

async fn issue(
    change: &mut Change,
    office: Office,
    holder: &str,
    role: Role,
    targets: Option<&[String]>,
    key: &PublicKey,
    life: Duration,
) -> Result<Issued, AuthorityError> {
    let authority = in_office(change, office).await?;
    let mut terms = terms(of_row(change.now()), life);
    terms.not_after = terms.not_after.min(authority.info().not_after);
    let leaf = authority.issue(role, targets, key, terms)?;
    let issued = read(&leaf, authority.certificate())?;
    record(change, holder, &issued).await?;
    Ok(issued)
}

fn read(leaf: &CertificateDer<'_>, above: &CertificateDer<'_>) -> Result<Issued, AuthorityError> {
    let info = PeerInfo::from_leaf(leaf).map_err(|_| IssueError::Signature)?;
    let UnixTime(not_after) = info.not_after;
    let chain = pem::encode_certificates([leaf, above]);
    Ok(Issued { chain, serial: hex(&info.serial), not_after, subject: info.identity.to_string() })
}

/// Bytes in hex, as serial numbers are written everywhere.
pub fn hex(bytes: &[u8]) -> String {
    crate::store::audit::hex(bytes)
}

pub(super) async fn record(change: &mut Change, holder: &str, issued: &Issued) -> Result<(), StoreError> {
    let statement = "INSERT INTO certificates (serial, organisation, holder, subject, not_after, issued_at) \
                     VALUES ($1, $2, $3, $4, $5, $6)";
    let insert = sqlx::query(statement)
        .bind(&issued.serial)
        .bind(change.organisation().to_owned())
        .bind(holder)
        .bind(&issued.subject)
        .bind(to_row(issued.not_after))
        .bind(change.now());
    insert.execute(change.connection()).await?;
    Ok(())
}
