//! Tokens as people hand them over: in a file, through a pipe, or typed into a terminal that shows nothing.

use std::path::{Path, PathBuf};

use adit_platform::trust::token::{Kind, MAX_TOKEN, Token};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::{files, typed};

/// The token of `kind` in the file `path`; `-` is standard input, which a terminal prompts for.
pub(crate) fn read(path: &Path, kind: Kind) -> Result<Token, Failure> {
    if path != Path::new(typed::STDIN) {
        return parse(&Zeroizing::new(files::read_secret(path, "the token")?), kind);
    }
    parse(&from_stdin(kind)?, kind)
}

/// The token of `kind` that `text` is.
pub(crate) fn parse(text: &str, kind: Kind) -> Result<Token, Failure> {
    let token: Token = text.trim().parse().map_err(|error| Failure::new(Exit::Usage, error))?;
    if token.kind() == kind {
        return Ok(token);
    }
    let what = format!("this is {}, and {} is wanted", describe(token.kind()), describe(kind));
    Err(Failure::new(Exit::Usage, what).next(where_from(kind)))
}

/// What stands before a token that was given as `--token`: `-` means standard input too.
pub(crate) fn given(text: &str, kind: Kind) -> Result<Token, Failure> {
    if text == typed::STDIN { read(Path::new(typed::STDIN), kind) } else { parse(text, kind) }
}

fn from_stdin(kind: Kind) -> Result<Zeroizing<String>, Failure> {
    // A token that is longer than any is refused as such.
    typed::line(&format!("Paste {} (it is not shown): ", describe(kind)), 2 * MAX_TOKEN)
}

fn describe(kind: Kind) -> &'static str {
    match kind {
        Kind::Identity => "the token of an identity",
        Kind::Gateway => "a gateway's enrolment token",
        Kind::Relay => "a relay's enrolment token",
        Kind::Access => "an access token",
    }
}

fn where_from(kind: Kind) -> &'static str {
    match kind {
        Kind::Identity => "adit platform init printed one; later ones: adit identities tokens add NAME",
        Kind::Gateway => "one is made with: adit gateways enrol NAME",
        Kind::Relay => "one is made with: adit relays enrol NAME",
        Kind::Access => "agents fetch theirs by themselves",
    }
}

/// `--token` or `--token-file`, for the enrolment of a gateway.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(crate) struct EnrolmentToken {
    /// The enrolment token; `-` reads it from standard input.
    ///
    /// It works once. Others on this machine may see it in the list of processes while this runs:
    /// --token-file and `-` hide it.
    #[arg(long, value_name = "TOKEN", value_parser = Hidden::new)]
    token: Option<Hidden>,
    /// A file whose first line is the enrolment token; `-` is standard input.
    #[arg(long, value_name = "FILE", env = "ADIT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

impl EnrolmentToken {
    /// The token; `None` where neither flag was given.
    pub(crate) fn read(&self, kind: Kind) -> Result<Option<Token>, Failure> {
        match (&self.token, &self.token_file) {
            (Some(Hidden(text)), _) => given(text, kind).map(Some),
            (None, Some(path)) => read(path, kind).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// A value that no `Debug` shows.
#[derive(Clone)]
struct Hidden(Zeroizing<String>);

impl Hidden {
    fn new(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_another_kind_is_named_with_the_way_to_the_right_one() {
        let relay = Token::new(Kind::Relay, None).reveal();
        let failure = parse(&relay, Kind::Gateway).unwrap_err();
        assert_eq!(
            failure.what,
            "this is a relay's enrolment token, and a gateway's enrolment token is wanted"
        );
        assert!(failure.next.contains("adit gateways enrol"));
        assert!(parse(&format!(" {}\n", *relay), Kind::Relay).is_ok());
        assert!(parse("hunter2", Kind::Relay).unwrap_err().what.contains("not a token"));
    }
}
