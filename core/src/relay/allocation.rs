//! One allocation: whose it is, its relayed sockets, and what its client has permitted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::channel::Channels;
use super::config::IpVersion;
use super::counters::Flow;
use super::event::Usage;
use super::listen::Transport;
use super::mobility::Mobility;
use super::permission::Permissions;
use super::ports::Parity;
use super::quota::UserId;
use super::reply::Addressee;
use super::rights::Rights;
use super::via::{FiveTuple, Hop, Path};
use crate::io::{SocketId, id};
use crate::stun::TransactionId;

id! {
    /// Names an allocation; generational, like a socket's.
    pub(super) AllocationId
}

/// Whose an allocation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// What stays the same when time-limited credentials are renewed; quotas count by it.
    pub(super) id: Arc<str>,
    /// The username as it was sent.
    pub(super) username: Arc<str>,
    /// What the newest of its credentials allow.
    pub(super) rights: Rights,
}

/// One relayed socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leg {
    pub(super) version: IpVersion,
    pub(super) socket: SocketId,
    pub(super) port: u16,
    /// Whether the driver has bound it.
    pub(super) bound: bool,
}

/// One allocation.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) five_tuple: FiveTuple,
    /// Over what its client comes.
    pub(super) hop: Hop,
    /// The five-tuple that it had, until something comes from the one that it has.
    pub(super) former: Option<FiveTuple>,
    /// Where its client has a ticket to move it.
    pub(super) mobility: Option<Mobility>,
    /// The local address that the client sends to, where the listening socket is bound to all.
    pub(super) local: Option<IpAddr>,
    pub(super) owner: Owner,
    /// What its relayed addresses are of: UDP, or TCP (RFC 6062).
    pub(super) relays: Transport,
    /// Under which its owner is counted.
    pub(super) user: UserId,
    /// One or two, of different versions.
    pub(super) legs: SmallVec<[Leg; 2]>,
    pub(super) permissions: Permissions,
    pub(super) channels: Channels,
    pub(super) phase: Phase,
    /// When its client asked for it.
    pub(super) since: Instant,
    /// What was sent on for it, by [`Way`](super::quota::Way).
    pub(super) relayed: [Flow; 2],
}

/// How far an allocation is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its sockets are being bound; the client waits for its reply.
    Pending(Box<Pending>),
    /// It relays.
    Live {
        /// The Allocate that made it.
        transaction: TransactionId,
        /// What it was answered; the same again when it is retransmitted (RFC 8489 §6.3.1).
        reply: Box<[u8]>,
    },
}

/// What is known of an allocation until its sockets are bound.
#[derive(Debug)]
pub(super) struct Pending {
    /// Who waits for the reply.
    pub(super) addressee: Addressee,
    pub(super) lifetime: Duration,
    pub(super) parity: Parity,
    /// How often another port was tried.
    pub(super) retries: u32,
    /// The second version that was asked for, and the code why it cannot be had (RFC 8656 §7.2).
    pub(super) missing: Option<(IpVersion, u16)>,
    /// The socket of the next higher port, to be reserved for another allocation.
    pub(super) companion: Option<Leg>,
    /// Whether its client has asked for a ticket to move it.
    pub(super) ticket: bool,
}

impl Allocation {
    /// The way to its client.
    pub(super) fn path(&self) -> Path {
        let FiveTuple { client, via } = self.five_tuple;
        Path { via, client, local: self.local }
    }

    /// The relayed socket through which peers of `version` are reached.
    pub(super) fn leg(&self, version: IpVersion) -> Option<Leg> {
        self.legs.iter().find(|leg| leg.version == version).copied()
    }

    /// All its sockets, the one that is to be reserved too.
    pub(super) fn sockets(&self) -> impl Iterator<Item = Leg> {
        let companion = self.pending().and_then(|pending| pending.companion);
        self.legs.iter().copied().chain(companion)
    }

    /// How often it is counted: twice as long as the other one of its pair is not reserved (RFC 8656 §7.2).
    pub(super) fn counted(&self) -> u32 {
        1 + u32::from(self.pending().is_some_and(|pending| pending.parity == Parity::Pair))
    }

    pub(super) fn pending(&self) -> Option<&Pending> {
        match &self.phase {
            Phase::Pending(pending) => Some(pending),
            Phase::Live { .. } => None,
        }
    }

    pub(super) fn pending_mut(&mut self) -> Option<&mut Pending> {
        match &mut self.phase {
            Phase::Pending(pending) => Some(pending),
            Phase::Live { .. } => None,
        }
    }

    /// The transaction of the Allocate that made it live.
    pub(super) fn made_by(&self) -> Option<TransactionId> {
        match &self.phase {
            Phase::Pending(_) => None,
            Phase::Live { transaction, .. } => Some(*transaction),
        }
    }

    /// What it was used for until `now`.
    pub(super) fn usage(&self, now: Instant) -> Usage {
        let [to_peers, to_clients] = self.relayed;
        Usage { lasted: now.saturating_duration_since(self.since), to_peers, to_clients }
    }

    /// Whether a client at `tuple` is its client.
    pub(super) fn is_named(&self, tuple: FiveTuple) -> bool {
        self.five_tuple == tuple || self.former == Some(tuple)
    }

    pub(super) fn is_live(&self) -> bool {
        self.pending().is_none()
    }
}
