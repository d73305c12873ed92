//! The stage of real sockets: a relay on its thread, gateway and connector under a runtime.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use adit_core::connector::{Failure, GatewayKey};
use adit_core::relay::{self, RelayAddress};
use adit_core::tunnel::RejectCode;
use adit_core::turn::address_policy::Policy;
use adit_core::turn::credentials::Authenticator;
use adit_driver::{Alarm, Connector, Gateway, GatewayBuilder, OpenError};
use adit_mio::RelayServer;
use adit_tests::papers::Papers;

use crate::runtimes::Parlour;
use crate::stage::{End, Heard, Stage, What};
use crate::targets::Targets;

pub(crate) const SECRET: &str = "between relay and gateway";
/// Nothing takes longer, or it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Real<R: Parlour> {
    pub(crate) runtime: R,
    pub(crate) papers: Papers,
    pub(crate) targets: Targets,
    pub(crate) relay: Option<RelayServer>,
    pub(crate) relay_address: SocketAddr,
    pub(crate) gateway: Option<Gateway<R>>,
    pub(crate) connector: Connector<R>,
    pub(crate) key: GatewayKey,
}

impl<R: Parlour> Real<R> {
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        block_on(&self.runtime, work)
    }

    pub(crate) fn gateway(&self) -> &Gateway<R> {
        self.gateway.as_ref().expect("it runs")
    }

    pub(crate) fn start_gateway(&mut self) {
        let relay = format!("turn:{}", self.relay_address);
        let mut builder = a_gateway(&self.runtime, &self.papers).relay_with_secret(&relay, SECRET);
        for what in [What::Echo, What::Source, What::Flood, What::Sink, What::Refuses, What::Unreachable] {
            builder = builder.allow(&self.targets.address(what));
        }
        self.gateway = Some(builder.spawn().unwrap());
        self.meet(&[]);
    }

    /// Waits until the gateway has other addresses than `old`, and tells the connector.
    fn meet(&mut self, old: &[SocketAddr]) {
        let fresh = |addresses: &[SocketAddr]| !addresses.is_empty() && addresses != old;
        self.until("the gateway can be reached", |stage| fresh(&stage.gateway().addresses()));
        self.connector.set_addresses(self.key, self.gateway().addresses());
    }
}

impl<R: Parlour> Stage for Real<R> {
    type Stream = R::Stream;

    fn start() -> Self {
        let (runtime, papers) = (R::the(), Papers::new());
        let relay = start_relay("127.0.0.1:0".parse().unwrap());
        let connector = a_connector(&runtime, &papers);
        let key = connector.gateway("gw-1", Vec::new()).unwrap();
        let relay_address = relay.addresses()[0];
        let (relay, targets) = (Some(relay), Targets::start());
        let mut stage =
            Self { runtime, papers, targets, relay, relay_address, gateway: None, connector, key };
        stage.start_gateway();
        stage
    }

    fn open(&mut self, what: What) -> Result<R::Stream, RejectCode> {
        let target = self.targets.address(what).parse().unwrap();
        match self.block_on(self.connector.open(self.key, &target)) {
            Ok(stream) => Ok(stream),
            Err(OpenError::Failed(Failure::Rejected { code, .. })) => Err(code),
            Err(error) => panic!("{error}"),
        }
    }

    fn wish(&mut self, what: What) {
        let target = self.targets.address(what).parse().unwrap();
        let wish = self.block_on(poll_times(1, self.connector.open(self.key, &target)));
        assert!(wish.is_none(), "it takes longer than that");
    }

    fn write(&mut self, stream: &mut R::Stream, bytes: &[u8]) {
        self.block_on(R::write(stream, bytes)).unwrap();
    }

    fn finish(&mut self, stream: &mut R::Stream) {
        self.block_on(R::finish(stream)).unwrap();
    }

    fn read_to_end(&mut self, stream: &mut R::Stream) -> Result<Vec<u8>, End> {
        self.block_on(R::read_to_end(stream)).map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionReset => End::Reset,
            other => panic!("{other}"),
        })
    }

    fn drop(&mut self, stream: R::Stream) {
        drop(stream);
    }

    fn exchange(&mut self, streams: Vec<(R::Stream, Vec<u8>)>) -> Vec<Vec<u8>> {
        let (tell, told) = mpsc::channel();
        let count = streams.len();
        for (number, (stream, bytes)) in streams.into_iter().enumerate() {
            let (tell, exchange) = (tell.clone(), R::exchange(stream, bytes));
            self.runtime.spawn(async move { drop(tell.send((number, exchange.await))) });
        }
        let mut back: Vec<_> = (0..count).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        back.sort_by_key(|(number, _)| *number);
        back.into_iter().map(|(_, bytes)| bytes.unwrap()).collect()
    }

    fn heard(&self) -> Heard {
        self.targets.heard()
    }

    fn said(&self) -> usize {
        self.targets.said()
    }

    fn shut_down_gateway(&mut self) {
        let gateway = self.gateway.take().expect("it runs");
        self.block_on(gateway.shut_down());
    }

    fn restart_gateway(&mut self) {
        self.shut_down_gateway();
        self.start_gateway();
    }

    fn restart_relay(&mut self) {
        let old = self.gateway().addresses();
        self.relay.take().expect("it runs").stop();
        self.relay = Some(start_relay(self.relay_address));
        self.meet(&old);
    }

    fn streams(&self) -> (usize, usize) {
        (self.connector.streams(), self.gateway.as_ref().map_or(0, Gateway::streams))
    }

    fn allocations(&self) -> usize {
        self.relay.as_ref().expect("it runs").allocations()
    }

    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Does `work`, or panics.
pub(crate) fn block_on<R: Parlour, T>(runtime: &R, work: impl Future<Output = T>) -> T {
    let (mut alarm, at) = (runtime.alarm(), Instant::now() + PATIENCE);
    runtime.block_on(async move {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending => alarm.poll_at(at, cx).map(|()| panic!("{PATIENCE:?} are over")),
            ready => ready,
        })
        .await
    })
}

/// A gateway without relays and targets.
pub(crate) fn a_gateway<R: Parlour>(runtime: &R, papers: &Papers) -> GatewayBuilder<R> {
    Gateway::builder()
        .on(runtime.clone())
        .certificate(papers.gateway.chain.clone(), papers.gateway.key.clone())
        .trust(papers.connector_ca.clone())
        .permit("127.0.0.1".parse().unwrap())
}

pub(crate) fn a_connector<R: Parlour>(runtime: &R, papers: &Papers) -> Connector<R> {
    let builder = Connector::builder()
        .on(runtime.clone())
        .certificate(papers.connector.chain.clone(), papers.connector.key.clone())
        .trust(papers.gateway_ca.clone());
    builder.spawn().unwrap()
}

/// Polls `work` that many times, whenever it is woken, and drops it then. What it gave, if it was done before.
pub(crate) async fn poll_times<T>(times: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), times);
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match work.as_mut().poll(cx) {
            Poll::Pending if left == 0 => Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
    .await
}

pub(crate) fn start_relay(listen: SocketAddr) -> RelayServer {
    let mut config = relay::Config::new(Authenticator::new("test").with_secret(SECRET.as_bytes()));
    config.listen = vec![listen.into()];
    config.ipv4 = Some(RelayAddress::direct(listen.ip()));
    config.policy = Policy::default_deny().allow(listen.ip());
    RelayServer::spawn(config).unwrap()
}
