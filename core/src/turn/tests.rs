//! What holds for all credentials, nonces, addresses, URIs and channels there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;

use super::address_policy::{Network, Policy};
use super::channel_data;
use super::credentials::{Authenticator, Credentials, Refused};
use super::nonce::{Features, Nonces, Rejected};
use super::uri::{Host, RelayUri, Transport};
use crate::stun::{Builder, Class, Message, Method};
use crate::time::UnixTime;

/// Addresses near the edges of special ranges come up as often as any others.
fn v4() -> impl Strategy<Value = Ipv4Addr> {
    let edges = prop::sample::select(vec![
        [0, 0, 0, 0],
        [10, 0, 0, 1],
        [100, 64, 0, 1],
        [127, 0, 0, 1],
        [127, 255, 255, 255],
        [169, 254, 169, 254],
        [172, 31, 255, 255],
        [192, 168, 0, 1],
        [203, 0, 113, 9],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
    ]);
    prop_oneof![any::<Ipv4Addr>(), edges.prop_map(Ipv4Addr::from)]
}

fn network() -> impl Strategy<Value = Network> {
    prop_oneof![
        (any::<IpAddr>(), any::<u8>()).prop_map(|(address, prefix)| Network::new(address, prefix)),
        (v4(), 0..=32u8).prop_map(|(address, prefix)| Network::new(address.into(), prefix)),
        // All of an encoding, so that it is named and what is inside decides.
        prop::sample::select(vec![
            "::ffff:0:0/96",
            "::/96",
            "::ffff:0:0:0/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48"
        ])
        .prop_map(|text| text.parse().unwrap()),
        prop::sample::select(vec!["2002::/16", "2001::/32"]).prop_map(|text| text.parse().unwrap()),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let networks = || prop::collection::vec(network(), 0..4);
    (any::<bool>(), networks(), networks()).prop_map(|(public, allowed, denied)| {
        let policy = if public { Policy::default_deny() } else { Policy::deny_all() };
        let policy = allowed.into_iter().fold(policy, Policy::allow);
        denied.into_iter().fold(policy, Policy::deny)
    })
}

/// Every IPv6 address that may lead to `ip`: mapped, compatible, translated, both NAT64, 6to4, and Teredo with `ip`
/// as its server and as its client.
fn embeddings(ip: Ipv4Addr, noise: u128) -> Vec<Ipv6Addr> {
    let bits = u128::from(ip.to_bits());
    let [a, b, c, d] = ip.octets().map(u128::from);
    let low = |count: u32| noise & ((1 << count) - 1);
    let teredo = 0x2001_0000u128 << 96;
    [
        0xffff << 32 | bits,
        bits,
        0xffff_0000 << 32 | bits,
        0x0064_ff9b << 96 | bits,
        0x0064_ff9b_0001 << 80 | bits,
        0x0064_ff9b_0001 << 80 | (a << 8 | b) << 64 | (c << 8 | d) << 40 | low(32),
        0x2002 << 112 | bits << 80 | low(80),
        teredo | bits << 64 | low(64),
        teredo | low(32) << 64 | (!bits & 0xffff_ffff),
    ]
    .map(Ipv6Addr::from)
    .into()
}

#[test]
fn the_embeddings_are_those_that_people_write() {
    let written = embeddings(Ipv4Addr::LOCALHOST, 0);
    for text in ["::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::"] {
        assert!(written.contains(&text.parse::<Ipv6Addr>().unwrap()), "{text}");
    }
}

fn sign(credentials: &Credentials) -> Vec<u8> {
    Builder::new(Class::Request, Method::ALLOCATE, [1; 12])
        .requested_transport(17)
        .username(&credentials.username)
        .realm("adit")
        .nonce("nonce")
        .finish_with_integrity(&credentials.key("adit"))
}

fn judge(secret: &[u8], request: &[u8], now: u64) -> Result<String, Refused> {
    let authenticator = Authenticator::new("adit").with_secret(secret);
    let message = Message::parse(request).map_err(|_| Refused::Unsigned)?;
    authenticator.authenticate(&message, UnixTime(now)).map(|account| account.id)
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<IpAddr>().prop_map(Host::Address),
        "[a-z][a-z0-9_-]{0,20}(\\.[a-z0-9-]{1,20}){0,4}".prop_map(Host::Name),
    ]
}

proptest! {
    /// Whatever a policy says: an address that is refused is refused in every form that leads to it.
    #[test]
    fn what_is_refused_is_refused_in_every_encoding(policy in policy(), ip in v4(), noise: u128) {
        if policy.judge(ip.into()).is_err() {
            for embedded in embeddings(ip, noise) {
                prop_assert!(policy.judge(embedded.into()).is_err(), "{embedded} leads to {ip}");
            }
        }
    }

    /// Who names nothing gets through with none of these forms.
    #[test]
    fn no_encoding_is_let_through_by_default(ip: Ipv4Addr, noise: u128) {
        for embedded in embeddings(ip, noise) {
            prop_assert!(Policy::default_deny().judge(embedded.into()).is_err(), "{embedded}");
        }
    }

    #[test]
    fn what_is_denied_is_denied_whatever_is_allowed(policy in policy(), denied in network(), more in network(), ip: IpAddr) {
        let policy = policy.deny(denied).allow(more);
        prop_assert!(!denied.contains(ip) || policy.judge(ip).is_err());
        prop_assert!(policy.judge(denied.address()).is_err());
    }

    #[test]
    fn a_network_reads_as_it_writes_and_holds_its_own(ip: IpAddr, prefix in 0..=128u8, other: IpAddr) {
        let network = Network::new(ip, prefix);
        prop_assert_eq!(network.to_string().parse(), Ok(network));
        prop_assert!(network.contains(ip) && network.within(&network));
        prop_assert_eq!(network.contains(other), Network::from(other).within(&network));
    }

    /// Credentials are good up to the second that they name, and for the id that they name.
    #[test]
    fn credentials_are_good_until_they_expire(
        secret in prop::collection::vec(any::<u8>(), 1..40),
        expiry in 0..1u64 << 40,
        id in "[a-zA-Z0-9._-]{1,36}",
        early in 1..1000u64,
    ) {
        let request = sign(&Credentials::time_limited(&secret, UnixTime(expiry), &id));
        for (now, good) in [(expiry.saturating_sub(early), expiry > 0), (expiry, false), (expiry + early, false)] {
            let expected = if good { Ok(id.clone()) } else { Err(Refused::Expired) };
            prop_assert_eq!(judge(&secret, &request, now), expected);
        }
    }

    /// One bit of a signed request is changed: nobody has signed it any more.
    #[test]
    fn no_bit_of_a_signed_request_can_be_changed(
        id in "[a-z0-9-]{1,36}",
        at: prop::sample::Index,
        bit in 0..8u8,
    ) {
        let mut request = sign(&Credentials::time_limited(b"north", UnixTime(1000), &id));
        prop_assert_eq!(judge(b"north", &request, 1), Ok(id));
        let at = at.index(request.len());
        request[at] ^= 1 << bit;
        prop_assert!(judge(b"north", &request, 1).is_err(), "byte {at}");
    }

    #[test]
    fn a_nonce_is_good_for_its_client_and_its_time(
        key: [u8; 32],
        client: SocketAddr,
        other: SocketAddr,
        issued in 0..1u64 << 39,
        lifetime in 0..10_000u64,
        age in 0..20_000u64,
        at: prop::sample::Index,
        change in 1..64u8,
    ) {
        let nonces = Nonces::new(key, Duration::from_secs(lifetime));
        let features = Features { password_algorithms: issued % 2 == 0, username_anonymity: issued % 3 == 0 };
        let nonce = nonces.issue(client, features, UnixTime(issued));
        prop_assert_eq!(Features::of(&nonce), features);
        let now = UnixTime(issued + age);
        let expected = if age <= lifetime { Ok(()) } else { Err(Rejected::Stale) };
        prop_assert_eq!(nonces.judge(client, now, &nonce), expected);
        if (other.ip(), other.port()) != (client.ip(), client.port()) {
            prop_assert_eq!(nonces.judge(other, now, &nonce), Err(Rejected::Forged));
        }
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut forged = nonce.into_bytes();
        let at = at.index(forged.len());
        let digit = alphabet.iter().position(|&digit| digit == forged[at]).unwrap();
        forged[at] = alphabet[digit ^ usize::from(change)];
        let forged = String::from_utf8(forged).unwrap();
        prop_assert_eq!(nonces.judge(client, now, &forged), Err(Rejected::Forged));
    }

    #[test]
    fn no_text_is_taken_for_a_nonce(key: [u8; 32], client: SocketAddr, text in ".{0,40}") {
        let nonces = Nonces::new(key, super::nonce::LIFETIME);
        prop_assert_eq!(nonces.judge(client, UnixTime(1), &text), Err(Rejected::Forged));
    }

    #[test]
    fn a_relay_s_uri_reads_as_it_writes(host in host(), port in 1..=u16::MAX, tcp: bool, secure: bool) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let uri = RelayUri { host, port, transport, secure };
        prop_assert_eq!(uri.to_string().parse(), Ok(uri));
    }

    #[test]
    fn no_text_breaks_the_reader_of_uris(rest in "[a-z0-9:\\[\\]./?=%-]{0,40}|.{0,40}") {
        for text in [rest.clone(), format!("turn:{rest}"), format!("turns:{rest}")] {
            if let Ok(uri) = text.parse::<RelayUri>() {
                prop_assert_eq!(uri.to_string().parse(), Ok(uri));
            }
        }
    }

    #[test]
    fn channel_data_reads_as_it_writes(
        number in 0x4000..=0x4FFFu16,
        data in prop::collection::vec(any::<u8>(), 0..2000),
        padding in 0..4usize,
        cut: prop::sample::Index,
    ) {
        let mut datagram = channel_data::header(number, data.len()).to_vec();
        datagram.extend_from_slice(&data);
        let end = datagram.len();
        datagram.resize(end + padding, 0);
        prop_assert_eq!(channel_data::parse(&datagram), Some((number, data.len())));
        prop_assert_eq!(channel_data::parse(&datagram[..cut.index(end)]), None, "cut off");
    }

    #[test]
    fn channel_data_never_promises_more_than_there_is(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let numbers = channel_data::RFC5766_NUMBERS;
        if let Some((number, len)) = channel_data::parse_within(&bytes, &numbers) {
            prop_assert!(numbers.contains(&number) && len + channel_data::HEADER_LEN <= bytes.len());
        }
    }
}
