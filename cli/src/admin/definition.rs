//! Definitions that come from flags, or from a file and flags that beat it.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::files;

/// One of the `words` of the API, as a flag's value.
pub(super) fn one_of<T, const N: usize>(words: [&'static str; N]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).map(|word| {
        serde_json::from_value(Value::String(word)).expect("the words are those of the API, as a test shows")
    })
}

/// What a request is going to say: the API's fields.
#[derive(Debug, Default)]
pub(super) struct Definition {
    fields: Map<String, Value>,
    file: Option<PathBuf>,
}

impl Definition {
    /// Begins with what stands in `file`, if there is one: JSON where its name ends so, TOML otherwise.
    pub(super) fn begin(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else { return Ok(Self::default()) };
        let text = String::from_utf8(files::read(path, "the definition")?)
            .map_err(|_| Failure::config("it is no text").within(path))?;
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let fields = match is_json {
            true => serde_json::from_str(&text).map_err(|error| Failure::config(error).within(path))?,
            false => toml::from_str(&text).map_err(|error| Failure::config(error).within(path))?,
        };
        Ok(Self { fields, file: Some(path.to_owned()) })
    }

    /// Sets a field where there is a value.
    pub(super) fn set<T: Serialize>(&mut self, field: &str, value: Option<T>) -> &mut Self {
        if let Some(value) = value {
            let value = serde_json::to_value(value).expect("flags become JSON");
            self.fields.insert(field.to_owned(), value);
        }
        self
    }

    /// Sets a list where it is not empty.
    pub(super) fn list(&mut self, field: &str, values: &[String]) -> &mut Self {
        self.set(field, (!values.is_empty()).then_some(values))
    }

    /// The request.
    pub(super) fn finish<T: DeserializeOwned>(self) -> Result<T, Failure> {
        serde_json::from_value(Value::Object(self.fields)).map_err(|error| {
            let failure = Failure::config(error);
            match &self.file {
                Some(path) => failure.within(path),
                None => failure.next("give the flag, or a file with it"),
            }
        })
    }
}

// What passwords are made of; no comment for clap, which would take it for the command's.
#[derive(Debug, Args)]
pub(super) struct Passwords {
    /// How many characters passwords have: 20 to 128 [default: 32].
    #[arg(long, value_name = "COUNT")]
    password_length: Option<u16>,
    /// Signs that passwords are made of too, beside letters and digits.
    #[arg(long, value_name = "SIGNS")]
    password_symbols: Option<String>,
    /// Give the server passwords themselves and no SCRAM verifiers: for password checkers that refuse verifiers. They
    /// may then stand in the server's log.
    #[arg(long)]
    plain_passwords: bool,
}

impl Passwords {
    /// Sets what the flags say.
    pub(super) fn set(&self, definition: &mut Definition) {
        let mut policy = Definition::default();
        if let Some(Value::Object(before)) = definition.fields.remove("password") {
            policy.fields = before;
        }
        policy.set("length", self.password_length).set("symbols", self.password_symbols.as_ref());
        definition.set("password", (!policy.fields.is_empty()).then_some(policy.fields));
        definition.set("pre_hashed", self.plain_passwords.then_some(false));
    }
}

#[cfg(test)]
mod tests {
    use adit_platform::words::NewSecret;

    use super::*;

    fn written(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn flags_beat_the_file_and_what_neither_says_is_the_default() {
        let toml = "access = \"custom\"\ncreation = ['''CREATE ROLE {{username}};\nSELECT 1''', 'GRANT a']\nmax_leases = 7\n[password]\nsymbols = \"-\"\n";
        let (_directory, path) = written("secret.toml", toml);
        let mut definition = Definition::begin(Some(&path)).unwrap();
        definition.set("name", Some("ro")).set("database", Some("db")).set("max_leases", Some(9));
        definition.list("creation", &[]);
        let flags = Passwords { password_length: Some(40), password_symbols: None, plain_passwords: false };
        flags.set(&mut definition);
        let secret: NewSecret = definition.finish().unwrap();
        assert_eq!((secret.creation.len(), secret.max_leases, secret.default_ttl), (2, 9, 3600));
        assert_eq!((secret.password.length, secret.password.symbols.as_str()), (40, "-"));
        assert!(secret.pre_hashed);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file() {
        for (name, text, wrong) in [
            ("a.toml", "acess = 1", "acess"),
            ("a.json", "{\"name\": 1}", "string"),
            ("b.json", "{", "EOF"),
            ("b.toml", "=", "a"),
        ] {
            let (_directory, path) = written(name, text);
            let failure =
                Definition::begin(Some(&path)).and_then(Definition::finish::<NewSecret>).unwrap_err();
            assert!(failure.what.contains(wrong) && failure.what.contains(name), "{}", failure.what);
        }
        let failure = Definition::begin(None).unwrap().finish::<NewSecret>().unwrap_err();
        assert!(failure.what.contains("missing field"), "{}", failure.what);
    }
}
