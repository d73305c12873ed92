//! The extension of a connector's leaf that names the only targets its holder may open.
//!
//! It is a DER `SEQUENCE OF UTF8String`, each a target such as `tcp://db.internal:5432`, and not critical, so
//! that other software can still read the certificate. A gateway of ours always enforces it.

use thiserror::Error;
use x509_parser::asn1_rs::{FromDer, SequenceOf, ToDer, Utf8String};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::Oid;

/// The most targets that one certificate may name.
pub const MAX_TARGETS: usize = 64;

/// The longest target, in bytes: a host name of 253, a scheme, a port.
const MAX_LENGTH: usize = 300;

/// The arc under which anyone may number without asking (ITU-T X.667: `2.25` and a number drawn at random).
/// The number stays below 2^63 since that is what encoders of object identifiers take.
pub(super) const OID: &[u64] = &[2, 25, 3_884_442_951_449_346_698];

/// Why a leaf's targets can't be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadTargets {
    /// The extension is there more than once, or is no sequence of texts.
    #[error("the extension with the permitted targets is malformed")]
    Malformed,
    /// It names none, more than [`MAX_TARGETS`], or one that is too long.
    #[error("a certificate names 1 to {MAX_TARGETS} targets of at most {MAX_LENGTH} characters")]
    Number,
    /// Its holder must have it and has it not, or must not have it and has it.
    #[error("a person's certificate names its targets, a gateway's or platform's never does")]
    Role,
}

/// The extension's content for `targets`.
pub(super) fn encode(targets: &[String]) -> Result<Vec<u8>, BadTargets> {
    check(targets)?;
    let sequence: SequenceOf<_> = targets.iter().map(|target| Utf8String::new(target)).collect();
    sequence.to_der_vec().map_err(|_| BadTargets::Malformed)
}

/// The targets of `leaf`; `None` when it has no such extension.
pub(super) fn read(leaf: &X509Certificate<'_>) -> Result<Option<Vec<String>>, BadTargets> {
    let oid = Oid::from(OID).expect("the identifier is a constant and legal");
    let Some(extension) = leaf.get_extension_unique(&oid).map_err(|_| BadTargets::Malformed)? else {
        return Ok(None);
    };
    decode(extension.value).map(Some)
}

fn decode(content: &[u8]) -> Result<Vec<String>, BadTargets> {
    let (rest, sequence) =
        SequenceOf::<Utf8String<'_>>::from_der(content).map_err(|_| BadTargets::Malformed)?;
    if !rest.is_empty() {
        return Err(BadTargets::Malformed);
    }
    let targets: Vec<String> = sequence.iter().map(Utf8String::string).collect();
    check(&targets)?;
    Ok(targets)
}

fn check(targets: &[String]) -> Result<(), BadTargets> {
    let fits = |target: &String| !target.is_empty() && target.len() <= MAX_LENGTH;
    if targets.is_empty() || targets.len() > MAX_TARGETS || !targets.iter().all(fits) {
        return Err(BadTargets::Number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(targets: &[&str]) -> Vec<String> {
        targets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn targets_read_back_as_they_were_written() {
        let targets = texts(&["tcp://10.0.0.1:5432", "tcp://db.internal:5432"]);
        assert_eq!(decode(&encode(&targets).unwrap()), Ok(targets));
    }

    #[test]
    fn their_number_and_length_are_bounded() {
        assert_eq!(encode(&[]), Err(BadTargets::Number));
        assert_eq!(encode(&vec!["t".to_owned(); MAX_TARGETS + 1]), Err(BadTargets::Number));
        assert_eq!(encode(&["t".repeat(MAX_LENGTH + 1)]), Err(BadTargets::Number));
        assert!(encode(&vec!["t".repeat(MAX_LENGTH); MAX_TARGETS]).is_ok());
        assert_eq!(decode(&[0x30, 0]), Err(BadTargets::Number));
    }

    #[test]
    fn anything_else_is_malformed() {
        let good = encode(&texts(&["tcp://a:1"])).unwrap();
        for end in 0..good.len() {
            assert_eq!(decode(&good[..end]), Err(BadTargets::Malformed), "cut at {end}");
        }
        assert_eq!(decode(&[good.as_slice(), &[0]].concat()), Err(BadTargets::Malformed));
        // An octet string and a printable string in the sequence; a set in its place; text that is not UTF-8.
        for bytes in
            [[0x30, 3, 4, 1, b'a'], [0x30, 3, 0x13, 1, b'a'], [0x31, 3, 12, 1, b'a'], [0x30, 3, 12, 1, 0xff]]
        {
            assert_eq!(decode(&bytes), Err(BadTargets::Malformed), "{bytes:?}");
        }
    }
}
