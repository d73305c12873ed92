//! CreatePermission and ChannelBind, and which peers they accept (RFC 8656 §9, §10, §12).

use super::*;

fn allocated(config: Config) -> (Bench, Client) {
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    bench.allocate(&client);
    (bench, client)
}

#[test]
fn one_request_may_permit_several_peers_and_permits_all_or_none() {
    let (mut bench, client) = allocated(config());
    let relayed = bench.bound[2].1;
    let permit = |second: &'static str| {
        move |builder: Builder| builder.peer_address(addr("203.0.113.1:1")).peer_address(addr(second))
    };
    assert_eq!(bench.call(&client, Method::CREATE_PERMISSION, permit("127.0.0.1:1")).code(), 403);
    assert!(bench.send_to_relayed("203.0.113.1:9", relayed, b"x").is_empty());
    assert_eq!(bench.call(&client, Method::CREATE_PERMISSION, permit("203.0.113.2:0")).code(), 0);
    assert_eq!(bench.send_to_relayed("203.0.113.1:9", relayed, b"x").len(), 1);
    assert_eq!(bench.send_to_relayed("203.0.113.2:9", relayed, b"x").len(), 1);
    assert_eq!(bench.call(&client, Method::CREATE_PERMISSION, |builder| builder).code(), 400);
}

#[test]
fn a_peer_of_another_family_is_443() {
    let (mut bench, client) = allocated(config());
    assert_eq!(bench.permit(&client, "[2001:db8::9]:1").code(), 443);
    assert_eq!(bench.bind_channel(&client, 0x4000, "[2001:db8::9]:1").code(), 443);
}

#[test]
fn special_addresses_are_forbidden_unless_named() {
    let (mut bench, client) = allocated(config());
    for peer in ["127.0.0.1:80", "0.0.0.0:80", "10.0.0.1:80", "169.254.169.254:80", "224.0.0.1:80"] {
        assert_eq!(bench.permit(&client, peer).code(), 403, "{peer}");
        assert_eq!(bench.bind_channel(&client, 0x4000, peer).code(), 403, "{peer}");
    }
    let mut named = config();
    named.policy = named.policy.clone().allow(ip("127.0.0.1"));
    let (mut bench, client) = allocated(named);
    assert_eq!(bench.permit(&client, "127.0.0.1:80").code(), 0);
    assert_eq!(bench.permit(&client, "127.0.0.2:80").code(), 403);
}

/// A port that the relay tries to get may be a peer's, which must not be refused meanwhile.
#[test]
fn a_port_is_the_relays_own_once_it_is_bound() {
    let mut bench = Bench::new(config());
    let (first, second) = (bench.client(CLIENT), bench.client("198.51.100.2:4000"));
    bench.allocate(&first);
    bench.hold = true;
    let request = second.sign(bench.builder(Method::ALLOCATE).requested_transport(17));
    bench.send(second.address, &request);
    let port = bench.held[0].1.port();
    let peer = format!("192.0.2.1:{port}");
    assert_eq!(bench.bind_channel(&first, 0x4000, &peer).code(), 0);
    assert!(bench.release(Some(ErrorKind::AddrInUse)).is_empty());
    let bound = bench.held[0].1.port();
    assert_eq!(bench.release(None).len(), 1);
    let codes =
        [bound, port].map(|port| bench.bind_channel(&first, 0x4001, &format!("192.0.2.1:{port}")).code());
    assert_eq!(codes, [403, 400], "one is the relay's, the other has its channel");
    bench.relay.check();
}

#[test]
fn the_relays_own_ports_are_never_reachable() {
    let mut named = config();
    named.policy = named.policy.clone().allow(ip("127.0.0.1"));
    let (mut bench, client) = allocated(named);
    for peer in ["192.0.2.1:3478", "127.0.0.1:3478"] {
        assert_eq!(bench.permit(&client, peer).code(), 0, "the address is named");
        assert_eq!(bench.bind_channel(&client, 0x4000, peer).code(), 403, "{peer}");
        let send = Builder::new(Class::Indication, Method::SEND, [9; 12]).peer_address(addr(peer)).data(b"x");
        assert!(bench.send(client.address, &send.finish()).is_empty());
    }
    assert_eq!(bench.dropped(Drop::OwnPort), 2);
    assert_eq!(
        bench.bind_channel(&client, 0x4000, "203.0.113.9:3478").code(),
        0,
        "elsewhere it is just a port"
    );
}

#[test]
fn relayed_addresses_are_peers_only_where_that_is_allowed() {
    for allowed in [false, true] {
        let mut config = config();
        config.allow_relayed_peers = allowed;
        let (mut bench, first) = allocated(config);
        let second = bench.client("198.51.100.1:4001");
        let relayed = bench.allocate(&second).to_string();
        let expected = if allowed { 0 } else { 403 };
        assert_eq!(bench.bind_channel(&first, 0x4000, &relayed).code(), expected);
    }
}

#[test]
fn other_sockets_of_the_relays_machine_may_have_ports_of_the_relayed_range() {
    let (mut bench, client) = allocated(config());
    let second = bench.client("198.51.100.1:4001");
    let own: SocketAddr = bench.allocate(&second).to_string().parse().unwrap();
    let beside = SocketAddr::new(own.ip(), own.port() ^ 1);
    assert_eq!(bench.bind_channel(&client, 0x4000, &beside.to_string()).code(), 0);
}

#[test]
fn numbers_and_peers_are_bound_one_to_one() {
    let (mut bench, client) = allocated(config());
    let mut code = |number, peer| bench.bind_channel(&client, number, peer).code();
    assert_eq!(code(0x4000, PEER), 0);
    assert_eq!(code(0x4000, PEER), 0, "a binding can be refreshed");
    assert_eq!(code(0x4000, "203.0.113.9:5001"), 400);
    assert_eq!(code(0x4001, PEER), 400);
    for number in [0, 0x3FFF, 0x5000, 0x7FFF, 0xFFFF] {
        assert_eq!(code(number, "203.0.113.9:5001"), 400, "{number:#x}");
    }
    assert_eq!(code(0x4FFF, "203.0.113.9:5001"), 0);
    assert_eq!(code(0x4002, "203.0.113.9:0"), 400);
    let missing = bench.call(&client, Method::CHANNEL_BIND, |builder| builder.channel_number(0x4005));
    assert_eq!(missing.code(), 400);
    let missing = bench.call(&client, Method::CHANNEL_BIND, |builder| builder.peer_address(addr(PEER)));
    assert_eq!(missing.code(), 400);
}

#[test]
fn older_clients_may_use_the_numbers_of_rfc_5766_where_that_is_configured() {
    let mut config = config();
    config.rfc5766_channels = true;
    let (mut bench, client) = allocated(config);
    let relayed = bench.bound[2].1;
    assert_eq!(bench.bind_channel(&client, 0x7FFF, PEER).code(), 0);
    assert_eq!(bench.send(client.address, b"\x7F\xFF\x00\x01x")[0].2, b"x");
    assert_eq!(bench.send_to_relayed(PEER, relayed, b"y")[0].2, b"\x7F\xFF\x00\x01y");
}

#[test]
fn a_full_table_is_508() {
    let mut config = config();
    (config.max_permissions, config.max_channels) = (2, 1);
    let (mut bench, client) = allocated(config);
    assert_eq!(bench.permit(&client, "203.0.113.1:1").code(), 0);
    assert_eq!(bench.bind_channel(&client, 0x4000, "203.0.113.2:1").code(), 0);
    assert_eq!(bench.permit(&client, "203.0.113.3:1").code(), 508);
    assert_eq!(bench.bind_channel(&client, 0x4001, "203.0.113.2:2").code(), 508);
    bench.advance(301);
    assert_eq!(bench.permit(&client, "203.0.113.3:1").code(), 0, "what has run out makes room");
}

#[test]
fn a_relay_that_listens_on_all_addresses_learns_which_are_its_own() {
    let mut wide = config();
    wide.listen = vec![Listen::udp(addr("0.0.0.0:3478"))];
    wide.policy = wide.policy.clone().allow(ip("198.51.100.0")).allow(ip("198.51.100.200"));
    let (mut bench, client) = allocated(wide);
    let own = "198.51.100.200:3478";
    assert_eq!(bench.bind_channel(&client, 0x4000, own).code(), 0, "nobody has told it yet");
    let request = client.sign(bench.builder(Method::REFRESH));
    let mut payload = request.clone();
    let (socket, remote) = (bench.listening(client.address), client.address);
    let local = Some(ip("198.51.100.200"));
    let batch = Datagrams { socket, remote, local, ecn: None, stride: request.len(), payload: &mut payload };
    bench.relay.handle_datagrams(bench.now, batch, &mut Forwards::default());
    bench.settle();
    assert_eq!(bench.bind_channel(&client, 0x4000, own).code(), 403);
    assert!(bench.send(client.address, b"\x40\x00\x00\x01x").is_empty(), "not by the old channel either");
}
