//! `adit relays`.

use adit_platform::words::{NewRelay, Relay};
use clap::{Args, Subcommand};
use serde_json::json;

use super::Answer;
use super::output::{Out, ago, health, joined};
use super::session::{Named, Session};
use super::wait::Wait;
use crate::exit::Failure;
use crate::login::Connection;

const NOUN: &str = "relays";

/// Relays: shared ones, for operators, and those of the organisation.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit relays add fra1 turn:relay.example:3478 --out fra1.token
  adit relays show fra1 --wait
  adit relays rotate-secret fra1")]
pub(crate) struct Relays {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the relays that the organisation can use: its own, and shared ones.
    Ls,
    /// Make a relay: an operator's is shared by all organisations. With --out or --enrol, also the token for it.
    Add {
        /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
        name: String,
        /// By what gateways reach it, best first, as turn:host:port?transport=udp (RFC 7065).
        #[arg(required = true, value_name = "URL")]
        urls: Vec<String>,
        /// Make the token that enrols it at once.
        #[arg(long)]
        enrol: bool,
        #[command(flatten)]
        out: Out,
    },
    /// Show a relay.
    Show {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a relay; gateways leave it.
    Rm(Named),
    /// Make a token that enrols the relay, once.
    Enrol {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        out: Out,
    },
    /// Give a relay a new secret; the old one lives as long as the credentials that it has signed.
    RotateSecret(Named),
}

pub(crate) fn run(relays: &Relays) -> Result<(), Failure> {
    Session::run(&relays.connection, async |session| match &relays.what {
        What::Ls => list(session).await,
        What::Add { name, urls, enrol: at_once, out } => {
            let new = NewRelay { name: name.clone(), urls: urls.clone() };
            add(session, &new, *at_once, out).await
        }
        What::Show { named, wait } => {
            let health = |relay: &Relay| relay.health.clone();
            session.show_healthy(("relay", &named.name), &named.path(NOUN), wait, health, text).await
        }
        What::Rm(named) => {
            session.delete(&named.path(NOUN), &format!("deleted the relay {}", named.name)).await
        }
        What::Enrol { named, out } => enrol(session, &named.name, out).await,
        What::RotateSecret(named) => {
            let path = format!("{}/rotate-secret", named.path(NOUN));
            let _: serde_json::Value = session.client.post(&path, &json!({})).await?;
            let name = &named.name;
            session
                .output
                .done(format_args!("the relay {name} has a new secret, and knows it at its next heartbeat"));
            Ok(())
        }
    })
}

async fn list(session: &Session) -> Result<(), Failure> {
    let row = |relay: &Relay| {
        let whose = if relay.shared { "shared" } else { "own" };
        [
            relay.name.clone(),
            whose.into(),
            joined(&relay.urls),
            health(&relay.health),
            relay.health.reason.clone(),
        ]
    };
    let none = "there is no relay; next: adit relays add NAME turn:HOST:3478 --out FILE";
    session.list("/v1/relays", usize::MAX, ["name", "whose", "urls", "health", "why"], row, none).await
}

async fn add(session: &Session, new: &NewRelay, at_once: bool, out: &Out) -> Result<(), Failure> {
    // Before anything is made.
    let file = out.path()?;
    let answer = Answer::<Relay>::post(&session.client, "/v1/relays", new).await?;
    if at_once || file.is_some() {
        return enrol(session, &new.name, out).await;
    }
    session.output.show(&answer, |relay| {
        format!("made the relay {0}\n next: adit relays enrol {0} --out FILE", relay.name)
    });
    Ok(())
}

async fn enrol(session: &Session, name: &str, out: &Out) -> Result<(), Failure> {
    let domain = session.client.domain();
    session
        .enrol(NOUN, name, out, &format!("the relay {name} can be enrolled once"), |file| {
            format!("on the relay's machine: adit relay start --token-file {file} --domain {domain}")
        })
        .await
}

fn text(relay: &Relay) -> String {
    let mut text = format!(
        "{}\n id          {}\n whose       {}\n urls        {}\n health      {}\n why         {}\n made        {}",
        relay.name,
        relay.id,
        if relay.shared { "shared by all organisations" } else { "the organisation's own" },
        joined(&relay.urls),
        health(&relay.health),
        relay.health.reason,
        ago(relay.created_at)
    );
    if let Some(status) = &relay.status {
        text += &format!(
            "\n allocations {}\n relayed     {} packets, {} bytes\n dropped     {} packets\n refused     {} requests\n \
             version     {}",
            status.allocations,
            status.relayed_packets,
            status.relayed_bytes,
            status.dropped_packets,
            status.refused_requests,
            status.version
        );
    }
    text
}
