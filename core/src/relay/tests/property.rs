//! Any bytes, and any order of operations: nothing panics, and all indexes agree afterwards.

use proptest::prelude::*;

use super::*;
use crate::stun::{EvenPort, Family};
use crate::turn::credential_policy::CredentialPolicy;

/// What may happen to a relay.
#[derive(Debug, Clone)]
enum Step {
    Allocate {
        client: u8,
        wish: u8,
    },
    Refresh {
        client: u8,
        lifetime: u16,
        family: u8,
    },
    Permit {
        client: u8,
        peer: u8,
    },
    Bind {
        client: u8,
        peer: u8,
        number: u8,
    },
    ToPeer {
        client: u8,
        number: u8,
    },
    FromPeer {
        peer: u8,
        socket: u8,
    },
    Hold(bool),
    Complete {
        ok: bool,
    },
    /// From now on, one of the users has credentials with a policy.
    Renew {
        policy: u8,
    },
    Wait(u16),
}

/// What one of the users may do from now on, and until when.
#[derive(Debug, Default)]
struct Credential {
    policy: Option<CredentialPolicy>,
    renewed: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..4u8;
    prop_oneof![
        (client.clone(), any::<u8>()).prop_map(|(client, wish)| Step::Allocate { client, wish }),
        (client.clone(), 0..1000u16, 0..4u8).prop_map(|(client, lifetime, family)| Step::Refresh {
            client,
            lifetime,
            family
        }),
        (client.clone(), 0..6u8).prop_map(|(client, peer)| Step::Permit { client, peer }),
        (client.clone(), 0..6u8, 0..4u8).prop_map(|(client, peer, number)| Step::Bind {
            client,
            peer,
            number
        }),
        (client, 0..4u8).prop_map(|(client, number)| Step::ToPeer { client, number }),
        (0..6u8, any::<u8>()).prop_map(|(peer, socket)| Step::FromPeer { peer, socket }),
        any::<bool>().prop_map(Step::Hold),
        any::<bool>().prop_map(|ok| Step::Complete { ok }),
        any::<u8>().prop_map(|policy| Step::Renew { policy }),
        (0..700u16).prop_map(Step::Wait),
    ]
}

fn peer(index: u8) -> SocketAddr {
    if index < 3 {
        SocketAddr::new(IpAddr::from([203, 0, 113, index]), 5000)
    } else {
        SocketAddr::new(ip("2001:db8::9"), u16::from(index))
    }
}

/// A small world, so that limits are met: few ports, few permissions, small quotas.
fn small() -> Config {
    let mut config = config();
    config.ports = 50000..=50005;
    (config.max_permissions, config.max_channels) = (3, 2);
    (config.user_quota, config.total_quota) = (Some(3), Some(5));
    config.reply_budget = ReplyBudget { rate: 1000, burst: 100_000 };
    config
}

/// Some of the peers, all, or none; or no policy.
fn policy(bits: u8) -> Option<CredentialPolicy> {
    let peers = (0..6).filter(|index| bits >> index & 1 == 1).map(|index| peer(index).ip().into()).collect();
    let policy = CredentialPolicy { peers, max_allocations: Some(u16::from(bits >> 6)), any_public: false };
    (bits != 0).then_some(policy)
}

fn run(bench: &mut Bench, step: Step, token: &mut [u8; 8], credential: &mut Credential) {
    if let Step::Renew { policy: bits } = step {
        // Every fourth is older than what came before.
        *credential =
            Credential { policy: policy(bits), renewed: (credential.renewed + 3) ^ u64::from(bits & 4) };
        return;
    }
    let client = |bench: &mut Bench, index: u8| {
        let credentials = if index.is_multiple_of(2) {
            Credentials { username: "alice".to_owned(), password: "wonder".to_owned() }
        } else {
            let expiry = UnixTime(1_800_000_000 + credential.renewed);
            Credentials::limited(SECRET, expiry, "gw", credential.policy.as_ref()).unwrap()
        };
        bench.client_as(&format!("198.51.100.1:{}", 4000 + u16::from(index)), credentials)
    };
    let known = *token;
    let mut call = |bench: &mut Bench, index: u8, method, fill: &dyn Fn(Builder) -> Builder| {
        let client = client(bench, index);
        let request = client.sign(fill(bench.builder(method)));
        for (_, _, reply) in bench.send(client.address, &request) {
            if let Ok(Some(found)) = Message::parse(&reply).unwrap().reservation_token() {
                *token = found;
            }
        }
    };
    let family = |bits: u8| [Family::V4, Family::V6, Family::Other(3)][usize::from(bits % 3)];
    match step {
        Step::Allocate { client, wish } => {
            call(bench, client, Method::ALLOCATE, &|builder| {
                let builder = builder.requested_transport(17);
                match wish % 8 {
                    0 => builder.additional_family(Family::V6),
                    1 => builder.even_port(EvenPort { reserve: true }),
                    2 => builder.even_port(EvenPort { reserve: false }).requested_family(family(wish)),
                    3 => builder.reservation_token(known),
                    4 => builder.requested_family(family(wish)),
                    _ => builder,
                }
            });
        }
        Step::Refresh { client, lifetime, family: bits } => {
            let lifetime = Duration::from_secs(u64::from(lifetime.saturating_sub(500)));
            call(bench, client, Method::REFRESH, &|builder| {
                let builder = builder.lifetime(lifetime);
                if bits == 3 { builder } else { builder.requested_family(family(bits)) }
            });
        }
        Step::Permit { client, peer: index } => {
            call(bench, client, Method::CREATE_PERMISSION, &|builder| builder.peer_address(peer(index)));
        }
        Step::Bind { client, peer: index, number } => {
            let number = 0x4000 + u16::from(number);
            call(bench, client, Method::CHANNEL_BIND, &|builder| {
                builder.channel_number(number).peer_address(peer(index))
            });
        }
        Step::ToPeer { client, number } => {
            let from = SocketAddr::new(ip("198.51.100.1"), 4000 + u16::from(client));
            bench.send(from, &[0x40, number, 0, 1, 7]);
        }
        Step::FromPeer { peer: index, socket } => {
            let (socket, _) = bench.bound[usize::from(socket) % bench.bound.len()];
            bench.deliver(socket, peer(index), b"data", 4);
        }
        Step::Renew { .. } => unreachable!("done above"),
        Step::Hold(hold) => bench.hold = hold,
        Step::Complete { ok } => drop(bench.release((!ok).then_some(ErrorKind::AddrInUse))),
        Step::Wait(seconds) => drop(bench.advance(u64::from(seconds))),
    }
    bench.relay.table.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_order_of_operations_keeps_the_indexes_in_step(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new(small());
        let (mut token, mut credential) = ([0; 8], Credential::default());
        for step in steps {
            run(&mut bench, step, &mut token, &mut credential);
        }
        bench.hold = false;
        bench.release(None);
        bench.advance(3600);
        prop_assert_eq!(bench.relay.allocations(), 0);
        prop_assert_eq!(bench.bound.len(), 2, "all relayed sockets were given back");
        prop_assert_eq!(bench.relay.poll_timeout(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        stride in 1..100usize,
        first in prop::option::of(0..0x80u8),
    ) {
        let mut bench = Bench::new(config());
        let client = bench.client(CLIENT);
        let relayed = bench.allocate(&client);
        let mut bytes = bytes;
        if let (Some(first), Some(byte)) = (first, bytes.first_mut()) {
            *byte = first;
        }
        for socket in bench.bound.clone() {
            bench.deliver(socket.0, addr(CLIENT), &bytes, stride);
        }
        prop_assert!(bench.bound.iter().any(|&(_, at)| at == relayed));
    }

    #[test]
    fn mutated_messages_do_no_harm(
        which in 0..5usize,
        changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<u16>()),
    ) {
        let mut bench = Bench::new(config());
        let client = bench.client(CLIENT);
        bench.allocate(&client);
        let mut message = match which {
            0 => client.sign(bench.builder(Method::ALLOCATE).requested_transport(17).additional_family(Family::V6)),
            1 => client.sign(bench.builder(Method::REFRESH).lifetime(Duration::from_secs(600))),
            2 => client.sign(bench.builder(Method::CREATE_PERMISSION).peer_address(addr(PEER))),
            3 => client.sign(bench.builder(Method::CHANNEL_BIND).channel_number(0x4000).peer_address(addr(PEER))),
            _ => Builder::new(Class::Indication, Method::SEND, [1; 12]).peer_address(addr(PEER)).data(b"x").finish(),
        };
        for (at, value) in changes {
            let at = usize::from(at) % message.len();
            message[at] ^= value;
        }
        if let Some(cut) = cut {
            message.truncate(usize::from(cut) % message.len());
        }
        bench.send(client.address, &message);
    }
}
