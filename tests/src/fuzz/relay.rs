//! A relay, several clients and peers, and anything that they may do, in any order.
//!
//! After each step all indexes of the relay agree, limits hold, and data has gone only to whom a permission named;
//! in the end everything is given back.

use std::net::SocketAddr;
use std::time::Duration;

use adit_core::stun::{EvenPort, Family, Method};
use adit_core::turn::credential_policy::CredentialPolicy;
use arbitrary::{Arbitrary, Unstructured};

use super::relay_bench::{Bench, TOTAL_QUOTA, is_reachable, peer};

/// The most steps of one run.
const MOST_STEPS: usize = 64;

/// What may happen to a relay.
#[derive(Debug, Arbitrary)]
enum Step {
    /// A client asks for an allocation, in one of several ways.
    Allocate {
        client: u8,
        wish: u8,
    },
    Refresh {
        client: u8,
        seconds: u16,
        family: u8,
    },
    Permit {
        client: u8,
        first: u8,
        second: u8,
    },
    Bind {
        client: u8,
        peer: u8,
        number: u8,
    },
    /// A Send indication.
    Send {
        client: u8,
        peer: u8,
        len: u8,
    },
    /// ChannelData, several at once.
    ToPeer {
        client: u8,
        number: u8,
        count: u8,
    },
    FromPeer {
        peer: u8,
        socket: u8,
        len: u8,
        count: u8,
    },
    /// A signed request with damage, or anything else.
    Spoilt {
        client: u8,
        method: u8,
        at: u16,
        bits: u8,
    },
    Raw {
        client: u8,
        bytes: Vec<u8>,
    },
    /// The driver takes its time from now on, or does not.
    Hold(bool),
    Bound {
        succeeds: bool,
    },
    /// From now on, half of the clients have credentials with a policy.
    Renew {
        policy: u8,
        later: u8,
    },
    /// The relay's secret is replaced, or comes back.
    Secret {
        old: bool,
    },
    Clock {
        forward: bool,
        seconds: u16,
    },
    Wait {
        milliseconds: u16,
    },
    WaitLong {
        seconds: u16,
    },
}

/// Runs the steps that `bytes` stand for.
pub fn relay(bytes: &[u8]) {
    let mut bench = Bench::new();
    let mut unstructured = Unstructured::new(bytes);
    let steps = unstructured.arbitrary_iter::<Step>().into_iter().flatten().flatten();
    for step in steps.take(MOST_STEPS) {
        run(&mut bench, step);
        bench.check();
        assert!(bench.allocations() <= TOTAL_QUOTA as usize);
    }
    ends(bench);
}

/// Whatever has happened, an hour without clients leaves nothing behind.
fn ends(mut bench: Bench) {
    bench.set_holding(false);
    bench.answer(true);
    bench.pass(Duration::from_secs(7200));
    assert_eq!(bench.allocations(), 0);
    assert_eq!(bench.bound(), 2, "all relayed sockets were given back");
    assert_eq!(bench.next_deadline(), None, "nothing is left to wait for");
}

fn run(bench: &mut Bench, step: Step) {
    match step {
        Step::Allocate { client, wish } => allocate(bench, client, wish),
        Step::Refresh { client, seconds, family: bits } => {
            // Half of them end the allocation, or nearly so.
            let lifetime = Duration::from_secs(u64::from(seconds.saturating_sub(0x8000)));
            bench.request(client, Method::REFRESH, |builder| {
                let builder = builder.lifetime(lifetime);
                if bits % 4 == 3 { builder } else { builder.requested_family(family(bits)) }
            });
        }
        Step::Permit { client, first, second } => {
            bench.request(client, Method::CREATE_PERMISSION, |builder| {
                builder.peer_address(peer(first)).peer_address(peer(second))
            });
        }
        Step::Bind { client, peer: index, number } => {
            let number = 0x3FFF + u16::from(number % 6);
            bench.request(client, Method::CHANNEL_BIND, |builder| {
                builder.channel_number(number).peer_address(peer(index))
            });
        }
        Step::Send { client, peer: index, len } => bench.indicate(client, peer(index), &vec![1; len.into()]),
        Step::ToPeer { client, number, count } => {
            let datagram = [0x40, number % 6, 0, 1, 7];
            bench.send_from_client(client, &datagram.repeat(1 + usize::from(count % 8)), datagram.len());
        }
        Step::FromPeer { peer: index, socket, len, count } => {
            let count = 1 + usize::from(count % 8);
            bench.send_from_peer(peer(index), socket, &vec![2; usize::from(len) * count], len.into());
        }
        Step::Spoilt { client, method, at, bits } => {
            bench.spoilt(client, Method::new(u16::from(method % 16)), at, bits);
        }
        Step::Raw { client, bytes } => bench.send_from_client(client, &bytes, bytes.len()),
        Step::Hold(hold) => bench.set_holding(hold),
        Step::Bound { succeeds } => bench.answer(succeeds),
        Step::Renew { policy, later } => bench.renew(credential_policy(policy), later.into()),
        Step::Secret { old } => bench.replace_secret(old),
        Step::Clock { forward, seconds } => bench.set_clock(forward, Duration::from_secs(seconds.into())),
        Step::Wait { milliseconds } => bench.pass(Duration::from_millis(milliseconds.into())),
        Step::WaitLong { seconds } => bench.pass(Duration::from_secs(seconds.into())),
    }
}

fn allocate(bench: &mut Bench, client: u8, wish: u8) {
    let token = bench.token();
    bench.request(client, Method::ALLOCATE, |builder| {
        let builder = builder.requested_transport(if wish == 0xFF { 6 } else { 17 });
        let builder =
            if wish & 0x80 != 0 { builder.lifetime(Duration::from_secs(wish.into())) } else { builder };
        match wish % 8 {
            0 => builder.additional_family(Family::V6),
            1 => builder.even_port(EvenPort { reserve: true }),
            2 => builder.even_port(EvenPort { reserve: false }).requested_family(family(wish / 8)),
            3 => builder.reservation_token(token),
            4 => builder.requested_family(family(wish / 8)),
            _ => builder,
        }
    });
}

fn family(bits: u8) -> Family {
    [Family::V4, Family::V6, Family::Other(3)][usize::from(bits % 3)]
}

/// Some of the peers, all, or none; or no policy.
fn credential_policy(bits: u8) -> Option<CredentialPolicy> {
    let named = (0..6).filter(|index| bits >> index & 1 == 1).map(peer);
    let peers =
        named.map(|peer: SocketAddr| peer.ip()).filter(|ip| is_reachable(*ip)).map(Into::into).collect();
    let policy = CredentialPolicy { peers, max_allocations: Some(u16::from(bits >> 6)), any_public: false };
    (bits != 0).then_some(policy)
}
