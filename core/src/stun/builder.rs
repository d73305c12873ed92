//! Writes messages. `stun_codec` encodes attributes and message; integrity and fingerprint are appended to its
//! bytes, so that what is signed is what is sent.

use std::net::SocketAddr;
use std::time::Duration;

use bytecodec::EncodeExt as _;
use stun_codec::rfc5389::attributes as rfc5389;
use stun_codec::rfc5766::attributes as rfc5766;
use stun_codec::{AttributeType, MessageClass, MessageEncoder, RawAttribute};

use super::{
    Class, ErrorCode, EvenPort, Family, HEADER_LEN, Icmp, Integrity, MAGIC_COOKIE, Message, Method,
    PasswordAlgorithm, TransactionId, attribute, integrity, xor,
};

/// A message in the making. Attributes are written in the order in which they are added.
#[derive(Debug)]
pub struct Builder {
    kind: [u8; 2],
    message: stun_codec::Message<RawAttribute>,
}

impl Builder {
    /// An empty message.
    pub fn new(class: Class, method: Method, transaction: TransactionId) -> Self {
        let codec_class = match class {
            Class::Request => MessageClass::Request,
            Class::Indication => MessageClass::Indication,
            Class::Success => MessageClass::SuccessResponse,
            Class::Error => MessageClass::ErrorResponse,
        };
        let codec_method = stun_codec::Method::new(method.codepoint()).expect("a method has 12 bits");
        let transaction = stun_codec::TransactionId::new(transaction);
        let message = stun_codec::Message::new(codec_class, codec_method, transaction);
        Self { kind: kind(class, method), message }
    }

    /// The success response to `request`.
    pub fn success(request: &Message<'_>) -> Self {
        Self::new(Class::Success, request.method(), request.transaction())
    }

    /// The error response to `request`: `code` from 300 to 599, and a short reason.
    pub fn error(request: &Message<'_>, code: u16, reason: &str) -> Self {
        Self::new(Class::Error, request.method(), request.transaction())
            .error_code(&ErrorCode { code, reason: reason.to_owned() })
    }

    /// ERROR-CODE (RFC 8489 §14.8); a code outside 300 to 599 becomes the nearest one inside.
    pub fn error_code(self, error: &ErrorCode) -> Self {
        let code = error.code.clamp(300, 599);
        let encoded = rfc5389::ErrorCode::new(code, error.reason.clone()).expect("the code was clamped");
        self.with(encoded)
    }

    /// USERNAME; at most 508 bytes (RFC 8489 §14.3).
    pub fn username(self, username: &str) -> Self {
        self.raw(attribute::USERNAME, username.as_bytes())
    }

    /// USERHASH (RFC 8489 §14.4).
    pub fn userhash(self, hash: &[u8; 32]) -> Self {
        self.raw(attribute::USERHASH, hash)
    }

    /// PASSWORD-ALGORITHMS, the preferred one first (RFC 8489 §14.11); none has parameters.
    pub fn password_algorithms(self, algorithms: &[PasswordAlgorithm]) -> Self {
        let value: Vec<u8> = algorithms.iter().flat_map(|&algorithm| written(algorithm)).collect();
        self.raw(attribute::PASSWORD_ALGORITHMS, &value)
    }

    /// PASSWORD-ALGORITHM (RFC 8489 §14.12); it has no parameters.
    pub fn password_algorithm(self, algorithm: PasswordAlgorithm) -> Self {
        self.raw(attribute::PASSWORD_ALGORITHM, &written(algorithm))
    }

    /// REALM; at most 127 characters (RFC 8489 §14.9).
    pub fn realm(self, realm: &str) -> Self {
        self.raw(attribute::REALM, realm.as_bytes())
    }

    /// NONCE; at most 127 characters (RFC 8489 §14.10).
    pub fn nonce(self, nonce: &str) -> Self {
        self.raw(attribute::NONCE, nonce.as_bytes())
    }

    /// XOR-MAPPED-ADDRESS: where a request came from (RFC 8489 §14.2).
    pub fn mapped_address(self, address: SocketAddr) -> Self {
        self.with(rfc5389::XorMappedAddress::new(address))
    }

    /// XOR-RELAYED-ADDRESS (RFC 8656 §18.5); one for each family.
    pub fn relayed_address(self, address: SocketAddr) -> Self {
        self.with(rfc5766::XorRelayAddress::new(address))
    }

    /// XOR-PEER-ADDRESS (RFC 8656 §18.3); several in a CreatePermission.
    pub fn peer_address(self, address: SocketAddr) -> Self {
        self.with(rfc5766::XorPeerAddress::new(address))
    }

    /// LIFETIME (RFC 8656 §18.2); whole seconds, cut off at 2³² − 1.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        self.with(rfc5766::Lifetime::from_u32(seconds))
    }

    /// CHANNEL-NUMBER (RFC 8656 §18.1). Any number is written, so that a test can write a wrong one.
    pub fn channel_number(self, number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        self.raw(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
    }

    /// REQUESTED-TRANSPORT: an IP protocol number, 17 for UDP (RFC 8656 §18.8).
    pub fn requested_transport(self, protocol: u8) -> Self {
        self.with(rfc5766::RequestedTransport::new(protocol))
    }

    /// REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6).
    pub fn requested_family(self, family: Family) -> Self {
        self.raw(attribute::REQUESTED_ADDRESS_FAMILY, &[family.codepoint(), 0, 0, 0])
    }

    /// ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.11).
    pub fn additional_family(self, family: Family) -> Self {
        self.raw(attribute::ADDITIONAL_ADDRESS_FAMILY, &[family.codepoint(), 0, 0, 0])
    }

    /// ADDRESS-ERROR-CODE (RFC 8656 §18.12); `code` as for [`error_code`](Self::error_code).
    pub fn address_error(self, family: Family, code: u16, reason: &str) -> Self {
        let code = code.clamp(300, 599);
        let (class, number) = ((code / 100) as u8, (code % 100) as u8);
        let mut value = vec![family.codepoint(), 0, class, number];
        value.extend_from_slice(reason.as_bytes());
        self.raw(attribute::ADDRESS_ERROR_CODE, &value)
    }

    /// UNKNOWN-ATTRIBUTES: the types that were not understood (RFC 8489 §14.13).
    pub fn unknown_attributes(self, kinds: &[u16]) -> Self {
        let kinds = kinds.iter().copied().map(AttributeType::new).collect();
        self.with(rfc5389::UnknownAttributes::new(kinds))
    }

    /// ALTERNATE-SERVER (RFC 8489 §14.15).
    pub fn alternate_server(self, server: SocketAddr) -> Self {
        self.with(rfc5389::AlternateServer::new(server))
    }

    /// EVEN-PORT (RFC 8656 §18.7).
    pub fn even_port(self, even: EvenPort) -> Self {
        self.with(rfc5766::EvenPort::new(even.reserve))
    }

    /// RESERVATION-TOKEN (RFC 8656 §18.10).
    pub fn reservation_token(self, token: [u8; 8]) -> Self {
        self.raw(attribute::RESERVATION_TOKEN, &token)
    }

    /// CONNECTION-ID (RFC 6062 §6.2.1).
    pub fn connection_id(self, id: u32) -> Self {
        self.raw(attribute::CONNECTION_ID, &id.to_be_bytes())
    }

    /// MOBILITY-TICKET (RFC 8016 §4.1); empty where one is asked for.
    pub fn mobility_ticket(self, ticket: &[u8]) -> Self {
        self.raw(attribute::MOBILITY_TICKET, ticket)
    }

    /// DONT-FRAGMENT (RFC 8656 §18.9).
    pub fn dont_fragment(self) -> Self {
        self.raw(attribute::DONT_FRAGMENT, &[])
    }

    /// ICMP (RFC 8656 §18.13); what does not fit seven and nine bits is cut off.
    pub fn icmp(self, Icmp { kind, code, data }: Icmp) -> Self {
        let [code_high, code_low] = code.to_be_bytes();
        let [d0, d1, d2, d3] = data.to_be_bytes();
        self.raw(attribute::ICMP, &[0, 0, kind << 1 | code_high & 1, code_low, d0, d1, d2, d3])
    }

    /// DATA (RFC 8656 §18.4); for tests and for messages off the data path. See [`write_indication`].
    pub fn data(self, data: &[u8]) -> Self {
        self.raw(attribute::DATA, data)
    }

    /// An attribute of any type, as it is; at most 65,535 bytes.
    pub fn raw(mut self, kind: u16, value: &[u8]) -> Self {
        self.message.add_attribute(RawAttribute::new(AttributeType::new(kind), value.to_vec()));
        self
    }

    /// The message.
    ///
    /// # Panics
    /// When the attributes together exceed 65,535 bytes: what is written comes from our own configuration, or is a few
    /// short values.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes =
            MessageEncoder::new().encode_into_bytes(self.message).expect("a control message fits 64 KiB");
        // stun_codec 0.4 misplaces the upper bits of methods from 0x010 on.
        bytes[..2].copy_from_slice(&self.kind);
        bytes
    }

    /// The message with a MESSAGE-INTEGRITY made with `key` (RFC 8489 §14.5).
    pub fn finish_with_integrity(self, key: &[u8]) -> Vec<u8> {
        self.finish_signed(Integrity::Sha1, key)
    }

    /// The message, signed with `key` by the attribute of one's choice.
    pub fn finish_signed(self, integrity: Integrity, key: &[u8]) -> Vec<u8> {
        let mut bytes = self.finish();
        integrity.append(&mut bytes, key);
        bytes
    }

    /// The message with a FINGERPRINT (RFC 8489 §14.7), and a MESSAGE-INTEGRITY before it where a key is given.
    pub fn finish_with_fingerprint(self, key: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = self.finish();
        if let Some(key) = key {
            Integrity::Sha1.append(&mut bytes, key);
        }
        integrity::append_fingerprint(&mut bytes);
        bytes
    }

    /// Encodes the value by `stun_codec`'s encoder for it.
    fn with<A: stun_codec::Attribute>(self, mut attribute: A) -> Self {
        attribute.before_encode(&self.message).expect("the XOR of an address can't fail");
        let kind = attribute.get_type().as_u16();
        let value = A::Encoder::default().encode_into_bytes(attribute).expect("a value fits 64 KiB");
        self.raw(kind, &value)
    }
}

/// Appends a Send or Data indication to `out`, without a detour: the data path (RFC 8656 §11.1, §11.3). Returns
/// the number of bytes that were added; 0 where `payload` is too long for a datagram.
pub fn write_indication(
    out: &mut Vec<u8>,
    method: Method,
    transaction: &TransactionId,
    peer: SocketAddr,
    payload: &[u8],
) -> usize {
    let padding = payload.len().next_multiple_of(4) - payload.len();
    let length = 4 + xor::len(peer) + 4 + payload.len() + padding;
    let (Ok(length), Ok(data_len)) = (u16::try_from(length), u16::try_from(payload.len())) else { return 0 };
    let before = out.len();
    out.extend_from_slice(&kind(Class::Indication, method));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out.extend_from_slice(transaction);
    debug_assert_eq!(out.len() - before, HEADER_LEN);
    out.extend_from_slice(&attribute::XOR_PEER_ADDRESS.to_be_bytes());
    out.extend_from_slice(&(xor::len(peer) as u16).to_be_bytes());
    xor::write(out, peer, transaction);
    out.extend_from_slice(&attribute::DATA.to_be_bytes());
    out.extend_from_slice(&data_len.to_be_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&[0; 3][..padding]);
    out.len() - before
}

/// An algorithm without parameters.
fn written(algorithm: PasswordAlgorithm) -> [u8; 4] {
    let [high, low] = algorithm.codepoint().to_be_bytes();
    [high, low, 0, 0]
}

/// The first two bytes: the bits of the class sit between those of the method (RFC 8489 §5).
fn kind(class: Class, method: Method) -> [u8; 2] {
    let (class, method) = (class as u16, method.codepoint());
    let class = (class & 0b01) << 4 | (class & 0b10) << 7;
    let method = (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2;
    (class | method).to_be_bytes()
}
