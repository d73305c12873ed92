//! The instances of one gateway as one thing.
//!
//! ```text
//! open ──▶ choose: connected before not, idle before busy, those that have failed last
//!            │  ▲
//!            ▼  │ not reached, busy, draining, silent: it is avoided for a while
//!          try ─┘
//!            └──▶ a stream, or the target's own refusal
//! ```

mod choice;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use adit_core::connector::{Failure, GatewayConfig, GatewayKey, OpenError as Untried};
use adit_core::quic::CloseReason;
use adit_core::tunnel::{RejectCode, Target};

use self::choice::{Choice, Instances};
use crate::connector::Connector;
use crate::opening::OpenError;
use crate::pipe::Pipe;
use crate::runtime::{Runtime, sleep, within};

/// How long an instance may take to answer before it is asked for a sign of life, and how long that may take. QUIC
/// itself takes half a minute to be sure that nobody is there.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the making of a connection may take that nobody waits for.
const WARM_UP: Duration = Duration::from_secs(20);

/// Opens streams through whichever instance of a gateway works.
///
/// Connections are made when the first stream is wanted, to all instances, so that streams are spread. A clone is
/// another handle of the same pool. With the last one its gateways are removed from the connector; streams go on.
///
/// # Cancellation
/// [`open`](Self::open) may be dropped at any point; the wish is then taken back.
pub struct Pool<R: Runtime>(Arc<Inner<R>>);

/// One instance of the gateway.
#[derive(Debug, Clone)]
pub struct PoolInstance {
    /// What tells it from the others.
    pub id: String,
    /// How it is reached. TLS is a new one when it is another `Arc`.
    pub gateway: GatewayConfig,
}

struct Inner<R: Runtime> {
    connector: Connector<R>,
    runtime: R,
    instances: Mutex<Instances>,
}

impl<R: Runtime> Clone for Pool<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Runtime> Pool<R> {
    /// A pool without instances, on the runtime of `connector`, which other pools may share.
    pub fn new(connector: Connector<R>) -> Self {
        let runtime = connector.runtime();
        let instances = Mutex::new(Instances::new(crate::world::random_seed()));
        Self(Arc::new(Inner { connector, runtime, instances }))
    }

    /// Replaces the instances. One that is there already keeps its connection, if its addresses still hold it, and gets
    /// new TLS without losing a stream. Streams of one that is there no more go on.
    pub fn set_instances(&self, instances: Vec<PoolInstance>) {
        let connector = &self.0.connector;
        let mut known = self.0.lock();
        for gone in known.retain(|id| instances.iter().any(|instance| instance.id == id)) {
            connector.remove_gateway(gone);
        }
        for PoolInstance { id, gateway } in instances {
            match known.update(&id, &gateway) {
                None => known.add(id, connector.add_gateway(gateway.clone()), gateway),
                Some((key, changed)) => {
                    if changed.addresses {
                        connector.set_addresses(key, gateway.addresses);
                    }
                    if changed.tls {
                        connector.set_tls(key, gateway.tls);
                    }
                }
            }
        }
    }

    /// The instances, and what the connector knows each by: to ping, to keep, to permit.
    pub fn instances(&self) -> Vec<(String, GatewayKey)> {
        self.0.lock().keys()
    }

    /// Opens a stream to `target` through one instance, or through the next one if that is not reached, is busy or
    /// about to leave, or is lost before it has accepted. What the target or the policy refuses is not tried again.
    ///
    /// # Errors
    /// [`OpenError`]: the refusal, or how the last instance failed.
    pub async fn open(&self, target: &Target) -> Result<R::Stream, OpenError> {
        Ok(R::Stream::from(self.open_pipe(target).await?))
    }

    pub(crate) async fn open_pipe(&self, target: &Target) -> Result<Pipe, OpenError> {
        let mut tried = Vec::new();
        let mut last = OpenError::NoInstance;
        while let Some(choice) = self.choose(&tried) {
            self.warm_up(choice.key);
            match self.try_one(&choice, &tried, target).await {
                Ok(pipe) => {
                    self.0.lock().succeeded(choice.key);
                    return Ok(pipe);
                }
                Err(error) if self.is_instances_own(choice.key, &error) => {
                    self.0.lock().failed(choice.key, Instant::now());
                    tried.push(choice.key);
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn choose(&self, tried: &[GatewayKey]) -> Option<Choice> {
        let connector = &self.0.connector;
        self.0.lock().choose(Instant::now(), tried, |key| connector.is_connected(key))
    }

    /// Opens the stream, unless the instance shows no sign of life.
    async fn try_one(
        &self,
        choice: &Choice,
        tried: &[GatewayKey],
        target: &Target,
    ) -> Result<Pipe, OpenError> {
        let open = self.0.connector.open_keeping(choice.key, target, choice.held.clone());
        let (mut open, mut silent) = (pin!(open), pin!(self.is_silent(choice.key, tried)));
        let lost = || Failure::ConnectionLost(CloseReason::TimedOut);
        poll_fn(|cx| match open.as_mut().poll(cx) {
            Poll::Pending => silent.as_mut().poll(cx).map(|()| Err(OpenError::Failed(lost()))),
            opened => opened,
        })
        .await
    }

    /// Ready when an instance that is connected has not answered for long: a target may take its time, a gateway not.
    /// One that is not connected may take its time, unless another one is.
    async fn is_silent(&self, key: GatewayKey, tried: &[GatewayKey]) {
        let Inner { connector, runtime, .. } = &*self.0;
        loop {
            sleep(runtime, PATIENCE).await;
            let silent = if connector.is_connected(key) {
                within(runtime, PATIENCE, connector.ping(key)).await.is_none()
            } else {
                let next = self.choose(&[tried, &[key]].concat());
                next.is_some_and(|next| connector.is_connected(next.key))
            };
            if silent {
                return;
            }
        }
    }

    /// Whether another instance might do better.
    fn is_instances_own(&self, key: GatewayKey, error: &OpenError) -> bool {
        match error {
            OpenError::Untried(Untried::UnknownGateway) => true,
            OpenError::Untried(Untried::TooMany) | OpenError::NoInstance | OpenError::ShutDown => false,
            OpenError::Failed(failure) => match failure {
                Failure::NotConnected(_) | Failure::ConnectionLost(_) | Failure::Protocol => true,
                Failure::Rejected { code, .. } => matches!(code, RejectCode::Busy | RejectCode::Draining),
                // With a connection that gives signs of life it was the target's time.
                Failure::TimedOut => !self.0.connector.is_connected(key),
                Failure::Reset => false,
            },
        }
    }

    /// Connects to the instances beside the `chosen` one that nobody has connected to, for the streams that follow.
    fn warm_up(&self, chosen: GatewayKey) {
        let connector = &self.0.connector;
        let warm = |key| key == chosen || connector.is_connected(key);
        let cold = self.0.lock().cold(Instant::now(), warm);
        for key in cold {
            let (inner, connector) = (Arc::downgrade(&self.0), connector.clone());
            self.0.runtime.spawn(async move {
                let runtime = connector.runtime();
                let pong = within(&runtime, WARM_UP, connector.ping(key)).await;
                Inner::warmed_up(&inner, key, matches!(pong, Some(Ok(_))));
            });
        }
    }
}

impl<R: Runtime> Inner<R> {
    fn warmed_up(inner: &Weak<Self>, key: GatewayKey, answered: bool) {
        if let Some(inner) = inner.upgrade() {
            inner.lock().warmed_up(key, answered, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Instances> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> Drop for Inner<R> {
    fn drop(&mut self) {
        let keys = self.lock().keys();
        for (_, key) in keys {
            self.connector.remove_gateway(key);
        }
    }
}
