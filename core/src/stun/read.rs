//! Typed values of a message's attributes.
//!
//! A reader returns `Ok(None)` where the attribute is missing, and [`BadAttribute`] where its value makes no
//! sense: a request is then answered with 400, anything else is dropped.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytecodec::{DecodeExt as _, TryTaggedDecode as _};
use stun_codec::rfc5389::attributes as rfc5389;
use stun_codec::rfc5766::attributes as rfc5766;

use super::{Message, attribute, xor};

/// An attribute is there, and its value makes no sense. Holds the attribute's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("attribute {0:#06x} is malformed")]
pub struct BadAttribute(pub u16);

/// ERROR-CODE (RFC 8489 §14.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCode {
    /// 300 to 599.
    pub code: u16,
    /// The server's sentence for people. It comes from the network: show it, never act on it.
    pub reason: String,
}

/// ADDRESS-ERROR-CODE (RFC 8656 §18.12): why the second family of a dual allocation is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    /// The family that is missing.
    pub family: Family,
    /// 440 or 508, from a relay that keeps to the RFC.
    pub code: u16,
    /// The server's sentence for people, as that of an [`ErrorCode`].
    pub reason: String,
}

/// EVEN-PORT (RFC 8656 §18.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvenPort {
    /// Whether the next higher port is to be reserved.
    pub reserve: bool,
}

/// An address family in REQUESTED-ADDRESS-FAMILY and ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.6, §18.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Some other number: 440.
    Other(u8),
}

impl Family {
    /// The family of `address`.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The number on the wire.
    pub fn codepoint(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
            Self::Other(other) => other,
        }
    }

    fn new(codepoint: u8) -> Self {
        match codepoint {
            1 => Self::V4,
            2 => Self::V6,
            other => Self::Other(other),
        }
    }
}

/// How a key is made of a password (RFC 8489 §18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PasswordAlgorithm {
    /// MD5, as it always was.
    Md5,
    /// SHA-256.
    Sha256,
    /// Some other number.
    Other(u16),
}

impl PasswordAlgorithm {
    /// The number on the wire.
    pub fn codepoint(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
            Self::Other(other) => other,
        }
    }

    fn new(codepoint: u16) -> Self {
        match codepoint {
            1 => Self::Md5,
            2 => Self::Sha256,
            other => Self::Other(other),
        }
    }

    /// The algorithm that `value` begins with, and what stands behind it and its parameters. MD5 and SHA-256 have none.
    fn split(value: &[u8]) -> Option<(Self, &[u8])> {
        let (&[a0, a1, l0, l1], rest) = value.split_first_chunk()?;
        let algorithm = Self::new(u16::from_be_bytes([a0, a1]));
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if len > 0 && !matches!(algorithm, Self::Other(_)) {
            return None;
        }
        // The last parameters may lack their padding: that of the attribute is the same.
        rest.get(..len)?;
        Some((algorithm, rest.get(len.next_multiple_of(4)..).unwrap_or_default()))
    }
}

/// ICMP (RFC 8656 §18.13): what a router or a peer's host has said about a datagram. Its numbers are those of ICMP for
/// the version of IP that the datagram had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// The type; seven bits.
    pub kind: u8,
    /// The code; nine bits.
    pub code: u16,
    /// The MTU of the link that the datagram was too large for, where that is what was said; 0 otherwise.
    pub data: u32,
}

/// Readers. Each looks at the first attribute of its type: `None` where there is none.
///
/// # Errors
/// Each says [`BadAttribute`] where the attribute has a wrong length, is not UTF-8, or has a value that its RFC
/// forbids.
impl<'a> Message<'a> {
    /// USERNAME (RFC 8489 §14.3), as it was sent.
    pub fn username(&self) -> Result<Option<&'a str>, BadAttribute> {
        self.text(attribute::USERNAME)
    }

    /// REALM (RFC 8489 §14.9).
    pub fn realm(&self) -> Result<Option<&'a str>, BadAttribute> {
        self.text(attribute::REALM)
    }

    /// NONCE (RFC 8489 §14.10).
    pub fn nonce(&self) -> Result<Option<&'a str>, BadAttribute> {
        self.text(attribute::NONCE)
    }

    /// USERHASH (RFC 8489 §14.4).
    pub fn userhash(&self) -> Result<Option<[u8; 32]>, BadAttribute> {
        let Some(value) = self.attribute(attribute::USERHASH) else { return Ok(None) };
        value.try_into().map(Some).map_err(|_| BadAttribute(attribute::USERHASH))
    }

    /// PASSWORD-ALGORITHMS, in the order of the sender's preference (RFC 8489 §14.11).
    pub fn password_algorithms(&self) -> Result<Option<Vec<PasswordAlgorithm>>, BadAttribute> {
        let Some(mut value) = self.attribute(attribute::PASSWORD_ALGORITHMS) else { return Ok(None) };
        let mut algorithms = Vec::new();
        while !value.is_empty() {
            let (algorithm, rest) =
                PasswordAlgorithm::split(value).ok_or(BadAttribute(attribute::PASSWORD_ALGORITHMS))?;
            algorithms.push(algorithm);
            value = rest;
        }
        Ok(Some(algorithms))
    }

    /// PASSWORD-ALGORITHM (RFC 8489 §14.12).
    pub fn password_algorithm(&self) -> Result<Option<PasswordAlgorithm>, BadAttribute> {
        let Some(value) = self.attribute(attribute::PASSWORD_ALGORITHM) else { return Ok(None) };
        match PasswordAlgorithm::split(value) {
            Some((algorithm, [])) => Ok(Some(algorithm)),
            _ => Err(BadAttribute(attribute::PASSWORD_ALGORITHM)),
        }
    }

    /// ERROR-CODE (RFC 8489 §14.8).
    pub fn error_code(&self) -> Result<Option<ErrorCode>, BadAttribute> {
        let decoded: Option<rfc5389::ErrorCode> = self.decode(attribute::ERROR_CODE)?;
        Ok(decoded.map(|error| ErrorCode { code: error.code(), reason: error.reason_phrase().to_owned() }))
    }

    /// UNKNOWN-ATTRIBUTES: the types that a server did not understand (RFC 8489 §14.13).
    pub fn unknown_attributes(&self) -> Result<Vec<u16>, BadAttribute> {
        let decoded: Option<rfc5389::UnknownAttributes> = self.decode(attribute::UNKNOWN_ATTRIBUTES)?;
        Ok(decoded.iter().flat_map(rfc5389::UnknownAttributes::unknowns).map(|kind| kind.as_u16()).collect())
    }

    /// ALTERNATE-SERVER (RFC 8489 §14.15).
    pub fn alternate_server(&self) -> Result<Option<SocketAddr>, BadAttribute> {
        let decoded: Option<rfc5389::AlternateServer> = self.decode(attribute::ALTERNATE_SERVER)?;
        Ok(decoded.map(|server| server.address()))
    }

    /// LIFETIME (RFC 8656 §18.2); whole seconds.
    pub fn lifetime(&self) -> Result<Option<Duration>, BadAttribute> {
        let decoded: Option<rfc5766::Lifetime> = self.decode(attribute::LIFETIME)?;
        Ok(decoded.map(|lifetime| lifetime.lifetime()))
    }

    /// CHANNEL-NUMBER (RFC 8656 §18.1); a number outside 0x4000 to 0x4FFF is a [`BadAttribute`].
    pub fn channel_number(&self) -> Result<Option<u16>, BadAttribute> {
        let decoded: Option<rfc5766::ChannelNumber> = self.decode(attribute::CHANNEL_NUMBER)?;
        Ok(decoded.map(rfc5766::ChannelNumber::value))
    }

    /// REQUESTED-TRANSPORT: the IP protocol number, 17 for UDP (RFC 8656 §18.8).
    pub fn requested_transport(&self) -> Result<Option<u8>, BadAttribute> {
        let decoded: Option<rfc5766::RequestedTransport> = self.decode(attribute::REQUESTED_TRANSPORT)?;
        Ok(decoded.map(|transport| transport.protocol()))
    }

    /// EVEN-PORT (RFC 8656 §18.7).
    pub fn even_port(&self) -> Result<Option<EvenPort>, BadAttribute> {
        let Some(value) = self.attribute(attribute::EVEN_PORT) else { return Ok(None) };
        match value {
            [flags] => Ok(Some(EvenPort { reserve: flags & 0x80 != 0 })),
            _ => Err(BadAttribute(attribute::EVEN_PORT)),
        }
    }

    /// RESERVATION-TOKEN (RFC 8656 §18.10).
    pub fn reservation_token(&self) -> Result<Option<[u8; 8]>, BadAttribute> {
        let Some(value) = self.attribute(attribute::RESERVATION_TOKEN) else { return Ok(None) };
        value.try_into().map(Some).map_err(|_| BadAttribute(attribute::RESERVATION_TOKEN))
    }

    /// CONNECTION-ID (RFC 6062 §6.2.1).
    pub fn connection_id(&self) -> Result<Option<u32>, BadAttribute> {
        let Some(value) = self.attribute(attribute::CONNECTION_ID) else { return Ok(None) };
        let value = value.try_into().map_err(|_| BadAttribute(attribute::CONNECTION_ID))?;
        Ok(Some(u32::from_be_bytes(value)))
    }

    /// REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6).
    pub fn requested_family(&self) -> Result<Option<Family>, BadAttribute> {
        self.family(attribute::REQUESTED_ADDRESS_FAMILY)
    }

    /// ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.11).
    pub fn additional_family(&self) -> Result<Option<Family>, BadAttribute> {
        self.family(attribute::ADDITIONAL_ADDRESS_FAMILY)
    }

    /// ADDRESS-ERROR-CODE: why one of two families could not be had (RFC 8656 §18.12).
    pub fn address_error(&self) -> Result<Option<AddressError>, BadAttribute> {
        let Some(value) = self.attribute(attribute::ADDRESS_ERROR_CODE) else { return Ok(None) };
        let bad = BadAttribute(attribute::ADDRESS_ERROR_CODE);
        let (&[family, _, class, number], reason) = value.split_first_chunk().ok_or(bad)?;
        let class = class & 0b111;
        if !(3..6).contains(&class) || number > 99 {
            return Err(bad);
        }
        let code = u16::from(class) * 100 + u16::from(number);
        let reason = std::str::from_utf8(reason).map_err(|_| bad)?.to_owned();
        Ok(Some(AddressError { family: Family::new(family), code, reason }))
    }

    /// XOR-MAPPED-ADDRESS: where the server saw the request come from (RFC 8489 §14.2).
    pub fn mapped_address(&self) -> Result<Option<SocketAddr>, BadAttribute> {
        self.addresses(attribute::XOR_MAPPED_ADDRESS).next().transpose()
    }

    /// All XOR-RELAYED-ADDRESS, one per family (RFC 8656 §18.5).
    pub fn relayed_addresses(&self) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> + use<'a> {
        self.addresses(attribute::XOR_RELAYED_ADDRESS)
    }

    /// The first XOR-PEER-ADDRESS (RFC 8656 §18.3). Data path: allocates nothing.
    pub fn peer_address(&self) -> Result<Option<SocketAddr>, BadAttribute> {
        self.peer_addresses().next().transpose()
    }

    /// All XOR-PEER-ADDRESS, of which CreatePermission may hold several (RFC 8656 §10.1).
    pub fn peer_addresses(&self) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> + use<'a> {
        self.addresses(attribute::XOR_PEER_ADDRESS)
    }

    /// ICMP (RFC 8656 §18.13).
    pub fn icmp(&self) -> Result<Option<Icmp>, BadAttribute> {
        let Some(value) = self.attribute(attribute::ICMP) else { return Ok(None) };
        let &[_, _, k, c, d0, d1, d2, d3] = value else { return Err(BadAttribute(attribute::ICMP)) };
        let code = u16::from(k & 1) << 8 | u16::from(c);
        Ok(Some(Icmp { kind: k >> 1, code, data: u32::from_be_bytes([d0, d1, d2, d3]) }))
    }

    /// MOBILITY-TICKET (RFC 8016 §4.1); empty where one is asked for.
    pub fn mobility_ticket(&self) -> Option<&'a [u8]> {
        self.attribute(attribute::MOBILITY_TICKET)
    }

    /// Whether DONT-FRAGMENT is there (RFC 8656 §18.9).
    pub fn dont_fragment(&self) -> Result<bool, BadAttribute> {
        match self.attribute(attribute::DONT_FRAGMENT) {
            None => Ok(false),
            Some([]) => Ok(true),
            Some(_) => Err(BadAttribute(attribute::DONT_FRAGMENT)),
        }
    }

    /// DATA (RFC 8656 §18.4).
    pub fn data(&self) -> Option<&'a [u8]> {
        self.attribute(attribute::DATA)
    }

    /// Where the value of DATA lies in the datagram, so that it can be forwarded without a copy.
    pub fn data_range(&self) -> Option<Range<usize>> {
        self.attribute_range(attribute::DATA)
    }

    /// The types that the sender insists on and that are not among `understood`: each once, in their order
    /// (RFC 8489 §6.3.1). Empty when all is well.
    pub fn unknown_required(&self, understood: &[u16]) -> Vec<u16> {
        let mut unknown = Vec::new();
        for (kind, _) in self.attributes() {
            if kind < 0x8000 && !understood.contains(&kind) && !unknown.contains(&kind) {
                unknown.push(kind);
            }
        }
        unknown
    }

    fn text(&self, kind: u16) -> Result<Option<&'a str>, BadAttribute> {
        let Some(value) = self.attribute(kind) else { return Ok(None) };
        std::str::from_utf8(value).map(Some).map_err(|_| BadAttribute(kind))
    }

    fn family(&self, kind: u16) -> Result<Option<Family>, BadAttribute> {
        match self.attribute(kind) {
            None => Ok(None),
            Some(&[family, _, _, _]) => Ok(Some(Family::new(family))),
            Some(_) => Err(BadAttribute(kind)),
        }
    }

    fn addresses(&self, kind: u16) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> + use<'a> {
        let transaction = self.transaction();
        self.attributes()
            .filter(move |&(found, _)| found == kind)
            .map(move |(_, value)| xor::read(value, &transaction).ok_or(BadAttribute(kind)))
    }

    /// The first attribute of type `kind`, through `stun_codec`'s decoder for it.
    fn decode<A: stun_codec::Attribute>(&self, kind: u16) -> Result<Option<A>, BadAttribute> {
        let Some(value) = self.attribute(kind) else { return Ok(None) };
        let mut decoder = A::Decoder::default();
        let started = decoder.try_start_decoding(stun_codec::AttributeType::new(kind));
        debug_assert!(matches!(started, Ok(true)), "the decoder is that of the type");
        decoder.decode_from_bytes(value).map(Some).map_err(|_| BadAttribute(kind))
    }
}
