//! Reading TOML so that each mistake is told with its line and, where a key is unknown, with the one that was
//! probably meant.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::path::Path;
use std::str::FromStr;

use serde::de::{self, DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::exit::Failure;
use crate::files;

/// The text of the file at `path`.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    String::from_utf8(files::read(path, "the configuration")?)
        .map_err(|_| Failure::config(format!("{} is no text", path.display())))
}

/// The value in `text`, which came from `path`.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| explain(path, text, &error))
}

/// A value that is written as a string.
#[derive(Debug, Clone)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Values that are written as a list of strings, or as a string where there is one.
#[derive(Debug)]
pub(crate) struct Texts<T>(pub(crate) Vec<T>);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Texts<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore(PhantomData))
    }
}

struct OneOrMore<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: Display>> Visitor<'de> for OneOrMore<T> {
    type Value = Texts<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts<T>, E> {
        text.parse().map(|value| Texts(vec![value])).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(Text(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Texts(values))
    }
}

fn explain(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = format!("{}:{line}", path.display());
    match unknown_key(error.message()) {
        Some((key, known)) => {
            let failure = Failure::config(format!("{place}: unknown key `{key}`"));
            match nearest(key, &known) {
                Some(nearest) => failure.next(format!("did you mean `{nearest}`?")),
                None => failure.next(format!("the keys here are {}", known.join(", "))),
            }
        }
        None => Failure::config(format!("{place}: {}", plain(error.message()))),
    }
}

/// serde's words in those of TOML.
fn plain(message: &str) -> String {
    let message = message.trim_end().replacen("missing field", "the key is missing:", 1);
    message.replacen("expected a sequence", "expected a list, in brackets: [\"…\"]", 1)
}

/// The unknown key and those that are known there, from serde's words: "unknown field `a`, expected one of
/// `b`, …".
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field `")?.split('`').step_by(2);
    let key = quoted.next()?;
    Some((key, quoted.filter(|known| !known.is_empty()).collect()))
}

fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = key.replace('_', "-").to_lowercase();
    let (known, likeness) = known
        .iter()
        .map(|&known| (known, strsim::jaro_winkler(&plain, known)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    (likeness > 0.75).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[allow(dead_code, reason = "only the reading is looked at")]
    struct Example {
        trust_anchor: Option<u8>,
        port: Option<Text<u16>>,
        list: Option<Vec<u8>>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the reading is looked at")]
    struct Inner {
        allow: Option<u8>,
    }

    fn failure(text: &str) -> Failure {
        parse::<Example>(Path::new("a.toml"), text).unwrap_err()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_its_neighbour() {
        let found = failure("# hello\n\ntrust_anchors = 1\n");
        assert_eq!(found.what, "a.toml:3: unknown key `trust_anchors`");
        assert_eq!(found.next, "did you mean `trust-anchor`?");
        let found = failure("[inner]\nalow = 1\n");
        assert_eq!(
            (found.what.as_str(), found.next.as_str()),
            ("a.toml:2: unknown key `alow`", "did you mean `allow`?")
        );
    }

    #[test]
    fn a_key_that_resembles_none_gets_the_list() {
        assert_eq!(failure("xyzzy = 1").next, "the keys here are trust-anchor, port, list, inner");
    }

    #[test]
    fn wrong_values_have_a_line_too() {
        assert!(failure("\nport = \"x\"").what.starts_with("a.toml:2: invalid digit"));
        assert!(failure("\nport = 1").what.starts_with("a.toml:2: invalid type"));
        assert!(failure("list = \"x\"").what.ends_with("expected a list, in brackets: [\"…\"]"));
        assert!(failure("\n\nport = ").what.starts_with("a.toml:3: "));
    }
}
