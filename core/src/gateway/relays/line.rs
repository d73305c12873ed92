//! Lines: attempts to have an allocation on a relay by one of its ways, from a name to a client.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{IN_USE, MAX_PAUSE, RESOLVE_AGAIN, ROUND_PAUSE, Relays, Timer};
use crate::client::{self, Client, PATIENCE};
use crate::gateway::{Asker, Event, RelayLost, Step};
use crate::io::{Ecn, Effect, LinkId, QueryId, SocketId};

/// One attempt.
#[derive(Debug)]
pub(super) struct Line {
    /// The relay's place.
    pub(super) relay: usize,
    /// Which of the relay's ways.
    pub(super) way: usize,
    pub(super) role: Role,
    pub(super) client: Option<Client>,
    /// The name is being looked up.
    query: Option<QueryId>,
    /// The client's present socket or link: our number for it.
    pub(super) socket: Option<SocketId>,
    pub(super) link: Option<LinkId>,
    pub(super) relayed: Vec<SocketAddr>,
    pub(super) parked: VecDeque<Parked>,
    pub(super) parked_bytes: usize,
}

/// What a line is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It has given no allocation yet, or is asked again for the one that was lost.
    Trying,
    /// Its addresses are those of the relay.
    Serving,
    /// A better one serves; this one goes on for the connections that use it.
    Retired,
    /// Its allocation is being given back.
    Leaving,
}

/// Datagrams of QUIC that wait until the channel to their peer is bound.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) peer: SocketAddr,
    pub(super) ecn: Option<Ecn>,
    pub(super) stride: usize,
    pub(super) bytes: Vec<u8>,
}

impl Relays {
    /// Begins to look for an allocation on a relay that has none.
    pub(super) fn begin(&mut self, step: &mut Step<'_>, relay: usize) {
        if self.closing || self.relays[relay].removed {
            return;
        }
        let way = self.relays[relay].fallback.begin();
        self.relays[relay].trouble = None;
        self.try_way(step, relay, way);
    }

    /// Tries ways that are better than the one that serves.
    pub(super) fn improve(&mut self, step: &mut Step<'_>, relay: usize) {
        match self.relays[relay].fallback.improve() {
            Some(way) if self.serving(relay).is_some() => self.try_way(step, relay, way),
            _ => {}
        }
    }

    /// Plans to.
    pub(super) fn plan_improvement(&mut self, now: Instant, relay: usize) {
        match self.relays[relay].fallback.pause() {
            Some(pause) => self.timers.set(Timer::Improve(relay), now + pause),
            None => self.timers.cancel(Timer::Improve(relay)),
        }
    }

    pub(super) fn try_way(&mut self, step: &mut Step<'_>, relay: usize, way: usize) {
        let line = Line {
            relay,
            way,
            role: Role::Trying,
            client: None,
            query: None,
            socket: None,
            link: None,
            relayed: Vec::new(),
            parked: VecDeque::new(),
            parked_bytes: 0,
        };
        let free = self.lines.iter().position(Option::is_none);
        let place = free.unwrap_or(self.lines.len());
        match free {
            Some(place) => self.lines[place] = Some(line),
            None => self.lines.push(Some(line)),
        }
        if self.has_other_ways(relay) {
            self.timers.set(Timer::Patience(place), step.now + PATIENCE);
        }
        self.locate(step, place);
    }

    pub(super) fn has_other_ways(&self, relay: usize) -> bool {
        self.relays[relay].config.ways.len() > 1
    }

    /// Finds the address of a line's relay.
    pub(super) fn locate(&mut self, step: &mut Step<'_>, place: usize) {
        let Some(line) = self.lines.get_mut(place).and_then(Option::as_mut) else { return };
        let Some(way) = self.relays[line.relay].config.ways.get(line.way) else { return };
        let host = way.host.clone();
        match host.parse::<IpAddr>() {
            Ok(ip) => self.dial(step, place, ip),
            Err(_) => {
                let query = step.queries.insert(Asker::Relay(place));
                line.query = Some(query);
                step.out.push_back(Event::Effect(Effect::Resolve { query, host }));
            }
        }
    }

    /// The resolver has answered.
    pub(in crate::gateway) fn resolved(
        &mut self,
        step: &mut Step<'_>,
        place: usize,
        result: Result<Vec<IpAddr>, ErrorKind>,
    ) {
        let Some(line) = self.line_mut(place) else { return };
        line.query = None;
        let relay = line.relay;
        let turn = self.relays[relay].silent as usize;
        let next = |ips: Vec<IpAddr>| ips.get(turn % ips.len().max(1)).copied().ok_or(ErrorKind::NotFound);
        match result.and_then(next) {
            Ok(ip) => self.dial(step, place, ip),
            Err(kind) if self.has_other_ways(relay) => {
                self.relays[relay].trouble.get_or_insert(RelayLost::Unresolved(kind));
                self.give_up(step, place);
            }
            Err(kind) => {
                let turn = self.relays[relay].next_turn();
                let retry_in = self.jittered(RESOLVE_AGAIN, turn);
                self.timers.set(Timer::Resolve(place), step.now + retry_in);
                self.report_lost(step, relay, RelayLost::Unresolved(kind), retry_in);
            }
        }
    }

    fn dial(&mut self, step: &mut Step<'_>, place: usize, ip: IpAddr) {
        let Some(line) = self.lines[place].as_mut() else { return };
        let relay = &self.relays[line.relay].config;
        let way = &relay.ways[line.way];
        let config = client::Config {
            transport: way.transport.clone(),
            families: relay.families,
            ..client::Config::new(SocketAddr::new(ip, way.port), relay.credentials.clone())
        };
        let mut client = Client::new(config, step.clock, step.now, self.rng.fork());
        for &peer in &self.permit {
            client.permit(step.now, peer).expect("there are at most as many peers as a client takes");
        }
        line.client = Some(client);
    }

    /// A line has given no allocation, and there are other ways.
    pub(super) fn give_up(&mut self, step: &mut Step<'_>, place: usize) {
        if self.role(place) != Some(Role::Trying) {
            return;
        }
        let relay = self.lines[place].as_ref().map_or(0, |line| line.relay);
        self.leave(step, place);
        if self.relays[relay].removed || self.closing {
            return;
        }
        let next = self.relays[relay].fallback.next_way();
        match (next, self.serving(relay)) {
            (Some(way), _) => self.try_way(step, relay, way),
            (None, Some(_)) => self.plan_improvement(step.now, relay),
            (None, None) => {
                let turn = self.relays[relay].next_turn();
                let retry_in = self.jittered(ROUND_PAUSE, turn);
                self.timers.set(Timer::Again(relay), step.now + retry_in);
                let reason = self.relays[relay].trouble.take();
                let reason = reason.unwrap_or(RelayLost::Client(client::Lost::Unreachable));
                self.report_lost(step, relay, reason, retry_in);
            }
        }
    }

    pub(super) fn report_lost(
        &mut self,
        step: &mut Step<'_>,
        relay: usize,
        reason: RelayLost,
        retry_in: Duration,
    ) {
        self.relays[relay].lose(step.now, reason.clone());
        step.out.push_back(Event::RelayLost { relay, reason, retry_in });
    }

    /// `base`, doubled `turn` times, ± 25 %.
    fn jittered(&mut self, base: Duration, turn: u32) -> Duration {
        let base = (base * (1 << turn.min(6))).min(MAX_PAUSE);
        let span = u32::try_from(base.as_millis()).unwrap_or(u32::MAX) / 2;
        base - base / 4 + Duration::from_millis(self.rng.below(span).into())
    }

    /// A line has served, and a better one does now: when nobody uses it any more, it ends.
    pub(super) fn retire(&mut self, step: &mut Step<'_>, place: usize) {
        if self.role(place) != Some(Role::Retired) {
            return;
        }
        match step.quic.uses_via(super::way(place, ([0; 4], 0).into()).via) {
            true => self.timers.set(Timer::Retire(place), step.now + IN_USE),
            false => self.leave(step, place),
        }
    }

    /// Gives the allocation of a line back, and what it has with it.
    pub(super) fn leave(&mut self, step: &mut Step<'_>, place: usize) {
        for timer in
            [Timer::Patience(place), Timer::Resolve(place), Timer::Secret(place), Timer::Retire(place)]
        {
            self.timers.cancel(timer);
        }
        let Some(line) = self.lines.get_mut(place).and_then(Option::as_mut) else { return };
        let shown = line.role == Role::Serving && !std::mem::take(&mut line.relayed).is_empty();
        self.changed |= shown;
        line.role = Role::Leaving;
        line.unpark_all(step);
        // The place may be another's when the answer comes.
        if let Some(query) = line.query.take() {
            step.queries.remove(query);
        }
        match &mut line.client {
            Some(client) => client.close(step.now),
            None => self.lines[place] = None,
        }
    }
}
