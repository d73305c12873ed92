//! How users are named: a template, and what becomes of it.
//!
//! Whatever goes in, a name is lower-case ASCII of at most 63 bytes, with 80 random bits that are never cut.

use thiserror::Error;

use super::quote::MAX_NAME;
use crate::trust;

/// How users are named where nobody says otherwise.
pub const DEFAULT: &str = "v-{{identity}}-{{secret}}-{{random}}";

/// Random characters in a name, of five bits each.
const RANDOM: usize = 16;

/// Digits of a time, for the next two centuries.
const DIGITS: usize = 10;

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Random,
    UnixTime,
    Identity,
    Secret,
}

/// For whom a name is.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The name of the identity that leases.
    pub identity: &'a str,
    /// The name of the secret.
    pub secret: &'a str,
    /// The time in unix seconds.
    pub unix_time: u64,
}

/// Why a template is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadTemplate {
    /// A character is not allowed.
    #[error(
        "a user-name template has lower-case letters, digits, `-`, `_` and `.`, and placeholders: not {0:?}"
    )]
    Character(char),
    /// A placeholder is not known.
    #[error(
        "a user-name template has {{{{random}}}}, {{{{identity}}}}, {{{{secret}}}} and {{{{unix_time}}}}: not {0:?}"
    )]
    Placeholder(String),
    /// Two names could be the same.
    #[error("a user-name template has {{{{random}}}} in it, once")]
    Random,
    /// It does not fit.
    #[error(
        "names of this template are longer than the {MAX_NAME} bytes that PostgreSQL keeps: shorten its text"
    )]
    Length,
    /// The server keeps such names for itself.
    #[error("names that begin with `pg_` belong to PostgreSQL")]
    Reserved,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`BadTemplate`].
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, after) = rest.split_once("{{").unwrap_or((rest, ""));
            if !before.is_empty() {
                parts.push(Part::Text(literal(before)?));
            }
            if before.len() == rest.len() {
                break;
            }
            let unknown = |inner: &str| BadTemplate::Placeholder(inner.chars().take(40).collect());
            let (inner, after) = after.split_once("}}").ok_or_else(|| unknown(after))?;
            parts.push(match inner.trim() {
                "random" => Part::Random,
                "unix_time" => Part::UnixTime,
                "identity" => Part::Identity,
                "secret" => Part::Secret,
                other => return Err(unknown(other)),
            });
            rest = after;
        }
        if parts.iter().filter(|part| **part == Part::Random).count() != 1 {
            return Err(BadTemplate::Random);
        }
        if text.starts_with("pg_") {
            return Err(BadTemplate::Reserved);
        }
        let template = Self { parts };
        let shortest = template.length(1, 1);
        if shortest > MAX_NAME { Err(BadTemplate::Length) } else { Ok(template) }
    }

    /// A new name. Names that are too long lose the ends of the identity's and the secret's.
    pub fn render(&self, names: &Names<'_>) -> String {
        let (mut identity, mut secret) = (tame(names.identity), tame(names.secret));
        while self.length(identity.len(), secret.len()) > MAX_NAME {
            let longer = if identity.len() >= secret.len() { &mut identity } else { &mut secret };
            if longer.pop().is_none() {
                break;
            }
        }
        let name: String = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Random => trust::random_id()[..RANDOM].to_owned(),
                Part::UnixTime => format!("{:0DIGITS$}", names.unix_time % 10_u64.pow(10)),
                Part::Identity => identity.clone(),
                Part::Secret => secret.clone(),
            })
            .collect();
        // The server keeps names that begin so for itself.
        if name.starts_with("pg_") { name.replacen("pg_", "pg-", 1) } else { name }
    }

    fn length(&self, identity: usize, secret: usize) -> usize {
        let lengths = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.len(),
            Part::Random => RANDOM,
            Part::UnixTime => DIGITS,
            Part::Identity => identity,
            Part::Secret => secret,
        });
        lengths.sum()
    }
}

fn literal(text: &str) -> Result<String, BadTemplate> {
    match text.chars().find(|&letter| !is_tame(letter)) {
        Some(letter) => Err(BadTemplate::Character(letter)),
        None => Ok(text.to_owned()),
    }
}

/// `name` in characters that mean the same with quotes and without.
fn tame(name: &str) -> String {
    let lower = name.chars().map(|letter| letter.to_ascii_lowercase());
    lower.map(|letter| if is_tame(letter) { letter } else { '_' }).collect()
}

fn is_tame(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, identity: &str, secret: &str) -> String {
        let names = Names { identity, secret, unix_time: 1_800_000_000 };
        Template::parse(template).unwrap().render(&names)
    }

    #[test]
    fn the_usual_name_says_for_whom_it_is() {
        let name = render(DEFAULT, "ann", "orders-ro");
        assert!(name.starts_with("v-ann-orders-ro-"), "{name}");
        assert_eq!(name.len(), "v-ann-orders-ro-".len() + 16);
        assert_ne!(name, render(DEFAULT, "ann", "orders-ro"));
        assert!(render("{{unix_time}}_{{random}}", "a", "b").starts_with("1800000000_"));
    }

    #[test]
    fn long_names_are_shortened_and_never_their_random_part() {
        let name = render(DEFAULT, &"i".repeat(64), &"s".repeat(64));
        assert_eq!(name.len(), MAX_NAME);
        let random = name.rsplit('-').next().unwrap();
        assert_eq!(random.len(), 16);
        assert!(name.contains("iiiii-sssss"), "both are kept in part: {name}");
        let short = render(DEFAULT, &"i".repeat(64), "s");
        assert!(short.contains("i-s-") && short.len() == MAX_NAME, "{short}");
    }

    #[test]
    fn whatever_an_identity_or_a_secret_is_called_the_name_is_tame() {
        for evil in ["a\"; DROP ROLE postgres; --", "Ann O'Brien", "{{random}}", "ä\0\n", "'||pg_sleep(9)||'"]
        {
            let name = render(DEFAULT, evil, evil);
            assert!(name.chars().all(is_tame), "{name}");
        }
        assert!(render("{{identity}}{{random}}", "PG_read", "x").starts_with("pg-read"));
    }

    #[test]
    fn templates_that_inject_collide_or_do_not_fit_are_refused() {
        let refused = |text: &str| Template::parse(text).unwrap_err();
        assert_eq!(refused("a\"; DROP ROLE x; --{{random}}"), BadTemplate::Character('"'));
        assert_eq!(refused("A{{random}}"), BadTemplate::Character('A'));
        assert_eq!(refused("a'{{random}}"), BadTemplate::Character('\''));
        assert_eq!(refused("a}}{{random}}"), BadTemplate::Character('}'));
        assert_eq!(refused("{{random}}{{password}}"), BadTemplate::Placeholder("password".into()));
        assert_eq!(refused("{{random"), BadTemplate::Placeholder("random".into()));
        assert_eq!(refused("v-{{identity}}"), BadTemplate::Random);
        assert_eq!(refused("{{random}}{{random}}"), BadTemplate::Random);
        assert_eq!(refused(""), BadTemplate::Random);
        assert_eq!(refused("pg_{{random}}"), BadTemplate::Reserved);
        assert_eq!(refused(&format!("{}{{{{random}}}}", "a".repeat(48))), BadTemplate::Length);
        assert_eq!(refused(&format!("{}{{{{random}}}}", "{{identity}}".repeat(48))), BadTemplate::Length);
    }
}
