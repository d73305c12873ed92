//! `adit databases`: the PostgreSQL servers on which users are made.

use std::path::PathBuf;

use adit_core::tunnel::Target;
use adit_platform::client::segment;
use adit_platform::words::{Database, DatabaseChange, NewDatabase, Orphan, TlsMode};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroize as _;

use super::definition::one_of;
use super::output::{ago, ago_or_never, sheet};
use super::session::{Named, Session, path};
use super::{Answer, word};
use crate::exit::Failure;
use crate::login::Connection;
use crate::{files, typed};

const NOUN: &str = "databases";
const TLS: [&str; 4] = ["disable", "require", "verify-ca", "verify-full"];

/// PostgreSQL servers behind gateways, on which the platform makes and changes users.
///
/// The platform logs in to them through a gateway as an admin user, which may make roles and need be no superuser.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit databases add shop-db tcp://db.internal:5432 --project shop --gateway gw-1 --admin-user adit
  adit databases test shop-db      # what is missing, and the SQL that helps
  adit databases rotate shop-db    # from then on only the platform knows the password
  adit databases scan shop-db")]
pub(crate) struct Databases {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the databases that one sees.
    Ls,
    /// Show a database.
    Show(Named),
    /// Define a database. A link of the project has to allow its server through the gateway.
    Add(Box<Add>),
    /// Change what is said of a database; what no flag names stays.
    ///
    /// Where server, gateway, TLS or authorities change, the admin user's password is asked for, since it will be sent
    /// there. Only where TLS is and stays verify-full, host and authorities stay, and the host is a full DNS name
    /// (db.example.com), may gateway and port change without it: the certificate shows that it is the same server. So the way to a database whose password only the
    /// platform knows may change. A server does not change while leases live on it.
    Change(Box<Change>),
    /// Delete a database, which no secret and no rotation may need any more.
    Rm(Named),
    /// Log in through the gateway and look whether everything is as it has to be. The exit status tells.
    Test(Named),
    /// Give the admin user a new password, which only the platform knows.
    Rotate(Named),
    /// List users on the server that look like the platform's and belong to no lease, as the last scan found them.
    Orphans(Named),
    /// Look for such users now. Those that are provably this platform's go away once they were seen twice.
    Scan(Named),
    /// Drop a user that a scan has found and that is provably this platform's, at once.
    DropOrphan {
        /// The database's name or id.
        name: String,
        /// The user, as `adit databases orphans` shows it.
        username: String,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    name: String,
    /// The server as the gateway reaches it: tcp://host:port, as in the link.
    server: Target,
    /// The project that owns it, by name or id.
    #[arg(long, value_name = "NAME")]
    project: String,
    /// The gateway through which it is reached, by name or id.
    #[arg(long, value_name = "NAME")]
    gateway: String,
    /// The user as whom the platform logs in: one with CREATEROLE, which need be no superuser.
    #[arg(long, value_name = "USER")]
    admin_user: String,
    /// A file whose first line is that user's password; `-` is standard input. Without it, a terminal is asked.
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
    /// The database on the server that the platform logs in to, and that leases are for.
    #[arg(long, value_name = "NAME", default_value = "postgres")]
    dbname: String,
    /// How the connection between gateway and server is protected; the names are libpq's.
    #[arg(long, value_name = "MODE", default_value = "verify-full", value_parser = one_of::<TlsMode, 4>(TLS))]
    tls: TlsMode,
    /// The certificates, PEM, that sign the server's; public authorities without it.
    #[arg(long, value_name = "FILE")]
    server_ca: Option<PathBuf>,
    /// How many connections each instance of the platform may have to it at once.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    max_connections: u32,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    named: Named,
    /// The server as the gateway reaches it: tcp://host:port.
    #[arg(long, value_name = "TARGET")]
    server: Option<Target>,
    /// The gateway through which it is reached, by name or id.
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// The user as whom the platform logs in. Its password is asked for too.
    #[arg(long, value_name = "USER")]
    admin_user: Option<String>,
    /// A file whose first line is the admin user's new password; `-` is standard input, where a terminal is asked.
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
    /// The database on the server that the platform logs in to.
    #[arg(long, value_name = "NAME")]
    dbname: Option<String>,
    /// How the connection between gateway and server is protected.
    #[arg(long, value_name = "MODE", value_parser = one_of::<TlsMode, 4>(TLS))]
    tls: Option<TlsMode>,
    /// The certificates, PEM, that sign the server's.
    #[arg(long, value_name = "FILE", conflicts_with = "public_authorities")]
    server_ca: Option<PathBuf>,
    /// Forget those certificates: public authorities sign the server's.
    #[arg(long)]
    public_authorities: bool,
    /// How many connections each instance of the platform may have to it at once.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    max_connections: Option<u32>,
}

pub(crate) fn run(databases: &Databases) -> Result<(), Failure> {
    Session::run(&databases.connection, async |session| match &databases.what {
        What::Ls => list(session).await,
        What::Show(named) => session.show(&named.path(NOUN), text).await,
        What::Add(flags) => add(session, flags).await,
        What::Change(flags) => change(session, flags).await,
        What::Rm(named) => {
            session.delete(&named.path(NOUN), &format!("deleted the database {}", named.name)).await
        }
        What::Test(Named { name }) => {
            let next = format!("adit secrets add NAME --database {name} --access read-only");
            session.test(NOUN, name, &next).await
        }
        What::Rotate(named) => rotate(session, named).await,
        What::Orphans(named) => orphans(session, named, false).await,
        What::Scan(named) => orphans(session, named, true).await,
        What::DropOrphan { name, username } => {
            let path = format!("{}/orphans/{}", path(NOUN, name), segment(username));
            session.delete(&path, &format!("dropped the user {username} of {name}")).await
        }
    })
}

async fn list(session: &Session) -> Result<(), Failure> {
    let row = |database: &Database| {
        let Database { name, project, gateway, admin_user, .. } = database;
        [name, project, gateway, &server(database), &word(&database.tls), admin_user].map(String::clone)
    };
    let header = ["name", "project", "gateway", "server", "tls", "admin user"];
    let none = "there is no database that you see; a project's administrator defines one: adit databases add NAME \
                tcp://HOST:PORT --project PROJECT --gateway GATEWAY --admin-user USER";
    session.list("/v1/databases", usize::MAX, header, row, none).await
}

async fn add(session: &Session, flags: &Add) -> Result<(), Failure> {
    let ca = flags.server_ca.as_deref().map(server_ca).transpose()?;
    let user = format!("the user {}", flags.admin_user);
    let password = typed::password(flags.admin_password_file.as_deref(), &user, "--admin-password-file")?;
    let mut new = NewDatabase {
        name: flags.name.clone(),
        project: flags.project.clone(),
        gateway: flags.gateway.clone(),
        host: flags.server.host.to_string(),
        port: flags.server.port,
        tls: flags.tls,
        ca,
        database: flags.dbname.clone(),
        admin_user: flags.admin_user.clone(),
        admin_password: password.to_string(),
        max_connections: flags.max_connections,
    };
    let done = session
        .post("/v1/databases", &new, |database: &Database| {
            format!("defined the database {0}\n next: adit databases test {0}", database.name)
        })
        .await;
    new.admin_password.zeroize();
    done
}

impl Change {
    /// Another user has another password, and where a login goes another way, the password is to be sent there.
    async fn needs_password(&self, session: &Session, change: &DatabaseChange) -> Result<bool, Failure> {
        if self.admin_user.is_some() || self.admin_password_file.is_some() {
            return Ok(true);
        }
        let leads_on = change.host.is_some() || change.gateway.is_some() || change.tls.is_some();
        if !leads_on && change.ca.is_none() {
            return Ok(false);
        }
        let before: Database = session.client.get(&self.named.path(NOUN)).await?;
        Ok(!before.keeps_password(&before.with(change)))
    }
}

async fn change(session: &Session, flags: &Change) -> Result<(), Failure> {
    let ca = match flags.public_authorities {
        true => Some(String::new()),
        false => flags.server_ca.as_deref().map(server_ca).transpose()?,
    };
    let mut change = DatabaseChange {
        gateway: flags.gateway.clone(),
        host: flags.server.as_ref().map(|server| server.host.to_string()),
        port: flags.server.as_ref().map(|server| server.port),
        tls: flags.tls,
        ca,
        database: flags.dbname.clone(),
        admin_user: flags.admin_user.clone(),
        admin_password: None,
        max_connections: flags.max_connections,
    };
    if flags.needs_password(session, &change).await? {
        let user = flags.admin_user.as_ref();
        let user = user.map_or_else(|| "the admin user".into(), |user| format!("the user {user}"));
        let file = flags.admin_password_file.as_deref();
        change.admin_password = Some(typed::password(file, &user, "--admin-password-file")?.to_string());
    }
    let done = session
        .patch(&flags.named.path(NOUN), &change, |database: &Database| {
            format!("changed the database {0}\n next: adit databases test {0}", database.name)
        })
        .await;
    change.admin_password.zeroize();
    done
}

async fn rotate(session: &Session, named: &Named) -> Result<(), Failure> {
    let path = format!("{}/rotate", named.path(NOUN));
    session
        .post(&path, &json!({}), |database: &Database| {
            let Database { name, admin_user, .. } = database;
            format!(
                "the user {admin_user} of {name} has a new password, which only the platform knows\n next: adit \
                 databases test {name}"
            )
        })
        .await
}

/// What the last scan has found; where it is wanted, after a new one.
async fn orphans(session: &Session, named: &Named, scan: bool) -> Result<(), Failure> {
    let name = &named.name;
    if scan {
        let _: Value = session.client.post(&format!("{}/scan", named.path(NOUN)), &json!({})).await?;
    }
    let row = |orphan: &Orphan| {
        let ours = if orphan.ours { "yes" } else { "not provably" };
        [orphan.username.clone(), ours.into(), ago(orphan.seen_at), orphan.finding.clone()]
    };
    let path = format!("{}/orphans", named.path(NOUN));
    let answer = Answer::<Vec<Orphan>>::list(&session.client, &path, usize::MAX).await?;
    let none = match scan {
        true => "no user is suspect".to_owned(),
        false => format!("no user is suspect; to look again: adit databases scan {name}"),
    };
    session.output.table(&answer, ["user", "ours", "first seen", "finding"], row, &none);
    if !answer.value.is_empty() {
        session
            .output
            .done(format_args!(" next: adit databases drop-orphan {name} USER drops one that is ours"));
    }
    Ok(())
}

fn server_ca(path: &std::path::Path) -> Result<String, Failure> {
    let pem = files::read(path, "the server's authority")?;
    String::from_utf8(pem).map_err(|_| Failure::config("it is no PEM").within(path))
}

fn server(database: &Database) -> String {
    match Target::new(&database.host, database.port) {
        Ok(target) => target.to_string(),
        Err(_) => format!("{}:{}", database.host, database.port),
    }
}

fn text(database: &Database) -> String {
    let signer = match (database.tls, &database.ca) {
        (TlsMode::Disable | TlsMode::Require, _) => "",
        (_, Some(_)) => ", authorities of its own",
        (_, None) => ", public authorities",
    };
    let lines = [
        ("id", database.id.clone()),
        ("project", database.project.clone()),
        ("gateway", database.gateway.clone()),
        ("server", server(database)),
        ("tls", format!("{}{signer}", word(&database.tls))),
        ("database", database.database.clone()),
        ("admin user", database.admin_user.clone()),
        ("password", format!("changed by the platform: {}", ago_or_never(database.rotated_at))),
        ("connections", format!("{} at most", database.max_connections)),
        ("made", ago(database.created_at)),
    ];
    sheet(&database.name, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_tls_are_those_of_the_api() {
        use clap::builder::TypedValueParser as _;
        let command = clap::Command::new("adit");
        for name in TLS {
            let mode = one_of::<TlsMode, 4>(TLS).parse_ref(&command, None, name.as_ref()).unwrap();
            assert_eq!(word(&mode), name);
        }
    }
}
