//! Relays see ciphertext only.

use super::{Finding, Law};
use crate::model::{MARK, shows_mark};
use crate::network::Packet;
use crate::plan::Stage;

/// No packet to or from a relay shows a mark.
pub(super) fn packets(relay: usize, packets: &[Packet]) -> Finding {
    match packets.iter().find(|packet| shows_mark(&packet.payload, MARK)) {
        Some(packet) => Err((
            Law::Secrecy,
            format!("plaintext passes relay {relay} from {} to {}", packet.from, packet.to),
        )),
        None => Ok(()),
    }
}

/// Nothing that a relay holds shows a mark, as far as its `Debug` form tells: as text or as a list of bytes.
pub(super) fn memory(stage: &Stage) -> Finding {
    let text = String::from_utf8_lossy(&MARK).into_owned();
    let bytes = format!("{MARK:?}");
    let list = bytes.trim_matches(['[', ']']);
    for (number, &relay) in stage.relays.iter().enumerate() {
        if stage.world.is_running(relay) {
            let memory = format!("{:?}", stage.world.machine(relay));
            if memory.contains(&text) || memory.contains(list) {
                return Err((Law::Secrecy, format!("relay {number} holds plaintext")));
            }
        }
    }
    Ok(())
}
