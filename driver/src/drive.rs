//! The task that turns a hub, under any runtime.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use adit_core::io::Direction;

use crate::hub::{Hub, Request};
use crate::machine::Machine;
use crate::reactor::{Reactor, SourceId};
use crate::runtime::{Alarm, Readiness, Runtime};
use crate::shared::{Closer, Shared};

/// How many turns one poll of the task takes before it lets others run.
const TURNS: usize = 8;

/// Registers sockets with a runtime, which the task asks for their readiness.
pub struct Registrar<R> {
    runtime: R,
    ready: Vec<(SourceId, Direction)>,
}

/// A hub that a task turns.
pub type Driven<M, R> = Shared<M, Registrar<R>>;

impl<R: Runtime> Registrar<R> {
    pub(crate) fn new(runtime: R) -> Self {
        Self { runtime, ready: Vec::new() }
    }

    pub(crate) fn runtime(&self) -> R {
        self.runtime.clone()
    }
}

impl<R: Runtime> Reactor for Registrar<R> {
    type Socket = R::Socket;

    fn register(&mut self, _id: SourceId, socket: OwnedFd) -> io::Result<R::Socket> {
        self.runtime.register(socket)
    }

    /// The task asks every blocked socket before each turn.
    fn want_writable(&mut self, _id: SourceId, _socket: &mut R::Socket, _want: bool) {}

    fn deregister(&mut self, _id: SourceId, _socket: R::Socket) {}
}

/// Starts a task that turns the hub of `machine`, which was made with the clock of `now`, until it is closed. For machines
/// that ask for nothing but sockets: names and targets are refused to them.
pub fn spawn<M, R>(runtime: &R, machine: M, now: Instant) -> Arc<Driven<M, R>>
where
    M: Machine<Event: Send> + Send + 'static,
    R: Runtime,
{
    start(runtime, machine, now, |shared| {
        let shared = Arc::clone(shared);
        move |request| shared.refuse(&request)
    })
}

/// Starts a task that turns the hub of `machine` until it is closed. `serve` is given what the hub asks of the
/// runtime.
pub(crate) fn start<M, R, S>(
    runtime: &R,
    machine: M,
    now: Instant,
    serve: impl FnOnce(&Arc<Driven<M, R>>) -> S,
) -> Arc<Driven<M, R>>
where
    M: Machine<Event: Send> + Send + 'static,
    R: Runtime,
    S: FnMut(Request) + Send + 'static,
{
    let shared = Shared::new(Hub::new(machine, Registrar::new(runtime.clone()), now));
    let serve = serve(&shared);
    runtime.spawn(drive(Arc::clone(&shared), runtime.alarm(), serve));
    shared
}

async fn drive<M, R>(shared: Arc<Driven<M, R>>, mut alarm: R::Alarm, mut serve: impl FnMut(Request))
where
    M: Machine,
    R: Runtime,
{
    let _closer = Closer::new(Arc::clone(&shared));
    poll_fn(|cx| {
        shared.set_driver(cx.waker());
        for _ in 0..TURNS {
            let (turn, requests) = shared.turn(Instant::now(), |hub| mark_ready(hub, cx));
            requests.into_iter().for_each(&mut serve);
            if shared.with(|hub| hub.is_closed()) {
                return Poll::Ready(());
            }
            if turn.more {
                break;
            }
            // Only now has every socket that holds nothing said so, and registers the task to be woken.
            let ready = shared.with(|hub| {
                mark_ready(hub, cx);
                hub.is_ready()
            });
            let early = |at| alarm.poll_at(at, cx).is_pending();
            if !ready && turn.deadline.is_none_or(early) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Marks the sockets that are ready, and has the task of `cx` woken for the others. An endpoint has a handful
/// of sockets, so asking each is cheaper than a list of those that changed.
fn mark_ready<M: Machine, R: Runtime>(hub: &mut Hub<M, Registrar<R>>, cx: &mut Context<'_>) {
    let mut ready = std::mem::take(&mut hub.reactor_mut().ready);
    for (id, socket, interest) in hub.sockets() {
        if interest.read && socket.poll_readable(cx).is_ready() {
            ready.push((id, Direction::Read));
        }
        if interest.write && socket.poll_writable(cx).is_ready() {
            ready.push((id, Direction::Write));
        }
    }
    for (id, direction) in ready.drain(..) {
        match direction {
            Direction::Read => hub.mark_readable(id),
            Direction::Write => hub.mark_writable(id),
        }
    }
    hub.reactor_mut().ready = ready;
}
