//! Passwords of users: what they may be made of, and new ones.

use std::ops::RangeInclusive;

use zeroize::Zeroizing;

use crate::trust::random;
use crate::words::PasswordPolicy;

/// How many characters a password may have.
pub const LENGTH: RangeInclusive<u16> = 20..=128;

const LETTERS_AND_DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Whether passwords can be made by `policy`.
///
/// # Errors
/// A sentence that says what to change.
pub fn check(policy: &PasswordPolicy) -> Result<(), String> {
    if !LENGTH.contains(&policy.length) {
        return Err(format!("a password has {} to {} characters", LENGTH.start(), LENGTH.end()));
    }
    let is_sign = |sign: char| sign.is_ascii_punctuation();
    match policy.symbols.chars().find(|&sign| !is_sign(sign)) {
        Some(other) => Err(format!("a password's symbols are signs of ASCII, not {other:?}")),
        None => Ok(()),
    }
}

/// A new password, with a letter, a digit and, where there are signs, a sign in it.
///
/// # Panics
/// Never for a policy that [`check`] accepts.
pub fn generate(policy: &PasswordPolicy) -> Zeroizing<String> {
    let signs = policy.symbols.as_bytes();
    let mut alphabet = [LETTERS_AND_DIGITS, signs].concat();
    alphabet.sort_unstable();
    alphabet.dedup();
    loop {
        let password = draw(&alphabet, usize::from(policy.length));
        let has = |wanted: fn(&u8) -> bool| password.as_bytes().iter().any(wanted);
        let has_sign = signs.is_empty() || has(u8::is_ascii_punctuation);
        if has(u8::is_ascii_alphabetic) && has(u8::is_ascii_digit) && has_sign {
            return password;
        }
    }
}

/// `length` characters, each as likely as any other.
fn draw(alphabet: &[u8], length: usize) -> Zeroizing<String> {
    // Bytes from here on are drawn again: they would make the first characters likelier.
    let fair = 256 - 256 % alphabet.len();
    let mut password = Zeroizing::new(String::with_capacity(length));
    while password.len() < length {
        let bytes: Zeroizing<[u8; 64]> = Zeroizing::new(random());
        let drawn = bytes.iter().map(|&byte| usize::from(byte)).filter(|&byte| byte < fair);
        for byte in drawn.take(length - password.len()) {
            password.push(char::from(alphabet[byte % alphabet.len()]));
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(length: u16, symbols: &str) -> PasswordPolicy {
        PasswordPolicy { length, symbols: symbols.to_owned() }
    }

    #[test]
    fn passwords_are_as_long_as_wanted_and_of_what_is_wanted() {
        for (length, symbols) in [(20, ""), (32, "!"), (128, "'\"\\{}$;-")] {
            let policy = policy(length, symbols);
            assert_eq!(check(&policy), Ok(()));
            let password = generate(&policy);
            assert_eq!(password.len(), usize::from(length));
            assert!(password.chars().all(|c| c.is_ascii_alphanumeric() || symbols.contains(c)));
            assert!(password.chars().any(|c| c.is_ascii_digit()));
            assert!(symbols.is_empty() || password.chars().any(|c| symbols.contains(c)));
        }
    }

    #[test]
    fn every_character_is_used() {
        let all: String = (0..40).map(|_| generate(&policy(128, "")).to_string()).collect();
        assert!(LETTERS_AND_DIGITS.iter().all(|&byte| all.contains(char::from(byte))));
    }

    #[test]
    fn weak_policies_and_odd_signs_are_refused() {
        for bad in [policy(19, ""), policy(129, ""), policy(32, "a"), policy(32, " "), policy(32, "ä")] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
