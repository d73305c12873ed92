//! What a platform instance is started with: addresses, files, bounds and every length of time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::fault::Faults;

/// How one platform instance runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of `adit platform init`: root keys, and the database where none is named.
    pub dir: PathBuf,
    /// `postgres://…`, for several instances on one database; the embedded one in `dir` where it is absent.
    /// It may hold a password.
    pub database: Option<DatabaseUrl>,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Under which URL agents and people reach the API; what `init` was told where it is absent.
    pub public_url: Option<String>,
    /// The API's certificate; the platform CA issues it where it is absent.
    pub tls: Option<TlsFiles>,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Networks that the credentials of gateways permit as a whole, besides the addresses of connectors.
    pub relay_peer_networks: Vec<IpNet>,
    /// The local address from which this instance's connector dials gateways of its family.
    pub connector_bind: IpAddr,
    /// Lengths of time.
    pub times: Times,
    /// Bounds.
    pub limits: Limits,
    /// Where a test stops the world.
    pub faults: Faults,
}

impl Config {
    /// The usual configuration of an instance whose directory is `dir`.
    pub fn new(dir: PathBuf, listen: SocketAddr) -> Self {
        Self {
            dir,
            database: None,
            listen,
            public_url: None,
            tls: None,
            trusted_proxies: Vec::new(),
            relay_peer_networks: Vec::new(),
            connector_bind: Ipv4Addr::UNSPECIFIED.into(),
            times: Times::default(),
            limits: Limits::default(),
            faults: Faults::default(),
        }
    }
}

/// A database's URL. `Debug` shows nothing of it, since it may hold a password.
#[derive(Clone)]
pub struct DatabaseUrl(pub String);

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

/// A certificate and its key, PEM. They are read again when they change.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The leaf and what is between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Every length of time, so that tests can shorten each.
#[derive(Debug, Clone)]
pub struct Times {
    /// From one heartbeat of an agent to the next.
    pub heartbeat: Duration,
    /// After how many heartbeats that did not come an agent is offline.
    pub missed_heartbeats: u32,
    /// From one PING of the watcher to the next.
    pub ping: Duration,
    /// For how long a platform instance claims to watch a gateway instance.
    pub watcher_claim: Duration,
    /// Life of an agent's access token.
    pub access_token: Duration,
    /// Life of a nonce of a proof.
    pub nonce: Duration,
    /// Life of an enrolment token.
    pub enrolment_token: Duration,
    /// Life of a gateway instance's certificate.
    pub gateway_leaf: Duration,
    /// Life of a connector's certificate: a person's, or the platform's own.
    pub connector_leaf: Duration,
    /// Life of a relay's certificate.
    pub relay_leaf: Duration,
    /// Life of the API's certificate where the platform CA issues it.
    pub api_leaf: Duration,
    /// Life of TURN credentials.
    pub turn_credentials: Duration,
    /// At which age TURN credentials are renewed.
    pub turn_renewal: Duration,
    /// For how long past its certificate a person's connection goes on while the platform is away.
    pub offline_grace: Duration,
    /// After how long without streams the platform's connection to a gateway instance is closed.
    pub connector_idle: Duration,
    /// From one round of the background duties to the next.
    pub duties: Duration,
    /// For how long a platform instance claims work on a database's server: twice what the work may take, at least.
    pub claim: Duration,
    /// For how long one transaction on a database's server may take, its login included.
    pub work: Duration,
    /// The longest pause between two attempts to remove a user.
    pub work_pause: Duration,
    /// For how long removing a user may fail before the lease is called stuck.
    pub stuck: Duration,
    /// From one round of the workers of leases and rotations to the next.
    pub lease_duties: Duration,
    /// From one search for users that nobody leases to the next, for each database.
    pub orphan_scan: Duration,
    /// For how long one request may take.
    pub request: Duration,
    /// For how long a TLS handshake may take, and the head of a connection's first request.
    pub head: Duration,
    /// For how long a connection is kept on which no further request comes: longer than a heartbeat.
    pub keep_alive: Duration,
    /// For how long a stop waits for what is under way.
    pub grace: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let (minute, hour) = (60, 3600);
        Self {
            heartbeat: Duration::from_secs(15),
            missed_heartbeats: 3,
            ping: Duration::from_secs(15),
            watcher_claim: Duration::from_secs(45),
            access_token: Duration::from_secs(hour),
            nonce: Duration::from_secs(5 * minute),
            enrolment_token: Duration::from_secs(24 * hour),
            gateway_leaf: Duration::from_secs(24 * hour),
            connector_leaf: Duration::from_secs(hour),
            relay_leaf: Duration::from_secs(7 * 24 * hour),
            api_leaf: Duration::from_secs(30 * 24 * hour),
            turn_credentials: Duration::from_secs(24 * hour),
            turn_renewal: Duration::from_secs(8 * hour),
            offline_grace: Duration::from_secs(2 * hour),
            connector_idle: Duration::from_secs(10 * minute),
            duties: Duration::from_secs(5),
            claim: Duration::from_secs(minute),
            work: Duration::from_secs(20),
            work_pause: Duration::from_secs(5 * minute),
            stuck: Duration::from_secs(10 * minute),
            lease_duties: Duration::from_secs(1),
            orphan_scan: Duration::from_secs(hour),
            request: Duration::from_secs(30),
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(90),
            grace: Duration::from_secs(30),
        }
    }
}

/// Bounds on what callers can take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// TCP connections of the API at once; the next one waits.
    pub connections: usize,
    /// The longest body of a request, in bytes.
    pub body: usize,
    /// Requests of one source address to enrolment, nonces and token exchange: at once, and each minute.
    pub first_contact: Rate,
    /// Failed authentications of one source address that are answered as such.
    pub failures: Rate,
    /// Leases that this instance works on at once by itself: what has expired, or is to be removed.
    pub lease_workers: usize,
}

/// So many at once, and so many each minute.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// Each minute.
    pub per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            body: 64 * 1024,
            first_contact: Rate { burst: 120, per_minute: 240 },
            failures: Rate { burst: 30, per_minute: 30 },
            lease_workers: 20,
        }
    }
}
