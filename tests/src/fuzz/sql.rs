//! Statements with placeholders: whatever is filled in stays one quoted token, however PostgreSQL reads the rest.
//!
//! The judge is a lexer of its own, after the manual's chapter on lexical structure (PostgreSQL §4.1), so that a
//! mistake in the platform's is not made twice.

use adit_platform::postgres::template::{Purpose, Statement, Values};
use adit_platform::postgres::username::{Names, Template};

/// A statement, the values for it and a purpose, parted by NUL.
pub fn sql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut fields = text.splitn(4, '\0');
    let [statement, first, second, third] = std::array::from_fn(|_| fields.next().unwrap_or_default());
    for purpose in [Purpose::Creation, Purpose::Renewal, Purpose::Revocation] {
        if let Ok(statement) = Statement::parse(statement, purpose) {
            stays_quoted(&statement, first, second, third);
        }
    }
    username(statement, first, second);
}

fn stays_quoted(statement: &Statement, first: &str, second: &str, third: &str) {
    let schemas = [third.to_owned()];
    let hostile =
        Values { username: first, password: second, expiration: third, schemas: &schemas, database: second };
    let plain = ["s".to_owned()];
    let tame = Values { username: "u", password: "p", expiration: "e", schemas: &plain, database: "d" };
    let (hostile, tame) = (statement.expand(&hostile), statement.expand(&tame));
    assert_eq!(hostile.len(), tame.len());
    for (hostile, tame) in hostile.iter().zip(&tame) {
        let expected = shape(tame).expect("a statement ends all its quotes");
        let found = shape(hostile);
        assert_eq!(found.as_ref(), Some(&expected), "{hostile:?} is not read like {tame:?}");
        let ends = expected.iter().filter(|token| **token == Shape::Other(';')).count();
        assert!(ends <= 1, "one text holds one statement: {tame:?}");
    }
}

/// Names of users mean the same with quotes and without, and are never cut.
fn username(template: &str, identity: &str, secret: &str) {
    let Ok(template) = Template::parse(template) else { return };
    let name = template.render(&Names { identity, secret, unix_time: 1_800_000_000 });
    assert!(name.len() <= 63 && !name.is_empty() && !name.starts_with("pg_"), "{name:?}");
    let tame = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    assert!(name.bytes().all(tame), "{name:?}");
}

/// A token, without what is in it where that may differ.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// `'…'`, and `E'…'`, which is another spelling of the same.
    Text,
    /// `"…"`.
    Name,
    /// `$tag$…$tag$`.
    Dollar,
    /// An unquoted word, as it is.
    Word(String),
    /// Anything else, letter by letter.
    Other(char),
}

/// The tokens of `text` without blanks and comments; `None` where a quote or a comment does not end.
fn shape(text: &str) -> Option<Vec<Shape>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            _ if first.is_ascii_whitespace() || first == '\x0b' => (None, 1),
            '-' if rest.starts_with("--") => (None, rest.find(['\n', '\r']).unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (None, comment(rest)?),
            '\'' => (Some(Shape::Text), quoted(rest, '\'', false)?),
            'e' | 'E' if rest[1..].starts_with('\'') => {
                (Some(Shape::Text), 1 + quoted(&rest[1..], '\'', true)?)
            }
            '"' => (Some(Shape::Name), quoted(rest, '"', false)?),
            '$' => match dollar(rest) {
                Some(length) => (Some(Shape::Dollar), length?),
                None => (Some(Shape::Other('$')), 1),
            },
            _ if begins_word(first) => {
                let length = rest.find(|letter| !in_word(letter)).unwrap_or(rest.len());
                (Some(Shape::Word(rest[..length].to_owned())), length)
            }
            other => (Some(Shape::Other(other)), other.len_utf8()),
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    Some(tokens)
}

fn begins_word(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii()
}

fn in_word(letter: char) -> bool {
    begins_word(letter) || letter.is_ascii_digit() || letter == '$'
}

/// The length of a quoted text; a quote within is doubled, or behind a backslash where these escape.
fn quoted(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && escapes {
            letters.next();
        } else if letter == quote {
            match letters.peek() {
                Some((_, next)) if *next == quote => drop(letters.next()),
                _ => return Some(at + 1),
            }
        }
    }
    None
}

/// The length of a comment, with those within it.
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0u32, 0);
    let bytes = text.as_bytes();
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" if depth == 1 => return Some(at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    None
}

/// The length of a dollar-quoted text: `None` where there is no tag, `Some(None)` where it does not end.
fn dollar(text: &str) -> Option<Option<usize>> {
    let end = text[1..].find('$')? + 1;
    let tag = &text[1..end];
    let mut letters = tag.chars();
    let is_tag =
        letters.next().is_none_or(begins_word) && letters.all(|letter| in_word(letter) && letter != '$');
    if !is_tag {
        return None;
    }
    let mark = &text[..=end];
    Some(text[mark.len()..].find(mark).map(|inner| inner + 2 * mark.len()))
}
