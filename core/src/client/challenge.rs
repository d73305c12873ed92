//! What a relay asks for in 401 and 438, and what its requests are signed with from then on (RFC 8489 §9.2.5).

use crate::stun::{Builder, Message, PasswordAlgorithm, attribute};
use crate::turn::credentials::Credentials;
use crate::turn::key::{Key, userhash};
use crate::turn::nonce::Features;

/// Realm and nonce of the relay, and the key that follows from the realm.
#[derive(Debug)]
pub(super) struct Challenge {
    realm: String,
    nonce: String,
    key: Key,
    algorithms: Option<Algorithms>,
}

/// The password algorithms of a relay of RFC 8489.
#[derive(Debug)]
struct Algorithms {
    /// All that it offers, which is repeated as it is: whoever has changed it on the way is found out.
    offered: Vec<u8>,
    /// The first that is known here.
    chosen: PasswordAlgorithm,
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswerable {
    /// It has no realm or no nonce.
    Incomplete,
    /// Its nonce tells of password algorithms, and somebody has taken them out.
    Weakened,
    /// It offers none that is known here.
    Unknown,
}

impl Challenge {
    /// What `response` asks for. A realm that it does not name is that of the challenge `before`.
    pub(super) fn read(
        response: &Message<'_>,
        before: Option<&Self>,
        credentials: &Credentials,
    ) -> Result<Self, Unanswerable> {
        let nonce = response.nonce().ok().flatten().ok_or(Unanswerable::Incomplete)?.to_owned();
        let realm = match response.realm() {
            Ok(Some(realm)) => realm.to_owned(),
            _ => before.map(|before| before.realm.clone()).ok_or(Unanswerable::Incomplete)?,
        };
        let algorithms = Algorithms::read(response)?;
        if algorithms.is_none() && Features::of(&nonce).password_algorithms {
            return Err(Unanswerable::Weakened);
        }
        let key = key(algorithms.as_ref(), &realm, credentials);
        Ok(Self { realm, nonce, key, algorithms })
    }

    /// Other credentials are shown from now on.
    pub(super) fn rekey(&mut self, credentials: &Credentials) {
        self.key = key(self.algorithms.as_ref(), &self.realm, credentials);
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Signs a request.
    pub(super) fn sign(&self, credentials: &Credentials, builder: Builder) -> Vec<u8> {
        let username = &credentials.sent_username();
        let builder = match Features::of(&self.nonce).username_anonymity {
            true => builder.userhash(&userhash(username, &self.realm)),
            false => builder.username(username),
        };
        let builder = builder.realm(&self.realm).nonce(&self.nonce);
        let builder = match &self.algorithms {
            Some(Algorithms { offered, chosen }) => {
                builder.raw(attribute::PASSWORD_ALGORITHMS, offered).password_algorithm(*chosen)
            }
            None => builder,
        };
        self.key.sign(builder)
    }
}

impl Algorithms {
    fn read(response: &Message<'_>) -> Result<Option<Self>, Unanswerable> {
        let Some(offered) = response.attribute(attribute::PASSWORD_ALGORITHMS) else { return Ok(None) };
        let all = response.password_algorithms().ok().flatten().unwrap_or_default();
        let known = |algorithm: &PasswordAlgorithm| !matches!(algorithm, PasswordAlgorithm::Other(_));
        let chosen = all.into_iter().find(known).ok_or(Unanswerable::Unknown)?;
        Ok(Some(Self { offered: offered.to_vec(), chosen }))
    }
}

fn key(algorithms: Option<&Algorithms>, realm: &str, credentials: &Credentials) -> Key {
    let negotiated = algorithms.and_then(|algorithms| credentials.key_by(algorithms.chosen, realm));
    negotiated.unwrap_or_else(|| credentials.key(realm))
}
