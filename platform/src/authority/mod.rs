//! Authorities: who issues certificates, to whom, and whom everybody believes.
//!
//! - Each organisation has a root and under it one intermediate for gateways and one for connectors ([`found`]). Their
//!   keys lie sealed in the store. The intermediates are the anchors that the other ends trust ([`anchors`]).
//! - [`issue`] makes leaves, and records each with the caller's change.
//! - [`rollover`] announces a new intermediate before it issues, and keeps the old one for one leaf's life.
//! - [`platform_ca`] is the installation's own, for its API and its relays.
//! - [`csr`] judges requests.

pub mod csr;
pub mod issue;
pub mod platform_ca;
pub mod rollover;

use std::time::Duration;

use adit_core::pki::identity::BadName;
use adit_core::pki::issue::{IssueError, LoadError};
use adit_core::pki::key::BadKey;
use adit_core::pki::{Authority, Key, KeyKind, Name, Office, Serial, Terms, TrustDomain, pem};
use adit_core::time::UnixTime;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sqlx::{Any, AnyConnection, AnyExecutor};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::store::{Change, StoreError, of_row, to_row};
use crate::trust::seal::{Place, Sealer};
use crate::trust::{random, random_id};

/// Life of a root.
const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// Life of an intermediate.
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);

/// The most anchors of one kind that are given out.
const MAX_ANCHORS: i64 = 8;

/// Why an authority did not do what was asked.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// There is none that issues now.
    #[error("the organisation has no {0} authority that may issue now")]
    None(&'static str),
    /// The certificate can't be made as it is asked for.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The request for it is refused.
    #[error(transparent)]
    Request(#[from] csr::BadRequest),
    /// A name is none that a certificate can carry.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LoadError> for AuthorityError {
    fn from(error: LoadError) -> Self {
        Self::Store(StoreError::Corrupt(error.to_string()))
    }
}

impl From<BadKey> for AuthorityError {
    fn from(error: BadKey) -> Self {
        Self::Store(StoreError::Corrupt(format!("an authority's key: {error}")))
    }
}

impl From<sqlx::Error> for AuthorityError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Makes the root and the intermediates of the new organisation `id`, in the change that makes it.
///
/// # Errors
/// [`AuthorityError::Name`] where certificates can't carry `name`; those of the store.
pub async fn found(change: &mut Change, id: &str, name: &str) -> Result<(), AuthorityError> {
    let now = of_row(change.now());
    let root = new_root(change, id, name).await?;
    for office in [Office::Gateway, Office::Connector] {
        add_intermediate(change, id, &root, office, now).await?;
    }
    Ok(())
}

/// Whom the organisation's ends trust as the holders of `office`, PEM: what issues now, what will, and what issued to
/// somebody whose certificate may still be valid. The newest first.
///
/// # Errors
/// Those of the database.
pub async fn anchors(
    executor: impl AnyExecutor<'_>,
    organisation: &str,
    office: Office,
    now: u64,
) -> Result<String, StoreError> {
    let statement = "SELECT certificate FROM authorities WHERE organisation = $1 AND office = $2 \
                     AND trusted_until > $3 ORDER BY used_from DESC, id LIMIT $4";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(organisation).bind(word(office));
    Ok(query.bind(to_row(now)).bind(MAX_ANCHORS).fetch_all(executor).await?.concat())
}

/// [`anchors`] of gateways: whom connectors trust.
///
/// # Errors
/// Those of the database.
pub async fn gateway_anchors(
    executor: impl AnyExecutor<'_>,
    organisation: &str,
    now: u64,
) -> Result<String, StoreError> {
    anchors(executor, organisation, Office::Gateway, now).await
}

/// [`anchors`] of connectors: whom gateways trust.
///
/// # Errors
/// Those of the database.
pub async fn connector_anchors(
    executor: impl AnyExecutor<'_>,
    organisation: &str,
    now: u64,
) -> Result<String, StoreError> {
    anchors(executor, organisation, Office::Connector, now).await
}

async fn new_root(change: &mut Change, id: &str, name: &str) -> Result<Authority, AuthorityError> {
    let now = of_row(change.now());
    let (name, domain): (Name, TrustDomain) = (name.parse()?, trust_domain(change)?);
    let key = Key::generate(KeyKind::EcdsaP256);
    let root = Authority::root(name, domain, &key, terms(now, ROOT_LIFE))?;
    insert(change, id, &root, &key, now).await?;
    Ok(root)
}

/// An intermediate that issues from `used_from` on.
async fn add_intermediate(
    change: &mut Change,
    organisation: &str,
    root: &Authority,
    office: Office,
    used_from: u64,
) -> Result<(), AuthorityError> {
    let key = Key::generate(KeyKind::EcdsaP256);
    let mut terms = terms(of_row(change.now()), INTERMEDIATE_LIFE);
    terms.not_after = terms.not_after.min(root.info().not_after);
    let intermediate = root.intermediate(office, &key, terms)?;
    insert(change, organisation, &intermediate, &key, used_from).await
}

async fn insert(
    change: &mut Change,
    organisation: &str,
    authority: &Authority,
    key: &Key,
    used_from: u64,
) -> Result<(), AuthorityError> {
    let (id, not_after) = (random_id(), to_row(authority.info().not_after.0));
    let sealed = seal_key(change.store().sealer(), &key_place(organisation, &id), key);
    let statement = "INSERT INTO authorities \
        (id, organisation, office, certificate, sealed_key, created_at, not_after, used_from, trusted_until) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let insert = sqlx::query(statement)
        .bind(&id)
        .bind(organisation)
        .bind(word(authority.info().office))
        .bind(pem::encode_certificates([authority.certificate()]))
        .bind(sealed)
        .bind(change.now())
        .bind(not_after)
        .bind(to_row(used_from))
        .bind(not_after);
    insert.execute(change.connection()).await?;
    Ok(())
}

/// The authority of `office` that issues now.
async fn in_office(change: &mut Change, office: Office) -> Result<Authority, AuthorityError> {
    let (sealer, organisation) = (change.store().clone(), change.organisation().to_owned());
    let now = change.now();
    load(change.connection(), sealer.sealer(), &organisation, office, now).await
}

async fn load(
    connection: &mut AnyConnection,
    sealer: &Sealer,
    organisation: &str,
    office: Office,
    now: i64,
) -> Result<Authority, AuthorityError> {
    let statement = "SELECT id, certificate, sealed_key FROM authorities WHERE organisation = $1 AND office = $2 \
                     AND used_from <= $3 AND trusted_until > $3 ORDER BY used_from DESC, id LIMIT 1";
    let query = sqlx::query_as::<Any, (String, String, String)>(statement);
    let query = query.bind(organisation).bind(word(office)).bind(now);
    let found = query.fetch_optional(connection).await?;
    let (id, certificate, sealed) = found.ok_or(AuthorityError::None(word(office)))?;
    let key = open_key(sealer, &key_place(organisation, &id), &sealed)?;
    Ok(Authority::load(only_certificate(&certificate)?, &key)?)
}

fn trust_domain(change: &Change) -> Result<TrustDomain, AuthorityError> {
    Ok(change.store().installation().trust_domain.parse()?)
}

/// From now on, for `life`, with a number of its own.
fn terms(now: u64, life: Duration) -> Terms {
    Terms::new(Serial::new(u128::from_be_bytes(random())), UnixTime(now), life)
}

fn word(office: Office) -> &'static str {
    match office {
        Office::Root => "root",
        Office::Gateway => "gateway",
        Office::Connector => "connector",
    }
}

fn key_place<'a>(organisation: &'a str, row: &'a str) -> Place<'a> {
    Place { organisation, table: "authorities", row, column: "sealed_key" }
}

fn seal_key(sealer: &Sealer, place: &Place<'_>, key: &Key) -> String {
    sealer.seal(place, key.der().secret_der())
}

fn open_key(sealer: &Sealer, place: &Place<'_>, sealed: &str) -> Result<Key, AuthorityError> {
    let secret: Zeroizing<Vec<u8>> = sealer.open(place, sealed).map_err(StoreError::from)?;
    Ok(Key::from_der(PrivateKeyDer::Pkcs8(secret.to_vec().into()))?)
}

fn only_certificate(text: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    let found = pem::certificates(text.as_bytes()).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    found.into_iter().next().ok_or_else(|| StoreError::Corrupt("a certificate is missing".to_owned()).into())
}

#[cfg(test)]
mod tests;
