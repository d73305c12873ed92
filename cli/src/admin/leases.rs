//! `adit leases`: users that live as long as somebody needs them.

use std::time::Duration;

use adit_core::time::UnixTime;
use adit_core::tunnel::Target;
use adit_platform::client::{Client, segment};
use adit_platform::words::{IssuedLease, Lease, LeaseState, NewLease, RenewLease, Restored};
use aws_lc_rs::rand;
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::definition::one_of;
use super::output::{Out, Revealed, ago, sheet, trouble};
use super::session::{Session, path};
use super::wait::{Stage, Wait};
use super::{Answer, word};
use crate::exit::{Exit, Failure};
use crate::login::Connection;
use crate::when;

const NOUN: &str = "leases";
const STATES: [&str; 6] = ["creating", "active", "revoking", "revoked", "failed", "abandoned"];
/// How often a lease is asked for while the platform's answer is lost, and how long to wait in between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Leases: PostgreSQL users of dynamic secrets, each with an end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit leases create shop-ro --ttl 30m --out password
  adit leases ls --secret shop-ro --state active
  adit leases renew LEASE
  adit leases revoke LEASE --wait

  adit run --secret shop-ro -- psql      # leases, renews and revokes by itself")]
pub(crate) struct Leases {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List leases, one's own or those that one manages, newest first.
    Ls {
        /// Only those of this dynamic secret.
        #[arg(long, value_name = "NAME")]
        secret: Option<String>,
        /// Only those in this state.
        #[arg(long, value_name = "STATE", value_parser = one_of::<LeaseState, 6>(STATES))]
        state: Option<LeaseState>,
        /// How many at most.
        #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show a lease.
    Show(Id),
    /// Make a user. Its password is printed alone on standard output, or goes to --out.
    Create {
        /// The dynamic secret's name or id.
        secret: String,
        /// How long it is to live, such as 30m or 12h [default: the secret's].
        #[arg(long, value_name = "TIME", value_parser = when::parse_span)]
        ttl: Option<u64>,
        #[command(flatten)]
        out: Out,
    },
    /// Lengthen a lease's life from now on, at most to the secret's longest.
    Renew {
        #[command(flatten)]
        lease: Id,
        /// From now on how long, such as 30m or 12h [default: the secret's].
        #[arg(long, value_name = "TIME", value_parser = when::parse_span)]
        ttl: Option<u64>,
    },
    /// Remove a lease's user: its sessions end, and what it owns goes where the secret says.
    ///
    /// The platform tries for ever, so that nobody has to wait.
    Revoke {
        #[command(flatten)]
        lease: Id,
        #[command(flatten)]
        wait: Wait,
    },
    /// Give up on a lease that can't be revoked, such as one on a server that is gone. Its user may stay there.
    Abandon(Id),
    /// Tell whether the platform leaves old leases alone, because its store was restored from a copy.
    Restored,
    /// Let the platform expire and repair what was leased before its store was restored.
    ConfirmRestored,
}

// No comment for clap, which would take it for the command's.
#[derive(Debug, Args)]
struct Id {
    /// The lease's id, as `adit leases ls` shows it.
    lease: String,
}

impl Id {
    fn path(&self) -> String {
        path(NOUN, &self.lease)
    }
}

pub(crate) fn run(leases: &Leases) -> Result<(), Failure> {
    Session::run(&leases.connection, async |session| match &leases.what {
        What::Ls { secret, state, limit } => list(session, secret.as_deref(), *state, *limit).await,
        What::Show(id) => session.show(&id.path(), text).await,
        What::Create { secret, ttl, out } => {
            create(session, NewLease { secret: secret.clone(), ttl: *ttl }, out).await
        }
        What::Renew { lease, ttl } => {
            let path = format!("{}/renew", lease.path());
            session.post(&path, &RenewLease { ttl: *ttl }, renewed).await
        }
        What::Revoke { lease, wait } => revoke(session, lease, wait).await,
        What::Abandon(id) => session.post(&format!("{}/abandon", id.path()), &json!({}), abandoned).await,
        What::Restored => session.show("/v1/restored", restored).await,
        What::ConfirmRestored => {
            let _: Value = session.client.post("/v1/restored/confirm", &json!({})).await?;
            session
                .output
                .done("what was leased before expires and is repaired again\n next: adit leases ls");
            Ok(())
        }
    })
}

/// Makes a lease. A request whose answer is lost is sent again and makes no second one.
pub(crate) async fn issue<T: DeserializeOwned>(client: &Client, new: &NewLease) -> Result<T, Failure> {
    let mut key = [0; 16];
    rand::fill(&mut key).map_err(|_| Failure::new(Exit::Other, "the system gives no random numbers"))?;
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut attempt = 1;
    loop {
        match client.post_once(&path_of_all(), &key, new).await {
            Err(error) if error.is_retryable() && error.code().is_none() && attempt < ATTEMPTS => {
                tracing::debug!(%error, "the lease is asked for again");
            }
            done => return Ok(done?),
        }
        attempt += 1;
        sleep(PAUSE).await;
    }
}

fn path_of_all() -> String {
    format!("/v1/{NOUN}")
}

async fn list(
    session: &Session,
    secret: Option<&str>,
    state: Option<LeaseState>,
    limit: u32,
) -> Result<(), Failure> {
    let wishes = [("secret", secret.map(segment)), ("state", state.map(|state| word(&state)))];
    let wishes = wishes.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    let path = [path_of_all(), wishes.collect::<Vec<_>>().join("&")].join("?");
    let row = |lease: &Lease| {
        let Lease { id, secret, identity, username, .. } = lease;
        let state = match &lease.trouble {
            Some(trouble) if trouble.stuck => "STUCK".into(),
            Some(_) => format!("{}, failing", word(&lease.state)),
            None => word(&lease.state),
        };
        let ends = ago(lease.ended_at.unwrap_or(lease.expires_at));
        [id.clone(), secret.clone(), identity.clone(), username.clone(), state, ends]
    };
    let header = ["id", "secret", "who", "user", "state", "ends"];
    let none = "there is no such lease that you see; next: adit leases create SECRET, or: adit run --secret SECRET -- \
                COMMAND";
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    session.list(path.trim_end_matches('?'), limit, header, row, none).await
}

async fn create(session: &Session, new: NewLease, out: &Out) -> Result<(), Failure> {
    // Before anything is made.
    let out = out.path()?;
    let answer = Answer::<IssuedLease>::of(issue(&session.client, &new).await?)?;
    let IssuedLease { lease, password, gateway, host, port, dbname } = &answer.value;
    let done = format!(
        "leased {} as the user {} ({}, id {})",
        lease.secret,
        lease.username,
        until(lease.expires_at),
        lease.id
    );
    let target =
        Target::new(host, *port).map_or_else(|_| format!("{host}:{port}"), |target| target.to_string());
    session.output.secret(&answer, Revealed { word: "password", secret: password, once: true }, out, &done, |_| {
        format!(
            "adit forward {target} --gateway {gateway} --listen 127.0.0.1:15432\n   then: psql -h 127.0.0.1 -p 15432 \
             -U {} {dbname}\n   and at last: adit leases revoke {}",
            lease.username, lease.id
        )
    })
}

async fn revoke(session: &Session, id: &Id, wait: &Wait) -> Result<(), Failure> {
    let first = Answer::<Lease>::remove(&session.client, &id.path()).await?;
    let (answer, stage) = match stage(&first.value) {
        Stage::Reached => (first, Stage::Reached),
        Stage::NotYet(_) => {
            let path = id.path();
            wait.until(|| Answer::get(&session.client, &path), stage).await?
        }
    };
    session.output.show(&answer, |lease| match stage_of(lease) {
        None => format!("the user {} is gone", lease.username),
        Some(_) => format!(
            "the user {} is being removed, however long that takes: {}\n next: adit leases show {}",
            lease.username,
            trouble(lease.trouble.as_ref()),
            lease.id
        ),
    });
    wait.verdict(stage, |how| {
        Failure::new(Exit::Other, format!("not in time: {how}")).next(format!(
            "the platform goes on; where the server is gone for good: adit leases abandon {}",
            id.lease
        ))
    })
}

fn stage(lease: &Lease) -> Stage {
    stage_of(lease).map_or(Stage::Reached, Stage::NotYet)
}

/// How the removal of a user stands that is not done yet.
fn stage_of(lease: &Lease) -> Option<String> {
    match lease.state {
        LeaseState::Revoked | LeaseState::Failed | LeaseState::Abandoned => None,
        state => Some(format!("{} is {}: {}", lease.username, word(&state), trouble(lease.trouble.as_ref()))),
    }
}

fn renewed(lease: &Lease) -> String {
    let end = if lease.expires_at >= lease.max_expires_at {
        "\n it can't be renewed any further; next: adit leases create makes another"
    } else {
        ""
    };
    format!("the user {} lives {}{end}", lease.username, until(lease.expires_at))
}

fn abandoned(lease: &Lease) -> String {
    format!(
        "the lease {} is given up; the user {} may still be on the server of {}\n next: DROP ROLE there, once it can \
         be reached, or: adit databases scan {2}",
        lease.id, lease.username, lease.database
    )
}

fn restored(restored: &Restored) -> String {
    match restored.paused {
        true => format!(
            "the store was restored from a copy: {} leases from before are left alone\n next: adit leases ls; if they \
             are as they are to be: adit leases confirm-restored",
            restored.leases
        ),
        false => "nothing is left alone: leases expire and are repaired".into(),
    }
}

fn text(lease: &Lease) -> String {
    let mut lines = vec![
        ("secret", lease.secret.clone()),
        ("project", lease.project.clone()),
        ("database", lease.database.clone()),
        ("who", lease.identity.clone()),
        ("user", lease.username.clone()),
        ("state", word(&lease.state)),
        ("made", ago(lease.created_at)),
        ("expires", until(lease.expires_at)),
        ("renewable", until(lease.max_expires_at)),
    ];
    lines.extend(lease.ended_at.map(|at| ("ended", ago(at))));
    lines.extend(lease.reason.clone().map(|reason| ("why", reason)));
    if lease.trouble.is_some() {
        lines.push(("trouble", trouble(lease.trouble.as_ref())));
    }
    sheet(&lease.id, lines)
}

/// Until when, and how long that is.
fn until(unix: u64) -> String {
    format!("until {}, {}", when::date(UnixTime(unix)), ago(unix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(state: LeaseState) -> Lease {
        let now = when::now().0;
        serde_json::from_value(json!({
            "id": "l", "secret": "s", "database": "d", "project": "p", "identity": "ada", "username": "v-ada",
            "state": word(&state), "created_at": now, "expires_at": now + 3600, "max_expires_at": now + 86_400
        }))
        .unwrap()
    }

    #[test]
    fn a_user_is_gone_when_its_lease_has_ended_in_any_way() {
        for (state, gone) in [
            (LeaseState::Revoked, true),
            (LeaseState::Failed, true),
            (LeaseState::Abandoned, true),
            (LeaseState::Revoking, false),
            (LeaseState::Active, false),
        ] {
            assert_eq!(matches!(stage(&lease(state)), Stage::Reached), gone, "{state:?}");
        }
    }

    #[test]
    fn the_last_renewal_says_that_it_is_the_last() {
        let mut lease = lease(LeaseState::Active);
        assert!(!renewed(&lease).contains("any further"), "{}", renewed(&lease));
        lease.expires_at = lease.max_expires_at;
        assert!(renewed(&lease).contains("any further"), "{}", renewed(&lease));
    }

    #[test]
    fn every_state_is_a_word_of_the_api() {
        use clap::builder::TypedValueParser as _;
        let command = clap::Command::new("adit");
        for name in STATES {
            let state = one_of::<LeaseState, 6>(STATES).parse_ref(&command, None, name.as_ref()).unwrap();
            assert_eq!(word(&state), name);
        }
    }
}
