//! Network address translators of every kind that RFC 4787 names.
//!
//! A NAT is described by what its mappings depend on (§4.1), what its filter depends on (§5) and how long a mapping
//! lives without outbound traffic (§4.3).

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

/// A NAT in front of one host.
#[derive(Debug, Clone)]
pub struct Nat {
    mapping: Dependence,
    filtering: Dependence,
    expiry: Duration,
    external: Vec<IpAddr>,
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
    /// The NAT with these two dependences. Its mappings live for two minutes, the least that RFC 4787 REQ-5 allows.
    pub fn of(mapping: Dependence, filtering: Dependence) -> Self {
        Self {
            mapping,
            filtering,
            expiry: Duration::from_secs(120),
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

    /// Forgets a mapping after that time without outbound traffic.
    pub fn expiring_after(self, expiry: Duration) -> Self {
        Self { expiry, ..self }
    }

    /// What its mappings depend on, and its filter.
    pub fn kind(&self) -> (Dependence, Dependence) {
        (self.mapping, self.filtering)
    }

    pub(crate) fn attach(&mut self, external: Vec<IpAddr>) {
        self.external = external;
    }

    /// The number of mappings that have not been forgotten.
    pub fn mappings(&self) -> usize {
        self.mappings.len()
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
            let external = self.free_port(rng, inner.is_ipv4())?;
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
        let (expiry, owners) = (self.expiry, &mut self.owners);
        self.mappings.retain(|_, mapping| {
            let alive = now.duration_since(mapping.used) < expiry;
            if !alive {
                owners.remove(&mapping.external);
            }
            alive
        });
    }

    fn free_port(&self, rng: &mut Rng, v4: bool) -> Option<SocketAddr> {
        let ip = *self.external.iter().find(|ip| ip.is_ipv4() == v4)?;
        let ports = std::iter::repeat_with(|| 1024 + rng.below(64_512)).take(1000);
        ports
            .map(|port| SocketAddr::new(ip, u16::try_from(port).expect("below 65,536")))
            .find(|addr| !self.owners.contains_key(addr))
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
            let inner = "10.0.0.2:5000".parse().unwrap();
            self.nat.outward(self.now, &mut self.rng, inner, remote.parse().unwrap()).unwrap()
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
        assert_eq!(bench.nat.mappings(), 1);
    }
}
