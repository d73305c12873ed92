//! Certificates by which any TLS client knows a server: the platform's API, a relay.
//!
//! Their authority is the installation's own and has nothing to do with organisations: what it issues names hosts, and
//! [`verify`](super::verify) takes none of it for a gateway or a connector.

use std::fmt;
use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::issue::{IssueError, LoadError, Terms, common};
use super::key::{Key, PublicKey};
use super::leaf::unix;
use crate::time::UnixTime;

/// The most hosts that one certificate names.
pub const MAX_HOSTS: usize = 16;

/// The longest host name, in bytes (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// Who issues to servers.
pub struct ServerAuthority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    not_after: UnixTime,
}

impl ServerAuthority {
    /// The authority of the installation `name`, signed by its own key.
    ///
    /// # Errors
    /// [`IssueError::Dates`].
    pub fn new(name: &str, key: &Key, terms: Terms) -> Result<Self, IssueError> {
        let mut params = common(name, "Adit platform CA", terms)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key.pair).map_err(|_| IssueError::Signature)?.into();
        Self::load(certificate, key).map_err(IssueError::Unreadable)
    }

    /// The authority whose certificate and key were made earlier.
    ///
    /// # Errors
    /// [`LoadError`], but never [`LoadError::Nameless`].
    pub fn load(certificate: CertificateDer<'static>, key: &Key) -> Result<Self, LoadError> {
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| LoadError::Malformed)?;
        if !parsed.is_ca() {
            return Err(LoadError::NoAuthority);
        }
        let not_after = unix(parsed.validity().not_after.timestamp());
        if !key.opens(&certificate) {
            return Err(LoadError::KeyMismatch);
        }
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key.clone().pair).map_err(|_| LoadError::Malformed)?;
        Ok(Self { certificate, issuer, not_after })
    }

    /// A certificate for the holder of `key`, who answers at `hosts`: addresses, or names.
    ///
    /// # Errors
    /// [`IssueError::Hosts`], [`IssueError::Outlives`], [`IssueError::Dates`].
    pub fn issue(
        &self,
        hosts: &[String],
        key: &PublicKey,
        terms: Terms,
    ) -> Result<CertificateDer<'static>, IssueError> {
        if terms.not_after > self.not_after {
            return Err(IssueError::Outlives { not_after: self.not_after });
        }
        let params = leaf(hosts, terms)?;
        Ok(params.signed_by(&key.0, &self.issuer).map_err(|_| IssueError::Signature)?.into())
    }

    /// The certificate, which clients trust.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The last second of its validity.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

impl fmt::Debug for ServerAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerAuthority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

fn leaf(hosts: &[String], terms: Terms) -> Result<CertificateParams, IssueError> {
    if hosts.is_empty() || hosts.len() > MAX_HOSTS {
        return Err(IssueError::Hosts);
    }
    // Who answers stands in the alternative names only, as clients read them (RFC 9525 §2).
    let mut params = common("Adit", "Adit server", terms)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = hosts.iter().map(|host| name(host)).collect::<Result<_, _>>()?;
    Ok(params)
}

fn name(host: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(legal) {
        return Err(IssueError::Hosts);
    }
    Ok(SanType::DnsName(host.to_owned().try_into().map_err(|_| IssueError::Hosts)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pki::issue::Serial;
    use crate::pki::key::KeyKind;
    use crate::pki::{AuthorityInfo, PeerInfo};

    const NOW: UnixTime = UnixTime(1_700_000_000);

    fn terms(life: u64) -> Terms {
        Terms::new(Serial::new(life.into()), NOW, Duration::from_secs(life))
    }

    fn hosts(hosts: &[&str]) -> Vec<String> {
        hosts.iter().map(ToString::to_string).collect()
    }

    fn authority() -> (ServerAuthority, Key) {
        let key = Key::generate(KeyKind::EcdsaP256);
        (ServerAuthority::new("adit.test", &key, terms(1000)).unwrap(), key)
    }

    #[test]
    fn a_client_that_trusts_it_knows_the_server_by_name_and_address() {
        let (authority, _) = authority();
        let key = Key::generate(KeyKind::EcdsaP256).public();
        let leaf = authority.issue(&hosts(&["relay.example", "192.0.2.1", "2001:db8::1"]), &key, terms(100));
        let leaf = leaf.unwrap();
        let anchor = webpki::anchor_from_trusted_cert(authority.certificate()).unwrap();
        let end = webpki::EndEntityCert::try_from(&leaf).unwrap();
        end.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            &[],
            rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(NOW.0)),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        )
        .unwrap();
        for (name, valid) in [
            ("relay.example", true),
            ("192.0.2.1", true),
            ("2001:db8::1", true),
            ("other.example", false),
            ("192.0.2.2", false),
        ] {
            let name = name.try_into().unwrap();
            assert_eq!(end.verify_is_valid_for_subject_name(&name).is_ok(), valid, "{name:?}");
        }
    }

    #[test]
    fn nothing_of_it_passes_for_an_organisations() {
        let (authority, key) = authority();
        let leaf = authority.issue(&hosts(&["relay.example"]), &key.public(), terms(100)).unwrap();
        assert!(PeerInfo::from_leaf(&leaf).is_err());
        assert_eq!(AuthorityInfo::read(authority.certificate()), Err(LoadError::Nameless));
    }

    #[test]
    fn it_reads_back_with_its_own_key_only() {
        let (authority, key) = authority();
        let certificate = authority.certificate().clone();
        assert_eq!(ServerAuthority::load(certificate.clone(), &key).unwrap().not_after().0, NOW.0 + 1000);
        let other = ServerAuthority::load(certificate, &Key::generate(KeyKind::EcdsaP256));
        assert_eq!(other.unwrap_err(), LoadError::KeyMismatch);
    }

    #[test]
    fn hosts_and_dates_have_bounds() {
        let (authority, key) = authority();
        let issue = |hosts: &[String], life| authority.issue(hosts, &key.public(), terms(life)).map(drop);
        assert_eq!(issue(&[], 100), Err(IssueError::Hosts));
        assert_eq!(issue(&vec!["a".to_owned(); MAX_HOSTS + 1], 100), Err(IssueError::Hosts));
        assert_eq!(issue(&hosts(&["*.example/x"]), 100), Err(IssueError::Hosts));
        assert!(matches!(issue(&hosts(&["a"]), 1001), Err(IssueError::Outlives { .. })));
    }
}
