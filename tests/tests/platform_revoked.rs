//! The platform's own connections to gateways, with its instances in this process: one that is revoked loses what it
//! has open and gets nothing more, and one that lives lets a person in before the gateway reports again.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use adit_platform::config::{Config, DatabaseUrl};
use adit_platform::connect::ConnectError;
use adit_platform::server::Platform;
use adit_platform::store::{gateways, organisations};
use adit_tests::adit::World;
use adit_tests::platform::{GATEWAY, Installation};
use adit_tests::postgres::Postgres;
use adit_tests::process::{PATIENCE, finish};
use adit_tokio::Stream;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// A service that sends back what it gets.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    target
}

/// An instance of `installation` in this process. It reports and looks every second, unless `configure` says otherwise.
async fn instance(
    world: &World,
    installation: &Installation<'_>,
    number: u32,
    configure: impl FnOnce(&mut Config),
) -> (Platform, String) {
    let listen = world.address("127.0.0.1");
    let mut config = Config::new(installation.directory(number), listen);
    config.public_url = Some(format!("https://{listen}"));
    config.connector_bind = Ipv4Addr::LOCALHOST.into();
    config.relay_peer_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let times = &mut config.times;
    (times.heartbeat, times.ping, times.duties, times.watcher_claim) = (SECOND, SECOND, SECOND, SECOND * 2);
    configure(&mut config);
    let platform = Platform::start(config).await.unwrap();
    let url = platform.public_url().to_owned();
    (platform, url)
}

/// Opens a stream to `target` as the platform does for its own work.
async fn open(platform: &Platform, target: &str) -> Result<Stream, ConnectError> {
    let app = platform.app();
    let organisation = organisations::find(app.store.reader(), "acme").await.unwrap().unwrap().id;
    let gateway = gateways::find(&app.store, &organisation, None, GATEWAY).await;
    app.open(&organisation, &gateway.unwrap().unwrap().id, &target.parse().unwrap()).await
}

/// Says something and hears it again.
async fn goes_on(stream: &mut Stream) -> std::io::Result<()> {
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

/// What an administrator or an operator is answered.
fn ask(installation: &Installation<'_>, url: &String, who: &str, arguments: &[&str]) -> String {
    let command = installation.with_token(url, &format!("tokens/{who}.token"), arguments);
    finish("adit", command, PATIENCE).success()
}

fn ask_json(installation: &Installation<'_>, url: &String, who: &str, arguments: &[&str]) -> Value {
    let answer = ask(installation, url, who, &[arguments, &["--json"]].concat());
    let answer: Value = serde_json::from_str(answer.trim()).unwrap();
    answer.get("items").unwrap_or(&answer).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_platform_instance_loses_what_is_open_and_the_other_goes_on() {
    let world = World::new();
    let postgres = Postgres::start(&world.ports);
    let installation = Installation::new(&world, Some(&postgres), "heartbeat=1");
    let on_postgres = |config: &mut Config| config.database = Some(DatabaseUrl(postgres.url()));
    let (honest, url) = instance(&world, &installation, 1, on_postgres).await;
    // It does not look whether it is revoked: nothing but the gateway can end what it has open.
    let stolen = |config: &mut Config| {
        on_postgres(config);
        config.times.duties = SECOND * 3600;
    };
    let (stolen, _) = instance(&world, &installation, 2, stolen).await;
    let target = echo().await;
    let _relay = installation.relay(&url);
    let _gateway = installation.gateway(&url, &target);
    installation.wait_until_healthy(&url);

    let (mut ours, mut theirs) =
        (open(&honest, &target).await.unwrap(), open(&stolen, &target).await.unwrap());
    goes_on(&mut ours).await.unwrap();
    goes_on(&mut theirs).await.unwrap();
    let id = stolen.app().store.instance().to_owned();
    ask(&installation, &url, "operator", &["platform", "instances", "revoke", &id]);

    let began = Instant::now();
    while goes_on(&mut theirs).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the stream of the revoked instance goes on");
        sleep(SECOND / 20).await;
    }
    println!("ended after {:?}, with a report every second", began.elapsed());
    for _ in 0..10 {
        goes_on(&mut ours).await.unwrap();
        sleep(SECOND / 4).await;
    }
    goes_on(&mut open(&honest, &target).await.unwrap()).await.unwrap();
    installation.wait_until_healthy(&url);

    // Neither as it is nor begun anew.
    let once_more = timeout(PATIENCE, open(&stolen, &target)).await;
    assert!(!matches!(once_more, Ok(Ok(_))), "the revoked instance has opened a stream");
    stolen.stop().await;
    let (stolen, _) = instance(&world, &installation, 2, on_postgres).await;
    assert_eq!(stolen.app().store.instance(), id);
    let anew = open(&stolen, &target).await;
    assert!(matches!(anew, Err(ConnectError::Ended)), "{:?}", anew.err());
    goes_on(&mut ours).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_let_in_before_the_gateway_reports_again() {
    let world = World::new();
    let installation = Installation::new(&world, None, "heartbeat=3600");
    // The platform's connector and the person's come from different addresses, each of which must be let in.
    let from_elsewhere = |config: &mut Config| {
        config.connector_bind = Ipv4Addr::new(127, 0, 0, 2).into();
        config.times.heartbeat = SECOND * 3600;
    };
    let (_platform, url) = instance(&world, &installation, 1, from_elsewhere).await;
    let target = echo().await;
    let _relay = installation.relay(&url);
    let known = || {
        let all = ask_json(&installation, &url, "operator", &["platform", "instances", "ls"]);
        all[0]["addresses"].as_array().unwrap().clone()
    };
    let began = Instant::now();
    while known().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the platform does not learn its own address");
        sleep(SECOND / 10).await;
    }
    let _gateway = installation.gateway(&url, &target);
    installation.wait_until_healthy(&url);
    installation.link(&url, &target);
    let last_report = || {
        let shown = ask_json(&installation, &url, "admin", &["gateways", "show", GATEWAY]);
        shown["instances"][0]["last_heartbeat_at"].as_u64().unwrap()
    };
    let before = last_report();

    let (_forward, entrance) = installation.forward(&url, "tokens/admin.token", &target);
    let mut talk = TcpStream::connect(entrance).await.unwrap();
    talk.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    timeout(PATIENCE, talk.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"hello");
    assert_eq!(last_report(), before, "a report could have told the gateway as well");
}

/// The gateway stands still, so that nobody but the relay ends what it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_gateway_loses_its_allocation_with_the_relays_next_report() {
    let world = World::new();
    let installation = Installation::new(&world, None, "heartbeat=1");
    let (_platform, url) = instance(&world, &installation, 1, |_| ()).await;
    let target = echo().await;
    let mut relay = installation.relay(&url);
    let gateway = installation.gateway(&url, &target).ended_by(Signal::KILL);
    installation.wait_until_healthy(&url);
    let shown = ask_json(&installation, &url, "admin", &["gateways", "show", GATEWAY]);
    let id = shown["instances"][0]["id"].as_str().unwrap().to_owned();
    gateway.signal(Signal::STOP);
    ask(&installation, &url, "admin", &["gateways", "revoke", GATEWAY, &id]);
    relay.expect_line("its user was revoked");
}
