//! What the first byte of a datagram or of a stream tells.

/// Protocols that share a relay's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// A STUN message.
    Stun,
    /// ChannelData.
    ChannelData,
    /// A record of DTLS.
    Dtls,
    /// A record of TLS.
    Tls,
}

/// The content type of handshake records (RFC 8446 §5.1): what a TLS client begins with.
const HANDSHAKE: u8 = 22;

impl Speaks {
    /// What a datagram is (RFC 7983 §7, RFC 9443 §3); `None` for what no relay is sent. QUIC's first bytes overlap with
    /// those of ChannelData, but a relay's own port has no QUIC.
    pub fn of_datagram(first: u8) -> Option<Self> {
        match first {
            0..=3 => Some(Self::Stun),
            20..=63 => Some(Self::Dtls),
            64..=79 => Some(Self::ChannelData),
            _ => None,
        }
    }

    /// What a stream from a client begins with; `None` for what no client of a relay sends.
    pub fn of_stream(first: u8) -> Option<Self> {
        match first {
            0..=3 => Some(Self::Stun),
            HANDSHAKE => Some(Self::Tls),
            64..=79 => Some(Self::ChannelData),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7983 §7, as RFC 9443 §3 has it.
    #[test]
    fn every_first_byte_has_one_meaning() {
        let datagrams = |speaks| (0..=255).filter(move |&first| Speaks::of_datagram(first) == speaks);
        assert!(datagrams(Some(Speaks::Stun)).eq(0..=3));
        assert!(datagrams(Some(Speaks::Dtls)).eq(20..=63));
        assert!(datagrams(Some(Speaks::ChannelData)).eq(64..=79));
        assert_eq!(datagrams(Some(Speaks::Tls)).count(), 0);
        let streams = |speaks| (0..=255).filter(move |&first| Speaks::of_stream(first) == speaks);
        assert!(streams(Some(Speaks::Stun)).eq(0..=3));
        assert!(streams(Some(Speaks::Tls)).eq([22]));
        assert!(streams(Some(Speaks::ChannelData)).eq(64..=79));
        assert_eq!(streams(Some(Speaks::Dtls)).count(), 0);
    }
}
