//! The allocation itself: Allocate and Refresh (RFC 8656 §7, §8).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::transaction::Purpose;
use super::{Client, Event, Families, Lost, State, Timer};
use crate::stun::{Builder, Family, Message};
use crate::turn;

/// However short a lifetime the relay grants, it is not refreshed more often than this.
const MIN_REFRESH: Duration = Duration::from_secs(1);

/// A relay that takes a ticket, and does not know the allocation all the same, is not shown it again for this long.
const MIN_RESUME: Duration = Duration::from_secs(5);

/// ADDITIONAL-ADDRESS-FAMILY as coturn has it up to 4.6: the number of a draft, before IANA gave out 0x8000. Whoever
/// does not know it passes over it, since it is above 0x7FFF.
const DRAFT_ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8032;

/// What the relay has given.
#[derive(Debug)]
pub(super) struct Allocation {
    relayed: Vec<SocketAddr>,
    /// By which it can be had at another address (RFC 8016).
    ticket: Option<Vec<u8>>,
    /// When that was done last.
    resumed: Option<Instant>,
}

impl Allocation {
    pub(super) fn relayed(&self) -> &[SocketAddr] {
        &self.relayed
    }

    /// What gets the allocation back when the relay does not know the address any more that it is asked from.
    pub(super) fn ticket(&self) -> Option<&[u8]> {
        self.ticket.as_deref()
    }

    /// Whether a peer of the family of `address` can be reached at all (RFC 8656 §9.1).
    pub(super) fn serves(&self, address: std::net::IpAddr) -> bool {
        self.relayed.iter().any(|relayed| relayed.is_ipv4() == address.is_ipv4())
    }
}

impl Client {
    pub(super) fn allocate(&mut self, now: Instant) {
        self.request(now, Purpose::Allocate);
    }

    pub(super) fn allocate_body(&self, builder: Builder) -> Builder {
        let builder = builder.requested_transport(turn::UDP);
        let builder = match self.config.families {
            // IPv4 is what a relay gives where nothing is asked for; very old ones know no other way.
            Families::V4 => builder,
            Families::V6 => builder.requested_family(Family::V6),
            Families::Both if self.single => builder,
            // Not together with REQUESTED-ADDRESS-FAMILY, and only IPv6 can be the additional one (RFC 8656 §7.1).
            Families::Both => builder
                .additional_family(Family::V6)
                .raw(DRAFT_ADDITIONAL_ADDRESS_FAMILY, &[Family::V6.codepoint(), 0, 0, 0]),
        };
        let builder = if self.mobile { builder.mobility_ticket(&[]) } else { builder };
        self.lifetime_body(builder)
    }

    pub(super) fn lifetime_body(&self, builder: Builder) -> Builder {
        match self.config.lifetime {
            Some(lifetime) => builder.lifetime(lifetime),
            None => builder,
        }
    }

    /// The allocation, as it is asked for from another address than before.
    pub(super) fn resume_body(&self, builder: Builder) -> Builder {
        let ticket = match &self.state {
            State::Allocated(allocation) => allocation.ticket().unwrap_or_default(),
            _ => &[],
        };
        self.lifetime_body(builder.mobility_ticket(ticket))
    }

    /// The relay gives no tickets: an allocation without one is better than none. It is not asked again.
    pub(super) fn allocate_immobile(&mut self, now: Instant) {
        self.mobile = false;
        self.allocate(now);
    }

    pub(super) fn may_do_with_one_family(&self) -> bool {
        self.config.families == Families::Both && !self.single
    }

    /// The relay refuses two families: one is better than none.
    pub(super) fn allocate_single(&mut self, now: Instant) {
        self.single = true;
        self.allocate(now);
    }

    pub(super) fn allocated(&mut self, now: Instant, response: &Message<'_>) {
        let relayed: Result<Vec<_>, _> = response.relayed_addresses().collect();
        let (Ok(mut relayed), Ok(mapped), Ok(Some(lifetime))) =
            (relayed, response.mapped_address(), response.lifetime())
        else {
            return self.discard_allocation(now);
        };
        // Coturn gives the unspecified address for a family that it could not serve.
        relayed.retain(|address| !address.ip().is_unspecified());
        relayed.sort_by_key(SocketAddr::is_ipv6);
        relayed.dedup_by_key(|address| address.is_ipv6());
        if relayed.is_empty() || lifetime.is_zero() {
            return self.discard_allocation(now);
        }
        self.failures = 0;
        let ticket = ticket(response);
        self.state = State::Allocated(Allocation { relayed: relayed.clone(), ticket, resumed: None });
        self.refresh_after(now, lifetime);
        self.events.push_back(Event::Allocated { relayed, mapped, lifetime });
        self.ask_all_permissions(now);
    }

    /// Asks for more time, unless that is being done.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.timers.cancel(Timer::Refresh);
        if matches!(self.state, State::Allocated(_)) {
            self.request(now, Purpose::Refresh);
        }
    }

    pub(super) fn refreshed(&mut self, now: Instant, response: &Message<'_>) {
        match response.lifetime() {
            Ok(Some(lifetime)) if !lifetime.is_zero() => self.refresh_after(now, lifetime),
            _ => self.lose(now, Lost::Nonsense),
        }
    }

    /// The relay does not know the allocation at this address. Whether it is asked for by its ticket now: not where there
    /// is none, nor where that was done a moment ago.
    pub(super) fn may_resume(&mut self, now: Instant) -> bool {
        let State::Allocated(allocation) = &self.state else { return false };
        let recently = allocation.resumed.is_some_and(|at| now < at + MIN_RESUME);
        if recently || allocation.ticket().is_none() {
            return false;
        }
        self.resume(now);
        true
    }

    /// Asks for the allocation by its ticket (RFC 8016 §3.2). What else was asked for meanwhile is asked for again when
    /// that has been answered.
    pub(super) fn resume(&mut self, now: Instant) {
        if !self.transactions.awaits(Purpose::Resume) {
            self.drop_requests();
            self.request(now, Purpose::Resume);
        }
    }

    pub(super) fn resumed(&mut self, now: Instant, response: &Message<'_>) {
        if let State::Allocated(allocation) = &mut self.state {
            allocation.resumed = Some(now);
            allocation.ticket = ticket(response).or(allocation.ticket.take());
        }
        self.refreshed(now, response);
        self.ask_all_permissions(now);
        self.rebind_all_channels(now);
    }

    /// Gives the allocation back.
    pub(super) fn release_allocation(&mut self, now: Instant) {
        self.drop_requests();
        self.state = State::Closing;
        self.request(now, Purpose::Release);
    }

    /// Gives back an allocation that is of no use: its addresses, or something else in the answer, can't be read
    /// (RFC 8656 §7.3). [`Lost::Nonsense`] follows.
    pub(super) fn discard_allocation(&mut self, now: Instant) {
        self.request(now, Purpose::Discard);
    }

    /// Half the lifetime leaves time for all retransmissions of two requests at the default of ten minutes.
    fn refresh_after(&mut self, now: Instant, lifetime: Duration) {
        self.timers.set(Timer::Refresh, now + (lifetime / 2).min(self.config.keep_alive).max(MIN_REFRESH));
    }
}

/// The ticket that comes with a success; an empty one is none.
fn ticket(response: &Message<'_>) -> Option<Vec<u8>> {
    response.mobility_ticket().filter(|ticket| !ticket.is_empty()).map(<[u8]>::to_vec)
}
