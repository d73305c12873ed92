//! ChannelBind: a number that stands for a peer (RFC 8656 §12.2).

use std::time::Instant;

use super::Relay;
use super::channel;
use super::listen::Transport;
use super::reply::{Answer, Refusal};
use super::request::Request;
use crate::stun::{Message, attribute};

impl Relay {
    /// Binds or refreshes a channel, and the permission of its peer with it.
    pub(super) fn channel_bind(&mut self, now: Instant, request: &Request<'_>) -> Result<Answer, Refusal> {
        let id = self.allocation_of(request)?;
        self.judge_transport(id, Transport::Udp)?;
        let number = channel_number(&request.message).ok_or(Refusal::BadRequest)?;
        let peer = request.message.peer_address()?.ok_or(Refusal::BadRequest)?;
        if !self.channels.contains(&number) || peer.port() == 0 {
            return Err(Refusal::BadRequest);
        }
        self.judge_peer(id, request, peer)?;
        let relayed = |version, port| self.table.is_relayed(version, port);
        self.reach.port(peer, relayed).map_err(|_| Refusal::Forbidden)?;
        self.table.bind_channel(now, id, number, peer).map_err(|refusal| match refusal {
            channel::Refusal::Conflict => Refusal::BadRequest,
            channel::Refusal::Full => Refusal::InsufficientCapacity,
        })?;
        Ok(Answer::Success(request.addressee.success()))
    }
}

/// CHANNEL-NUMBER with whatever number it holds; which ones are allowed is configured (RFC 8656 §18.1).
fn channel_number(message: &Message<'_>) -> Option<u16> {
    match message.attribute(attribute::CHANNEL_NUMBER)? {
        &[high, low, _, _] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}
