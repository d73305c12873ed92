//! What a world knows about the tunnels in it: addresses to give, certificates to issue, how to make a machine again.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use adit_core::client::Families;
use adit_core::connector::GatewayKey;
use adit_core::time::WallCell;

use crate::machine::Machine;
use crate::nat::Nat;
use crate::network::{Home, HostIndex};
use crate::pki::Pki;
use crate::target::Target;

use super::papers::{Member, Papers};
use super::{Handle, World};

/// What makes the machine of a host, the first time and after each death.
type Maker = Rc<dyn Fn(&mut World)>;

pub(crate) struct Fleet {
    pub(super) families: Families,
    pub(super) pki: Pki,
    pub(super) gateway_names: BTreeMap<HostIndex, String>,
    pub(super) keys: BTreeMap<(HostIndex, u32, HostIndex), GatewayKey>,
    pub(super) members: BTreeMap<HostIndex, Rc<Member>>,
    pub(super) papers: BTreeMap<HostIndex, Papers>,
    /// The time, as the TLS of connectors reads it.
    pub(super) walls: BTreeMap<HostIndex, WallCell>,
    makers: BTreeMap<HostIndex, Maker>,
    counts: BTreeMap<Kind, u16>,
}

/// The neighbourhoods of the public network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    Relay = 1,
    Gateway = 2,
    Connector = 3,
    Target = 77,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            families: Families::V4,
            pki: Pki::default(),
            gateway_names: BTreeMap::new(),
            keys: BTreeMap::new(),
            members: BTreeMap::new(),
            papers: BTreeMap::new(),
            walls: BTreeMap::new(),
            makers: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }
}

/// The secret that relays and gateways share for time-limited credentials.
pub(super) const SECRET: &[u8] = b"only in simulated worlds";

/// The organisation of everybody who is not said to be of another.
pub(super) const ORGANISATION: &str = "acme";

/// The addresses of one host: public ones, and private ones where there is a NAT between.
pub(super) struct Addresses {
    pub(super) public: Vec<IpAddr>,
    private: Vec<IpAddr>,
}

/// What a host is behind: a NAT of its own, or a private network that it shares.
#[derive(Debug, Clone)]
pub enum Behind {
    /// A NAT with nobody else behind it.
    Nat(Nat),
    /// A private network, by [`World::home`].
    Home(Home),
}

impl From<Nat> for Behind {
    fn from(nat: Nat) -> Self {
        Self::Nat(nat)
    }
}

impl From<Home> for Behind {
    fn from(home: Home) -> Self {
        Self::Home(home)
    }
}

impl World {
    /// Gives all hosts addresses of these families from now on; IPv4 alone is the default.
    pub fn over(mut self, families: Families) -> Self {
        self.fleet.families = families;
        self
    }

    /// Starts the machine of a host anew, with another seed; kills it first if it still runs. What it had in memory
    /// is lost; what it had on its disk is not: its key, its certificate and its credentials, or a relay's secrets.
    /// Compare [`reinstall`](Self::reinstall).
    pub fn restart<M: Machine>(&mut self, on: Handle<M>) {
        self.kill(on);
        let make = self.fleet.makers.get(&on.host).expect("a world made it").clone();
        make(self);
    }

    /// A private network behind `nat`, for several hosts to be behind. Its public addresses are such as connectors have,
    /// so that gateways permit connectors behind it.
    ///
    /// ```
    /// use adit_sim::{KIB, Nat, World};
    ///
    /// let mut world = World::seeded(7);
    /// let relay = world.relay("a");
    /// let home = world.home(Nat::symmetric());
    /// let gateway = world.gateway("gw").behind(home).on([relay]);
    /// let stream = world.connector().behind(home).open(gateway, "tcp://echo:7");
    ///
    /// world.transfer(stream, 10 * KIB);
    /// world.run_until_quiet();
    /// assert_eq!(world.received(stream), world.sent(stream));
    /// ```
    pub fn home(&mut self, nat: Nat) -> Home {
        let public = self.next_addresses(Kind::Connector).public;
        self.nat_at(nat, &public)
    }

    /// Puts a target behind a name, which is made up of the next free addresses of the private network, and returns
    /// the addresses.
    pub fn target(&mut self, name: &str, port: u16, target: Target) -> Vec<IpAddr> {
        let addresses = self.next_addresses(Kind::Target).private;
        self.name(name, &addresses);
        for &address in &addresses {
            self.place((address, port).into(), target.clone());
        }
        addresses
    }

    /// The targets that every gateway allows.
    pub(super) fn place_usual_targets(&mut self) {
        if self.directory.resolve("echo").is_err() {
            self.target("echo", 7, Target::Echo);
            self.target("sink", 9, Target::Sink);
        }
    }

    pub(super) fn next_addresses(&mut self, kind: Kind) -> Addresses {
        let count = self.fleet.counts.entry(kind).or_default();
        *count += 1;
        addresses(self.fleet.families, kind, *count)
    }

    pub(super) fn settle_down<M: Machine>(
        &mut self,
        name: &str,
        kind: Kind,
        behind: Option<Behind>,
    ) -> (Handle<M>, Addresses) {
        let addresses = self.next_addresses(kind);
        let handle = match behind {
            Some(Behind::Nat(nat)) => self.host(name, &addresses.private, Some((nat, &addresses.public))),
            Some(Behind::Home(home)) => self.host_in(home, name, &addresses.private),
            None => self.host(name, &addresses.public, None),
        };
        (handle, addresses)
    }

    /// Remembers how to make the machine of `on`, and makes it.
    pub(super) fn make<M: Machine>(&mut self, on: Handle<M>, maker: impl Fn(&mut World) + 'static) {
        let maker: Maker = Rc::new(maker);
        self.fleet.makers.insert(on.host, maker.clone());
        maker(self);
    }
}

/// The public addresses that the first `count` connectors and homes of a world will have: gateways permit them.
pub(crate) fn first_connectors(families: Families, count: u16) -> Vec<IpAddr> {
    (1..=count).flat_map(|number| addresses(families, Kind::Connector, number).public).collect()
}

/// Public addresses are such as nobody's policy objects to.
fn addresses(families: Families, kind: Kind, number: u16) -> Addresses {
    let place = kind as u8;
    let (hex, [high, low]) = (u16::from(place), number.to_be_bytes());
    let v4 = |first: u8, last: [u8; 2]| IpAddr::V4(Ipv4Addr::new(first, place, last[0], last[1]));
    let public6 = IpAddr::V6(Ipv6Addr::new(0x2a0a, 0xad17, hex, 0, 0, 0, 0, number));
    let private6 = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, hex, number, 0, 0, 0, 2));
    let pick = |v4: IpAddr, v6: IpAddr| match families {
        Families::V4 => vec![v4],
        Families::V6 => vec![v6],
        Families::Both => vec![v4, v6],
    };
    let (public4, private4) = (v4(11, [high, low]), v4(10, [low, high + 2]));
    Addresses { public: pick(public4, public6), private: pick(private4, private6) }
}
