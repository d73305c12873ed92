//! Moves time and packets between hosts: the driver of every machine in a world.
//!
//! One step is one instant: what arrives then, or a machine's deadline. After each input a machine is settled:
//! its transmits are sent, its effects carried out and its woken pipes pumped until it has nothing more to say. The
//! cost of a step grows with the logarithm of the number of hosts, and with nothing else.

mod around;
mod connectors;
mod effects;
mod fleet;
mod gateways;
mod links;
mod papers;
mod relays;
mod streams;
mod traffic;
mod transfer;

use std::any::Any;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use adit_core::io::{Completion, Forwards, PipeId};
use adit_core::rand::{Rng, Seed};
use adit_core::time::{Clock, DeadlineQueue};

use crate::clock::Present;
use crate::host::Host;
use crate::machine::{Driven, Machine, Resident};
use crate::nat::Nat;
use crate::network::{Door, Home, HostIndex, Network, Packet};
use crate::party::{Party, Stream};
use crate::queue::Queue;
use crate::target::Directory;
pub use connectors::ConnectorBuilder;
pub use fleet::Behind;
use fleet::Fleet;
pub(crate) use fleet::first_connectors;
pub use gateways::GatewayBuilder;
use links::Links;
pub use papers::Agent;
use transfer::Watch;
pub use transfer::{Point, Transfer};

/// A host whose machine is an `M`.
pub struct Handle<M> {
    pub(crate) host: HostIndex,
    kind: PhantomData<fn() -> M>,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Handle<M> {}

impl<M> std::fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({})", self.host)
    }
}

/// Hosts, the network between them and the present.
pub struct World {
    present: Present,
    rng: Rng,
    queue: Queue<Happening>,
    /// The next deadline of each host that has one, not before it wakes up.
    deadlines: DeadlineQueue<HostIndex>,
    hosts: Vec<Host>,
    network: Network,
    directory: Directory,
    parties: Vec<Party>,
    /// Where each party sits, or sat: in the order of `parties`.
    seats: Vec<(HostIndex, PipeId)>,
    /// How many parties are not over.
    open: usize,
    dials: Vec<(HostIndex, SocketAddr)>,
    connections: BTreeMap<(HostIndex, PipeId, u32), Stream>,
    watches: Vec<Watch>,
    links: Links,
    fleet: Fleet,
    spin: Spin,
    scratch: Vec<u8>,
    forwards: Forwards,
}

/// How often deadlines were met without time passing.
#[derive(Default)]
struct Spin {
    at: Option<Instant>,
    count: u32,
}

enum Happening {
    Arrives {
        door: Door,
        packet: Packet,
    },
    Completes {
        host: HostIndex,
        life: u32,
        done: Completion,
    },
    Connects {
        host: HostIndex,
        life: u32,
        pipe: PipeId,
        to: SocketAddr,
        result: Result<(), ErrorKind>,
    },
    Resumes {
        host: HostIndex,
        life: u32,
        pipe: PipeId,
    },
    Wakes {
        host: HostIndex,
    },
    /// Something that is no machine's.
    Duty(Box<dyn FnOnce(&mut World)>),
}

impl World {
    /// The time that the operating system takes to answer an effect.
    const SYSTEM_CALL: Duration = Duration::from_micros(50);
    /// The time that a name look-up takes.
    const RESOLVING: Duration = Duration::from_millis(2);
    /// The most segments that one transmit may have.
    const SEGMENTS: NonZeroUsize = NonZeroUsize::new(10).expect("not zero");
    /// How many deadlines one instant may have before the world is taken to spin.
    const SPIN: u32 = 100_000;

    /// An empty world. The same seed gives the same run.
    pub fn seeded(seed: u64) -> Self {
        let mut bytes: Seed = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut rng = Rng::new(bytes);
        let network = Network::new(Rng::new(rng.fork()));
        Self {
            present: Present::beginning(),
            rng,
            queue: Queue::default(),
            deadlines: DeadlineQueue::default(),
            hosts: Vec::new(),
            network,
            directory: Directory::default(),
            parties: Vec::new(),
            seats: Vec::new(),
            open: 0,
            dials: Vec::new(),
            connections: BTreeMap::new(),
            watches: Vec::new(),
            links: Links::default(),
            fleet: Fleet::default(),
            spin: Spin::default(),
            scratch: Vec::new(),
            forwards: Forwards::default(),
        }
    }

    /// Adds a host without a machine. Behind a NAT, `addresses` are its private ones and `public` the NAT's.
    pub fn host<M: Machine>(
        &mut self,
        name: &str,
        addresses: &[IpAddr],
        nat: Option<(Nat, &[IpAddr])>,
    ) -> Handle<M> {
        let home = nat.map(|(nat, public)| self.nat_at(nat, public));
        self.add(name, addresses, home)
    }

    /// Adds a host without a machine to a private network, where `addresses` are its own.
    pub fn host_in<M: Machine>(&mut self, home: Home, name: &str, addresses: &[IpAddr]) -> Handle<M> {
        self.add(name, addresses, Some(home))
    }

    /// Puts a NAT at the `public` addresses, with a private network behind it that has no host yet.
    pub fn nat_at(&mut self, nat: Nat, public: &[IpAddr]) -> Home {
        self.network.settle(nat, public)
    }

    fn add<M: Machine>(&mut self, name: &str, addresses: &[IpAddr], home: Option<Home>) -> Handle<M> {
        let host = self.hosts.len();
        self.hosts.push(Host::new(name, addresses.to_vec()));
        self.network.connect(addresses, home);
        Handle { host, kind: PhantomData }
    }

    /// Starts the machine that `make` makes on a host that has none.
    pub fn start<M: Machine>(&mut self, on: Handle<M>, make: impl FnOnce(Clock, Instant, Seed) -> M) {
        let seed = self.rng.fork();
        let host = &mut self.hosts[on.host];
        assert!(host.machine.is_none(), "{} runs already", host.name);
        let now = self.present.now();
        let machine = make(self.present.wall(host.skew), now, seed);
        host.machine = Some(Box::new(Resident::new(machine)));
        self.settle(on.host);
    }

    /// Stops the machine of a host between two instructions: it says no goodbye. Its streams are cut.
    pub fn kill<M: Machine>(&mut self, on: Handle<M>) {
        let host = &mut self.hosts[on.host];
        for stream in host.pipes.values() {
            self.parties[stream.0].cut();
        }
        self.open -= host.pipes.len();
        host.vacate();
        self.cut_links(on.host);
        self.schedule(on.host);
    }

    /// Whether the machine of a host runs.
    pub fn runs<M: Machine>(&self, on: Handle<M>) -> bool {
        self.hosts[on.host].machine.is_some()
    }

    /// The machine of a host.
    ///
    /// # Panics
    /// When it was killed.
    pub fn machine<M: Machine>(&self, on: Handle<M>) -> &M {
        &self.resident(on).machine
    }

    /// What the machine of a host has told since it was started, but for effects.
    pub fn news<M: Machine>(&self, on: Handle<M>) -> &[M::Event] {
        &self.resident(on).news
    }

    /// Calls the machine of a host, as its application would, and carries out what follows.
    pub fn call<M: Machine, T>(&mut self, on: Handle<M>, call: impl FnOnce(&mut M, Instant) -> T) -> T {
        let now = self.present.now();
        let host = &mut self.hosts[on.host];
        let machine = host.machine.as_mut().expect("its machine runs");
        let machine: &mut dyn Any = &mut **machine;
        let resident = machine.downcast_mut::<Resident<M>>().expect("a handle knows its machine");
        let result = call(&mut resident.machine, now);
        self.settle(on.host);
        result
    }

    fn resident<M: Machine>(&self, on: Handle<M>) -> &Resident<M> {
        let machine: &dyn Any = &**self.hosts[on.host].machine.as_ref().expect("its machine runs");
        machine.downcast_ref().expect("a handle knows its machine")
    }
}

/// Time.
impl World {
    /// The present.
    pub fn now(&self) -> Instant {
        self.present.now()
    }

    /// The time since the beginning of the world.
    pub fn elapsed(&self) -> Duration {
        self.present.elapsed()
    }

    /// Lets `time` pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.next().is_some_and(|next| next <= end) {
            self.step();
        }
        self.present.advance(end);
    }

    /// Does something when `time` has passed.
    pub fn after(&mut self, time: Duration, act: impl FnOnce(&mut Self) + 'static) {
        self.queue.plan(self.now() + time, Happening::Duty(Box::new(act)));
    }

    /// Runs until `done`, at most for `limit`; whether it came to be.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now() + limit;
        while !done(self) {
            if self.next().is_none_or(|next| next > end) {
                self.present.advance(end);
                return done(self);
            }
            self.step();
        }
        true
    }

    /// When something happens next.
    pub fn next(&self) -> Option<Instant> {
        let at = [self.queue.next(), self.deadlines.next()].into_iter().flatten().min()?;
        Some(at.max(self.now()))
    }

    /// Notes when the machine of a host wants to be called next.
    fn schedule(&mut self, host: HostIndex) {
        let Host { deadline, asleep, .. } = &self.hosts[host];
        match deadline {
            Some(deadline) => self.deadlines.set(host, asleep.map_or(deadline.at, |at| at.max(deadline.at))),
            None => self.deadlines.cancel(host),
        }
    }

    /// Lets the next thing happen. False when nothing ever will.
    pub fn step(&mut self) -> bool {
        let Some(next) = self.next() else { return false };
        self.present.advance(next);
        if self.queue.peek(next).is_some() {
            let happening = self.queue.pop().expect("it was peeked at");
            self.happen(happening);
        } else if let Some((_, host)) = self.deadlines.first() {
            self.note_spin(host);
            self.hosts[host].wakes += 1;
            self.input(host, Driven::handle_timeout);
        }
        self.act_on_watches();
        true
    }

    fn note_spin(&mut self, host: HostIndex) {
        if self.spin.at != Some(self.now()) {
            self.spin = Spin { at: Some(self.now()), count: 0 };
        }
        self.spin.count += 1;
        let Host { name, deadline, .. } = &self.hosts[host];
        let why = deadline.map(|deadline| deadline.why);
        assert!(self.spin.count < Self::SPIN, "{name} spins at {:?}: {why:?}", self.elapsed());
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { door, packet } => self.arrive(door, packet),
            Happening::Completes { host, life, done } if life == self.hosts[host].life => {
                self.input(host, |machine, now| machine.handle_completion(now, done));
            }
            Happening::Connects { host, life, pipe, to, result } if life == self.hosts[host].life => {
                self.connect(host, pipe, to, result);
            }
            Happening::Resumes { host, life, pipe } if life == self.hosts[host].life => {
                self.hosts[host].woken.push_back(pipe);
                self.settle(host);
            }
            Happening::Wakes { host } => self.wake_up(host),
            Happening::Duty(act) => act(self),
            Happening::Completes { .. } | Happening::Connects { .. } | Happening::Resumes { .. } => {}
        }
    }

    fn input(&mut self, host: HostIndex, input: impl FnOnce(&mut dyn Driven, Instant)) {
        let now = self.now();
        if let Some(machine) = &mut self.hosts[host].machine {
            input(&mut **machine, now);
            self.settle(host);
        }
    }
}
