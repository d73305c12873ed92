//! What is sent to peers, and what they send (RFC 8656 §11, §12).

use super::*;
use crate::stun::Icmp;

#[test]
fn data_goes_by_indication_first_and_by_channel_then() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    let send = |world: &mut World, payload: &[u8], stride| {
        let mut out = Vec::new();
        let transmit = world.client.encapsulate(world.now, peer(), payload, stride, None, &mut out);
        transmit.map(|transmit| out.chunks(transmit.stride).map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    assert_eq!(send(&mut world, b"abc", 3), None);
    assert_eq!(world.client.counters().not_ready, 1);
    world.client.permit(world.now, peer().ip()).unwrap();
    world.serve(&mut relay);

    let sent = send(&mut world, b"aaabbbc", 3).unwrap();
    let data: Vec<_> = sent.iter().map(|bytes| Message::parse(bytes).unwrap().data().unwrap()).collect();
    assert_eq!(data, [&b"aaa"[..], b"bbb", b"c"]);
    let first = Message::parse(&sent[0]).unwrap();
    assert_eq!((first.method(), first.peer_address()), (Method::SEND, Ok(Some(peer()))));

    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    let sent = send(&mut world, b"aaabbbc", 3).unwrap();
    assert_eq!(sent, [&b"\x40\0\0\x03aaa"[..], b"\x40\0\0\x03bbb", b"\x40\0\0\x01c"]);
    assert_eq!(send(&mut world, b"", 3), None);
}

#[test]
fn what_peers_send_comes_out_of_its_frame() {
    let mut world = World::allocated(config());
    let mut indication = Vec::new();
    stun::write_indication(&mut indication, Method::DATA, &[1; 12], peer(), b"hello");
    assert_eq!(world.deliver(&indication), []);
    assert_eq!(world.client.counters().unpermitted, 1);
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut Relay::default());
    assert_eq!(world.deliver(&indication), [(peer(), b"hello".to_vec())]);

    let batch = b"\x40\0\0\x03aaa\x40\0\0\x03bbb\x40\0\0\x01c";
    let received = world.deliver_from(server(), batch, 7);
    assert_eq!(received, [(peer(), b"aaa".to_vec()), (peer(), b"bbb".to_vec()), (peer(), b"c".to_vec())]);
    assert_eq!(world.deliver(b"\x40\x01\0\x01x"), []);
    assert_eq!(world.deliver(b"\x50\0\0\x01x"), []);
    assert_eq!(world.deliver_from(addr("192.0.2.1:3479"), batch, 7), []);
    let counters = world.client.counters();
    assert_eq!((counters.unknown_channel, counters.malformed, counters.foreign), (1, 1, 3));
}

/// RFC 8656 §11.6.
#[test]
fn what_icmp_says_of_a_permitted_peer_is_told() {
    let mut world = World::allocated(config());
    let icmp = Icmp { kind: 3, code: 4, data: 1280 };
    let indication =
        Builder::new(Class::Indication, Method::DATA, [1; 12]).peer_address(peer()).icmp(icmp).finish();
    assert_eq!(world.deliver(&indication), []);
    assert_eq!((world.client.counters().unpermitted, world.events.len()), (1, 0));
    world.client.permit(world.now, peer().ip()).unwrap();
    assert_eq!(world.deliver(&indication), [], "it holds no data");
    assert_eq!(world.events, [Event::Undelivered { peer: peer(), icmp }]);
    // A flood of it waits for nobody.
    world.deliver_from(server(), &indication.repeat(100), indication.len());
    assert_eq!((world.events.len(), world.client.counters().unread), (65, 36));
}
