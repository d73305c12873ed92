//! The API's certificate: the platform CA's, renewed at half its life, or a file's, read again when it changes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_core::pki::{Key, pem};
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::CertificateDer;
use tokio::sync::Notify;

use super::StartError;
use crate::authority::platform_ca;
use crate::config::TlsFiles;
use crate::store::Store;

/// Where the certificate comes from.
#[derive(Debug)]
enum Source {
    Files(TlsFiles),
    PlatformCa { hosts: Vec<String>, life: Duration },
}

/// The configuration that new connections are served with, and what it was made from.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) config: RustlsConfig,
    source: Source,
    store: Store,
    seen: Seen,
}

/// What decides whether it is time for another certificate.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// When the files were last changed.
    Files(Option<SystemTime>, Option<SystemTime>),
    /// From when on a certificate of the platform CA is renewed, in unix seconds.
    RenewAt(u64),
}

impl Tls {
    /// A certificate from `files`, or one of the platform CA for `hosts`, which lives for `life`.
    pub(super) async fn load(
        store: &Store,
        files: Option<&TlsFiles>,
        hosts: Vec<String>,
        life: Duration,
    ) -> Result<Self, StartError> {
        let source = match files {
            Some(files) => Source::Files(files.clone()),
            None => Source::PlatformCa { hosts, life },
        };
        let (config, seen) = source.read(store).await?;
        Ok(Self { config: RustlsConfig::from_config(config), source, store: store.clone(), seen })
    }

    /// Keeps the certificate fresh: looks every `interval`, and at once where `reload` is rung.
    pub(super) async fn keep_fresh(mut self, interval: Duration, reload: Arc<Notify>) {
        loop {
            let asked = tokio::time::timeout(interval, reload.notified()).await.is_ok();
            if !asked && !self.is_stale().await {
                continue;
            }
            match self.source.read(&self.store).await {
                Ok((config, seen)) => {
                    self.config.reload_from_config(config);
                    self.seen = seen;
                    tracing::info!("the API has a new certificate");
                }
                // The old one serves on.
                Err(error) => tracing::warn!(%error, "the API's certificate can't be renewed now"),
            }
        }
    }

    async fn is_stale(&self) -> bool {
        match (&self.source, &self.seen) {
            (Source::Files(files), seen) => *seen != times(files).await,
            (Source::PlatformCa { .. }, Seen::RenewAt(at)) => self.store.clock().now() >= *at,
            (Source::PlatformCa { .. }, Seen::Files(..)) => true,
        }
    }
}

impl Source {
    async fn read(&self, store: &Store) -> Result<(Arc<ServerConfig>, Seen), StartError> {
        match self {
            Self::Files(files) => {
                // The times first: what changes while it is read is read again.
                let seen = times(files).await;
                let chain = pem::certificates(&read(&files.certificate).await?)
                    .map_err(|error| StartError::Tls(files.certificate.clone(), error.to_string()))?;
                let key = Key::from_pem(&read(&files.key).await?)
                    .map_err(|error| StartError::Tls(files.key.clone(), error.to_string()))?;
                let config = server_config(chain, &key);
                let mismatch =
                    |error: rustls::Error| StartError::Tls(files.certificate.clone(), error.to_string());
                Ok((config.map_err(mismatch)?, seen))
            }
            Self::PlatformCa { hosts, life } => {
                let server = platform_ca::serve(store, hosts, *life).await?;
                let chain = pem::certificates(server.chain.as_bytes()).expect("the authority writes PEM");
                let config =
                    server_config(chain, &server.key).expect("the authority's leaf is for the key beside it");
                let now = store.clock().now();
                Ok((config, Seen::RenewAt(now + server.not_after.saturating_sub(now) / 2)))
            }
        }
    }
}

fn server_config(chain: Vec<CertificateDer<'static>>, key: &Key) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key.der().clone_key())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    tokio::fs::read(path).await.map_err(|error| StartError::Tls(path.to_owned(), error.to_string()))
}

async fn times(files: &TlsFiles) -> Seen {
    let [certificate, key] = [&files.certificate, &files.key].map(|path| async move {
        tokio::fs::metadata(path).await.and_then(|metadata| metadata.modified()).ok()
    });
    Seen::Files(certificate.await, key.await)
}
