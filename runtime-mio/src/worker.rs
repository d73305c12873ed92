//! The thread that turns a hub.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll as Polled, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use adit_driver::{Closer, Hub, Machine, Notice, Shared, Sharing, Turn};
use mio::event::Event;
use mio::{Events, Poll};

use crate::post::Desk;
use crate::reactor::{self, MioReactor, WAKE};

/// How many readiness events one poll fetches.
const EVENTS: usize = 1024;

/// A machine on its own thread. Dropping it stops the thread and waits for its end.
pub struct Worker<M: Machine> {
    shared: Arc<Shared<M, MioReactor>>,
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// A hub that has taken its first turn and waits for its thread.
pub(crate) struct Prepared<M: Machine> {
    pub(crate) hub: Hub<M, MioReactor>,
    poll: Poll,
    first: Turn,
}

/// How other threads reach the loop.
pub(crate) struct Signal {
    waker: mio::Waker,
    stop: AtomicBool,
}

impl<M: Machine> Prepared<M> {
    /// Makes the hub of `machine` and takes the first turn, in which the sockets are bound.
    ///
    /// # Errors
    /// When the system has no descriptor for the poll.
    pub(crate) fn new(machine: M, sharing: Sharing, now: Instant) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut hub = Hub::new(machine, MioReactor::new(poll.registry().try_clone()?), now);
        hub.share(sharing);
        let first = hub.turn(now);
        Ok(Self { hub, poll, first })
    }
}

impl<M: Machine<Event: Send, Guest: 'static> + Send + 'static> Prepared<M> {
    /// Starts the thread. Where the machine is one of several, it has a desk among them.
    ///
    /// # Errors
    /// When the system has no thread or no descriptor left.
    pub(crate) fn start(mut self, name: &str, desk: Option<Desk<M::Guest>>) -> io::Result<Worker<M>> {
        let waker = mio::Waker::new(self.poll.registry(), WAKE)?;
        let signal = Arc::new(Signal { waker, stop: AtomicBool::new(false) });
        if let Some(desk) = &desk {
            desk.open(&signal);
        }
        let requests = self.hub.take_requests();
        let shared = Shared::new(self.hub);
        shared.set_driver(&Waker::from(Arc::clone(&signal)));
        requests.iter().for_each(|request| shared.refuse(request));
        let (loop_shared, loop_signal) = (Arc::clone(&shared), Arc::clone(&signal));
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(self.poll, &loop_shared, &loop_signal, self.first, desk.as_ref()))?;
        Ok(Worker { shared, signal, thread: Some(thread) })
    }
}

impl<M: Machine<Event: Send, Guest: 'static> + Send + 'static> Worker<M> {
    /// Starts `machine`, which was made with the clock of `now`, on a thread of that name.
    ///
    /// # Errors
    /// When the system has no thread or no descriptor left.
    pub fn spawn(name: &str, machine: M, now: Instant) -> io::Result<Self> {
        Prepared::new(machine, Sharing::default(), now)?.start(name, None)
    }
}

impl<M: Machine> Worker<M> {
    /// The hub, shared with the thread.
    pub fn shared(&self) -> &Arc<Shared<M, MioReactor>> {
        &self.shared
    }

    /// Waits for the next event; `None` when `timeout` has passed or the thread has ended.
    pub fn wait_event(&self, timeout: Duration) -> Option<Notice<M::Event>> {
        wait(timeout, |cx| self.shared.poll_event(cx))
    }

    /// The next event, for whoever can await; `None` when the thread has ended. One task or thread at a time may
    /// wait for events. Dropping the future loses none.
    pub async fn event(&self) -> Option<Notice<M::Event>> {
        std::future::poll_fn(|cx| self.shared.poll_event(cx)).await
    }

    /// Whether the thread has ended, which without [`stop`](Self::stop) means that it has panicked.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the thread, closes the sockets, and waits for the end.
    pub fn stop(&mut self) {
        self.signal.stop.store(true, Ordering::Release);
        self.signal.ring();
        if let Some(thread) = self.thread.take() {
            // A panic has told its story on the thread itself.
            let _ = thread.join();
        }
    }
}

impl<M: Machine> Drop for Worker<M> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Signal {
    pub(crate) fn ring(&self) {
        // The only failure is a full eventfd, which wakes just as well.
        let _ = self.waker.wake();
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits in this thread for what `poll` has; `None` when `timeout` has passed before.
pub(crate) fn wait<T>(
    timeout: Duration,
    mut poll: impl FnMut(&Context<'_>) -> Polled<Option<T>>,
) -> Option<T> {
    // No end is a wait for ever.
    let end = Instant::now().checked_add(timeout);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let cx = Context::from_waker(&waker);
    loop {
        if let Polled::Ready(event) = poll(&cx) {
            return event;
        }
        let left = end.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

fn run<M: Machine>(
    mut poll: Poll,
    shared: &Arc<Shared<M, MioReactor>>,
    signal: &Signal,
    first: Turn,
    desk: Option<&Desk<M::Guest>>,
) {
    let _closer = Closer::new(Arc::clone(shared));
    let mut events = Events::with_capacity(EVENTS);
    let mut turn = first;
    while !signal.stop.load(Ordering::Acquire) {
        if let Err(error) = poll.poll(&mut events, until(turn))
            && error.kind() != ErrorKind::Interrupted
        {
            tracing::error!(%error, "the poll failed; the thread ends");
            break;
        }
        let now = Instant::now();
        let (next, requests) = shared.turn(now, |hub| {
            mark(hub, &events);
            for departure in desk.map(Desk::receive).into_iter().flatten() {
                hub.arrive(now, departure);
            }
        });
        if let Some(desk) = desk {
            send_off(shared, desk);
        }
        // A machine that needs names or TCP does not belong on this thread.
        requests.iter().for_each(|request| shared.refuse(request));
        turn = next;
    }
}

/// Sends off what goes to other shards.
fn send_off<M: Machine>(shared: &Shared<M, MioReactor>, desk: &Desk<M::Guest>) {
    let departures = shared.with(Hub::take_departures);
    let lost = departures.into_iter().filter_map(|departure| (!desk.send(departure)).then_some(())).count();
    if lost > 0 {
        shared.with(|hub| (0..lost).for_each(|_| hub.count_lost()));
    }
}

/// How long the poll may wait; `None` is for ever.
fn until(turn: Turn) -> Option<Duration> {
    if turn.more {
        return Some(Duration::ZERO);
    }
    turn.deadline.map(|at| at.saturating_duration_since(Instant::now()))
}

fn mark<M: Machine>(hub: &mut Hub<M, MioReactor>, events: &Events) {
    for event in events.iter().filter(|event| event.token() != WAKE) {
        let source = reactor::source(event.token());
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            hub.mark_readable(source);
        }
        if Event::is_writable(event) || event.is_error() {
            hub.mark_writable(source);
        }
    }
}
