//! Messages on a byte stream (RFC 8656 §12.5): however it is cut into pieces, the same messages come out of it.

use adit_core::stun::MAGIC_COOKIE;
use adit_core::turn::channel_data;
use adit_core::turn::stream::{Garbage, MAX_MESSAGE, Splitter, padding};

/// The first byte is the number of lengths that follow it: of the pieces, in turn; the rest is the stream.
pub fn stream(bytes: &[u8]) {
    let Some((&count, rest)) = bytes.split_first() else { return };
    let (pieces, stream) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let pieces: Vec<usize> = pieces.iter().map(|&length| usize::from(length).max(1)).collect();
    let whole = read(stream, &[]);
    assert_eq!(read(stream, &[1]), whole);
    assert_eq!(read(stream, &pieces), whole);
    let (messages, end) = whole;
    let sent: usize = messages.iter().map(|message| checked(message)).sum();
    assert!(sent <= stream.len());
    if let Ok(held) = end {
        assert_eq!(sent + held, stream.len(), "no byte is lost");
    }
}

/// The messages of a stream that comes in `pieces`, and how many bytes wait at its end.
fn read(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Result<usize, Garbage>) {
    let (mut splitter, mut messages, mut rest) = (Splitter::default(), Vec::new(), stream);
    let mut pieces = pieces.iter().copied().chain([usize::MAX]).cycle();
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at(pieces.next().unwrap_or(1).min(rest.len()));
        rest = behind;
        loop {
            match splitter.next(&mut piece) {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(garbage) => return (messages, Err(garbage)),
            }
        }
        assert!(piece.is_empty() && splitter.held() < MAX_MESSAGE);
    }
    let held = splitter.held();
    (messages, Ok(held))
}

/// What is promised of messages, and how many bytes of a stream one has taken.
fn checked(message: &[u8]) -> usize {
    assert!(message.len() <= MAX_MESSAGE);
    match message[0] >> 6 {
        0b00 => assert_eq!(message[4..8], MAGIC_COOKIE.to_be_bytes()),
        _ => {
            let len = message.len() - channel_data::HEADER_LEN;
            assert_eq!(message[2..4], (len as u16).to_be_bytes());
            return message.len() + padding(len);
        }
    }
    assert!(message.len().is_multiple_of(4));
    message.len()
}
