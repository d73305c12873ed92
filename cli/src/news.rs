//! What happens in a gateway, told to its operator.

use adit_core::gateway::Event;

/// Logs what needs no answer. `name` names a relay by its place. Who connects is shown at DEBUG only.
pub(crate) fn log(event: &Event, name: impl Fn(usize) -> String) {
    match event {
        Event::Allocated { relay, relayed } => {
            tracing::info!(relay = name(*relay), ?relayed, "allocated");
        }
        // 443: no relayed address of that family, which the relay's answer to Allocate has told already.
        Event::PermissionDenied { relay, peer, code: 443, .. } => {
            tracing::debug!(relay = name(*relay), %peer, "no address of its family");
        }
        Event::PermissionDenied { relay, peer, code, reason } => tracing::warn!(
            relay = name(*relay), %peer, code, reason,
            "the relay does not let this peer through: its operator names it with --allowed-peer-ip"
        ),
        Event::Connected { peer } => {
            tracing::info!("a connector has connected");
            tracing::debug!(%peer, "connected");
        }
        Event::Refused { reason } => tracing::warn!(%reason, "a connector was refused"),
        Event::TurnedAway { peer, cause } => {
            tracing::warn!(%cause, "a connector was turned away");
            tracing::debug!(%peer, "turned away");
        }
        Event::Disconnected { peer, reason, cause } => {
            match cause {
                Some(cause) => tracing::info!(%cause, "a connector was sent away"),
                None => tracing::info!(%reason, "a connector has gone"),
            }
            tracing::debug!(%peer, "disconnected");
        }
        Event::Opened { peer, target, address } => {
            tracing::debug!(%peer, %target, %address, "a target was opened");
        }
        Event::Rejected { peer, target, code, sentence } => {
            let target = target.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(target = target, %code, sentence, "a connector did not get its target");
            tracing::debug!(%peer, "rejected");
        }
        _ => {}
    }
}
