//! Who is reached: targets by gateways, peers by relays.

use super::{Finding, Law};
use crate::model::shows_mark;
use crate::network::Packet;
use crate::plan::{STRANGE, Stage};

/// What was looked at so far.
#[derive(Debug, Default)]
pub(super) struct Access {
    dials: usize,
}

impl Access {
    /// No address was dialled that must not be, and no intruder has got anywhere.
    pub(super) fn check(&mut self, stage: &Stage) -> Finding {
        for to in stage.world.dialled().skip(self.dials) {
            self.dials += 1;
            if stage.untouchable.contains(&to.ip()) {
                return Err((Law::Access, format!("{to} was dialled, which nobody may reach")));
            }
        }
        for &(intruder, stream) in &stage.intruders {
            if !stage.world.party(stream).received().is_empty() {
                return Err((
                    Law::Access,
                    format!("{intruder:?} hears something without a good certificate"),
                ));
            }
        }
        Ok(())
    }
}

/// What a relay has sent goes to those who are permitted, and holds nothing of those who are not.
pub(super) fn packets(stage: &Stage, relay: usize, packets: &[Packet]) -> Finding {
    let own = stage.listening(relay);
    for packet in packets.iter().filter(|packet| packet.from.ip() == own.ip()) {
        if shows_mark(&packet.payload, STRANGE) {
            return Err((Law::Access, format!("relay {relay} relays a stranger's bytes to {}", packet.to)));
        }
        let to_peer = packet.from.port() != own.port();
        if to_peer && !stage.permitted.contains(&packet.to.ip()) {
            return Err((
                Law::Access,
                format!("relay {relay} sends data to {}, which nobody permits", packet.to),
            ));
        }
    }
    Ok(())
}
