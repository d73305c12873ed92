//! Long-term credentials (RFC 8489 §9.2), and time-limited ones: the username says until when, the password is an
//! HMAC of the username under a secret that the relay shares with whoever hands credentials out.
//!
//! ```text
//!  who has the secret                 client                              relay, which has it too
//!    Credentials::time_limited ─────▶ signs requests with                 Authenticator::authenticate:
//!    "<expiry>:<id>", password        MD5(username:realm:password) ─────▶ expired? password of that username? ─▶ Account
//! ```
//!
//! [`Credentials::limited`] also writes a [`CredentialPolicy`] into the username, which the password then vouches for.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::credential_policy::{BadPolicy, CredentialPolicy};
use super::key::{Key, opaque, userhash};
use super::nonce::Features;
use crate::stun::{BadAttribute, Builder, Message, PasswordAlgorithm};
use crate::time::UnixTime;

/// The longest username in bytes (RFC 8489 §14.3 says "fewer than 509").
pub const MAX_USERNAME: usize = 508;

/// The longest username that is read, in bytes: RFC 5389 let them be longer (RFC 8489 §14.3).
const MAX_READ: usize = 763;

/// What a relay offers, the best first (RFC 8489 §9.2.4).
const OFFERED: [PasswordAlgorithm; 2] = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];

/// The key of MESSAGE-INTEGRITY for a user (RFC 8489 §9.2.2): [`Key::md5`].
pub fn long_term_key(username: &str, realm: &str, password: &str) -> Key {
    Key::md5(username, realm, password)
}

/// The username that is good until `expiry` for `id`. The id has no colon in it.
pub fn time_limited_username(expiry: UnixTime, id: &str) -> String {
    format!("{}:{id}", expiry.0)
}

/// The password of a time-limited username: base64 of HMAC-SHA1 under `secret`.
pub fn time_limited_password(secret: &[u8], username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    BASE64.encode(hmac::sign(&key, username.as_bytes()))
}

/// What a client shows. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// At most [`MAX_USERNAME`] bytes.
    pub username: String,
    /// The password.
    pub password: String,
}

impl Credentials {
    /// Time-limited credentials for `id`, made from the relay's secret.
    pub fn time_limited(secret: &[u8], expiry: UnixTime, id: &str) -> Self {
        Self::signed(secret, time_limited_username(expiry, id))
    }

    /// Time-limited credentials for `id` that allow what `policy` says; everything that the relay allows where that
    /// is `None`.
    ///
    /// # Errors
    /// [`Unwritable`] when the username has no room for it.
    pub fn limited(
        secret: &[u8],
        expiry: UnixTime,
        id: &str,
        policy: Option<&CredentialPolicy>,
    ) -> Result<Self, Unwritable> {
        if id.is_empty() || id.contains(':') {
            return Err(Unwritable::BadId);
        }
        let mut username = time_limited_username(expiry, id);
        if let Some(policy) = policy {
            username.push(':');
            username.push_str(&policy.encode());
        }
        if username.len() > MAX_USERNAME {
            return Err(Unwritable::TooLong);
        }
        Ok(Self::signed(secret, username))
    }

    fn signed(secret: &[u8], username: String) -> Self {
        // As it will be sent: the relay signs what it receives.
        let username = opaque(&username).into_owned();
        let password = time_limited_password(secret, &username);
        Self { username, password }
    }

    /// The username as it is sent: prepared by OpaqueString (RFC 8489 §14.3).
    pub fn sent_username(&self) -> std::borrow::Cow<'_, str> {
        opaque(&self.username)
    }

    /// The key under `realm` for relays that offer no password algorithms.
    pub fn key(&self, realm: &str) -> Key {
        long_term_key(&self.sent_username(), realm, &self.password)
    }

    /// The key under `realm` by a password algorithm that the relay offers; `None` where it is not known here.
    pub fn key_by(&self, algorithm: PasswordAlgorithm, realm: &str) -> Option<Key> {
        Key::negotiated(algorithm, &self.sent_username(), realm, &self.password)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Why there are no such credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// The username would be longer than [`MAX_USERNAME`]: the policy names too many networks.
    #[error("the username of these credentials would be longer than {MAX_USERNAME} bytes")]
    TooLong,
    /// The id is empty, or has a colon in it, which ends it.
    #[error("an id is not empty and has no colon in it")]
    BadId,
}

/// A time-limited username, taken apart: `<unix expiry>[:id[:version.policy]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimited<'a> {
    /// Until when it is good.
    pub expiry: UnixTime,
    /// Whose it is; empty where the username is an expiry only.
    pub id: &'a str,
    /// The policy that the password vouches for, as [`CredentialPolicy::encode`] writes it.
    pub policy: Option<&'a str>,
}

impl<'a> TimeLimited<'a> {
    /// `None` when `username` does not begin with an expiry.
    pub fn parse(username: &'a str) -> Option<Self> {
        let mut fields = username.splitn(3, ':');
        let expiry = fields.next().filter(|field| field.bytes().all(|byte| byte.is_ascii_digit()))?;
        let expiry = UnixTime(expiry.parse().ok()?);
        Some(Self { expiry, id: fields.next().unwrap_or(""), policy: fields.next() })
    }
}

/// Who may use a relay: users with fixed passwords, and holders of time-limited credentials under any of several
/// live secrets. `Debug` shows neither.
#[derive(Clone)]
pub struct Authenticator {
    realm: String,
    users: BTreeMap<String, Keys>,
    /// The users by what they may be called on the way.
    hashes: BTreeMap<[u8; 32], String>,
    secrets: Vec<hmac::Key>,
}

/// The keys of a user whose password is not kept.
#[derive(Clone, Copy)]
struct Keys {
    md5: Key,
    /// Both as they are used where the client has chosen from what was offered.
    negotiated: [Key; OFFERED.len()],
}

/// The user of an authenticated request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The username as it was shown.
    pub username: String,
    /// Whose allocation it is: the second field of a time-limited username, otherwise the whole username. Renewed
    /// credentials of the same id go on with the same allocation.
    pub id: String,
    /// The key that the response is signed with.
    pub key: Key,
    /// When time-limited credentials run out.
    pub expiry: Option<UnixTime>,
    /// What time-limited credentials allow, where they say so.
    pub policy: Option<CredentialPolicy>,
}

/// Why a request is not authenticated. On the wire it is 400 for `Incomplete` and 401 for everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has no MESSAGE-INTEGRITY (RFC 8489 §9.2.4: 401 with realm and nonce).
    #[error("the request is not signed")]
    Unsigned,
    /// It is signed, but username, realm or nonce is missing or unreadable (400).
    #[error("the request lacks username, realm or nonce")]
    Incomplete,
    /// It names other password algorithms than were offered, or chooses none of them (400).
    #[error("the request names other password algorithms than were offered")]
    BadAlgorithm,
    /// The username has more than 763 bytes (400).
    #[error("the username is too long")]
    TooLong,
    /// There is no such user here.
    #[error("the user is not known")]
    UnknownUser,
    /// Time-limited credentials have run out.
    #[error("the credentials have expired")]
    Expired,
    /// The username carries a policy of a version that this relay does not know.
    #[error("the policy in the username has an unknown version")]
    UnknownPolicy,
    /// The username carries a policy that cannot be read.
    #[error("the policy in the username is malformed")]
    MalformedPolicy,
    /// The MESSAGE-INTEGRITY was made with another password.
    #[error("the password is wrong")]
    WrongPassword,
}

impl Refused {
    /// The error code on the wire (RFC 8489 §9.2.4).
    pub fn code(self) -> u16 {
        match self {
            Self::Incomplete | Self::BadAlgorithm | Self::TooLong => 400,
            _ => 401,
        }
    }
}

impl From<BadAttribute> for Refused {
    fn from(_: BadAttribute) -> Self {
        Self::Incomplete
    }
}

impl From<BadPolicy> for Refused {
    fn from(bad: BadPolicy) -> Self {
        match bad {
            BadPolicy::UnknownVersion => Self::UnknownPolicy,
            BadPolicy::Malformed => Self::MalformedPolicy,
        }
    }
}

impl Authenticator {
    /// Nobody yet. The realm is shown to strangers: keep it short.
    pub fn new(realm: impl Into<String>) -> Self {
        let (users, hashes) = (BTreeMap::new(), BTreeMap::new());
        Self { realm: realm.into(), users, hashes, secrets: Vec::new() }
    }

    /// With a user who has a fixed password.
    pub fn with_user(mut self, username: &str, password: &str) -> Self {
        let username = &*opaque(username);
        let negotiated = OFFERED.map(|algorithm| {
            Key::negotiated(algorithm, username, &self.realm, password).expect("what is offered is known")
        });
        let keys = Keys { md5: long_term_key(username, &self.realm, password), negotiated };
        self.hashes.insert(userhash(username, &self.realm), username.to_owned());
        self.users.insert(username.to_owned(), keys);
        self
    }

    /// With a secret for time-limited credentials. Several are live at once, so that one can be replaced.
    pub fn with_secret(mut self, secret: &[u8]) -> Self {
        self.secrets.push(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret));
        self
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// What nonces tell clients (RFC 8489 §9.2): password algorithms are offered, and users may hide their names where
    /// all are known by name. Time-limited usernames can't be found by their hash.
    pub(crate) fn features(&self) -> Features {
        let username_anonymity = !self.users.is_empty() && self.secrets.is_empty();
        Features { password_algorithms: true, username_anonymity }
    }

    /// Adds to a challenge what its nonce tells of: the password algorithms.
    pub(crate) fn offer(&self, features: Features, builder: Builder) -> Builder {
        if features.password_algorithms { builder.password_algorithms(&OFFERED) } else { builder }
    }

    /// Who signed `request`. The nonce must be there; whether it is fresh is not judged here.
    ///
    /// Passwords are compared through the integrity only, in constant time.
    ///
    /// # Errors
    /// [`Refused`], with the code that goes back.
    pub fn authenticate(&self, request: &Message<'_>, unix: UnixTime) -> Result<Account, Refused> {
        if !request.has_integrity() {
            return Err(Refused::Unsigned);
        }
        let (username, hash) = (request.username()?, request.userhash()?);
        if username.is_none() && hash.is_none() {
            return Err(Refused::Incomplete);
        }
        let realm = request.realm()?.ok_or(Refused::Incomplete)?;
        request.nonce()?.ok_or(Refused::Incomplete)?;
        if username.is_some_and(|username| username.len() > MAX_READ) {
            return Err(Refused::TooLong);
        }
        let chosen = chosen(request)?;
        let hidden = || hash.and_then(|hash| self.hashes.get(&hash)).map(String::as_str);
        let username = username.or_else(hidden).ok_or(Refused::UnknownUser)?;
        if realm != self.realm {
            return Err(Refused::WrongPassword);
        }
        match self.users.get(username) {
            Some(keys) => self.fixed(request, username, keys.of(chosen)),
            None => self.limited(request, username, chosen, unix),
        }
    }

    fn fixed(&self, request: &Message<'_>, username: &str, key: Key) -> Result<Account, Refused> {
        request.verify(&key).map_err(|_| Refused::WrongPassword)?;
        let username = username.to_owned();
        Ok(Account { id: username.clone(), username, key, expiry: None, policy: None })
    }

    fn limited(
        &self,
        request: &Message<'_>,
        username: &str,
        chosen: Option<PasswordAlgorithm>,
        unix: UnixTime,
    ) -> Result<Account, Refused> {
        let parts = TimeLimited::parse(username).filter(|_| !self.secrets.is_empty());
        let parts = parts.ok_or(Refused::UnknownUser)?;
        let key = self.limited_key(request, username, chosen).ok_or(Refused::WrongPassword)?;
        // Only after the password: what is parsed here was written by somebody who has the secret.
        let policy = parts.policy.map(CredentialPolicy::parse).transpose()?;
        if parts.expiry <= unix {
            return Err(Refused::Expired);
        }
        let id = if parts.id.is_empty() { username } else { parts.id };
        let expiry = Some(parts.expiry);
        Ok(Account { username: username.to_owned(), id: id.to_owned(), key, expiry, policy })
    }

    /// The key under the first secret that the request was signed with.
    fn limited_key(
        &self,
        request: &Message<'_>,
        username: &str,
        chosen: Option<PasswordAlgorithm>,
    ) -> Option<Key> {
        let keys = self.secrets.iter().filter_map(|secret| {
            let password = BASE64.encode(hmac::sign(secret, username.as_bytes()));
            match chosen {
                None => Some(long_term_key(username, &self.realm, &password)),
                Some(algorithm) => Key::negotiated(algorithm, username, &self.realm, &password),
            }
        });
        keys.into_iter().find(|key| request.verify(key).is_ok())
    }
}

impl Keys {
    fn of(&self, chosen: Option<PasswordAlgorithm>) -> Key {
        let place = OFFERED.iter().position(|offered| Some(*offered) == chosen);
        place.map_or(self.md5, |place| self.negotiated[place])
    }
}

/// The algorithm that a client has chosen from what was offered, `None` where it does not know of them: then it is MD5,
/// and the response is signed as clients of RFC 5389 know it (RFC 8489 §9.2.4). Whoever stands in between can't have
/// changed what was offered: the client repeats it under its signature.
fn chosen(request: &Message<'_>) -> Result<Option<PasswordAlgorithm>, Refused> {
    match (request.password_algorithms()?, request.password_algorithm()?) {
        (None, None) => Ok(None),
        (Some(offered), Some(chosen)) if offered == OFFERED && OFFERED.contains(&chosen) => Ok(Some(chosen)),
        _ => Err(Refused::BadAlgorithm),
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("realm", &self.realm)
            .field("users", &self.users.len())
            .field("secrets", &self.secrets.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{Builder, Class, Method};
    use crate::turn::address_policy::Network;
    use std::net::IpAddr;

    const NOW: UnixTime = UnixTime(1_700_000_000);
    const LATER: UnixTime = UnixTime(1_700_086_400);

    fn request(credentials: &Credentials, realm: &str) -> Vec<u8> {
        Builder::new(Class::Request, Method::ALLOCATE, [1; 12])
            .username(&credentials.username)
            .realm(realm)
            .nonce("nonce")
            .finish_with_integrity(&credentials.key(realm))
    }

    fn judge(authenticator: &Authenticator, bytes: &[u8]) -> Result<Account, Refused> {
        authenticator.authenticate(&Message::parse(bytes).unwrap(), NOW)
    }

    fn host(last: u8) -> Network {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn relay() -> Authenticator {
        Authenticator::new("adit").with_user("alice", "wonder").with_secret(b"old").with_secret(b"new")
    }

    #[test]
    fn the_password_of_a_username_is_that_of_other_implementations() {
        // `printf 1700000000:gw-1 | openssl dgst -sha1 -hmac secret -binary | base64`
        assert_eq!(time_limited_password(b"secret", "1700000000:gw-1"), "29Zz45HFKvhy5Gx3pxOCd7TkSek=");
        // The long-term key of RFC 8489's predecessor, RFC 5389 §15.4.
        let key = 0x8493_fbc5_3ba5_82fb_4c04_4c45_6bdc_40eb_u128;
        assert_eq!(*long_term_key("user", "realm", "pass"), key.to_be_bytes());
    }

    #[test]
    fn a_fixed_password_is_checked() {
        let alice = Credentials { username: "alice".into(), password: "wonder".into() };
        let account = judge(&relay(), &request(&alice, "adit")).unwrap();
        assert_eq!((account.id.as_str(), account.expiry), ("alice", None));
        let wrong = Credentials { password: "land".into(), ..alice.clone() };
        assert_eq!(judge(&relay(), &request(&wrong, "adit")), Err(Refused::WrongPassword));
        assert_eq!(judge(&relay(), &request(&alice, "elsewhere")), Err(Refused::WrongPassword));
        let bob = Credentials { username: "bob".into(), ..alice };
        assert_eq!(judge(&relay(), &request(&bob, "adit")), Err(Refused::UnknownUser));
    }

    #[test]
    fn several_secrets_are_live_at_once() {
        for secret in [&b"old"[..], b"new"] {
            let credentials = Credentials::time_limited(secret, LATER, "gw-1");
            let account = judge(&relay(), &request(&credentials, "adit")).unwrap();
            assert_eq!((account.id.as_str(), account.expiry), ("gw-1", Some(LATER)));
        }
        let credentials = Credentials::time_limited(b"other", LATER, "gw-1");
        assert_eq!(judge(&relay(), &request(&credentials, "adit")), Err(Refused::WrongPassword));
    }

    #[test]
    fn expired_credentials_and_unreadable_policies_are_refused() {
        let refused = |credentials| judge(&relay(), &request(&credentials, "adit")).unwrap_err();
        assert_eq!(refused(Credentials::time_limited(b"new", NOW, "gw-1")), Refused::Expired);
        for (policy, reason) in [
            ("9.xyz", Refused::UnknownPolicy),
            ("", Refused::MalformedPolicy),
            ("1.", Refused::MalformedPolicy),
            ("1.AA:", Refused::MalformedPolicy),
            ("1.CA", Refused::MalformedPolicy),
        ] {
            let id = format!("gw-1:{policy}");
            assert_eq!(refused(Credentials::time_limited(b"new", LATER, &id)), reason, "{policy}");
        }
    }

    #[test]
    fn a_policy_is_part_of_what_the_password_vouches_for() {
        let narrow = CredentialPolicy { peers: vec![host(1)], ..Default::default() };
        let wide = CredentialPolicy { any_public: true, ..Default::default() };
        let credentials = Credentials::limited(b"new", LATER, "gw-1", Some(&narrow)).unwrap();
        let account = judge(&relay(), &request(&credentials, "adit")).unwrap();
        assert_eq!((account.id.as_str(), account.policy), ("gw-1", Some(narrow.clone())));
        let forge = |username| Credentials { username, password: credentials.password.clone() };
        let widened = forge(credentials.username.replace(&narrow.encode(), &wide.encode()));
        assert_ne!(widened.username, credentials.username);
        assert_eq!(judge(&relay(), &request(&widened, "adit")), Err(Refused::WrongPassword));
        let freed = forge(time_limited_username(LATER, "gw-1"));
        assert_eq!(judge(&relay(), &request(&freed, "adit")), Err(Refused::WrongPassword));
    }

    #[test]
    fn how_many_networks_a_username_has_room_for() {
        let id = "5f0c6c3e-8f0b-4c52-9d1e-6d7f4a2b9c10";
        let limited = |hosts| {
            let peers = (0..hosts).map(host).collect();
            let policy = CredentialPolicy { peers, max_allocations: Some(4), any_public: false };
            Credentials::limited(b"new", LATER, id, Some(&policy))
        };
        let most = limited(68).unwrap();
        assert!(most.username.len() <= MAX_USERNAME);
        assert_eq!(judge(&relay(), &request(&most, "adit")).unwrap().policy.unwrap().peers.len(), 68);
        assert_eq!(limited(69), Err(Unwritable::TooLong));
    }

    #[test]
    fn an_id_cannot_smuggle_a_policy_in() {
        let wide = CredentialPolicy { any_public: true, ..Default::default() };
        for id in [format!("gw:{}", wide.encode()), String::new(), ":".to_owned()] {
            assert_eq!(Credentials::limited(b"new", LATER, &id, None), Err(Unwritable::BadId));
        }
    }

    #[test]
    fn what_is_missing_decides_about_the_code() {
        let code = |builder: Builder, key: Option<&[u8]>| {
            let bytes = match key {
                Some(key) => builder.finish_with_integrity(key),
                None => builder.finish(),
            };
            judge(&relay(), &bytes).unwrap_err().code()
        };
        let empty = || Builder::new(Class::Request, Method::ALLOCATE, [1; 12]);
        assert_eq!(code(empty(), None), 401);
        assert_eq!(code(empty(), Some(b"key")), 400);
        assert_eq!(code(empty().username("alice").realm("adit"), Some(b"key")), 400);
        let long = "x".repeat(764);
        assert_eq!(code(empty().username(&long).realm("adit").nonce("n"), Some(b"key")), 400);
    }

    #[test]
    fn debug_shows_no_secret() {
        let credentials = Credentials { username: "alice".into(), password: "wonder".into() };
        let shown = format!("{credentials:?} {:?}", relay());
        assert!(shown.contains("alice") && !shown.contains("wonder") && !shown.contains("old"));
    }
}
