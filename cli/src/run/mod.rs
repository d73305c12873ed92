//! `adit run`: a command with a database user of its own, which lives as long as the command does.
//!
//! 1. The secret is leased. Whatever happens from here on ends with the lease's revocation.
//! 2. A local port is opened that leads to the server through the gateway, as `adit forward` does it.
//! 3. The command starts, told by libpq's variables ([`environment`]); signals go on to it ([`child`]).
//! 4. Meanwhile [`tenure`] renews the lease at half of its life.
//! 5. The command's status becomes ours, once the lease is revoked.

mod child;
mod environment;
mod tenure;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use adit_core::tunnel::Target;
use adit_platform::client::Client;
use adit_platform::words::{Database, IssuedLease, NewLease};
use clap::Args;
use indicatif::ProgressBar;
use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::admin::{self, leases, wait};
use crate::exit::{Exit, Failure};
use crate::forward::{Passage, Start};
use crate::login::Place;
use crate::{service, when};
use child::{Child, Signals};
use environment::Environment;
use tenure::Tenure;

/// Run a command with a database user of its own, which lives as long as the command does.
///
/// Leases a dynamic secret, opens a local port that leads to the server through the gateway, and runs the command with
/// PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE in its environment, and nowhere else. Renews the lease at half of
/// its life, and revokes it when the command has ended, on SIGINT, SIGTERM, SIGHUP and SIGQUIT too, which go on to the
/// command. Where the lease can't be renewed any more a warning says so, and the command goes on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit run --secret shop-ro -- psql
  adit run --secret shop-rw --ttl 4h -- pg_dump --file shop.sql

TLS: the command talks to 127.0.0.1, for which no server has a certificate, and so libpq's verify-full would always \
fail. PGSSLMODE is set to what can be had: verify-ca with PGSSLROOTCERT where the database was defined with an \
authority of its own, else require, or prefer where the platform itself uses no TLS. Between here and the gateway \
everything is within the tunnel anyway.

Exit status: the command's; 128 and the signal's number where one has ended it, or came before it was started; 126 and \
127 where it can't be run or is not there. What fails before has the status that `adit --help` tells.")]
pub(crate) struct Run {
    /// The dynamic secret, by name or id.
    #[arg(long, value_name = "NAME")]
    secret: String,
    /// How long the lease lives between renewals, such as 30m or 12h [default: the secret's].
    #[arg(long, value_name = "TIME", value_parser = when::parse_span)]
    ttl: Option<u64>,
    /// The gateway to go through [default: the database's].
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// How many seconds to keep trying to reach the server before giving up.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: u64,
    /// The command and its arguments.
    #[arg(last = true, required = true, num_args = 1.., value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    place: Place,
}

/// How it went, once everything is in place.
#[derive(Debug)]
enum End {
    /// The command has ended.
    Exited(ExitStatus),
    /// It can't be started, which has this status.
    NotStarted(u8),
    /// A signal came before it was started.
    Interrupted(Signal),
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        let by_signal = |number: i32| u8::try_from(128 + number).unwrap_or(u8::MAX);
        match end {
            End::Exited(status) => child::code(status).unwrap_or_else(by_signal).into(),
            End::NotStarted(status) => status.into(),
            End::Interrupted(signal) => by_signal(signal.as_raw()).into(),
        }
    }
}

pub(crate) fn run(run: &Run) -> Result<ExitCode, Failure> {
    service::block_on(async {
        let mut signals = Signals::new()?;
        let progress = wait::spinner();
        progress.set_message(format!("leasing {} …", run.secret));
        let client = tokio::select! {
            client = run.place.client() => client?,
            signal = signals.next() => return Ok(End::Interrupted(signal).into()),
        };
        let (issued, interrupted) = match lease(run, &client, &mut signals).await? {
            Ok(leased) => leased,
            Err(signal) => return Ok(End::Interrupted(signal).into()),
        };
        let mut tenure = Tenure::new(client.clone(), issued.lease.clone(), run.ttl);
        let end = match interrupted {
            Some(signal) => Ok(End::Interrupted(signal)),
            None => tokio::select! {
                end = work(run, client, issued, &mut signals, &progress) => end,
                never = tenure.keep() => match never {},
            },
        };
        progress.finish_and_clear();
        tenure.end(&mut signals).await;
        end.map(ExitCode::from)
    })
}

/// A lease, and the signal that came meanwhile: its answer is waited for, so that it can be revoked. Only a signal
/// where somebody insists on leaving at once.
async fn lease(
    run: &Run,
    client: &Client,
    signals: &mut Signals,
) -> Result<Result<(IssuedLease, Option<Signal>), Signal>, Failure> {
    let wish = NewLease { secret: run.secret.clone(), ttl: run.ttl };
    let mut asked = pin!(leases::issue::<IssuedLease>(client, &wish));
    let first = tokio::select! {
        issued = &mut asked => return Ok(Ok((issued?, None))),
        signal = signals.next() => signal,
    };
    tracing::warn!("the lease is being made; it is revoked once it is there. Once more to leave at once");
    tokio::select! {
        issued = asked => Ok(Ok((issued?, Some(first)))),
        signal = signals.next() => {
            tracing::warn!("a lease may have been made, and expires by itself: adit leases ls");
            Ok(Err(signal))
        }
    }
}

/// Opens the way and runs the command.
async fn work(
    run: &Run,
    client: Client,
    issued: IssuedLease,
    signals: &mut Signals,
    progress: &ProgressBar,
) -> Result<End, Failure> {
    let gateway = run.gateway.clone().unwrap_or_else(|| issued.gateway.clone());
    let target = Target::new(&issued.host, issued.port).map_err(|error| {
        Failure::new(Exit::Other, format!("the database's server can't be reached: {error}"))
    })?;
    progress.set_message(format!("opening the way to {target} through gateway {gateway} …"));
    let path = admin::path("databases", &issued.lease.database);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| no_port(&error))?;
    let local = listener.local_addr().map_err(|error| no_port(&error))?;
    let start = Start { patience: Duration::from_secs(run.wait), check: true };
    let opened = async {
        let database: Database = client.get(&path).await?;
        Ok::<_, Failure>((database, Passage::open(client, &gateway, target, start).await?))
    };
    let (database, passage) = tokio::select! {
        opened = opened => opened?,
        signal = signals.next() => return Ok(End::Interrupted(signal)),
    };
    progress.finish_and_clear();
    let environment = Environment::new(&issued, &database, local)?;
    drop(issued);
    let mut child = match Child::start(&run.command, &environment)? {
        Ok(child) => child,
        Err((failure, status)) => {
            tracing::error!("{}", failure.what);
            return Ok(End::NotStarted(status));
        }
    };
    let serve = async {
        let failure = passage.serve(listener).await;
        tracing::warn!("{}; the command goes on without the database", failure.what);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = child.wait(signals) => status.map(End::Exited),
        () = serve => unreachable!("it is pending at last"),
    }
}

fn no_port(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Address, format!("no local port can be opened: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn the_status_is_the_commands_or_tells_the_signal() {
        let cases = [
            (End::Exited(ExitStatus::from_raw(3 << 8)), 3),
            (End::Exited(ExitStatus::from_raw(15)), 143),
            (End::NotStarted(127), 127),
            (End::Interrupted(Signal::INT), 130),
        ];
        for (end, expected) in cases {
            assert_eq!(ExitCode::from(end), ExitCode::from(expected));
        }
    }
}
