//! Plans: what a world looks like and what goes wrong in it, as data that a seed decides.
//!
//! A [`Plan`] can be printed, played and cut down. Every step stands for itself: a cut heals by itself after its time, a
//! machine that was killed is started again, a hang-up names its stream by the step that opened it. So that a plan
//! without some of its steps is a plan as well, [`minimise`] finds the few that a failure needs.
//!
//! ```
//! use adit_sim::plan::Plan;
//!
//! let plan = Plan::standard(7);
//! println!("{plan}");
//! let outcome = plan.play().unwrap();
//! assert_eq!(outcome, plan.play().unwrap());
//! ```

mod acts;
mod campaign;
mod minimise;
mod mischief;
mod mix;
mod play;
mod show;
mod stage;

use std::time::Duration;

use crate::link::Link;
use crate::nat::Dependence;

pub use campaign::{Failed, Tally};
pub use minimise::minimise;
pub(crate) use mischief::STRANGE;
pub use play::{Outcome, Play};
pub use stage::Stage;

/// A world and all that happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the chances of the network and of the machines are drawn from.
    pub seed: u64,
    /// Who there is.
    pub shape: Shape,
    /// What happens, in the order of time.
    pub steps: Vec<Step>,
}

/// Who there is, and how they are connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// How many relays there are. Every gateway has an allocation on each.
    pub relays: usize,
    /// The NAT that those share who are in the [`Home`](Behind::Home).
    pub home: HomeKind,
    /// What is in front of each gateway.
    pub gateways: Vec<Front>,
    /// What is in front of each connector.
    pub connectors: Vec<Front>,
    /// The link between any two hosts.
    pub link: Link,
}

/// What is in front of a gateway or a connector, from inside to outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Front {
    /// Whether a firewall of its own lets in answers only, for 30 s.
    pub firewall: bool,
    /// Where its address comes from.
    pub behind: Behind,
}

/// Where a machine's address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// It has a public one.
    Nothing,
    /// From a NAT of its own.
    Nat(NatKind),
    /// From the NAT that it shares with everybody else at home.
    Home,
}

/// A NAT that several machines share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeKind {
    /// What kind it is.
    pub nat: NatKind,
    /// Whether those behind it reach each other by its own address (RFC 4787 §6).
    pub hairpins: bool,
}

/// A NAT by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatKind {
    /// What its mappings depend on.
    pub mapping: Dependence,
    /// What its filter depends on.
    pub filtering: Dependence,
    /// How long a mapping lives without outbound traffic.
    pub expiry: Duration,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its name: its number in the plan as it was made, which it keeps when others are left out.
    pub number: usize,
    /// When it happens, from the moment at which all gateways were ready.
    pub at: Duration,
    /// What happens.
    pub act: Act,
}

/// A machine of the plan, by its number among its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A relay.
    Relay(usize),
    /// A gateway.
    Gateway(usize),
    /// A connector.
    Connector(usize),
}

/// What a stream leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// What sends back what it gets.
    Echo,
    /// What swallows what it gets.
    Sink,
    /// What has something to say of its own.
    Source,
    /// What breaks off after a few thousand bytes.
    Fragile,
    /// What refuses connections.
    Closed,
    /// What is there, and not allowed.
    Forbidden,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A connector opens a stream and says that many bytes, then finishes.
    Open {
        /// The connector.
        by: usize,
        /// The gateway.
        through: usize,
        /// What it leads to.
        goal: Goal,
        /// How much is said.
        bytes: usize,
    },
    /// The application hangs up the stream that a step opened.
    HangUp {
        /// The number of that step.
        opened: usize,
    },
    /// A host loses its connection to the network.
    Cut {
        /// The host.
        at: Place,
        /// For how long.
        lasts: Duration,
    },
    /// The firewall in front of a gateway or a connector drops UDP.
    Shut {
        /// The host.
        at: Place,
        /// Which way.
        way: Way,
        /// For how long.
        lasts: Duration,
    },
    /// The firewall of a gateway or a connector forgets whose answers may come in, as after a restart.
    Forget {
        /// The host.
        at: Place,
    },
    /// All links lose that many packets, in a hundred.
    Burst {
        /// In a hundred.
        loss: u32,
        /// For how long.
        lasts: Duration,
    },
    /// The NAT of a host forgets its mappings.
    Rebind {
        /// The host.
        at: Place,
    },
    /// A wall clock is set to another time, and stays there.
    Jump {
        /// The host.
        at: Place,
        /// By how many seconds.
        seconds: i64,
    },
    /// A wall clock is so far ahead that all credentials and certificates have run out by it; then it is set right.
    Expire {
        /// The host.
        at: Place,
        /// For how long.
        lasts: Duration,
    },
    /// A host sleeps.
    Sleep {
        /// The host.
        at: Place,
        /// For how long.
        lasts: Duration,
    },
    /// A machine dies without a word and is started again with nothing of what it had in memory.
    Kill {
        /// The host.
        at: Place,
        /// After how long it is started again.
        down: Duration,
        /// Whether its disk is lost, too: then it enrols again, as another instance with another key. A relay has
        /// nothing on its disk that it could not have again.
        wiped: bool,
    },
    /// A gateway or a connector is issued another certificate and other credentials.
    Renew {
        /// The host.
        at: Place,
    },
    /// Packets of strangers.
    Noise {
        /// To whom and what.
        noise: Noise,
        /// How many.
        packets: usize,
    },
    /// A packet that passed a relay arrives once more, in another shape.
    Tamper {
        /// The relay.
        relay: usize,
        /// Which of the packets that passed last, in millionths of them.
        which: u32,
        /// What was done to it.
        how: Tampering,
    },
    /// Somebody without a good certificate connects and asks for a target.
    Intrude {
        /// The gateway.
        through: usize,
        /// What is wrong with the certificate.
        how: Intruder,
    },
}

/// What a firewall does not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Anything.
    Both,
    /// What goes out.
    Out,
    /// What comes in.
    In,
}

/// Packets that nobody expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// From an address without permission, to a relayed address.
    ToRelayed,
    /// Allocate requests without credentials, to a relay.
    Allocate,
    /// What is no message at all, to a relay.
    Junk,
    /// What looks like the beginning of a handshake, from a connector's address, to a relayed address.
    Handshake,
    /// What looks like STUN, to a connector, from a relayed address.
    ToConnector,
}

/// What is done to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    /// Nothing: it is a replay.
    Again,
    /// One bit is the other.
    Flipped {
        /// Which bit, in millionths of its length.
        bit: u32,
    },
    /// Its end is missing.
    Short {
        /// What is left, in millionths of its length.
        left: u32,
    },
    /// It seems to come from somewhere else.
    Moved,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intruder {
    /// It is an authority's that only claims to be the organisation's.
    Forged,
    /// It has run out.
    Expired,
    /// It begins to be good tomorrow.
    NotYet,
    /// It is another organisation's.
    Elsewhere,
    /// It is good, and allows other targets.
    Restricted,
}

impl Plan {
    /// The plan without all steps but those that `keep` wants.
    pub fn retain(&self, keep: impl FnMut(&&Step) -> bool) -> Self {
        Self { steps: self.steps.iter().filter(keep).copied().collect(), ..self.clone() }
    }

    /// When the last step is over, from the moment at which all gateways were ready.
    pub fn length(&self) -> Duration {
        self.steps.iter().map(|step| step.at + step.act.lasts()).max().unwrap_or_default()
    }
}

impl Shape {
    /// What is in front of the machine at a place; nothing is in front of relays.
    pub fn front(&self, at: Place) -> Front {
        match at {
            Place::Relay(_) => Front::OPEN,
            Place::Gateway(number) => self.gateways[number],
            Place::Connector(number) => self.connectors[number],
        }
    }

    /// All machines behind the same NAT as the one at a place, itself among them.
    pub(crate) fn housemates(&self, at: Place) -> Vec<Place> {
        let gateways = self.gateways.iter().enumerate().map(|(n, front)| (Place::Gateway(n), front));
        let connectors = self.connectors.iter().enumerate().map(|(n, front)| (Place::Connector(n), front));
        let home: Vec<_> =
            gateways.chain(connectors).filter(|(_, front)| front.behind == Behind::Home).collect();
        let home: Vec<_> = home.into_iter().map(|(place, _)| place).collect();
        if home.contains(&at) { home } else { vec![at] }
    }
}

impl Front {
    /// A public address, and nothing that keeps anybody out.
    pub const OPEN: Self = Self { firewall: false, behind: Behind::Nothing };
}

impl Act {
    /// How long it lasts; nothing where it is over at once.
    pub fn lasts(self) -> Duration {
        match self {
            Self::Cut { lasts, .. }
            | Self::Shut { lasts, .. }
            | Self::Burst { lasts, .. }
            | Self::Expire { lasts, .. }
            | Self::Sleep { lasts, .. } => lasts,
            Self::Kill { down, .. } => down,
            _ => Duration::ZERO,
        }
    }
}
