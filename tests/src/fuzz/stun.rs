//! STUN messages: whatever is accepted is read without harm, written again alike, and signed by its key alone.

use adit_core::stun::{Builder, Class, Message, Method, attribute, write_indication};

const KEY: [u8; 16] = [1; 16];

/// Reads `bytes` as a message.
pub fn stun(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    assert!(Message::parse(&bytes[..bytes.len() - 1]).is_err(), "half a message is none");
    read_everything(&message);
    written_again(&message);
    signed_by_its_key_alone(&message);
    data_path(&message);
}

/// Everything that can be asked of a message.
fn read_everything(message: &Message<'_>) {
    let _ = (message.username(), message.realm(), message.nonce(), message.lifetime());
    let _ = (message.error_code(), message.address_error(), message.unknown_attributes());
    let _ = (message.channel_number(), message.requested_transport(), message.even_port());
    let _ = (message.requested_family(), message.additional_family(), message.reservation_token());
    let _ = (message.mapped_address(), message.relayed_addresses().count(), message.alternate_server());
    let end_of_integrity = [attribute::MESSAGE_INTEGRITY, attribute::FINGERPRINT];
    for (kind, value) in message.attributes() {
        assert!(!end_of_integrity.contains(&kind), "what closes a message is not in it");
        assert!(value.len() < message.bytes().len());
    }
    let unknown = message.unknown_required(&[attribute::USERNAME]);
    assert!(unknown.iter().all(|kind| *kind < 0x8000 && *kind != attribute::USERNAME));
    assert!(!message.has_integrity() || message.bytes().len() >= 44);
}

/// The builder writes what the view has read.
fn written_again(message: &Message<'_>) {
    let bytes = copy(message).finish();
    let again = Message::parse(&bytes).expect("what the builder writes is a message");
    assert_eq!(
        (again.class(), again.method(), again.transaction()),
        (message.class(), message.method(), message.transaction())
    );
    assert!(again.attributes().eq(message.attributes()));
}

fn signed_by_its_key_alone(message: &Message<'_>) {
    // The signature has to fit as well.
    if message.bytes().len() > 60_000 {
        return;
    }
    let mut bytes = copy(message).finish_with_fingerprint(Some(&KEY));
    let signed = Message::parse(&bytes).expect("the fingerprint is right");
    assert!(signed.verify(&KEY).is_ok() && signed.verify(&[2; 16]).is_err());
    assert!(signed.attributes().eq(message.attributes()));
    // FINGERPRINT itself may be flipped into something else, and is then missed by nobody.
    let covered = bytes.len() - 8;
    let at = usize::from(u16::from_be_bytes([message.transaction()[0], message.transaction()[1]])) % covered;
    bytes[at] ^= 1 << (message.transaction()[2] % 8);
    let believed = Message::parse(&bytes).is_ok_and(|spoilt| spoilt.verify(&KEY).is_ok());
    assert!(!believed, "no flipped bit is signed");
}

/// The direct writer of indications and the builder write the same.
fn data_path(message: &Message<'_>) {
    let (Ok(Some(peer)), Some(data)) = (message.peer_address(), message.data()) else { return };
    let range = message.data_range().expect("it has data");
    assert_eq!(&message.bytes()[range], data);
    let mut direct = Vec::new();
    let written = write_indication(&mut direct, Method::SEND, &message.transaction(), peer, data);
    assert_eq!(written, direct.len());
    let built = Builder::new(Class::Indication, Method::SEND, message.transaction());
    assert_eq!(direct, built.peer_address(peer).data(data).finish());
}

fn copy(message: &Message<'_>) -> Builder {
    let builder = Builder::new(message.class(), message.method(), message.transaction());
    message.attributes().fold(builder, |builder, (kind, value)| builder.raw(kind, value))
}
