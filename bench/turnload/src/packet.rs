//! What is in a packet that is counted: a mark, a number that says in which run it was sent, and when it was.

/// The bytes of what is written; the rest of a packet is filling.
pub(crate) const LEN: usize = 24;
/// The bytes of a ChannelData header (RFC 8656 §12.4).
pub(crate) const CHANNEL_HEADER: usize = 4;

const MARK: [u8; 8] = *b"turnload";
/// The bits of a number that count the packets of one run.
const RUN_SHIFT: u32 = 40;

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) number: u64,
    /// In nanoseconds since the field was opened.
    pub(crate) sent: u64,
}

impl Packet {
    /// The first number of a run: stragglers of earlier runs are told by it.
    pub(crate) fn first_number(run: u64) -> u64 {
        run << RUN_SHIFT
    }

    /// The run in which it was sent.
    pub(crate) fn run(self) -> u64 {
        self.number >> RUN_SHIFT
    }

    /// Writes it to the front of `bytes`.
    pub(crate) fn write(self, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(&MARK);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..LEN].copy_from_slice(&self.sent.to_le_bytes());
    }

    /// Reads it from the front of `bytes`; `None` when they are none of ours.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (mark, rest) = bytes.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        (*mark == MARK)
            .then_some(Self { number: u64::from_le_bytes(*number), sent: u64::from_le_bytes(*sent) })
    }
}

/// The header of `len` bytes on `channel`.
pub(crate) fn channel_header(channel: u16, len: usize) -> [u8; CHANNEL_HEADER] {
    let ([channel_high, channel_low], [len_high, len_low]) =
        (channel.to_be_bytes(), (len as u16).to_be_bytes());
    [channel_high, channel_low, len_high, len_low]
}

/// The channel and the length that the front of `bytes` tells.
pub(crate) fn read_channel_header(bytes: &[u8]) -> Option<(u16, usize)> {
    let (&[channel_high, channel_low, len_high, len_low], _) = bytes.split_first_chunk()?;
    let len = u16::from_be_bytes([len_high, len_low]);
    Some((u16::from_be_bytes([channel_high, channel_low]), len.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_as_it_was_written() {
        let packet = Packet { number: Packet::first_number(3) + 7, sent: 9 };
        let mut bytes = [0; 30];
        packet.write(&mut bytes);
        assert_eq!((Packet::read(&bytes), packet.run()), (Some(packet), 3));
        assert_eq!(Packet::read(&bytes[1..]), None);
        assert_eq!(read_channel_header(&channel_header(0x4001, 513)), Some((0x4001, 513)));
    }
}
