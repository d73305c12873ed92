//! Permissions: which peers the relay lets in (RFC 8656 §9). One request per address, so that a peer that the relay
//! forbids does not cost the others theirs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::transaction::{Purpose, RETRY, is_busy, retry_in};
use super::{Client, Event, State, Timer};
use crate::stun::ErrorCode;

/// How many peers one client permits at most.
pub const MAX_PEERS: usize = 1024;
/// A permission lives five minutes (RFC 8656 §9.2); this leaves a minute for retransmissions.
const REFRESH: Duration = Duration::from_secs(4 * 60);

/// Too many peers are permitted already; the number is the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most {0} peers can be permitted at once")]
pub struct TooManyPeers(pub usize);

/// The peers that are to be let in.
#[derive(Debug, Default)]
pub(super) struct Permissions {
    peers: BTreeMap<IpAddr, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// The owner permitted it by name.
    permitted: bool,
    /// How many channels lead to it; the permission is kept for them as well.
    channels: usize,
    standing: Standing,
    /// How often in a row the relay had no room for it.
    refusals: u32,
    /// What is being asked was signed with credentials that have been replaced.
    outdated: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Standing {
    #[default]
    Unknown,
    Installed,
    Denied,
}

impl Permissions {
    /// Whether the relay has installed the permission of `peer`. Data path.
    pub(super) fn installed(&self, peer: IpAddr) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.standing == Standing::Installed)
    }

    fn is_unknown(&self, peer: IpAddr) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.standing == Standing::Unknown)
    }

    /// Whether `peer` is to be let in. Data path.
    pub(super) fn wanted(&self, peer: IpAddr) -> bool {
        self.peers.contains_key(&peer)
    }

    /// The allocation is gone, and what the relay said about peers with it.
    pub(super) fn forget_answers(&mut self) {
        self.peers.retain(|_, peer| peer.permitted);
        for peer in self.peers.values_mut() {
            *peer = Peer { permitted: true, ..Peer::default() };
        }
    }

    fn entry(&mut self, ip: IpAddr) -> Result<&mut Peer, TooManyPeers> {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&ip) {
            return Err(TooManyPeers(MAX_PEERS));
        }
        Ok(self.peers.entry(ip).or_default())
    }

    fn remove_unwanted(&mut self, ip: IpAddr) -> bool {
        let unwanted = self.peers.get(&ip).is_some_and(|peer| !peer.permitted && peer.channels == 0);
        unwanted && self.peers.remove(&ip).is_some()
    }
}

impl Client {
    /// Lets `peer` in: now, and in each allocation to come, until it is forbidden again.
    ///
    /// # Errors
    /// [`TooManyPeers`].
    pub fn permit(&mut self, now: Instant, peer: IpAddr) -> Result<(), TooManyPeers> {
        let entry = self.permissions.entry(peer)?;
        entry.permitted = true;
        if entry.standing == Standing::Denied {
            (entry.standing, entry.refusals) = (Standing::Unknown, 0);
        }
        self.ask_new_permission(now, peer);
        Ok(())
    }

    /// Stops refreshing the permission of `peer`; the relay forgets it within five minutes.
    pub fn forbid(&mut self, peer: IpAddr) {
        if let Some(entry) = self.permissions.peers.get_mut(&peer) {
            entry.permitted = false;
        }
        self.drop_unwanted(peer);
    }

    /// The peers that are let in, in order.
    pub fn peers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.permissions.peers.iter().filter(|(_, peer)| peer.permitted).map(|(&ip, _)| ip)
    }

    /// Whether the relay has said of each peer that was permitted whether it lets it in. Looks at all of them.
    pub fn has_asked_all(&self) -> bool {
        self.permissions.peers.values().all(|peer| !peer.permitted || peer.standing != Standing::Unknown)
    }

    /// A channel needs its peer's permission.
    pub(super) fn hold_permission(&mut self, now: Instant, peer: IpAddr) -> Result<(), TooManyPeers> {
        self.permissions.entry(peer)?.channels += 1;
        self.ask_new_permission(now, peer);
        Ok(())
    }

    /// A channel needs it no more.
    pub(super) fn release_permission(&mut self, peer: IpAddr) {
        if let Some(entry) = self.permissions.peers.get_mut(&peer) {
            entry.channels = entry.channels.saturating_sub(1);
        }
        self.drop_unwanted(peer);
    }

    pub(super) fn ask_all_permissions(&mut self, now: Instant) {
        let peers: Vec<_> = self.permissions.peers.keys().copied().collect();
        for peer in peers {
            self.ask_permission(now, peer);
        }
    }

    /// There are other credentials: what the relay has denied is asked again, and what it denies to the old ones will be.
    pub(super) fn ask_denied_permissions(&mut self, now: Instant) {
        let mut denied = Vec::new();
        for (&ip, peer) in &mut self.permissions.peers {
            peer.outdated =
                peer.standing == Standing::Unknown && self.transactions.awaits(Purpose::Permission(ip));
            if peer.standing == Standing::Denied {
                (peer.standing, peer.refusals) = (Standing::Unknown, 0);
                denied.push(ip);
            }
        }
        for peer in denied {
            self.ask_permission(now, peer);
        }
    }

    fn ask_new_permission(&mut self, now: Instant, peer: IpAddr) {
        if !self.permissions.installed(peer) {
            self.ask_permission(now, peer);
        }
    }

    /// Installs or refreshes the permission of `peer`, unless that is being done.
    pub(super) fn ask_permission(&mut self, now: Instant, peer: IpAddr) {
        self.timers.cancel(Timer::Permission(peer));
        let State::Allocated(allocation) = &self.state else { return };
        if !self.permissions.wanted(peer) || self.transactions.awaits(Purpose::Permission(peer)) {
            return;
        }
        if allocation.serves(peer) {
            return self.request(now, Purpose::Permission(peer));
        }
        let reason = "no relayed address of this family".to_owned();
        self.deny(peer, ErrorCode { code: 443, reason });
    }

    /// Whether the relay has yet to say whether it lets `peer` in.
    pub(super) fn asks_permission(&self, peer: IpAddr) -> bool {
        self.permissions.is_unknown(peer) && self.transactions.awaits(Purpose::Permission(peer))
    }

    pub(super) fn permission_installed(&mut self, now: Instant, peer: IpAddr) {
        let Some(entry) = self.permissions.peers.get_mut(&peer) else { return };
        (entry.standing, entry.refusals, entry.outdated) = (Standing::Installed, 0, false);
        self.timers.set(Timer::Permission(peer), now + REFRESH);
    }

    pub(super) fn permission_refused(&mut self, now: Instant, peer: IpAddr, error: ErrorCode) {
        let Some(entry) = self.permissions.peers.get_mut(&peer) else { return };
        if std::mem::take(&mut entry.outdated) {
            return self.ask_permission(now, peer);
        }
        entry.refusals += 1;
        if entry.standing == Standing::Installed {
            // It may have forgotten the allocation and say so in its own way (coturn: 400). Refresh tells.
            entry.standing = Standing::Unknown;
            self.timers.set(Timer::Permission(peer), now + RETRY);
            return self.refresh(now);
        }
        match retry_in(entry.refusals).filter(|_| is_busy(error.code)) {
            Some(delay) => self.timers.set(Timer::Permission(peer), now + delay),
            None => self.deny(peer, error),
        }
    }

    fn deny(&mut self, peer: IpAddr, error: ErrorCode) {
        let Some(entry) = self.permissions.peers.get_mut(&peer) else { return };
        let before = std::mem::replace(&mut entry.standing, Standing::Denied);
        if before != Standing::Denied {
            let ErrorCode { code, reason } = error;
            self.events.push_back(Event::PermissionDenied { peer, code, reason });
        }
    }

    fn drop_unwanted(&mut self, peer: IpAddr) {
        if self.permissions.remove_unwanted(peer) {
            self.timers.cancel(Timer::Permission(peer));
        }
    }
}
