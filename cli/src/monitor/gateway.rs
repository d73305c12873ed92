//! What is shown of a gateway.

use std::fmt;

use adit_core::gateway::Standing;
use adit_core::tunnel::RejectCode;
use adit_driver::{GatewayProbe, Runtime};

use super::{Page, Subject};

impl<R: Runtime> Subject for GatewayProbe<R> {
    fn lacks(&self) -> Vec<String> {
        if self.has_ended() {
            vec!["gateway: it has ended".into()]
        } else if self.addresses().is_empty() {
            vec!["relays: none gives an allocation".into()]
        } else {
            Vec::new()
        }
    }

    fn measure(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = self.counters();
        let allocated = self.relays().into_iter().map(|state| {
            let allocated = matches!(state.standing, Standing::Allocated { .. });
            (state.relay.to_string(), u64::from(allocated))
        });
        page.gauges("adit_gateway_allocated", "Whether a relay gives an allocation", "relay", allocated)?;
        page.gauge("adit_gateway_connectors", "Connectors that are connected", self.connections() as u64)?;
        page.gauge("adit_gateway_streams", "Streams to targets", self.streams() as u64)?;
        page.counter("adit_gateway_opened", "Targets that were opened", counters.opened)?;
        let names: Vec<_> = RejectCode::ALL.iter().map(|&code| (code.to_string(), code)).collect();
        let rejected = names.iter().map(|(name, code)| (name.as_str(), counters.rejected(*code)));
        page.counters("adit_gateway_rejected", "Targets that were not opened", "code", rejected)?;
        let bytes = [("to_targets", counters.to_targets), ("from_targets", counters.from_targets)];
        page.counters("adit_gateway_bytes", "Bytes of streams", "direction", bytes)?;
        let dropped = [
            ("unpermitted", counters.unpermitted),
            ("no_channel", counters.no_channel),
            ("unknown_socket", counters.unknown_socket),
        ];
        page.counters("adit_gateway_dropped", "Datagrams that were dropped", "reason", dropped)?;
        page.sockets(&self.socket_counters())
    }
}
