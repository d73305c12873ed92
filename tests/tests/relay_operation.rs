//! A relay as its operator runs it: watched, told other things while it runs, and told to end.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use adit_core::time::UnixTime;
use adit_core::turn::credentials::Credentials;
use adit_tests::adit::{Gateway, World};
use adit_tests::monitor::{metric, page, wait_for};
use adit_tests::process::Running;
use adit_tests::turn::Turn;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(10);

/// A relay with the users ada and bob, who stand in a file like everything else.
struct Watched {
    world: World,
    relay: Running,
    at: SocketAddr,
    pages: SocketAddr,
}

impl Watched {
    fn start(more: &str) -> Self {
        let world = World::new();
        let (at, pages) = (world.address("127.0.0.1"), world.address("127.0.0.1"));
        let ports = world.ports.range(20);
        let file = format!(
            "listen = '{at}'\nmonitor-listen = '{pages}'\nrealm = 'example.org'\nusers-file = 'users'\n\
             min-port = {}\nmax-port = {}\n",
            ports.start(),
            ports.end()
        );
        world.place.write("users", "ada:wonder\nbob:builder\n");
        world.place.write("revoked", "");
        world.place.write("base.toml", &file);
        world.place.write("relay.toml", &format!("{file}allowed-peer-ip = '127.0.0.1'\n{more}"));
        let _ = world.adit(&["config", "check", "relay.toml"]).success();
        let mut command = world.command(&["relay", "start", "--config", "relay.toml"]);
        command.env_remove("ADIT_MONITOR_LISTEN");
        let mut relay = Running::start("adit relay", command);
        relay.expect_line(&format!("listening on {at}"));
        Self { world, relay, at, pages }
    }

    fn client(&self, name: &str, password: &str) -> Turn {
        Turn::new(self.at, name, password)
    }

    /// Writes the file anew, has it read, and waits for the answer to this one.
    fn told(&mut self, more: &str, answer: &str) {
        let base = std::fs::read_to_string(self.world.place.path("base.toml")).unwrap();
        self.world.place.write("relay.toml", &format!("{base}{more}"));
        let before = self.relay.said().lines().filter(|line| line.contains(answer)).count();
        self.relay.signal(Signal::HUP);
        self.relay.expect_lines(answer, before + 1);
    }
}

/// A peer on loopback.
fn peer() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[test]
fn the_pages_of_a_relay_say_what_it_does() {
    let watched = Watched::start("");
    assert_eq!(page(watched.pages, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(page(watched.pages, "/readyz"), (200, r#"{"ready":true,"reasons":[]}"#.to_owned()));
    let (peer, address) = peer();
    let mut client = watched.client("ada", "wonder");
    let relayed = client.allocate().relayed();
    assert_eq!(client.bind_channel(0x4000, address), 0);
    client.send(0x4000, b"hello");
    let mut bytes = [0; 100];
    assert_eq!(peer.recv_from(&mut bytes).unwrap(), (5, relayed));
    peer.send_to(b"good day", relayed).unwrap();
    assert_eq!(client.receive(0x4000, SOON).unwrap(), b"good day");
    UdpSocket::bind("127.0.0.2:0").unwrap().send_to(b"let me in", relayed).unwrap();
    assert_eq!(watched.client("ada", "wander").allocate().code(), 401);
    assert_eq!(watched.client("mallory", "wonder").allocate().code(), 401);
    for (name, value) in [
        ("turn_allocations_active", 1),
        ("turn_permissions_active", 1),
        ("turn_channels_active", 1),
        (r#"turn_relayed_bytes_total{direction="to_peers"}"#, 5),
        (r#"turn_relayed_bytes_total{direction="to_clients"}"#, 8),
        (r#"turn_relayed_packets_total{direction="to_peers"}"#, 1),
        (r#"turn_dropped_packets_total{reason="no_permission"}"#, 1),
        (r#"turn_auth_failures_total{reason="wrong_password"}"#, 1),
        (r#"turn_auth_failures_total{reason="unknown_user"}"#, 1),
        ("adit_ready", 1),
    ] {
        assert_eq!(metric(watched.pages, name), value, "{name}");
    }
    assert!(metric(watched.pages, r#"adit_socket_datagrams_total{direction="received"}"#) > 5);
    let (_, text) = page(watched.pages, "/metrics");
    for secret in ["wonder", "mallory", "127.0.0.1", &relayed.to_string()] {
        assert!(!text.contains(secret), "{secret} stands in\n{text}");
    }
}

#[test]
fn a_relay_that_is_told_to_end_waits_until_its_clients_have_moved() {
    let mut watched = Watched::start("alternate-server = '127.0.0.9:3478'\n");
    let (peer, address) = peer();
    let mut client = watched.client("ada", "wonder");
    let relayed = client.allocate().relayed();
    assert_eq!(client.bind_channel(0x4000, address), 0);
    watched.relay.signal(Signal::TERM);
    let reasons = wait_for(watched.pages, 503);
    assert!(reasons.contains("takes no new allocations"), "{reasons}");
    let refused = watched.client("bob", "builder").allocate();
    let elsewhere = refused.message().alternate_server().unwrap();
    assert_eq!((refused.code(), elsewhere), (300, Some("127.0.0.9:3478".parse().unwrap())));
    client.send(0x4000, b"still here");
    let mut bytes = [0; 100];
    assert_eq!(peer.recv_from(&mut bytes).unwrap(), (10, relayed));
    assert_eq!(client.refresh(0), 0);
    assert_eq!(watched.relay.wait().code(), Some(0));
    assert!(!watched.relay.said().contains("cut off"), "{}", watched.relay.said());
}

#[test]
fn patience_with_clients_has_an_end() {
    let mut watched = Watched::start("grace-period = 1\n");
    let mut client = watched.client("ada", "wonder");
    let _ = client.allocate().relayed();
    watched.relay.signal(Signal::TERM);
    assert_eq!(watched.relay.wait().code(), Some(0));
    watched.relay.expect_line("clients have not moved and are cut off");
}

#[test]
fn a_second_signal_ends_a_relay_at_once() {
    let mut watched = Watched::start("grace-period = 600\n");
    let mut client = watched.client("ada", "wonder");
    let _ = client.allocate().relayed();
    watched.relay.signal(Signal::TERM);
    watched.relay.expect_line("waiting for clients to move");
    assert_eq!(watched.client("bob", "builder").allocate().code(), 508);
    watched.relay.signal(Signal::TERM);
    assert_eq!(watched.relay.wait().code(), Some(0));
    watched.relay.expect_line("told twice");
}

#[test]
fn users_and_limits_change_without_the_loss_of_an_allocation() {
    let mut watched = Watched::start("user-quota = 5\n");
    let (peer, address) = peer();
    let (mut ada, mut bob) = (watched.client("ada", "wonder"), watched.client("bob", "builder"));
    let relayed = ada.allocate().relayed();
    assert_eq!(ada.bind_channel(0x4000, address), 0);
    let _ = bob.allocate().relayed();
    watched.world.place.write("users", "ada:other\ncarol:new\n");
    watched.told("allowed-peer-ip = '127.0.0.1'\nuser-quota = 1\n", "are in effect");
    let _ = watched.client("carol", "new").allocate().relayed();
    assert_eq!(bob.refresh(600), 401, "who is no user any more is one no more");
    assert_eq!(ada.refresh(600), 401, "the password is another one");
    ada.send(0x4000, b"on");
    let mut bytes = [0; 100];
    assert_eq!(peer.recv_from(&mut bytes).unwrap(), (2, relayed), "data goes on");
    ada.credentials.password = "other".to_owned();
    assert_eq!(ada.refresh(600), 0);
    assert_eq!(watched.client("ada", "other").allocate().code(), 486);
    assert_eq!(metric(watched.pages, "turn_allocations_active"), 3);
}

#[test]
fn who_is_revoked_loses_the_allocation_and_nobody_else_does() {
    let mut watched = Watched::start("static-auth-secret = 'north'\nrevoked-file = 'revoked'\n");
    let (peer, address) = peer();
    let client = |id| {
        let Credentials { username, password } =
            Credentials::time_limited(b"north", UnixTime(4_000_000_000), id);
        let mut client = watched.client(&username, &password);
        let relayed = client.allocate().relayed();
        assert_eq!(client.bind_channel(0x4000, address), 0);
        (client, relayed)
    };
    let ((mut bad, _), (good, relayed)) = (client("gw-1"), client("gw-2"));
    watched.world.place.write("revoked", "# lost on a train\ngw-1\n");
    let more = "allowed-peer-ip = '127.0.0.1'\nstatic-auth-secret = 'north'\nrevoked-file = 'revoked'\n";
    watched.told(more, "are in effect");
    watched.relay.expect_line("its user was revoked");
    assert_eq!(metric(watched.pages, "turn_allocations_active"), 1);
    bad.send(0x4000, b"x");
    good.send(0x4000, b"hello");
    let mut bytes = [0; 100];
    assert_eq!(peer.recv_from(&mut bytes).unwrap(), (5, relayed), "nothing came before it");
    assert_eq!(bad.allocate().code(), 403);
}

#[test]
fn peers_that_are_denied_while_the_relay_runs_get_nothing_more() {
    let mut watched = Watched::start("");
    let (peer, address) = peer();
    let mut client = watched.client("ada", "wonder");
    let relayed = client.allocate().relayed();
    assert_eq!(client.bind_channel(0x4000, address), 0);
    watched.told("", "are in effect");
    assert_eq!(metric(watched.pages, "turn_permissions_active"), 0);
    assert_eq!(metric(watched.pages, "turn_channels_active"), 0);
    assert_eq!(metric(watched.pages, "turn_allocations_active"), 1);
    assert_eq!(client.permit(address), 403);
    peer.send_to(b"x", relayed).unwrap();
    client.send(0x4000, b"x");
    watched.told("allowed-peer-ip = '127.0.0.1'\n", "are in effect");
    assert_eq!(client.bind_channel(0x4000, address), 0);
    client.send(0x4000, b"again");
    let mut bytes = [0; 100];
    assert_eq!(peer.recv_from(&mut bytes).unwrap(), (5, relayed), "what was sent meanwhile is gone");
}

/// RFC 8656 §11.5.
#[test]
fn a_client_is_told_that_nobody_listens_at_its_peer_and_reaches_others_all_the_same() {
    let watched = Watched::start("");
    let (peer, address) = peer();
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut client = watched.client("ada", "wonder");
    let _ = client.allocate().relayed();
    assert_eq!((client.bind_channel(0x4000, gone), client.bind_channel(0x4001, address)), (0, 0));
    client.send(0x4000, b"lost");
    client.send(0x4001, b"kept");
    let mut bytes = [0; 100];
    assert_eq!(peer.recv_from(&mut bytes).unwrap().0, 4);
    let told = client.indication(SOON).unwrap();
    let message = told.message();
    // Destination unreachable: port unreachable (RFC 792).
    let icmp = message.icmp().unwrap().unwrap();
    assert_eq!((icmp.kind, icmp.code), (3, 3));
    assert_eq!(message.peer_address(), Ok(Some(gone)));
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_says_why() {
    let mut watched = Watched::start("");
    watched.world.place.write("users", "ada:other\n");
    watched.told("user-quotas = 1\n", "relay.toml:7: unknown key `user-quotas`");
    assert!(watched.relay.said().contains("nothing was changed"));
    let _ = watched.client("ada", "wonder").allocate().relayed();
    watched.world.place.write("users", "ada\n");
    watched.told("", "users:1: a name, a colon");
    let _ = watched.client("bob", "builder").allocate().relayed();
    assert_eq!(page(watched.pages, "/readyz").0, 200);
}

#[test]
fn what_can_not_change_in_a_running_relay_is_said() {
    let mut watched = Watched::start("");
    watched
        .told("rfc5766-channels = true\n", "rfc5766-channels can't change while the relay runs: restart it");
    let _ = watched.client("ada", "wonder").allocate().relayed();
}

#[test]
fn a_gateway_is_ready_when_a_relay_gives_it_an_address() {
    let world = World::new();
    let (relay, pages) = (world.address("127.0.0.1"), world.address("127.0.0.1"));
    let mut command = world.gateway_command(&Gateway::on(relay, &["tcp://127.0.0.1:1"]));
    command.args(["--keep-trying", "--monitor-listen", &pages.to_string()]);
    let mut gateway = Running::start("adit gateway", command);
    gateway.expect_line("monitored at");
    gateway.expect_line("does not answer");
    let reasons = wait_for(pages, 503);
    assert!(reasons.contains("none gives an allocation"), "{reasons}");
    let _relay = world.relay(&[relay]);
    assert_eq!(wait_for(pages, 200), r#"{"ready":true,"reasons":[]}"#);
    assert_eq!(metric(pages, r#"adit_gateway_allocated{relay="0"}"#), 1);
    assert_eq!(metric(pages, "adit_gateway_connectors"), 0);
    assert_eq!(metric(pages, r#"adit_gateway_rejected_total{code="denied"}"#), 0);
}

#[test]
fn what_becomes_of_allocations_is_written_down_without_the_names_of_users() {
    let mut watched = Watched::start("event-log = 'events'\nuser-quota = 1\n");
    let (peer, address) = peer();
    // A name that no word for a user can have within it: `ada` would be three hexadecimal digits.
    let mut client = watched.client("bob", "builder");
    let relayed = client.allocate().relayed();
    assert_eq!(watched.client("bob", "builder").allocate().code(), 486);
    assert_eq!(client.bind_channel(0x4000, address), 0);
    client.send(0x4000, b"hello");
    peer.recv_from(&mut [0; 100]).unwrap();
    assert_eq!(client.refresh(0), 0);
    watched.relay.signal(Signal::TERM);
    assert_eq!(watched.relay.wait().code(), Some(0));
    let text = std::fs::read_to_string(watched.world.place.path("events")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["allocated", "refused", "released"], "{text}");
    assert_eq!(lines[0]["relayed"][0], relayed.to_string());
    assert_eq!(lines[1]["code"], 486);
    assert_eq!((&lines[2]["reason"], &lines[2]["to_peers_bytes"]), (&"closed".into(), &5.into()));
    assert!(lines.iter().all(|line| line["user"] == lines[0]["user"]) && !text.contains("bob"), "{text}");
}
