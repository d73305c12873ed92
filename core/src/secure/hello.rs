//! Whether a datagram can be the first of a DTLS client: looked at before anything is kept for its sender.
//!
//! A session costs memory and a signature, and DTLS' own cookie is checked inside of one. So who keeps sessions keeps
//! few that have not got far, and begins none for what no client sends: this is that look. It needs no state and no
//! memory, and nothing of it is believed later.

/// Records and handshake messages have lengths of this many bytes in front (RFC 6347 §4.1, §4.2.2).
const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;

/// The content type of handshake records, and the type of a ClientHello (RFC 5246 §7.4).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// More than any client says: key shares of post-quantum groups included.
const MAX_HELLO: usize = 8 * 1024;

/// The cipher suites that [`dtls`](super::dtls) serves: ECDHE-ECDSA with AES-GCM and ChaCha20-Poly1305 (RFC 5289, RFC
/// 7905).
const SUITES: [u16; 3] = [0xC02B, 0xC02C, 0xCCA9];

/// Why a datagram is not the first one of a client that can be served. It is dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum NoHello {
    /// It is not one whole plaintext record of a handshake.
    #[error("not a handshake record")]
    Record,
    /// The record does not hold the beginning of a ClientHello that is the client's first message.
    #[error("not the beginning of a first ClientHello")]
    Message,
    /// The ClientHello is malformed up to its compression methods, or brings a cookie that nobody has given.
    #[error("a malformed ClientHello")]
    Body,
    /// No version or cipher suite that is spoken here.
    #[error("no version or cipher suite in common")]
    Incompatible,
}

/// Looks at the datagram of a sender who has no session.
///
/// # Errors
/// [`NoHello`].
pub fn check(datagram: &[u8]) -> Result<(), NoHello> {
    let record = record(datagram).ok_or(NoHello::Record)?;
    let body = message(record).ok_or(NoHello::Message)?;
    let hello = Hello::read(body).ok_or(NoHello::Body)?;
    let suites = hello.suites.chunks_exact(2).map(|suite| u16::from_be_bytes([suite[0], suite[1]]));
    // DTLS 1.2, or what says so for the sake of old servers (RFC 9147 §5.3); versions count downwards.
    if hello.version > 0xFEFD || suites.clone().all(|suite| !SUITES.contains(&suite)) {
        return Err(NoHello::Incompatible);
    }
    Ok(())
}

/// What is in the first record, in plaintext (epoch 0).
fn record(datagram: &[u8]) -> Option<&[u8]> {
    let (header, rest) = datagram.split_first_chunk::<RECORD_HEADER>()?;
    let [kind, major, minor, epoch0, epoch1, .., len0, len1] = *header;
    let len = usize::from(u16::from_be_bytes([len0, len1]));
    let spoken = major == 0xFE && matches!(minor, 0xFD | 0xFF);
    (kind == HANDSHAKE && spoken && [epoch0, epoch1] == [0; 2]).then_some(())?;
    rest.get(..len)
}

/// The body, or its first fragment, of a ClientHello with the message number 0.
fn message(record: &[u8]) -> Option<&[u8]> {
    let (header, body) = record.split_first_chunk::<HANDSHAKE_HEADER>()?;
    let [kind, l0, l1, l2, seq0, seq1, o0, o1, o2, f0, f1, f2] = *header;
    let number =
        |bytes: [u8; 3]| usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
    let (len, offset, fragment) = (number([l0, l1, l2]), number([o0, o1, o2]), number([f0, f1, f2]));
    let first = kind == CLIENT_HELLO && [seq0, seq1] == [0; 2] && offset == 0;
    (first && len <= MAX_HELLO && fragment <= len).then_some(())?;
    // Another message behind it would be no client's.
    (fragment == body.len()).then_some(body)
}

/// What is looked at of a ClientHello (RFC 6347 §4.2.1).
struct Hello<'a> {
    version: u16,
    suites: &'a [u8],
}

impl<'a> Hello<'a> {
    /// Reads it up to its compression methods; the extensions may be in another fragment.
    fn read(body: &'a [u8]) -> Option<Self> {
        const RANDOM: usize = 32;
        let (&version, rest) = body.split_first_chunk()?;
        let rest = rest.get(RANDOM..)?;
        let (session, rest) = vector::<1>(rest)?;
        let (cookie, rest) = vector::<1>(rest)?;
        let (suites, rest) = vector::<2>(rest)?;
        let (compression, _) = vector::<1>(rest)?;
        let sound = session.len() <= 32
            && cookie.is_empty()
            && !suites.is_empty()
            && suites.len().is_multiple_of(2)
            && compression.contains(&0);
        sound.then_some(Self { version: u16::from_be_bytes(version), suites })
    }
}

/// A vector whose length is in the `N` bytes in front of it, and what follows.
fn vector<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<N>()?;
    let len = len.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Parts {
        kind: u8,
        version: [u8; 2],
        epoch: u16,
        message: u8,
        number: u16,
        offset: u8,
        client_version: [u8; 2],
        session: Vec<u8>,
        cookie: Vec<u8>,
        suites: Vec<u8>,
        compression: Vec<u8>,
        extensions: usize,
    }

    /// What a client sends first.
    fn parts() -> Parts {
        Parts {
            kind: 22,
            version: [0xFE, 0xFF],
            epoch: 0,
            message: 1,
            number: 0,
            offset: 0,
            client_version: [0xFE, 0xFD],
            session: Vec::new(),
            cookie: Vec::new(),
            suites: vec![0xC0, 0x2B, 0x00, 0xFF],
            compression: vec![0],
            extensions: 80,
        }
    }

    fn hello(parts: &Parts) -> Vec<u8> {
        let mut body = parts.client_version.to_vec();
        body.extend([7; 32]);
        for (vector, two) in [
            (&parts.session, false),
            (&parts.cookie, false),
            (&parts.suites, true),
            (&parts.compression, false),
        ] {
            if two {
                body.push(0);
            }
            body.push(vector.len() as u8);
            body.extend(vector);
        }
        body.extend(vec![9; parts.extensions]);
        let len = (body.len() as u32).to_be_bytes();
        let mut message = vec![parts.message];
        message.extend(&len[1..]);
        message.extend(parts.number.to_be_bytes());
        message.extend([0, 0, parts.offset]);
        message.extend(&len[1..]);
        message.extend(body);
        let mut record = vec![parts.kind, parts.version[0], parts.version[1]];
        record.extend(parts.epoch.to_be_bytes());
        record.extend([0; 6]);
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    }

    #[test]
    fn what_a_client_sends_first_passes() {
        assert_eq!(check(&hello(&parts())), Ok(()));
        assert_eq!(check(&hello(&Parts { version: [0xFE, 0xFD], ..parts() })), Ok(()));
        assert_eq!(check(&hello(&Parts { session: vec![1; 32], extensions: 0, ..parts() })), Ok(()));
    }

    #[test]
    fn what_no_client_sends_first_is_named() {
        for (parts, expected) in [
            (Parts { kind: 23, ..parts() }, NoHello::Record),
            (Parts { version: [3, 3], ..parts() }, NoHello::Record),
            (Parts { epoch: 1, ..parts() }, NoHello::Record),
            (Parts { message: 2, ..parts() }, NoHello::Message),
            (Parts { number: 1, ..parts() }, NoHello::Message),
            (Parts { offset: 1, ..parts() }, NoHello::Message),
            (Parts { session: vec![1; 33], ..parts() }, NoHello::Body),
            (Parts { cookie: vec![1], ..parts() }, NoHello::Body),
            (Parts { suites: Vec::new(), ..parts() }, NoHello::Body),
            (Parts { suites: vec![0xC0], ..parts() }, NoHello::Body),
            (Parts { compression: vec![1], ..parts() }, NoHello::Body),
            // RSA only.
            (Parts { suites: vec![0xC0, 0x2F], ..parts() }, NoHello::Incompatible),
            // DTLS 1.0 only.
            (Parts { client_version: [0xFE, 0xFF], ..parts() }, NoHello::Incompatible),
        ] {
            assert_eq!(check(&hello(&parts)), Err(expected));
        }
    }

    #[test]
    fn what_is_cut_off_or_lies_about_lengths_is_no_hello() {
        let whole = hello(&Parts { extensions: 0, ..parts() });
        for len in 0..whole.len() {
            assert!(check(&whole[..len]).is_err(), "{len} bytes");
        }
        // The first of several fragments, with all that is looked at in it; and one that is longer than the message.
        let mut fragment = whole.clone();
        fragment[15] = 1;
        assert_eq!(check(&fragment), Ok(()));
        fragment[14] = 0xFF;
        assert_eq!(check(&fragment), Err(NoHello::Message), "too long to be true");
        let mut short = whole;
        short[16] -= 1;
        assert_eq!(check(&short), Err(NoHello::Message));
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_does_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let _ = check(&bytes);
            let mut edited = hello(&parts());
            for (at, byte) in edits {
                let at = at.index(edited.len());
                edited[at] = byte;
            }
            let _ = check(&edited);
        }
    }
}
