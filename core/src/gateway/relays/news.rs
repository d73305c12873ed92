//! What the clients have to tell.

use std::net::IpAddr;
use std::time::Duration;

use super::line::Role;
use super::{LET_IN, MAX_PAUSE, Owned, Relays, Timer};
use crate::client::{self, Client};
use crate::gateway::{Event, RelayLost, Step};
use crate::io::Effect;

impl Relays {
    /// Passes on the news of all clients; whether the addresses that peers can use have changed.
    pub(in crate::gateway) fn settle(&mut self, step: &mut Step<'_>) -> bool {
        // What one tells may begin another.
        while self.settle_lines(step) {}
        let mut changed = std::mem::take(&mut self.changed);
        for line in 0..self.lines.len() {
            changed |= self.open(line);
        }
        changed
    }

    /// Whether there was news.
    fn settle_lines(&mut self, step: &mut Step<'_>) -> bool {
        let mut any = false;
        let mut place = 0;
        while place < self.lines.len() {
            while let Some(event) =
                self.line_mut(place).and_then(|line| line.client.as_mut()).and_then(Client::poll_event)
            {
                any = true;
                self.on_client_event(step, place, event);
            }
            place += 1;
        }
        any
    }

    /// Ends the secrecy of a line's addresses once its peers are let in; whether that is now.
    fn open(&mut self, line: usize) -> bool {
        if self.timers.get(Timer::Secret(line)).is_none() {
            return false;
        }
        let client = self.line_mut(line).and_then(|line| line.client.as_ref());
        let open = client.is_none_or(Client::has_asked_all);
        if open {
            self.timers.cancel(Timer::Secret(line));
        }
        open
    }

    fn on_client_event(&mut self, step: &mut Step<'_>, place: usize, event: client::Event) {
        let Some(line) = self.line_mut(place) else { return };
        let (relay, role) = (line.relay, line.role);
        match event {
            client::Event::Effect(effect) => self.on_effect(step, place, effect),
            client::Event::Closed => {
                line.unpark_all(step);
                self.lines[place] = None;
            }
            _ if role == Role::Leaving => {}
            client::Event::Allocated { relayed, .. } => self.on_allocated(step, place, relayed),
            client::Event::Lost { reason, retry_in } => self.on_lost(step, place, reason, retry_in),
            client::Event::Unanswered { since } => {
                // Where another way follows, that one is worth waiting for.
                if self.serving(relay).is_none() && self.relays[relay].fallback.is_last() {
                    step.out.push_back(Event::RelaySilent { relay, since });
                }
            }
            client::Event::PermissionDenied { peer, code, reason } => {
                step.out.push_back(Event::PermissionDenied { relay, peer, code, reason });
            }
            // Where a channel is refused, Send indications do its work.
            client::Event::ChannelBound { .. } | client::Event::ChannelRefused { .. } => {}
            // QUIC finds out by itself, from packets that nobody can forge.
            client::Event::Undelivered { .. } => {}
        }
    }

    fn on_allocated(&mut self, step: &mut Step<'_>, place: usize, relayed: Vec<std::net::SocketAddr>) {
        let Some(line) = self.line_mut(place) else { return };
        let (relay, way, role) = (line.relay, line.way, line.role);
        if line.relayed != relayed {
            line.relayed.clone_from(&relayed);
            if role != Role::Retired {
                self.timers.set(Timer::Secret(place), step.now + LET_IN);
            }
        }
        if role == Role::Retired {
            return;
        }
        self.timers.cancel(Timer::Patience(place));
        for other in self.lines_of(relay).filter(|&other| other != place).collect::<Vec<_>>() {
            self.stand_back(step, other);
        }
        if let Some(line) = self.line_mut(place) {
            line.role = Role::Serving;
        }
        let entry = &mut self.relays[relay];
        entry.fallback.gained(step.now, way);
        entry.silent = 0;
        entry.trouble = None;
        entry.gain(step.now);
        self.plan_improvement(step.now, relay);
        step.out.push_back(Event::Allocated { relay, relayed });
    }

    /// Another line of the same relay serves now.
    fn stand_back(&mut self, step: &mut Step<'_>, place: usize) {
        match self.role(place) {
            Some(Role::Trying) => self.leave(step, place),
            Some(Role::Serving) => {
                self.changed = true;
                self.timers.cancel(Timer::Secret(place));
                if let Some(line) = self.line_mut(place) {
                    line.role = Role::Retired;
                }
                self.retire(step, place);
            }
            _ => {}
        }
    }

    fn on_lost(&mut self, step: &mut Step<'_>, place: usize, reason: client::Lost, retry_in: Duration) {
        let was_secret = self.timers.get(Timer::Secret(place)).is_some();
        self.timers.cancel(Timer::Secret(place));
        let Some(line) = self.lines.get_mut(place).and_then(Option::as_mut) else { return };
        let (relay, role) = (line.relay, line.role);
        let shown = !std::mem::take(&mut line.relayed).is_empty() && !was_secret;
        line.unpark_all(step);
        if role == Role::Retired {
            return self.leave(step, place);
        }
        self.changed |= shown;
        if role == Role::Serving {
            self.relays[relay].fallback.lost(step.now);
            line_tries(&mut self.lines[place]);
        }
        if self.has_other_ways(relay) && reason.is_about_the_way() {
            return self.on_way_lost(step, place, role, reason);
        }
        // What is about the user is so by every way; this one goes on asking.
        self.timers.cancel(Timer::Patience(place));
        if self.serving(relay).is_some() {
            return self.give_up(step, place);
        }
        let retry_in = match reason {
            _ if self.has_other_ways(relay) => retry_in,
            client::Lost::Unreachable | client::Lost::Rejected { .. } => {
                self.try_elsewhere(step, place, retry_in)
            }
            _ => retry_in,
        };
        self.report_lost(step, relay, RelayLost::Client(reason), retry_in);
    }

    /// A way does not work, or no more, and there are others.
    fn on_way_lost(&mut self, step: &mut Step<'_>, place: usize, role: Role, reason: client::Lost) {
        let Some(relay) = self.line_mut(place).map(|line| line.relay) else { return };
        if role == Role::Serving {
            self.report_lost(step, relay, RelayLost::Client(reason), Duration::ZERO);
            self.timers.cancel(Timer::Improve(relay));
            self.leave(step, place);
            return self.begin(step, relay);
        }
        // Silence says least.
        let trouble = &mut self.relays[relay].trouble;
        if !matches!(reason, client::Lost::Unreachable) || trouble.is_none() {
            *trouble = Some(RelayLost::Client(reason));
        }
        self.give_up(step, place);
    }

    /// Nobody answers at the address of a relay. Where it has a name, that is resolved again, and its next address is
    /// tried; when.
    fn try_elsewhere(&mut self, step: &mut Step<'_>, place: usize, retry_in: Duration) -> Duration {
        let Some(line) = self.lines.get_mut(place).and_then(Option::as_mut) else { return retry_in };
        let entry = &mut self.relays[line.relay];
        let has_name = entry.config.ways[line.way].host.parse::<IpAddr>().is_err();
        if !has_name || entry.removed {
            return retry_in;
        }
        // A client that has just begun says when it would try again: a second, with its jitter.
        let longest = u32::try_from(MAX_PAUSE.as_secs()).unwrap_or(u32::MAX);
        let pause = retry_in.saturating_mul((1 << entry.next_turn().min(6)).min(longest));
        let pause = pause.min(MAX_PAUSE * 5 / 4);
        let relay = line.relay;
        self.leave(step, place);
        self.timers.set(Timer::Again(relay), step.now + pause);
        pause
    }

    /// Gives a client's sockets and links numbers of our own.
    fn on_effect(&mut self, step: &mut Step<'_>, place: usize, effect: Effect) {
        let Some(line) = self.lines.get_mut(place).and_then(Option::as_mut) else { return };
        let effect = match effect {
            Effect::Bind { socket: own, addr, kind } => {
                let socket = self.sockets.insert(Owned { line: place, own });
                line.socket = Some(socket);
                Effect::Bind { socket, addr, kind }
            }
            Effect::Unbind { socket: own } => {
                let Some(socket) = line.socket else { return };
                if self.sockets.get(socket).is_none_or(|entry| entry.own != own) {
                    return;
                }
                self.goodbyes.extend(line.goodbye());
                self.sockets.remove(socket);
                line.socket = None;
                Effect::Unbind { socket }
            }
            Effect::OpenLink { link: own, to, from, timeout } => {
                let link = self.links.insert(Owned { line: place, own });
                line.link = Some(link);
                Effect::OpenLink { link, to, from, timeout }
            }
            Effect::CloseLink { link: own, how } => {
                let Some(link) = line.link else { return };
                if self.links.get(link).is_none_or(|entry| entry.own != own) {
                    return;
                }
                self.goodbyes.extend(line.goodbye());
                self.links.remove(link);
                line.link = None;
                Effect::CloseLink { link, how }
            }
            other => other,
        };
        step.out.push_back(Event::Effect(effect));
    }
}

/// A line that has served asks again.
fn line_tries(line: &mut Option<super::Line>) {
    if let Some(line) = line {
        line.role = Role::Trying;
    }
}
