//! `adit forward TARGET --gateway NAME`: as whoever is logged in.
//!
//! 1. A key is made, which never leaves this process; the platform certifies it for the target, for an hour.
//! 2. The connector asks the gateway's relays how they see it, and tells the platform, so that the gateway lets it in.
//! 3. The target is opened through whichever instance works, with patience until the gateway knows us.
//! 4. [`Keeper`] follows instances, anchors and own address, and renews the certificate at half its life.

mod access;
mod address;

use std::time::Duration;

use adit_core::connector::Event;
use adit_core::time::WallCell;
use adit_core::tunnel::Target;
use adit_platform::client::{Backoff, Client};
use adit_tokio::{Connector, Notice, OpenError, Pool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::trouble::{Trouble, not_opened};
use super::{Forward, GOODBYE, PAUSE, cannot_listen, ended, report};
use crate::exit::{Exit, Failure};
use crate::service::{self, Signals};
use crate::when;
use access::Access;

/// How often instances, anchors and the own address are looked at.
const FOLLOW: Duration = Duration::from_secs(15);
/// The same while nothing works yet.
const SEARCH: Duration = Duration::from_secs(2);
/// How long an instance may take to give a sign of life.
const PING: Duration = Duration::from_secs(5);
/// The longest pause before a platform that is away is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub(super) async fn serve(flags: Forward, gateway: &str) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let listener =
        TcpListener::bind(flags.listen).await.map_err(|error| cannot_listen(flags.listen, &error))?;
    let local = listener.local_addr().map_err(|error| cannot_listen(flags.listen, &error))?;
    let client = tokio::select! {
        client = flags.place.client() => client?,
        () = signals.next() => return Ok(()),
    };
    let start = Start { patience: Duration::from_secs(flags.wait), check: !flags.no_check };
    let passage = tokio::select! {
        passage = Passage::open(client, gateway, flags.target.clone(), start) => passage?,
        () = signals.next() => return Ok(()),
    };
    service::say(format_args!(
        "listening on {local}, forwarding to {} through gateway {gateway}",
        flags.target
    ));
    service::ready();
    let result = tokio::select! {
        failure = passage.serve(listener) => Err(failure),
        () = signals.next() => Ok(()),
    };
    service::stopping();
    result
}

/// How a passage begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// How long to keep trying, beside the time that the gateway takes to hear of us.
    pub(crate) patience: Duration,
    /// Whether the target is opened once, and not the gateway asked only.
    pub(crate) check: bool,
}

/// A way to one target behind a gateway, which has been shown to work. It ends when it is dropped.
pub(crate) struct Passage {
    keeper: Keeper,
    target: Target,
}

impl Passage {
    /// Opens it, as whoever `client` speaks for.
    pub(crate) async fn open(
        client: Client,
        gateway: &str,
        target: Target,
        start: Start,
    ) -> Result<Self, Failure> {
        let mut keeper = Keeper::begin(client, gateway, &target).await?;
        keeper.prove(&target, start).await?;
        Ok(Self { keeper, target })
    }

    /// Forwards whoever connects to `listener`, until that does not go on.
    pub(crate) async fn serve(mut self, listener: TcpListener) -> Failure {
        let restless = Notify::new();
        let (pool, connector) = (self.keeper.pool.clone(), self.keeper.connector.clone());
        tokio::select! {
            () = adit_tokio::forward_pool(listener, pool, self.target.clone(), report) => ended(),
            failure = self.keeper.keep(&restless) => failure,
            () = log(&connector, &restless) => ended(),
        }
    }
}

/// What keeps the way to the gateway open.
struct Keeper {
    access: Access,
    connector: Connector,
    pool: Pool,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.connector.shut_down();
    }
}

impl Keeper {
    async fn begin(client: Client, gateway: &str, target: &Target) -> Result<Self, Failure> {
        let wall = WallCell::new(when::now());
        let connector = Connector::spawn(adit_core::connector::Config::new(wall.clone()));
        let access = Access::begin(client, gateway, target, wall).await?;
        let pool = Pool::new(connector.clone());
        let mut keeper = Self { access, connector, pool };
        keeper.apply()?;
        Ok(keeper)
    }

    /// Puts what the platform said into effect.
    fn apply(&mut self) -> Result<(), Failure> {
        self.connector.set_revoked(self.access.revoked());
        self.pool.set_instances(self.access.instances()?);
        Ok(())
    }

    /// Tries until the target has opened, for as long as the user wants to wait and the gateway takes to hear of us.
    async fn prove(&mut self, target: &Target, start: Start) -> Result<(), Failure> {
        let mut end = Instant::now() + start.patience;
        let mut look = Instant::now();
        loop {
            let mut troubled = None;
            if Instant::now() >= look {
                match self.register().await {
                    Ok(Some(within)) => end += within,
                    Ok(None) => {}
                    Err(failure) => troubled = Some(failure),
                }
                look = Instant::now() + SEARCH;
            }
            let failure = match self.attempt(target, start.check).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Lasting(failure)) => return Err(failure),
                // Without an address that the gateway lets in, that it can't be reached tells nothing.
                Err(Trouble::Passing(failure)) => troubled.unwrap_or(failure),
            };
            if Instant::now() >= end {
                return Err(failure);
            }
            sleep(PAUSE).await;
            if Instant::now() >= look {
                self.access.look(self.due()).await?;
                self.apply()?;
            }
        }
    }

    async fn attempt(&self, target: &Target, check: bool) -> Result<(), Trouble> {
        if self.pool.instances().is_empty() {
            return Err(self.told(OpenError::NoInstance));
        }
        if !check {
            return self.ping().await;
        }
        let mut stream = self.pool.open(target).await.map_err(|error| self.told(error))?;
        // An orderly end, which servers do not complain about in their logs.
        let _ = stream.shutdown().await;
        let _ = timeout(GOODBYE, stream.read(&mut [0; 1024])).await;
        Ok(())
    }

    /// Why the target was not opened, with what to look at where there is a platform.
    fn told(&self, error: OpenError) -> Trouble {
        match not_opened(error) {
            Trouble::Passing(failure) if failure.exit == Exit::GatewayUnreachable => Trouble::Passing(
                failure.next(format!("adit gateways show {} tells how it is", self.access.gateway())),
            ),
            other => other,
        }
    }

    /// A sign of life of any instance.
    async fn ping(&self) -> Result<(), Trouble> {
        for (_, key) in self.pool.instances() {
            if let Ok(Ok(_)) = timeout(PING, self.connector.ping(key)).await {
                return Ok(());
            }
        }
        let what = format!("no instance of gateway {} answers", self.access.gateway());
        Err(Trouble::Passing(
            Failure::new(Exit::GatewayUnreachable, what).next("adit gateways show tells how they are"),
        ))
    }

    /// Tells the platform from where we come, where it does not know; in what time the gateway knows it.
    async fn register(&mut self) -> Result<Option<Duration>, Failure> {
        let found = address::discover(&self.connector, self.access.relays()).await;
        self.access.register(found).await
    }

    /// Whether the certificate has lived half of its life.
    fn due(&self) -> bool {
        self.access.is_half_spent(when::now())
    }

    /// Follows the platform until it refuses.
    async fn keep(&mut self, restless: &Notify) -> Failure {
        let mut backoff = Backoff::new(Duration::from_secs(1), LONGEST_PAUSE);
        let mut away = false;
        loop {
            tokio::select! {
                () = sleep(FOLLOW) => {}
                // Whatever broke may have cost us our address too.
                () = restless.notified() => sleep(SEARCH).await,
            }
            match self.follow().await {
                Ok(()) if std::mem::take(&mut away) => tracing::info!("the platform answers again"),
                Ok(()) => backoff.reset(),
                Err(failure) if failure.exit == Exit::PlatformUnreachable => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!("{}; what is connected goes on", failure.what);
                    }
                    sleep(backoff.pause()).await;
                }
                Err(failure) => return failure,
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        self.access.look(self.due()).await?;
        self.apply()?;
        match self.register().await {
            Err(failure) if failure.exit == Exit::RelayUnreachable => {
                tracing::debug!("{}", failure.what);
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

async fn log(connector: &Connector, restless: &Notify) {
    while let Some(notice) = connector.event().await {
        let Notice::Event(event) = notice else { continue };
        match event {
            Event::Connected { address, .. } => tracing::info!(%address, "connected to the gateway"),
            Event::ConnectFailed { error, .. } => {
                tracing::warn!(%error, "an instance of the gateway can't be reached");
                restless.notify_one();
            }
            Event::RenewFailed { error, .. } => {
                tracing::warn!(%error, "the connection could not be renewed; the old one goes on");
            }
            Event::Disconnected { reason, .. } => {
                tracing::warn!(%reason, "an instance of the gateway has gone");
                restless.notify_one();
            }
            Event::Draining { .. } => tracing::info!("an instance of the gateway is about to leave"),
            _ => {}
        }
    }
}
