//! Whom a login believes.

use adit_platform::postgres::{Login, SqlError};
use adit_platform::words::TlsMode;
use adit_tests::postgres::{PASSWORD, USER};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::server::{Server, one};

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("rcgen makes it");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("rcgen makes it"))
                .expect("rcgen makes it"),
        )
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `host` and its key.
    fn issue(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().expect("rcgen makes it");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("rcgen makes it");
        (params.signed_by(&key, &self.0).expect("rcgen makes it").pem(), key.serialize_pem())
    }
}

fn login(server: &Server, tls: TlsMode, ca: &str, host: &str) -> Login {
    Login { host: host.to_owned(), tls, ca: ca.to_owned(), ..server.login_as(USER, PASSWORD, "app") }
}

#[tokio::test]
async fn each_mode_believes_whom_it_says_and_nobody_else() {
    let server = Server::start();
    let (ca, stranger) = (Ca::new("the CA"), Ca::new("another CA"));
    let (certificate, key) = ca.issue("db.internal");
    server.postgres.serve_tls(&certificate, &key);

    for (mode, ca_pem, host, expected) in [
        (TlsMode::Disable, "", "db.internal", true),
        (TlsMode::Require, "", "anything.internal", true),
        (TlsMode::VerifyCa, &*ca.pem(), "other.internal", true),
        (TlsMode::VerifyCa, &*stranger.pem(), "db.internal", false),
        (TlsMode::VerifyCa, "", "db.internal", false),
        (TlsMode::VerifyFull, &*ca.pem(), "db.internal", true),
        (TlsMode::VerifyFull, &*ca.pem(), "other.internal", false),
        (TlsMode::VerifyFull, &*stranger.pem(), "db.internal", false),
        (TlsMode::VerifyFull, "", "db.internal", false),
    ] {
        let case = format!("{mode:?} for {host}, expected {expected}");
        match server.try_session(&login(&server, mode, ca_pem, host)).await {
            Ok(mut session) => {
                assert!(expected, "{case}");
                let is_on = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                assert_eq!(one::<bool>(&mut session, is_on).await, mode != TlsMode::Disable, "{case}");
            }
            Err(error) => {
                assert!(!expected, "{case}: {error}");
                assert!(matches!(error, SqlError::Tls(_)), "{case}: {error}");
                assert!(error.nothing_was_done());
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_can_be_named_itself() {
    let server = Server::start();
    let mut params = CertificateParams::new(vec!["db.internal".to_owned()]).unwrap();
    // As `openssl req -x509` makes it.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    server.postgres.serve_tls(&certificate, &key.serialize_pem());
    let full = |host: &str| login(&server, TlsMode::VerifyFull, &certificate, host);
    let _ = server.try_session(&full("db.internal")).await.unwrap();
    let other = server.try_session(&full("other.internal")).await.unwrap_err();
    assert!(matches!(other, SqlError::Tls(_)), "{other}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_not_there() {
    let server = Server::start();
    let error = server.try_session(&login(&server, TlsMode::Require, "", "db.internal")).await.unwrap_err();
    assert!(matches!(&error, SqlError::Tls(text) if text.contains("ssl = on")), "{error}");
}
