//! One platform instance: its store, its API over HTTPS, and its duties, from start to stop.

mod listener;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::api::{self, App};
use crate::authority::{AuthorityError, platform_ca};
use crate::client::{BadDomain, Domain};
use crate::clock::Clock;
use crate::config::Config;
use crate::fleet;
use crate::home::Home;
use crate::leases;
use crate::store::{OpenError, Store, StoreError, settings};
use listener::Bounded;
use tls::Tls;

/// Why a platform instance does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform CA does not issue.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The URL under which the API is to be reached is none.
    #[error("the public URL is {0:?}: {1}")]
    PublicUrl(String, BadDomain),
    /// The certificate's file or the key's.
    #[error("{0}: {1}")]
    Tls(PathBuf, String),
    /// The address can't be listened on.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
}

/// A platform instance that runs. Dropped, it stops at once.
#[derive(Debug)]
pub struct Platform {
    app: Arc<App>,
    address: SocketAddr,
    public_url: String,
    handle: Handle<SocketAddr>,
    server: JoinHandle<io::Result<()>>,
    duties: JoinSet<()>,
    reload: Arc<Notify>,
}

impl Platform {
    /// Starts an instance of the platform that was made in [`Config::dir`].
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_by(config, Clock::system()).await
    }

    /// Starts it by another clock.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_by(config: Config, clock: Clock) -> Result<Self, StartError> {
        // Before anything else: an address that is taken is the most usual mistake.
        let listener = listen(config.listen)?;
        let address = listener.local_addr().map_err(|error| StartError::Listen(config.listen, error))?;
        let store = Home::new(&config.dir, config.database.as_ref()).open(clock).await?;
        let (public_url, host) = public_url(&store, &config).await?;
        let tls = Tls::load(&store, config.tls.as_ref(), vec![host], config.times.api_leaf).await?;
        let pin = match config.tls {
            Some(_) => None,
            None => Some(platform_ca::its_pin(store.reader()).await?),
        };
        let app = Arc::new(App::new(store, config, pin));
        let (handle, reload) = (Handle::new(), Arc::new(Notify::new()));
        let server = serve(&app, listener, &tls, handle.clone());
        let mut duties = JoinSet::new();
        duties.spawn(tls.keep_fresh(app.config.times.duties, reload.clone()));
        fleet::duties::spawn(&app, &mut duties).await?;
        leases::spawn(&app, &mut duties);
        tracing::info!(%address, instance = app.store.instance(), "the platform serves");
        Ok(Self { app, address, public_url, handle, server, duties, reload })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Under which URL the API is reached.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// What its handlers work with.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Takes a new certificate now: files are read again, the platform CA issues another one.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Waits until it has ended by itself, which it does only when its listener breaks.
    ///
    /// # Errors
    /// What the listener says.
    pub async fn ended(&mut self) -> io::Result<()> {
        (&mut self.server).await.map_err(io::Error::other)?
    }

    /// Stops: nothing new is accepted, what is under way may end within [`grace`](crate::config::Times::grace).
    pub async fn stop(mut self) {
        self.app.readiness.lacks("platform", "it is being stopped");
        self.handle.graceful_shutdown(Some(self.app.config.times.grace));
        // A second more than the server takes by itself.
        let patience = self.app.config.times.grace + Duration::from_secs(1);
        if tokio::time::timeout(patience, &mut self.server).await.is_err() {
            tracing::warn!("requests that took too long were ended");
        }
        self.duties.shutdown().await;
        fleet::duties::leave(&self.app).await;
        self.app.store.close().await;
        tracing::info!("the platform has stopped");
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|error| StartError::Listen(address, error))
}

/// The URL, and the host in it, which the certificate has to name.
async fn public_url(store: &Store, config: &Config) -> Result<(String, String), StartError> {
    let url = match &config.public_url {
        Some(url) => url.clone(),
        None => settings::need(store.reader(), settings::PUBLIC_URL).await?,
    };
    let domain: Domain = url.parse().map_err(|error| StartError::PublicUrl(url, error))?;
    Ok((domain.to_string(), domain.host().to_owned()))
}

fn serve(
    app: &Arc<App>,
    listener: TcpListener,
    tls: &Tls,
    handle: Handle<SocketAddr>,
) -> JoinHandle<io::Result<()>> {
    let (times, limits) = (&app.config.times, &app.config.limits);
    let acceptor = RustlsAcceptor::new(tls.config.clone())
        .handshake_timeout(times.head)
        .acceptor(Bounded::new(limits.connections));
    let (first, idle) = (times.head, times.keep_alive);
    let routes = api::router(app).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        let mut server = axum_server::from_tcp(listener)?
            .acceptor(acceptor)
            .handle(handle)
            .http1_only()
            .first_request_timeout(first)
            .accept_error_handler(|_, error| tracing::debug!(%error, "a connection was not accepted"));
        server.http_builder().http1().header_read_timeout(idle);
        server.serve(routes).await
    })
}
