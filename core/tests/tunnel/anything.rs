//! Anything may happen, in any order; in the end nothing is left.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use adit_core::connector;
use adit_core::gateway;
use adit_core::io::{Completion, PipeId};
use adit_core::pki::Revoked;
use adit_core::rand::Rng;

use super::pki::identity;
use super::world::{Dialled, Node, SECOND, Setup, World, addr, connector_ip, gateways_relay};
use super::{ECHO, NAMED};

/// The pipes that each side's driver holds.
struct Held {
    connector: BTreeSet<PipeId>,
    gateway: BTreeSet<PipeId>,
    /// Dials that are not answered.
    dialling: Vec<PipeId>,
    seen: usize,
}

impl Held {
    fn of(&self, node: Node) -> &BTreeSet<PipeId> {
        if node == Node::Gateway { &self.gateway } else { &self.connector }
    }

    /// Some pipe of some side.
    fn any(&self, rng: &mut Rng) -> Option<(Node, PipeId)> {
        let node = if rng.below(2) == 0 { Node::Gateway } else { Node::Connector };
        let pipes = self.of(node);
        let index = rng.below(u32::try_from(pipes.len()).unwrap().max(1)) as usize;
        Some((node, *pipes.iter().nth(index)?))
    }

    /// What the drivers learn from the events.
    fn learn(&mut self, world: &World) {
        for (pipe, to, _) in &world.dials[self.seen..] {
            match world.dialling.get(to) {
                Some(Dialled::Later) => self.dialling.push(*pipe),
                Some(Dialled::Fails(_)) => {}
                Some(Dialled::Open) | None => drop(self.gateway.insert(*pipe)),
            }
        }
        self.seen = world.dials.len();
        for event in &world.at_connector {
            if let connector::Event::Failed { pipe, .. } = event {
                self.connector.remove(pipe);
            }
        }
    }
}

fn step(world: &mut World, held: &mut Held, rng: &mut Rng) {
    match rng.below(22) {
        0..4 => drop(held.connector.insert(world.try_open(ECHO))),
        4 => drop(held.connector.insert(world.try_open(NAMED))),
        5 => drop(held.connector.insert(world.try_open("tcp://10.0.0.3:7"))),
        6..9 => {
            if let Some((node, pipe)) = held.any(rng) {
                world.write(node, pipe, &vec![1; rng.below(100_000) as usize]);
            }
        }
        9..12 => {
            if let Some((node, pipe)) = held.any(rng) {
                world.read_all(node, pipe);
            }
        }
        12 => {
            if let Some((node, pipe)) = held.any(rng) {
                world.finish(node, pipe);
            }
        }
        13..15 => {
            if let Some((node, pipe)) = held.any(rng) {
                world.close(node, pipe);
                held.connector.retain(|other| (Node::Connector, *other) != (node, pipe));
                held.gateway.retain(|other| (Node::Gateway, *other) != (node, pipe));
            }
        }
        15 => {
            if let Some(pipe) = held.dialling.pop() {
                let result =
                    if rng.below(2) == 0 { Ok(addr("10.0.0.8:7")) } else { Err(ErrorKind::TimedOut) };
                world.complete(Completion::Dialled { pipe, result });
                if result.is_ok() {
                    held.gateway.insert(pipe);
                }
            }
        }
        16 => {
            let silent =
                [Node::Connector, Node::Gateway, Node::Relay(0), Node::Relay(1)][rng.below(4) as usize];
            if !world.silent.remove(&silent) && rng.below(3) == 0 {
                world.silent.insert(silent);
            }
        }
        17 if rng.below(5) == 0 => world.restart_relay(rng.below(2) as usize),
        18 => {
            let mut addresses = world.gateway.addresses();
            let index = rng.below(3) as usize;
            if index < addresses.len() {
                addresses.remove(index);
            }
            world.set_addresses(addresses);
        }
        19 if rng.below(8) == 0 => world.connector.close(world.now),
        20 if rng.below(3) == 0 => {
            let now = world.now;
            match rng.below(4) {
                0 => world.gateway.set_permitted(now, []).unwrap(),
                1 => world.gateway.set_revoked(now, Revoked::new([], [identity("connector/c")])),
                _ => forgive(world),
            }
        }
        21 if rng.below(8) == 0 => {
            let place = rng.below(2) as usize;
            world.gateway.remove_relay(world.now, place);
            world.live(SECOND / 10 * rng.below(10));
            if world.gateway.relays().len() < 2 {
                world.gateway.add_relay(world.now, gateways_relay(place));
            }
        }
        _ => world.live(SECOND / 20 * rng.below(200)),
    }
    world.live(SECOND / 1000 * rng.below(50));
    held.learn(world);
}

/// The connector may come again.
fn forgive(world: &mut World) {
    world.gateway.set_permitted(world.now, [connector_ip()]).unwrap();
    world.gateway.set_revoked(world.now, Revoked::default());
}

#[test]
fn anything_may_happen_and_nothing_is_left() {
    for seed in 0..60 {
        let mut rng = Rng::new([seed; 32]);
        let mut world = World::ready_with(Setup {
            relays: 2,
            gateway: |config| config.quic.max_streams = 20,
            ..Setup::default()
        });
        world
            .names
            .insert("echo.internal".into(), ["10.0.0.8", "10.0.0.9"].map(|ip| ip.parse().unwrap()).into());
        world.dialling.insert(addr("10.0.0.8:7"), Dialled::Later);
        world.dialling.insert(addr("10.0.0.9:7"), Dialled::Fails(ErrorKind::ConnectionRefused));
        let mut held =
            Held { connector: BTreeSet::new(), gateway: BTreeSet::new(), dialling: Vec::new(), seen: 0 };
        for _ in 0..150 {
            step(&mut world, &mut held, &mut rng);
        }
        end(&mut world, held, seed);
    }
}

/// All drivers let go, and the world has time to get over it.
fn end(world: &mut World, mut held: Held, seed: u8) {
    world.silent.clear();
    forgive(world);
    for pipe in std::mem::take(&mut held.connector) {
        world.close(Node::Connector, pipe);
    }
    world.live(60 * SECOND);
    held.learn(world);
    for pipe in held.dialling.drain(..) {
        world.complete(Completion::Dialled { pipe, result: Err(ErrorKind::TimedOut) });
    }
    for pipe in held.gateway {
        world.close(Node::Gateway, pipe);
    }
    world.live(60 * SECOND);
    assert_eq!((world.gateway.pipes(), world.connector.pipes()), (0, 0), "seed {seed}");
    // What a relay still keeps of earlier allocations runs out.
    world.live(700 * SECOND);
    assert_eq!(world.allocations(), 2, "seed {seed}");
    // And all goes on as on the first day.
    world.set_addresses(world.gateway.addresses());
    let (here, there) = world.open(ECHO);
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"as on the first day");
    assert!(world.gateway.connections() <= 2, "seed {seed}");
    world.gateway.close(world.now);
    world.connector.close(world.now);
    world.live(60 * SECOND);
    assert!(world.at_gateway.contains(&gateway::Event::Closed), "seed {seed}");
    assert_eq!(world.allocations(), 0, "seed {seed}");
    assert_eq!(world.connector.poll_timeout(), None, "seed {seed}");
}
