//! An instance over real HTTPS.

use std::net::Ipv4Addr;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::client::{Client, Trust};
use crate::init::{Options, init};

/// A platform that was made and has not been started, and the token of its operator.
async fn made() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new("https://127.0.0.1:1", "acme");
    let init = init(directory.path(), &options, Clock::system()).await.unwrap();
    (directory, init.operator_token.to_string())
}

fn config(directory: &TempDir) -> Config {
    let mut config = Config::new(directory.path().to_owned(), (Ipv4Addr::LOCALHOST, 0).into());
    config.times.grace = Duration::from_secs(2);
    config
}

fn client(platform: &Platform, token: &str) -> Client {
    let trust = Trust::Pinned(platform.app().pin.unwrap());
    let domain = platform.address().to_string().parse().unwrap();
    Client::new(domain, &trust).unwrap().with_token(token)
}

#[tokio::test]
async fn an_instance_serves_with_a_certificate_that_its_tokens_pin() {
    let (directory, token) = made().await;
    let platform = Platform::start(config(&directory)).await.unwrap();
    assert_eq!(platform.public_url(), "https://127.0.0.1:1");
    let who: Value = client(&platform, &token).get("/v1/whoami").await.unwrap();
    assert_eq!(who["identity"]["name"], "operator");
    let instance = platform.app().store.instance().to_owned();
    platform.stop().await;
    // It is the same one when it comes back.
    let platform = Platform::start(config(&directory)).await.unwrap();
    assert_eq!(platform.app().store.instance(), instance);
    platform.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_at_half_its_life_under_connections_that_stay() {
    let (directory, token) = made().await;
    let mut config = config(&directory);
    config.times.duties = Duration::from_millis(20);
    config.times.api_leaf = Duration::from_secs(3600);
    let clock = Clock::system();
    let platform = Platform::start_by(config, clock.clone()).await.unwrap();
    let before = leaf(platform.address()).await;
    assert_eq!(leaf(platform.address()).await, before);
    let stays = client(&platform, &token);
    stays.get::<Value>("/v1/whoami").await.unwrap();
    clock.advance(Duration::from_secs(1801));
    while leaf(platform.address()).await == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stays.get::<Value>("/v1/whoami").await.unwrap();
    platform.stop().await;
}

/// The leaf that the server shows.
async fn leaf(address: SocketAddr) -> Vec<u8> {
    let verifier = Arc::new(Keep::default());
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
    tokio::task::spawn_blocking(move || {
        let mut tcp = std::net::TcpStream::connect(address).unwrap();
        let mut tls = rustls::ClientConnection::new(Arc::new(config), address.ip().into()).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).unwrap();
        }
    })
    .await
    .unwrap();
    verifier.0.lock().unwrap().clone()
}

/// Accepts everything and keeps the leaf.
#[derive(Debug, Default)]
struct Keep(std::sync::Mutex<Vec<u8>>);

impl rustls::client::danger::ServerCertVerifier for Keep {
    fn verify_server_cert(
        &self,
        leaf: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = leaf.to_vec();
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn a_certificate_of_files_is_read_again_and_a_broken_one_changes_nothing() {
    let (directory, token) = made().await;
    // The platform CA's own serves as a file's too.
    let platform = Platform::start(config(&directory)).await.unwrap();
    let hosts = ["127.0.0.1".to_owned()];
    let issue = || platform_ca::serve(&platform.app().store, &hosts, Duration::from_secs(3600));
    let files = crate::config::TlsFiles {
        certificate: directory.path().join("cert.pem"),
        key: directory.path().join("key.pem"),
    };
    let write = |server: &platform_ca::Server| {
        std::fs::write(&files.key, server.key.to_pem()).unwrap();
        std::fs::write(&files.certificate, &server.chain).unwrap();
    };
    let (first, second) = (issue().await.unwrap(), issue().await.unwrap());
    let pin = platform.app().pin.unwrap();
    platform.stop().await;

    write(&first);
    let platform = Platform::start(Config { tls: Some(files.clone()), ..config(&directory) }).await.unwrap();
    assert_eq!(platform.app().pin, None);
    let client = Client::new(platform.address().to_string().parse().unwrap(), &Trust::Pinned(pin)).unwrap();
    client.with_token(&token).get::<Value>("/v1/whoami").await.unwrap();
    let before = leaf(platform.address()).await;
    std::fs::write(&files.certificate, "nonsense").unwrap();
    platform.reload();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(leaf(platform.address()).await, before);
    write(&second);
    platform.reload();
    while leaf(platform.address()).await == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    platform.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_a_silent_one_is_not_kept() {
    let (directory, token) = made().await;
    let mut config = config(&directory);
    config.limits.connections = 1;
    config.times.head = Duration::from_secs(1);
    let platform = Platform::start(config).await.unwrap();
    let mut silent = tokio::net::TcpStream::connect(platform.address()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(client(&platform, &token).get::<Value>("/v1/whoami").await.is_err());
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
    client(&platform, &token).get::<Value>("/v1/whoami").await.unwrap();
    platform.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_told() {
    let (directory, _) = made().await;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut config = config(&directory);
    config.listen = taken.local_addr().unwrap();
    let error = Platform::start(config).await.unwrap_err();
    assert!(
        matches!(error, StartError::Listen(..)) && error.to_string().contains("can't listen on 127.0.0.1")
    );
}
