//! A connector whose answers to `open`, `ping` and `discover` wait for whoever asked.
//!
//! All other events go through a queue that may lose the oldest; a lost answer would leave somebody waiting.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adit_core::connector::{self, ConnectError, Connector, Event, Failure, GatewayKey};
use adit_core::io::{
    Completion, Datagrams, Direction, Effect, Forwards, LinkId, PipeId, Read, Transmit, Write,
};
use adit_core::quic::CloseReason;
use adit_core::time::{Deadline, UnixTime};
use adit_core::tunnel::Target;

use crate::asking::{Asked, Ticket};
use crate::machine::{Machine, Pipes};
use crate::reactor::Reactor;
use crate::shared::Shared;
use crate::stream::Stream;

/// A connector, with the answers that were not fetched yet.
#[derive(Debug)]
pub struct Opener {
    connector: Connector,
    /// One entry for each pipe that was asked for, until its answer is fetched or its stream dropped.
    answers: HashMap<PipeId, Option<Result<SocketAddr, Failure>>>,
    pings: Asked<GatewayKey, Result<Duration, PingError>>,
    discoveries: Asked<SocketAddr, Result<SocketAddr, DiscoverError>>,
    /// Events that came before the last question, and so don't answer it.
    backlog: VecDeque<Event>,
    /// Who has an answer.
    wakers: Vec<Waker>,
}

/// Why there is no stream to a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was not even tried.
    #[error(transparent)]
    Untried(#[from] connector::OpenError),
    /// It was tried in vain.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// A [pool](crate::Pool) has nobody to ask.
    #[error("no instance of the gateway is known: is it running?")]
    NoInstance,
    /// The connector was shut down.
    #[error("the connector was shut down")]
    ShutDown,
}

/// Why a gateway gave no sign of life.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// The connector does not know such a gateway, or no longer.
    #[error("the connector does not know this gateway")]
    UnknownGateway,
    /// No connection came about.
    #[error("the gateway can't be reached: {0}")]
    NotConnected(ConnectError),
    /// The connection was lost before the answer came.
    #[error("the connection to the gateway was lost: {0}")]
    Lost(CloseReason),
    /// The connector was shut down.
    #[error("the connector was shut down")]
    ShutDown,
}

/// Why a relay did not tell our own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    /// It was asked in vain.
    #[error(transparent)]
    Failed(#[from] connector::DiscoverError),
    /// The connector was shut down.
    #[error("the connector was shut down")]
    ShutDown,
}

impl OpenError {
    /// Whether the same wish may be granted later without anybody changing a policy, a certificate or a
    /// configuration: a target that does not listen now, a gateway that is restarted. What is not retryable stays
    /// as it is until a person has acted.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Untried(error) => error.is_retryable(),
            Self::Failed(failure) => failure.is_retryable(),
            Self::NoInstance => true,
            Self::ShutDown => false,
        }
    }
}

impl Opener {
    /// Takes `connector` over.
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            answers: HashMap::new(),
            pings: Asked::default(),
            discoveries: Asked::default(),
            backlog: VecDeque::new(),
            wakers: Vec::new(),
        }
    }

    /// The connector, for all but opening pipes.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// The connector, for all but opening pipes.
    pub fn connector_mut(&mut self) -> &mut Connector {
        &mut self.connector
    }

    fn open(
        &mut self,
        now: Instant,
        gateway: GatewayKey,
        target: &Target,
    ) -> Result<PipeId, connector::OpenError> {
        let pipe = self.connector.open(now, gateway, target)?;
        self.answers.insert(pipe, None);
        Ok(pipe)
    }

    /// Asks a gateway for a sign of life.
    fn ping(&mut self, now: Instant, gateway: GatewayKey) -> Result<Ticket, PingError> {
        if !self.connector.knows(gateway) {
            return Err(PingError::UnknownGateway);
        }
        self.catch_up();
        let ticket = self.pings.ask(gateway);
        self.connector.ping(now, gateway);
        Ok(ticket)
    }

    /// Asks a relay for our own address.
    fn discover(&mut self, now: Instant, relay: SocketAddr) -> Ticket {
        self.catch_up();
        let ticket = self.discoveries.ask(relay);
        self.connector.discover(now, relay);
        ticket
    }

    /// Forgets a gateway, and tells those who wait for it.
    pub(crate) fn remove_gateway(&mut self, now: Instant, gateway: GatewayKey) {
        self.connector.remove_gateway(now, gateway);
        self.pings.answer(&gateway, &Err(PingError::UnknownGateway), &mut self.wakers);
    }

    /// Looks at the events so far: they answer those who have asked, and nobody who asks from now on.
    fn catch_up(&mut self) {
        while let Some(event) = self.connector.poll_event() {
            let event = self.digest(event);
            self.backlog.push_back(event);
        }
    }

    /// Keeps answers for those who wait. What is left of the event for others.
    fn digest(&mut self, event: Event) -> Event {
        match event {
            Event::Opened { pipe, address } => self.keep(pipe, Ok(address)),
            Event::Failed { pipe, failure } => self.keep(pipe, Err(failure)),
            other => {
                self.tell(&other);
                other
            }
        }
    }

    /// Tells those who wait what an event means to them.
    fn tell(&mut self, event: &Event) {
        let (pings, discoveries, wakers) = (&mut self.pings, &mut self.discoveries, &mut self.wakers);
        match event {
            Event::Pong { gateway, rtt } => pings.answer(gateway, &Ok(*rtt), wakers),
            Event::ConnectFailed { gateway, error } => {
                pings.answer(gateway, &Err(PingError::NotConnected(error.clone())), wakers);
            }
            Event::Disconnected { gateway, reason } => {
                pings.answer(gateway, &Err(PingError::Lost(reason.clone())), wakers);
            }
            Event::Mapped { relay, address } => discoveries.answer(relay, &Ok(*address), wakers),
            Event::NotMapped { relay, error } => {
                discoveries.answer(relay, &Err(DiscoverError::Failed(*error)), wakers);
            }
            _ => {}
        }
    }

    fn take_answer(&mut self, pipe: PipeId) -> Option<Result<SocketAddr, Failure>> {
        let answer = self.answers.get_mut(&pipe)?.take()?;
        self.answers.remove(&pipe);
        Some(answer)
    }

    /// Keeps the answer, and wakes whoever waits for it.
    fn keep(&mut self, pipe: PipeId, answer: Result<SocketAddr, Failure>) -> Event {
        if let Some(slot) = self.answers.get_mut(&pipe) {
            *slot = Some(answer);
        }
        Event::Effect(Effect::Wake { pipe, direction: Direction::Read })
    }
}

impl<R: Reactor> Stream<Opener, R> {
    /// Asks for a stream to `target` through `gateway`. It may be used after [`poll_opened`](Self::poll_opened);
    /// dropping it before takes the wish back.
    ///
    /// # Errors
    /// [`OpenError::Untried`] and [`OpenError::ShutDown`].
    pub fn open(
        shared: &Arc<Shared<Opener, R>>,
        gateway: GatewayKey,
        target: &Target,
    ) -> Result<Self, OpenError> {
        let pipe = shared.call(|hub, now| {
            if hub.is_closed() {
                return Err(OpenError::ShutDown);
            }
            Ok(hub.machine_mut().open(now, gateway, target)?)
        })?;
        Ok(Self::new(Arc::clone(shared), pipe))
    }

    /// Waits for the gateway's answer: the address that it dialled. Ready once.
    ///
    /// # Errors
    /// [`OpenError::Failed`] and [`OpenError::ShutDown`].
    pub fn poll_opened(&self, cx: &Context<'_>) -> Poll<Result<SocketAddr, OpenError>> {
        let pipe = self.pipe();
        self.shared().with(|hub| {
            if hub.is_closed() {
                return Poll::Ready(Err(OpenError::ShutDown));
            }
            if let Some(answer) = hub.machine_mut().take_answer(pipe) {
                return Poll::Ready(answer.map_err(OpenError::Failed));
            }
            hub.wait_for(pipe, Direction::Read, cx.waker());
            Poll::Pending
        })
    }
}

/// The wait for an answer that is no pipe's; dropping it ends the wait.
pub(crate) struct Wait<'a, R: Reactor, K: PartialEq, E> {
    shared: &'a Shared<Opener, R>,
    ticket: Ticket,
    of: fn(&mut Opener) -> &mut Asked<K, E>,
    /// The answer of a connector that was shut down.
    ended: E,
}

/// The wait for a sign of life.
pub(crate) type Ping<'a, R> = Wait<'a, R, GatewayKey, Result<Duration, PingError>>;

/// The wait for our own address.
pub(crate) type Discovery<'a, R> = Wait<'a, R, SocketAddr, Result<SocketAddr, DiscoverError>>;

impl<'a, R: Reactor> Ping<'a, R> {
    pub(crate) fn new(shared: &'a Shared<Opener, R>, gateway: GatewayKey) -> Result<Self, PingError> {
        let ticket = shared.call(|hub, now| hub.machine_mut().ping(now, gateway))?;
        Ok(Self { shared, ticket, of: |opener| &mut opener.pings, ended: Err(PingError::ShutDown) })
    }
}

impl<'a, R: Reactor> Discovery<'a, R> {
    pub(crate) fn new(shared: &'a Shared<Opener, R>, relay: SocketAddr) -> Self {
        let ticket = shared.call(|hub, now| hub.machine_mut().discover(now, relay));
        Self { shared, ticket, of: |opener| &mut opener.discoveries, ended: Err(DiscoverError::ShutDown) }
    }
}

impl<R: Reactor, K: PartialEq, E: Clone> Wait<'_, R, K, E> {
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<E> {
        self.shared.with(|hub| match (self.of)(hub.machine_mut()).poll(self.ticket, cx) {
            Poll::Pending if hub.is_closed() => Poll::Ready(self.ended.clone()),
            polled => polled,
        })
    }
}

impl<R: Reactor, K: PartialEq, E> Drop for Wait<'_, R, K, E> {
    fn drop(&mut self) {
        self.shared.with(|hub| (self.of)(hub.machine_mut()).forget(self.ticket));
    }
}

impl Machine for Opener {
    type Event = Event;
    type Guest = std::convert::Infallible;

    fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
        self.connector.handle_datagrams(now, batch, out);
    }
    fn handle_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        self.connector.handle_bytes(now, link, bytes);
    }
    fn handle_completion(&mut self, now: Instant, done: Completion) {
        self.connector.handle_completion(now, done);
    }
    fn handle_clock(&mut self, now: Instant, unix: UnixTime) {
        self.connector.handle_clock(now, unix);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.connector.handle_timeout(now);
    }
    fn poll_transmit(&mut self, now: Instant, max: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        self.connector.poll_transmit(now, max, out)
    }
    fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.backlog.pop_front() {
            return Some(event);
        }
        let event = self.connector.poll_event()?;
        Some(self.digest(event))
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        self.connector.poll_timeout()
    }
    fn effect(event: Event) -> Result<Effect, Event> {
        Connector::effect(event)
    }
    fn take_wakers(&mut self, closed: bool, wakers: &mut Vec<Waker>) {
        wakers.append(&mut self.wakers);
        if closed {
            self.pings.wake_all(wakers);
            self.discoveries.wake_all(wakers);
        }
    }
}

impl Pipes for Opener {
    fn pipe_read(&mut self, now: Instant, pipe: PipeId, buffer: &mut [u8]) -> Read {
        self.connector.pipe_read(now, pipe, buffer)
    }
    fn pipe_write(&mut self, now: Instant, pipe: PipeId, bytes: &[u8]) -> Write {
        self.connector.pipe_write(now, pipe, bytes)
    }
    fn pipe_finish(&mut self, now: Instant, pipe: PipeId) {
        self.connector.pipe_finish(now, pipe);
    }
    fn pipe_close(&mut self, now: Instant, pipe: PipeId) {
        self.answers.remove(&pipe);
        self.connector.pipe_close(now, pipe);
    }
}
