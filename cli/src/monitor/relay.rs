//! What is shown of a relay.

use std::fmt;

use adit_core::relay::{AuthFailure, ConnectionEnd, Drop, LinkEnd, SessionEnd};
use adit_mio::RelayProbe;

use super::{Page, Subject};

impl Subject for RelayProbe {
    fn lacks(&self) -> Vec<String> {
        if self.has_ended() { vec!["relay: its thread has ended".into()] } else { Vec::new() }
    }

    fn measure(&self, page: &mut Page<'_>) -> fmt::Result {
        let (counters, holdings) = (self.counters(), self.holdings());
        let gauges = [
            ("turn_shards", "Threads that relay, each with its own clients", self.shards()),
            ("turn_allocations_active", "Allocations", holdings.allocations),
            ("turn_permissions_active", "Permissions of all allocations", holdings.permissions),
            ("turn_channels_active", "Channels of all allocations", holdings.channels),
            ("turn_reservations_active", "Ports that wait for their allocation", holdings.reservations),
            ("turn_links_active", "TCP connections of clients", holdings.links),
            ("turn_sessions_active", "DTLS sessions of clients", holdings.sessions),
            ("turn_connections_active", "TCP connections with peers", holdings.connections),
        ];
        for (name, help, value) in gauges {
            page.gauge(name, help, value as u64)?;
        }
        let both = |to_peers, to_clients| [("to_peers", to_peers), ("to_clients", to_clients)];
        let bytes = both(counters.to_peers.bytes, counters.to_clients.bytes);
        page.counters("turn_relayed_bytes", "Data that was sent on, without headers", "direction", bytes)?;
        let packets = both(counters.to_peers.packets, counters.to_clients.packets);
        page.counters("turn_relayed_packets", "Datagrams that were sent on", "direction", packets)?;
        let names: Vec<_> = Drop::ALL.iter().map(|&reason| (format!("{reason:?}"), reason)).collect();
        let dropped = names.iter().map(|(name, reason)| (name.as_str(), counters.dropped(*reason)));
        page.counters("turn_dropped_packets", "Datagrams that were dropped", "reason", dropped)?;
        let names: Vec<_> = AuthFailure::ALL.iter().map(|&reason| (format!("{reason:?}"), reason)).collect();
        let failures = names.iter().map(|(name, reason)| (name.as_str(), counters.auth_failures(*reason)));
        page.counters("turn_auth_failures", "Signed requests that were refused", "reason", failures)?;
        let names: Vec<_> = LinkEnd::ALL.iter().map(|&reason| (format!("{reason:?}"), reason)).collect();
        let ended = names.iter().map(|(name, reason)| (name.as_str(), counters.links_ended(*reason)));
        page.counters(
            "turn_links_ended",
            "Clients' TCP connections that were refused or ended",
            "reason",
            ended,
        )?;
        let names: Vec<_> = SessionEnd::ALL.iter().map(|&reason| (format!("{reason:?}"), reason)).collect();
        let ended = names.iter().map(|(name, reason)| (name.as_str(), counters.sessions_ended(*reason)));
        page.counters("turn_sessions_ended", "Clients' DTLS sessions that ended", "reason", ended)?;
        page.counter("turn_connections", "TCP connections with peers that were made", counters.connections)?;
        let names: Vec<_> =
            ConnectionEnd::ALL.iter().map(|&reason| (format!("{reason:?}"), reason)).collect();
        let ended = names.iter().map(|(name, reason)| (name.as_str(), counters.connections_ended(*reason)));
        page.counters(
            "turn_connections_ended",
            "TCP connections with peers that were refused, failed or ended",
            "reason",
            ended,
        )?;
        let passed = [("out", counters.handed_over), ("in", counters.taken_in)];
        page.counters(
            "turn_handed_over",
            "Clients, and what they sent, that changed the shard",
            "direction",
            passed,
        )?;
        let lost = self.socket_counters().departures_lost;
        page.counter("turn_hand_overs_lost", "Those that their shard had no room for", lost)?;
        page.counter("turn_transport_errors", "ICMP errors on relayed sockets", counters.transport_errors)?;
        page.sockets(&self.socket_counters())
    }
}
