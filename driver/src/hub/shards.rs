//! What goes from the machine of one hub to that of another one, which shares its listening addresses.

use std::fmt;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::Hub;
use crate::machine::{Leaving, Machine};
use crate::reactor::Reactor;
use crate::sharing::Sharing;

/// Something on its way to another hub.
pub struct Departure<G> {
    /// The index of the hub that it goes to.
    pub to: u8,
    guest: G,
    link: Option<Luggage>,
}

/// A connection on its way.
pub(super) struct Luggage {
    pub(super) socket: OwnedFd,
    /// What the kernel has not taken yet.
    pub(super) waiting: Vec<u8>,
}

impl<G> fmt::Debug for Departure<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Departure").field("to", &self.to).finish_non_exhaustive()
    }
}

impl<M: Machine, R: Reactor> Hub<M, R> {
    /// Shares its listening addresses with other hubs. To be called before its first turn.
    pub fn share(&mut self, sharing: Sharing) {
        self.sharing = sharing;
    }

    /// Throws away what has arrived at its UDP sockets: whoever sent it may be another hub's.
    pub fn discard_received(&mut self) {
        for (_, entry) in self.sockets.iter_mut() {
            let mut failures = 0;
            while failures < super::RECEIVE_ERRORS {
                match entry.socket.receive(&mut self.buffer) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => failures += 1,
                }
            }
        }
    }

    /// Takes what goes to other hubs.
    pub fn take_departures(&mut self) -> Vec<Departure<M::Guest>> {
        std::mem::take(&mut self.departures)
    }

    /// Something has come from another hub. A turn must follow.
    pub fn arrive(&mut self, now: Instant, departure: Departure<M::Guest>) {
        if self.closed {
            return;
        }
        let link = self.machine.arrive(now, departure.guest);
        if let Some(luggage) = departure.link {
            self.unpack_link(now, link, luggage);
        }
    }

    /// The hub that something was to go to takes no more.
    pub fn count_lost(&mut self) {
        self.counters.departures_lost += 1;
    }

    pub(super) fn depart(&mut self, leaving: Leaving<M::Guest>) {
        let Leaving { to, link, guest } = leaving;
        let link = link.map(|link| self.pack_link(link));
        match (guest, link) {
            (Some(guest), None) => self.departures.push(Departure { to, guest, link: None }),
            (Some(guest), Some(Some(luggage))) => {
                self.departures.push(Departure { to, guest, link: Some(luggage) });
            }
            // The connection has ended meanwhile, or there is no descriptor for its way.
            _ => self.count_lost(),
        }
    }
}
