//! Many gateways behind all kinds of NATs, each on two relays, and a few connectors that open a stream each second.

use std::time::Duration;

use adit_core::connector::Connector;
use adit_core::gateway::Gateway;
use adit_sim::{Handle, KIB, Link, Nat, Percent, Stream, World, secs};

/// How many there are of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) relays: usize,
    pub(crate) gateways: usize,
    pub(crate) connectors: usize,
}

pub(crate) struct Crowd {
    pub(crate) world: World,
    pub(crate) streams: Vec<Stream>,
    gateways: Vec<Handle<Gateway>>,
    connectors: Vec<Handle<Connector>>,
}

impl Crowd {
    /// How many bytes a stream echoes.
    const BYTES: usize = 4 * KIB;

    /// A crowd of which every gateway has its allocations. At least two relays, and one of the others.
    pub(crate) fn gathered(seed: u64, size: Size) -> Self {
        let mut world = World::seeded(seed);
        let link = Link::of(Duration::from_millis(20)).losing(1.percent()).reordering(1.percent());
        world.set_usual_link(link.jittering(Duration::from_millis(5)));
        let relays: Vec<_> = (0..size.relays).map(|number| world.relay(&format!("relay-{number}"))).collect();
        let homes: Vec<_> = Nat::kinds().map(|nat| world.home(nat)).collect();
        let gateways = (0..size.gateways).map(|number| {
            let on = [relays[number % relays.len()], relays[(number + 1) % relays.len()]];
            let name = format!("gateway-{number}");
            // One in four shares a NAT with others.
            let gateway = match number % 4 {
                0 => world.gateway(&name).behind(homes[number / 4 % homes.len()]),
                _ => world.gateway(&name).behind(Nat::kinds().nth(number % 9).expect("there are nine")),
            };
            gateway.permitting(32).on(on)
        });
        let gateways: Vec<_> = gateways.collect();
        let connectors = (0..size.connectors).map(|_| world.connector().behind(Nat::symmetric()).start());
        let connectors = connectors.collect();
        for &gateway in &gateways {
            let both = |world: &World| world.addresses(gateway).len() == 2;
            assert!(world.run_until(secs(60), both), "{:?}", world.news(gateway));
        }
        Self { world, streams: Vec::new(), gateways, connectors }
    }

    /// Lets so many seconds pass. In each of them a connector opens a stream through a gateway, in turn; once in ten
    /// seconds a connector's NAT forgets.
    pub(crate) fn live(&mut self, seconds: usize) {
        for second in 0..seconds {
            let connector = self.connectors[second % self.connectors.len()];
            let gateway = self.gateways[second * 7 % self.gateways.len()];
            if second % 10 == 9 {
                self.world.rebind(connector);
            }
            let stream = self.world.open(connector, gateway, "tcp://echo:7");
            self.world.transfer(stream, Self::BYTES);
            self.streams.push(stream);
            self.world.run_for(secs(1));
        }
        self.world.run_until_quiet();
    }

    /// How many streams came back whole.
    pub(crate) fn whole(&self) -> usize {
        let whole = |stream: &&Stream| self.world.received(**stream) == self.world.sent(**stream);
        self.streams.iter().filter(whole).count()
    }
}

/// The traces of a few small crowds: equal on every machine and in every build.
pub(crate) fn traces() -> [(u64, u64); 3] {
    [1, 2, 3].map(|seed| {
        let mut crowd = Crowd::gathered(seed, Size { relays: 2, gateways: 4, connectors: 2 });
        crowd.live(20);
        (seed, crowd.world.trace().hash())
    })
}
