//! Who may reach the relayed addresses, and until when.
//!
//! Two say so: the application names peers for as long as it likes, and instances of the platform ask for some by
//! PERMIT, for an hour at most. What becomes of an address that neither wants any more depends on how that came:
//!
//! - It was taken back: its connections are closed at once. It is listened to for a moment more, so that it hears why.
//! - Its time ran out: nobody from there connects any more, but a connection that stands may go on. While the platform
//!   is away nobody renews a PERMIT, and nobody's work should end by that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::client::MAX_PEERS;
use crate::pki::{Identity, PeerInfo, Revoked};
use crate::time::DeadlineQueue;

/// How long a PERMIT holds at most.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// How many addresses one instance of the platform may have asked for at once.
const MAX_ASKED: usize = 64;
/// How long an address is still listened to after its connections were closed.
const LINGER: Duration = Duration::from_secs(3);
/// How often it is looked whether the last connection from an address has ended whose time ran out.
const LOOK: Duration = Duration::from_secs(30);

/// The addresses that are let in.
#[derive(Debug, Default)]
pub(super) struct Permits {
    named: BTreeSet<IpAddr>,
    asked: BTreeMap<Identity, BTreeMap<IpAddr, Asked>>,
    /// When the next of `asked` runs out, or earlier.
    expiry: Option<Instant>,
    /// Everybody who may come: those named, and of those asked for as many as there is room for.
    current: BTreeSet<IpAddr>,
    /// Those who may not come any more and are listened to nevertheless; when to look at them again.
    leaving: DeadlineQueue<IpAddr>,
    /// Those whose connections are to be closed.
    cut: BTreeSet<IpAddr>,
    changed: bool,
}

/// An address that an instance of the platform has asked for.
#[derive(Debug)]
struct Asked {
    until: Instant,
    /// The certificate by which it was asked for.
    serial: Vec<u8>,
}

/// Why a PERMIT is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// An address is not that of one host.
    NoHost,
    /// The instance has asked for too many.
    TooMany,
    /// All instances together have; the fault is not this one's.
    NoRoom,
}

impl Permits {
    pub(super) fn new(named: impl IntoIterator<Item = IpAddr>) -> Self {
        let named = canonical(named);
        Self { current: named.clone(), named, ..Self::default() }
    }

    /// Everybody who may come.
    pub(super) fn current(&self) -> &BTreeSet<IpAddr> {
        &self.current
    }

    /// Whether somebody from `ip` may come.
    pub(super) fn admits(&self, ip: IpAddr) -> bool {
        self.current.contains(&ip)
    }

    /// Whether datagrams from `ip` are taken. Data path.
    pub(super) fn listens_to(&self, ip: IpAddr) -> bool {
        self.current.contains(&ip) || self.leaving.get(ip).is_some()
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.expiry.into_iter().chain(self.leaving.next()).min()
    }

    // --- who says so -----------------------------------------------------------------------------------------

    /// The application names these from now on, and no others.
    pub(super) fn name(&mut self, now: Instant, named: impl IntoIterator<Item = IpAddr>) {
        self.named = canonical(named);
        self.take_back(now);
    }

    /// `platform`, which must be one, asks for `peers`. Nothing changes when it is refused.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        platform: &PeerInfo,
        peers: &[IpAddr],
        lifetime: Duration,
    ) -> Result<(), Refused> {
        let peers = canonical(peers.iter().copied());
        if !peers.iter().copied().all(is_host) {
            return Err(Refused::NoHost);
        }
        if peers.is_empty() {
            return Ok(());
        }
        self.expire(now);
        let total: usize = self.asked.values().map(BTreeMap::len).sum();
        let before = self.asked.get(&platform.identity);
        let new = peers.iter().filter(|ip| before.is_none_or(|before| !before.contains_key(ip))).count();
        if before.map_or(0, BTreeMap::len) + new > MAX_ASKED {
            return Err(Refused::TooMany);
        }
        if total + new > MAX_PEERS {
            return Err(Refused::NoRoom);
        }
        let until = now + lifetime.min(MAX_LIFETIME);
        let asked = self.asked.entry(platform.identity.clone()).or_default();
        for ip in peers {
            asked.insert(ip, Asked { until, serial: platform.serial.clone() });
        }
        self.expiry = self.expiry.into_iter().chain([until]).min();
        self.review();
        self.expire(now);
        Ok(())
    }

    /// What those that `revoked` covers have asked for is taken back.
    pub(super) fn revoke(&mut self, now: Instant, revoked: &Revoked) {
        for (identity, asked) in &mut self.asked {
            asked.retain(|_, asked| !revoked.covers_leaf(identity, &asked.serial));
        }
        self.asked.retain(|_, asked| !asked.is_empty());
        self.take_back(now);
    }

    /// Ends what has run out.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.expiry.is_none_or(|at| now < at) {
            return;
        }
        for asked in self.asked.values_mut() {
            asked.retain(|_, asked| now < asked.until);
        }
        self.asked.retain(|_, asked| !asked.is_empty());
        self.expiry = self.asked.values().flat_map(BTreeMap::values).map(|asked| asked.until).min();
        for ip in self.review() {
            self.leaving.set(ip, now);
        }
    }

    fn take_back(&mut self, now: Instant) {
        for ip in self.review() {
            self.leaving.set(ip, now + LINGER);
            self.cut.insert(ip);
        }
    }

    /// Finds out who may come now; who may no longer.
    fn review(&mut self) -> Vec<IpAddr> {
        let asked = self.asked.values().flat_map(BTreeMap::keys);
        let mut next = self.named.clone();
        for &ip in asked {
            if next.len() < MAX_PEERS {
                next.insert(ip);
            }
        }
        for &ip in next.difference(&self.current) {
            self.changed = true;
            self.leaving.cancel(ip);
            self.cut.remove(&ip);
        }
        let gone: Vec<_> = self.current.difference(&next).copied().collect();
        self.changed |= !gone.is_empty();
        self.current = next;
        gone
    }

    // --- what follows from it --------------------------------------------------------------------------------

    /// Whether others may come than when this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whose connections are to be closed.
    pub(super) fn take_cut(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.cut)
    }

    /// The next address that is to be forgotten, unless there is a connection from there: [`keep`](Self::keep).
    /// Without room for all who may come and all who leave, nobody may linger.
    pub(super) fn pop_left(&mut self, now: Instant) -> Option<IpAddr> {
        if self.current.len() + self.leaving.len() > MAX_PEERS {
            let (_, ip) = self.leaving.first()?;
            self.leaving.cancel(ip);
            return Some(ip);
        }
        self.leaving.pop_due(now)
    }

    /// Listens to `ip` a while longer, where there is room for it; whether there is.
    pub(super) fn keep(&mut self, now: Instant, ip: IpAddr) -> bool {
        let room = self.current.len() + self.leaving.len() < MAX_PEERS;
        if room {
            self.leaving.set(ip, now + LOOK);
        }
        room
    }
}

/// The addresses as relays name them: an IPv4 address never comes as one of IPv6.
fn canonical(peers: impl IntoIterator<Item = IpAddr>) -> BTreeSet<IpAddr> {
    peers.into_iter().map(|ip| ip.to_canonical()).collect()
}

/// Whether `ip` can be that of one host. Which of those may be reached is the relay's to judge.
fn is_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] != 0 && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{UnixTime, start};

    const MINUTE: Duration = Duration::from_secs(60);

    fn platform(instance: &str, serial: u8) -> PeerInfo {
        PeerInfo {
            identity: format!("spiffe://d/org/o/platform/{instance}").parse().unwrap(),
            targets: None,
            not_before: UnixTime(0),
            not_after: UnixTime(1),
            serial: vec![serial],
        }
    }

    fn ips(range: std::ops::Range<u32>) -> Vec<IpAddr> {
        range.map(|n| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n))).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_wish_holds_for_its_lifetime_and_never_longer_than_an_hour() {
        let now = start();
        let mut permits = Permits::new([]);
        permits.ask(now, &platform("a", 1), &[ip("8.0.0.1")], 10 * MINUTE).unwrap();
        permits.ask(now, &platform("a", 1), &[ip("8.0.0.2")], 600 * MINUTE).unwrap();
        assert!(permits.take_changed());
        permits.expire(now + 10 * MINUTE);
        assert!(!permits.admits(ip("8.0.0.1")) && permits.admits(ip("8.0.0.2")));
        assert_eq!(permits.deadline(), Some(now + 10 * MINUTE), "to look whether it can be forgotten");
        assert_eq!(permits.pop_left(now + 10 * MINUTE), Some(ip("8.0.0.1")));
        permits.expire(now + 60 * MINUTE);
        assert!(permits.current().is_empty());
        assert!(permits.take_cut().is_empty(), "what runs out cuts nobody off");
    }

    #[test]
    fn a_wish_may_be_repeated_and_taken_back() {
        let now = start();
        let mut permits = Permits::new([]);
        permits.ask(now, &platform("a", 1), &[ip("8.0.0.1")], MINUTE).unwrap();
        permits.ask(now, &platform("a", 1), &[ip("8.0.0.1")], 30 * MINUTE).unwrap();
        permits.expire(now + 29 * MINUTE);
        assert!(permits.admits(ip("8.0.0.1")));
        permits.ask(now, &platform("a", 1), &[ip("8.0.0.1")], Duration::ZERO).unwrap();
        assert!(!permits.admits(ip("8.0.0.1")));
    }

    #[test]
    fn who_is_wanted_by_another_stays() {
        let now = start();
        let mut permits = Permits::new([ip("8.0.0.1"), ip("8.0.0.2")]);
        permits.ask(now, &platform("a", 1), &[ip("8.0.0.2"), ip("::ffff:8.0.0.3")], MINUTE).unwrap();
        permits.name(now, [ip("8.0.0.3")]);
        assert_eq!(permits.current().iter().copied().collect::<Vec<_>>(), [ip("8.0.0.2"), ip("8.0.0.3")]);
        assert_eq!(permits.take_cut(), BTreeSet::from([ip("8.0.0.1")]));
        assert!(permits.listens_to(ip("8.0.0.1")) && !permits.admits(ip("8.0.0.1")));
        permits.expire(now + MINUTE);
        assert_eq!(permits.current().iter().copied().collect::<Vec<_>>(), [ip("8.0.0.3")]);
    }

    #[test]
    fn a_revoked_instance_leaves_no_permission_behind() {
        let now = start();
        let mut permits = Permits::new([]);
        permits.ask(now, &platform("a", 1), &ips(0..2), MINUTE).unwrap();
        permits.ask(now, &platform("a", 2), &ips(1..3), MINUTE).unwrap();
        permits.ask(now, &platform("b", 3), &ips(3..4), MINUTE).unwrap();
        permits.revoke(now, &Revoked::new([vec![1]], []));
        assert_eq!(permits.current().len(), 3);
        permits.revoke(now, &Revoked::new([vec![9]], [platform("a", 0).identity]));
        assert_eq!(permits.take_cut(), ips(0..3).into_iter().collect());
        assert!(permits.admits(ips(3..4)[0]));
    }

    #[test]
    fn each_instance_and_all_together_have_their_bound() {
        let now = start();
        let mut permits = Permits::new(ips(0..1000));
        permits.ask(now, &platform("a", 1), &ips(2000..2064), MINUTE).unwrap();
        assert_eq!(permits.ask(now, &platform("a", 1), &ips(2064..2065), MINUTE), Err(Refused::TooMany));
        assert_eq!(permits.ask(now, &platform("a", 1), &ips(2000..2064), MINUTE), Ok(()));
        assert_eq!(permits.current().len(), MAX_PEERS);
        for (index, instance) in (1..16).zip("bcdefghijklmnop".chars()) {
            let wanted = ips(3000 + index * 64..3064 + index * 64);
            permits.ask(now, &platform(&instance.to_string(), 1), &wanted, MINUTE).unwrap();
        }
        assert_eq!(permits.ask(now, &platform("z", 1), &ips(1..2), MINUTE), Err(Refused::NoRoom));
        assert_eq!(permits.current().len(), MAX_PEERS);
        permits.ask(now + MINUTE, &platform("z", 1), &ips(1..2), MINUTE).unwrap();
    }

    #[test]
    fn only_hosts_can_be_asked_for() {
        let now = start();
        let mut permits = Permits::new([]);
        for bad in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:224.0.0.1"]
        {
            let asked = permits.ask(now, &platform("a", 1), &[ip("8.0.0.1"), ip(bad)], MINUTE);
            assert_eq!(asked, Err(Refused::NoHost), "{bad}");
        }
        permits.ask(now, &platform("a", 1), &[ip("127.0.0.1"), ip("fd00::1")], MINUTE).unwrap();
        assert_eq!(permits.current().len(), 2);
    }

    #[test]
    fn nobody_lingers_at_the_cost_of_others() {
        let now = start();
        let mut permits = Permits::new(ips(0..1024));
        permits.name(now, ips(1024..2047));
        let left = std::iter::from_fn(|| permits.pop_left(now)).count();
        assert_eq!(left, 1023);
        assert!(!permits.keep(now, ips(0..1)[0]));
    }
}
