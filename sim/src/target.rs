//! The private network behind the gateways: what answers, or does not, when a gateway dials.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::party::Party;

/// What a dialled address does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Sends back what it gets, and finishes when the other end has.
    Echo,
    /// Swallows what it gets, and finishes when the other end has.
    Sink,
    /// The same, at most that many bytes per second.
    Slow(u64),
    /// Takes the connection and then does nothing: it says nothing, reads no more than a socket's buffer holds (64 KiB),
    /// and never hangs up.
    Hangs,
    /// Sends that and finishes at once, without waiting for anything.
    Source(Vec<u8>),
    /// Takes that many bytes, or fewer up to their end, then resets the connection.
    Breaks(usize),
    /// Refuses the connection.
    Refuses,
    /// Never answers.
    Silent,
    /// There is no way there.
    Unreachable,
}

impl Target {
    /// How dialling it ends, and after which part of the time-out.
    pub(crate) fn answer(&self, timeout: Duration) -> (Duration, Result<(), ErrorKind>) {
        match self {
            Self::Refuses => (Self::NEAR, Err(ErrorKind::ConnectionRefused)),
            Self::Silent => (timeout, Err(ErrorKind::TimedOut)),
            Self::Unreachable => (Self::NEAR, Err(ErrorKind::HostUnreachable)),
            _ => (Self::NEAR, Ok(())),
        }
    }

    /// Its end of a connection.
    pub(crate) fn party(&self, now: Instant) -> Party {
        match self {
            Self::Echo => Party::echo(now),
            Self::Source(bytes) => Party::sender(now, bytes.clone()),
            Self::Slow(rate) => Party::slow(now, *rate),
            Self::Hangs => Party::hanging(now),
            Self::Breaks(limit) => Party::breaking(now, *limit),
            _ => Party::sink(now),
        }
    }

    /// The round trip to a target.
    const NEAR: Duration = Duration::from_millis(1);
}

/// The names and addresses that gateways can resolve and dial.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    names: BTreeMap<String, Vec<IpAddr>>,
    targets: BTreeMap<SocketAddr, Target>,
}

impl Directory {
    pub(crate) fn name(&mut self, name: &str, addresses: &[IpAddr]) {
        self.names.insert(name.to_owned(), addresses.to_vec());
    }

    pub(crate) fn place(&mut self, at: SocketAddr, target: Target) {
        self.targets.insert(at, target);
    }

    pub(crate) fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ErrorKind> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        self.names.get(host).cloned().ok_or(ErrorKind::NotFound)
    }

    /// What is at `at`. Nobody at a known address refuses; an unknown address can't be reached.
    pub(crate) fn target(&self, at: SocketAddr) -> Target {
        let known = || self.targets.keys().any(|addr| addr.ip() == at.ip());
        match self.targets.get(&at) {
            Some(target) => target.clone(),
            None if known() => Target::Refuses,
            None => Target::Unreachable,
        }
    }
}
