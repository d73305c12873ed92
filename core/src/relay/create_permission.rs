//! CreatePermission: lets peers send to the relayed address (RFC 8656 §10.2).

use std::net::IpAddr;
use std::time::Instant;

use super::Relay;
use super::reply::{Answer, Refusal};
use super::request::Request;

impl Relay {
    /// Installs or refreshes all permissions that a request asks for, or none.
    pub(super) fn create_permission(
        &mut self,
        now: Instant,
        request: &Request<'_>,
    ) -> Result<Answer, Refusal> {
        let id = self.allocation_of(request)?;
        let mut peers: Vec<IpAddr> = Vec::new();
        for peer in request.message.peer_addresses() {
            let peer = peer?;
            self.judge_peer(id, request, peer)?;
            peers.push(peer.ip());
        }
        if peers.is_empty() {
            return Err(Refusal::BadRequest);
        }
        self.table.permit(now, id, &peers).map_err(|_| Refusal::InsufficientCapacity)?;
        Ok(Answer::Success(request.addressee.success()))
    }
}
