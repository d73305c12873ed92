//! `adit secrets`: of what kind the users are that leases make.

use std::path::PathBuf;

use adit_platform::words::{Access, NewSecret, Owned, RevokedLeases, Secret};
use clap::{Args, Subcommand};
use serde_json::json;

use super::definition::{Definition, Passwords, one_of};
use super::output::{ago, ago_or_never, joined, sheet};
use super::session::{Named, Session};
use super::{Answer, word};
use crate::exit::Failure;
use crate::login::Connection;
use crate::when;

const NOUN: &str = "secrets";
const ACCESS: [&str; 3] = ["read-only", "read-write", "custom"];
const OWNED: [&str; 2] = ["reassign", "drop"];

/// Dynamic secrets: each lease of one is a PostgreSQL user of its own, which lives as long as it is needed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit secrets add shop-ro --database shop-db --access read-only --schema public
  adit secrets test shop-ro
  adit run --secret shop-ro -- psql

A definition in a file (adit secrets add NAME --file FILE) has the fields of the API, in TOML or, where the file's name \
ends in .json, JSON; times are seconds. Each statement is one element of its array:
  database = 'shop-db'
  access = 'custom'
  creation = [
    'CREATE ROLE {{username}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}}',
    'GRANT reporting TO {{username}}',
  ]
  max_ttl = 28800")]
pub(crate) struct Secrets {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the dynamic secrets that one sees.
    Ls,
    /// Show a dynamic secret.
    Show(Named),
    /// Define a dynamic secret, by flags, by a file, or by a file and flags that beat it.
    ///
    /// For read-only and read-write the server is prepared at once, where it is reached: a group role gets the rights,
    /// and each user will be in it.
    Add(Box<Add>),
    /// Delete a dynamic secret, of which no lease may live any more.
    Rm(Named),
    /// Look whether leases would work, and try the statements in a transaction that is rolled back. The exit status
    /// tells.
    Test(Named),
    /// Make the group role with its rights on the server, or bring it up to date.
    Prepare(Named),
    /// Revoke every lease of a dynamic secret.
    RevokeLeases(Named),
}

#[derive(Debug, Args)]
struct Add {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    name: String,
    /// A definition, which flags beat: TOML, or JSON where its name ends so.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The database's name or id.
    #[arg(long, value_name = "NAME", required_unless_present = "file")]
    database: Option<String>,
    /// What its users may do [default: custom where there are creation statements].
    #[arg(
        long,
        value_name = "WHAT",
        value_parser = one_of::<Access, 3>(ACCESS),
        required_unless_present_any = ["file", "creation"]
    )]
    access: Option<Access>,
    /// In which database on the server [default: the one that `adit databases` names].
    #[arg(long, value_name = "NAME")]
    dbname: Option<String>,
    /// A schema that read-only and read-write are about; may be repeated [default: public].
    #[arg(long = "schema", value_name = "NAME")]
    schemas: Vec<String>,
    /// A statement that makes a user, with {{username}}, {{password}}, {{expiration}}; may be repeated.
    #[arg(long, value_name = "SQL")]
    creation: Vec<String>,
    /// A statement that lengthens its life; may be repeated [default: ALTER ROLE … VALID UNTIL …].
    #[arg(long, value_name = "SQL")]
    renewal: Vec<String>,
    /// A statement that runs before the user is dropped; may be repeated.
    #[arg(long, value_name = "SQL")]
    revocation: Vec<String>,
    /// What becomes of objects that a user owns: they go to a role without rights, or are dropped [default: reassign].
    ///
    /// That role, the heir, is one for each admin user of a server, and so the same for all secrets of its databases:
    /// what a user leaves behind runs with the heir's rights, which are those on what other users have left behind, of
    /// whichever secret. Views stop working, since they read with the rights of their owner, and the heir has none on
    /// the tables of others. The admin user may give what is to stay in use to another role (ALTER … OWNER TO …).
    #[arg(long, value_name = "WHAT", value_parser = one_of::<Owned, 2>(OWNED))]
    owned: Option<Owned>,
    /// How users are named: text with {{random}}, {{unix_time}}, {{identity}}, {{secret}}.
    #[arg(long, value_name = "TEMPLATE")]
    username_template: Option<String>,
    /// Life of a lease that does not ask for another, such as 30m or 12h [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = when::parse_span)]
    ttl: Option<u64>,
    /// The longest life of a lease with all its renewals [default: 1d].
    #[arg(long, value_name = "TIME", value_parser = when::parse_span)]
    max_ttl: Option<u64>,
    /// How many leases may live at once: 1 to 10000 [default: 1000].
    #[arg(long, value_name = "COUNT")]
    max_leases: Option<u32>,
    #[command(flatten)]
    passwords: Passwords,
}

pub(crate) fn run(secrets: &Secrets) -> Result<(), Failure> {
    Session::run(&secrets.connection, async |session| match &secrets.what {
        What::Ls => list(session).await,
        What::Show(named) => session.show(&named.path(NOUN), text).await,
        What::Add(flags) => session.post("/v1/secrets", &flags.definition()?, defined).await,
        What::Rm(named) => {
            session.delete(&named.path(NOUN), &format!("deleted the dynamic secret {}", named.name)).await
        }
        What::Test(Named { name }) => {
            session.test(NOUN, name, &format!("adit run --secret {name} -- psql")).await
        }
        What::Prepare(named) => prepare(session, named).await,
        What::RevokeLeases(named) => revoke_leases(session, named).await,
    })
}

impl Add {
    fn definition(&self) -> Result<NewSecret, Failure> {
        let mut new = Definition::begin(self.file.as_deref())?;
        let custom = (!self.creation.is_empty()).then_some(Access::Custom);
        new.set("name", Some(&self.name)).set("database", self.database.as_ref());
        new.set("access", self.access.or(custom)).set("dbname", self.dbname.as_ref());
        new.list("schemas", &self.schemas).list("creation", &self.creation);
        new.list("renewal", &self.renewal).list("revocation", &self.revocation);
        new.set("owned", self.owned).set("username_template", self.username_template.as_ref());
        new.set("default_ttl", self.ttl).set("max_ttl", self.max_ttl).set("max_leases", self.max_leases);
        self.passwords.set(&mut new);
        new.finish()
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let row = |secret: &Secret| {
        let Secret { name, project, database, .. } = secret;
        let prepared =
            if secret.access == Access::Custom { "-".into() } else { ago_or_never(secret.prepared_at) };
        let lives = format!("{} of {}", when::span(secret.default_ttl), when::span(secret.max_ttl));
        [name.clone(), project.clone(), database.clone(), word(&secret.access), lives, prepared]
    };
    let header = ["name", "project", "database", "access", "life", "prepared"];
    let none = "there is no dynamic secret that you see; a project's administrator defines one: adit secrets add NAME \
                --database DATABASE --access read-only";
    session.list("/v1/secrets", usize::MAX, header, row, none).await
}

fn defined(secret: &Secret) -> String {
    let Secret { name, access, prepared_at, .. } = secret;
    let next = match (access, prepared_at) {
        (Access::ReadOnly | Access::ReadWrite, None) => {
            format!(
                "adit secrets prepare {name} makes its group role on the server, which could not be done now, and says \
                 why"
            )
        }
        _ => format!("adit secrets test {name}"),
    };
    format!("defined the dynamic secret {name}\n next: {next}")
}

async fn prepare(session: &Session, named: &Named) -> Result<(), Failure> {
    let path = format!("{}/prepare", named.path(NOUN));
    session
        .post(&path, &json!({}), |secret: &Secret| {
            let group = secret.group.as_deref().unwrap_or("-");
            format!(
                "the server is prepared for {0}: its users will be in the role {group}\n next: adit secrets test {0}",
                secret.name
            )
        })
        .await
}

async fn revoke_leases(session: &Session, named: &Named) -> Result<(), Failure> {
    let path = format!("{}/leases", named.path(NOUN));
    let answer = Answer::<RevokedLeases>::remove(&session.client, &path).await?;
    session.output.show(&answer, |revoked| {
        format!(
            "leases of {1} that are revoked now: {}\n next: adit leases ls --secret {1} shows how far that is",
            revoked.revoking, named.name
        )
    });
    Ok(())
}

fn text(secret: &Secret) -> String {
    let checked = if secret.pre_hashed { "SCRAM verifiers" } else { "the passwords themselves" };
    let signs = match secret.password.symbols.as_str() {
        "" => String::new(),
        signs => format!(" and {signs}"),
    };
    let lines = [
        ("id", secret.id.clone()),
        ("project", secret.project.clone()),
        ("database", secret.database.clone()),
        ("access", word(&secret.access)),
        ("on", secret.dbname.clone().unwrap_or_else(|| "the database's own".into())),
        ("schemas", joined(&secret.schemas)),
        ("group role", secret.group.clone().unwrap_or_else(|| "-".into())),
        ("prepared", ago_or_never(secret.prepared_at)),
        ("users", secret.username_template.clone()),
        ("what they own", word(&secret.owned)),
        (
            "passwords",
            format!("{} letters, digits{signs}; the server gets {checked}", secret.password.length),
        ),
        ("life", format!("{}, with renewals {}", when::span(secret.default_ttl), when::span(secret.max_ttl))),
        ("leases", format!("{} at most", secret.max_leases)),
        ("made", ago(secret.created_at)),
    ];
    let mut text = sheet(&secret.name, lines);
    for (name, statements) in
        [("creation", &secret.creation), ("renewal", &secret.renewal), ("revocation", &secret.revocation)]
    {
        for statement in statements {
            text += &format!("\n {name}: {statement}");
        }
    }
    text
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
    fn statements_alone_make_a_custom_secret() {
        let line = "add|s|--database|d|--creation|CREATE ROLE {{username}}|--creation|GRANT a|--ttl|30m";
        let new = parse(line).unwrap().definition().unwrap();
        assert_eq!((new.access, new.creation.len(), new.default_ttl), (Access::Custom, 2, 1800));
        let plain = parse("add|s|--database|d|--access|read-only|--plain-passwords|--owned|drop").unwrap();
        let plain = plain.definition().unwrap();
        assert_eq!((plain.access, plain.owned, plain.pre_hashed), (Access::ReadOnly, Owned::Drop, false));
    }

    #[test]
    fn what_must_be_said_is_asked_for() {
        for line in ["add|s|--access|read-only", "add|s|--database|d", "add|s|--database|d|--access|all"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("add|s|--file|f").is_ok());
    }

    #[test]
    fn every_word_is_one_of_the_api() {
        for name in ACCESS {
            assert!(parse(&format!("add|s|--database|d|--access|{name}")).is_ok());
        }
        for name in OWNED {
            assert!(parse(&format!("add|s|--database|d|--access|custom|--owned|{name}")).is_ok());
        }
    }
}
