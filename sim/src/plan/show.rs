//! Plans in words.

use std::fmt::{Display, Formatter, Result};

use super::{Act, Goal, Intruder, NatKind, Noise, Place, Plan, Shape, Step, Tampering};
use crate::nat::Dependence;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "seed {}: {}", self.seed, self.shape)?;
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        Ok(())
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let ends = |ends: &[Option<NatKind>], what: &str| {
            let nats: Vec<_> =
                ends.iter().map(|nat| nat.map_or("open".to_owned(), |nat| nat.to_string())).collect();
            format!("{} ({})", count(ends.len(), what), nats.join(", "))
        };
        let link = &self.link;
        write!(
            f,
            "{}, {}, {}; links of {:?} ± {:?}, {}",
            count(self.relays, "relay"),
            ends(&self.gateways, "gateway"),
            ends(&self.connectors, "connector"),
            link.latency,
            link.jitter,
            format_args!("loss {}, twice {}, late {}", link.loss, link.duplication, link.reordering),
        )
    }
}

impl Display for NatKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let word = |dependence| match dependence {
            Dependence::EndpointIndependent => "any",
            Dependence::Address => "address",
            Dependence::AddressAndPort => "port",
        };
        write!(f, "NAT {}/{}, {:?}", word(self.mapping), word(self.filtering), self.expiry)
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:>9.3?} #{:<2} {}", self.at.as_secs_f64(), self.number, self.act)
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Relay(number) => write!(f, "relay {number}"),
            Self::Gateway(number) => write!(f, "gateway {number}"),
            Self::Connector(number) => write!(f, "connector {number}"),
        }
    }
}

impl Display for Goal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Sink => "sink",
            Self::Source => "source",
            Self::Fragile => "fragile",
            Self::Closed => "closed",
            Self::Forbidden => "forbidden",
        })
    }
}

impl Display for Act {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::Open { by, through, goal, bytes } => {
                write!(f, "connector {by} opens {goal} through gateway {through} and says {bytes} bytes")
            }
            Self::HangUp { opened } => write!(f, "the stream of #{opened} is hung up"),
            Self::Cut { at, lasts } => write!(f, "{at} is cut off for {lasts:?}"),
            Self::Burst { loss, lasts } => write!(f, "links lose {loss} % for {lasts:?}"),
            Self::Rebind { at } => write!(f, "the NAT of {at} forgets"),
            Self::Jump { at, seconds } => write!(f, "the clock of {at} jumps by {seconds} s"),
            Self::Expire { at, lasts } => write!(f, "the clock of {at} is past all validity for {lasts:?}"),
            Self::Sleep { at, lasts } => write!(f, "{at} sleeps for {lasts:?}"),
            Self::Kill { at, down } => write!(f, "{at} dies, and starts again after {down:?}"),
            Self::Noise { noise, packets } => write!(f, "{packets} packets of noise: {noise}"),
            Self::Tamper { relay, which, how } => {
                write!(f, "packet {which} ppm of the last at relay {relay} arrives again, {how}")
            }
            Self::Intrude { through, how } => write!(f, "somebody with {how} connects to gateway {through}"),
        }
    }
}

impl Display for Noise {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::ToRelayed => "without permission to a relayed address",
            Self::Allocate => "Allocate without credentials to a relay",
            Self::Junk => "no message, to a relay",
            Self::Handshake => "first packets from a permitted address to a relayed one",
            Self::ToConnector => "STUN from a relayed address to a connector",
        })
    }
}

impl Display for Tampering {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Again => f.write_str("as it was"),
            Self::Flipped { bit } => write!(f, "with the bit at {bit} ppm flipped"),
            Self::Short { left } => write!(f, "cut to {left} ppm"),
            Self::Moved => f.write_str("from somewhere else"),
        }
    }
}

impl Display for Intruder {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Forged => "a forged certificate",
            Self::Expired => "an expired certificate",
            Self::NotYet => "a certificate of tomorrow",
            Self::Elsewhere => "a certificate of another organisation",
            Self::Restricted => "a certificate for other targets",
        })
    }
}
