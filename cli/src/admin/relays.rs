//! `adit relays`.

use adit_platform::client::{Client, segment};
use adit_platform::words::{EnrolmentToken, NewRelay, Relay};
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Out, ago, ends, health, joined};
use super::wait::{self, Wait};
use super::{Answer, Output};
use crate::exit::Failure;
use crate::login::Connection;
use crate::service;

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
        /// Its name or id.
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a relay; gateways leave it.
    Rm {
        /// Its name or id.
        name: String,
    },
    /// Make a token that enrols the relay, once.
    Enrol {
        /// Its name or id.
        name: String,
        #[command(flatten)]
        out: Out,
    },
    /// Give a relay a new secret; the old one lives as long as the credentials that it has signed.
    RotateSecret {
        /// Its name or id.
        name: String,
    },
}

pub(crate) fn run(relays: &Relays) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = relays.connection.open().await?;
        match &relays.what {
            What::Ls => list(&client, output).await,
            What::Add { name, urls, enrol: at_once, out } => {
                let new = NewRelay { name: name.clone(), urls: urls.clone() };
                add(&client, output, &new, *at_once, out).await
            }
            What::Show { name, wait } => {
                let path = path(name);
                let fetch = || Answer::<Relay>::get(&client, &path);
                let (answer, verdict) =
                    wait::until_healthy(wait, &format!("relay {name}"), fetch, |relay| relay.health.clone())
                        .await?;
                output.show(&answer, text);
                verdict
            }
            What::Rm { name } => {
                client.delete(&path(name)).await?;
                output.done(format_args!("deleted the relay {name}"));
                Ok(())
            }
            What::Enrol { name, out } => enrol(&client, output, name, out).await,
            What::RotateSecret { name } => {
                let _: serde_json::Value =
                    client.post(&format!("{}/rotate-secret", path(name)), &json!({})).await?;
                output.done(format_args!(
                    "the relay {name} has a new secret, and knows it at its next heartbeat"
                ));
                Ok(())
            }
        }
    })
}

fn path(name: &str) -> String {
    format!("/v1/relays/{}", segment(name))
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = Answer::<Vec<Relay>>::list(client, "/v1/relays", usize::MAX).await?;
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
    output.table(&answer, ["name", "whose", "urls", "health", "why"], row, none);
    Ok(())
}

async fn add(
    client: &Client,
    output: Output,
    new: &NewRelay,
    at_once: bool,
    out: &Out,
) -> Result<(), Failure> {
    // Before anything is made.
    let file = out.path()?;
    let answer = Answer::<Relay>::post(client, "/v1/relays", new).await?;
    if at_once || file.is_some() {
        return enrol(client, output, &new.name, out).await;
    }
    output.show(&answer, |relay| {
        format!("made the relay {0}\n next: adit relays enrol {0} --out FILE", relay.name)
    });
    Ok(())
}

async fn enrol(client: &Client, output: Output, name: &str, out: &Out) -> Result<(), Failure> {
    let out = out.path()?;
    let path = format!("{}/enrolment-tokens", path(name));
    let answer = Answer::<EnrolmentToken>::post(client, &path, &json!({})).await?;
    let done = format!("the relay {name} can be enrolled once ({})", ends(answer.value.expires_at));
    output.token(&answer, &answer.value.token, out, &done, |file| {
        format!("on the relay's machine: adit relay start --token-file {file} --domain {}", client.domain())
    })
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
