//! What a heartbeat says.

use adit_core::gateway::Peer;
use adit_driver::Runtime;
use adit_platform::words::{Heartbeat, LivePeer};

use super::Agent;
use super::wanted::hex;

/// How many peers one heartbeat names.
const MAX_PEERS: usize = 256;
/// How many addresses: a pair for each relay would be more than connectors try.
const MAX_ADDRESSES: usize = 16;

impl<R: Runtime> Agent<R> {
    /// How this instance is now.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let gateway = self.gateway.as_ref();
        let peers = gateway.map(adit_driver::Gateway::peers).unwrap_or_default();
        let mut addresses = gateway.map(adit_driver::Gateway::addresses).unwrap_or_default();
        addresses.truncate(MAX_ADDRESSES);
        Heartbeat {
            session: self.line.session.clone().unwrap_or_default(),
            // What there is no gateway for is not in effect yet.
            generation: gateway.and(self.desired.as_ref()).map_or(0, |desired| desired.generation),
            addresses,
            relays: self.places.report(),
            peers: peers.iter().take(MAX_PEERS).map(live).collect(),
            credentials_expire_at: self.places.first_expiry(),
            time: self.line.unix().0,
        }
    }
}

fn live(peer: &Peer) -> LivePeer {
    LivePeer {
        identity: peer.identity.to_string(),
        serial: hex(&peer.serial),
        address: peer.address.ip(),
        streams: u32::try_from(peer.streams).unwrap_or(u32::MAX),
    }
}
