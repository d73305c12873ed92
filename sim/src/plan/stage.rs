//! The world of a plan, with all that is needed to carry out its steps.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_core::client::Families;
use adit_core::connector::{self, Connector, GatewayKey};
use adit_core::gateway::Gateway;
use adit_core::relay::Relay;

use super::{Behind, Front, Goal, HomeKind, NatKind, Place, Plan};
use crate::clock::secs;
use crate::firewall::Firewall;
use crate::model::{FRAGILE_LEN, Fate, Model, SOURCE, SOURCE_LEN, script};
use crate::nat::Nat;
use crate::network::{Home, Packet};
use crate::party::Stream;
use crate::target::Target;
use crate::world::{self, Handle, World, first_connectors};

/// A world that plays a plan.
pub struct Stage {
    /// The world.
    pub world: World,
    /// The relays.
    pub relays: Vec<Handle<Relay>>,
    /// The gateways.
    pub gateways: Vec<Handle<Gateway>>,
    /// The connectors.
    pub connectors: Vec<Handle<Connector>>,
    /// Connectors without a good certificate, and their ends of the streams that they ask for.
    pub intruders: Vec<(Handle<Connector>, Stream)>,
    /// What is to become of the streams.
    pub model: Model,
    /// The peers that gateways permit.
    pub permitted: Vec<IpAddr>,
    /// Addresses that nobody may ever dial.
    pub untouchable: Vec<IpAddr>,
    /// The packets that passed each relay last.
    pub(super) passed: Vec<VecDeque<Packet>>,
    /// How often each place is cut off at present.
    pub(super) cuts: BTreeMap<Place, u32>,
    /// How often each place's firewall is shut at present: what goes out, what comes in.
    pub(super) shut: BTreeMap<Place, (u32, u32)>,
    /// How many bursts of loss there are at present.
    pub(super) bursts: u32,
    /// The steps that have an effect at present which ends.
    pub(super) lasting: Vec<usize>,
    /// How much of each connector's news was read, in its present life.
    read: Vec<usize>,
    /// The address of each relay.
    relay_addresses: Vec<IpAddr>,
    /// What each connector calls the gateways in its present life, and by which relay it has its connection to each.
    ways: BTreeMap<(usize, GatewayKey), (usize, Option<usize>)>,
}

/// The relayed ports of a plan's relays: few, so that they are used again.
const PORTS: std::ops::RangeInclusive<u16> = 49_152..=49_279;
/// How many connectors gateways let in: those of the plan, and the first intruders, who get as far as a handshake.
const PERMITTED: u16 = 8;
/// How many packets of each relay are kept, for those who tamper with them.
const KEPT: usize = 64;

impl Stage {
    /// The world of a plan before its first step: all gateways have their allocations. `allowed` is what they allow beside
    /// the usual.
    pub(super) fn build(plan: &Plan, allowed: &[String]) -> Self {
        let mut world = World::seeded(plan.seed);
        world.set_usual_link(plan.shape.link);
        let untouchable = targets(&mut world);
        let relays: Vec<_> =
            (0..plan.shape.relays).map(|number| relay(&mut world, &format!("relay-{number}"))).collect();
        let home = world.home(plan.shape.home.nat());
        let gateways = plan.shape.gateways.iter().enumerate();
        let gateways = gateways
            .map(|(number, front)| gateway(&mut world, number, (front, home), &relays, allowed))
            .collect();
        let connectors: Vec<_> =
            plan.shape.connectors.iter().map(|front| connector(&mut world, front, home)).collect();
        Self {
            passed: vec![VecDeque::new(); relays.len()],
            read: vec![0; connectors.len()],
            relay_addresses: relays.iter().map(|&relay| world.addresses_of(relay)[0]).collect(),
            world,
            relays,
            gateways,
            connectors,
            intruders: Vec::new(),
            model: Model::of(plan.shape.relays),
            permitted: first_connectors(Families::V4, PERMITTED),
            untouchable,
            cuts: BTreeMap::new(),
            shut: BTreeMap::new(),
            bursts: 0,
            lasting: Vec::new(),
            ways: BTreeMap::new(),
        }
    }

    /// Whether the machine at a place runs.
    pub fn is_running(&self, at: Place) -> bool {
        match at {
            Place::Relay(number) => self.world.is_running(self.relays[number]),
            Place::Gateway(number) => self.world.is_running(self.gateways[number]),
            Place::Connector(number) => self.world.is_running(self.connectors[number]),
        }
    }

    /// Takes what passed a relay since this was last asked.
    pub fn take_passed(&mut self, relay: usize) -> Vec<Packet> {
        let packets = self.world.take_captured(self.relays[relay]);
        let kept = &mut self.passed[relay];
        kept.extend(packets.iter().rev().take(KEPT).rev().cloned());
        kept.drain(..kept.len().saturating_sub(KEPT));
        packets
    }

    /// Reads what the connectors have told of their streams, and of the ways to gateways.
    pub fn read_news(&mut self) {
        for number in 0..self.connectors.len() {
            let on = self.connectors[number];
            if !self.world.is_running(on) {
                continue;
            }
            let news = self.world.news(on);
            for event in &news[self.read[number]..] {
                note_way(&mut self.ways, &mut self.model.fates, &self.relay_addresses, number, event);
                note(&mut self.model.fates, number, event);
            }
            self.read[number] = news.len();
        }
    }

    /// The streams of a connector that is about to die end without a word.
    pub(super) fn orphan(&mut self, connector: usize) {
        self.read_news();
        self.read[connector] = 0;
        self.ways.retain(|&(by, _), _| by != connector);
        let own = |fate: &&mut Fate| fate.by == connector && !fate.judged;
        self.model.fates.iter_mut().filter(own).for_each(|fate| fate.orphaned = true);
    }

    /// Opens a stream and says the script of that number into it.
    pub(super) fn open(&mut self, number: usize, by: usize, through: usize, goal: Goal, bytes: usize) {
        let (from, gateway) = (self.connectors[by], self.gateways[through]);
        let key = self.world.gateway_key(from, gateway);
        let target = goal.target().parse().expect("the targets of a plan are targets");
        // What the connector knows of its connection before the stream is asked for counts.
        self.read_news();
        let (_, way) = *self.ways.entry((by, key)).or_insert((through, None));
        let pipe = self.world.call(from, |connector, now| connector.open(now, key, &target));
        let pipe = pipe.expect("a plan opens few streams");
        let asked = self.world.elapsed();
        let stream = self.world.attend(from, pipe);
        self.world.say(stream, &script(number as u64, bytes));
        self.world.finish(stream);
        let (opened, failure, hung_up, orphaned, judged) = (false, None, false, false, false);
        self.model.fates.push(Fate {
            number,
            stream,
            pipe,
            by,
            through,
            goal,
            asked,
            ways: way.into_iter().collect(),
            opened,
            failure,
            hung_up,
            orphaned,
            judged,
        });
    }

    /// The address at which a relay listens.
    pub(crate) fn listening(&self, relay: usize) -> SocketAddr {
        SocketAddr::new(self.world.addresses_of(self.relays[relay])[0], 3478)
    }

    /// Some relayed address, if there is one at present.
    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        self.gateways.iter().find_map(|&gateway| self.world.addresses(gateway).first().copied())
    }

    /// Runs until every gateway has its allocations; whether it came to be.
    pub(super) fn get_ready(&mut self) -> bool {
        let gateways = self.gateways.clone();
        let ready = move |world: &World| gateways.iter().all(|&gateway| !world.addresses(gateway).is_empty());
        let ready = self.world.run_until(secs(300), ready);
        // The second relay, and permissions.
        self.world.run_for(secs(3));
        ready
    }
}

impl Goal {
    /// The target's name.
    pub fn target(self) -> &'static str {
        match self {
            Self::Echo => "tcp://echo:7",
            Self::Sink => "tcp://sink:9",
            Self::Source => "tcp://source:19",
            Self::Fragile => "tcp://fragile:1",
            Self::Closed => "tcp://closed:2",
            Self::Forbidden => "tcp://forbidden:22",
        }
    }
}

/// What an intruder asks for: gateways allow it, and nobody else asks.
pub(super) const TRAP: &str = "tcp://trap:6";

/// Notes by which relay a connector reaches a gateway, for the streams as well that are not open yet.
fn note_way(
    ways: &mut BTreeMap<(usize, GatewayKey), (usize, Option<usize>)>,
    fates: &mut [Fate],
    relays: &[IpAddr],
    by: usize,
    event: &connector::Event,
) {
    let (gateway, relay) = match event {
        connector::Event::Connected { gateway, address } => {
            (*gateway, relays.iter().position(|&ip| ip == address.ip()))
        }
        connector::Event::Disconnected { gateway, .. } => (*gateway, None),
        _ => return,
    };
    let Some((through, way)) = ways.get_mut(&(by, gateway)) else { return };
    *way = relay;
    let waits = |fate: &&mut Fate| {
        (fate.by, fate.through) == (by, *through) && !fate.opened && !fate.orphaned && !fate.judged
    };
    fates.iter_mut().filter(waits).for_each(|fate| fate.ways.extend(relay));
}

/// Notes what a connector has told.
fn note(fates: &mut [Fate], by: usize, event: &connector::Event) {
    let (pipe, failure) = match event {
        connector::Event::Opened { pipe, .. } => (*pipe, None),
        connector::Event::Failed { pipe, failure } => (*pipe, Some(failure)),
        _ => return,
    };
    let mut own = fates.iter_mut().filter(|fate| fate.by == by && !fate.orphaned && !fate.judged);
    let Some(fate) = own.find(|fate| fate.pipe == pipe) else { return };
    match failure {
        Some(failure) => fate.failure = Some(failure.clone()),
        None => fate.opened = true,
    }
}

/// Puts the targets there; returns the addresses that must never be dialled.
fn targets(world: &mut World) -> Vec<IpAddr> {
    world.target("source", 19, Target::Source(script(SOURCE, SOURCE_LEN)));
    world.target("fragile", 1, Target::Breaks(FRAGILE_LEN));
    world.target("closed", 2, Target::Refuses);
    let mut untouchable = world.target("forbidden", 22, Target::Echo);
    untouchable.extend(world.target("trap", 6, Target::Echo));
    untouchable
}

fn relay(world: &mut World, name: &str) -> Handle<Relay> {
    let relay = world.relay_with(name, |config| config.ports = PORTS);
    world.capture(relay);
    relay
}

fn gateway(
    world: &mut World,
    number: usize,
    (front, home): (&Front, Home),
    relays: &[Handle<Relay>],
    allowed: &[String],
) -> Handle<Gateway> {
    let mut builder = world.gateway(&format!("gateway-{number}"));
    for goal in [Goal::Source, Goal::Fragile, Goal::Closed] {
        builder = builder.allowing(goal.target());
    }
    builder = allowed.iter().fold(builder.allowing(TRAP), |builder, rule| builder.allowing(rule));
    // Loss alone must not end a handshake, or the model could not say that it must succeed.
    builder = builder.configured(|config| config.quic.handshake_timeout = secs(60));
    if let Some(what) = front.behind.what(home) {
        builder = builder.behind(what);
    }
    if front.firewall {
        builder = builder.firewalled(Firewall::stateful());
    }
    builder.permitting(PERMITTED).on(relays)
}

fn connector(world: &mut World, front: &Front, home: Home) -> Handle<Connector> {
    let mut builder = world.connector().configured(|config| {
        config.connect_timeout = Duration::from_secs(60);
        // Time for all addresses but one to be silent, those before the last restart included.
        config.open_timeout = Duration::from_secs(400);
        config.quic.handshake_timeout = Duration::from_secs(60);
    });
    if let Some(what) = front.behind.what(home) {
        builder = builder.behind(what);
    }
    if front.firewall {
        builder = builder.firewalled(Firewall::stateful());
    }
    builder.start()
}

impl Behind {
    /// What that is in a world; nothing for a public address.
    fn what(self, home: Home) -> Option<world::Behind> {
        match self {
            Self::Nothing => None,
            Self::Nat(nat) => Some(nat.nat().into()),
            Self::Home => Some(home.into()),
        }
    }
}

impl NatKind {
    fn nat(self) -> Nat {
        Nat::of(self.mapping, self.filtering).expiring_after(self.expiry)
    }
}

impl HomeKind {
    fn nat(self) -> Nat {
        let nat = self.nat.nat();
        if self.hairpins { nat } else { nat.without_hairpin() }
    }
}
