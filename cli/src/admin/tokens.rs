//! `adit identities tokens`.

use adit_platform::client::{Client, segment};
use adit_platform::words::{IssuedToken, NewToken, TokenInfo};
use clap::Subcommand;

use super::output::{Out, ago, ago_or_never};
use super::{Answer, Output, identities};
use crate::exit::Failure;
use crate::when;

/// Tokens of an identity.
#[derive(Debug, Subcommand)]
pub(super) enum Tokens {
    /// List what is known of an identity's tokens.
    Ls {
        /// The identity's name or id.
        identity: String,
    },
    /// Make a further token for an identity.
    Add {
        /// The identity's name or id.
        identity: String,
        /// In what time it runs out, such as 12h or 90d; never without it.
        #[arg(long, value_name = "TIME", value_parser = when::parse_span)]
        expires_in: Option<u64>,
        #[command(flatten)]
        out: Out,
    },
    /// Revoke one token; the identity's others go on.
    Revoke {
        /// The identity's name or id.
        identity: String,
        /// The token's id: its third part.
        token: String,
    },
}

pub(super) async fn run(client: &Client, output: Output, tokens: &Tokens) -> Result<(), Failure> {
    match tokens {
        Tokens::Ls { identity } => list(client, output, identity).await,
        Tokens::Add { identity, expires_in, out } => {
            let out = out.path()?;
            let new = NewToken { expires_in: *expires_in };
            let answer = Answer::<IssuedToken>::post(client, &path(identity), &new).await?;
            let done = format!("made a token for {identity}");
            output.token(&answer, &answer.value.token, out, &done, |file| {
                format!("adit login --domain {} --token-file {file}", client.domain())
            })
        }
        Tokens::Revoke { identity, token } => {
            client.delete(&format!("{}/{}", path(identity), segment(token))).await?;
            output.done(format_args!("revoked a token of {identity}"));
            Ok(())
        }
    }
}

fn path(identity: &str) -> String {
    format!("{}/tokens", identities::path(identity))
}

async fn list(client: &Client, output: Output, identity: &str) -> Result<(), Failure> {
    let answer = Answer::<Vec<TokenInfo>>::whole(client, &path(identity)).await?;
    let row = |token: &TokenInfo| {
        let revoked = token.revoked_at.map_or_else(|| "-".into(), ago);
        let (expires, used) = (ago_or_never(token.expires_at), ago_or_never(token.last_used_at));
        [token.id.clone(), ago(token.created_at), expires, used, revoked]
    };
    let none = format!("there is no token; next: adit identities tokens add {identity}");
    output.table(&answer, ["id", "made", "expires", "last used", "revoked"], row, &none);
    Ok(())
}
