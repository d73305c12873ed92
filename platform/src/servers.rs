//! Sessions with the servers of databases: through their gateways, never directly; bounded for each database, and
//! kept for a moment for whoever needs one next.

pub(crate) mod pace;
mod pool;
pub(crate) mod reach;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_tokio::Target;
use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::timeout;

use crate::api::App;
use crate::postgres::{Login, Session, SqlError};
use pool::{Pool, Pooled, Reusable};

/// For how long an idle session may be used again without asking whether it is alive.
const TRUSTED: Duration = Duration::from_secs(1);

/// For how long an idle session is asked whether it is alive.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the server of a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The organisation's id.
    pub organisation: String,
    /// The gateway's id.
    pub gateway: String,
    /// The database's id.
    pub database: String,
    /// The host, as the gateway resolves it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How many sessions this platform instance has with it at once, idle ones included.
    pub max_connections: u32,
}

/// A session that is given back when it is dropped.
pub type Held = Pooled<Session>;

/// The sessions of this platform instance.
#[derive(Debug, Default)]
pub struct Servers {
    pools: Mutex<BTreeMap<String, Arc<Pool<Session>>>>,
}

impl Servers {
    /// A session with the server at `address` as `login`: an idle one, or a new one through the gateway. Whoever
    /// holds one must not wait for another of the same database, since the bound may be one.
    ///
    /// # Errors
    /// [`SqlError::Unreachable`] where no gateway works, and where all sessions stay in use for as long as work may
    /// take; those of [`Session::over`].
    pub async fn session(&self, app: &App, address: &Address, login: &Login) -> Result<Held, SqlError> {
        let limit = app.config.times.work;
        let pool = self.pool(address);
        let busy = || {
            SqlError::Unreachable(format!(
                "all {} connections to this database are in use: raise its max_connections",
                address.max_connections
            ))
        };
        let slot = timeout(limit, pool.slot()).await.map_err(|_| busy())?;
        let key = fingerprint(address, login);
        while let Some((session, idle)) = pool.take_idle(&key) {
            if let Some(session) = alive(session, idle).await {
                return Ok(pool.hold(slot, key, session));
            }
        }
        pool.make_room();
        let stream = timeout(limit, open(app, address)).await.map_err(|_| {
            SqlError::Unreachable(format!("the gateway gave no stream within {} s", limit.as_secs_f32()))
        })??;
        let session = Session::over(stream, login, limit).await?;
        Ok(pool.hold(slot, key, session))
    }

    /// Ends the sessions with a database's server: idle ones at once, those in use when they are given back.
    pub fn forget(&self, database: &str) {
        if let Some(pool) = self.pools().remove(database) {
            pool.close();
        }
    }

    /// Ends sessions that have been idle for too long.
    pub fn close_idle(&self) {
        self.pools().retain(|_, pool| {
            pool.close_idle();
            pool.is_in_use()
        });
    }

    /// Ends all, as [`forget`](Self::forget) does.
    pub fn shut_down(&self) {
        for pool in std::mem::take(&mut *self.pools()).into_values() {
            pool.close();
        }
    }

    fn pool(&self, address: &Address) -> Arc<Pool<Session>> {
        let bound = usize::try_from(address.max_connections.max(1)).unwrap_or(usize::MAX);
        let mut pools = self.pools();
        if let Some(pool) = pools.get(&address.database) {
            if pool.bound() == bound {
                return Arc::clone(pool);
            }
            pool.close();
        }
        let pool = Pool::new(bound);
        pools.insert(address.database.clone(), Arc::clone(&pool));
        pool
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Pool<Session>>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reusable for Session {
    fn is_reusable(&self) -> bool {
        !self.is_broken()
    }
}

async fn open(app: &App, address: &Address) -> Result<adit_tokio::Stream, SqlError> {
    let unreachable = |error: String| SqlError::Unreachable(error);
    let target = Target::new(&address.host, address.port).map_err(|error| unreachable(error.to_string()))?;
    let stream = app.open(&address.organisation, &address.gateway, &target).await;
    stream.map_err(|error| unreachable(error.to_string()))
}

/// The session, unless it is of no more use.
async fn alive(mut session: Session, idle: Duration) -> Option<Session> {
    if idle < TRUSTED && !session.needs_refresh() {
        return Some(session);
    }
    session.refresh(PATIENCE).await.is_ok().then_some(session)
}

/// What sessions have to have in common to stand in for each other: everything that a login is made of.
fn fingerprint(address: &Address, login: &Login) -> Vec<u8> {
    let port = address.port.to_string();
    let tls = format!("{:?}", login.tls);
    let parts = [
        &*address.organisation,
        &address.gateway,
        &address.host,
        &port,
        &login.host,
        &tls,
        &login.ca,
        &login.user,
        &login.password,
        &login.dbname,
    ];
    let hashes = parts.map(|part| digest(&SHA256, part.as_bytes()));
    let all: Vec<u8> = hashes.iter().flat_map(|hash| hash.as_ref().iter().copied()).collect();
    digest(&SHA256, &all).as_ref().to_vec()
}
