//! Local TCP connections, each forwarded to a target behind a gateway.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::connector::GatewayKey;
use adit_core::tunnel::Target;

use crate::connector::Connector;
use crate::join::{Moved, join, reset_at_end};
use crate::opening::OpenError;
use crate::pipe::Pipe;
use crate::pool::Pool;
use crate::runtime::{Runtime, sleep};

/// How long no connection is accepted after that has failed, which is for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of a local connection, or of the wish to accept one.
#[derive(Debug)]
pub enum Forwarded {
    /// The target is open.
    Opened {
        /// The local client.
        client: SocketAddr,
        /// The address that the gateway dialled.
        address: SocketAddr,
    },
    /// The target was not opened; the client sees a reset.
    Refused {
        /// The local client.
        client: SocketAddr,
        /// Why.
        error: OpenError,
    },
    /// Both ends have finished.
    Ended {
        /// The local client.
        client: SocketAddr,
        /// How many bytes went each way.
        moved: Moved,
    },
    /// One end was reset, or lost.
    Broken {
        /// The local client.
        client: SocketAddr,
        /// How.
        error: io::Error,
    },
    /// No connection could be accepted for the moment.
    NotAccepted(io::Error),
}

/// Accepts connections for ever and forwards each to `target`. `report` is told what becomes of them.
///
/// Dropping the future closes the listener; connections that were accepted live on.
pub async fn forward<R: Runtime>(
    listener: R::Listener,
    connector: Connector<R>,
    gateway: GatewayKey,
    target: Target,
    report: impl Fn(Forwarded) + Send + Sync + 'static,
) {
    forward_by::<R>(listener, Single { connector, gateway }, target, report).await;
}

/// [`forward`](fn@forward), each connection through whichever instance of a gateway works.
pub async fn forward_pool<R: Runtime>(
    listener: R::Listener,
    pool: Pool<R>,
    target: Target,
    report: impl Fn(Forwarded) + Send + Sync + 'static,
) {
    forward_by::<R>(listener, pool, target, report).await;
}

/// What leads to targets.
trait Way: Clone + Send + Sync + 'static {
    fn open(&self, target: &Target) -> impl Future<Output = Result<Pipe, OpenError>> + Send;
}

#[derive(Clone)]
struct Single<R: Runtime> {
    connector: Connector<R>,
    gateway: GatewayKey,
}

impl<R: Runtime> Way for Single<R> {
    async fn open(&self, target: &Target) -> Result<Pipe, OpenError> {
        self.connector.open_pipe(self.gateway, target).await
    }
}

impl<R: Runtime> Way for Pool<R> {
    async fn open(&self, target: &Target) -> Result<Pipe, OpenError> {
        self.open_pipe(target).await
    }
}

async fn forward_by<R: Runtime>(
    listener: R::Listener,
    way: impl Way,
    target: Target,
    report: impl Fn(Forwarded) + Send + Sync + 'static,
) {
    let runtime = R::current();
    let (target, report) = (Arc::new(target), Arc::new(report));
    loop {
        match R::accept(&listener).await {
            Ok((tcp, client)) => {
                // Before there is a task, which may be dropped before it begins.
                reset_at_end::<R>(&tcp);
                let (way, target, report) = (way.clone(), Arc::clone(&target), Arc::clone(&report));
                runtime.spawn(async move {
                    report(forward_one::<R>(tcp, client, &way, &target, &*report).await);
                });
            }
            Err(error) => {
                report(Forwarded::NotAccepted(error));
                sleep(&runtime, PAUSE).await;
            }
        }
    }
}

async fn forward_one<R: Runtime>(
    tcp: R::Tcp,
    client: SocketAddr,
    way: &impl Way,
    target: &Target,
    report: &(impl Fn(Forwarded) + Sync),
) -> Forwarded {
    let pipe = match way.open(target).await {
        Ok(pipe) => pipe,
        Err(error) => return Forwarded::Refused { client, error },
    };
    report(Forwarded::Opened { client, address: pipe.address() });
    match join::<R>(tcp, pipe).await {
        Ok(moved) => Forwarded::Ended { client, moved },
        Err(error) => Forwarded::Broken { client, error },
    }
}
