//! Refresh: prolongs an allocation, or ends it (RFC 8656 §8.2).

use std::time::Instant;

use super::Relay;
use super::allocate::granted_lifetime;
use super::allocation::AllocationId;
use super::config::IpVersion;
use super::event::Released;
use super::reply::{Answer, Refusal};
use super::request::Request;
use crate::io::Effect;
use crate::stun::Family;

impl Relay {
    pub(super) fn refresh(&mut self, now: Instant, request: &Request<'_>) -> Result<Answer, Refusal> {
        let (tuple, transaction) = (request.addressee.path.five_tuple(), request.addressee.transaction);
        let success = |lifetime| Ok(Answer::Success(request.addressee.success().lifetime(lifetime)));
        if self.departed.remembers(now, tuple, transaction) {
            // This very request has ended the allocation; its reply was lost (RFC 8489 §6.3.1).
            return success(std::time::Duration::ZERO);
        }
        if let Some(ticket) = request.message.mobility_ticket() {
            return self.relocate(now, request, ticket);
        }
        let id = self.allocation_of(request)?;
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        let family = match request.message.requested_family()? {
            None => None,
            Some(Family::V4) => Some(IpVersion::V4),
            Some(Family::V6) => Some(IpVersion::V6),
            Some(Family::Other(_)) => return Err(Refusal::PeerFamilyMismatch),
        };
        if family.is_some_and(|version| allocation.leg(version).is_none()) {
            return Err(Refusal::PeerFamilyMismatch);
        }
        let requested = request.message.lifetime()?;
        if !requested.is_some_and(|lifetime| lifetime.is_zero()) {
            // One lifetime serves both families of a dual allocation: a Refresh of either prolongs both.
            let lifetime = granted_lifetime(requested, &self.config);
            self.table.refresh(id, now + lifetime);
            return success(lifetime);
        }
        match family {
            Some(version) if allocation.legs.len() > 1 => self.release_family(id, version),
            _ => {
                if let Some(made_by) = allocation.made_by() {
                    self.departed.add(now, tuple, made_by);
                }
                self.departed.add(now, tuple, transaction);
                self.release(now, id, Released::Closed);
            }
        }
        success(std::time::Duration::ZERO)
    }

    /// Gives up one family of a dual allocation; the other one stays.
    fn release_family(&mut self, id: AllocationId, version: IpVersion) {
        self.end_family(id, version);
        for leg in self.table.remove_legs(id, version) {
            self.effect(Effect::Unbind { socket: leg.socket });
        }
    }
}
