//! `adit gateways`: what is inside the private networks.

use adit_platform::client::{Client, segment};
use adit_platform::words::{EnrolmentToken, Gateway, Instance, NewGateway};
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Out, ago, ago_or_never, ends, health, joined, table};
use super::wait::{self, Wait};
use super::{Answer, Output};
use crate::exit::Failure;
use crate::login::Connection;
use crate::service;

/// Gateways, and the instances that do their work.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit gateways add gw-1 --out gw-1.token        # and take the token to the gateway's machine
  adit gateways show gw-1 --wait
  adit gateways enrol gw-1 --out second.token    # one more instance of the same gateway
  adit gateways revoke gw-1 INSTANCE")]
pub(crate) struct Gateways {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the gateways that one sees, and how they are.
    Ls,
    /// Make a gateway. With --out or --enrol, also a token that enrols its first instance.
    Add {
        /// Its name, which certificates carry: 1 to 64 of letters, digits, `.`, `_`, `-`.
        name: String,
        /// Make a token for its first instance at once.
        #[arg(long)]
        enrol: bool,
        #[command(flatten)]
        out: Out,
    },
    /// Show a gateway and its instances.
    Show {
        /// Its name or id.
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a gateway and its links; its instances are revoked.
    Rm {
        /// Its name or id.
        name: String,
    },
    /// Make a token that enrols one instance, once.
    Enrol {
        /// The gateway's name or id.
        name: String,
        #[command(flatten)]
        out: Out,
    },
    /// Revoke an instance for good; its connections end within a minute.
    Revoke {
        /// The gateway's name or id.
        name: String,
        /// The instance's id, as `adit gateways show` has it.
        instance: String,
    },
}

pub(crate) fn run(gateways: &Gateways) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = gateways.connection.open().await?;
        match &gateways.what {
            What::Ls => list(&client, output).await,
            What::Add { name, enrol: at_once, out } => add(&client, output, name, *at_once, out).await,
            What::Show { name, wait } => {
                let path = path(name);
                let fetch = || Answer::<Gateway>::get(&client, &path);
                let (answer, verdict) =
                    wait::until_healthy(wait, &format!("gateway {name}"), fetch, |gateway| {
                        gateway.health.clone()
                    })
                    .await?;
                output.show(&answer, text);
                verdict
            }
            What::Rm { name } => {
                client.delete(&path(name)).await?;
                output.done(format_args!("deleted the gateway {name}; its instances are revoked"));
                Ok(())
            }
            What::Enrol { name, out } => enrol(&client, output, name, out).await,
            What::Revoke { name, instance } => {
                client.delete(&format!("{}/instances/{}", path(name), segment(instance))).await?;
                output.done(format_args!("revoked the instance {instance} of {name}"));
                Ok(())
            }
        }
    })
}

fn path(name: &str) -> String {
    format!("/v1/gateways/{}", segment(name))
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = Answer::<Vec<Gateway>>::list(client, "/v1/gateways", usize::MAX).await?;
    let row = |gateway: &Gateway| {
        let alive = gateway.instances.iter().filter(|instance| instance.revoked_at.is_none());
        [
            gateway.name.clone(),
            health(&gateway.health),
            alive.count().to_string(),
            gateway.health.reason.clone(),
        ]
    };
    let none = "there is no gateway that you see; an administrator makes one: adit gateways add NAME";
    output.table(&answer, ["name", "health", "instances", "why"], row, none);
    Ok(())
}

async fn add(client: &Client, output: Output, name: &str, at_once: bool, out: &Out) -> Result<(), Failure> {
    // Before anything is made.
    let file = out.path()?;
    let new = NewGateway { name: name.to_owned() };
    let answer = Answer::<Gateway>::post(client, "/v1/gateways", &new).await?;
    if at_once || file.is_some() {
        return enrol(client, output, name, out).await;
    }
    output.show(&answer, |gateway| {
        format!("made the gateway {0}\n next: adit gateways enrol {0} --out FILE", gateway.name)
    });
    Ok(())
}

async fn enrol(client: &Client, output: Output, name: &str, out: &Out) -> Result<(), Failure> {
    let out = out.path()?;
    let path = format!("{}/enrolment-tokens", path(name));
    let answer = Answer::<EnrolmentToken>::post(client, &path, &json!({})).await?;
    let done =
        format!("one instance of the gateway {name} can be enrolled ({})", ends(answer.value.expires_at));
    output.token(&answer, &answer.value.token, out, &done, |file| {
        let (flags, domain) = ("--allow tcp://HOST:PORT", client.domain());
        format!(
            "on the gateway's machine: adit gateway start --token-file {file} --domain {domain} {flags}\n\
             \x20  or, as a service: sudo adit gateway install --token-file {file} --domain {domain} {flags}"
        )
    })
}

fn text(gateway: &Gateway) -> String {
    let mut text = format!(
        "{}\n id      {}\n health  {}\n why     {}\n made    {}",
        gateway.name,
        gateway.id,
        health(&gateway.health),
        gateway.health.reason,
        ago(gateway.created_at)
    );
    if gateway.instances.is_empty() {
        return text + &format!("\n next: adit gateways enrol {} --out FILE", gateway.name);
    }
    let row = |instance: &Instance| {
        let addresses = joined(&instance.addresses);
        let peers = instance.peers.len().to_string();
        let seen = ago_or_never(instance.last_heartbeat_at);
        [instance.id.clone(), health(&instance.health), addresses, peers, seen, instance.version.clone()]
    };
    let header = ["instance", "health", "addresses", "peers", "last heard", "version"];
    text += &format!("\n\n{}", table(header, gateway.instances.iter().map(row)));
    for instance in gateway.instances.iter().filter(|instance| instance.revoked_at.is_none()) {
        for relay in instance.relays.iter().filter_map(|relay| Some((&relay.relay, relay.lost.as_ref()?))) {
            text += &format!("\n {}: no allocation on relay {}: {}", instance.id, relay.0, relay.1);
        }
    }
    text
}
