//! Frames to bytes and back: `varint type, varint length, payload`, through bytecodec.
//!
//! A reader takes exactly the bytes of one frame and none of those that follow it, since raw bytes may follow.
//! Types from 0x40 on that this version does not know are skipped, so that the protocol can grow; below they are
//! an error.

use bytecodec::bytes::BytesEncoder;
use bytecodec::{ByteCount, Decode, EncodeExt, Eos, ErrorKind};

use super::frame::{Frame, MAX_FRAME, Malformed};

/// The first type that a reader skips when it does not know it.
const FIRST_SKIPPED: u64 = 0x40;
/// The longest payload that a reader skips, in bytes.
const MAX_SKIPPED: u64 = 65_536;

/// The bytes of `frame`.
pub fn encode(frame: &Frame) -> Vec<u8> {
    let mut payload = Vec::new();
    frame.write_payload(&mut payload);
    let mut head = Vec::with_capacity(payload.len() + 9);
    write_varint(&mut head, frame.kind());
    write_varint(&mut head, payload.len() as u64);
    BytesEncoder::<Vec<u8>>::new()
        .chain(BytesEncoder::new())
        .encode_into_bytes((head, payload))
        .expect("encoding into memory cannot fail")
}

/// Reads one frame after the other from a stream.
#[derive(Debug, Default)]
pub struct FrameReader(FrameDecoder);

impl FrameReader {
    /// How many bytes are surely missing until the frame ends; at least 1. Reading no more at once never takes a
    /// byte that belongs to what follows the frame.
    pub fn wants(&self) -> usize {
        let missing = self.0.requiring_bytes().to_u64().unwrap_or(1);
        usize::try_from(missing).unwrap_or(usize::MAX).clamp(1, MAX_FRAME)
    }

    /// Whether no byte of a frame was taken yet.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(&self.0, FrameDecoder::Kind(kind) if kind.missing.is_none())
    }

    /// Takes the next bytes, at most as many as [`wants`](Self::wants) said, and returns the frame that they
    /// complete.
    ///
    /// # Errors
    /// [`Malformed`]: the stream is of no further use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Frame>, Malformed> {
        debug_assert!(bytes.len() <= self.wants());
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.0.decode(rest, Eos::new(false)).map_err(|_| Malformed)?;
            rest = &rest[taken..];
            if self.0.is_idle() {
                return self.0.finish_decoding().map(Some).map_err(|_| Malformed);
            }
        }
        Ok(None)
    }
}

/// Where a decoder stands within a frame.
#[derive(Debug)]
enum FrameDecoder {
    Kind(VarintDecoder),
    Length { kind: u64, length: VarintDecoder },
    Payload { kind: u64, payload: Vec<u8>, missing: usize },
    Skip { missing: u64 },
    Done(Option<Frame>),
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::Kind(VarintDecoder::default())
    }
}

impl FrameDecoder {
    /// The state behind the two integers, or an error where such a frame may not stand here.
    fn payload(kind: u64, length: u64) -> bytecodec::Result<Self> {
        let missing = usize::try_from(length).unwrap_or(usize::MAX);
        match kind {
            FIRST_SKIPPED.. if length == 0 => Ok(Self::default()),
            FIRST_SKIPPED.. if length <= MAX_SKIPPED => Ok(Self::Skip { missing: length }),
            0..FIRST_SKIPPED if missing <= MAX_FRAME => {
                Self::Payload { kind, payload: Vec::with_capacity(missing), missing }.completed()
            }
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }

    /// `Done` once nothing of the payload is missing.
    fn completed(self) -> bytecodec::Result<Self> {
        match self {
            Self::Payload { kind, payload, missing: 0 } => match Frame::read_payload(kind, &payload) {
                Some(Ok(frame)) => Ok(Self::Done(Some(frame))),
                _ => Err(ErrorKind::InvalidInput.into()),
            },
            Self::Skip { missing: 0 } => Ok(Self::default()),
            state => Ok(state),
        }
    }
}

impl Decode for FrameDecoder {
    type Item = Frame;

    fn decode(&mut self, buf: &[u8], eos: Eos) -> bytecodec::Result<usize> {
        let (taken, next) = match std::mem::take(self) {
            Self::Kind(mut kind) => {
                let taken = kind.decode(buf, eos)?;
                let next = match kind.is_idle() {
                    true => Self::Length { kind: kind.finish_decoding()?, length: VarintDecoder::default() },
                    false => Self::Kind(kind),
                };
                (taken, next)
            }
            Self::Length { kind, mut length } => {
                let taken = length.decode(buf, eos)?;
                let next = match length.is_idle() {
                    true => Self::payload(kind, length.finish_decoding()?)?,
                    false => Self::Length { kind, length },
                };
                (taken, next)
            }
            Self::Payload { kind, mut payload, missing } => {
                let taken = missing.min(buf.len());
                payload.extend_from_slice(&buf[..taken]);
                (taken, Self::Payload { kind, payload, missing: missing - taken }.completed()?)
            }
            Self::Skip { missing } => {
                let taken = usize::try_from(missing).unwrap_or(usize::MAX).min(buf.len());
                (taken, Self::Skip { missing: missing - taken as u64 }.completed()?)
            }
            done @ Self::Done(_) => (0, done),
        };
        *self = next;
        Ok(taken)
    }

    fn finish_decoding(&mut self) -> bytecodec::Result<Frame> {
        match std::mem::take(self) {
            Self::Done(Some(frame)) => Ok(frame),
            _ => Err(ErrorKind::IncompleteDecoding.into()),
        }
    }

    fn requiring_bytes(&self) -> ByteCount {
        match self {
            Self::Kind(kind) => kind.requiring_bytes(),
            Self::Length { length, .. } => length.requiring_bytes(),
            Self::Payload { missing, .. } => ByteCount::Finite(*missing as u64),
            Self::Skip { missing } => ByteCount::Finite(*missing),
            Self::Done(_) => ByteCount::Finite(0),
        }
    }
}

/// A variable-length integer (RFC 9000 §16): the two high bits of the first byte tell how many follow it.
#[derive(Debug, Default)]
struct VarintDecoder {
    value: u64,
    /// How many bytes are missing; `None` before the first.
    missing: Option<u8>,
}

impl Decode for VarintDecoder {
    type Item = u64;

    fn decode(&mut self, buf: &[u8], _eos: Eos) -> bytecodec::Result<usize> {
        let mut taken = 0;
        for &byte in buf {
            match self.missing {
                Some(0) => break,
                Some(missing) => {
                    self.value = self.value << 8 | u64::from(byte);
                    self.missing = Some(missing - 1);
                }
                None => {
                    self.value = u64::from(byte & 0x3f);
                    self.missing = Some((1 << (byte >> 6)) - 1);
                }
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn finish_decoding(&mut self) -> bytecodec::Result<u64> {
        match std::mem::take(self) {
            Self { value, missing: Some(0) } => Ok(value),
            _ => Err(ErrorKind::IncompleteDecoding.into()),
        }
    }

    fn requiring_bytes(&self) -> ByteCount {
        ByteCount::Finite(self.missing.unwrap_or(1).into())
    }
}

fn write_varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x40 => out.push(value as u8),
        0x40..0x4000 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::{Host, Open, RejectCode, Target};
    use proptest::prelude::*;
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Open(Open {
                target: "tcp://db.internal:5432".parse().unwrap(),
                deadline: Duration::from_millis(1500),
                trace: Some([7; 16]),
            }),
            Frame::Open(Open {
                target: "tcp://[::1]:1".parse().unwrap(),
                deadline: Duration::ZERO,
                trace: None,
            }),
            Frame::Accept("127.0.0.1:5432".parse().unwrap()),
            Frame::Accept("[2001:db8::1]:5432".parse().unwrap()),
            Frame::Reject { code: RejectCode::Denied, sentence: "no".into() },
            Frame::Reject { code: RejectCode::BadRequest, sentence: String::new() },
            Frame::Ping([1; 8]),
            Frame::Pong([2; 8]),
            Frame::Permit {
                peers: vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
                lifetime: Duration::from_secs(3600),
            },
            Frame::Permit { peers: Vec::new(), lifetime: Duration::ZERO },
            Frame::Paths(vec!["203.0.113.1:50000".parse().unwrap(), "[::1]:50001".parse().unwrap()]),
            Frame::Paths(Vec::new()),
            Frame::Drain,
        ]
    }

    /// Feeds `bytes` as a stream would give them, at most `chunk` at once.
    fn read_all(mut bytes: &[u8], chunk: usize) -> Result<Vec<Frame>, Malformed> {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(reader.wants().min(chunk).min(bytes.len()));
            frames.extend(reader.feed(now)?);
            bytes = later;
        }
        Ok(frames)
    }

    #[test]
    fn frames_survive_any_split_of_the_stream() {
        let bytes: Vec<u8> = frames().iter().flat_map(encode).collect();
        for chunk in 1..40 {
            assert_eq!(read_all(&bytes, chunk), Ok(frames()));
        }
    }

    #[test]
    fn a_reader_never_takes_what_follows_the_frame() {
        for frame in frames() {
            let mut bytes = encode(&frame);
            let end = bytes.len();
            bytes.extend_from_slice(b"raw bytes");
            let mut reader = FrameReader::default();
            let mut at = 0;
            let read = loop {
                let wants = reader.wants();
                let next = reader.feed(&bytes[at..at + wants]).unwrap();
                at += wants;
                if let Some(next) = next {
                    break next;
                }
            };
            assert_eq!((read, at), (frame, end));
        }
    }

    #[test]
    fn unknown_types_from_0x40_on_are_skipped() {
        let mut bytes = vec![0x40, 0x40, 3, 1, 2, 3];
        bytes.extend([0x40, 0x41, 0]);
        bytes.extend(encode(&Frame::Drain));
        assert_eq!(read_all(&bytes, 100), Ok(vec![Frame::Drain]));
    }

    #[test]
    fn what_may_not_stand_is_malformed() {
        for bytes in [
            &[0, 0][..],                              // type 0
            &[9, 0],                                  // unknown, below 0x40
            &[8, 1, 0],                               // DRAIN with a payload
            &[4, 7, 0, 0, 0, 0, 0, 0, 0],             // a short PING
            &[1, 0x50, 1],                            // OPEN of over 4 KiB
            &[0x40, 0x40, 0xc0, 0, 0, 0, 1, 0, 0, 0], // 16 MiB to skip
            &[3, 1, 99],                              // an unknown REJECT
            &[2, 7, 5, 1, 2, 3, 4, 0, 1],             // an address of family 5
            &[6, 3, 0, 0, 1],                         // PERMIT without a whole lifetime
            &[6, 6, 0, 0, 0, 1, 4, 10],               // PERMIT of half an address
            &[1, 9, 17, 0, 1, 0, 0, 0, 0, 1, b'a'],   // OPEN of UDP
            &[1, 9, 6, 0, 0, 0, 0, 0, 0, 1, b'a'],    // OPEN of port 0
        ] {
            assert_eq!(read_all(bytes, 100), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn a_long_sentence_is_cut_at_a_character() {
        let long = Frame::Reject { code: RejectCode::Dns, sentence: "ü".repeat(400) };
        let cut = Frame::Reject { code: RejectCode::Dns, sentence: "ü".repeat(256) };
        assert_eq!(read_all(&encode(&long), 600), Ok(vec![cut]));
    }

    #[test]
    fn a_sentence_can_t_talk_to_a_terminal() {
        let frame = |sentence: &str| Frame::Reject { code: RejectCode::Dns, sentence: sentence.into() };
        assert_eq!(read_all(&encode(&frame("a\x1b[2J\nb")), 99), Ok(vec![frame("a [2J b")]));
    }

    fn target() -> impl Strategy<Value = Target> {
        let host = prop_oneof![
            any::<IpAddr>().prop_map(Host::Ip),
            "[a-z][a-z0-9-]{0,30}(\\.[a-z]{1,9}){0,3}".prop_map(Host::Name),
        ];
        (host, 1..=u16::MAX).prop_map(|(host, port)| Target { host, port })
    }

    /// An address without what IPv6 adds to it: the tunnel carries none of that.
    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let codes = (1..=8u8).prop_map(|number| {
            *[
                RejectCode::Denied,
                RejectCode::Refused,
                RejectCode::Unreachable,
                RejectCode::TimedOut,
                RejectCode::Dns,
                RejectCode::Busy,
                RejectCode::Draining,
                RejectCode::BadRequest,
            ]
            .get(usize::from(number) - 1)
            .unwrap()
        });
        prop_oneof![
            (target(), any::<u32>(), any::<Option<[u8; 16]>>()).prop_map(|(target, deadline, trace)| {
                Frame::Open(Open { target, deadline: Duration::from_millis(deadline.into()), trace })
            }),
            address().prop_map(Frame::Accept),
            (codes, "[^\\p{C}]{0,120}").prop_map(|(code, sentence)| Frame::Reject { code, sentence }),
            any::<[u8; 8]>().prop_map(Frame::Ping),
            any::<[u8; 8]>().prop_map(Frame::Pong),
            (prop::collection::vec(any::<IpAddr>(), 0..=64), any::<u32>()).prop_map(|(peers, lifetime)| {
                Frame::Permit { peers, lifetime: Duration::from_secs(lifetime.into()) }
            }),
            prop::collection::vec(address(), 0..=64).prop_map(Frame::Paths),
            Just(Frame::Drain),
        ]
    }

    proptest! {
        /// Any frames, and between them some that a later version may have, in pieces of any lengths.
        #[test]
        fn any_frames_survive_any_split(
            frames in prop::collection::vec(any_frame(), 1..8),
            unknown in prop::collection::vec(any::<u8>(), 0..100),
            pieces in prop::collection::vec(1..200usize, 1..50),
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                write_varint(&mut bytes, FIRST_SKIPPED + 5);
                write_varint(&mut bytes, unknown.len() as u64);
                bytes.extend_from_slice(&unknown);
                bytes.extend(encode(frame));
            }
            let (mut reader, mut read, mut rest) = (FrameReader::default(), Vec::new(), &bytes[..]);
            for &piece in pieces.iter().cycle() {
                let (now, later) = rest.split_at(piece.min(reader.wants()).min(rest.len()));
                read.extend(reader.feed(now).unwrap());
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(read, frames);
            prop_assert!(reader.is_fresh());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), chunk in 1usize..64) {
            let _ = read_all(&bytes, chunk);
        }

        #[test]
        fn no_mutation_of_a_frame_makes_a_reader_panic(index in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode(index.get(&frames()));
            *at.get_mut(&mut bytes) = byte;
            let _ = read_all(&bytes, 7);
        }

        #[test]
        fn integers_read_as_they_write(value in 0u64..1 << 62) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, value);
            let mut decoder = VarintDecoder::default();
            prop_assert_eq!(decoder.decode(&bytes, Eos::new(true)).unwrap(), bytes.len());
            prop_assert_eq!(decoder.finish_decoding().unwrap(), value);
        }
    }
}
