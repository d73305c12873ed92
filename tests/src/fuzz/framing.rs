//! ChannelData (RFC 8656 §12.4), and batches of datagrams: segments cover a batch, and runs carry them on unchanged.

use adit_core::io::{Datagrams, Forwards, Id, Onward, Run, SocketId};
use adit_core::turn::channel_data::{self, HEADER_LEN, NUMBERS, RFC5766_NUMBERS};

/// The first two bytes are the stride; the rest is what a socket has received.
pub fn framing(bytes: &[u8]) {
    let Some((stride, payload)) = bytes.split_first_chunk() else { return };
    let stride = usize::from(u16::from_be_bytes(*stride));
    let socket = SocketId::new(1, 0);
    let remote = ([192, 0, 2, 1], 3478).into();
    let mut payload = payload.to_vec();
    let all = payload.clone();
    let batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload: &mut payload };
    covers(&batch, &all);
    let mut forwards = Forwards::default();
    for index in 0..batch.len() {
        unwrap(&batch, index, &mut forwards);
    }
    carried_on(&batch, &forwards);
}

/// The segments, one behind the other, are the batch.
fn covers(batch: &Datagrams<'_>, all: &[u8]) {
    let segments: Vec<&[u8]> = (0..batch.len()).map(|index| batch.segment(index)).collect();
    if batch.stride > 0 {
        assert_eq!(segments.concat(), all);
    }
    assert!(batch.segment(batch.len()).is_empty() && batch.segment(usize::MAX).is_empty());
    assert!(segments.iter().all(|segment| segment.len() <= batch.stride));
}

/// A segment goes on without its header, as a relay would send it.
fn unwrap(batch: &Datagrams<'_>, index: usize, forwards: &mut Forwards) {
    let datagram = batch.segment(index);
    let old = channel_data::parse_within(datagram, &RFC5766_NUMBERS);
    let Some((number, len)) = channel_data::parse(datagram) else {
        assert!(old.is_none_or(|(number, _)| !NUMBERS.contains(&number)));
        return;
    };
    assert_eq!(old, Some((number, len)));
    assert!(NUMBERS.contains(&number) && HEADER_LEN + len <= datagram.len());
    assert_eq!(channel_data::header(number, len), datagram[..HEADER_LEN]);
    assert!(channel_data::parse(&datagram[..HEADER_LEN + len]).is_some(), "padding may be missing");
    assert!(len == 0 || channel_data::parse(&datagram[..HEADER_LEN + len - 1]).is_none(), "data may not");
    let to = ([203, 0, 113, 1], number).into();
    let onward = Onward::Send { socket: batch.socket, to, from: None, whole: false };
    let segments = index..index + 1;
    forwards.push(Run { onward, ecn: None, strip: HEADER_LEN, len, prefix: None, segments });
}

/// Each segment with data is in one run, in order, and nothing is joined that goes another way.
fn carried_on(batch: &Datagrams<'_>, forwards: &Forwards) {
    let with_data = |index: &usize| channel_data::parse(batch.segment(*index)).is_some();
    let expected = (0..batch.len()).filter(with_data);
    let carried = forwards.runs().iter().flat_map(|run| run.segments.clone().map(move |index| (run, index)));
    assert!(carried.clone().map(|(_, index)| index).eq(expected));
    for (run, index) in carried {
        let datagram = batch.segment(index);
        let (number, len) = channel_data::parse(datagram).expect("it was read before");
        assert_eq!(run.body(batch, index), &datagram[HEADER_LEN..HEADER_LEN + len]);
        assert!(matches!(run.onward, Onward::Send { to, .. } if to.port() == number));
    }
}
