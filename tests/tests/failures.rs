//! What goes wrong at people's: each mistake has its own exit status and a sentence that says what to do.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_core::pki::{Authority, Key, KeyKind, Name, Role, Serial, Terms, pem};
use adit_core::time::UnixTime;
use adit_tests::adit::{Connector, Gateway, World};
use adit_tests::process::{Finished, PATIENCE, Running, finish};
use rustix::process::Signal;

const DAY: u64 = 86_400;

/// A relay, and a gateway on it that allows one target, where nobody listens.
struct Site {
    relayed: Vec<SocketAddr>,
    target: String,
    gateway: Running,
    _relay: Running,
}

fn site(world: &World, change: impl FnOnce(&mut Gateway)) -> Site {
    let target = format!("tcp://{}", world.address("127.0.0.1"));
    let relay_address = world.address("127.0.0.1");
    let relay = world.relay(&[relay_address]);
    let mut gateway = Gateway::on(relay_address, &[&target]);
    change(&mut gateway);
    let (gateway, relayed) = world.gateway(&gateway, 1);
    Site { relayed, target, gateway, _relay: relay }
}

fn forward(world: &World, connector: &Connector, target: &str) -> Finished {
    let command = world.forward_command(connector, target, world.address("127.0.0.1"));
    finish("adit forward", command, PATIENCE)
}

#[track_caller]
fn assert_fails(finished: &Finished, status: i32, words: &[&str]) {
    assert_eq!(finished.status.code(), Some(status), "{}", finished.said);
    for word in words {
        assert!(finished.said.contains(word), "{word:?} is missing in:\n{}", finished.said);
    }
}

#[test]
fn a_connector_of_another_ca_is_refused() {
    let world = World::new();
    world.organisation("other", "acme");
    let site = site(&world, |_| {});
    let connector = Connector { identity: "other/laptop", ..Connector::to(&site.relayed) };
    assert_fails(&forward(&world, &connector, &site.target), 4, &["gateway", "unknown CA"]);
}

#[test]
fn a_gateway_of_another_ca_is_refused() {
    let world = World::new();
    world.organisation("other", "acme");
    let site = site(&world, |_| {});
    let connector = Connector { trust: vec!["other/gateway-ca.pem"], ..Connector::to(&site.relayed) };
    assert_fails(&forward(&world, &connector, &site.target), 4, &["gateway", "trust-anchor"]);
}

#[test]
fn a_gateway_refuses_a_connector_of_another_organisation_whose_ca_it_trusts() {
    let world = World::new();
    world.organisation("globex", "globex");
    let site = site(&world, |gateway| {
        gateway.trust = vec!["ca/connector-ca.pem", "globex/connector-ca.pem"];
    });
    let connector =
        Connector { organisation: "globex", identity: "globex/laptop", ..Connector::to(&site.relayed) };
    assert_fails(&forward(&world, &connector, &site.target), 4, &["organisation"]);
}

#[test]
fn the_certificate_of_a_gateway_makes_no_connector() {
    let world = World::new();
    let site = site(&world, |_| {});
    let connector = Connector { identity: "ca/gw-1", ..Connector::to(&site.relayed) };
    assert_fails(&forward(&world, &connector, &site.target), 4, &["connector"]);
}

#[test]
fn an_expired_certificate_of_a_connector_is_refused() {
    let world = World::new();
    let site = site(&world, |_| {});
    let id: Name = "laptop".parse().unwrap();
    issue_expired(&world, "connector-ca", Role::Connector { id }, "expired");
    let connector = Connector { identity: "expired", ..Connector::to(&site.relayed) };
    assert_fails(&forward(&world, &connector, &site.target), 4, &["expired"]);
}

#[test]
fn a_gateway_does_not_start_with_an_expired_certificate() {
    let world = World::new();
    let role = Role::Gateway { gateway: "gw-1".parse().unwrap(), instance: Name::zero() };
    issue_expired(&world, "gateway-ca", role, "expired");
    let relay_address = world.address("127.0.0.1");
    let _relay = world.relay(&[relay_address]);
    let gateway = Gateway { identity: "expired", ..Gateway::on(relay_address, &["tcp://127.0.0.1:5432"]) };
    let finished = finish("adit gateway", world.gateway_command(&gateway), PATIENCE);
    assert_fails(&finished, 4, &["expired"]);
}

#[test]
fn the_certificate_of_a_connector_makes_no_gateway() {
    let world = World::new();
    let gateway = Gateway { identity: "ca/laptop", ..Gateway::on(world.address("127.0.0.1"), &[]) };
    let finished = finish("adit gateway", world.gateway_command(&gateway), PATIENCE);
    assert_fails(&finished, 4, &["gateway"]);
}

#[test]
fn another_gateway_than_the_one_that_was_meant_is_refused() {
    let world = World::new();
    let site = site(&world, |_| {});
    let connector = Connector { gateway: "gw-2", ..Connector::to(&site.relayed) };
    assert_fails(&forward(&world, &connector, &site.target), 4, &["gw-2"]);
}

#[test]
fn a_target_that_the_gateway_does_not_allow_is_denied() {
    let world = World::new();
    let mut site = site(&world, |_| {});
    let finished = forward(&world, &Connector::to(&site.relayed), "tcp://127.0.0.1:1");
    assert_fails(&finished, 8, &["denied", "allow"]);
    assert!(site.gateway.expect_line("denied").contains("127.0.0.1:1"));
}

#[test]
fn a_target_that_refuses_is_told_apart_from_one_that_is_denied() {
    let world = World::new();
    let site = site(&world, |_| {});
    let finished = forward(&world, &Connector::to(&site.relayed), &site.target);
    assert_fails(&finished, 9, &["refused"]);
}

#[test]
fn a_gateway_that_is_not_there_is_named() {
    let world = World::new();
    let nobody = world.address("127.0.0.1");
    let finished = forward(&world, &Connector::to(&[nobody]), "tcp://127.0.0.1:5432");
    assert_fails(&finished, 10, &["gateway", &nobody.to_string()]);
}

#[test]
fn a_relay_that_is_not_there_is_named() {
    let world = World::new();
    let nobody = world.address("127.0.0.1");
    let command = world.gateway_command(&Gateway::on(nobody, &["tcp://127.0.0.1:5432"]));
    assert_fails(&finish("adit gateway", command, PATIENCE * 2), 5, &["relay", &nobody.to_string()]);
}

#[test]
fn a_wrong_secret_is_told_apart_from_a_dead_relay() {
    let world = World::new();
    let relay_address = world.address("127.0.0.1");
    let _relay = world.relay(&[relay_address]);
    let gateway =
        Gateway { secret: "not what the relay has", ..Gateway::on(relay_address, &["tcp://127.0.0.1:5432"]) };
    let finished = finish("adit gateway", world.gateway_command(&gateway), PATIENCE * 2);
    assert_fails(&finished, 6, &["credentials", "secret"]);
}

#[test]
fn a_relay_says_which_address_is_taken() {
    let world = World::new();
    let taken = world.address("127.0.0.1");
    let _holder = UdpSocket::bind(taken).unwrap();
    let finished = finish("adit relay", world.relay_command(&[taken]), PATIENCE);
    assert_fails(&finished, 7, &[&taken.to_string()]);
}

#[test]
fn forward_says_which_address_is_taken() {
    let world = World::new();
    let site = site(&world, |_| {});
    let taken = world.address("127.0.0.1");
    let _holder = TcpListener::bind(taken).unwrap();
    let command = world.forward_command(&Connector::to(&site.relayed), &site.target, taken);
    assert_fails(&finish("adit forward", command, PATIENCE), 7, &[&taken.to_string()]);
}

#[test]
fn half_of_an_answer_does_not_pass_for_all_of_it_when_a_part_ends() {
    let world = World::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let site = site(&world, |gateway| gateway.allow = vec![target.clone()]);
    let (forward, entrance) = world.forward(&Connector::to(&site.relayed), &target, "127.0.0.1");
    drop(listener.accept().unwrap());

    // The target keeps its end: had it finished, so would the client's have.
    let (mut client, _served) = connected(entrance, &listener);
    forward.signal(Signal::TERM);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (_forward, entrance) = world.forward(&Connector::to(&site.relayed), &target, "127.0.0.1");
    drop(listener.accept().unwrap());
    let (_client, mut served) = connected(entrance, &listener);
    site.gateway.signal(Signal::KILL);
    assert_eq!(served.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Both ends of a connection through the tunnel, after a word each way.
fn connected(entrance: SocketAddr, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(entrance).unwrap();
    let (mut served, _) = listener.accept().unwrap();
    for stream in [&client, &served] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut word = [0; 5];
    client.write_all(b"hello").unwrap();
    served.read_exact(&mut word).unwrap();
    served.write_all(b"world").unwrap();
    client.read_exact(&mut word).unwrap();
    (client, served)
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_right_one() {
    let world = World::new();
    let wrong = Gateway::on(world.address("127.0.0.1"), &[]).toml().replace("trust-anchor", "trust-ancor");
    world.place.write("wrong.toml", &wrong);
    world.place.write("gateway-secret", "secret");
    for arguments in [&["config", "check", "wrong.toml"][..], &["gateway", "start", "--config", "wrong.toml"]]
    {
        assert_fails(&world.adit(arguments), 3, &["trust-ancor", "trust-anchor", "wrong.toml"]);
    }
}

#[test]
fn a_secret_that_others_may_read_is_no_reason_to_fail_but_a_missing_one_is() {
    let world = World::new();
    let gateway = Gateway::on(world.address("127.0.0.1"), &["tcp://127.0.0.1:5432"]);
    let command = world.gateway_command(&gateway);
    fs::remove_file(world.place.path("gateway-secret")).unwrap();
    assert_fails(&finish("adit gateway", command, PATIENCE), 3, &["gateway-secret"]);
}

#[test]
fn a_certificate_is_not_overwritten() {
    let world = World::new();
    let before = fs::read(world.place.path("ca/gw-1.pem")).unwrap();
    let finished = world.adit(&["ca", "issue", "ca", "gateway", "gw-1"]);
    assert!(!finished.status.success() && finished.said.contains("gw-1"), "{}", finished.said);
    assert_eq!(fs::read(world.place.path("ca/gw-1.pem")).unwrap(), before);
}

#[test]
fn the_version_names_the_commit() {
    let said = World::new().adit(&["--version"]).success();
    let commit = said.split("commit ").nth(1).unwrap().trim_end_matches(')');
    assert!(commit == "unknown" || commit.len() >= 7, "{said}");
}

/// `adit ca issue` makes nothing that has expired already, so this takes the authority's key itself.
fn issue_expired(world: &World, authority: &str, role: Role, name: &str) {
    let read = |file: &str| fs::read_to_string(world.place.path(file)).unwrap();
    let certificate =
        pem::certificates(read(&format!("ca/{authority}.pem")).as_bytes()).unwrap().swap_remove(0);
    let key = Key::from_pem(read(&format!("ca/{authority}.key")).as_bytes()).unwrap();
    let authority = Authority::load(certificate, &key).unwrap();
    let leaf_key = Key::generate(KeyKind::EcdsaP256);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let life = Duration::from_secs(DAY);
    let terms = Terms::new(Serial::new(7), UnixTime(now - 3 * DAY), life);
    let leaf = authority.issue(role, None, &leaf_key.public(), terms).unwrap();
    write(
        &world.place.path(&format!("{name}.pem")),
        &pem::encode_certificates([&leaf, authority.certificate()]),
    );
    write(&world.place.path(&format!("{name}.key")), &leaf_key.to_pem());
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}
