//! Who is not known, and what they get (RFC 8489 §6.3, §9.2.4).

use super::*;
use crate::stun::attribute;

#[test]
fn binding_needs_no_credentials() {
    let mut bench = Bench::new(config());
    for from in [CLIENT, "[2001:db8::77]:4000"] {
        let request = bench.builder(Method::BINDING).finish();
        let reply = Reply(bench.ask(addr(from), &request));
        assert_eq!(reply.message().mapped_address().unwrap(), Some(addr(from)));
        let headers = if addr(from).is_ipv4() { 28 } else { 48 };
        assert!(2 * (reply.0.len() + headers) <= 3 * (request.len() + headers));
    }
}

#[test]
fn a_padded_binding_request_is_not_echoed() {
    let mut bench = Bench::new(config());
    let request = bench.builder(Method::BINDING).raw(0x0026, &[0; 1000]).finish();
    let reply = Reply(bench.ask(addr(CLIENT), &request));
    assert_eq!(reply.code(), 420);
    assert!(reply.0.len() < 40);
}

#[test]
fn who_is_not_known_is_challenged_in_few_bytes() {
    let mut bench = Bench::new(config());
    for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let request = bench.builder(method).finish();
        let reply = Reply(bench.ask(addr(CLIENT), &request));
        assert_eq!(reply.code(), 401);
        assert_eq!(reply.message().realm().unwrap(), Some("adit"));
        assert!(reply.message().nonce().unwrap().is_some());
        assert!(reply.message().attribute(attribute::SOFTWARE).is_none());
        assert!(reply.0.len() + 28 <= 3 * (request.len() + 28));
    }
    assert_eq!((bench.relay.allocations(), bench.bound.len()), (0, 2));
}

#[test]
fn a_wrong_password_and_a_wrong_user_are_told_the_same() {
    let mut bench = Bench::new(config());
    let mut client = bench.client(CLIENT);
    let mut code = |client: &Client| {
        let request = client.sign(bench.builder(Method::ALLOCATE).requested_transport(17));
        let reply = Reply(bench.ask(client.address, &request));
        assert!(!reply.message().has_integrity());
        reply.code()
    };
    client.credentials.password = "wrong".to_owned();
    assert_eq!(code(&client), 401);
    client.credentials.username = "nobody".to_owned();
    assert_eq!(code(&client), 401);
    client.credentials = Credentials::time_limited(b"south", UnixTime(1_800_000_000), "gw-1");
    assert_eq!(code(&client), 401);
    client.credentials = Credentials::time_limited(SECRET, UnixTime(UNIX.as_secs()), "gw-1");
    assert_eq!(code(&client), 401, "it has expired");
}

#[test]
fn a_signed_request_must_say_by_whom() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let (username, nonce) = (client.credentials.username.clone(), client.nonce.clone());
    let fills: [&dyn Fn(Builder) -> Builder; 6] = [
        &|builder| builder.realm("adit").nonce(&nonce),
        &|builder| builder.username(&username).nonce(&nonce),
        &|builder| builder.username(&username).realm("adit"),
        &|builder| builder.raw(attribute::USERNAME, &[0xFF]).realm("adit").nonce(&nonce),
        &|builder| builder.username(&username).raw(attribute::REALM, &[0xFF]).nonce(&nonce),
        &|builder| builder.username(&username).realm("adit").raw(attribute::NONCE, &[0xFF]),
    ];
    for fill in fills {
        let request = fill(bench.builder(Method::ALLOCATE).requested_transport(17));
        let request = request.finish_with_integrity(&client.credentials.key("adit"));
        let reply = Reply(bench.ask(client.address, &request));
        let message = reply.message();
        assert_eq!((reply.code(), message.realm(), message.nonce()), (400, Ok(None), Ok(None)));
        assert!(!message.has_integrity());
    }
}

/// The key is that of the relay's realm: whoever names another one has signed with another key.
#[test]
fn another_realm_is_401_and_tells_the_relay_s() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    for realm in ["elsewhere", "", "Adit"] {
        for key in ["adit", realm] {
            let builder = bench.builder(Method::ALLOCATE).requested_transport(17);
            let builder = builder.username(&client.credentials.username).realm(realm).nonce(&client.nonce);
            let request = builder.finish_with_integrity(&client.credentials.key(key));
            let reply = Reply(bench.ask(client.address, &request));
            let message = reply.message();
            assert_eq!((reply.code(), message.realm()), (401, Ok(Some("adit"))));
            assert!(message.nonce().unwrap().is_some());
        }
    }
}

/// RFC 8489 §14.3: 508 bytes are written at most, and 763 are read, as RFC 5389 had it.
#[test]
fn a_username_of_763_bytes_is_read_and_a_longer_one_is_400() {
    let mut config = config();
    for len in [508, 763, 764] {
        config.authenticator = config.authenticator.clone().with_user(&"u".repeat(len), "long");
    }
    let mut bench = Bench::new(config);
    for (port, (len, code)) in (4000..).zip([(508, 0), (763, 0), (764, 400)]) {
        let credentials = Credentials { username: "u".repeat(len), password: "long".to_owned() };
        let client = bench.client_as(&format!("198.51.100.1:{port}"), credentials);
        let request = client.sign(bench.builder(Method::ALLOCATE).requested_transport(17));
        assert_eq!(Reply(bench.ask(client.address, &request)).code(), code, "{len} bytes");
    }
}

#[test]
fn a_stale_nonce_is_replaced() {
    let mut bench = Bench::new(config());
    let mut client = bench.client(CLIENT);
    bench.allocate(&client);
    bench.advance(300);
    assert_eq!(bench.refresh(&client, 3600).code(), 0);
    bench.advance(301);
    let request = client.sign(bench.builder(Method::REFRESH));
    let reply = Reply(bench.ask(client.address, &request));
    assert_eq!((reply.code(), reply.message().realm()), (438, Ok(Some("adit"))));
    assert_ne!(reply.message().nonce(), Ok(Some(client.nonce.as_str())));
    client.nonce = reply.message().nonce().unwrap().unwrap().to_owned();
    assert_eq!(bench.refresh(&client, 600).code(), 0);
}

#[test]
fn a_nonce_of_another_client_is_stale() {
    let mut bench = Bench::new(config());
    let mut client = bench.client(CLIENT);
    client.address = addr("198.51.100.1:4001");
    let request = client.sign(bench.builder(Method::ALLOCATE).requested_transport(17));
    assert_eq!(Reply(bench.ask(client.address, &request)).code(), 438);
    for nonce in ["", "n", &"n".repeat(127), &"n".repeat(763)] {
        client.nonce = nonce.to_owned();
        let request = client.sign(bench.builder(Method::ALLOCATE).requested_transport(17));
        let reply = Reply(bench.ask(client.address, &request));
        assert_eq!((reply.code(), reply.message().realm()), (438, Ok(Some("adit"))), "{nonce:?} is not ours");
        assert!(reply.message().nonce().unwrap().is_some_and(|new| new != nonce));
    }
}

#[test]
fn the_wall_clock_decides_about_credentials() {
    let mut bench = Bench::new(config());
    let credentials = Credentials::time_limited(SECRET, UnixTime(UNIX.as_secs() + 1000), "gw-1");
    let mut client = bench.client_as(CLIENT, credentials);
    bench.relay.handle_clock(bench.now, UnixTime(UNIX.as_secs() + 2000));
    bench.renew_nonce(&mut client);
    let request = client.sign(bench.builder(Method::ALLOCATE).requested_transport(17));
    assert_eq!(Reply(bench.ask(client.address, &request)).code(), 401);
    bench.relay.handle_clock(bench.now, UnixTime(UNIX.as_secs()));
    bench.renew_nonce(&mut client);
    bench.allocate(&client);
}

#[test]
fn strangers_have_a_budget_and_users_have_none() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let flood = bench.builder(Method::BINDING).finish();
    let answered: usize = (0..1000).map(|_| bench.send(addr("198.51.100.1:9"), &flood).len()).sum();
    assert_eq!(answered, 199, "the client's challenge came out of the same budget");
    assert_eq!(bench.dropped(Drop::OverBudget), 801);
    bench.allocate(&client);
    assert_eq!(bench.send(addr("198.51.100.2:9"), &flood).len(), 1, "other sources have their own");
    bench.advance(1);
    let answered: usize = (0..1000).map(|_| bench.send(addr("198.51.100.1:9"), &flood).len()).sum();
    assert_eq!(answered, 50);
}

#[test]
fn what_is_not_for_a_server_is_dropped() {
    let mut bench = Bench::new(config());
    let from = addr(CLIENT);
    for datagram in [&b""[..], b"\x16\x03\x01", b"\xFFhello", b"\x00\x01", b"\x40\x00"] {
        assert!(bench.send(from, datagram).is_empty());
    }
    assert_eq!(bench.dropped(Drop::Malformed), 5);
    let transaction = bench.transaction();
    for (class, method) in [
        (Class::Indication, Method::BINDING),
        (Class::Indication, Method::DATA),
        (Class::Success, Method::ALLOCATE),
        (Class::Error, Method::BINDING),
        (Class::Request, Method::SEND),
        (Class::Request, Method::new(0x00D)),
    ] {
        let datagram = Builder::new(class, method, transaction).finish();
        assert!(bench.send(from, &datagram).is_empty());
    }
    assert_eq!(bench.dropped(Drop::Unexpected), 6);
    bench.relay.handle_bytes(bench.now, crate::io::Id::new(0, 0), b"bytes");
    assert_eq!(bench.dropped(Drop::UnknownLink), 1);
}

#[test]
fn a_listening_address_that_is_taken_is_reported() {
    let now = crate::time::start();
    let mut relay = Relay::new(config(), Clock::new(now, UNIX), now, [7; 32]);
    let Some(Event::Effect(Effect::Bind { socket, addr, kind })) = relay.poll_event() else {
        panic!("a relay asks for its listening sockets first");
    };
    assert_eq!(kind, SocketKind::Listening);
    let result = Err(ErrorKind::AddrInUse);
    relay.handle_completion(now, Completion::Bound { socket, result });
    let failed = Event::ListenFailed { addr, transport: Transport::Udp, kind: ErrorKind::AddrInUse };
    assert!(std::iter::from_fn(|| relay.poll_event()).any(|event| event == failed));
}
