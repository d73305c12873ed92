//! Statements that users define, with placeholders for what differs from lease to lease.
//!
//! Whoever defines one may run any SQL that the admin user may; what is filled in may not: it is quoted here, and a
//! placeholder stands only where quoting means what it says.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use super::lex::{Kind, Token, in_word, lex};
use super::quote::{identifier, literal};

/// The longest statement, in bytes.
pub const MAX_STATEMENT: usize = 10_000;

/// The most statements of one kind.
pub const MAX_STATEMENTS: usize = 32;

/// When a statement runs, which decides what can be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It makes a user.
    Creation,
    /// It lengthens a user's life.
    Renewal,
    /// It prepares the end of a user.
    Revocation,
}

/// What can be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Username,
    Password,
    Expiration,
    Schema,
    Database,
}

/// A statement of a user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Filled { slot: Slot, as_literal: bool },
}

/// What is filled in.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// The user.
    pub username: &'a str,
    /// Its SCRAM verifier, or its password. Empty where a statement can't have one.
    pub password: &'a str,
    /// Until when it may log in, as the server reads it. Empty where a statement can't have one.
    pub expiration: &'a str,
    /// The schemas: a statement with `{{schema}}` runs once for each.
    pub schemas: &'a [String],
    /// The database on the server.
    pub database: &'a str,
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{what}{}", Ordinal(.statement), Place(.place))]
pub struct BadStatement {
    /// Which one of several, from 1 on.
    statement: Option<usize>,
    what: String,
    /// Line and column from 1 on, and what stands there.
    place: Option<(usize, usize, String)>,
}

impl Statement {
    /// Reads the statements of one kind.
    ///
    /// # Errors
    /// [`BadStatement`] says which, where and why.
    pub fn parse_all(texts: &[String], purpose: Purpose) -> Result<Vec<Self>, BadStatement> {
        if texts.len() > MAX_STATEMENTS {
            return Err(bad(format!("there are at most {MAX_STATEMENTS} statements of a kind")));
        }
        let parsed = texts.iter().enumerate().map(|(index, text)| {
            Self::parse(text, purpose).map_err(|error| BadStatement { statement: Some(index + 1), ..error })
        });
        let statements: Vec<Self> = parsed.collect::<Result<_, _>>()?;
        for slot in [Slot::Username, Slot::Password] {
            let needed = purpose == Purpose::Creation && !statements.is_empty();
            if needed && !statements.iter().any(|statement| statement.has(slot)) {
                return Err(bad(format!("no statement that makes a user has {{{{{}}}}}", slot.word())));
            }
        }
        Ok(statements)
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// [`BadStatement`] says where and why.
    pub fn parse(text: &str, purpose: Purpose) -> Result<Self, BadStatement> {
        if text.len() > MAX_STATEMENT {
            return Err(bad(format!("a statement has at most {MAX_STATEMENT} bytes")));
        }
        if let Some(at) = text.find('\0') {
            return Err(bad_at(text, at, "a statement has no NUL in it"));
        }
        let tokens = lex(text).map_err(|unreadable| bad_at(text, unreadable.0, unreadable.1))?;
        check_single(text, &tokens)?;
        check_command(text, &tokens)?;
        let mut parts = Vec::new();
        for token in &tokens {
            let words = &text[token.at.clone()];
            match token.kind {
                Kind::Placeholder => parts.push(placeholder(text, token, purpose)?),
                Kind::Comment => check_untouched(text, token, "a comment")?,
                Kind::Quoted(kind) => check_untouched(text, token, kind)?,
                Kind::Blank | Kind::Word | Kind::Semicolon | Kind::Other => {}
            }
            match (token.kind, parts.last_mut()) {
                (Kind::Placeholder, _) => {}
                (_, Some(Part::Text(before))) => before.push_str(words),
                _ => parts.push(Part::Text(words.to_owned())),
            }
        }
        Ok(Self { parts })
    }

    /// The statements that are sent: one, or one for each schema.
    pub fn expand(&self, values: &Values<'_>) -> Vec<Zeroizing<String>> {
        if self.has(Slot::Schema) {
            values.schemas.iter().map(|schema| self.filled(values, schema)).collect()
        } else {
            vec![self.filled(values, "")]
        }
    }

    fn filled(&self, values: &Values<'_>, schema: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(1024));
        for part in &self.parts {
            match part {
                Part::Text(words) => text.push_str(words),
                Part::Filled { slot, as_literal } => {
                    let value = match slot {
                        Slot::Username => values.username,
                        Slot::Password => values.password,
                        Slot::Expiration => values.expiration,
                        Slot::Schema => schema,
                        Slot::Database => values.database,
                    };
                    let quoted = if *as_literal { literal(value) } else { identifier(value) };
                    text.push_str(&Zeroizing::new(quoted));
                }
            }
        }
        text
    }

    fn has(&self, wanted: Slot) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Filled { slot, .. } if *slot == wanted))
    }
}

impl Slot {
    const ALL: [Self; 5] = [Self::Username, Self::Password, Self::Expiration, Self::Schema, Self::Database];

    fn word(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Password => "password",
            Self::Expiration => "expiration",
            Self::Schema => "schema",
            Self::Database => "database",
        }
    }

    fn is_known(self, purpose: Purpose) -> bool {
        match self {
            Self::Username | Self::Schema | Self::Database => true,
            Self::Password => purpose == Purpose::Creation,
            Self::Expiration => purpose != Purpose::Revocation,
        }
    }

    fn is_value(self) -> bool {
        matches!(self, Self::Password | Self::Expiration)
    }
}

/// One statement each: what follows a semicolon would be another.
fn check_single(text: &str, tokens: &[Token]) -> Result<(), BadStatement> {
    let matters = |token: &&Token| !matches!(token.kind, Kind::Blank | Kind::Comment);
    let mut tokens = tokens.iter().filter(matters).skip_while(|token| token.kind != Kind::Semicolon).skip(1);
    match tokens.next() {
        Some(next) => {
            Err(bad_at(text, next.at.start, "one text holds one statement: put this into a text of its own"))
        }
        None => Ok(()),
    }
}

/// Commands that would take the transaction, or the connection, out of the platform's hands.
fn check_command(text: &str, tokens: &[Token]) -> Result<(), BadStatement> {
    let matters = |token: &&Token| !matches!(token.kind, Kind::Blank | Kind::Comment);
    let mut tokens = tokens.iter().filter(matters);
    let Some(first) = tokens.next().filter(|token| token.kind != Kind::Semicolon) else {
        return Err(bad("a statement is empty".to_owned()));
    };
    let command = text[first.at.clone()].to_ascii_lowercase();
    let second = tokens.next().map(|token| text[token.at.clone()].to_ascii_lowercase());
    let why = match command.as_str() {
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" | "prepare" => {
            "the platform begins and ends the transaction: this command can't be used"
        }
        "set" | "reset" if second.as_deref() != Some("local") => {
            "this would outlive the transaction: use SET LOCAL"
        }
        "discard" | "listen" | "unlisten" | "deallocate" | "copy" | "load" => {
            "this command works on the connection and can't be used"
        }
        _ => return Ok(()),
    };
    Err(bad_at(text, first.at.start, why))
}

/// Within quotes and comments a placeholder would be filled in with the wrong quoting.
fn check_untouched(text: &str, token: &Token, within: &str) -> Result<(), BadStatement> {
    let words = &text[token.at.clone()];
    for (at, _) in words.match_indices("{{") {
        let Some((inner, _)) = words[at + 2..].split_once("}}") else { return Ok(()) };
        let inner = inner.trim();
        let is_name = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == ':';
        if !inner.is_empty() && inner.chars().all(is_name) {
            let what =
                format!("a placeholder can't stand within {within}: it is quoted when it is filled in");
            return Err(bad_at(text, token.at.start + at, &what));
        }
    }
    Ok(())
}

fn placeholder(text: &str, token: &Token, purpose: Purpose) -> Result<Part, BadStatement> {
    let at = token.at.start;
    let inner = text[at + 2..token.at.end - 2].trim();
    let (name, form) = match inner.split_once(':') {
        Some((name, form)) => (name, Some(form)),
        None => (inner, None),
    };
    let known = || Slot::ALL.into_iter().filter(|slot| slot.is_known(purpose));
    let found = known().find(|slot| slot.word() == name).filter(|_| matches!(form, None | Some("literal")));
    let Some(slot) = found else {
        let known: Vec<_> = known().map(|slot| format!("{{{{{}}}}}", slot.word())).collect();
        let what = format!("this placeholder is not known here; these are: {}", known.join(", "));
        return Err(bad_at(text, at, &what));
    };
    let bytes = text.as_bytes();
    let neighbours = [at.checked_sub(1).and_then(|before| bytes.get(before)), bytes.get(token.at.end)];
    // Next to these it would become part of another token.
    let sticks = |byte: &u8| in_word(*byte) || matches!(byte, b'\'' | b'"' | b'&' | b'{' | b'}');
    if neighbours.into_iter().flatten().any(sticks) {
        return Err(bad_at(text, at, "a placeholder stands alone: put a space around it"));
    }
    Ok(Part::Filled { slot, as_literal: slot.is_value() || form.is_some() })
}

fn bad(what: String) -> BadStatement {
    BadStatement { statement: None, what, place: None }
}

fn bad_at(text: &str, at: usize, what: &str) -> BadStatement {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let there = text[at..].lines().next().unwrap_or_default().chars().take(40).collect();
    BadStatement { statement: None, what: what.to_owned(), place: Some((line, column, there)) }
}

struct Ordinal<'a>(&'a Option<usize>);

impl fmt::Display for Ordinal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |index| write!(f, "statement {index}: "))
    }
}

struct Place<'a>(&'a Option<(usize, usize, String)>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column, there)) => write!(f, " (line {line}, column {column}, at {there:?})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
