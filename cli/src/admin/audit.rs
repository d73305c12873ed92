//! `adit audit`: what was done, by whom.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use adit_core::time::UnixTime;
use adit_platform::client::Client;
use adit_platform::words::{AuditEvent, AuditVerdict};
use clap::{Args, Subcommand};

use super::{Answer, Output};
use crate::exit::{Exit, Failure};
use crate::login::Connection;
use crate::{service, when};

/// What was done in the organisation, by whom.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit audit ls --since 1d
  adit audit verify
  adit audit export --out audit.ndjson")]
pub(crate) struct Audit {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List events, in the order of time.
    Ls {
        /// Only those of the last time, such as 30m, 12h or 7d.
        #[arg(long, value_name = "TIME", value_parser = when::parse_span)]
        since: Option<u64>,
        /// How many at most.
        #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Check that no event was changed, taken away or put in between. The exit status tells.
    Verify,
    /// Write every event as one JSON object a line.
    Export {
        /// The file, which is not there yet; standard output without it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Only those of the last time, such as 30m, 12h or 7d.
        #[arg(long, value_name = "TIME", value_parser = when::parse_span)]
        since: Option<u64>,
    },
}

pub(crate) fn run(audit: &Audit) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = audit.connection.open().await?;
        match &audit.what {
            What::Ls { since, limit } => list(&client, output, *since, *limit).await,
            What::Verify => verify(&client, output).await,
            What::Export { out, since } => export(&client, output, out.as_deref(), *since).await,
        }
    })
}

fn path(path: &str, last: Option<u64>) -> String {
    match last {
        Some(seconds) => format!("{path}?since={}", when::now().0.saturating_sub(seconds)),
        None => path.to_owned(),
    }
}

async fn list(client: &Client, output: Output, since: Option<u64>, limit: u32) -> Result<(), Failure> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let answer = Answer::<Vec<AuditEvent>>::list(client, &path("/v1/audit", since), limit).await?;
    let row = |event: &AuditEvent| {
        let detail = if event.detail.as_object().is_some_and(serde_json::Map::is_empty) {
            String::new()
        } else {
            event.detail.to_string()
        };
        let AuditEvent { actor, action, object, .. } = event;
        [when::date(UnixTime(event.at)), actor.clone(), action.clone(), object.clone(), detail]
    };
    output.table(&answer, ["when", "who", "what", "to what", "more"], row, "nothing was done in that time");
    Ok(())
}

async fn verify(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = Answer::<AuditVerdict>::get(client, "/v1/audit/verify").await?;
    output.show(&answer, |verdict| match verdict.intact {
        true => format!("the audit is intact: {} events", verdict.events),
        false => format!("the audit is not as it was written:\n {}", verdict.breaks.join("\n ")),
    });
    match answer.value.intact {
        true => Ok(()),
        false => Err(Failure::new(Exit::Other, "the audit was tampered with")
            .next("compare it with your exports, and find out who can write to the platform's database")),
    }
}

async fn export(
    client: &Client,
    output: Output,
    out: Option<&Path>,
    since: Option<u64>,
) -> Result<(), Failure> {
    let mut download = client.download(&path("/v1/audit/export", since)).await?;
    let Some(path) = out else {
        while let Some(chunk) = download.chunk().await? {
            let mut stdout = std::io::stdout().lock();
            // Who has closed our output does not want to read it.
            if stdout.write_all(&chunk).and_then(|()| stdout.flush()).is_err() {
                return Ok(());
            }
        }
        return Ok(());
    };
    let failed = |error| Failure::new(Exit::Other, format!("{} can't be written: {error}", path.display()));
    crate::files::must_be_absent(path)?;
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    while let Some(chunk) = download.chunk().await? {
        file.write_all(&chunk).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    output.done(format_args!("wrote {}", path.display()));
    Ok(())
}
