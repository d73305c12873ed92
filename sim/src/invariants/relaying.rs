//! What goes into a relay and what comes out, against what it says that it has relayed.

use adit_core::relay::Drop;
use adit_core::stun::{Class, Message, Method};
use adit_core::turn::channel_data;

use super::{Finding, Law};
use crate::network::Packet;
use crate::plan::Stage;

/// What was seen of each relay in its present life.
#[derive(Debug, Default)]
pub(super) struct Relaying {
    relays: Vec<Seen>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    to_peers: u64,
    to_clients: u64,
}

impl Relaying {
    /// Every datagram that left a relayed socket was counted as sent to a peer, every one that left as ChannelData or a
    /// Data indication as sent to a client; and none is counted that did not leave.
    pub(super) fn note(&mut self, stage: &Stage, relay: usize, packets: &[Packet]) -> Finding {
        self.relays.resize(stage.relays.len(), Seen::default());
        let own = stage.listening(relay);
        let seen = &mut self.relays[relay];
        for packet in packets.iter().filter(|packet| packet.from.ip() == own.ip()) {
            if packet.from.port() != own.port() {
                seen.to_peers += 1;
            } else if is_data(&packet.payload) {
                seen.to_clients += 1;
            }
        }
        if !stage.world.is_running(stage.relays[relay]) {
            return Ok(());
        }
        let counters = stage.world.machine(stage.relays[relay]).counters();
        let told = Seen { to_peers: counters.to_peers.packets, to_clients: counters.to_clients.packets };
        if counters.dropped(Drop::QueueFull) > 0 {
            return Err((Law::Bounds, format!("relay {relay} has a full queue")));
        }
        if *seen != told {
            return Err((
                Law::Conservation,
                format!("relay {relay} has sent on {seen:?} and counts {told:?}"),
            ));
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, relay: usize) {
        if let Some(seen) = self.relays.get_mut(relay) {
            *seen = Seen::default();
        }
    }
}

/// Whether what a relay sends to a client is a peer's data.
fn is_data(payload: &[u8]) -> bool {
    let indication =
        |message: Message<'_>| (message.class(), message.method()) == (Class::Indication, Method::DATA);
    channel_data::parse(payload).is_some() || Message::parse(payload).is_ok_and(indication)
}
