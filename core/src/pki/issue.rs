//! Making certificates.
//!
//! 1. [`Authority::root`] signs itself: one per organisation, kept off line.
//! 2. [`Authority::intermediate`] makes the two that issue: one for gateways, one for connectors.
//! 3. [`Authority::issue`] makes a leaf for a public key; the intermediate's office decides who may be named.
//!
//! Everything that makes one certificate differ from another comes in: keys, serial numbers, dates.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use std::time::Duration;
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::identity::{Identity, Name, Role, TrustDomain};
use super::key::{Key, PublicKey};
use super::leaf::{check_targets, only_uri, unix};
use super::targets::{self, BadTargets};
use crate::rand::Rng;
use crate::time::UnixTime;

/// How long before its making a certificate begins to be valid, so that clocks may differ a little.
pub const BACKDATED: Duration = Duration::from_secs(600);

/// Someone who issues certificates: a root or an intermediate with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    info: AuthorityInfo,
}

/// What an authority's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityInfo {
    /// What it issues.
    pub office: Office,
    /// The organisation that it belongs to.
    pub organisation: Name,
    /// The trust domain that it belongs to.
    pub trust_domain: TrustDomain,
    /// The first second of its validity.
    pub not_before: UnixTime,
    /// The last second of its validity, which nothing that it issues outlives.
    pub not_after: UnixTime,
}

impl AuthorityInfo {
    /// Reads `certificate`, whoever signed it.
    ///
    /// # Errors
    /// [`LoadError`], but never [`LoadError::KeyMismatch`].
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, LoadError> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| LoadError::Malformed)?;
        let office = office(&parsed).ok_or(LoadError::NoAuthority)?;
        let (organisation, trust_domain) = names(&parsed).ok_or(LoadError::Nameless)?;
        let validity = parsed.validity();
        Ok(Self {
            office,
            organisation,
            trust_domain,
            not_before: unix(validity.not_before.timestamp()),
            not_after: unix(validity.not_after.timestamp()),
        })
    }
}

/// What an authority issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Office {
    /// Intermediates.
    Root,
    /// Leaves of gateways.
    Gateway,
    /// Leaves of those who dial them: connectors, platforms, persons.
    Connector,
}

/// What tells one certificate from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The serial number.
    pub serial: Serial,
    /// The first second of its validity.
    pub not_before: UnixTime,
    /// The last second of its validity.
    pub not_after: UnixTime,
}

/// A serial number: 128 bits, positive and not zero (RFC 5280 §4.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial([u8; 16]);

impl Serial {
    /// A number drawn from `rng`.
    pub fn random(rng: &mut Rng) -> Self {
        Self::new(u128::from_be_bytes(rng.bytes()))
    }

    /// `number`, with its highest bit cleared and the next one set: neither negative nor zero, and of the
    /// same length in every certificate.
    pub const fn new(number: u128) -> Self {
        Self((number & !(1 << 127) | (1 << 126)).to_be_bytes())
    }

    /// The number, big-endian, as it stands in the certificate.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Terms {
    /// Valid for `life` from `now` on, and from [`BACKDATED`] before it.
    pub fn new(serial: Serial, now: UnixTime, life: Duration) -> Self {
        Self {
            serial,
            not_before: UnixTime(now.0.saturating_sub(BACKDATED.as_secs())),
            not_after: UnixTime(now.0.saturating_add(life.as_secs())),
        }
    }
}

impl Authority {
    /// The root of `organisation`, signed by its own key.
    ///
    /// # Errors
    /// [`IssueError::Dates`].
    pub fn root(
        organisation: Name,
        trust_domain: TrustDomain,
        key: &Key,
        terms: Terms,
    ) -> Result<Self, IssueError> {
        let params = authority(Office::Root, &organisation, &trust_domain, terms)?;
        let certificate = params.self_signed(&key.pair).map_err(|_| IssueError::Signature)?.into();
        Self::load(certificate, key).map_err(IssueError::Unreadable)
    }

    /// An intermediate for `office`, signed by this root.
    ///
    /// # Errors
    /// [`IssueError::Office`] unless this is a root and `office` is not; [`IssueError::Dates`].
    pub fn intermediate(&self, office: Office, key: &Key, terms: Terms) -> Result<Self, IssueError> {
        if self.info.office != Office::Root || office == Office::Root {
            return Err(IssueError::Office);
        }
        self.check_dates(terms)?;
        let params = authority(office, &self.info.organisation, &self.info.trust_domain, terms)?;
        let certificate =
            params.signed_by(&key.pair, &self.issuer).map_err(|_| IssueError::Signature)?.into();
        Self::load(certificate, key).map_err(IssueError::Unreadable)
    }

    /// The authority whose certificate and key were made earlier.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(certificate: CertificateDer<'static>, key: &Key) -> Result<Self, LoadError> {
        let info = AuthorityInfo::read(&certificate)?;
        if !key.opens(&certificate) {
            return Err(LoadError::KeyMismatch);
        }
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key.clone().pair).map_err(|_| LoadError::Malformed)?;
        Ok(Self { certificate, issuer, info })
    }

    /// A leaf for the holder of `key`: who it is, and when it is restricted to some targets, which.
    ///
    /// # Errors
    /// [`IssueError::Office`] when this authority does not issue for `role`, [`IssueError::Targets`],
    /// [`IssueError::Dates`].
    pub fn issue(
        &self,
        role: Role,
        targets: Option<&[String]>,
        key: &PublicKey,
        terms: Terms,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let office = if role.connects() { Office::Connector } else { Office::Gateway };
        if office != self.info.office {
            return Err(IssueError::Office);
        }
        self.check_dates(terms)?;
        check_targets(&role, targets.is_some())?;
        let params = self.leaf(role, targets, terms)?;
        Ok(params.signed_by(&key.0, &self.issuer).map_err(|_| IssueError::Signature)?.into())
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What the certificate says.
    pub fn info(&self) -> &AuthorityInfo {
        &self.info
    }

    /// What signs, for tests that make what an authority would not.
    #[cfg(test)]
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    fn leaf(
        &self,
        role: Role,
        targets: Option<&[String]>,
        terms: Terms,
    ) -> Result<CertificateParams, IssueError> {
        let mut params = common(self.info.organisation.as_str(), role.name().as_str(), terms)?;
        let purpose = if role.connects() {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        };
        let identity = Identity {
            trust_domain: self.info.trust_domain.clone(),
            organisation: self.info.organisation.clone(),
            role,
        };
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.subject_alt_names = vec![uri(identity.to_string())];
        if let Some(targets) = targets {
            let content = targets::encode(targets)?;
            params.custom_extensions.push(CustomExtension::from_oid_content(targets::OID, content));
        }
        Ok(params)
    }

    fn check_dates(&self, terms: Terms) -> Result<(), IssueError> {
        if terms.not_after > self.info.not_after {
            return Err(IssueError::Outlives { not_after: self.info.not_after });
        }
        Ok(())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.info).finish()
    }
}

/// Why a certificate is not issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IssueError {
    /// This authority does not issue certificates of that kind.
    #[error("this authority does not issue certificates of that kind")]
    Office,
    /// The dates can't be written, or the end lies before the beginning.
    #[error("the validity has no sensible beginning and end")]
    Dates,
    /// The certificate would outlive its issuer.
    #[error("the certificate would outlive its issuer, which ends at unix time {}", not_after.0)]
    Outlives {
        /// The issuer's last second.
        not_after: UnixTime,
    },
    /// The targets are too many, too few, or not for this role.
    #[error(transparent)]
    Targets(#[from] BadTargets),
    /// A server's hosts are too many, too few, or neither addresses nor names.
    #[error(
        "a server's certificate names 1 to {} hosts, each an address or a name",
        super::server::MAX_HOSTS
    )]
    Hosts,
    /// The issuer's key can't sign.
    #[error("the issuer's key can't sign")]
    Signature,
    /// What was made can't be read back.
    #[error("the new authority can't be read back: {0}")]
    Unreadable(LoadError),
}

/// Why a certificate and a key are no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The certificate is malformed.
    #[error("the authority's certificate is malformed")]
    Malformed,
    /// The key belongs to another certificate.
    #[error("the key does not belong to the authority's certificate")]
    KeyMismatch,
    /// The certificate is none of an authority, or of one with another purpose.
    #[error("the certificate is not that of a root, a gateway or a connector authority")]
    NoAuthority,
    /// It does not say which organisation and trust domain it belongs to.
    #[error("the authority's certificate names no organisation and trust domain")]
    Nameless,
}

fn authority(
    office: Office,
    organisation: &Name,
    trust_domain: &TrustDomain,
    terms: Terms,
) -> Result<CertificateParams, IssueError> {
    let (name, purpose, below) = match office {
        Office::Root => ("Adit root", None, 1),
        Office::Gateway => ("Adit gateway authority", Some(ExtendedKeyUsagePurpose::ServerAuth), 0),
        Office::Connector => ("Adit connector authority", Some(ExtendedKeyUsagePurpose::ClientAuth), 0),
    };
    let mut params = common(organisation.as_str(), name, terms)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = purpose.into_iter().collect();
    // An authority's own name has no path (SPIFFE, X509-SVID §4.2), so it can never pass for a leaf's.
    params.subject_alt_names = vec![uri(format!("spiffe://{trust_domain}"))];
    Ok(params)
}

/// What every certificate has: whose it is, its number, its dates.
pub(super) fn common(organisation: &str, name: &str, terms: Terms) -> Result<CertificateParams, IssueError> {
    if terms.not_before >= terms.not_after {
        return Err(IssueError::Dates);
    }
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organisation);
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from_slice(&terms.serial.0));
    params.not_before = date(terms.not_before)?;
    params.not_after = date(terms.not_after)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn date(unix: UnixTime) -> Result<OffsetDateTime, IssueError> {
    let seconds = unix.0.try_into().map_err(|_| IssueError::Dates)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IssueError::Dates)
}

fn uri(text: String) -> SanType {
    SanType::URI(text.try_into().expect("identities are ASCII"))
}

/// What the holder of `certificate` issues; `None` for nobody that we know.
fn office(certificate: &X509Certificate<'_>) -> Option<Office> {
    if !certificate.is_ca() {
        return None;
    }
    match certificate.extended_key_usage().ok()? {
        None => Some(Office::Root),
        Some(usage) => match (usage.value.server_auth, usage.value.client_auth) {
            (true, false) => Some(Office::Gateway),
            (false, true) => Some(Office::Connector),
            _ => None,
        },
    }
}

fn names(certificate: &X509Certificate<'_>) -> Option<(Name, TrustDomain)> {
    let organisation = certificate.subject().iter_organization().next()?.as_str().ok()?;
    let domain = only_uri(certificate).ok()?.strip_prefix("spiffe://")?;
    Some((organisation.parse().ok()?, domain.parse().ok()?))
}
