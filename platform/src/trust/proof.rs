//! What an instance signs to show that it has its key: for enrolment, and for each token that lives shortly.
//!
//! Every signed text begins with what it is for, so that a signature for one purpose is none for another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How far the clocks of both sides may be apart, in seconds.
pub const MAX_SKEW: u64 = 600;

/// What is signed at enrolment: the key goes with this very token, which names the installation.
pub fn enrolment(token_id: &str, public_key: &[u8]) -> Vec<u8> {
    text(&["adit enrolment 1", token_id, &STANDARD.encode(public_key)])
}

/// What is signed for an access token. `audience` is the installation's trust domain.
pub fn access(audience: &str, id: &str, nonce: &str, time: u64) -> Vec<u8> {
    text(&["adit access 1", audience, id, nonce, &time.to_string()])
}

/// The parts, each on a line of its own; a part with a line's end in it is taken apart from none.
fn text(parts: &[&str]) -> Vec<u8> {
    let lines = parts.iter().map(|part| format!("{}:{part}\n", part.len()));
    lines.collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_proofs_have_the_same_text() {
        assert_ne!(access("a", "b", "c", 1), access("a", "b\nc", "", 1));
        assert_ne!(enrolment("a", b"b"), enrolment("b", b"a"));
    }
}
