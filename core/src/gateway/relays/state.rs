//! How things stand with each relay, for those who report it.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Relay, Relays};
use crate::gateway::RelayLost;

/// How things stand with a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayState {
    /// Its place, which events name.
    pub relay: usize,
    /// Its host name or address, as it was given.
    pub host: String,
    /// Its UDP port.
    pub port: u16,
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
        wanted.map(|(place, relay)| relay.state(place)).collect()
    }
}

impl Relay {
    fn state(&self, place: usize) -> RelayState {
        RelayState {
            relay: place,
            host: self.config.host.clone(),
            port: self.config.port,
            standing: self.standing.clone(),
            relayed: self.relayed.clone(),
        }
    }

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
