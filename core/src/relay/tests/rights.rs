//! What credentials allow: policies in usernames, secrets that change, and how often somebody had none.

use super::*;
use crate::turn::credential_policy::CredentialPolicy;

const OTHER: &str = "203.0.113.7:5000";

fn peers(list: &[&str]) -> CredentialPolicy {
    let peers = list.iter().map(|peer| peer.parse().unwrap()).collect();
    CredentialPolicy { peers, ..CredentialPolicy::default() }
}

/// Credentials that are good for `seconds` from the start.
fn limited(seconds: u64, policy: &CredentialPolicy) -> Credentials {
    let expiry = UnixTime(UNIX.as_secs() + seconds);
    Credentials::limited(SECRET, expiry, "gw-1", Some(policy)).unwrap()
}

fn allocated(policy: &CredentialPolicy) -> (Bench, Client, SocketAddr) {
    let mut bench = Bench::new(config());
    let client = bench.client_as(CLIENT, limited(600, policy));
    let relayed = bench.allocate(&client);
    (bench, client, relayed)
}

fn indication(peer: &str) -> Vec<u8> {
    Builder::new(Class::Indication, Method::SEND, [9; 12]).peer_address(addr(peer)).data(b"x").finish()
}

#[test]
fn a_credential_narrows_what_the_relay_allows() {
    let (mut bench, client, _) = allocated(&peers(&["203.0.113.9"]));
    assert_eq!(bench.permit(&client, OTHER).code(), 403);
    assert_eq!(bench.bind_channel(&client, 0x4000, OTHER).code(), 403);
    assert!(bench.send(client.address, &indication(OTHER)).is_empty());
    assert_eq!(bench.dropped(Drop::NoPermission), 1);
    assert_eq!(bench.permit(&client, PEER).code(), 0);
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 0);
    assert_eq!(bench.send(client.address, &indication(PEER)).len(), 1);
}

#[test]
fn a_credential_never_widens_what_the_relay_allows() {
    let wide = CredentialPolicy { any_public: true, ..peers(&["127.0.0.0/8", "10.0.0.1", "203.0.113.9"]) };
    let (mut bench, client, _) = allocated(&wide);
    for peer in ["127.0.0.1:1", "10.0.0.1:1", "192.0.2.1:3478"] {
        assert_eq!(bench.bind_channel(&client, 0x4000, peer).code(), 403, "{peer}");
    }
    assert_eq!(bench.permit(&client, "8.8.8.8:1").code(), 0);
    // Named by the relay's operator, though not public; and the credential does not name it.
    assert_eq!(bench.permit(&client, OTHER).code(), 403);
}

#[test]
fn peers_that_renewed_credentials_do_not_permit_lose_what_they_had() {
    let (mut bench, mut client, relayed) = allocated(&peers(&["203.0.113.0/24"]));
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 0);
    assert_eq!(bench.permit(&client, OTHER).code(), 0);
    client.credentials = limited(1200, &peers(&["203.0.113.7"]));
    assert_eq!(bench.refresh(&client, 600).code(), 0);
    assert!(bench.send_to_relayed(PEER, relayed, b"x").is_empty());
    assert!(bench.send(client.address, b"\x40\x00\x00\x01x").is_empty(), "its channel is gone");
    assert_eq!(bench.send_to_relayed(OTHER, relayed, b"x").len(), 1);
    assert_eq!(bench.permit(&client, PEER).code(), 403);
    assert_eq!(bench.relay.allocations(), 1);
}

#[test]
fn a_channel_that_has_outlived_its_permission_goes_too() {
    let (mut bench, mut client, _) = allocated(&peers(&["203.0.113.0/24"]));
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 0);
    bench.advance(301);
    assert_eq!(bench.send(client.address, b"\x40\x00\x00\x01x").len(), 1);
    client.credentials = limited(1200, &peers(&["203.0.113.7"]));
    assert_eq!(bench.refresh(&client, 600).code(), 0);
    assert!(bench.send(client.address, b"\x40\x00\x00\x01x").is_empty());
}

#[test]
fn renewed_credentials_count_from_the_first_request_that_shows_them() {
    let (mut bench, mut client, _) = allocated(&peers(&["203.0.113.9"]));
    let old = client.clone();
    client.credentials = limited(1200, &peers(&["203.0.113.7"]));
    assert_eq!(bench.permit(&client, OTHER).code(), 0, "a new peer need not wait for a Refresh");
    // What was signed before the renewal and arrives after it brings nothing back.
    assert_eq!(bench.permit(&old, PEER).code(), 403);
    assert_eq!(bench.refresh(&old, 600).code(), 0);
    assert_eq!(bench.permit(&client, PEER).code(), 403);
    assert_eq!(bench.permit(&old, OTHER).code(), 403, "and has its own rights at most");
}

#[test]
fn a_credential_limits_the_allocations_of_its_id() {
    let most = CredentialPolicy { max_allocations: Some(2), ..CredentialPolicy::default() };
    let mut bench = Bench::new(config());
    let mut code = |port: u16, method: fn(Builder) -> Builder| {
        let client = bench.client_as(&format!("198.51.100.1:{port}"), limited(600, &most));
        bench.call(&client, Method::ALLOCATE, |builder| method(builder.requested_transport(17))).code()
    };
    let pair = |builder: Builder| builder.even_port(crate::stun::EvenPort { reserve: true });
    assert_eq!(code(1, |builder| builder), 0);
    assert_eq!(code(2, pair), 486, "a reserved port counts");
    assert_eq!(code(3, |builder| builder), 0);
    assert_eq!(code(4, |builder| builder), 486);
    let none = CredentialPolicy { max_allocations: Some(0), ..most };
    let credentials = Credentials::limited(SECRET, UnixTime(1_800_000_000), "gw-2", Some(&none)).unwrap();
    let client = bench.client_as(CLIENT, credentials);
    assert_eq!(bench.call(&client, Method::ALLOCATE, |builder| builder.requested_transport(17)).code(), 486);
}

#[test]
fn a_policy_that_was_changed_or_is_unknown_is_401() {
    let mut bench = Bench::new(config());
    let mut client = bench.client_as(CLIENT, limited(600, &peers(&["203.0.113.9"])));
    let mut code = |credentials: Credentials| {
        client.credentials = credentials;
        let request = client.sign(bench.builder(Method::ALLOCATE).requested_transport(17));
        Reply(bench.ask(client.address, &request)).code()
    };
    let password = limited(600, &peers(&["203.0.113.9"])).password;
    let widened = Credentials { password, ..limited(600, &peers(&["203.0.113.0/24"])) };
    assert_eq!(code(widened), 401);
    let expiry = UnixTime(UNIX.as_secs() + 600);
    assert_eq!(code(Credentials::time_limited(SECRET, expiry, "gw-1:2.AA")), 401);
    assert_eq!(code(Credentials::time_limited(SECRET, expiry, "gw-1:1.CA")), 401);
    assert_eq!(code(Credentials::time_limited(SECRET, expiry, "gw-1")), 0);
    assert_eq!(bench.relay.status().auth_failures, 3);
    let failures = AuthFailure::ALL.iter().map(|&reason| bench.relay.counters().auth_failures(reason));
    assert_eq!(failures.collect::<Vec<_>>(), [0, 1, 0, 2, 0, 0]);
}

#[test]
fn who_is_refused_is_counted_by_the_reason() {
    let mut bench = Bench::new(config());
    let client = bench.client_as(CLIENT, limited(600, &peers(&["203.0.113.9"])));
    assert_eq!(bench.relay.counters().auth_failures_in_all(), 0, "the first request is never signed");
    let mut ask = |credentials: Credentials, nonce: &str| {
        let client = Client { credentials, nonce: nonce.to_owned(), ..client.clone() };
        let request = client.sign(bench.builder(Method::ALLOCATE));
        Reply(bench.ask(client.address, &request)).code()
    };
    let nobody = Credentials { username: "mallory".into(), password: "x".into() };
    let past = Credentials::time_limited(SECRET, UnixTime(UNIX.as_secs()), "gw-1");
    assert_eq!((ask(nobody, &client.nonce), ask(past, &client.nonce)), (401, 401));
    assert_eq!(ask(client.credentials.clone(), "0123456789abcdef"), 438);
    let counted = |reason| bench.relay.counters().auth_failures(reason);
    let reasons = [AuthFailure::UnknownUser, AuthFailure::Expired, AuthFailure::StaleNonce];
    assert_eq!(reasons.map(counted), [1, 1, 1]);
    assert_eq!(bench.relay.counters().auth_failures_in_all(), 2, "a nonce grows stale for everybody");
}

#[test]
fn a_secret_is_replaced_without_the_loss_of_an_allocation() {
    let with = |secrets: &[&[u8]]| {
        secrets.iter().fold(Authenticator::new("adit"), |all, secret| all.with_secret(secret))
    };
    let (mut bench, mut client, relayed) = allocated(&peers(&["203.0.113.0/24"]));
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 0);
    // The new one is added while credentials made from the old one are out.
    bench.relay.set_authenticator(bench.now, with(&[b"south", SECRET]));
    assert_eq!(bench.refresh(&client, 600).code(), 0);
    bench.relay.set_authenticator(bench.now, with(&[b"south"]));
    let request = client.sign(bench.builder(Method::REFRESH));
    assert_eq!(Reply(bench.ask(client.address, &request)).code(), 401);
    assert_eq!(bench.send_to_relayed(PEER, relayed, b"x").len(), 1, "data goes on");
    let expiry = UnixTime(UNIX.as_secs() + 1200);
    client.credentials = Credentials::limited(b"south", expiry, "gw-1", None).unwrap();
    assert_eq!(bench.refresh(&client, 600).code(), 0);
    assert_eq!(bench.send(client.address, b"\x40\x00\x00\x01x").len(), 1);
    assert_eq!(bench.relay.allocations(), 1);
}

#[test]
fn a_report_has_it_all() {
    let (mut bench, client, relayed) = allocated(&peers(&["203.0.113.0/24"]));
    bench.advance(10);
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 0);
    bench.send(client.address, b"\x40\x00\x00\x03abc");
    bench.send_to_relayed(PEER, relayed, b"defgh");
    bench.send_to_relayed("203.0.113.1:1", relayed, b"x");
    let stranger =
        Client { credentials: Credentials { password: "x".into(), ..client.credentials }, ..client };
    let request = stranger.sign(bench.builder(Method::REFRESH));
    bench.ask(stranger.address, &request);
    let expected = Status {
        since: UnixTime(UNIX.as_secs()),
        allocations: 1,
        to_peers: Flow { packets: 1, bytes: 3 },
        to_clients: Flow { packets: 1, bytes: 5 },
        dropped: 1,
        auth_failures: 1,
    };
    assert_eq!(bench.relay.status(), expected);
}
