//! `adit links`: what a project reaches through a gateway.

use adit_core::tunnel::Target;
use adit_platform::client::segment;
use adit_platform::words::{Link, NewLink};
use clap::{Args, Subcommand};

use super::Answer;
use super::output::{ago, joined};
use crate::exit::Failure;
use crate::login::Connection;
use crate::service;

/// What projects reach through which gateway.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit links add shop gw-1 tcp://db.internal:5432 tcp://cache.internal:6379
  adit links ls
  adit forward tcp://db.internal:5432 --gateway gw-1")]
pub(crate) struct Links {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the links that one sees.
    Ls,
    /// Let a project reach targets through a gateway. One that is there already gets these targets instead.
    ///
    /// The gateway's own operator must allow the targets as well.
    Add {
        /// The project's name or id.
        project: String,
        /// The gateway's name or id.
        gateway: String,
        /// The targets, as tcp://host:port: at most 64.
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<Target>,
    },
    /// Delete a link; certificates that rest on it are revoked.
    Rm {
        /// Its id, as `adit links ls` shows it.
        link: String,
    },
}

pub(crate) fn run(links: &Links) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = links.connection.open().await?;
        match &links.what {
            What::Ls => {
                let answer = Answer::<Vec<Link>>::list(&client, "/v1/links", usize::MAX).await?;
                let row = |link: &Link| {
                    let targets = joined(&link.targets);
                    [
                        link.id.clone(),
                        link.project.clone(),
                        link.gateway.clone(),
                        targets,
                        ago(link.created_at),
                    ]
                };
                let none = "there is no link that you see; an administrator makes one: adit links add PROJECT GATEWAY \
                            TARGET";
                output.table(&answer, ["id", "project", "gateway", "targets", "made"], row, none);
            }
            What::Add { project, gateway, targets } => {
                let targets = targets.iter().map(ToString::to_string).collect();
                let new = NewLink { project: project.clone(), gateway: gateway.clone(), targets };
                output.show(&Answer::<Link>::post(&client, "/v1/links", &new).await?, |link| {
                    let Link { project, gateway, targets, .. } = link;
                    let target = targets.first().map_or("TARGET", String::as_str);
                    format!(
                        "{project} reaches {} through {gateway}\n next: a member of {project} runs: adit forward {target} \
                         --gateway {gateway}",
                        joined(targets)
                    )
                });
            }
            What::Rm { link } => {
                client.delete(&format!("/v1/links/{}", segment(link))).await?;
                output.done(format_args!("deleted the link {link}"));
            }
        }
        Ok(())
    })
}
