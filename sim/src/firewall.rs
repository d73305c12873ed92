//! Firewalls: what a network lets out, and what it lets back in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A firewall in front of one host, which it sees under the host's own addresses.
///
/// ```
/// use adit_sim::{Drop, Firewall, World, secs};
///
/// let mut world = World::seeded(7);
/// let relay = world.relay("a");
/// world.gateway("gw").firewalled(Firewall::without_udp()).on([relay]);
///
/// world.run_for(secs(60));
/// assert!(world.dropped(Drop::Firewall) > 0);
/// assert_eq!(world.machine(relay).allocations(), 0);
/// ```
#[derive(Debug, Clone)]
pub struct Firewall {
    /// What may go out, and what may come in, at present.
    out: bool,
    inward: bool,
    /// Whether TCP passes, to the ports that may be sent to.
    tcp: bool,
    /// Whether only answers come in.
    stateful: bool,
    /// The only ports that may be sent to; `None`: all.
    ports: Option<BTreeSet<u16>>,
    idle: Duration,
    /// Flows by inner and outer end, with when each was last used.
    flows: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    /// Before this, no flow is too old.
    sweep: Option<Instant>,
}

impl Firewall {
    /// Drops all UDP, both ways. TCP passes.
    pub fn without_udp() -> Self {
        Self::stateful().shut(true, true)
    }

    /// Lets everything out, and in only what answers it: the ends of a flow that was begun from inside and was used in
    /// the last 30 s. That is the shortest memory in wide use (Linux conntrack, for UDP).
    pub fn stateful() -> Self {
        let (idle, flows) = (Duration::from_secs(30), BTreeMap::new());
        Self { out: true, inward: true, tcp: true, stateful: true, ports: None, idle, flows, sweep: None }
    }

    /// Lets everything through, until it is [`shut`](Self::shut).
    pub fn open() -> Self {
        Self { stateful: false, ..Self::stateful() }
    }

    /// Lets nothing out from now on, or nothing in, or neither; or what it let through before. The flows that it knows
    /// are not touched.
    pub fn shut(self, out: bool, inward: bool) -> Self {
        Self { out: !out, inward: !inward, ..self }
    }

    /// Lets no TCP out either.
    pub fn and_without_tcp(self) -> Self {
        Self { tcp: false, ..self }
    }

    /// Lets out only what is sent to one of these ports.
    pub fn to_ports(self, ports: &[u16]) -> Self {
        Self { ports: Some(ports.iter().copied().collect()), ..self }
    }

    /// Forgets a flow after that time without a packet of either direction.
    pub fn forgetting_after(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// Whether a packet may leave; it begins a flow, or keeps one up.
    pub(crate) fn lets_out(&mut self, now: Instant, inner: SocketAddr, outer: SocketAddr) -> bool {
        let allowed = self.out && self.ports.as_ref().is_none_or(|ports| ports.contains(&outer.port()));
        if allowed && self.stateful {
            self.forget(now);
            self.flows.insert((inner, outer), now);
        }
        allowed
    }

    /// Whether a packet may enter, which keeps its flow up.
    pub(crate) fn lets_in(&mut self, now: Instant, inner: SocketAddr, outer: SocketAddr) -> bool {
        if !self.inward || !self.stateful {
            return self.inward;
        }
        self.forget(now);
        match self.flows.get_mut(&(inner, outer)) {
            Some(used) => {
                *used = now;
                true
            }
            None => false,
        }
    }

    /// Whether a stream to `port` passes.
    pub(crate) fn lets_streams(&self, port: u16) -> bool {
        self.tcp && self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }

    fn forget(&mut self, now: Instant) {
        if self.sweep.is_some_and(|sweep| now < sweep) {
            return;
        }
        self.flows.retain(|_, used| now.duration_since(*used) < self.idle);
        // Whatever is used from now on lives at least as long as what is left.
        let oldest = self.flows.values().min().copied().unwrap_or(now);
        self.sweep = Some(oldest + self.idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_answers_come_in_and_not_for_ever() {
        let (inner, outer, now) = (addr("10.0.0.2:5"), addr("1.1.1.1:1"), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut firewall = Firewall::stateful();
        assert!(!firewall.lets_in(now, inner, outer));
        assert!(firewall.lets_out(now, inner, outer));
        assert!(!firewall.lets_in(now, inner, addr("1.1.1.1:2")));
        assert!(!firewall.lets_in(now, addr("10.0.0.2:6"), outer));
        assert!(firewall.lets_in(after(29), inner, outer), "which keeps it up");
        assert!(firewall.lets_in(after(58), inner, outer));
        assert!(!firewall.lets_in(after(88), inner, outer));
    }

    #[test]
    fn a_young_flow_does_not_keep_an_old_one_up() {
        let (old, young, now) = (addr("1.1.1.1:1"), addr("1.1.1.1:2"), Instant::now());
        let (inner, after) = (addr("10.0.0.2:5"), |seconds| now + Duration::from_secs(seconds));
        let mut firewall = Firewall::stateful().forgetting_after(Duration::from_secs(10));
        assert!(firewall.lets_out(now, inner, old));
        assert!(firewall.lets_out(after(6), inner, young));
        assert!(!firewall.lets_in(after(10), inner, old));
        assert!(firewall.lets_in(after(12), inner, young));
    }

    #[test]
    fn one_way_may_be_shut_and_opened_again_and_what_was_begun_before_goes_on() {
        let (inner, outer, now) = (addr("10.0.0.2:5"), addr("1.1.1.1:1"), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut firewall = Firewall::stateful();
        assert!(firewall.lets_out(now, inner, outer));
        firewall = firewall.shut(true, false);
        assert!(!firewall.lets_out(after(1), inner, outer) && firewall.lets_in(after(1), inner, outer));
        firewall = firewall.shut(false, true);
        assert!(firewall.lets_out(after(2), inner, outer) && !firewall.lets_in(after(2), inner, outer));
        firewall = firewall.shut(false, false);
        assert!(firewall.lets_in(after(3), inner, outer));

        let mut open = Firewall::open();
        assert!(open.lets_in(now, inner, outer) && open.lets_out(now, inner, outer));
        open = open.shut(false, true);
        assert!(!open.lets_in(now, inner, outer) && open.lets_out(now, inner, outer));
    }

    #[test]
    fn ports_that_are_not_named_stay_shut() {
        let (inner, now) = (addr("10.0.0.2:5"), Instant::now());
        let mut firewall = Firewall::stateful().to_ports(&[3478, 443]);
        assert!(firewall.lets_out(now, inner, addr("1.1.1.1:3478")));
        assert!(!firewall.lets_out(now, inner, addr("1.1.1.1:3479")));
        assert!(!firewall.lets_in(now, inner, addr("1.1.1.1:3479")));
        assert!(!Firewall::without_udp().lets_out(now, inner, addr("1.1.1.1:443")));
    }
}
