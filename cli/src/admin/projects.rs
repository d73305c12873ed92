//! `adit projects`: who works on what.

use adit_platform::client::{Client, segment};
use adit_platform::words::{Member, NewMember, NewProject, Project, ProjectRole};
use clap::{Args, Subcommand, ValueEnum};

use super::output::{ago, joined};
use super::{Answer, Output, word};
use crate::exit::Failure;
use crate::login::Connection;
use crate::service;

/// Projects, and who is in them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit projects add shop
  adit projects members set shop ada --role admin
  adit links add shop gw-1 tcp://db.internal:5432")]
pub(crate) struct Projects {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the projects that one sees.
    Ls,
    /// Make a project.
    Add {
        /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
        name: String,
    },
    /// Delete a project, its links and its memberships.
    Rm {
        /// Its name or id.
        name: String,
    },
    /// Its members.
    #[command(subcommand)]
    Members(Members),
}

#[derive(Debug, Subcommand)]
enum Members {
    /// Give an identity a role in a project.
    Set {
        /// The project's name or id.
        project: String,
        /// The identity's name or id.
        identity: String,
        /// What it may do in it.
        #[arg(long, value_name = "ROLE", default_value = "member")]
        role: RoleName,
    },
    /// Take an identity out of a project; the certificates that it has through it are revoked.
    Rm {
        /// The project's name or id.
        project: String,
        /// The identity's name or id.
        identity: String,
    },
}

/// A role in a project.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    /// Uses what is in the project.
    Member,
    /// Manages its members too.
    Admin,
}

impl From<RoleName> for ProjectRole {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Member => Self::Member,
            RoleName::Admin => Self::Admin,
        }
    }
}

pub(crate) fn run(projects: &Projects) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = projects.connection.open().await?;
        match &projects.what {
            What::Ls => list(&client, output).await,
            What::Add { name } => {
                let new = NewProject { name: name.clone() };
                output.show(&Answer::<Project>::post(&client, "/v1/projects", &new).await?, |project| {
                    let name = &project.name;
                    format!("made the project {name}\n next: adit links add {name} GATEWAY tcp://HOST:PORT")
                });
                Ok(())
            }
            What::Rm { name } => {
                client.delete(&path(name)).await?;
                output.done(format_args!("deleted the project {name}"));
                Ok(())
            }
            What::Members(members) => run_members(&client, output, members).await,
        }
    })
}

fn path(name: &str) -> String {
    format!("/v1/projects/{}", segment(name))
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = Answer::<Vec<Project>>::list(client, "/v1/projects", usize::MAX).await?;
    let row = |project: &Project| {
        let member = |member: &Member| format!("{} ({})", member.identity, word(&member.role));
        [project.name.clone(), joined(project.members.iter().map(member)), ago(project.created_at)]
    };
    let none = "there is no project that you see; an administrator makes one: adit projects add NAME";
    output.table(&answer, ["name", "members", "made"], row, none);
    Ok(())
}

async fn run_members(client: &Client, output: Output, members: &Members) -> Result<(), Failure> {
    let path = |project: &str, identity: &str| format!("{}/members/{}", path(project), segment(identity));
    match members {
        Members::Set { project, identity, role } => {
            let new = NewMember { role: (*role).into() };
            let answer = Answer::<Member>::put(client, &path(project, identity), &new).await?;
            output.show(&answer, |member| {
                format!("{} is {} of {project}\n next: adit links ls", member.identity, word(&member.role))
            });
        }
        Members::Rm { project, identity } => {
            client.delete(&path(project, identity)).await?;
            output.done(format_args!("{identity} is no member of {project} any more"));
        }
    }
    Ok(())
}
