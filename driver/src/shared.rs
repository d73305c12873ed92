//! A hub that many hold: its driver, its streams and its application.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use adit_core::io::Completion;

use crate::counters::Counters;
use crate::events::Notice;
use crate::hub::{Hub, Request, Turn};
use crate::machine::Machine;
use crate::reactor::Reactor;

/// One lock per endpoint. It is never held while somebody is woken.
pub struct Shared<M: Machine, R: Reactor> {
    inner: Mutex<Inner<M, R>>,
}

struct Inner<M: Machine, R: Reactor> {
    hub: Hub<M, R>,
    /// Whoever takes the turns.
    driver: Option<Waker>,
}

/// Closes the hub when the one who takes its turns ends, be it by a panic: else its streams and its application
/// would wait for ever.
pub struct Closer<M: Machine, R: Reactor>(Arc<Shared<M, R>>);

impl<M: Machine, R: Reactor> Closer<M, R> {
    /// Takes care of `shared`.
    pub fn new(shared: Arc<Shared<M, R>>) -> Self {
        Self(shared)
    }
}

impl<M: Machine, R: Reactor> Drop for Closer<M, R> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<M: Machine, R: Reactor> Shared<M, R> {
    /// Shares `hub`.
    pub fn new(hub: Hub<M, R>) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner { hub, driver: None }) })
    }

    /// Names whom to wake when a call from outside makes a turn due.
    pub fn set_driver(&self, waker: &Waker) {
        let driver = &mut self.lock().driver;
        if !driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *driver = Some(waker.clone());
        }
    }

    /// One turn, with what it asks of the runtime. `prepare` marks the sockets that are ready.
    pub fn turn(&self, now: Instant, prepare: impl FnOnce(&mut Hub<M, R>)) -> (Turn, Vec<Request>) {
        let mut inner = self.lock();
        prepare(&mut inner.hub);
        let turn = inner.hub.turn(now);
        let requests = inner.hub.take_requests();
        let wakers = inner.hub.take_wakers();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        (turn, requests)
    }

    /// Uses the hub without making a turn due: to look at the machine, to register a waker.
    pub fn with<T>(&self, work: impl FnOnce(&mut Hub<M, R>) -> T) -> T {
        work(&mut self.lock().hub)
    }

    /// Calls the machine, and makes a turn due.
    pub fn call<T>(&self, work: impl FnOnce(&mut Hub<M, R>, Instant) -> T) -> T {
        let now = Instant::now();
        let mut inner = self.lock();
        let result = work(&mut inner.hub, now);
        let driver = inner.driver.clone();
        drop(inner);
        if let Some(driver) = driver {
            driver.wake();
        }
        result
    }

    /// The world's answer to a request.
    pub fn complete(&self, done: Completion) {
        self.call(|hub, now| hub.complete(now, done));
    }

    /// Answers a request of a machine that is driven where there is neither: `Unsupported`.
    pub fn refuse(&self, request: &Request) {
        self.complete(match *request {
            Request::Resolve { query, .. } => {
                Completion::Resolved { query, result: Err(ErrorKind::Unsupported) }
            }
            Request::Dial { pipe, .. } => Completion::Dialled { pipe, result: Err(ErrorKind::Unsupported) },
        });
    }

    /// Ready when the hub was closed.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.lock().hub.poll_closed(cx)
    }

    /// The next event; `None` when the hub was closed.
    pub fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<Notice<M::Event>>> {
        self.lock().hub.poll_event(cx)
    }

    /// What was moved and what was dropped.
    pub fn counters(&self) -> Counters {
        self.lock().hub.counters()
    }

    /// The end: see [`Hub::close`].
    pub fn close(&self) {
        let wakers = self.call(|hub, _| {
            hub.close();
            hub.take_wakers()
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A panic inside of a turn is reported where it happens; the others may still look and close.
    fn lock(&self) -> MutexGuard<'_, Inner<M, R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
