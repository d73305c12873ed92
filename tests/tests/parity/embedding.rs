//! What a program does that embeds a gateway or a connector.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use adit_core::connector::{Failure, GatewayKey};
use adit_core::gateway::Event;
use adit_core::relay;
use adit_core::time::UnixTime;
use adit_core::turn::credentials::Credentials;
use adit_driver::{
    BuildError, Connector, Dial, Discovered, Found, Gateway, GatewayBuilder, Notice, OpenError,
};
use adit_mio::RelayServer;
use adit_tests::papers::Papers;
use smol::stream::StreamExt;

use crate::real::{Real, SECRET, a_connector, a_gateway, block_on, poll_times, start_relay};
use crate::runtimes::Parlour;
use crate::stage::{Stage, What, pattern};
use crate::targets::Targets;

/// A gateway that a test has built, and who may come.
struct Embedded<R: Parlour> {
    runtime: R,
    _relay: RelayServer,
    gateway: Gateway<R>,
    connector: Connector<R>,
    key: GatewayKey,
}

impl<R: Parlour> Embedded<R> {
    fn with(build: impl FnOnce(GatewayBuilder<R>) -> GatewayBuilder<R>) -> Self {
        let (runtime, papers) = (R::the(), Papers::new());
        let relay = start_relay("127.0.0.1:0".parse().unwrap());
        let uri = format!("turn:{}", relay.addresses()[0]);
        let builder = a_gateway(&runtime, &papers).relay_with_secret(&uri, SECRET);
        let gateway = build(builder).spawn().unwrap();
        until("it is reached", || !gateway.addresses().is_empty());
        let connector = a_connector(&runtime, &papers);
        let key = connector.gateway("gw-1", gateway.addresses()).unwrap();
        Self { runtime, _relay: relay, gateway, connector, key }
    }

    fn open(&self, target: &str) -> Result<R::Stream, OpenError> {
        block_on(&self.runtime, self.connector.open(self.key, &target.parse().unwrap()))
    }

    fn ask(&self, target: &str, question: &[u8]) -> String {
        let stream = self.open(target).unwrap();
        String::from_utf8(block_on(&self.runtime, R::exchange(stream, question.to_vec())).unwrap()).unwrap()
    }

    /// How a wish is refused.
    fn refusal(&self, target: &str) -> String {
        self.open(target).err().unwrap().to_string()
    }
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "half a minute has passed without this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn a_program_is_a_target_without_a_port<R: Parlour>() {
    let world = Embedded::<R>::with(|gateway| {
        let hello = |stream, dial: Dial| R::answer(stream, format!("hello, {}", dial.peer.role.name()));
        gateway.serve("tcp://greeter:1", hello).serve("tcp://10.1.2.3:80", hello)
    });
    assert_eq!(world.ask("tcp://greeter:1", b"who am I?"), "hello, laptop");
    assert_eq!(world.ask("tcp://10.1.2.3:80", b""), "hello, laptop");
    assert!(world.refusal("tcp://greeter:2").contains("denied"));
    until("both are over", || world.gateway.streams() == 0 && world.connector.streams() == 0);
}

pub(crate) fn a_program_dials_by_itself<R: Parlour>() {
    let world = Embedded::<R>::with(|gateway| {
        gateway
            .allow("tcp://10.0.0.0/8:*")
            .dial(|dial: Dial| async move {
                match dial.target.port {
                    1 => Ok(move |stream| R::answer(stream, format!("instead of {}", dial.address))),
                    2 => Err(ErrorKind::ConnectionRefused.into()),
                    3 => std::future::pending().await,
                    4 => panic!("a bug of the application"),
                    _ => Err(ErrorKind::HostUnreachable.into()),
                }
            })
            .configure(|config| config.dial_timeout = Duration::from_secs(1))
    });
    assert_eq!(world.ask("tcp://10.0.0.1:1", b""), "instead of 10.0.0.1:1");
    assert!(world.refusal("tcp://10.0.0.1:2").contains("refused"));
    assert!(world.refusal("tcp://10.0.0.1:3").contains("timed-out"));
    assert!(world.refusal("tcp://10.0.0.1:4").contains("unreachable"));
    assert!(world.refusal("tcp://10.0.0.1:5").contains("unreachable"));
    until("all are over", || world.gateway.streams() == 0 && world.connector.streams() == 0);
}

pub(crate) fn a_judge_decides_by_peer_and_target<R: Parlour>() {
    let targets = Targets::start();
    let (echo, sink) = (targets.address(What::Echo), targets.address(What::Sink));
    let allowed = echo.parse().unwrap();
    let world = Embedded::<R>::with(|gateway| {
        gateway
            .allow("tcp://127.0.0.1:*")
            .judge(move |peer, target, _| peer.role.name().as_str() == "laptop" && *target == allowed)
    });
    assert_eq!(world.ask(&echo, b"and back"), "and back");
    assert!(world.refusal(&sink).contains("denied"));
}

pub(crate) fn relays_are_discovered_and_followed<R: Parlour>() {
    let (runtime, papers) = (R::the(), Papers::new());
    let relays = [0, 1].map(|_| start_relay("127.0.0.1:0".parse().unwrap()));
    let uris = relays.each_ref().map(|relay| format!("turn:{}", relay.addresses()[0]));
    let asked = Arc::new(AtomicUsize::new(0));
    let (asking, at) = (Arc::clone(&asked), uris.clone());
    let gateway = a_gateway(&runtime, &papers)
        .discover(move || {
            let round = asking.fetch_add(1, Ordering::Relaxed);
            let uri = at[usize::from(round > 1)].clone();
            async move {
                if round == 0 {
                    return Err("nobody is at home yet");
                }
                let expiry = UnixTime(adit_driver::unix().as_secs() + 600 + round as u64);
                let credentials = Credentials::time_limited(SECRET.as_bytes(), expiry, "gw-1");
                let relays = vec![Found::new(&uri, credentials).unwrap()];
                Ok(Discovered { relays, good_for: Duration::from_secs(2) })
            }
        })
        .spawn()
        .unwrap();
    until("it is on the first", || relays[0].allocations() == 1);
    until("it is on the second alone", || relays.each_ref().map(RelayServer::allocations) == [0, 1]);
    until("its addresses are those", || gateway.addresses().len() == 1);
    until("it goes on asking", || asked.load(Ordering::Relaxed) > 3);
    assert_eq!(relays.each_ref().map(RelayServer::allocations), [0, 1]);
    block_on(&runtime, gateway.shut_down());
    let count = asked.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(asked.load(Ordering::Relaxed), count, "nobody is left to ask for");
}

pub(crate) fn events_are_a_stream<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let (mut gateway, connector) = (stage.gateway().events(), stage.connector.events());
    drop(stage.open(What::Echo).unwrap());
    block_on(&stage.runtime, async {
        while !matches!(gateway.next().await.unwrap(), Notice::Event(Event::Opened { .. })) {}
    });
    stage.shut_down_gateway();
    stage.connector.shut_down();
    let (gateway, connector) =
        block_on(&stage.runtime, smol::future::zip(gateway.count(), connector.count()));
    assert_eq!(gateway, 0, "shutting down has waited for the last event");
    assert!(connector > 0, "nobody has fetched these before");
}

pub(crate) fn a_relay_tells_its_events_to_a_task<R: Parlour>() {
    let (runtime, papers) = (R::the(), Papers::new());
    let relay = start_relay("127.0.0.1:0".parse().unwrap());
    let uri = format!("turn:{}", relay.addresses()[0]);
    assert!(block_on(&runtime, poll_times(1, relay.event())).is_none(), "nobody has come yet");
    let _gateway = a_gateway(&runtime, &papers).relay_with_secret(&uri, SECRET).spawn().unwrap();
    let told = block_on(&runtime, relay.event());
    assert!(matches!(told, Some(Notice::Event(relay::Event::Allocated { .. }))), "{told:?}");
    relay.stop();
}

pub(crate) fn a_gateway_drains_before_it_is_shut_down<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let stream = stage.open(What::Echo).unwrap();
    let drain = |stage: &Real<R>, millis| {
        block_on(&stage.runtime, stage.gateway().drain(Duration::from_millis(millis)))
    };
    assert!(!drain(&stage, 50), "a stream is still there");
    let target = stage.targets.address(What::Echo).parse().unwrap();
    let error = block_on(&stage.runtime, stage.connector.open(stage.key, &target)).err().unwrap();
    assert!(error.to_string().contains("draining") && error.is_retryable());
    assert!(stage.exchange(vec![(stream, pattern(1000))]) == [pattern(1000)]);
    assert!(drain(&stage, 10_000));
    stage.shut_down_gateway();
}

pub(crate) fn errors_tell_whether_trying_again_may_help<R: Parlour>() {
    let stage = Real::<R>::start();
    let open = |target: &str| {
        let target = target.parse().unwrap();
        block_on(&stage.runtime, stage.connector.open(stage.key, &target)).err().unwrap()
    };
    assert!(open(&stage.targets.address(What::Refuses)).is_retryable());
    assert!(!open(&stage.targets.address(What::Denied)).is_retryable());
    stage.connector.shut_down();
    assert!(!open(&stage.targets.address(What::Echo)).is_retryable());

    let stranger = a_connector(&stage.runtime, &Papers::new());
    let key = stranger.gateway("gw-1", stage.gateway().addresses()).unwrap();
    let target = stage.targets.address(What::Echo).parse().unwrap();
    let error = block_on(&stage.runtime, stranger.open(key, &target)).err().unwrap();
    assert!(!error.is_retryable(), "{error}");
}

pub(crate) fn a_builder_names_what_is_missing<R: Parlour>() {
    let papers = Papers::new();
    let build = |change: fn(GatewayBuilder<R>) -> GatewayBuilder<R>| {
        change(a_gateway(&R::the(), &papers)).spawn().err()
    };
    assert_eq!(build(|gateway| gateway), Some(BuildError::NoRelay));
    assert!(matches!(build(|gateway| gateway.relay_with_secret("a relay", "s")), Some(BuildError::Relay(_))));
    assert!(matches!(
        build(|gateway| gateway.relay_with_secret("turns:relay.example", "s")),
        Some(BuildError::RelayUnverifiable(_))
    ));
    assert!(matches!(build(|gateway| gateway.allow("udp://a:1")), Some(BuildError::Rule(_))));
    assert!(matches!(
        build(|gateway| gateway.serve("nonsense", |_, _| async {})),
        Some(BuildError::Target(_))
    ));
    assert!(matches!(build(|gateway| gateway.trust("no PEM")), Some(BuildError::Anchor(_))));
    assert_eq!(Gateway::<R>::builder().spawn().err(), Some(BuildError::NoCertificate));
    let swapped = Connector::<R>::builder()
        .certificate(papers.gateway.chain.clone(), papers.gateway.key.clone())
        .trust(papers.connector_ca.clone());
    assert!(matches!(swapped.spawn().err(), Some(BuildError::WrongSide(_))));
}

pub(crate) fn a_handler_that_panics_resets_its_stream_and_no_other<R: Parlour>() {
    let world = Embedded::<R>::with(|gateway| {
        gateway
            .serve("tcp://good:1", |stream, _| R::answer(stream, "well".into()))
            .serve("tcp://bad:1", |_stream, _| async { panic!("a bug of the application") })
    });
    let good = world.open("tcp://good:1").unwrap();
    // The reset may be faster than the news that the stream is open.
    match world.open("tcp://bad:1") {
        Ok(mut bad) => {
            let error = block_on(&world.runtime, R::read_to_end(&mut bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        Err(error) => assert_eq!(error, OpenError::Failed(Failure::Reset)),
    }
    assert_eq!(block_on(&world.runtime, R::exchange(good, Vec::new())).unwrap(), b"well");
}
