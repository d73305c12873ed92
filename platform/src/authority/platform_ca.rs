//! The platform CA: it signs the certificates of the API and of relays, and is pinned on first contact.

use std::time::Duration;

use adit_core::pki::{Key, KeyKind, PublicKey, ServerAuthority, pem};
use adit_core::time::UnixTime;
use rustls_pki_types::CertificateDer;
use sqlx::{AnyConnection, AnyExecutor};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::issue::{Issued, hex, record};
use super::{AuthorityError, ROOT_LIFE, only_certificate, open_key, seal_key, terms};
use crate::store::{Change, Store, StoreError, of_row, setting, settings};
use crate::trust::pin;
use crate::trust::token::Pin;

/// The setting with its certificate, PEM.
const CERTIFICATE: &str = "platform-ca";
/// The setting with its key, sealed.
const KEY: &str = "platform-ca-key";

/// A server's key and certificate, made together.
#[derive(Debug)]
pub struct Server {
    /// The private key.
    pub key: Key,
    /// The certificate and its authority's, PEM.
    pub chain: String,
    /// The last second of its validity.
    pub not_after: u64,
}

/// Makes it, in the change that makes the installation.
///
/// # Errors
/// [`AuthorityError`].
pub async fn found(change: &mut Change) -> Result<(), AuthorityError> {
    let key = Key::generate(KeyKind::EcdsaP256);
    let name = change.store().installation().trust_domain.clone();
    let authority = ServerAuthority::new(&name, &key, terms(of_row(change.now()), ROOT_LIFE))?;
    let sealed = seal_key(change.store().sealer(), &setting(KEY), &key);
    let certificate = pem::encode_certificates([authority.certificate()]);
    settings::set(change.connection(), CERTIFICATE, &certificate).await?;
    settings::set(change.connection(), KEY, &sealed).await?;
    Ok(())
}

/// Its certificate, PEM.
///
/// # Errors
/// Those of the database.
pub async fn certificate(executor: impl AnyExecutor<'_>) -> Result<String, StoreError> {
    settings::need(executor, CERTIFICATE).await
}

/// Its pin, for tokens of first contact.
///
/// # Errors
/// Those of the database.
pub async fn its_pin(executor: impl AnyExecutor<'_>) -> Result<Pin, AuthorityError> {
    let certificate = only_certificate(&certificate(executor).await?)?;
    let pin = pin::of(&certificate);
    pin.ok_or_else(|| StoreError::Corrupt("the platform CA is no certificate".to_owned()).into())
}

/// A new key and a certificate for a server of the installation itself, that of the API, which answers at `hosts`:
/// addresses, or names.
///
/// # Errors
/// [`AuthorityError`].
pub async fn serve(store: &Store, hosts: &[String], life: Duration) -> Result<Server, AuthorityError> {
    let key = Key::generate(KeyKind::EcdsaP256);
    let mut connection = store.reader().acquire().await?;
    let (leaf, authority) = issue(&mut connection, store, hosts, &key.public(), life).await?;
    let chain = pem::encode_certificates([&leaf, authority.certificate()]);
    let (_, not_after) = serial_and_end(&leaf)?;
    Ok(Server { key, chain, not_after })
}

/// Issues to the relay `relay` (its id), which answers at `hosts`, and records it.
///
/// # Errors
/// [`AuthorityError`].
pub async fn relay(
    change: &mut Change,
    relay: &str,
    hosts: &[String],
    key: &PublicKey,
    life: Duration,
) -> Result<Issued, AuthorityError> {
    let store = change.store().clone();
    let (leaf, authority) = issue(change.connection(), &store, hosts, key, life).await?;
    let chain = pem::encode_certificates([&leaf, authority.certificate()]);
    let (serial, not_after) = serial_and_end(&leaf)?;
    let subject = hosts.first().cloned().unwrap_or_default();
    let issued = Issued { chain, serial, not_after, subject };
    record(change, relay, &issued).await?;
    Ok(issued)
}

async fn issue(
    connection: &mut AnyConnection,
    store: &Store,
    hosts: &[String],
    key: &PublicKey,
    life: Duration,
) -> Result<(CertificateDer<'static>, ServerAuthority), AuthorityError> {
    let certificate = only_certificate(&certificate(&mut *connection).await?)?;
    let sealed = settings::need(&mut *connection, KEY).await?;
    let own = open_key(store.sealer(), &setting(KEY), &sealed)?;
    let authority = ServerAuthority::load(certificate, &own)?;
    let mut terms = terms(store.clock().now(), life);
    terms.not_after = terms.not_after.min(authority.not_after());
    Ok((authority.issue(hosts, key, terms)?, authority))
}

fn serial_and_end(leaf: &CertificateDer<'_>) -> Result<(String, u64), AuthorityError> {
    let parsed = X509Certificate::from_der(leaf);
    let (_, parsed) = parsed.map_err(|_| StoreError::Corrupt("a new certificate is none".to_owned()))?;
    let UnixTime(end) = UnixTime(of_row(parsed.validity().not_after.timestamp()));
    Ok((hex(parsed.raw_serial()), end))
}
