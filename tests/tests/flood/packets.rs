//! What strangers send: made once, so that sending it costs little.

use std::time::Duration;

use adit_core::rand::Rng;
use adit_core::stun::{Builder, Class, Method};
use adit_core::time::UnixTime;
use adit_core::turn::credentials::Credentials;

/// How many of each kind.
const EACH: usize = 100;

/// Hostile datagrams of all kinds, mixed.
pub(crate) fn all(rng: &mut Rng) -> Vec<Vec<u8>> {
    let kinds: [fn(&mut Rng) -> Vec<u8>; 11] = [
        garbage,
        truncated,
        |rng| request(rng).finish(),
        |rng| request(rng).finish_with_fingerprint(None),
        wrong_password,
        unknown_user,
        channel_data,
        indication,
        hello,
        broken_dtls,
        |rng| [request(rng).finish(), garbage(rng)].concat(),
    ];
    let mut packets: Vec<_> =
        kinds.iter().flat_map(|kind| (0..EACH).map(|_| kind(rng)).collect::<Vec<_>>()).collect();
    for place in (1..packets.len()).rev() {
        let other = rng.below(u32::try_from(place).unwrap() + 1) as usize;
        packets.swap(place, other);
    }
    packets
}

fn bytes(rng: &mut Rng, most: u32) -> Vec<u8> {
    (0..rng.below(most)).map(|_| rng.below(256) as u8).collect()
}

fn garbage(rng: &mut Rng) -> Vec<u8> {
    bytes(rng, 1400)
}

fn truncated(rng: &mut Rng) -> Vec<u8> {
    let mut whole = wrong_password(rng);
    whole.truncate(rng.below(u32::try_from(whole.len()).unwrap()) as usize);
    whole
}

fn request(rng: &mut Rng) -> Builder {
    let methods =
        [Method::BINDING, Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];
    let builder = Builder::new(Class::Request, methods[rng.below(5) as usize], rng.bytes());
    let builder = builder.requested_transport(17).lifetime(Duration::from_secs(600));
    if rng.below(4) == 0 { builder.raw(0x7F00 + rng.below(256) as u16, &bytes(rng, 40)) } else { builder }
}

fn wrong_password(rng: &mut Rng) -> Vec<u8> {
    let credentials = Credentials::time_limited(b"another secret", UnixTime(4_000_000_000), "gw-1");
    let builder = request(rng).username(&credentials.username).realm(adit_tests::coturn::REALM);
    builder.nonce("obMatJos2gAAAnonsense").finish_with_integrity(&credentials.key(adit_tests::coturn::REALM))
}

fn unknown_user(rng: &mut Rng) -> Vec<u8> {
    let builder = request(rng).username("mallory").realm(adit_tests::coturn::REALM).nonce("nonsense");
    builder.finish_with_integrity(&rng.bytes::<16>())
}

fn channel_data(rng: &mut Rng) -> Vec<u8> {
    let data = bytes(rng, 1200);
    let number = 0x4000 + rng.below(0x1000) as u16;
    [&number.to_be_bytes()[..], &u16::try_from(data.len()).unwrap().to_be_bytes(), &data].concat()
}

fn indication(rng: &mut Rng) -> Vec<u8> {
    let kinds = [
        (Class::Indication, Method::SEND),
        (Class::Indication, Method::DATA),
        (Class::Success, Method::ALLOCATE),
    ];
    let (class, method) = kinds[rng.below(3) as usize];
    let builder = Builder::new(class, method, rng.bytes()).peer_address("127.0.0.1:9".parse().unwrap());
    builder.data(&bytes(rng, 1000)).finish()
}

/// The smallest ClientHello that begins a DTLS session, or its first fragment.
fn hello(rng: &mut Rng) -> Vec<u8> {
    let random: [u8; 32] = rng.bytes();
    let body = [&[0xFE, 0xFD][..], &random, &[0, 0], &[0, 2, 0xC0, 0x2B], &[1, 0]].concat();
    let len = u8::try_from(body.len()).unwrap();
    let whole = len + rng.below(2) as u8 * 100;
    let message = [&[1, 0, 0, whole, 0, 0, 0, 0, 0, 0, 0, len][..], &body].concat();
    record(22, &message)
}

fn broken_dtls(rng: &mut Rng) -> Vec<u8> {
    record(20 + rng.below(6) as u8, &bytes(rng, 255))
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let head = [kind, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(body.len()).unwrap()];
    [&head[..], body].concat()
}
