//! The shards of one relay: what concerns all of them.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use adit_core::relay::{self, Config, Event, Relay, Shard};
use adit_driver::{Counters, Notice, Shared, Sharing};

use crate::post::Post;
use crate::reactor::MioReactor;
use crate::server::{StartError, listening};
use crate::worker::{Prepared, Worker};

/// Looks at a relay from any thread, however its owner is busy. It keeps no relay running: after the end it shows what
/// was last known. Every look holds up each shard for as long as it takes to copy some numbers, one after the other.
#[derive(Clone)]
pub struct RelayProbe(Arc<[Arc<Shared<Relay, MioReactor>>]>);

impl RelayProbe {
    pub(crate) fn of(workers: &[Worker<Relay>]) -> Self {
        Self(workers.iter().map(|worker| Arc::clone(worker.shared())).collect())
    }

    /// What the relay has done so far.
    pub fn counters(&self) -> relay::Counters {
        let mut sum = relay::Counters::default();
        self.each(|relay| *relay.counters()).for_each(|counters| sum += counters);
        sum
    }

    /// What it holds at present.
    pub fn holdings(&self) -> relay::Holdings {
        let mut sum = relay::Holdings::default();
        self.each(Relay::holdings).for_each(|holdings| sum += holdings);
        sum
    }

    /// How it is doing, for reports.
    pub fn status(&self) -> Option<relay::Status> {
        self.each(Relay::status).reduce(relay::Status::and)
    }

    /// What was moved and what was dropped by the sockets.
    pub fn socket_counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.0.iter().for_each(|shared| sum += shared.counters());
        sum
    }

    /// Whether the relay has ended, or a shard of it, by whatever cause.
    pub fn has_ended(&self) -> bool {
        self.0.iter().any(|shared| shared.with(|hub| hub.is_closed()))
    }

    /// The number of its shards.
    pub fn shards(&self) -> usize {
        self.0.len()
    }

    /// Whether it is being drained and no allocation is left in any shard.
    pub(crate) fn is_dry(&self) -> bool {
        self.each(|relay| relay.is_draining() && relay.allocations() == 0).all(|dry| dry)
    }

    pub(crate) fn call(&self, mut call: impl FnMut(&mut Relay, Instant)) {
        self.0.iter().for_each(|shared| shared.call(|hub, now| call(hub.machine_mut(), now)));
    }

    fn each<T>(&self, look: impl Fn(&Relay) -> T) -> impl Iterator<Item = T> {
        self.0.iter().map(move |shared| shared.with(|hub| look(hub.machine())))
    }

    /// The next event of any shard, beginning with the one behind that which had the last; `None` when one has ended.
    pub(crate) fn poll_event(&self, from: &AtomicUsize, cx: &Context<'_>) -> Poll<Option<Notice<Event>>> {
        let (first, count) = (from.load(Ordering::Relaxed), self.0.len());
        for index in (0..count).map(|index| (first + index) % count) {
            if let Poll::Ready(event) = self.0[index].poll_event(cx) {
                from.store((index + 1) % count, Ordering::Relaxed);
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }
}

/// Starts all shards of a relay. They listen when this returns.
pub(crate) fn start(config: Config, count: NonZeroU8) -> Result<Vec<Worker<Relay>>, StartError> {
    let (_, now) = adit_driver::clock();
    let parts = Shard::split(count, now, adit_driver::random_seed());
    let mut prepared: Vec<Prepared<Relay>> = Vec::new();
    for (index, shard) in (0..).zip(parts) {
        let listen = prepared.first().map(|first| first.hub.machine().listening());
        let config =
            Config { shard, listen: listen.unwrap_or_else(|| config.listen.clone()), ..config.clone() };
        prepared.push(prepare(config, Sharing { index, count })?);
    }
    if count > NonZeroU8::MIN {
        // What has come before all had their sockets may be another one's.
        prepared.iter_mut().for_each(|prepared| prepared.hub.discard_received());
    }
    let desks = Post::desks(count.get());
    let shards = prepared.into_iter().zip(desks);
    let start = |(prepared, desk): (Prepared<Relay>, _)| match count {
        NonZeroU8::MIN => prepared.start("adit-relay", None),
        _ => prepared.start("adit-relay", Some(desk)),
    };
    Ok(shards.map(start).collect::<Result<_, _>>()?)
}

fn prepare(config: Config, sharing: Sharing) -> Result<Prepared<Relay>, StartError> {
    let (clock, now) = adit_driver::clock();
    let machine = Relay::new(config, clock, now, adit_driver::random_seed());
    let mut prepared = Prepared::new(machine, sharing, now)?;
    listening(|| prepared.hub.pop_event())?;
    Ok(prepared)
}
