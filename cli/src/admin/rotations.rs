//! `adit rotations`: users that stay, and passwords that do not.

use adit_core::tunnel::Target;
use adit_platform::words::{Credentials, NewRotation, Rotation, RotationMode, Schedule};
use clap::{Args, Subcommand};
use serde_json::json;

use super::definition::{Definition, Passwords, one_of};
use super::output::{Out, Revealed, ago, ago_or_never, joined, sheet, trouble};
use super::session::{Named, Session};
use super::{Answer, word};
use crate::exit::Failure;
use crate::login::Connection;
use crate::when;

const NOUN: &str = "rotations";
const MODES: [&str; 2] = ["two-user", "single-user"];

/// Rotations: users that are there already and get a new password again and again.
///
/// Two users in turn never fail a client that reads the credentials before it logs in: the one before stays valid until
/// the next turn, which is an interval later. With a single user, a client that read before a rotation may fail after it, and reads again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit rotations add shop-app --database shop-db --user app_a --user app_b --every 7d
  adit rotations add batch --database shop-db --user batch --cron '0 3 * * 0'    # Sundays at 3, UTC
  adit rotations credentials shop-app --out password
  adit rotations rotate shop-app")]
pub(crate) struct Rotations {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the rotations that one sees.
    Ls,
    /// Show a rotation.
    Show(Named),
    /// Define a rotation, whose first turn is at once.
    Add(Add),
    /// Delete a rotation; its users keep the passwords that they have.
    Rm(Named),
    /// Tell with what to log in now. The password is printed alone on standard output, or goes to --out.
    Credentials {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        out: Out,
    },
    /// Change the password now: with two users, of the one that is not read; again after 10 seconds at the earliest.
    Rotate(Named),
    /// Look whether it would work. The exit status tells.
    Test(Named),
}

#[derive(Debug, Args)]
struct Add {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    name: String,
    /// The database's name or id.
    #[arg(long, value_name = "NAME")]
    database: String,
    /// A user whose password changes, which is there already. Two of them take turns.
    #[arg(long = "user", value_name = "USER", required = true)]
    users: Vec<String>,
    /// How passwords change [default: two-user with two users, single-user with one].
    #[arg(long, value_name = "MODE", value_parser = one_of::<RotationMode, 2>(MODES))]
    mode: Option<RotationMode>,
    /// Change it every so long, such as 12h or 7d.
    #[arg(long, value_name = "TIME", value_parser = when::parse_span, required_unless_present = "cron")]
    every: Option<u64>,
    /// Change it by a cron expression of five fields, in UTC.
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "every")]
    cron: Option<String>,
    #[command(flatten)]
    passwords: Passwords,
}

pub(crate) fn run(rotations: &Rotations) -> Result<(), Failure> {
    Session::run(&rotations.connection, async |session| match &rotations.what {
        What::Ls => list(session).await,
        What::Show(named) => session.show(&named.path(NOUN), text).await,
        What::Add(flags) => session.post("/v1/rotations", &flags.definition()?, defined).await,
        What::Rm(named) => {
            let done = format!("deleted the rotation {}; its users keep their passwords", named.name);
            session.delete(&named.path(NOUN), &done).await
        }
        What::Credentials { named, out } => credentials(session, named, out).await,
        What::Rotate(named) => {
            let path = format!("{}/rotate", named.path(NOUN));
            let done = |rotation: &Rotation| {
                format!(
                    "the password of {0} was changed\n next: adit rotations credentials {0}",
                    rotation.name
                )
            };
            session.post(&path, &json!({}), done).await
        }
        What::Test(Named { name }) => {
            session.test(NOUN, name, &format!("adit rotations credentials {name}")).await
        }
    })
}

impl Add {
    fn definition(&self) -> Result<NewRotation, Failure> {
        let usual = if self.users.len() == 1 { RotationMode::SingleUser } else { RotationMode::TwoUser };
        let by_cron = self.cron.clone().map(Schedule::Cron);
        let schedule = self.every.map(Schedule::Every).or(by_cron);
        let mut new = Definition::begin(None)?;
        new.set("name", Some(&self.name)).set("database", Some(&self.database));
        new.set("mode", Some(self.mode.unwrap_or(usual))).list("users", &self.users);
        new.set("schedule", schedule);
        self.passwords.set(&mut new);
        new.finish()
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let row = |rotation: &Rotation| {
        let Rotation { name, database, users, mode, .. } = rotation;
        let next = match &rotation.trouble {
            Some(trouble) => format!("failing: {}", trouble.error),
            None => ago(rotation.next_at),
        };
        let last = ago_or_never(rotation.rotated_at);
        [name.clone(), database.clone(), joined(users), word(mode), schedule(&rotation.schedule), last, next]
    };
    let header = ["name", "database", "users", "mode", "schedule", "last", "next"];
    let none = "there is no rotation that you see; a project's administrator defines one: adit rotations add NAME \
                --database DATABASE --user USER --user USER --every 7d";
    session.list("/v1/rotations", usize::MAX, header, row, none).await
}

async fn credentials(session: &Session, named: &Named, out: &Out) -> Result<(), Failure> {
    let out = out.path()?;
    let path = format!("{}/credentials", named.path(NOUN));
    let answer = Answer::<Credentials>::get(&session.client, &path).await?;
    let Credentials { username, password, gateway, host, port, dbname, next_at, .. } = &answer.value;
    let done = format!("the user of {} is {username}, to be read again {}", named.name, ago(*next_at));
    let target =
        Target::new(host, *port).map_or_else(|_| format!("{host}:{port}"), |target| target.to_string());
    session.output.secret(&answer, Revealed { word: "password", secret: password, once: false }, out, &done, |_| {
        format!(
            "adit forward {target} --gateway {gateway} --listen 127.0.0.1:15432\n   then: psql -h 127.0.0.1 -p 15432 \
             -U {username} {dbname}"
        )
    })
}

fn defined(rotation: &Rotation) -> String {
    let name = &rotation.name;
    match &rotation.trouble {
        Some(found) => format!(
            "defined the rotation {name}, whose first turn failed and is tried again: {}\n next: adit rotations test \
             {name} tells what is missing",
            trouble(Some(found))
        ),
        None => format!("defined the rotation {name}\n next: adit rotations credentials {name}"),
    }
}

fn schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Every(seconds) => format!("every {}", when::span(*seconds)),
        Schedule::Cron(expression) => format!("{expression} (UTC)"),
    }
}

fn text(rotation: &Rotation) -> String {
    let checked = if rotation.pre_hashed { "SCRAM verifiers" } else { "the passwords themselves" };
    let lines = [
        ("id", rotation.id.clone()),
        ("project", rotation.project.clone()),
        ("database", rotation.database.clone()),
        ("mode", word(&rotation.mode)),
        ("users", joined(&rotation.users)),
        ("schedule", schedule(&rotation.schedule)),
        ("passwords", format!("{} characters; the server gets {checked}", rotation.password.length)),
        ("last", ago_or_never(rotation.rotated_at)),
        ("next", ago(rotation.next_at)),
        ("trouble", trouble(rotation.trouble.as_ref())),
        ("made", ago(rotation.created_at)),
    ];
    sheet(&rotation.name, lines)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        add: Add,
    }

    fn parse(line: &str) -> Result<Add, clap::Error> {
        Line::try_parse_from(line.split('|')).map(|line| line.add)
    }

    #[test]
    fn the_number_of_users_says_how_passwords_change() {
        let of = |line: &str| parse(line).unwrap().definition().unwrap();
        let two = of("add|r|--database|d|--user|a|--user|b|--every|7d");
        assert_eq!((two.mode, two.schedule), (RotationMode::TwoUser, Schedule::Every(604_800)));
        let one = of("add|r|--database|d|--user|a|--cron|0 3 * * 0|--password-length|64");
        assert_eq!((one.mode, one.schedule), (RotationMode::SingleUser, Schedule::Cron("0 3 * * 0".into())));
        assert_eq!((one.password.length, one.pre_hashed), (64, true));
        for mode in MODES {
            assert_eq!(
                word(&of(&format!("add|r|--database|d|--user|a|--every|1d|--mode|{mode}")).mode),
                mode
            );
        }
    }

    #[test]
    fn a_rotation_has_users_and_one_schedule() {
        for line in [
            "add|r|--database|d|--every|7d",
            "add|r|--database|d|--user|a",
            "add|r|--database|d|--user|a|--every|7d|--cron|x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
