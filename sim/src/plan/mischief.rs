//! What strangers do: noise, packets that were tampered with, connections with certificates that are not good.

use std::net::{IpAddr, SocketAddr};

use adit_core::connector::Connector;
use adit_core::stun::{Builder, Class, Method};

use super::stage::TRAP;
use super::{Intruder, Noise, Stage, Tampering};
use crate::network::Packet;
use crate::pki::Validity;
use crate::world::{Handle, World};

/// What strangers say, over and over: it must never come out of a relay.
pub(crate) const STRANGE: [u8; 8] = *b"STRANGER";

impl Stage {
    /// Sends packets that nobody expects. False where there is nobody to send them to.
    pub(super) fn make_noise(&mut self, noise: Noise, packets: usize, number: usize) -> bool {
        let relay = self.listening(number % self.relays.len());
        let connector = SocketAddr::new(self.world.addresses_of(self.connectors[0])[0], 4000);
        let ends = match (noise, self.relayed()) {
            (Noise::Allocate | Noise::Junk, _) => Some((stranger(0), relay)),
            (Noise::ToRelayed, Some(relayed)) => Some((stranger(0), relayed)),
            (Noise::Handshake, Some(relayed)) => Some((connector, relayed)),
            (Noise::ToConnector, Some(relayed)) => self.seen_of(connector.ip()).map(|seen| (relayed, seen)),
            (_, None) => None,
        };
        let Some((from, to)) = ends else { return false };
        for packet in 0..packets {
            // A relayed address stays what it is; the others are many.
            let other = if noise == Noise::ToConnector { 0 } else { u16::try_from(packet).unwrap_or(0) };
            let from = SocketAddr::new(from.ip(), from.port() + other);
            self.world.inject(Packet { from, to, ecn: None, payload: noise.payload(number, packet) });
        }
        true
    }

    /// The address of a connector that a relay has seen last; what goes to the relay itself is a gateway's at the same
    /// address.
    fn seen_of(&self, ip: IpAddr) -> Option<SocketAddr> {
        let passed = self.passed.iter().flatten().rev();
        let to_relayed = passed.filter(|packet| packet.to.port() != self.listening(0).port());
        to_relayed.map(|packet| packet.from).find(|from| from.ip() == ip)
    }

    /// Lets a packet that passed a relay arrive again. False where none has passed.
    pub(super) fn tamper(&mut self, relay: usize, which: u32, how: Tampering) -> bool {
        let passed = &self.passed[relay];
        let Some(packet) = passed.get(part(which, passed.len())) else { return false };
        let mut packet = packet.clone();
        let len = packet.payload.len();
        match how {
            Tampering::Again => {}
            Tampering::Flipped { bit } => {
                let bit = part(bit, 8 * len);
                if let Some(byte) = packet.payload.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Tampering::Short { left } => packet.payload.truncate(part(left, len)),
            Tampering::Moved => packet.from = stranger((which % 65_536) as u16),
        }
        if packet.payload.is_empty() {
            return false;
        }
        self.world.inject(packet);
        true
    }

    /// Connects with a certificate that is not good, and asks for what the gateway allows.
    pub(super) fn intrude(&mut self, through: usize, how: Intruder) {
        let gateway = self.gateways[through];
        let intruder = how.start(&mut self.world);
        let key = self.world.gateway_key(intruder, gateway);
        let target = TRAP.parse().expect("the trap is a target");
        let pipe = self.world.call(intruder, |connector, now| connector.open(now, key, &target));
        let stream = self.world.attend(intruder, pipe.expect("it is its first"));
        self.world.say(stream, &[STRANGE; 100].concat());
        self.world.finish(stream);
        self.intruders.push((intruder, stream));
    }
}

impl Intruder {
    fn start(self, world: &mut World) -> Handle<Connector> {
        let builder = world.connector();
        match self {
            Self::Forged => builder.vouched_by_a_stranger(),
            Self::Expired => builder.valid(Validity::Expired),
            Self::NotYet => builder.valid(Validity::NotYet),
            Self::Elsewhere => builder.of("elsewhere"),
            Self::Restricted => builder.restricted_to(&["tcp://sink:9"]),
        }
        .start()
    }
}

impl Noise {
    fn payload(self, number: usize, packet: usize) -> Vec<u8> {
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&((number << 16) as u64 + packet as u64).to_be_bytes());
        match self {
            Self::ToRelayed | Self::Junk => [STRANGE; 40].concat(),
            Self::Allocate => {
                Builder::new(Class::Request, Method::ALLOCATE, transaction).requested_transport(17).finish()
            }
            Self::ToConnector => Builder::new(Class::Success, Method::BINDING, transaction).finish(),
            // An Initial of QUIC version 1 by its shape (RFC 9000 §17.2.2), with nonsense where it should be protected.
            Self::Handshake => {
                let mut initial = vec![0xC3, 0, 0, 0, 1, 8];
                initial.extend_from_slice(&transaction);
                initial.resize(1200, 0x5A);
                initial
            }
        }
    }
}

/// An address that nobody has and nobody permits.
fn stranger(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([11, 66, high, low.max(1)], 5_000))
}

/// Some millionths of `whole`, rounded down.
fn part(millionths: u32, whole: usize) -> usize {
    (whole as u64 * u64::from(millionths) / 1_000_000) as usize
}
