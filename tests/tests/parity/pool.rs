//! Several instances of one gateway as one thing, and what a connector asks besides streams.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_core::connector::{ConnectError, Failure};
use adit_core::tunnel::{RejectCode, Target};
use adit_driver::{Connector, DiscoverError, Gateway, OpenError, PingError, Pool, PoolInstance};
use adit_mio::RelayServer;
use adit_tests::papers::Papers;

use crate::embedding::until;
use crate::real::{SECRET, a_connector, a_gateway, block_on, poll_times, start_relay};
use crate::runtimes::Parlour;
use crate::stage::What;
use crate::targets::Targets;

/// Two instances of a gateway, each on a relay of its own.
struct Twins<R: Parlour> {
    runtime: R,
    targets: Targets,
    relays: Vec<RelayServer>,
    gateways: Vec<Gateway<R>>,
    connector: Connector<R>,
    instances: Vec<PoolInstance>,
    pool: Pool<R>,
}

impl<R: Parlour> Twins<R> {
    fn start() -> Self {
        let (runtime, papers, targets) = (R::the(), Papers::new(), Targets::start());
        let relays: Vec<_> = (0..2).map(|_| start_relay("127.0.0.1:0".parse().unwrap())).collect();
        let gateways: Vec<_> = relays
            .iter()
            .map(|relay| {
                let uri = format!("turn:{}", relay.addresses()[0]);
                let builder = a_gateway(&runtime, &papers).relay_with_secret(&uri, SECRET);
                let builder = [What::Echo, What::Refuses]
                    .into_iter()
                    .fold(builder, |builder, what| builder.allow(&targets.address(what)));
                builder.spawn().unwrap()
            })
            .collect();
        until("both are reached", || gateways.iter().all(|gateway| !gateway.addresses().is_empty()));
        let connector = a_connector(&runtime, &papers);
        let instance = |(index, gateway): (usize, &Gateway<R>)| PoolInstance {
            id: index.to_string(),
            gateway: connector.describe("gw-1", Some("0"), gateway.addresses()).unwrap(),
        };
        let instances: Vec<_> = gateways.iter().enumerate().map(instance).collect();
        let pool = Pool::new(connector.clone());
        pool.set_instances(instances.clone());
        Self { runtime, targets, relays, gateways, connector, instances, pool }
    }

    fn echo(&self) -> Target {
        self.targets.address(What::Echo).parse().unwrap()
    }

    fn try_open(&self, what: What) -> Result<R::Stream, OpenError> {
        let target = self.targets.address(what).parse().unwrap();
        block_on(&self.runtime, self.pool.open(&target))
    }

    /// A stream that works.
    fn open(&self) -> R::Stream {
        self.try_open(What::Echo).unwrap()
    }

    /// Sees that a stream works.
    fn works(&self, stream: R::Stream) {
        assert_eq!(block_on(&self.runtime, R::exchange(stream, b"still".to_vec())).unwrap(), b"still");
    }

    /// Waits until both are connected: the first stream has seen to it.
    fn both_are_connected(&self) {
        self.works(self.open());
        let keys = self.pool.instances();
        until("both are connected", || keys.iter().all(|(_, key)| self.connector.is_connected(*key)));
    }

    fn streams(&self) -> Vec<usize> {
        self.gateways.iter().map(Gateway::streams).collect()
    }
}

pub(crate) fn streams_are_spread_over_instances<R: Parlour>() {
    let twins = Twins::<R>::start();
    twins.both_are_connected();
    until("nothing is open", || twins.streams() == [0, 0]);
    let streams: Vec<_> = (0..10).map(|_| twins.open()).collect();
    assert_eq!(twins.streams(), [5, 5]);
    drop(streams);
    until("nothing is open", || twins.streams() == [0, 0]);
}

pub(crate) fn an_instance_that_leaves_is_not_noticed<R: Parlour>() {
    let mut twins = Twins::<R>::start();
    twins.both_are_connected();
    // First it drains, then it is gone.
    assert!(block_on(&twins.runtime, twins.gateways[0].drain(Duration::from_secs(10))));
    for _ in 0..10 {
        twins.works(twins.open());
    }
    assert!(twins.streams()[0] == 0);
    let gone = twins.gateways.remove(0);
    block_on(&twins.runtime, gone.shut_down());
    for _ in 0..10 {
        twins.works(twins.open());
    }
}

pub(crate) fn an_instance_that_falls_silent_costs_seconds<R: Parlour>() {
    let mut twins = Twins::<R>::start();
    twins.both_are_connected();
    twins.relays.remove(0).stop();
    let start = Instant::now();
    for _ in 0..10 {
        twins.works(twins.open());
    }
    // QUIC alone would take thirty.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

pub(crate) fn an_instance_that_is_not_reached_costs_seconds<R: Parlour>() {
    let mut twins = Twins::<R>::start();
    let dead = (1..=4).map(|port| SocketAddr::from(([127, 0, 0, 9], port)));
    twins.instances[0].gateway.addresses = dead.collect();
    twins.pool.set_instances(twins.instances.clone());
    let start = Instant::now();
    twins.works(twins.open());
    // All of its addresses would take twenty.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

pub(crate) fn what_a_target_refuses_is_not_tried_elsewhere<R: Parlour>() {
    let twins = Twins::<R>::start();
    for (what, expected) in [(What::Refuses, RejectCode::Refused), (What::Denied, RejectCode::Denied)] {
        match twins.try_open(what).err().unwrap() {
            OpenError::Failed(Failure::Rejected { code, .. }) => assert_eq!(code, expected),
            other => panic!("{other}"),
        }
    }
    twins.works(twins.open());
}

pub(crate) fn a_pool_of_nobody_opens_nothing<R: Parlour>() {
    let twins = Twins::<R>::start();
    let stream = twins.open();
    twins.pool.set_instances(Vec::new());
    let error = twins.try_open(What::Echo).err().unwrap();
    assert!(error == OpenError::NoInstance && error.is_retryable());
    twins.works(stream);

    twins.pool.set_instances(twins.instances.clone());
    let mut nowhere = twins.instances.clone();
    nowhere.iter_mut().for_each(|instance| instance.gateway.addresses.clear());
    twins.pool.set_instances(nowhere);
    let error = twins.try_open(What::Echo).err().unwrap();
    assert_eq!(error, OpenError::Failed(Failure::NotConnected(ConnectError::NoAddress)));

    twins.pool.set_instances(twins.instances.clone());
    twins.works(twins.open());
}

pub(crate) fn new_certificates_in_a_pool_end_no_stream<R: Parlour>() {
    let mut twins = Twins::<R>::start();
    let stream = twins.open();
    for instance in &mut twins.instances {
        let addresses = instance.gateway.addresses.clone();
        instance.gateway = twins.connector.describe("gw-1", None, addresses).unwrap();
    }
    twins.pool.set_instances(twins.instances.clone());
    let connections = || twins.gateways.iter().map(Gateway::connections).sum::<usize>();
    until("there is a new connection beside the old one", || connections() >= 2);
    twins.works(stream);
    twins.works(twins.open());
}

pub(crate) fn an_open_of_a_pool_that_is_dropped_leaves_nothing<R: Parlour>() {
    let twins = Twins::<R>::start();
    let target = twins.echo();
    for polls in 0..20 {
        drop(block_on(&twins.runtime, poll_times(polls, twins.pool.open(&target))));
        until("the connector has no stream", || twins.connector.streams() == 0);
    }
    until("nothing is open", || twins.streams() == [0, 0]);
    twins.works(twins.open());
}

pub(crate) fn a_sign_of_life_is_waited_for<R: Parlour>() {
    let twins = Twins::<R>::start();
    let (connector, key) = (&twins.connector, twins.pool.instances()[0].1);
    let ping = || block_on(&twins.runtime, connector.ping(key));
    assert!(ping().unwrap() < Duration::from_secs(10));
    assert!(connector.is_connected(key));
    assert!(ping().is_ok());

    // Another instance is not the one that was meant.
    let wrong = connector.describe("gw-1", Some("7"), twins.gateways[0].addresses()).unwrap();
    let wrong = connector.add_gateway(wrong);
    match block_on(&twins.runtime, connector.ping(wrong)) {
        Err(PingError::NotConnected(error)) => assert!(error.to_string().contains("instance `0`"), "{error}"),
        other => panic!("{other:?}"),
    }

    connector.disconnect(key);
    connector.set_addresses(key, Vec::new());
    assert_eq!(ping(), Err(PingError::NotConnected(ConnectError::NoAddress)));
    connector.remove_gateway(key);
    assert_eq!(ping(), Err(PingError::UnknownGateway));

    // Nobody answers there, so that this one is still waiting when the connector ends.
    connector.set_addresses(wrong, vec!["127.0.0.1:9".parse().unwrap()]);
    let waiting = std::thread::spawn({
        let (connector, runtime) = (connector.clone(), twins.runtime.clone());
        move || block_on(&runtime, connector.ping(wrong))
    });
    std::thread::sleep(Duration::from_millis(100));
    connector.shut_down();
    let answer = waiting.join().unwrap();
    assert!(matches!(answer, Err(PingError::ShutDown | PingError::NotConnected(_))), "{answer:?}");
    assert_eq!(block_on(&twins.runtime, connector.ping(wrong)), Err(PingError::ShutDown));
}

pub(crate) fn a_connector_learns_its_own_address<R: Parlour>() {
    let twins = Twins::<R>::start();
    let relay = twins.relays[0].addresses()[0];
    let discover = |relay| block_on(&twins.runtime, twins.connector.discover(relay));
    let own = discover(relay).unwrap();
    assert!(own.ip() == relay.ip() && own != relay);
    assert_eq!(discover(twins.relays[1].addresses()[0]), Ok(own), "it is one socket");
    twins.connector.shut_down();
    assert_eq!(discover(relay), Err(DiscoverError::ShutDown));
}
