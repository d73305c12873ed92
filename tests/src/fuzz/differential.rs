//! Our view of STUN messages beside stun_codec's decoder. They agree, but where ours is stricter for a reason:
//!
//! - ours wants one whole message and nothing behind it, whose length is a multiple of four (RFC 8489 §5);
//! - ours counts attributes, and checks FINGERPRINT and the length of MESSAGE-INTEGRITY at once;
//! - ours hides what stands behind MESSAGE-INTEGRITY and FINGERPRINT (RFC 8489 §14.5), stun_codec shows it.

use std::net::SocketAddr;

use adit_core::stun::{Class, Malformed, Message};
use bytecodec::{DecodeExt as _, EncodeExt as _, TryTaggedDecode as _};
use stun_codec::rfc5389::attributes::XorMappedAddress;
use stun_codec::rfc5766::attributes::{XorPeerAddress, XorRelayAddress};
use stun_codec::{Attribute, MessageClass, MessageDecoder, MessageEncoder, RawAttribute};

type Theirs = stun_codec::Message<RawAttribute>;

/// Reads `bytes` by both.
pub fn differential(bytes: &[u8]) {
    match (Message::parse(bytes), theirs(bytes)) {
        (Ok(ours), Some(theirs)) => agree(&ours, &theirs),
        (Ok(_), None) => panic!("we accept what stun_codec refuses"),
        (Err(reason), Some(_)) => explain(reason, bytes),
        (Err(_), None) => {}
    }
}

fn theirs(bytes: &[u8]) -> Option<Theirs> {
    MessageDecoder::<RawAttribute>::new().decode_from_bytes(bytes).ok()?.ok()
}

fn agree(ours: &Message<'_>, theirs: &Theirs) {
    let class = match ours.class() {
        Class::Request => MessageClass::Request,
        Class::Indication => MessageClass::Indication,
        Class::Success => MessageClass::SuccessResponse,
        Class::Error => MessageClass::ErrorResponse,
    };
    assert_eq!((class, ours.method().codepoint()), (theirs.class(), theirs.method().as_u16()));
    assert_eq!(&ours.transaction(), theirs.transaction_id().as_bytes());
    let visible = ours.attributes().count();
    let shown = theirs.attributes().take(visible);
    let shown = shown.map(|attribute| (attribute.get_type().as_u16(), attribute.value()));
    assert!(ours.attributes().eq(shown));
    same_addresses::<XorMappedAddress>(ours.mapped_address().into_iter().flatten(), theirs, visible);
    same_addresses::<XorRelayAddress>(ours.relayed_addresses().flatten(), theirs, visible);
    same_addresses::<XorPeerAddress>(ours.peer_addresses().flatten(), theirs, visible);
    same_bytes(ours, theirs);
}

/// An attribute that holds an address.
trait Address: Attribute {
    const KIND: u16;
    /// Whether we are asked for the first one only.
    const FIRST: bool;
    fn address(&self) -> SocketAddr;
}

macro_rules! addresses {
    ($($name:ident $first:literal,)*) => {$(
        impl Address for $name {
            const KIND: u16 = $name::CODEPOINT;
            const FIRST: bool = $first;
            fn address(&self) -> SocketAddr {
                $name::address(self)
            }
        }
    )*};
}

addresses! {
    XorMappedAddress true,
    XorRelayAddress false,
    XorPeerAddress false,
}

fn same_addresses<A: Address>(ours: impl Iterator<Item = SocketAddr>, theirs: &Theirs, visible: usize) {
    let of_kind = theirs.attributes().take(visible).filter(|raw| raw.get_type().as_u16() == A::KIND);
    let some = if A::FIRST { 1 } else { visible };
    let read =
        of_kind.take(some).filter_map(|raw| decode::<A>(raw, theirs)).map(|attribute| attribute.address());
    assert!(ours.eq(read), "addresses of {:#06x} differ", A::KIND);
}

fn decode<A: Attribute>(raw: &RawAttribute, message: &Theirs) -> Option<A> {
    let mut decoder = A::Decoder::default();
    decoder.try_start_decoding(raw.get_type()).ok()?;
    let mut attribute: A = decoder.decode_from_bytes(raw.value()).ok()?;
    attribute.after_decode(message).ok()?;
    Some(attribute)
}

/// stun_codec encodes what it has decoded into the bytes that we saw.
fn same_bytes(ours: &Message<'_>, theirs: &Theirs) {
    let again = MessageEncoder::new().encode_into_bytes(theirs.clone()).expect("it was decoded");
    assert_eq!(again.len(), ours.bytes().len());
    // stun_codec 0.4 misplaces the upper bits of methods from 0x010 on when it encodes; our builder does not.
    let compared = if ours.method().codepoint() < 0x10 { 0 } else { 2 };
    assert_eq!(again[compared..], ours.bytes()[compared..]);
}

/// Why we refuse what stun_codec accepts.
fn explain(reason: Malformed, bytes: &[u8]) {
    match reason {
        Malformed::TooMany | Malformed::Fingerprint | Malformed::Integrity => {}
        Malformed::Length => {
            let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            assert!(!len.is_multiple_of(4) || bytes.len() != 20 + len);
        }
        Malformed::NotStun | Malformed::Truncated => panic!("we refuse what stun_codec accepts: {reason}"),
    }
}
