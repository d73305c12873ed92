//! Channels: a number for a peer, which makes four bytes of overhead out of thirty-six (RFC 8656 §12).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::permission::TooManyPeers;
use super::transaction::{Purpose, is_busy, retry_in};
use super::{Client, Event, State, Timer};
use crate::stun::ErrorCode;
use crate::turn::channel_data::NUMBERS;

/// How many channels one client has at most; of 4,096 numbers, most may be resting.
const MAX_CHANNELS: usize = 1024;
/// A binding lives ten minutes (RFC 8656 §12); this leaves two for retransmissions.
const REFRESH: Duration = Duration::from_secs(8 * 60);
/// When a relay that does not allow a channel is asked again: what it allows may have changed.
const BARRED: Duration = Duration::from_secs(5 * 60);
/// A number serves no other peer for the ten minutes of its binding and five more (RFC 8656 §12.1).
const REST: Duration = Duration::from_secs(15 * 60);

/// Whether data for a peer goes through a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Bound,
    /// The relay has not answered yet: about the channel, or where none was asked for, about the permission.
    Pending,
    /// No channel was asked for, or the relay refused it, or the allocation is gone. If the peer is permitted, data
    /// for it goes in Send indications.
    Absent,
}

/// Why no channel can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// There is no allocation.
    #[error("there is no allocation")]
    NoAllocation,
    /// All numbers are taken, or rest.
    #[error("no channel number is free")]
    NoNumber,
    /// Too many peers are permitted.
    #[error(transparent)]
    TooManyPeers(#[from] TooManyPeers),
}

/// The channels of one allocation. Numbers are given out in order, so that the table is as long as it must be.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// By number, from 0x4000 on.
    slots: Vec<Slot>,
    /// Live channels only. Never iterated.
    by_peer: HashMap<SocketAddr, u16>,
}

#[derive(Debug)]
struct Slot {
    /// Kept while the number rests: the relay may still use the binding.
    peer: SocketAddr,
    /// Whether the owner wants it.
    live: bool,
    bound: bool,
    /// How often in a row the relay has refused; it is asked again, and meanwhile there is no channel.
    refusals: u32,
    /// The owner knows that.
    told: bool,
    /// What is being asked was signed with credentials that have been replaced.
    outdated: bool,
    /// When the relay may last have refreshed the binding.
    asked: Instant,
}

impl Channels {
    /// Whose data arrives on channel `number`. Data path.
    pub(super) fn peer(&self, number: u16) -> Option<SocketAddr> {
        let index = number.checked_sub(*NUMBERS.start())?;
        self.slots.get(usize::from(index)).map(|slot| slot.peer)
    }

    /// The number through which data for `peer` goes. Data path.
    pub(super) fn bound(&self, peer: SocketAddr) -> Option<u16> {
        let number = *self.by_peer.get(&peer)?;
        self.slot(number).filter(|slot| slot.bound).map(|_| number)
    }

    fn slot(&self, number: u16) -> Option<&Slot> {
        self.slots.get(usize::from(number.checked_sub(*NUMBERS.start())?))
    }

    fn slot_mut(&mut self, number: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(number.checked_sub(*NUMBERS.start())?))
    }

    /// A number for `peer`: the one that it had, else a fresh one, else one that has rested.
    fn assign(&mut self, now: Instant, peer: SocketAddr) -> Option<u16> {
        if self.by_peer.len() >= MAX_CHANNELS {
            return None;
        }
        let slot =
            Slot { peer, live: true, bound: false, refusals: 0, told: false, outdated: false, asked: now };
        let old = self.slots.iter().position(|slot| slot.peer == peer);
        let fresh = || (self.slots.len() < NUMBERS.len()).then_some(self.slots.len());
        let rested = || self.slots.iter().position(|slot| !slot.live && now >= slot.asked + REST);
        let index = old.or_else(fresh).or_else(rested)?;
        match self.slots.get_mut(index) {
            Some(used) => *used = slot,
            None => self.slots.push(slot),
        }
        let number = NUMBERS.start() + u16::try_from(index).expect("there are 4,096 numbers");
        self.by_peer.insert(peer, number);
        Some(number)
    }

    /// The number rests from now on.
    fn retire(&mut self, peer: SocketAddr) -> Option<u16> {
        let number = self.by_peer.remove(&peer)?;
        let slot = self.slot_mut(number).expect("a live channel has a slot");
        (slot.live, slot.bound) = (false, false);
        Some(number)
    }
}

impl Client {
    /// Asks for a channel to `peer`, and for its permission. [`Event::ChannelBound`] follows, or
    /// [`Event::ChannelRefused`]; nothing when there is one already, or the relay has refused it: then it is asked again
    /// when there are other credentials, and else now and then.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind_channel(&mut self, now: Instant, peer: SocketAddr) -> Result<(), BindError> {
        if !matches!(self.state, State::Allocated(_)) {
            return Err(BindError::NoAllocation);
        }
        if self.channels.by_peer.contains_key(&peer) {
            return Ok(());
        }
        self.hold_permission(now, peer.ip())?;
        let Some(number) = self.channels.assign(now, peer) else {
            self.release_permission(peer.ip());
            return Err(BindError::NoNumber);
        };
        self.ask_channel(now, number);
        Ok(())
    }

    /// Stops refreshing the channel of `peer`.
    pub fn release_channel(&mut self, peer: SocketAddr) {
        if let Some(number) = self.channels.retire(peer) {
            self.timers.cancel(Timer::Channel(number));
            self.release_permission(peer.ip());
        }
    }

    /// Stops refreshing all channels to `ip`. Looks at all of them.
    pub fn release_channels(&mut self, ip: IpAddr) {
        let live = self.channels.slots.iter().filter(|slot| slot.live && slot.peer.ip() == ip);
        let peers: Vec<SocketAddr> = live.map(|slot| slot.peer).collect();
        for peer in peers {
            self.release_channel(peer);
        }
    }

    /// Whether data for `peer` goes through a channel.
    pub fn readiness(&self, peer: SocketAddr) -> Readiness {
        match self.channels.by_peer.get(&peer) {
            None if self.asks_permission(peer.ip()) => Readiness::Pending,
            None => Readiness::Absent,
            Some(&number) => match self.channels.slot(number) {
                Some(Slot { bound: true, .. }) => Readiness::Bound,
                Some(Slot { refusals: 0, .. }) => Readiness::Pending,
                Some(_) | None => Readiness::Absent,
            },
        }
    }

    /// Binds or rebinds a channel, unless that is being done.
    pub(super) fn ask_channel(&mut self, now: Instant, number: u16) {
        self.timers.cancel(Timer::Channel(number));
        let Some(slot) = self.channels.slot_mut(number).filter(|slot| slot.live) else { return };
        let purpose = Purpose::Channel { number, peer: slot.peer };
        if !self.transactions.awaits(purpose) {
            slot.asked = now;
            self.request(now, purpose);
        }
    }

    /// There are other credentials: what the relay has refused is asked again, and what it refuses to the old ones will be.
    pub(super) fn ask_refused_channels(&mut self, now: Instant) {
        for number in NUMBERS.take(self.channels.slots.len()) {
            let Some(slot) = self.channels.slot_mut(number).filter(|slot| slot.live && !slot.bound) else {
                continue;
            };
            let purpose = Purpose::Channel { number, peer: slot.peer };
            slot.outdated = self.transactions.awaits(purpose);
            if slot.refusals > 0 {
                self.ask_channel(now, number);
            }
        }
    }

    pub(super) fn rebind_all_channels(&mut self, now: Instant) {
        for number in NUMBERS.take(self.channels.slots.len()) {
            self.ask_channel(now, number);
        }
    }

    pub(super) fn channel_bound(&mut self, now: Instant, number: u16, peer: SocketAddr) {
        let Some(slot) = self.channels.slot_mut(number).filter(|slot| slot.peer == peer) else { return };
        (slot.asked, slot.refusals, slot.told, slot.outdated) = (now, 0, false, false);
        if !slot.live {
            // It was given up meanwhile, and rests from now on.
            return;
        }
        let before = std::mem::replace(&mut slot.bound, true);
        self.timers.set(Timer::Channel(number), now + REFRESH);
        if !before {
            self.events.push_back(Event::ChannelBound { peer });
        }
    }

    pub(super) fn channel_refused(&mut self, now: Instant, number: u16, peer: SocketAddr, error: ErrorCode) {
        if self.channels.by_peer.get(&peer) != Some(&number) {
            return;
        }
        let slot = self.channels.slot_mut(number).expect("a live channel has a slot");
        if std::mem::take(&mut slot.outdated) {
            return self.ask_channel(now, number);
        }
        slot.refusals = slot.refusals.saturating_add(1);
        // It stays refused, so that an owner who binds again with each datagram asks no more often.
        if !is_busy(error.code) {
            slot.bound = false;
            self.timers.set(Timer::Channel(number), now + BARRED);
        } else if let Some(delay) = retry_in(slot.refusals) {
            return self.timers.set(Timer::Channel(number), now + delay);
        }
        if !std::mem::replace(&mut slot.told, true) {
            let ErrorCode { code, reason } = error;
            self.events.push_back(Event::ChannelRefused { peer, code, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_channels_run_out_and_come_back() {
        let mut channels = Channels::default();
        let now = crate::time::start();
        let peer = |n: u32| SocketAddr::new(std::net::Ipv4Addr::from(0x0800_0000 + n).into(), 1);
        for n in 0..4096 {
            assert_eq!(channels.assign(now, peer(n)), Some(0x4000 + n as u16));
            channels.retire(peer(n));
        }
        assert_eq!(channels.assign(now, peer(5000)), None);
        assert_eq!(channels.assign(now + REST - Duration::from_secs(1), peer(5000)), None);
        assert_eq!(channels.assign(now + REST, peer(5000)), Some(0x4000));
    }
}
