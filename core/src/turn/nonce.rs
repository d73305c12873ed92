//! Nonces that need no memory: a timestamp, and an HMAC over it and over the client's address and port
//! (RFC 8489 §9.2, and §9.2.5 for when 438 is due).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::rand::Seed;
use crate::time::UnixTime;

/// How long a nonce serves unless the relay says otherwise.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Bytes of the timestamp: seconds since the epoch, good for 34,000 years.
const TIME_LEN: usize = 5;
/// Bytes of the truncated HMAC: 80 bits. The nonce stays short, since replies to strangers must.
const TAG_LEN: usize = 10;

/// Makes and judges the nonces of one relay. Whoever has the same key accepts the same nonces.
#[derive(Debug)]
pub struct Nonces {
    key: hmac::Key,
    lifetime: Duration,
}

/// Why a nonce was not accepted. On the wire both are 438: a stranger learns nothing from the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It was ours once.
    #[error("the nonce is stale")]
    Stale,
    /// It was never ours, or it is somebody else's.
    #[error("the nonce is not ours")]
    Forged,
}

impl Nonces {
    /// Nonces under `key` that serve for `lifetime`.
    pub fn new(key: Seed, lifetime: Duration) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), lifetime }
    }

    /// A nonce for `client`, made now: 20 characters.
    pub fn issue(&self, client: SocketAddr, unix: UnixTime) -> String {
        let mut nonce = [0; TIME_LEN + TAG_LEN];
        let (time, tag) = nonce.split_at_mut(TIME_LEN);
        time.copy_from_slice(&unix.0.to_be_bytes()[8 - TIME_LEN..]);
        tag.copy_from_slice(&self.tag(client, time)[..TAG_LEN]);
        BASE64.encode(nonce)
    }

    /// Whether `nonce` was made for `client`, and recently.
    ///
    /// # Errors
    /// [`Rejected`]; the answer is 438 with a new nonce.
    pub fn judge(&self, client: SocketAddr, unix: UnixTime, nonce: &str) -> Result<(), Rejected> {
        let mut bytes = [0; TIME_LEN + TAG_LEN];
        if !matches!(BASE64.decode_slice(nonce, &mut bytes), Ok(len) if len == bytes.len()) {
            return Err(Rejected::Forged);
        }
        let (time, tag) = bytes.split_at(TIME_LEN);
        constant_time::verify_slices_are_equal(&self.tag(client, time)[..TAG_LEN], tag)
            .map_err(|_| Rejected::Forged)?;
        let issued = time.iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        // A nonce from the future is ours from before the clock was set back.
        let age = unix.0.checked_sub(issued).ok_or(Rejected::Stale)?;
        if age <= self.lifetime.as_secs() { Ok(()) } else { Err(Rejected::Stale) }
    }

    fn tag(&self, client: SocketAddr, time: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        match client.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&client.port().to_be_bytes());
        context.update(time);
        context.sign().as_ref().try_into().expect("a SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_700_000_000);

    fn client(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_nonce_serves_its_client_for_its_lifetime() {
        let nonces = Nonces::new([1; 32], LIFETIME);
        let me = client("192.0.2.1:5000");
        let nonce = nonces.issue(me, NOW);
        assert_eq!(nonce.len(), 20);
        assert_eq!(nonces.judge(me, NOW, &nonce), Ok(()));
        assert_eq!(nonces.judge(me, UnixTime(NOW.0 + 600), &nonce), Ok(()));
        assert_eq!(nonces.judge(me, UnixTime(NOW.0 + 601), &nonce), Err(Rejected::Stale));
        assert_eq!(nonces.judge(me, UnixTime(NOW.0 - 1), &nonce), Err(Rejected::Stale));
    }

    #[test]
    fn a_nonce_serves_nobody_else() {
        let nonces = Nonces::new([1; 32], LIFETIME);
        let nonce = nonces.issue(client("192.0.2.1:5000"), NOW);
        let judge = |who: &str, nonce: &str| nonces.judge(client(who), NOW, nonce);
        assert_eq!(judge("192.0.2.1:5001", &nonce), Err(Rejected::Forged));
        assert_eq!(judge("192.0.2.2:5000", &nonce), Err(Rejected::Forged));
        for forged in
            ["", "x", "AAAAAAAAAAAAAAAAAAAA", "a much longer nonce than any that we ever make", "ÄÄÄÄ"]
        {
            assert_eq!(judge("192.0.2.1:5000", forged), Err(Rejected::Forged));
        }
        let other = Nonces::new([2; 32], LIFETIME);
        assert_eq!(other.judge(client("192.0.2.1:5000"), NOW, &nonce), Err(Rejected::Forged));
    }
}
