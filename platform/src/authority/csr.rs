//! Requests for certificates (PKCS #10): their key counts, and they must not name somebody else.

use adit_core::pki::PublicKey;
use adit_core::pki::key::BadKey;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// The longest request, in bytes of PEM.
pub const MAX_REQUEST: usize = 16 * 1024;

/// The most names that are looked at in one request.
const MAX_NAMES: usize = 32;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadRequest {
    /// It is too long.
    #[error("a certificate signing request has at most {MAX_REQUEST} bytes")]
    Long,
    /// It is malformed, or not signed with its own key.
    #[error("the certificate signing request can't be used: {0}")]
    Key(#[from] BadKey),
    /// It has names of a kind that can't be read, or too many.
    #[error("the names in the certificate signing request can't be read; leave them out")]
    Names,
    /// It names somebody else.
    #[error("the certificate signing request is for '{0}', which is not who asks")]
    Mismatch(String),
}

/// The key of the request in `pem`, which names nobody, or only some of `own`: the names of who asks.
///
/// # Errors
/// [`BadRequest`].
pub fn check(pem: &str, own: &[&str]) -> Result<PublicKey, BadRequest> {
    if pem.len() > MAX_REQUEST {
        return Err(BadRequest::Long);
    }
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadKey::Pem)?;
    let key = PublicKey::from_request(&der)?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|_| BadKey::Unusable)?;
    match names(&request)?.into_iter().find(|name| !own.contains(&name.as_str())) {
        Some(stranger) => Err(BadRequest::Mismatch(shown(&stranger))),
        None => Ok(key),
    }
}

/// Every common name and every alternative name.
fn names(request: &X509CertificationRequest<'_>) -> Result<Vec<String>, BadRequest> {
    let subject = &request.certification_request_info.subject;
    let mut names = Vec::new();
    for name in subject.iter_common_name() {
        names.push(name.as_str().map_err(|_| BadRequest::Names)?.to_owned());
    }
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::SubjectAlternativeName(alternative) => {
                let alternative = alternative.general_names.iter().take(MAX_NAMES + 1);
                names.extend(alternative.map(general).collect::<Result<Vec<_>, _>>()?);
            }
            ParsedExtension::ParseError { .. } => return Err(BadRequest::Names),
            _ => {}
        }
    }
    if names.len() > MAX_NAMES {
        return Err(BadRequest::Names);
    }
    Ok(names)
}

fn general(name: &GeneralName<'_>) -> Result<String, BadRequest> {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
            Ok((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => address(bytes).ok_or(BadRequest::Names),
        _ => Err(BadRequest::Names),
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|octets| std::net::Ipv4Addr::from(octets).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string());
    v4().or_else(v6)
}

/// What a stranger wrote, as far as it is fit to be shown.
fn shown(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use adit_core::pki::{Key, KeyKind};

    use super::*;

    #[test]
    fn a_request_without_names_gives_its_key() {
        let key = Key::generate(KeyKind::EcdsaP256);
        assert_eq!(check(&key.request_pem(), &[]).unwrap().der(), key.public().der());
    }

    #[test]
    fn a_request_for_somebody_else_is_refused() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let request = |common: Option<&str>, names: &[&str]| {
            let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
            let mut params = rcgen::CertificateParams::new(names).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            if let Some(common) = common {
                params.distinguished_name.push(rcgen::DnType::CommonName, common);
            }
            params.serialize_request(&pair).unwrap().pem().unwrap()
        };
        let own = ["gw", "192.0.2.1", "relay.example"];
        assert!(check(&request(Some("gw"), &["relay.example", "192.0.2.1"]), &own).is_ok());
        for (common, names, stranger) in [
            (Some("other"), &[][..], "other"),
            (None, &["other.example"][..], "other.example"),
            (Some("gw"), &["relay.example", "192.0.2.2"][..], "192.0.2.2"),
        ] {
            let refused = check(&request(common, names), &own).unwrap_err();
            assert_eq!(refused, BadRequest::Mismatch(stranger.to_owned()));
        }
        let many: Vec<_> = vec!["relay.example"; MAX_NAMES + 1];
        assert_eq!(check(&request(None, &many), &own).unwrap_err(), BadRequest::Names);
    }

    #[test]
    fn what_is_no_request_is_refused_whatever_its_length() {
        assert_eq!(check("", &[]).unwrap_err(), BadRequest::Key(BadKey::Pem));
        assert_eq!(check(&"x".repeat(MAX_REQUEST + 1), &[]).unwrap_err(), BadRequest::Long);
    }
}
