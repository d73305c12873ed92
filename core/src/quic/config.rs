//! The configuration of an endpoint, and quinn-proto's configurations made from it: every source of hidden
//! randomness and time in them is replaced by a seeded or fixed part.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hkdf, hmac};
use quinn_proto::congestion::CubicConfig;
use quinn_proto::{
    ClientConfig, ConnectionId, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, NoneTokenLog,
    NoneTokenStore, ServerConfig, TimeSource, TransportConfig, ValidationTokenConfig, VarInt,
};

use super::{cid, crypto};
use crate::rand::{Rng, Seed};
use crate::time::WallCell;

/// The version of QUIC that is spoken: 1 (RFC 9000), no drafts.
const VERSION: u32 = 1;
/// What every path carries (RFC 9000 §14), and what a connection begins with.
const SMALLEST_MTU: u16 = 1200;

/// The limits and times of an endpoint. All have defaults; see [`Config::default`].
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a silent connection lives; at least 1 ms. The smaller of both ends' counts (RFC 9000 §10.1).
    pub max_idle: Duration,
    /// How often a silent connection is kept alive.
    pub keep_alive: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How many connections there may be, handshakes included, in both directions.
    pub max_connections: usize,
    /// How many incoming handshakes there may be at once.
    pub max_handshakes: usize,
    /// With how many incoming handshakes a client must first prove its address (Retry, RFC 9000 §8.1.2).
    pub retry_threshold: usize,
    /// How many bidirectional streams a peer may have open.
    pub max_streams: u32,
    /// How many bytes a peer may send on a stream before they are read.
    pub stream_window: u32,
    /// How many bytes a peer may send on a connection before they are read.
    pub connection_window: u32,
    /// How many unacknowledged bytes a connection keeps.
    pub send_window: u32,
    /// The largest UDP payload that is accepted and that is tried, in bytes, at least 1,200: Ethernet's 1,500
    /// less what the route frames it with (IPv6, UDP, ChannelData). Peers that send it without trying need 1,200.
    pub max_udp_payload: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            max_connections: 65_536,
            max_handshakes: 1_024,
            retry_threshold: 128,
            // Clients that don't wait for credit break at 100.
            max_streams: 4_096,
            stream_window: 1 << 20,
            connection_window: 16 << 20,
            send_window: 8 << 20,
            max_udp_payload: 1_440,
        }
    }
}

/// A TLS configuration does not serve QUIC: it lacks TLS 1.3 or TLS13_AES_128_GCM_SHA256, which the first packets
/// need (RFC 9001 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the TLS configuration lacks TLS 1.3 with TLS13_AES_128_GCM_SHA256, which QUIC needs")]
pub struct UnusableTls;

/// Makes quinn-proto's configurations.
pub(super) struct Factory {
    transport: Arc<TransportConfig>,
    token_key: Arc<hkdf::Prk>,
    time: Arc<Wall>,
}

impl Factory {
    pub(super) fn new(config: &Config, wall: WallCell, rng: &mut Rng) -> Self {
        let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&rng.bytes::<32>());
        Self {
            transport: Arc::new(transport(config)),
            token_key: Arc::new(token_key),
            time: Arc::new(Wall(wall)),
        }
    }

    /// The server's part. No session tickets, whatever the TLS configuration says: a resumed handshake would admit
    /// a client certificate that has expired since.
    pub(super) fn server(&self, tls: &rustls::ServerConfig) -> Result<Arc<ServerConfig>, UnusableTls> {
        let mut tls = tls.clone();
        tls.send_tls13_tickets = 0;
        tls.max_early_data_size = 0;
        let tls = crypto::Server::new(Arc::new(tls))?;

        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0).log(Arc::new(NoneTokenLog));

        let mut server = ServerConfig::new(Arc::new(tls), self.token_key.clone());
        server
            .transport_config(self.transport.clone())
            .validation_token_config(tokens)
            .time_source(self.time.clone())
            .migration(true);
        Ok(Arc::new(server))
    }

    /// The client's part of one connection, whose first packets go to the connection ID `first`.
    pub(super) fn client(
        &self,
        tls: Arc<rustls::ClientConfig>,
        first: ConnectionId,
    ) -> Result<ClientConfig, UnusableTls> {
        let mut client = ClientConfig::new(Arc::new(crypto::Client::new(tls)?));
        client
            .transport_config(self.transport.clone())
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(Arc::new(move || first))
            .version(VERSION);
        Ok(client)
    }
}

/// The part that all connections of an endpoint share.
pub(super) fn endpoint(
    config: &Config,
    cids: Seed,
    slot: &cid::SlotCell,
    rng: &mut Rng,
) -> Arc<EndpointConfig> {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &rng.bytes::<32>());
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    let slot = slot.clone();
    endpoint
        .max_udp_payload_size(config.max_udp_payload.max(SMALLEST_MTU))
        .expect("1,200 is allowed")
        .supported_versions(vec![VERSION])
        // STUN shares the address; a greased first byte would collide with it.
        .grease_quic_bit(false)
        .rng_seed(Some(rng.fork()))
        .cid_generator(move || Box::new(cid::Minter::new(cids, slot.clone())));
    Arc::new(endpoint)
}

fn transport(config: &Config) -> TransportConfig {
    let idle =
        IdleTimeout::try_from(config.max_idle).unwrap_or(IdleTimeout::from(VarInt::from_u32(u32::MAX)));
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(config.max_udp_payload.max(SMALLEST_MTU));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(config.keep_alive))
        .max_concurrent_bidi_streams(config.max_streams.into())
        .max_concurrent_uni_streams(0u32.into())
        .stream_receive_window(config.stream_window.into())
        .receive_window(config.connection_window.into())
        .send_window(config.send_window.into())
        .initial_mtu(SMALLEST_MTU)
        .min_mtu(SMALLEST_MTU)
        .mtu_discovery_config(Some(discovery))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(CubicConfig::default()));
    transport
}

/// quinn-proto's clock, for the age of Retry tokens.
struct Wall(WallCell);

impl TimeSource for Wall {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.get().0)
    }
}
