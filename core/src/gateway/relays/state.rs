//! How things stand with each relay, for those who report it.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Relay, Relays};
use crate::client::Over;
use crate::gateway::RelayLost;

/// How things stand with a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayState {
    /// Its place, which events name.
    pub relay: usize,
    /// Its host name or address, as it was given.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What carries messages there: of the way that serves, or else of the best.
    pub over: Over,
    /// Whether there is an allocation, and since when.
    pub standing: Standing,
    /// The relayed addresses; none without an allocation.
    pub relayed: Vec<SocketAddr>,
}

/// Whether there is an allocation on a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is being asked for the first time.
    Trying {
        /// Since when.
        since: Instant,
    },
    /// There is one.
    Allocated {
        /// Since when.
        since: Instant,
    },
    /// There is none; it is asked again and again.
    Lost {
        /// Since when there is none.
        since: Instant,
        /// What went wrong last.
        reason: RelayLost,
    },
}

impl Relays {
    /// How things stand with all relays that are wanted.
    pub(in crate::gateway) fn states(&self) -> Vec<RelayState> {
        let wanted = self.relays.iter().enumerate().filter(|(_, relay)| !relay.removed);
        wanted.map(|(place, relay)| self.state(place, relay)).collect()
    }

    fn state(&self, place: usize, relay: &Relay) -> RelayState {
        let line = self.serving(place).and_then(|line| self.lines[line].as_ref());
        let way = &relay.config.ways[line.map_or(0, |line| line.way)];
        RelayState {
            relay: place,
            host: way.host.clone(),
            port: way.port,
            over: way.transport.over(),
            standing: relay.standing.clone(),
            relayed: line.map(|line| line.relayed.clone()).unwrap_or_default(),
        }
    }
}

impl Relay {
    /// There is an allocation.
    pub(super) fn gain(&mut self, now: Instant) {
        if !matches!(self.standing, Standing::Allocated { .. }) {
            self.standing = Standing::Allocated { since: now };
        }
    }

    /// There is none, or still none.
    pub(super) fn lose(&mut self, now: Instant, reason: RelayLost) {
        let since = match self.standing {
            Standing::Allocated { .. } => now,
            Standing::Trying { since } | Standing::Lost { since, .. } => since,
        };
        self.standing = Standing::Lost { since, reason };
    }

    /// How often it has failed before now since there was an allocation.
    pub(super) fn next_turn(&mut self) -> u32 {
        let turn = self.silent;
        self.silent = self.silent.saturating_add(1);
        turn
    }
}
