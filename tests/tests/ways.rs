//! The main job over every way to a relay: TCP, TLS and DTLS, to coturn and to our own.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::net::SocketAddr;

use adit_tests::adit::{Connector, Gateway, SECRET, World};
use adit_tests::coturn::Coturn;
use adit_tests::monitor::metric;
use adit_tests::papers::RelayPapers;
use adit_tests::postgres::{self, Postgres};
use adit_tests::process::Running;

/// A database behind a gateway that reaches its relay as `urls` say.
struct Job {
    world: World,
    postgres: Postgres,
}

impl Job {
    fn new() -> Self {
        let world = World::new();
        let postgres = Postgres::start(&world.ports);
        Self { world, postgres }
    }

    fn target(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.postgres.port())
    }

    fn gateway(&self, urls: String) -> (Running, Vec<SocketAddr>) {
        let nowhere = "127.0.0.1:9".parse().unwrap();
        let gateway = Gateway { urls: Some(urls), ..Gateway::on(nowhere, &[&self.target()]) };
        let (running, relayed) = self.world.gateway(&gateway, 1);
        (running, relayed.into_iter().filter(SocketAddr::is_ipv4).collect())
    }

    /// A query, and enough rows that everything moves both ways for a while.
    fn works(&self, relayed: &[SocketAddr]) {
        let (_forward, entrance) = self.world.forward(&Connector::to(relayed), &self.target(), "127.0.0.1");
        let query = |sql: &str| postgres::query("127.0.0.1", entrance.port(), sql);
        assert_eq!(query("SELECT 6 * 7, current_user"), "42|app");
        let many = query("SELECT md5(i::text) FROM generate_series(1, 50000) AS i");
        assert_eq!(many.lines().count(), 50_000);
    }
}

#[test]
fn psql_reads_rows_over_tcp_to_coturn() {
    let job = Job::new();
    let coturn = Coturn::start(&job.world.ports, SECRET);
    let (_gateway, relayed) = job.gateway(format!(r#"["turn:127.0.0.1:{}?transport=tcp"]"#, coturn.port()));
    job.works(&relayed);
}

#[test]
fn psql_reads_rows_over_tls_to_coturn_known_by_its_authority() {
    let job = Job::new();
    let (papers, port) = (RelayPapers::new(&job.world.place), job.world.ports.one());
    let _coturn = Coturn::start_secured(&job.world.ports, port, SECRET, &papers);
    let urls = format!(r#"[{{ urls = ["turns:127.0.0.1:{port}"], trust-anchor = ["relay-ca.pem"] }}]"#);
    let (_gateway, relayed) = job.gateway(urls);
    job.works(&relayed);
}

#[test]
fn psql_reads_rows_over_dtls_to_coturn_known_by_its_pin() {
    let job = Job::new();
    let (papers, port) = (RelayPapers::new(&job.world.place), job.world.ports.one());
    let _coturn = Coturn::start_secured(&job.world.ports, port, SECRET, &papers);
    let pin = papers.pin;
    let urls = format!(r#"[{{ urls = ["turns:127.0.0.1:{port}?transport=udp"], pin = "{pin}" }}]"#);
    let (_gateway, relayed) = job.gateway(urls);
    job.works(&relayed);
}

/// All on one port, which tells them apart by the first byte, and on two shards.
#[test]
fn psql_reads_rows_over_tcp_tls_and_dtls_to_our_relay() {
    let job = Job::new();
    let papers = RelayPapers::new(&job.world.place);
    let (relay, pages) = (job.world.address("127.0.0.1"), job.world.address("127.0.0.1"));
    let mut command = job.world.relay_command(&[relay]);
    command.args(["--shards", "2", "--tls-listen", "127.0.0.1:0", "--monitor-listen", &pages.to_string()]);
    command.arg("--tls-cert").arg(papers.certificate).arg("--tls-key").arg(papers.key);
    let mut running = Running::start("adit relay", command);
    running.expect_line(&format!("listening on {relay}"));
    let pin = papers.pin;
    for (urls, held) in [
        (format!(r#"["turn:{relay}?transport=tcp"]"#), "turn_links_active"),
        (
            format!(r#"[{{ urls = ["turns:{relay}"], trust-anchor = ["relay-ca.pem"] }}]"#),
            "turn_links_active",
        ),
        (format!(r#"[{{ urls = ["turns:{relay}?transport=udp"], pin = "{pin}" }}]"#), "turn_sessions_active"),
    ] {
        let (_gateway, relayed) = job.gateway(urls);
        job.works(&relayed);
        assert!(metric(pages, held) > 0, "{held}");
    }
}

#[test]
fn a_relay_with_another_key_gets_no_credentials_and_the_reason_is_told() {
    let job = Job::new();
    let (papers, port) = (RelayPapers::new(&job.world.place), job.world.ports.one());
    let _coturn = Coturn::start_secured(&job.world.ports, port, SECRET, &papers);
    for transport in ["tcp", "udp"] {
        let pin = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let urls =
            format!(r#"[{{ urls = ["turns:127.0.0.1:{port}?transport={transport}"], pin = "{pin}" }}]"#);
        let gateway = Gateway { urls: Some(urls), ..Gateway::on("127.0.0.1:9".parse().unwrap(), &[]) };
        let command = job.world.gateway_command(&gateway);
        let ended = adit_tests::process::finish("adit gateway", command, adit_tests::process::PATIENCE);
        let said = ended.said;
        assert!(said.contains("another key than the pin names"), "{transport}: {said}");
    }
}

#[test]
fn a_gateway_whose_udp_goes_nowhere_falls_back_to_tcp() {
    let job = Job::new();
    let coturn = Coturn::start(&job.world.ports, SECRET);
    let (silent, port) = (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), coturn.port());
    let udp = silent.local_addr().unwrap();
    let urls = format!(r#"[{{ urls = ["turn:127.0.0.1:{port}?transport=tcp", "turn:{udp}"] }}]"#);
    let (gateway, relayed) = job.gateway(urls);
    let mut asked = [0; 100];
    assert!(silent.recv(&mut asked).unwrap() > 0, "UDP was tried first: {}", gateway.said());
    job.works(&relayed);
}
