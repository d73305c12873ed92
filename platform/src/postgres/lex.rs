//! What PostgreSQL's lexer makes of a statement: enough of it to tell what is quoted, and nothing else.
//!
//! Where servers of different versions read a text differently, it is refused.

use std::ops::Range;

/// A part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Its bytes.
    pub(super) at: Range<usize>,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space.
    Blank,
    /// A comment of either kind.
    Comment,
    /// A keyword or a name.
    Word,
    /// Within quotes, of which kind.
    Quoted(&'static str),
    /// `{{…}}` outside quotes.
    Placeholder,
    /// What parts statements.
    Semicolon,
    /// Anything else: operators, numbers, parentheses.
    Other,
}

/// Why a text can't be read: the byte at which, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) usize, pub(super) &'static str);

/// The parts of `text`, in order and without gaps.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, Unreadable> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let before =
            tokens.last().filter(|token| token.kind == Kind::Word).map(|token| &text[token.at.clone()]);
        let (kind, end) = next(text, at, before)?;
        tokens.push(Token { kind, at: at..end });
        at = end;
    }
    Ok(tokens)
}

/// The part that begins at `at`; `before` is the word that ends there.
fn next(text: &str, at: usize, before: Option<&str>) -> Result<(Kind, usize), Unreadable> {
    let rest = &text[at..];
    let first = rest.as_bytes()[0];
    let end = |length: usize| at + length;
    let unclosed = |what| Unreadable(at, what);
    Ok(match first {
        b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c' => (Kind::Blank, end(count(rest, is_space))),
        b'-' if rest.starts_with("--") => {
            (Kind::Comment, end(count(rest, |byte| byte != b'\n' && byte != b'\r')))
        }
        b'/' if rest.starts_with("/*") => {
            (Kind::Comment, end(comment(rest).ok_or(unclosed("this comment does not end"))?))
        }
        b'{' if rest.starts_with("{{") => {
            let length = rest.find("}}").ok_or(unclosed("this placeholder does not end with }}"))?;
            (Kind::Placeholder, end(length + 2))
        }
        b'\'' => {
            let escapes = match before {
                None => false,
                Some(word) if word.eq_ignore_ascii_case("e") => true,
                Some(word) if ["b", "x", "n"].iter().any(|prefix| word.eq_ignore_ascii_case(prefix)) => false,
                Some(_) => return Err(Unreadable(at, "put a space between a word and a quote")),
            };
            let length = quoted(rest, b'\'', escapes).ok_or(unclosed("this quote is not closed"))?;
            (Kind::Quoted("quotes"), end(length))
        }
        b'"' => {
            let length = quoted(rest, b'"', false).ok_or(unclosed("this double quote is not closed"))?;
            (Kind::Quoted("double quotes"), end(length))
        }
        b'$' => match dollar_tag(rest) {
            Some(tag) => {
                let inner = &rest[tag.len()..];
                let length = inner.find(tag).ok_or(unclosed("this dollar quote is not closed"))?;
                (Kind::Quoted("dollar quotes"), end(length + 2 * tag.len()))
            }
            None => (Kind::Other, end(1 + count(&rest[1..], |byte| byte.is_ascii_digit()))),
        },
        b';' => (Kind::Semicolon, end(1)),
        b'0'..=b'9' => (Kind::Other, end(count(rest, |byte| byte.is_ascii_digit() || byte == b'.'))),
        byte if begins_word(byte) => (Kind::Word, end(count(rest, in_word))),
        _ => (Kind::Other, end(1)),
    })
}

/// Whether a word may have this byte in it. Of characters outside ASCII, all may.
pub(super) fn in_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c')
}

fn count(text: &str, wanted: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|&byte| wanted(byte)).count()
}

/// The length of the quoted text that `text` begins with. A quote is doubled within, or, with `escapes`, follows a
/// backslash.
fn quoted(text: &str, quote: u8, escapes: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if escapes => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The length of the comment that `text` begins with. Comments are nested.
fn comment(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    loop {
        match text.as_bytes().get(at..at + 2)? {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" if depth == 1 => return Some(at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
}

/// The `$tag$` that `text` begins with.
fn dollar_tag(text: &str) -> Option<&str> {
    let length = count(&text[1..], |byte| byte != b'$' && in_word(byte));
    let tag = text.get(..length + 2)?;
    let begins_well = length == 0 || begins_word(text.as_bytes()[1]);
    (tag.ends_with('$') && begins_well).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let tokens = lex(text).unwrap();
        let shown = tokens.iter().map(|token| token.kind);
        shown.filter(|kind| *kind != Kind::Blank).collect()
    }

    #[test]
    fn quotes_of_all_kinds_end_where_the_server_ends_them() {
        let string = Kind::Quoted("quotes");
        for text in ["'a;b'", "'it''s'", "E'it\\'s'", "e'\\\\'", "N'x'"] {
            assert_eq!(*kinds(text).last().unwrap(), string, "{text}");
            assert!(!kinds(text).contains(&Kind::Semicolon), "{text}");
        }
        // Without E, a backslash is nothing special.
        assert_eq!(kinds("'\\';"), [string, Kind::Semicolon]);
        assert_eq!(kinds("\"a\"\";\";"), [Kind::Quoted("double quotes"), Kind::Semicolon]);
        assert_eq!(kinds("$$;$$;"), [Kind::Quoted("dollar quotes"), Kind::Semicolon]);
        assert_eq!(kinds("$a$ $b$;$a$;"), [Kind::Quoted("dollar quotes"), Kind::Semicolon]);
        assert_eq!(kinds("a$b$;"), [Kind::Word, Kind::Semicolon]);
        assert_eq!(kinds("$1;"), [Kind::Other, Kind::Semicolon]);
    }

    #[test]
    fn comments_are_nested_and_end_with_the_line() {
        assert_eq!(kinds("/* a /* ; */ ; */ ;"), [Kind::Comment, Kind::Semicolon]);
        assert_eq!(kinds("-- ;'\n;"), [Kind::Comment, Kind::Semicolon]);
        assert_eq!(kinds("+--;"), [Kind::Other, Kind::Comment]);
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for text in ["'a", "\"a", "$x$ $y$", "/* /* */", "{{a", "E'\\'", "date'2020-01-01'"] {
            assert!(lex(text).is_err(), "{text}");
        }
    }
}
