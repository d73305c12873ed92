//! Binding: tells whoever asks which address they have (RFC 8489 §3). Needs no credentials.

use std::time::Instant;

use super::Relay;
use super::via::Path;
use crate::stun::{Builder, Message, attribute};

/// A Binding reply is at most 1.5 times as large as its request.
const LIMIT: (usize, usize) = (3, 2);

/// What a client says of itself where it signs.
const CREDENTIALS: &[u16] = &[
    attribute::USERNAME,
    attribute::USERHASH,
    attribute::REALM,
    attribute::NONCE,
    attribute::PASSWORD_ALGORITHM,
];

impl Relay {
    pub(super) fn binding(&mut self, now: Instant, path: Path, message: &Message<'_>) {
        if !self.may_answer(now, path) {
            return;
        }
        // Nothing in a Binding request needs to be understood; what a client signs is not looked at either.
        let unknown = message.unknown_required(CREDENTIALS);
        let builder = if unknown.is_empty() {
            Builder::success(message).mapped_address(path.client)
        } else {
            Builder::error(message, 420, "").unknown_attributes(&unknown)
        };
        self.reply_to_stranger(path, message, LIMIT, builder.finish());
    }
}
