//! Messages on a byte stream: STUN and ChannelData over TCP and TLS, one behind the other (RFC 8656 §12.5, RFC 8489
//! §6.2.2).
//!
//! Each says its own length, so that a [`Splitter`] finds where it ends. Nothing marks where a message begins: one wrong
//! length, and everything behind it is read as what it is not. So a stream on which something else than a message was
//! seen is lost, and whoever has it closes it.

use super::channel_data;
use crate::stun;

/// The longest message in bytes: STUN with all the attributes that its length can tell of.
pub const MAX_MESSAGE: usize = stun::HEADER_LEN + u16::MAX as usize / 4 * 4;

/// Memory that a stream between two messages may keep, in bytes: no packet of Ethernet is longer.
const KEPT: usize = 2048;

/// Why a stream is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Garbage {
    /// The first two bits are neither those of STUN nor those of ChannelData.
    #[error("neither STUN nor ChannelData")]
    Neither,
    /// The bits are those of STUN, but its length is no multiple of four (RFC 8489 §5).
    #[error("STUN whose length is no multiple of four")]
    Length,
    /// The bits are those of STUN, but the magic cookie is missing (RFC 8489 §5).
    #[error("STUN without the magic cookie")]
    Cookie,
}

/// Cuts a stream into messages, in whatever pieces it arrives, and holds at most one that is not whole yet.
///
/// ```
/// use adit_core::turn::stream::Splitter;
///
/// let mut splitter = Splitter::default();
/// // "abc" on channel 0x4000, its padding, and the beginning of what follows.
/// let mut piece: &[u8] = b"\x40\x00\x00\x03abc\0\x40\x00\x00";
/// assert_eq!(splitter.next(&mut piece)?, Some(&b"\x40\x00\x00\x03abc"[..]));
/// assert_eq!(splitter.next(&mut piece)?, None);
/// let mut piece: &[u8] = b"\x04defg";
/// assert_eq!(splitter.next(&mut piece)?, Some(&b"\x40\x00\x00\x04defg"[..]));
/// # Ok::<(), adit_core::turn::stream::Garbage>(())
/// ```
#[derive(Debug, Default)]
pub struct Splitter {
    /// The beginning of a message, or the message that was given out last.
    buffer: Vec<u8>,
    /// What the buffer holds was given out.
    given: bool,
    lost: Option<Garbage>,
}

/// What the beginning of a message tells of its end.
enum Extent {
    /// Nothing before there are so many bytes.
    Wants(usize),
    /// The message has `message` bytes, and `whole` with its padding.
    Known { message: usize, whole: usize },
}

/// Where the next message lies.
enum Step<'b> {
    /// It is not whole yet.
    Wait,
    /// In the piece that has arrived.
    Direct(&'b [u8]),
    /// At the front of the buffer, with that many bytes.
    Gathered(usize),
}

impl Splitter {
    /// The next message of the stream, of which `piece` is what has arrived; what was taken of it is taken off its
    /// front. `None` when all was taken, and the next message is not whole.
    ///
    /// ChannelData comes with its header and without its padding. Nothing was looked at but what tells the length: a
    /// channel's number may be none, and a STUN message is one only when [`stun::Message::parse`] says so.
    ///
    /// # Errors
    /// [`Garbage`], now and ever after.
    pub fn next<'s, 'b: 's>(&'s mut self, piece: &mut &'b [u8]) -> Result<Option<&'s [u8]>, Garbage> {
        if let Some(garbage) = self.lost {
            return Err(garbage);
        }
        if std::mem::take(&mut self.given) {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT);
        }
        match self.step(piece) {
            Ok(Step::Wait) => Ok(None),
            Ok(Step::Direct(message)) => Ok(Some(message)),
            Ok(Step::Gathered(len)) => {
                self.given = true;
                Ok(Some(&self.buffer[..len]))
            }
            Err(garbage) => {
                *self = Self { lost: Some(garbage), ..Self::default() };
                Err(garbage)
            }
        }
    }

    /// How many bytes of a message that is not whole are held; never as many as [`MAX_MESSAGE`].
    pub fn held(&self) -> usize {
        if self.given { 0 } else { self.buffer.len() }
    }

    fn step<'b>(&mut self, piece: &mut &'b [u8]) -> Result<Step<'b>, Garbage> {
        if self.buffer.is_empty()
            && let Extent::Known { message, whole } = extent(piece)?
            && let Some((all, rest)) = piece.split_at_checked(whole)
        {
            *piece = rest;
            return Ok(Step::Direct(&all[..message]));
        }
        loop {
            let until = match extent(&self.buffer)? {
                Extent::Known { message, whole } if self.buffer.len() == whole => {
                    return Ok(Step::Gathered(message));
                }
                Extent::Known { whole, .. } => whole,
                Extent::Wants(len) => len,
            };
            if piece.is_empty() {
                return Ok(Step::Wait);
            }
            self.take(piece, until);
        }
    }

    /// Moves bytes from the piece to the buffer, until that has `until` of them.
    fn take(&mut self, piece: &mut &[u8], until: usize) {
        let missing = (until - self.buffer.len()).min(piece.len());
        let (taken, rest) = piece.split_at(missing);
        let len = self.buffer.len() + missing;
        if len > self.buffer.capacity() {
            // Memory grows with what has arrived, not with what was announced, and not past the message.
            let room = (2 * len).min(until);
            self.buffer.reserve_exact(room - self.buffer.len());
        }
        self.buffer.extend_from_slice(taken);
        *piece = rest;
    }
}

/// Appends `data` on channel `number` to `out`, padded to four bytes as a stream demands it. `data` has at most 65,535
/// bytes.
pub fn write_channel_data(out: &mut Vec<u8>, number: u16, data: &[u8]) {
    out.extend_from_slice(&channel_data::header(number, data.len()));
    out.extend_from_slice(data);
    out.extend_from_slice(&[0; 3][..padding(data.len())]);
}

/// How many bytes the message at the front of a stream of whole messages has, with its padding; `None` at its end.
pub fn whole_len(front: &[u8]) -> Option<usize> {
    match extent(front) {
        Ok(Extent::Known { whole, .. }) if whole <= front.len() => Some(whole),
        _ => None,
    }
}

/// How many bytes of padding follow ChannelData with `len` bytes of data: 0 to 3.
pub const fn padding(len: usize) -> usize {
    len.next_multiple_of(4) - len
}

/// What the bytes at the front of a message tell; mistakes in them as soon as they are there.
fn extent(front: &[u8]) -> Result<Extent, Garbage> {
    match front.first().map(|byte| byte >> 6) {
        None => Ok(Extent::Wants(channel_data::HEADER_LEN)),
        Some(0b00) => stun_extent(front),
        Some(0b01) => Ok(channel_data_extent(front)),
        Some(_) => Err(Garbage::Neither),
    }
}

fn channel_data_extent(front: &[u8]) -> Extent {
    let Some(&[_, _, l0, l1]) = front.first_chunk() else {
        return Extent::Wants(channel_data::HEADER_LEN);
    };
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let message = channel_data::HEADER_LEN + len;
    Extent::Known { message, whole: message + padding(len) }
}

/// A message without the cookie is of an older STUN, which no TURN speaks (RFC 8489 §12.2), or of no STUN at all.
fn stun_extent(front: &[u8]) -> Result<Extent, Garbage> {
    const COOKIE_END: usize = 8;
    let Some((&[_, _, l0, l1], behind)) = front.split_first_chunk() else {
        return Ok(Extent::Wants(COOKIE_END));
    };
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if !len.is_multiple_of(4) {
        return Err(Garbage::Length);
    }
    let cookie = stun::MAGIC_COOKIE.to_be_bytes();
    let seen = behind.len().min(cookie.len());
    if behind[..seen] != cookie[..seen] {
        return Err(Garbage::Cookie);
    }
    if seen < cookie.len() {
        return Ok(Extent::Wants(COOKIE_END));
    }
    let message = stun::HEADER_LEN + len;
    Ok(Extent::Known { message, whole: message })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stun::{Builder, Class, Message, Method};

    /// All messages of a stream that arrives in pieces of these lengths, in turn.
    fn split(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Result<usize, Garbage>) {
        let (mut splitter, mut messages, mut at) = (Splitter::default(), Vec::new(), 0);
        for len in pieces.iter().cycle() {
            let mut piece = &stream[at..(at + len).min(stream.len())];
            at += piece.len();
            loop {
                match splitter.next(&mut piece) {
                    Ok(Some(message)) => messages.push(message.to_vec()),
                    Ok(None) => break,
                    Err(garbage) => {
                        assert_eq!(splitter.next(&mut &b"\x40\0\0\0"[..]), Err(garbage), "it stays lost");
                        return (messages, Err(garbage));
                    }
                }
            }
            assert!(piece.is_empty() && splitter.held() < MAX_MESSAGE);
            assert!(splitter.buffer.capacity() <= MAX_MESSAGE);
            if at == stream.len() {
                return (messages, Ok(splitter.held()));
            }
        }
        unreachable!("there is a length to cycle through")
    }

    fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_channel_data(&mut out, number, data);
        out
    }

    fn indication(data: &[u8]) -> Vec<u8> {
        Builder::new(Class::Indication, Method::SEND, [3; 12]).data(data).finish()
    }

    /// RFC 8656 §12.5.
    #[test]
    fn channel_data_is_padded_to_four_bytes() {
        for (len, padded) in [(0, 4), (1, 8), (2, 8), (3, 8), (4, 8), (5, 12), (65_535, 65_540)] {
            let data = vec![7; len];
            let bytes = channel_data(0x4000, &data);
            assert_eq!(bytes.len(), padded);
            assert_eq!(channel_data::parse(&bytes), Some((0x4000, len)));
            assert!(bytes[4 + len..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn padding_is_no_data_and_no_message() {
        let stream = [channel_data(0x4000, b"a"), channel_data(0x4001, b""), channel_data(0x4002, b"abc")];
        let (messages, end) = split(&stream.concat(), &[usize::MAX >> 1]);
        assert_eq!(messages, [&b"\x40\0\0\x01a"[..], b"\x40\x01\0\0", b"\x40\x02\0\x03abc"]);
        assert_eq!(end, Ok(0));
    }

    /// A message is whole with the last byte of its padding, and no sooner.
    #[test]
    fn what_is_cut_off_waits() {
        let stream = channel_data(0x4000, b"a");
        for len in 0..stream.len() {
            assert_eq!(split(&stream[..len], &[1]), (vec![], Ok(len)));
        }
        let stream = indication(b"abcd");
        for len in 0..stream.len() {
            assert_eq!(split(&stream[..len], &[len.max(1)]), (vec![], Ok(len)));
        }
    }

    #[test]
    fn what_is_no_message_is_seen_as_soon_as_it_can_be() {
        for (stream, garbage) in [
            (&b"\x80"[..], Garbage::Neither),
            (b"\xFF", Garbage::Neither),
            (b"\x00\x01\x00\x02", Garbage::Length),
            (b"\x00\x01\x00\x00\x22", Garbage::Cookie),
            (b"\x00\x01\x00\x00\x21\x12\xA4\x43", Garbage::Cookie),
            // A ClientHello, and what browsers and their users send.
            (b"\x16\x03\x01\x02\x00\x01\x00", Garbage::Length),
            (b"\x16\x03\x01\x00\xF4\x01\x00", Garbage::Cookie),
            (b"\r\n\r\n\r\n", Garbage::Length),
        ] {
            assert_eq!(split(stream, &[1]), (vec![], Err(garbage)), "{stream:02x?}");
            assert_eq!(split(stream, &[stream.len()]), (vec![], Err(garbage)), "{stream:02x?}");
            let behind = [&indication(b"abcd"), stream].concat();
            assert_eq!(split(&behind, &[5]).1, Err(garbage), "{stream:02x?}");
        }
    }

    #[test]
    fn the_longest_messages_pass() {
        let longest = [b"\x00\x16\xFF\xFC\x21\x12\xA4\x42".to_vec(), vec![0; 12 + 65_532]].concat();
        assert_eq!(longest.len(), MAX_MESSAGE);
        let stream = [longest.clone(), channel_data(0x4FFF, &[1; 65_535]), longest].concat();
        let (messages, end) = split(&stream, &[1000]);
        assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [65_552, 65_539, 65_552]);
        assert_eq!(end, Ok(0));
    }

    #[test]
    fn memory_grows_with_what_arrives_and_is_given_back() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.next(&mut &b"\x40\x00\xFF\xFF"[..]), Ok(None));
        assert!(splitter.buffer.capacity() < 64, "an announcement costs nothing");
        assert!(splitter.next(&mut &vec![0; 65_536][..]).is_ok_and(|message| message.is_some()));
        assert_eq!(splitter.next(&mut &[][..]), Ok(None));
        assert!(splitter.buffer.capacity() <= KEPT);
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let data = || prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            (0x4000..=0x7FFFu16, data()).prop_map(|(number, data)| channel_data(number, &data)),
            data().prop_map(|data| indication(&data)),
        ]
    }

    proptest! {
        /// RFC 8656 §12.5, RFC 8489 §6.2.2: whatever the network makes of a stream, the same messages come out of it.
        #[test]
        fn any_split_of_a_stream_gives_the_same_messages(
            sent in prop::collection::vec(message(), 0..20),
            pieces in prop::collection::vec(1..300usize, 1..10),
        ) {
            let (messages, end) = split(&sent.concat(), &pieces);
            prop_assert_eq!(end, Ok(0));
            prop_assert_eq!(messages.len(), sent.len());
            for (message, sent) in messages.iter().zip(&sent) {
                prop_assert!(sent.starts_with(message) && sent.len() - message.len() < 4);
                prop_assert!(message[0] >= 0x40 || Message::parse(message).is_ok());
            }
        }

        /// Garbage is found at the same place, however it comes, and costs nothing before it.
        #[test]
        fn any_split_of_anything_gives_the_same(
            sent in prop::collection::vec(message(), 0..5),
            noise in prop::collection::vec(any::<u8>(), 0..100),
            pieces in prop::collection::vec(1..50usize, 1..10),
        ) {
            let stream = [sent.concat(), noise].concat();
            let whole = split(&stream, &[stream.len().max(1)]);
            prop_assert!(whole.0.len() >= sent.len());
            prop_assert_eq!(split(&stream, &pieces), whole.clone());
            prop_assert_eq!(split(&stream, &[1]), whole);
        }
    }
}
