//! `adit orgs`: the tenants of an installation; for its operators.

use adit_platform::words::{CreatedOrganisation, NewOrganisation, Organisation};
use clap::{Args, Subcommand};

use super::Answer;
use super::output::{Out, ago};
use crate::exit::Failure;
use crate::login::Connection;
use crate::service;

/// Organisations of the installation; for operators.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit orgs add acme --out acme-admin.token
  adit orgs ls")]
pub(crate) struct Orgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the organisations.
    Ls,
    /// Make an organisation with its own authorities, and an administrator for it.
    Add {
        /// Its name, which certificates carry: 1 to 64 of letters, digits, `.`, `_`, `-`.
        name: String,
        /// The name of its first administrator.
        #[arg(long, value_name = "NAME")]
        admin: Option<String>,
        #[command(flatten)]
        out: Out,
    },
}

pub(crate) fn run(orgs: &Orgs) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = orgs.connection.open().await?;
        match &orgs.what {
            What::Ls => {
                let answer = Answer::<Vec<Organisation>>::list(&client, "/v1/orgs", usize::MAX).await?;
                let row = |org: &Organisation| [org.name.clone(), ago(org.created_at)];
                output.table(
                    &answer,
                    ["name", "made"],
                    row,
                    "there is no organisation; next: adit orgs add NAME",
                );
                Ok(())
            }
            What::Add { name, admin, out } => {
                let out = out.path()?;
                let new = NewOrganisation { name: name.clone(), admin: admin.clone() };
                let answer = Answer::<CreatedOrganisation>::post(&client, "/v1/orgs", &new).await?;
                let done = format!("made the organisation {name} and its administrator");
                output.token(&answer, &answer.value.admin_token, out, &done, |file| {
                    format!(
                        "give it to the administrator, for: adit login --domain {} --token-file {file}",
                        client.domain()
                    )
                })
            }
        }
    })
}
