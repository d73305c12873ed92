//! Quoting: the one way in which a name or a value gets into SQL.

/// The longest name in bytes: PostgreSQL cuts longer ones, and a cut name may be somebody else's.
pub const MAX_NAME: usize = 63;

/// Whether `name` can be the name of a role, a schema or a database on a server. Any character but NUL can.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("a name on a PostgreSQL server has at least one character".to_owned()),
        1..=MAX_NAME if name.contains('\0') => {
            Err("a name on a PostgreSQL server has no NUL in it".to_owned())
        }
        1..=MAX_NAME => Ok(()),
        length => {
            Err(format!("a name on a PostgreSQL server has at most {MAX_NAME} bytes, and this has {length}"))
        }
    }
}

/// `name` as an identifier. What comes after a NUL is gone for the server, so NULs are left out.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// `value` as a string, whatever the server takes a backslash for.
pub(crate) fn literal(value: &str) -> String {
    let value = value.replace('\0', "").replace('\'', "''");
    match value.contains('\\') {
        true => format!(" E'{}'", value.replace('\\', "\\\\")),
        false => format!("'{value}'"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::lex::{Kind, lex};

    /// What the server makes of a quoted text.
    fn unquoted(quoted: &str) -> String {
        let quoted = quoted.trim_start();
        let (escapes, rest) = match quoted.strip_prefix('E') {
            Some(rest) => (true, rest),
            None => (false, quoted),
        };
        let quote = &rest[..1];
        let inner = rest[1..rest.len() - 1].replace(&quote.repeat(2), quote);
        if escapes { inner.replace("\\\\", "\\") } else { inner }
    }

    proptest! {
        #[test]
        fn whatever_is_quoted_is_one_token_and_comes_out_as_it_went_in(text in "[^\0]*|['\"\\\\;$-]*") {
            for quoted in [identifier(&text), literal(&text)] {
                let tokens = lex(quoted.trim_start()).unwrap();
                // The E of a string with backslashes is a token of its own here.
                let (last, before) = tokens.split_last().unwrap();
                prop_assert!(before.len() <= 1 && before.iter().all(|token| token.kind == Kind::Word));
                prop_assert!(matches!(last.kind, Kind::Quoted(_)), "{}", quoted);
                prop_assert_eq!(unquoted(&quoted), text.clone());
            }
        }
    }

    #[test]
    fn names_are_neither_empty_nor_cut_nor_ended_early() {
        assert!(check_name("Ann's \"db\"; DROP").is_ok());
        assert!(check_name(&"ä".repeat(31)).is_ok());
        for bad in ["", "a\0b", &"ä".repeat(32)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
