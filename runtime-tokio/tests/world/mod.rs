//! A relay, a gateway, a connector and targets in one process, over real loopback sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_core::client::Families;
use adit_core::connector::{self, GatewayConfig, GatewayKey};
use adit_core::gateway::{self, Event, RelayConfig, RelayWay, TargetPolicy};
use adit_core::pki::tls::{client_config, server_config};
use adit_core::pki::{Anchors, Authority, Certified, Expected, Key, KeyKind, Office, Role, Serial, Terms};
use adit_core::rand::Rng;
use adit_core::relay::{self, RelayAddress};
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::{ALPN, Target};
use adit_core::turn::address_policy::Policy;
use adit_core::turn::credentials::{Authenticator, Credentials};
use adit_mio::RelayServer;
use adit_tokio::{Connector, Gateway, Notice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SECRET: &[u8] = b"a secret of the relay";

/// All parts, joined.
pub struct World {
    pub relay: RelayServer,
    pub gateway: Gateway,
    pub connector: Connector,
    pub key: GatewayKey,
}

impl World {
    /// Starts everything on the loopback address `ip`, and waits for the allocation.
    pub async fn start(ip: IpAddr) -> Self {
        let relay = RelayServer::spawn(relay_config(ip)).unwrap();
        let pki = Pki::new();
        let mut gateway = Gateway::spawn(pki.gateway(relay.addresses()[0])).unwrap();
        let addresses = allocated(&mut gateway).await;
        assert_eq!(gateway.addresses(), addresses);
        let (config, gateway_config) = pki.connector(addresses);
        let connector = Connector::spawn(config);
        let key = connector.add_gateway(gateway_config);
        Self { relay, gateway, connector, key }
    }

    pub async fn open(&self, to: SocketAddr) -> adit_tokio::Stream {
        let target: Target = format!("tcp://{to}").parse().unwrap();
        within(self.connector.open(self.key, &target)).await.unwrap()
    }
}

/// Nothing in these tests takes longer, or it has failed.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), work).await.expect("thirty seconds are enough")
}

pub async fn allocated(gateway: &mut Gateway) -> Vec<SocketAddr> {
    loop {
        match within(gateway.event()).await {
            Some(Notice::Event(Event::Addresses(addresses))) if !addresses.is_empty() => return addresses,
            Some(_) => {}
            None => panic!("the gateway has ended"),
        }
    }
}

pub fn relay_config(ip: IpAddr) -> relay::Config {
    let mut config = relay::Config::new(Authenticator::new("test").with_secret(SECRET));
    config.listen = vec![SocketAddr::new(ip, 0).into()];
    match ip {
        IpAddr::V4(_) => config.ipv4 = Some(RelayAddress::direct(ip)),
        IpAddr::V6(_) => config.ipv6 = Some(RelayAddress::direct(ip)),
    }
    config.policy = Policy::default_deny().allow(ip);
    config
}

struct Pki {
    wall: WallCell,
    gateway: Certified,
    connector: Certified,
    gateway_anchors: Anchors,
    connector_anchors: Anchors,
}

impl Pki {
    fn new() -> Self {
        let now = UnixTime(adit_driver::unix().as_secs());
        let mut rng = Rng::new([1; 32]);
        let mut terms = || Terms::new(Serial::random(&mut rng), now, Duration::from_secs(3600));
        let key = || Key::generate(KeyKind::EcdsaP256);
        let root_key = key();
        let root = Authority::root("acme".parse().unwrap(), "test.adit".parse().unwrap(), &root_key, terms())
            .unwrap();
        let mut leaf = |office, role| {
            let authority = root.intermediate(office, &key(), terms()).unwrap();
            let key = key();
            let leaf = authority.issue(role, None, &key.public(), terms()).unwrap();
            let anchors = Anchors::new(&[authority.certificate().clone()]).unwrap();
            (Certified::new(vec![leaf, authority.certificate().clone()], key).unwrap(), anchors)
        };
        let role = Role::Gateway { gateway: "gw".parse().unwrap(), instance: "0".parse().unwrap() };
        let (gateway, gateway_anchors) = leaf(Office::Gateway, role);
        let (connector, connector_anchors) =
            leaf(Office::Connector, Role::Connector { id: "laptop".parse().unwrap() });
        Self { wall: WallCell::new(now), gateway, connector, gateway_anchors, connector_anchors }
    }

    fn expected() -> Expected {
        Expected { organisation: "acme".parse().unwrap(), trust_domain: "test.adit".parse().unwrap() }
    }

    fn gateway(&self, relay: SocketAddr) -> gateway::Config {
        let (anchors, wall) = (self.connector_anchors.clone(), self.wall.clone());
        let tls = server_config(&self.gateway, anchors, Self::expected(), &[ALPN], wall.clone()).unwrap();
        let mut config = gateway::Config::new(tls, wall);
        let expiry = UnixTime(adit_driver::unix().as_secs() + 3600);
        config.relays = vec![RelayConfig {
            ways: vec![RelayWay::udp(relay.ip().to_string(), relay.port())],
            credentials: Credentials::time_limited(SECRET, expiry, "gw"),
            families: if relay.is_ipv4() { Families::V4 } else { Families::V6 },
        }];
        config.permit = vec![relay.ip()];
        let allow = ["tcp://127.0.0.1:*", "tcp://[::1]:*"];
        config.targets = TargetPolicy::new(allow.iter().map(|rule| rule.parse().unwrap()).collect());
        config
    }

    fn connector(&self, addresses: Vec<SocketAddr>) -> (connector::Config, GatewayConfig) {
        let wall = self.wall.clone();
        let anchors = self.gateway_anchors.clone();
        let gateway = "gw".parse().unwrap();
        let tls = client_config(&self.connector, anchors, Self::expected(), gateway, &[ALPN], wall.clone())
            .unwrap();
        let gateway = GatewayConfig { tls, server_name: "gw".into(), addresses };
        (connector::Config::new(wall), gateway)
    }
}

/// A target that returns every byte, and finishes after its client has.
pub async fn echo_target(ip: IpAddr) -> SocketAddr {
    target(ip, |mut tcp| async move {
        let (mut read, mut write) = tcp.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// A target that does `serve` with each connection.
pub async fn target<F: Future<Output = ()> + Send + 'static>(
    ip: IpAddr,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp));
        }
    });
    addr
}

/// Bytes in which a missing, repeated or moved piece shows.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

/// Sends `bytes`, finishes, and returns all that comes back.
pub async fn exchange(stream: adit_tokio::Stream, bytes: Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut back = Vec::new();
    within(read.read_to_end(&mut back)).await.unwrap();
    sending.await.unwrap();
    back
}
