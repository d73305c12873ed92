//! What the operator ends: a user's allocations at once, or all of them in time.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::Relay;
use super::allocation::AllocationId;
use super::event::{Event, Released};
use super::reply::Refusal;
use super::request::Request;
use crate::io::Effect;

/// The other relays that clients are sent to while this one is drained: ALTERNATE-SERVER is of the family of the client's
/// own address (RFC 8489 §14.15).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alternates {
    /// For clients that come by IPv4.
    pub ipv4: Option<SocketAddr>,
    /// For clients that come by IPv6.
    pub ipv6: Option<SocketAddr>,
}

impl Alternates {
    /// The relay at `server`, for clients of its family.
    pub fn at(server: SocketAddr) -> Self {
        match server {
            SocketAddr::V4(_) => Self { ipv4: Some(server), ipv6: None },
            SocketAddr::V6(_) => Self { ipv4: None, ipv6: Some(server) },
        }
    }

    fn of(self, client: IpAddr) -> Option<SocketAddr> {
        let (server, v4) = if client.is_ipv4() { (self.ipv4, true) } else { (self.ipv6, false) };
        server.filter(|server| server.is_ipv4() == v4)
    }
}

/// Who may have no allocation any more.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Users that are revoked, by their id.
    revoked: BTreeSet<Box<str>>,
    /// Nobody gets a new one.
    draining: Option<Alternates>,
    /// It was told that there is none left.
    dry: bool,
}

impl Relay {
    /// Ends all allocations of a user at once, and gives them no other: their requests are answered 403, until
    /// [`reinstate`](Self::reinstate). A user is named by what stays the same in renewed credentials: the id in a
    /// time-limited username, or else the whole username. Returns how many allocations were ended; looks at all.
    pub fn revoke(&mut self, now: Instant, id: &str) -> usize {
        self.revoke_all(now, &BTreeSet::from([id]))
    }

    /// The same for many: the allocations are looked at once for all of them.
    fn revoke_all(&mut self, now: Instant, ids: &BTreeSet<&str>) -> usize {
        self.ending.revoked.extend(ids.iter().map(|&id| id.into()));
        let theirs = self.table.all().filter(|(_, allocation)| ids.contains(&*allocation.owner.id));
        let ended: Vec<AllocationId> = theirs.map(|(id, _)| id).collect();
        for &allocation in &ended {
            match self.table.get(allocation).is_some_and(super::allocation::Allocation::is_live) {
                true => self.release(now, allocation, Released::Revoked),
                false => self.abandon(allocation, &Refusal::Forbidden),
            }
        }
        for socket in self.table.remove_reservations(ids) {
            self.effect(Effect::Unbind { socket });
        }
        ended.len()
    }

    /// Revokes these users and no others: those who were revoked before and are not among them are reinstated.
    pub fn set_revoked(&mut self, now: Instant, ids: &BTreeSet<String>) {
        self.ending.revoked.retain(|id| ids.contains(&**id));
        let known = &self.ending.revoked;
        let new: BTreeSet<&str> = ids.iter().map(String::as_str).filter(|&id| !known.contains(id)).collect();
        if !new.is_empty() {
            self.revoke_all(now, &new);
        }
    }

    /// Lets a user that was revoked have allocations again.
    pub fn reinstate(&mut self, id: &str) {
        self.ending.revoked.remove(id);
    }

    /// Gives nobody a new allocation from now on: clients are sent to `alternates` (300), or where there is none of their
    /// family, told that there is no room (508). The allocations that there are live on, and are refreshed, until their
    /// clients have left; [`Event::Drained`] follows when there is none left. Called again, it names other relays.
    pub fn drain(&mut self, alternates: Alternates) {
        self.ending.draining = Some(alternates);
        self.run_dry();
    }

    /// Whether the relay is being drained.
    pub fn is_draining(&self) -> bool {
        self.ending.draining.is_some()
    }

    /// Ends at most `most` of the allocations that there are, whose clients have not moved in time, and says how many: for
    /// each, [`Event::Released`] follows. To be called until it is none, with the events fetched in between.
    pub fn cut_off(&mut self, now: Instant, most: usize) -> usize {
        let of = |live| {
            let all = self.table.all().filter(move |(_, allocation)| allocation.is_live() == live);
            all.map(|(id, _)| id)
        };
        let (live, pending): (Vec<_>, Vec<_>) = (of(true).take(most).collect(), of(false).collect());
        for allocation in pending {
            self.abandon(allocation, &Refusal::InsufficientCapacity);
        }
        for &allocation in &live {
            self.release(now, allocation, Released::CutOff);
        }
        live.len()
    }

    /// Tells once that a relay that is being drained has no allocation any more.
    pub(super) fn run_dry(&mut self) {
        if self.is_draining() && self.table.len() == 0 && !self.ending.dry {
            self.ending.dry = true;
            self.events.push_back(Event::Drained);
        }
    }

    /// Refuses what somebody asks for who may have nothing any more.
    pub(super) fn judge_user(&self, request: &Request<'_>) -> Result<(), Refusal> {
        if self.ending.revoked.contains(&*request.owner.id) { Err(Refusal::Forbidden) } else { Ok(()) }
    }

    /// Refuses a new allocation while the relay is being drained (RFC 8656 §7.2).
    pub(super) fn judge_new(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let Some(alternates) = self.ending.draining else { return Ok(()) };
        let alternate = alternates.of(request.addressee.path.client.ip());
        Err(alternate.map_or(Refusal::InsufficientCapacity, Refusal::TryAlternate))
    }
}
