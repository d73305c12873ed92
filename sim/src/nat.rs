//! Network address translators of every kind that RFC 4787 names.
//!
//! A NAT is described by what its mappings depend on (§4.1), what its filter depends on (§5) and how long a mapping
//! lives without outbound traffic (§4.3); besides, whether it keeps the inner port (§4.2.1) and whether hosts behind it
//! reach each other by its own address (hairpinning, §6).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_core::rand::Rng;

/// What a mapping, or a filter, depends on (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependence {
    /// On nothing about the other end.
    EndpointIndependent,
    /// On the other end's address.
    Address,
    /// On the other end's address and port.
    AddressAndPort,
}

impl Dependence {
    /// All three.
    pub const ALL: [Self; 3] = [Self::EndpointIndependent, Self::Address, Self::AddressAndPort];

    /// What of `remote` it looks at.
    fn view(self, remote: SocketAddr) -> View {
        match self {
            Self::EndpointIndependent => (None, 0),
            Self::Address => (Some(remote.ip()), 0),
            Self::AddressAndPort => (Some(remote.ip()), remote.port()),
        }
    }
}

type View = (Option<IpAddr>, u16);

/// A NAT in front of one host, or of several.
#[derive(Debug, Clone)]
pub struct Nat {
    mapping: Dependence,
    filtering: Dependence,
    expiry: Duration,
    hairpins: bool,
    preserves_ports: bool,
    external: Vec<IpAddr>,
    /// Before this, no mapping is too old.
    sweep: Option<Instant>,
    mappings: BTreeMap<(SocketAddr, View), Mapping>,
    owners: BTreeMap<SocketAddr, (SocketAddr, View)>,
}

#[derive(Debug, Clone)]
struct Mapping {
    external: SocketAddr,
    used: Instant,
    contacted: BTreeSet<View>,
}

impl Nat {
    /// The NAT with these two dependences. Its mappings live for two minutes, the least that RFC 4787 REQ-5 allows; it
    /// does hairpinning, as REQ-9 asks, and takes any port.
    pub fn of(mapping: Dependence, filtering: Dependence) -> Self {
        Self {
            mapping,
            filtering,
            expiry: Duration::from_secs(120),
            hairpins: true,
            preserves_ports: false,
            sweep: None,
            external: Vec::new(),
            mappings: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    /// Lets everybody in who finds the mapping.
    pub fn full_cone() -> Self {
        Self::of(Dependence::EndpointIndependent, Dependence::EndpointIndependent)
    }

    /// Lets addresses in that were sent to.
    pub fn restricted_cone() -> Self {
        Self::of(Dependence::EndpointIndependent, Dependence::Address)
    }

    /// Lets addresses and ports in that were sent to.
    pub fn port_restricted_cone() -> Self {
        Self::of(Dependence::EndpointIndependent, Dependence::AddressAndPort)
    }

    /// Has another port for every other end, and lets nobody else in.
    pub fn symmetric() -> Self {
        Self::of(Dependence::AddressAndPort, Dependence::AddressAndPort)
    }

    /// Every kind there is.
    pub fn kinds() -> impl Iterator<Item = Self> {
        Dependence::ALL.into_iter().flat_map(|mapping| {
            Dependence::ALL.into_iter().map(move |filtering| Self::of(mapping, filtering))
        })
    }

    /// Forgets a mapping after that time without outbound traffic. What comes in keeps nothing up: REQ-6 asks for no
    /// more, and whoever relied on more would be lost behind such NATs.
    pub fn expiring_after(self, expiry: Duration) -> Self {
        Self { expiry, ..self }
    }

    /// Gives each mapping the port that the host behind it sends from, if it is free (port preservation, §4.2.1): after
    /// a restart the flow gets the same one again.
    pub fn preserving_ports(self) -> Self {
        Self { preserves_ports: true, ..self }
    }

    /// Lets no host behind it reach another one by the NAT's own address, against REQ-9.
    pub fn without_hairpin(self) -> Self {
        Self { hairpins: false, ..self }
    }

    /// What its mappings depend on, and its filter.
    pub fn kind(&self) -> (Dependence, Dependence) {
        (self.mapping, self.filtering)
    }

    pub(crate) fn attach(&mut self, external: Vec<IpAddr>) {
        self.external = external;
    }

    /// The public addresses.
    pub(crate) fn external(&self) -> &[IpAddr] {
        &self.external
    }

    pub(crate) fn hairpins(&self) -> bool {
        self.hairpins
    }

    /// The number of mappings that have not been forgotten at `now`.
    pub fn mappings(&self, now: Instant) -> usize {
        self.mappings.values().filter(|mapping| mapping.is_alive(now, self.expiry)).count()
    }

    /// Whose mapping `external` is, whoever asks.
    pub(crate) fn inner(&self, external: SocketAddr) -> Option<SocketAddr> {
        self.owners.get(&external).map(|&(inner, _)| inner)
    }

    /// Forgets everything, as after a restart: the next packet of each flow gets another port.
    pub(crate) fn rebind(&mut self) {
        self.mappings.clear();
        self.owners.clear();
    }

    /// The address that `remote` sees when `inner` sends to it; `None` without an external address of that family.
    pub(crate) fn outward(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        inner: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        self.expire(now);
        let key = (inner, self.mapping.view(remote));
        if !self.mappings.contains_key(&key) {
            let external = self.free_port(rng, inner)?;
            self.owners.insert(external, key);
            self.mappings.insert(key, Mapping { external, used: now, contacted: BTreeSet::new() });
        }
        let mapping = self.mappings.get_mut(&key).expect("it was there or was made");
        mapping.used = now;
        mapping.contacted.insert(self.filtering.view(remote));
        Some(mapping.external)
    }

    /// The inner address behind `external`, if `remote` may come in there.
    pub(crate) fn inward(
        &mut self,
        now: Instant,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        self.expire(now);
        let key = self.owners.get(&external)?;
        let allowed = self.mappings.get(key)?.contacted.contains(&self.filtering.view(remote));
        (allowed || self.filtering == Dependence::EndpointIndependent).then_some(key.0)
    }

    fn expire(&mut self, now: Instant) {
        if self.sweep.is_some_and(|sweep| now < sweep) {
            return;
        }
        let (expiry, owners) = (self.expiry, &mut self.owners);
        self.mappings.retain(|_, mapping| {
            let alive = mapping.is_alive(now, expiry);
            if !alive {
                owners.remove(&mapping.external);
            }
            alive
        });
        // Whatever is used from now on lives at least as long as what is left.
        let oldest = self.mappings.values().map(|mapping| mapping.used).min().unwrap_or(now);
        self.sweep = Some(oldest + expiry);
    }

    fn free_port(&self, rng: &mut Rng, inner: SocketAddr) -> Option<SocketAddr> {
        let ip = *self.external.iter().find(|ip| ip.is_ipv4() == inner.is_ipv4())?;
        let same = self.preserves_ports.then_some(inner.port());
        let any = std::iter::repeat_with(|| u16::try_from(1024 + rng.below(64_512)).expect("below 65,536"));
        same.into_iter()
            .chain(any.take(1000))
            .map(|port| SocketAddr::new(ip, port))
            .find(|addr| !self.owners.contains_key(addr))
    }
}

impl Mapping {
    fn is_alive(&self, now: Instant, expiry: Duration) -> bool {
        now.duration_since(self.used) < expiry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        nat: Nat,
        rng: Rng,
        now: Instant,
    }

    impl Bench {
        fn new(mut nat: Nat) -> Self {
            nat.attach(vec!["11.0.0.1".parse().unwrap()]);
            Self { nat, rng: Rng::new([5; 32]), now: Instant::now() }
        }

        fn out(&mut self, remote: &str) -> SocketAddr {
            self.out_of("10.0.0.2:5000", remote)
        }

        fn out_of(&mut self, inner: &str, remote: &str) -> SocketAddr {
            let (inner, remote) = (inner.parse().unwrap(), remote.parse().unwrap());
            self.nat.outward(self.now, &mut self.rng, inner, remote).unwrap()
        }

        fn enters(&mut self, external: SocketAddr, remote: &str) -> bool {
            self.nat.inward(self.now, external, remote.parse().unwrap()).is_some()
        }
    }

    #[test]
    fn a_mapping_depends_on_what_its_kind_says() {
        for nat in Nat::kinds() {
            let (mapping, _) = nat.kind();
            let mut bench = Bench::new(nat);
            let first = bench.out("1.1.1.1:1");
            assert_eq!(bench.out("1.1.1.1:1"), first);
            assert_eq!(bench.out("1.1.1.1:2") == first, mapping != Dependence::AddressAndPort);
            assert_eq!(bench.out("2.2.2.2:1") == first, mapping == Dependence::EndpointIndependent);
        }
    }

    #[test]
    fn a_filter_lets_in_what_its_kind_says() {
        for nat in Nat::kinds() {
            let (_, filtering) = nat.kind();
            let mut bench = Bench::new(nat);
            let external = bench.out("1.1.1.1:1");
            assert!(bench.enters(external, "1.1.1.1:1"));
            assert_eq!(bench.enters(external, "1.1.1.1:2"), filtering != Dependence::AddressAndPort);
            assert_eq!(bench.enters(external, "2.2.2.2:1"), filtering == Dependence::EndpointIndependent);
        }
    }

    #[test]
    fn a_silent_mapping_is_forgotten() {
        let mut bench = Bench::new(Nat::full_cone().expiring_after(Duration::from_secs(30)));
        let external = bench.out("1.1.1.1:1");
        bench.now += Duration::from_secs(29);
        assert!(bench.enters(external, "1.1.1.1:1"));
        bench.now += Duration::from_secs(1);
        assert!(!bench.enters(external, "1.1.1.1:1"));
        assert_ne!(bench.out("1.1.1.1:1"), external);
        assert_eq!(bench.nat.mappings(bench.now), 1);
    }

    #[test]
    fn a_busy_mapping_does_not_keep_an_old_one_up() {
        let mut bench = Bench::new(Nat::symmetric().expiring_after(Duration::from_secs(30)));
        let old = bench.out("1.1.1.1:1");
        bench.now += Duration::from_secs(20);
        let young = bench.out("1.1.1.1:2");
        bench.now += Duration::from_secs(10);
        assert!(!bench.enters(old, "1.1.1.1:1"));
        bench.now += Duration::from_secs(15);
        assert_eq!(bench.out("1.1.1.1:2"), young);
    }

    #[test]
    fn a_port_is_preserved_where_it_is_free_and_found_again_after_a_restart() {
        let mut bench = Bench::new(Nat::full_cone().preserving_ports());
        let first = bench.out("1.1.1.1:1");
        assert_eq!(first.port(), 5000);
        let second = bench.out_of("10.0.0.3:5000", "1.1.1.1:1");
        assert_ne!(second.port(), 5000);
        bench.nat.rebind();
        assert!(!bench.enters(first, "1.1.1.1:1"));
        assert_eq!(bench.out("1.1.1.1:1"), first);
    }
}
