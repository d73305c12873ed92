//! What trust is made of: tokens, pins, proofs and seals. No clock, and no I/O but the root-key file.

pub mod pin;
pub mod proof;
pub mod root_key;
pub mod seal;
pub mod token;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

/// Bytes that nobody can guess, from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A new id: 100 random bits in lower-case base 32 without letters that look alike, 20 characters.
pub fn random_id() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    random::<20>().iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}
