//! The platform's own connector: one connection per gateway instance, made on demand, kept while it is used or watched.
//!
//! ```text
//!  open ──▶ pool of the gateway ──▶ connector ──QUIC──▶ relay ──▶ gateway instance ──▶ target
//!             ▲ instances, TLS            ▲ PINGs: watcher      ▲ own address: discovery
//!             └── refreshed from the store
//! ```
//!
//! - `own` — this instance's certificate in each organisation. `watcher` — whether gateway instances answer.
//! - `discovery` — from where this instance's connector comes.

pub(crate) mod discovery;
mod own;
pub(crate) mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use adit_core::connector::{self, GatewayConfig};
use adit_core::pki::verify::GatewayVerifier;
use adit_core::pki::{Anchors, Expected, Name, Revoked, TrustDomain, tls};
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::ALPN;
use adit_tokio::{Connector, OpenError, Pool, PoolInstance, Stream, Target};
use thiserror::Error;

use crate::api::App;
use crate::authority::{self, AuthorityError};
use crate::store::instances::InstanceRow;
use crate::store::{StoreError, instances};
use crate::words::HealthState;
use own::Own;

/// For how long a pool's view of its instances is good enough to open a stream.
const FRESH: Duration = Duration::from_secs(1);

/// For how long a pool that nobody uses stays.
const UNUSED: Duration = Duration::from_secs(1800);

/// The connector of this platform instance. It begins when it is first needed.
#[derive(Default)]
pub struct Connect {
    connector: OnceLock<(Connector, WallCell)>,
    own: tokio::sync::Mutex<BTreeMap<String, Own>>,
    pools: Mutex<BTreeMap<PoolKey, Entry>>,
    /// Streams may outlive the pools that opened them: organisations stay.
    organisations: Mutex<BTreeSet<String>>,
    revoked: Mutex<Revoked>,
    ended: AtomicBool,
}

/// Organisation and gateway, by id.
type PoolKey = (String, String);

/// The pool of one gateway.
#[derive(Clone)]
struct Entry {
    pool: Pool,
    /// By what the TLS configurations were made.
    trust: String,
    /// The configuration for each instance.
    tls: BTreeMap<String, Arc<rustls::ClientConfig>>,
    refreshed: Instant,
    used: Instant,
}

/// Why no stream to a target comes about.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform has no certificate for itself.
    #[error("the platform has no certificate of its own there: {0}")]
    Certificate(String),
    /// This platform instance is being stopped, or was revoked.
    #[error("this platform instance connects to no gateway any more")]
    Ended,
    /// No instance of the gateway reports.
    #[error("no instance of the gateway is running")]
    NoInstance,
    /// The gateway's answer, or that it was not reached.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<AuthorityError> for ConnectError {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Store(error) => Self::Store(error),
            other => Self::Certificate(other.to_string()),
        }
    }
}

impl App {
    /// Opens a stream to `target` through whichever instance of the gateway works; both ids. One instance failing is
    /// not noticed. Dropping the future takes the wish back.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn open(
        &self,
        organisation: &str,
        gateway: &str,
        target: &Target,
    ) -> Result<Stream, ConnectError> {
        let pool = self.pool(organisation, gateway, FRESH).await?.ok_or(ConnectError::NoInstance)?;
        Ok(pool.open(target).await?)
    }

    /// The pool of a gateway, as the store had it at most `age` ago; `None` while no instance has an address.
    pub(crate) async fn pool(
        &self,
        organisation: &str,
        gateway: &str,
        age: Duration,
    ) -> Result<Option<Pool>, ConnectError> {
        if self.connect.is_ended() {
            return Err(ConnectError::Ended);
        }
        let (key, now) = ((organisation.to_owned(), gateway.to_owned()), Instant::now());
        if let Some(entry) = self.connect.pools().get_mut(&key) {
            entry.used = now;
            if now.duration_since(entry.refreshed) <= age {
                return Ok(Some(entry.pool.clone()));
            }
        }
        let mut rows = instances::in_session(&self.store, organisation, gateway).await?;
        rows.retain(|row| !row.addresses.is_empty() && row.health.state != HealthState::Offline);
        if rows.is_empty() {
            self.connect.pools().remove(&key);
            return Ok(None);
        }
        self.refresh(key, &rows).await.map(Some)
    }

    async fn refresh(&self, key: PoolKey, rows: &[InstanceRow]) -> Result<Pool, ConnectError> {
        let organisation = &key.0;
        let own = self.own_certificate(organisation).await?;
        let anchors = authority::gateway_anchors(self.store.reader(), organisation, self.clock.now()).await?;
        let trust = format!("{}\n{anchors}", own.serial);
        let (connector, wall) = self.connect.connector(self);
        self.connect.known_organisations().insert(organisation.clone());
        let mut pools = self.connect.pools();
        let entry = pools.entry(key).or_insert_with(|| Entry::new(connector));
        if entry.trust != trust {
            (entry.trust, entry.tls) = (trust, BTreeMap::new());
        }
        entry.tls.retain(|id, _| rows.iter().any(|row| row.id == *id));
        let mut known = Vec::new();
        for row in rows {
            let tls = match entry.tls.get(&row.id) {
                Some(tls) => tls.clone(),
                None => self.tls_to(row, &own, &anchors, wall)?,
            };
            entry.tls.insert(row.id.clone(), tls.clone());
            known.push(PoolInstance {
                id: row.id.clone(),
                gateway: GatewayConfig {
                    tls,
                    server_name: row.gateway_name.clone(),
                    addresses: row.addresses.clone(),
                },
            });
        }
        entry.pool.set_instances(known);
        entry.refreshed = Instant::now();
        Ok(entry.pool.clone())
    }

    /// TLS that believes this very instance and nobody else.
    fn tls_to(
        &self,
        row: &InstanceRow,
        own: &Own,
        anchors: &str,
        wall: &WallCell,
    ) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
        let broken = |error: &dyn fmt::Display| ConnectError::Certificate(error.to_string());
        let name = |text: &str| text.parse::<Name>().map_err(|error| broken(&error));
        let anchors = Anchors::from_pem(anchors.as_bytes()).map_err(|error| broken(&error))?;
        let trust_domain: TrustDomain = self.trust_domain().parse().map_err(|error| broken(&error))?;
        let expected = Expected { organisation: name(&row.organisation_name)?, trust_domain };
        let verifier = GatewayVerifier::new(anchors, expected, name(&row.gateway_name)?).only(name(&row.id)?);
        tls::client_config_with(&own.certified, verifier, &[ALPN], wall.clone())
            .map_err(|error| broken(&error))
    }
}

impl Entry {
    fn new(connector: &Connector) -> Self {
        let now = Instant::now();
        let pool = Pool::new(connector.clone());
        Self { pool, trust: String::new(), tls: BTreeMap::new(), refreshed: now, used: now }
    }
}

impl Connect {
    /// The connector and the time that its TLS goes by.
    fn connector(&self, app: &App) -> &(Connector, WallCell) {
        self.connector.get_or_init(|| {
            let wall = WallCell::new(UnixTime(app.clock.now()));
            let mut config = connector::Config::new(wall.clone());
            config.idle_timeout = Some(app.config.times.connector_idle);
            match app.config.connector_bind {
                IpAddr::V4(address) => config.bind.0 = address,
                IpAddr::V6(address) => config.bind.1 = address,
            }
            (Connector::spawn(config), wall)
        })
    }

    fn known_organisations(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.organisations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<PoolKey, Entry>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the instances of a gateway that are connected here to let `addresses` in at once; the others hear of it
    /// with their next report.
    pub(crate) fn permit(&self, organisation: &str, gateway: &str, addresses: &[IpAddr], seconds: u64) {
        let Some((connector, _)) = self.connector.get() else { return };
        let key = (organisation.to_owned(), gateway.to_owned());
        let Some(pool) = self.pools().get(&key).map(|entry| entry.pool.clone()) else { return };
        for (_, instance) in pool.instances() {
            if !connector.is_connected(instance) {
                continue;
            }
            if let Err(error) = connector.permit(instance, addresses.to_vec(), Duration::from_secs(seconds)) {
                tracing::debug!(%error, "a gateway instance is not told whom to let in");
            }
        }
    }

    /// Whom to believe no more, of all organisations: connections to them end.
    pub(crate) fn set_revoked(&self, revoked: Revoked) {
        let mut known = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == revoked {
            return;
        }
        if let Some((connector, _)) = self.connector.get() {
            connector.set_revoked(revoked.clone());
        }
        *known = revoked;
    }

    /// Forgets the pools that nobody has used for long.
    pub(crate) fn forget_unused(&self) {
        let now = Instant::now();
        self.pools().retain(|_, entry| now.duration_since(entry.used) < UNUSED);
    }

    /// The organisations to which there are connections, or were.
    pub(crate) fn organisations(&self) -> Vec<String> {
        self.known_organisations().iter().cloned().collect()
    }

    /// Whether it connects to no gateway any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Ends every connection, for good; the gateways are told.
    pub(crate) fn shut_down(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.pools().clear();
        if let Some((connector, _)) = self.connector.get() {
            connector.shut_down();
        }
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("pools", &self.pools().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
