//! ConnectionBind: a client's new link becomes one with the connection of a peer (RFC 6062 §5.4).

use std::time::Instant;

use super::super::Relay;
use super::super::quota::Way;
use super::super::reply::{Answer, Refusal};
use super::super::request::Request;
use super::super::via::Via;
use super::connections::{Number, Phase};
use crate::io::Effect;

impl Relay {
    /// Binds the link that the request came by, and answers before anything of the peer goes out by it.
    pub(in super::super) fn connection_bind(
        &mut self,
        now: Instant,
        request: &Request<'_>,
    ) -> Result<Answer, Refusal> {
        let path = request.addressee.path;
        let Via::Link(link) = path.via else { return Err(Refusal::BadRequest) };
        let number = request.message.connection_id()?.ok_or(Refusal::BadRequest)?;
        if let Some(shard) = self.tokens.elsewhere(&number.to_be_bytes()) {
            // The link goes to where the connection is, unless its client has something here.
            let free = self.table.find(path.five_tuple()).is_none();
            return if free { Ok(Answer::Elsewhere(shard)) } else { Err(Refusal::BadRequest) };
        }
        // Whoever has an allocation on this link needs it.
        if self.table.find(path.five_tuple()).is_some() || !self.waits_for(number, request) {
            return Err(Refusal::BadRequest);
        }
        let success = request.addressee.key.sign(request.addressee.success());
        self.reply(path, success.into_boxed_slice());
        if self.links.make_pipe(link, number) {
            self.effect(Effect::PipeLink { link });
            let early = self.connections.bind(number, link);
            if !early.is_empty() {
                self.relay_bytes(now, number, Way::ToClients, &early);
            }
            self.tend(number);
        }
        Ok(Answer::Silence)
    }

    /// Whether there is such a connection that waits for the user who asks. Nobody learns of those of others.
    fn waits_for(&self, number: Number, request: &Request<'_>) -> bool {
        let connection = self.connections.get(number).filter(|it| matches!(it.phase, Phase::Waiting));
        let owner = connection.and_then(|it| self.table.get(it.allocation)).map(|it| &it.owner.id);
        owner == Some(&request.owner.id)
    }
}
