//! `adit identities`: persons and machines, and what they may do.

use adit_platform::client::{Client, segment};
use adit_platform::words::{CreatedIdentity, Identity, IdentityChange, IdentityKind, NewIdentity, Role};
use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::output::{Out, ago, joined, words};
use super::{Answer, Output, tokens, word};
use crate::exit::Failure;
use crate::login::Connection;
use crate::service;

/// Persons and machines of the organisation.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit identities add ada --role admin --out ada.token
  adit identities add deploy --machine --allowed-from 198.51.100.0/24
  adit identities set deploy --allowed-from 198.51.100.7/32
  adit identities tokens add ada --expires-in 90d
  adit identities revoke ada")]
pub(crate) struct Identities {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the identities, those that are revoked too.
    Ls,
    /// Make an identity and its first token. Without a role, it can do what its projects let it do.
    Add {
        /// Its name, which certificates carry: 1 to 64 of letters, digits, `.`, `_`, `-`.
        name: String,
        /// It is a program, not a person.
        #[arg(long)]
        machine: bool,
        /// What it may do in the whole organisation. Can be given more than once.
        #[arg(long, value_name = "ROLE")]
        role: Vec<RoleName>,
        /// A network from which its tokens count. Can be given more than once; without it they count everywhere.
        #[arg(long, value_name = "NETWORK")]
        allowed_from: Vec<IpNet>,
        #[command(flatten)]
        out: Out,
    },
    /// Show one identity.
    Show {
        /// Its name or id.
        name: String,
    },
    /// Change what an identity may do, or from where. What is not given stays.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// Its name or id.
        name: String,
        /// All of its roles from now on. Can be given more than once.
        #[arg(long, value_name = "ROLE", group = "change")]
        role: Vec<RoleName>,
        /// Take all of its roles away.
        #[arg(long, conflicts_with = "role", group = "change")]
        no_roles: bool,
        /// All networks from which its tokens count from now on. Can be given more than once.
        #[arg(long, value_name = "NETWORK", group = "change")]
        allowed_from: Vec<IpNet>,
        /// Let its tokens count from everywhere.
        #[arg(long, conflicts_with = "allowed_from", group = "change")]
        from_anywhere: bool,
    },
    /// Revoke an identity for good: its tokens, its certificates, and its live connections within a minute.
    Revoke {
        /// Its name or id.
        name: String,
    },
    /// Its tokens.
    #[command(subcommand)]
    Tokens(tokens::Tokens),
}

/// A role in the whole organisation.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    /// Everything within the organisation.
    Admin,
    /// Reads everything within the organisation, changes nothing.
    Auditor,
    /// Of the installation: makes organisations and shared relays.
    Operator,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Self::Admin,
            RoleName::Auditor => Self::Auditor,
            RoleName::Operator => Self::Operator,
        }
    }
}

pub(crate) fn run(identities: &Identities) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = identities.connection.open().await?;
        match &identities.what {
            What::Ls => list(&client, output).await,
            What::Add { name, machine, role, allowed_from, out } => {
                let new = NewIdentity {
                    name: name.clone(),
                    kind: if *machine { IdentityKind::Machine } else { IdentityKind::Person },
                    roles: role.iter().copied().map(Role::from).collect(),
                    allowed_from: allowed_from.clone(),
                };
                add(&client, output, &new, out).await
            }
            What::Show { name } => {
                output.show(&Answer::get(&client, &path(name)).await?, text);
                Ok(())
            }
            What::Set { name, role, no_roles, allowed_from, from_anywhere } => {
                let roles = (*no_roles || !role.is_empty()).then(|| role.iter().copied().map(Role::from));
                let change = IdentityChange {
                    roles: roles.map(Iterator::collect),
                    allowed_from: (*from_anywhere || !allowed_from.is_empty()).then(|| allowed_from.clone()),
                };
                output.show(&Answer::patch(&client, &path(name), &change).await?, text);
                Ok(())
            }
            What::Revoke { name } => {
                client.delete(&path(name)).await?;
                output.done(format_args!("revoked {name}; its connections end within a minute"));
                Ok(())
            }
            What::Tokens(tokens) => tokens::run(&client, output, tokens).await,
        }
    })
}

/// The path of one identity.
pub(super) fn path(name: &str) -> String {
    format!("/v1/identities/{}", segment(name))
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = Answer::<Vec<Identity>>::list(client, "/v1/identities", usize::MAX).await?;
    let row = |identity: &Identity| {
        let state = identity.revoked_at.map_or_else(|| "-".into(), ago);
        [
            identity.name.clone(),
            word(&identity.kind),
            words(&identity.roles),
            joined(&identity.allowed_from),
            state,
        ]
    };
    output.table(&answer, ["name", "kind", "roles", "allowed from", "revoked"], row, "there is no identity");
    Ok(())
}

async fn add(client: &Client, output: Output, new: &NewIdentity, out: &Out) -> Result<(), Failure> {
    let out = out.path()?;
    let answer = Answer::<CreatedIdentity>::post(client, "/v1/identities", new).await?;
    let name = &new.name;
    let member = match new.roles.is_empty() {
        true => format!("adit projects members set PROJECT {name}; then, for who it is: "),
        false => String::new(),
    };
    output.token(&answer, &answer.value.token, out, &format!("made the identity {name}"), |file| {
        format!("{member}adit login --domain {} --token-file {file}", client.domain())
    })
}

fn text(identity: &Identity) -> String {
    let mut text = format!(
        "{} ({})\n id           {}\n roles        {}\n allowed from {}\n made         {}",
        identity.name,
        word(&identity.kind),
        identity.id,
        words(&identity.roles),
        if identity.allowed_from.is_empty() { "everywhere".into() } else { joined(&identity.allowed_from) },
        ago(identity.created_at)
    );
    if let Some(at) = identity.revoked_at {
        text += &format!("\n revoked      {}", ago(at));
    }
    text
}
