//! What a leaf certificate says about its holder.

use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::identity::{BadIdentity, Identity, Role};
use super::targets::{self, BadTargets};
use crate::time::UnixTime;

/// What a leaf certificate says. Reading proves nothing: the leaf's chain must have been verified, as TLS
/// does before it hands a peer's certificates out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who the holder is.
    pub identity: Identity,
    /// The only targets that the holder may open, as texts such as `tcp://10.0.0.1:5432`; `None` when the
    /// certificate restricts nothing. Always there for a person.
    pub targets: Option<Vec<String>>,
    /// The first second of the leaf's validity.
    pub not_before: UnixTime,
    /// The last second of the leaf's validity. Later the holder opens nothing new.
    pub not_after: UnixTime,
    /// The serial number, big-endian, as the certificate has it.
    pub serial: Vec<u8>,
}

/// Why a leaf names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadLeaf {
    /// It is no X.509 certificate, or an extension is malformed or there twice (RFC 5280 §4.2).
    #[error("it is no well-formed certificate")]
    Malformed,
    /// There is not exactly one URI among the subject's alternative names.
    #[error("it has {0} URIs as subject alternative names instead of one")]
    Uris(usize),
    /// The URI is no identity.
    #[error("its URI is no identity of Adit: {0}")]
    Identity(#[from] BadIdentity),
    /// Its list of targets can't be believed.
    #[error("its targets are unclear: {0}")]
    Targets(#[from] BadTargets),
}

impl PeerInfo {
    /// Reads `leaf`.
    ///
    /// # Errors
    /// [`BadLeaf`] when it does not say clearly who its holder is and what the holder may do.
    pub fn from_leaf(leaf: &CertificateDer<'_>) -> Result<Self, BadLeaf> {
        let (rest, leaf) = X509Certificate::from_der(leaf).map_err(|_| BadLeaf::Malformed)?;
        if !rest.is_empty() {
            return Err(BadLeaf::Malformed);
        }
        let identity: Identity = only_uri(&leaf)?.parse()?;
        let targets = targets::read(&leaf)?;
        check_targets(&identity.role, targets.is_some())?;
        Ok(Self {
            identity,
            targets,
            not_before: unix(leaf.validity().not_before.timestamp()),
            not_after: unix(leaf.validity().not_after.timestamp()),
            serial: leaf.raw_serial().to_vec(),
        })
    }
}

/// Whether a holder of `role` may have (`present`) or lack a list of targets.
pub(super) fn check_targets(role: &Role, present: bool) -> Result<(), BadTargets> {
    match (role, present) {
        (Role::Person { .. }, false) | (Role::Gateway { .. } | Role::Platform { .. }, true) => {
            Err(BadTargets::Role)
        }
        _ => Ok(()),
    }
}

/// The only URI among the alternative names of `certificate`.
pub(super) fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, BadLeaf> {
    let names = certificate.subject_alternative_name().map_err(|_| BadLeaf::Malformed)?;
    let names = names.map_or(&[][..], |extension| extension.value.general_names.as_slice());
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri),
        (first, more) => Err(BadLeaf::Uris(usize::from(first.is_some()) + more)),
    }
}

/// Seconds of 1970 as our own type; dates before that are as good as 1970.
pub(super) fn unix(seconds: i64) -> UnixTime {
    UnixTime(seconds.try_into().unwrap_or(0))
}
