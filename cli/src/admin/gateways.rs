//! `adit gateways`: what is inside the private networks.

use adit_platform::client::segment;
use adit_platform::words::{Gateway, Instance, NewGateway};
use clap::{Args, Subcommand};

use super::Answer;
use super::output::{Out, ago, ago_or_never, health, joined, table};
use super::session::{Named, Session};
use super::wait::Wait;
use crate::exit::Failure;
use crate::login::Connection;

const NOUN: &str = "gateways";

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
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a gateway and its links; its instances are revoked.
    Rm(Named),
    /// Make a token that enrols one instance, once.
    Enrol {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        out: Out,
    },
    /// Revoke an instance for good; its connections end within a minute.
    Revoke {
        #[command(flatten)]
        named: Named,
        /// The instance's id, as `adit gateways show` has it.
        instance: String,
    },
}

pub(crate) fn run(gateways: &Gateways) -> Result<(), Failure> {
    Session::run(&gateways.connection, async |session| match &gateways.what {
        What::Ls => list(session).await,
        What::Add { name, enrol: at_once, out } => add(session, name, *at_once, out).await,
        What::Show { named, wait } => {
            let health = |gateway: &Gateway| gateway.health.clone();
            session.show_healthy(("gateway", &named.name), &named.path(NOUN), wait, health, text).await
        }
        What::Rm(named) => {
            let done = format!("deleted the gateway {}; its instances are revoked", named.name);
            session.delete(&named.path(NOUN), &done).await
        }
        What::Enrol { named, out } => enrol(session, &named.name, out).await,
        What::Revoke { named, instance } => {
            let path = format!("{}/instances/{}", named.path(NOUN), segment(instance));
            session.delete(&path, &format!("revoked the instance {instance} of {}", named.name)).await
        }
    })
}

async fn list(session: &Session) -> Result<(), Failure> {
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
    session.list("/v1/gateways", usize::MAX, ["name", "health", "instances", "why"], row, none).await
}

async fn add(session: &Session, name: &str, at_once: bool, out: &Out) -> Result<(), Failure> {
    // Before anything is made.
    let file = out.path()?;
    let new = NewGateway { name: name.to_owned() };
    let answer = Answer::<Gateway>::post(&session.client, "/v1/gateways", &new).await?;
    if at_once || file.is_some() {
        return enrol(session, name, out).await;
    }
    session.output.show(&answer, |gateway| {
        format!("made the gateway {0}\n next: adit gateways enrol {0} --out FILE", gateway.name)
    });
    Ok(())
}

async fn enrol(session: &Session, name: &str, out: &Out) -> Result<(), Failure> {
    let done = format!("one instance of the gateway {name} can be enrolled");
    let domain = session.client.domain();
    session
        .enrol(NOUN, name, out, &done, |file| {
            let flags = "--allow tcp://HOST:PORT";
            format!(
                "on the gateway's machine: adit gateway start --token-file {file} --domain {domain} {flags}\n\
                 \x20  or, as a service: sudo adit gateway install --token-file {file} --domain {domain} {flags}"
            )
        })
        .await
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
