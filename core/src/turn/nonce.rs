//! Nonces that need no memory: a timestamp, and an HMAC over it and over the client's address and port
//! (RFC 8489 §9.2, and §9.2.5 for when 438 is due). Before them stands what the relay offers, where nobody on the way can
//! take it out: the nonce would be another one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};

use crate::rand::Seed;
use crate::time::UnixTime;

/// How long a nonce serves unless the relay says otherwise.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Bytes of the timestamp: seconds since the epoch, good for 34,000 years.
const TIME_LEN: usize = 5;
/// Bytes of the truncated HMAC: 80 bits. The nonce stays short, since replies to strangers must.
const TAG_LEN: usize = 10;

/// What the nonces of a server of RFC 8489 begin with (§9.2).
const COOKIE: &str = "obMatJos2";
/// The length of the cookie and of the bits behind it, in characters.
const HEAD_LEN: usize = COOKIE.len() + 4;

/// What a server can do for the security of its clients: the bits behind the cookie (RFC 8489 §18.1). There are none in
/// the nonces of older servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Challenges offer password algorithms.
    pub password_algorithms: bool,
    /// Users may be called by their hash.
    pub username_anonymity: bool,
}

impl Features {
    /// What `nonce` tells; nothing where it has no cookie.
    pub fn of(nonce: &str) -> Self {
        let bits = nonce.strip_prefix(COOKIE).and_then(|rest| rest.get(..4));
        let mut set = [0; 3];
        match bits.map(|bits| STANDARD.decode_slice(bits, &mut set)) {
            Some(Ok(3)) => {
                Self { password_algorithms: set[0] & 0x80 != 0, username_anonymity: set[0] & 0x40 != 0 }
            }
            _ => Self::default(),
        }
    }

    /// The cookie and the bits, of which the first is the highest.
    fn head(self) -> String {
        let first = u8::from(self.password_algorithms) << 7 | u8::from(self.username_anonymity) << 6;
        COOKIE.to_owned() + &STANDARD.encode([first, 0, 0])
    }
}

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

    /// A nonce for `client` that tells of `features`, made now: 33 characters.
    pub fn issue(&self, client: SocketAddr, features: Features, unix: UnixTime) -> String {
        let mut nonce = features.head();
        let mut bytes = [0; TIME_LEN + TAG_LEN];
        let (time, tag) = bytes.split_at_mut(TIME_LEN);
        time.copy_from_slice(&unix.0.to_be_bytes()[8 - TIME_LEN..]);
        tag.copy_from_slice(&self.tag(client, &nonce, time)[..TAG_LEN]);
        BASE64.encode_string(bytes, &mut nonce);
        nonce
    }

    /// Whether `nonce` was made for `client`, and recently. Which features it tells of does not matter: they are what they
    /// were when it was made.
    ///
    /// # Errors
    /// [`Rejected`]; the answer is 438 with a new nonce.
    pub fn judge(&self, client: SocketAddr, unix: UnixTime, nonce: &str) -> Result<(), Rejected> {
        let (head, rest) = nonce.split_at_checked(HEAD_LEN).ok_or(Rejected::Forged)?;
        let mut bytes = [0; TIME_LEN + TAG_LEN];
        if !matches!(BASE64.decode_slice(rest, &mut bytes), Ok(len) if len == bytes.len()) {
            return Err(Rejected::Forged);
        }
        let (time, tag) = bytes.split_at(TIME_LEN);
        constant_time::verify_slices_are_equal(&self.tag(client, head, time)[..TAG_LEN], tag)
            .map_err(|_| Rejected::Forged)?;
        let issued = time.iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        // A nonce from the future is ours from before the clock was set back.
        let age = unix.0.checked_sub(issued).ok_or(Rejected::Stale)?;
        if age <= self.lifetime.as_secs() { Ok(()) } else { Err(Rejected::Stale) }
    }

    fn tag(&self, client: SocketAddr, head: &str, time: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        match client.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&client.port().to_be_bytes());
        context.update(head.as_bytes());
        context.update(time);
        context.sign().as_ref().try_into().expect("a SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_700_000_000);
    const ALL: Features = Features { password_algorithms: true, username_anonymity: true };

    fn client(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_nonce_serves_its_client_for_its_lifetime() {
        let nonces = Nonces::new([1; 32], LIFETIME);
        let me = client("192.0.2.1:5000");
        let nonce = nonces.issue(me, ALL, NOW);
        assert_eq!(nonce.len(), 33);
        assert_eq!(nonces.judge(me, NOW, &nonce), Ok(()));
        assert_eq!(nonces.judge(me, UnixTime(NOW.0 + 600), &nonce), Ok(()));
        assert_eq!(nonces.judge(me, UnixTime(NOW.0 + 601), &nonce), Err(Rejected::Stale));
        assert_eq!(nonces.judge(me, UnixTime(NOW.0 - 1), &nonce), Err(Rejected::Stale));
    }

    #[test]
    fn a_nonce_serves_nobody_else() {
        let nonces = Nonces::new([1; 32], LIFETIME);
        let nonce = nonces.issue(client("192.0.2.1:5000"), ALL, NOW);
        let judge = |who: &str, nonce: &str| nonces.judge(client(who), NOW, nonce);
        assert_eq!(judge("192.0.2.1:5001", &nonce), Err(Rejected::Forged));
        assert_eq!(judge("192.0.2.2:5000", &nonce), Err(Rejected::Forged));
        for forged in
            ["", "x", "AAAAAAAAAAAAAAAAAAAA", "a much longer nonce than any that we ever make", "ÄÄÄÄ"]
        {
            assert_eq!(judge("192.0.2.1:5000", forged), Err(Rejected::Forged));
        }
        let stripped =
            [&nonce[HEAD_LEN..], &nonces.issue(client("192.0.2.1:5000"), Features::default(), NOW)];
        let weakened = stripped[1][..HEAD_LEN].to_owned() + stripped[0];
        assert_eq!(judge("192.0.2.1:5000", stripped[0]), Err(Rejected::Forged));
        assert_eq!(judge("192.0.2.1:5000", &weakened), Err(Rejected::Forged), "nobody takes the bits away");
        let other = Nonces::new([2; 32], LIFETIME);
        assert_eq!(other.judge(client("192.0.2.1:5000"), NOW, &nonce), Err(Rejected::Forged));
    }

    /// RFC 8489 §18.1: bit 0 is the highest of the three bytes.
    #[test]
    fn features_stand_behind_the_cookie() {
        let head = |password_algorithms, username_anonymity| {
            let features = Features { password_algorithms, username_anonymity };
            assert_eq!(Features::of(&features.head()), features);
            assert_eq!(Features::of(&(features.head() + "rest")), features);
            features.head()
        };
        assert_eq!(head(false, false), "obMatJos2AAAA");
        assert_eq!(head(true, false), "obMatJos2gAAA");
        assert_eq!(head(false, true), "obMatJos2QAAA");
        assert_eq!(head(true, true), "obMatJos2wAAA");
        assert_eq!(Features::of("obMatJos2////x"), ALL, "other bits are nobody's yet");
        for none in [
            "",
            "obMatJos2",
            "obMatJos2gAA",
            "obMatJos3gAAA",
            "xobMatJos2gAAA",
            "obMatJos2gAA\u{e4}",
            "obMatJos2g=A=",
        ] {
            assert_eq!(Features::of(none), Features::default(), "{none}");
        }
    }
}
