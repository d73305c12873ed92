//! `adit platform instances`.

use adit_platform::client::segment;
use adit_platform::words::PlatformInstance;
use clap::{Args, Subcommand};

use crate::admin::{Answer, ago, joined};
use crate::exit::Failure;
use crate::login::Connection;
use crate::service;

/// The instances of the platform itself; for operators.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  adit platform instances ls\n  adit platform instances revoke ID")]
pub(crate) struct Instances {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the instances.
    Ls,
    /// Revoke an instance that is not ours any more; gateways close its connections within a minute.
    Revoke {
        /// Its id, as `adit platform instances ls` shows it.
        id: String,
    },
}

pub(crate) fn run(instances: &Instances) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = instances.connection.open().await?;
        match &instances.what {
            What::Ls => {
                let answer =
                    Answer::<Vec<PlatformInstance>>::whole(&client, "/v1/platform/instances").await?;
                let row = |instance: &PlatformInstance| {
                    let state = match (instance.revoked_at, instance.is_alive) {
                        (Some(at), _) => format!("revoked {}", ago(at)),
                        (None, true) => "alive".into(),
                        (None, false) => format!("last seen {}", ago(instance.last_seen_at)),
                    };
                    [instance.id.clone(), state, ago(instance.started_at), joined(&instance.addresses)]
                };
                output.table(&answer, ["id", "state", "started", "addresses"], row, "there is no instance");
            }
            What::Revoke { id } => {
                client.delete(&format!("/v1/platform/instances/{}", segment(id))).await?;
                output.done(format_args!("revoked the platform instance {id}"));
            }
        }
        Ok(())
    })
}
