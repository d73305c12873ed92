//! Plans in words.

use std::fmt::{Display, Formatter, Result};

use super::{
    Act, Behind, Front, Goal, HomeKind, Intruder, NatKind, Noise, Place, Plan, Shape, Step, Tampering, Way,
};
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
        let ends = |ends: &[Front], what: &str| {
            let fronts: Vec<_> = ends.iter().map(Front::to_string).collect();
            format!("{} ({})", count(ends.len(), what), fronts.join(", "))
        };
        let link = &self.link;
        let (gateways, connectors) = (ends(&self.gateways, "gateway"), ends(&self.connectors, "connector"));
        write!(f, "{}, {gateways}, {connectors}; ", count(self.relays, "relay"))?;
        if self.gateways.iter().chain(&self.connectors).any(|front| front.behind == Behind::Home) {
            write!(f, "home behind {}; ", self.home)?;
        }
        write!(
            f,
            "links of {:?} ± {:?}, {}",
            link.latency,
            link.jitter,
            format_args!("loss {}, twice {}, late {}", link.loss, link.duplication, link.reordering),
        )
    }
}

impl Display for Front {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.behind {
            Behind::Nothing => f.write_str("open"),
            Behind::Nat(nat) => write!(f, "{nat}"),
            Behind::Home => f.write_str("home"),
        }?;
        if self.firewall { f.write_str(" and firewall") } else { Ok(()) }
    }
}

impl Display for HomeKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}{}", self.nat, if self.hairpins { "" } else { " without hairpins" })
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
            Self::Shut { at, way, lasts } => write!(f, "the firewall of {at} lets {way} for {lasts:?}"),
            Self::Forget { at } => write!(f, "the firewall of {at} forgets"),
            Self::Burst { loss, lasts } => write!(f, "links lose {loss} % for {lasts:?}"),
            Self::Rebind { at } => write!(f, "the NAT of {at} forgets"),
            Self::Jump { at, seconds } => write!(f, "the clock of {at} jumps by {seconds} s"),
            Self::Expire { at, lasts } => write!(f, "the clock of {at} is past all validity for {lasts:?}"),
            Self::Sleep { at, lasts } => write!(f, "{at} sleeps for {lasts:?}"),
            Self::Kill { at, down, wiped } => {
                let with = if wiped { "without its disk " } else { "" };
                write!(f, "{at} dies, and starts again {with}after {down:?}")
            }
            Self::Renew { at } => write!(f, "{at} is issued other papers"),
            Self::Noise { noise, packets } => write!(f, "{packets} packets of noise: {noise}"),
            Self::Tamper { relay, which, how } => {
                write!(f, "packet {which} ppm of the last at relay {relay} arrives again, {how}")
            }
            Self::Intrude { through, how } => write!(f, "somebody with {how} connects to gateway {through}"),
        }
    }
}

impl Display for Way {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Both => "no UDP through",
            Self::Out => "no UDP out",
            Self::In => "no UDP in",
        })
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
