//! Input that nobody should send: random bytes, and valid messages with damage.

use proptest::prelude::*;
use proptest::sample::Index;

/// What to send in place of a valid message.
#[derive(Debug, Clone)]
pub(crate) enum Spoil {
    /// The message, with damage.
    Damaged(Vec<Damage>),
    /// Something else altogether.
    Random(Vec<u8>),
    /// A STUN header that fits, and random attributes behind it.
    Stun(u16, Vec<u8>),
}

/// One way to break a valid message.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Swap(Index, Index),
}

/// Any of them, damage most often.
pub(crate) fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        2 => prop::collection::vec(damage(), 1..4).prop_map(Spoil::Damaged),
        1 => prop::collection::vec(any::<u8>(), 0..600).prop_map(Spoil::Random),
        1 => (0u16..0x4000, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(kind, body)| Spoil::Stun(kind, body)),
    ]
}

/// One of `valid`, spoilt.
#[allow(dead_code, reason = "not every test has a fixed list")]
pub(crate) fn hostile(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(valid), spoil()).prop_map(|(bytes, spoil)| spoil.apply(bytes))
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), 1u8..).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), 1usize..9).prop_map(|(at, len)| Damage::Remove(at, len)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ]
}

impl Spoil {
    /// What is sent in place of `valid`.
    pub(crate) fn apply(self, mut valid: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Damaged(damages) => damages.into_iter().for_each(|damage| damage.apply(&mut valid)),
            Self::Random(bytes) => valid = bytes,
            Self::Stun(kind, body) => {
                let transaction = valid.get(8..20).map_or([7; 12], |id| id.try_into().expect("twelve bytes"));
                valid = stun(kind, transaction, &body);
            }
        }
        valid
    }
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Self::Flip(at, bits) => bytes[at.index(len)] ^= bits,
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Insert(at, more) => drop(bytes.splice(at.index(len)..at.index(len), more)),
            Self::Remove(at, count) => {
                let start = at.index(len);
                bytes.drain(start..len.min(start + count));
            }
            Self::Swap(a, b) => bytes.swap(a.index(len), b.index(len)),
        }
    }
}

/// A message whose header is right (RFC 8489 §5).
fn stun(kind: u16, transaction: [u8; 12], body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len() / 4 * 4];
    let len = u16::try_from(body.len()).expect("it is short");
    [&kind.to_be_bytes()[..], &len.to_be_bytes(), &[0x21, 0x12, 0xA4, 0x42], &transaction, body].concat()
}
