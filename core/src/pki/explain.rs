//! Sentences for people about certificates that were refused.

use rustls::{CertificateError, Error};

use super::verify::Refused;

/// Why *we* refused the other end's certificate, as the rest of a sentence that began with whose it is.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error),
        Error::NoCertificatesPresented => "it showed none".into(),
        Error::AlertReceived(alert) => explain_alert((*alert).into()).into(),
        other => other.to_string(),
    }
}

fn explain_certificate(error: &CertificateError) -> String {
    let sentence = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: compare the clocks of both machines"
        }
        CertificateError::UnknownIssuer => {
            "it was issued by an unknown CA: trust-anchor here must hold the other side's intermediate of \
             the same organisation (a gateway trusts connector-ca.pem, a connector gateway-ca.pem)"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is of the wrong role: a gateway shows a gateway's certificate, and those who dial it a \
             connector's"
        }
        CertificateError::ApplicationVerificationFailure => {
            "it belongs to another organisation or trust domain than the configuration here names"
        }
        CertificateError::BadEncoding => "it is malformed",
        CertificateError::BadSignature => "its holder does not have its key",
        CertificateError::Other(other) => {
            return match other.0.downcast_ref::<Refused>() {
                Some(refused) => refused.to_string(),
                None => format!("it can't be verified: {}", other.0),
            };
        }
        other => return other.to_string(),
    };
    sentence.into()
}

/// Why *the other end* refused our certificate, from the TLS alert that it sent (RFC 8446 §6.2; in QUIC the
/// low byte of a `CRYPTO_ERROR`, RFC 9001 §4.8).
pub fn explain_alert(alert: u8) -> &'static str {
    match alert {
        40 => "no cipher suite or key exchange in common",
        42 => "it is malformed",
        43 => {
            "it is of the wrong role: a gateway shows a certificate of `adit ca issue … gateway`, and those who \
             dial it one of `adit ca issue … connector`"
        }
        44 => "it was revoked",
        45 => "it has expired, or is not valid yet: issue a new one, or compare the clocks of both machines",
        46 => {
            "it does not name whom the other side expects: another gateway, or no identity that it can read \
             (the other side's log says which)"
        }
        48 => {
            "it was issued by an unknown CA: is trust-anchor on the other side the intermediate of the same \
             organisation (connector-ca.pem at a gateway, gateway-ca.pem at a connector)?"
        }
        49 => "it belongs to another organisation or trust domain than the other side's configuration names",
        51 => "its signature does not verify: does the key belong to the certificate?",
        70 => "the other side does not speak TLS 1.3",
        116 => "the other side wants a certificate, and none was sent",
        120 => "the other side speaks no protocol in common (is it really a gateway of Adit?)",
        _ => "the TLS handshake failed",
    }
}

/// Whether `alert` means that the other end refused our certificate, rather than that TLS itself failed.
pub fn refuses_certificate(alert: u8) -> bool {
    matches!(alert, 42..=46 | 48 | 49 | 51 | 116)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    /// What stands for our own certificate's refusal has a sentence of its own that names what to do.
    #[test]
    fn every_alert_about_a_certificate_has_its_own_sentence() {
        let mut sentences: Vec<_> =
            (0..=255).filter(|&alert| refuses_certificate(alert)).map(explain_alert).collect();
        let count = sentences.len();
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), count);
        assert!(!sentences.contains(&explain_alert(0)), "the sentence for everything else");
        for (alert, part) in [(40, "in common"), (70, "TLS 1.3"), (120, "protocol in common")] {
            assert!(!refuses_certificate(alert) && explain_alert(alert).contains(part));
        }
    }

    #[test]
    fn every_error_of_ours_is_put_into_words() {
        use CertificateError as Bad;
        let invalid = |error| explain(&Error::InvalidCertificate(error));
        for (error, part) in [
            (Bad::Expired, "has expired"),
            (Bad::NotValidYet, "compare the clocks"),
            (Bad::UnknownIssuer, "unknown CA"),
            (Bad::InvalidPurpose, "wrong role"),
            (Bad::ApplicationVerificationFailure, "another organisation"),
            (Bad::BadEncoding, "malformed"),
            (Bad::BadSignature, "does not have its key"),
            (Bad::Other(OtherError(Arc::new(std::fmt::Error))), "can't be verified"),
            (Bad::Revoked, &Bad::Revoked.to_string()),
        ] {
            let sentence = invalid(error);
            assert!(sentence.contains(part), "{sentence}");
        }
        assert_eq!(explain(&Error::NoCertificatesPresented), "it showed none");
        let alert = rustls::AlertDescription::CertificateRevoked;
        assert_eq!(explain(&Error::AlertReceived(alert)), "it was revoked");
        assert_eq!(explain(&Error::General("whatever".into())), "unexpected error: whatever");
    }
}
