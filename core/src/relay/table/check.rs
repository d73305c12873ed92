//! All that must agree, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::allocation::Leg;
use super::super::config::IpVersion;
use super::{Socket, Table, Timer};

impl Table {
    /// Panics unless all indexes say the same.
    pub(in super::super) fn check(&self) {
        let (mut timers, mut taken, mut relayed, mut tuples, mut channels) = (0, 0, 0, 0, 0);
        let mut users = BTreeMap::new();
        for (id, allocation) in self.allocations.iter() {
            for tuple in allocation.former.into_iter().chain([allocation.five_tuple]) {
                assert_eq!(self.find(tuple).map(|(found, _)| found), Some(id));
                tuples += 1;
            }
            *users.entry(Arc::clone(&allocation.owner.id)).or_insert(0u32) += allocation.counted();
            assert!(self.timers.get(Timer::Allocation(id)).is_some());
            timers += 1;
            for leg in allocation.sockets() {
                assert_eq!(self.socket(leg.socket), Some(Socket::Relayed(id)));
                self.check_port(leg);
                taken += 1;
                relayed += 1;
            }
            for (peer, expiry) in allocation.permissions.iter() {
                assert_eq!(self.timers.get(Timer::Permission(id, peer)), Some(expiry));
                timers += 1;
            }
            for (number, expiry) in allocation.channels.iter() {
                assert_eq!(self.timers.get(Timer::Channel(id, number)), Some(expiry));
                timers += 1;
            }
            allocation.channels.check();
            channels += allocation.channels.len();
        }
        for (&token, reservation) in &self.reservations {
            assert_eq!(self.socket(reservation.leg.socket), Some(Socket::Reserved));
            assert!(self.timers.get(Timer::Reservation(token)).is_some());
            self.check_port(reservation.leg);
            *users.entry(Arc::clone(&reservation.owner)).or_insert(0u32) += 1;
            taken += 1;
            timers += 1;
        }
        let count =
            |wanted: fn(&Socket) -> bool| self.sockets.iter().filter(|(_, socket)| wanted(socket)).count();
        assert_eq!(count(|socket| matches!(socket, Socket::Relayed(_))), relayed);
        assert_eq!(count(|socket| matches!(socket, Socket::Reserved)), self.reservations.len());
        assert_eq!(count(|socket| matches!(socket, Socket::Ear(_))), self.ears.iter().count());
        let beside = |(listening, _, ear)| self.socket(ear) == Some(Socket::Ear(listening));
        assert!(self.ears.iter().all(beside));
        assert_eq!(self.tuples.len(), tuples);
        assert_eq!(self.quota.all(), users.values().sum::<u32>());
        assert!(users.iter().all(|(user, &count)| self.quota.count(user) == count));
        assert_eq!(self.ports_v4.taken() + self.ports_v6.taken(), taken);
        assert_eq!(self.timers.len(), timers);
        assert_eq!(self.channels, channels);
    }

    fn check_port(&self, leg: Leg) {
        let ports = match leg.version {
            IpVersion::V4 => &self.ports_v4,
            IpVersion::V6 => &self.ports_v6,
        };
        assert!(ports.is_taken(leg.port));
        assert_eq!(self.is_relayed(leg.version, leg.port), leg.bound);
    }
}
