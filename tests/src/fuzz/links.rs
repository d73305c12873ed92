//! A relay whose clients come by TCP, and have connections of TCP with peers (RFC 6062): whatever they do, in any order.
//!
//! After each step all indexes of the relay agree and limits hold; what a connection carries arrives as it was sent,
//! with nothing before, between or behind it; and in the end everything is given back.

use std::time::Duration;

use adit_core::stun::Method;
use arbitrary::{Arbitrary, Unstructured};

use super::links_bench::Bench;
use super::relay_bench::peer;

/// The most steps of one run.
const MOST_STEPS: usize = 64;

/// What may happen to a relay.
#[derive(Debug, Arbitrary)]
enum Step {
    /// A client connects.
    Connect {
        source: u8,
    },
    /// A client asks for something; the relay has the request in two pieces, with something else between them, or in
    /// one with what follows it.
    Ask {
        end: u8,
        wish: Wish,
        cut: Option<u8>,
        tail: u8,
    },
    /// A client says anything.
    Raw {
        end: u8,
        bytes: Vec<u8>,
    },
    /// What a connection with a peer carries, from either end.
    Carry {
        end: u8,
        len: u16,
        late: bool,
    },
    /// An end has said everything.
    Finish {
        end: u8,
    },
    /// An end is reset.
    Break {
        end: u8,
    },
    /// An end takes nothing from now on, or again.
    Stick {
        end: u8,
        stuck: bool,
    },
    /// A peer connects to a relayed address.
    Knock {
        socket: u8,
        peer: u8,
    },
    /// The driver has opened a connection with a peer, or could not.
    Opened {
        which: u8,
        succeeds: bool,
    },
    /// A datagram of a peer.
    Datagram {
        socket: u8,
        peer: u8,
        len: u8,
    },
    Wait {
        milliseconds: u16,
    },
    WaitLong {
        seconds: u16,
    },
}

/// What a client asks for.
#[derive(Debug, Arbitrary)]
enum Wish {
    AllocateTcp,
    AllocateUdp,
    Refresh {
        seconds: u16,
    },
    Permit {
        peer: u8,
    },
    BindChannel {
        peer: u8,
        number: u8,
    },
    Connect {
        peer: u8,
    },
    /// One of the connections that the relay has told of, or one that there is not.
    BindConnection {
        which: u8,
    },
    Binding,
}

/// Runs the steps that `bytes` stand for. The first byte tells whether users have a rate.
pub fn links(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let mut bench = Bench::new(first % 2 == 1);
    let mut unstructured = Unstructured::new(bytes);
    let steps = unstructured.arbitrary_iter::<Step>().into_iter().flatten().flatten();
    for step in steps.take(MOST_STEPS) {
        run(&mut bench, step);
        bench.check();
    }
    ends(bench);
}

/// Once all take what is for them, nothing is on its way; and two hours without clients leave nothing behind.
fn ends(mut bench: Bench) {
    bench.unstick();
    bench.has_arrived();
    for _ in 0..24 {
        bench.pass(Duration::from_secs(300));
        bench.check();
    }
    bench.is_empty();
}

fn run(bench: &mut Bench, step: Step) {
    match step {
        Step::Connect { source } => bench.connect(source),
        Step::Ask { end, wish, cut, tail } => ask(bench, end, &wish, (cut, tail)),
        Step::Raw { end, bytes } => bench.raw(end, &bytes),
        Step::Carry { end, len, late } => bench.carry(end, len.into(), late),
        Step::Finish { end } => bench.finish(end),
        Step::Break { end } => bench.break_off(end),
        Step::Stick { end, stuck } => bench.stick(end, stuck),
        Step::Knock { socket, peer: index } => bench.knock(socket, peer(index)),
        Step::Opened { which, succeeds } => bench.opened(which, succeeds),
        Step::Datagram { socket, peer: index, len } => bench.datagram(socket, peer(index), len.into()),
        Step::Wait { milliseconds } => bench.pass(Duration::from_millis(milliseconds.into())),
        Step::WaitLong { seconds } => bench.pass(Duration::from_secs(seconds.into())),
    }
}

fn ask(bench: &mut Bench, end: u8, wish: &Wish, way: (Option<u8>, u8)) {
    match *wish {
        Wish::AllocateTcp => bench.ask(end, Method::ALLOCATE, way, |it| it.requested_transport(6)),
        Wish::AllocateUdp => bench.ask(end, Method::ALLOCATE, way, |it| it.requested_transport(17)),
        Wish::Refresh { seconds } => {
            // Half of them end the allocation.
            let lifetime = Duration::from_secs(seconds.saturating_sub(0x8000).into());
            bench.ask(end, Method::REFRESH, way, |it| it.lifetime(lifetime));
        }
        Wish::Permit { peer: index } => {
            bench.ask(end, Method::CREATE_PERMISSION, way, |it| it.peer_address(peer(index)));
        }
        Wish::BindChannel { peer: index, number } => {
            let number = 0x4000 + u16::from(number % 4);
            bench.ask(end, Method::CHANNEL_BIND, way, |it| {
                it.channel_number(number).peer_address(peer(index))
            });
        }
        Wish::Connect { peer: index } => {
            bench.ask(end, Method::CONNECT, way, |it| it.peer_address(peer(index)));
        }
        Wish::BindConnection { which } => {
            let number = bench.connection(which);
            bench.ask(end, Method::CONNECTION_BIND, way, |it| it.connection_id(number));
        }
        Wish::Binding => bench.ask(end, Method::BINDING, way, |it| it),
    }
}
