//! `adit login`, `logout`, `whoami`: who the commands of the platform are given as.
//!
//! 1. [`stored`] keeps URL, authority and token of one platform in a file of the user's.
//! 2. [`Connection`] is the flags that every command of the platform takes, which beat the file.

mod stored;

use std::path::PathBuf;

use adit_core::time::UnixTime;
use adit_platform::client::{Client, Domain, Skew, Trust};
use adit_platform::trust::token::{Kind, Token};
use adit_platform::words::{Role, Whoami};
use clap::Args;

use crate::admin::{Answer, Output};
use crate::exit::{Exit, Failure};
use crate::service::{self, say};
use crate::{files, token, when};
use stored::Stored;

/// Log in to a platform.
///
/// Asks for a token, or reads it from a file, tries it, and keeps it with the platform's URL and authority in
/// $XDG_CONFIG_HOME/adit/login.json (or in $ADIT_CONFIG_DIR), which nobody else may read. All other commands of the
/// platform then go there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit login --domain platform.example:8443                          # and paste the token
  adit login --domain platform.example:8443 --token-file admin.token
  adit whoami")]
pub(crate) struct Login {
    /// The platform: its host, with a port, or its URL.
    #[arg(long, value_name = "URL", env = "ADIT_DOMAIN")]
    domain: Domain,
    /// A file whose first line is the token; `-` is standard input.
    #[arg(long, value_name = "FILE", env = "ADIT_TOKEN_FILE", default_value = "-")]
    token_file: PathBuf,
    /// The authority to trust for the platform's certificate, PEM, where neither the token names it nor the
    /// operating system knows it.
    #[arg(long, value_name = "FILE", env = "ADIT_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// Forget the platform, its authority and the token.
///
/// The token itself stays good until it is revoked: adit identities tokens revoke.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  adit logout")]
pub(crate) struct Logout;

/// Tell who one is to the platform, and what one may do.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  adit whoami --json")]
pub(crate) struct WhoamiArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Which platform is meant, and as whom. Without these flags: as `adit login` has it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The platform: its host, with a port, or its URL. Without it, the one of `adit login`.
    #[arg(long, global = true, value_name = "URL", env = "ADIT_DOMAIN", help_heading = "Platform")]
    domain: Option<Domain>,
    /// A file whose first line is the token of an identity. Without it, the one of `adit login`.
    #[arg(long, global = true, value_name = "FILE", env = "ADIT_TOKEN_FILE", help_heading = "Platform")]
    token_file: Option<PathBuf>,
    /// The authority to trust for the platform's certificate, PEM.
    #[arg(long, global = true, value_name = "FILE", env = "ADIT_CA_FILE", help_heading = "Platform")]
    ca_file: Option<PathBuf>,
}

/// To which platform a command goes, as whom, and how it tells the answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    #[command(flatten)]
    place: Place,
    /// Print exactly the JSON of the platform's API, for programs.
    #[arg(long, global = true, help_heading = "Platform")]
    json: bool,
}

pub(crate) fn login(login: &Login) -> Result<(), Failure> {
    let ca = login.ca_file.as_deref().map(|path| files::read(path, "the authority")).transpose()?;
    let token = token::read(&login.token_file, Kind::Identity)?;
    service::block_on(async {
        let (client, ca) = first_contact(login.domain.clone(), ca, &token).await?;
        let client = client.with_token(&token.reveal());
        let whoami: Whoami = client.get("/v1/whoami").await?;
        warn_of_skew(&whoami);
        let stored =
            Stored { url: login.domain.to_string(), ca, token: token.reveal().as_str().to_owned().into() };
        stored.save()?;
        say(format_args!("logged in to {} as {}\n next: {}", login.domain, describe(&whoami), next(&whoami)));
        Ok(())
    })
}

pub(crate) fn logout() -> Result<(), Failure> {
    match Stored::forget()? {
        true => say(format_args!("logged out; the token is good until it is revoked")),
        false => say(format_args!("nobody was logged in")),
    }
    Ok(())
}

pub(crate) fn whoami(arguments: &WhoamiArgs) -> Result<(), Failure> {
    service::block_on(async {
        let (client, output) = arguments.connection.open().await?;
        let answer: Answer<Whoami> = Answer::get(&client, "/v1/whoami").await?;
        warn_of_skew(&answer.value);
        output.show(&answer, |whoami| {
            let mut text = format!("{}\n at {}", describe(whoami), client.domain());
            for of in &whoami.projects {
                text += &format!("\n project {} as {}", of.project, crate::admin::word(&of.role));
            }
            text
        });
        Ok(())
    })
}

impl Connection {
    /// A client with its token, and how its answers are to be shown.
    pub(crate) async fn open(&self) -> Result<(Client, Output), Failure> {
        Ok((self.place.client().await?, Output { json: self.json }))
    }
}

impl Place {
    /// A client with its token.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let stored = self.stored()?;
        let domain = match (&self.domain, &stored) {
            (Some(domain), _) => domain.clone(),
            (None, Some(stored)) => stored.domain()?,
            (None, None) => return Err(not_logged_in("the platform is not known")),
        };
        let token = match (&self.token_file, &stored) {
            (Some(path), _) => token::read(path, Kind::Identity)?,
            (None, Some(stored)) => token::parse(&stored.token, Kind::Identity)?,
            (None, None) => return Err(not_logged_in(&format!("there is no token for {domain}"))),
        };
        let ca = match &self.ca_file {
            Some(path) => Some(files::read(path, "the authority")?),
            None => stored.and_then(|stored| stored.ca).map(String::into_bytes),
        };
        let (client, _) = first_contact(domain, ca, &token).await?;
        Ok(client.with_token(&token.reveal()))
    }

    /// What was stored for the platform that is meant. It is not looked for where flags say it all.
    fn stored(&self) -> Result<Option<Stored>, Failure> {
        let stored = Stored::load()?;
        Ok(match &self.domain {
            Some(domain) => stored.filter(|stored| stored.url == domain.to_string()),
            None => stored,
        })
    }
}

/// A client that trusts `ca`, or whom the token names, or public authorities; and what it trusts, where that is to be
/// kept.
async fn first_contact(
    domain: Domain,
    ca: Option<Vec<u8>>,
    token: &Token,
) -> Result<(Client, Option<String>), Failure> {
    if let Some(pem) = ca {
        let client = Client::new(domain, &Trust::from_pem(&pem)?)?;
        return Ok((client, String::from_utf8(pem).ok()));
    }
    let Some(pin) = token.pin() else { return Ok((Client::new(domain, &Trust::Public)?, None)) };
    let stranger = Client::new(domain.clone(), &Trust::Pinned(pin))?;
    let pem = stranger.pinned_ca(&pin).await?;
    Ok((Client::new(domain, &Trust::from_pem(pem.as_bytes())?)?, Some(pem)))
}

fn not_logged_in(what: &str) -> Failure {
    Failure::new(Exit::Usage, what)
        .next("log in with: adit login --domain URL; or give --domain URL and --token-file FILE")
}

fn describe(whoami: &Whoami) -> String {
    let Whoami { identity, organisation, .. } = whoami;
    let roles: Vec<_> = identity.roles.iter().map(crate::admin::word).collect();
    let roles = if roles.is_empty() { "no role in it".into() } else { roles.join(", ") };
    match organisation.as_str() {
        "installation" => format!("{} of the installation ({roles})", identity.name),
        organisation => format!("{} of {organisation} ({roles})", identity.name),
    }
}

fn next(whoami: &Whoami) -> &'static str {
    match whoami.identity.roles.first() {
        Some(Role::Operator) => "adit relays add NAME turn:HOST:3478 --out FILE",
        Some(Role::Admin) => "adit gateways add NAME --out FILE",
        Some(Role::Auditor) => "adit audit ls",
        None => "adit links ls, then: adit forward TARGET --gateway NAME",
    }
}

fn warn_of_skew(whoami: &Whoami) {
    let UnixTime(local) = when::now();
    if let Some(seconds) = Skew::between(local, whoami.server_time).intolerable() {
        tracing::warn!(seconds, "this machine's clock is not the platform's: certificates may be refused");
    }
}
