//! What the relay shows to clients that speak TLS or DTLS.

use std::fmt::Display;
use std::net::SocketAddr;

use adit_core::relay::{self, Config};
use adit_core::secure::Certificate;

use super::settings::{Listen, Settings};
use crate::exit::{Exit, Failure};
use crate::files;

/// Where TLS and DTLS are at home (RFC 7065 §3.1).
const PORT: u16 = 5349;

impl Settings {
    /// `config` with the certificate, and with the addresses where clients look for it.
    pub(super) fn secured(&self, mut config: Config) -> Result<Config, Failure> {
        let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(config) };
        let unusable = |error: &dyn Display| {
            let what = format!("{} and {} can't be used: {error}", chain.display(), key.display());
            Failure::new(Exit::Certificate, what)
        };
        let certificate = Certificate::from_pem(
            &files::read(chain, "the relay's certificate")?,
            &files::read_key(key, "the relay's key")?,
        )
        .map_err(|error| unusable(&error))?;
        config.tls = Some(certificate.tls().map_err(|error| unusable(&error))?);
        match certificate.dtls() {
            Ok(dtls) => config.dtls = Some(dtls),
            Err(error) => tracing::warn!("DTLS can't be served with {}: {error}; TLS is", chain.display()),
        }
        for addr in self.tls_listen() {
            if config.listen.iter().all(|known| known.addr != addr || addr.port() == 0) {
                config.listen.push(relay::Listen::from(addr));
            }
        }
        Ok(config)
    }

    /// The addresses where clients look for TLS and DTLS.
    pub(super) fn tls_listen(&self) -> Vec<SocketAddr> {
        match &self.tls_listen {
            Some(given) => given.iter().map(|Listen(address)| *address).collect(),
            None if self.tls_cert.is_none() => Vec::new(),
            None => self.listen().iter().map(|address| SocketAddr::new(address.ip(), PORT)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use adit_core::pki::{Key, KeyKind, Serial, ServerAuthority, Terms, pem};
    use adit_core::time::UnixTime;

    use super::*;

    /// A relay's settings with a certificate whose key is of that kind.
    fn settings(directory: &Path, kind: KeyKind, more: &str) -> Settings {
        let terms = |serial| {
            Terms::new(Serial::new(serial), UnixTime(1_700_000_000), std::time::Duration::from_secs(1000))
        };
        let authority = ServerAuthority::new("test", &Key::generate(KeyKind::EcdsaP256), terms(1)).unwrap();
        let key = Key::generate(kind);
        let leaf = authority.issue(&["relay.example".to_owned()], &key.public(), terms(2)).unwrap();
        std::fs::write(directory.join("relay.pem"), pem::encode_certificates([&leaf])).unwrap();
        std::fs::write(directory.join("relay.key"), key.to_pem()).unwrap();
        let text = format!(
            "user = ['a:b']\nlisten = ['127.0.0.1:1', '[::1]:2']\ntls-cert = 'relay.pem'\ntls-key = 'relay.key'\n{more}"
        );
        Settings::parse(&directory.join("relay.toml"), &text).unwrap()
    }

    #[test]
    fn tls_and_dtls_are_served_where_clients_look_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let config = settings(directory.path(), KeyKind::EcdsaP256, "").config().unwrap();
        let listen: Vec<_> = config.listen.iter().map(|listen| listen.addr.to_string()).collect();
        assert_eq!(listen, ["127.0.0.1:1", "[::1]:2", "127.0.0.1:5349", "[::1]:5349"]);
        assert!(config.tls.is_some() && config.dtls.is_some());
        let given = settings(directory.path(), KeyKind::EcdsaP256, "tls-listen = '127.0.0.1:443'");
        assert_eq!(given.config().unwrap().listen.len(), 3);
    }

    #[test]
    fn a_certificate_that_dtls_cannot_serve_serves_tls() {
        let directory = tempfile::tempdir().unwrap();
        let config = settings(directory.path(), KeyKind::Ed25519, "").config().unwrap();
        assert!(config.tls.is_some() && config.dtls.is_none());
    }

    #[test]
    fn what_is_no_certificate_is_told_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), KeyKind::EcdsaP256, "");
        std::fs::write(directory.path().join("relay.pem"), "nothing").unwrap();
        let failure = settings.config().unwrap_err();
        assert_eq!(failure.exit, Exit::Certificate);
        assert!(
            failure.what.contains("relay.pem") && failure.what.contains("no certificate"),
            "{}",
            failure.what
        );
    }
}
