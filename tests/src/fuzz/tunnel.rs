//! Frames of `adit/1`: however a stream is cut into pieces, the same frames come out of it, and end where they end.

use adit_core::tunnel::{Frame, FrameReader, MAX_FRAME, MAX_PATHS, MAX_SENTENCE, Malformed, encode};

/// The first byte is the number of lengths that follow it: of the pieces, in turn; the rest is the stream.
pub fn tunnel(bytes: &[u8]) {
    let Some((&count, rest)) = bytes.split_first() else { return };
    let (pieces, stream) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let pieces: Vec<usize> = pieces.iter().map(|&length| usize::from(length).max(1)).collect();
    let (frames, taken) = read(stream, &[usize::MAX]);
    assert_eq!(read(stream, &[1]), (frames.clone(), taken));
    assert_eq!(read(stream, &pieces), (frames.clone(), taken));
    let Ok(frames) = frames else { return };
    frames.iter().for_each(check);
    let again: Vec<u8> = frames.iter().flat_map(encode).collect();
    assert_eq!(read(&again, &pieces), (Ok(frames), again.len()));
}

/// The frames of a stream that comes in `pieces`, and how many bytes were taken until the end or the first mistake.
fn read(stream: &[u8], pieces: &[usize]) -> (Result<Vec<Frame>, Malformed>, usize) {
    let (mut reader, mut frames, mut at) = (FrameReader::default(), Vec::new(), 0);
    // The end of the last whole frame: how far a mistake is seen depends on the pieces.
    let mut whole = 0;
    let mut pieces = pieces.iter().copied().chain([usize::MAX]).cycle();
    while at < stream.len() {
        let wants = reader.wants();
        assert!((1..=MAX_FRAME).contains(&wants));
        let piece = pieces.next().unwrap_or(1).min(wants).min(stream.len() - at);
        match reader.feed(&stream[at..at + piece]) {
            Ok(frame) => {
                at += piece;
                whole = if frame.is_some() { at } else { whole };
                frames.extend(frame);
            }
            Err(malformed) => return (Err(malformed), whole),
        }
    }
    (Ok(frames), whole)
}

/// What is promised of frames that were read.
fn check(frame: &Frame) {
    match frame {
        Frame::Open(open) => assert_ne!(open.target.port, 0),
        Frame::Reject { sentence, .. } => {
            assert!(sentence.len() <= MAX_SENTENCE && !sentence.contains(char::is_control));
        }
        Frame::Permit { peers, .. } => assert!(peers.len() <= MAX_PATHS),
        Frame::Paths(paths) => assert!(paths.len() <= MAX_PATHS),
        Frame::Accept(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Drain => {}
    }
}
