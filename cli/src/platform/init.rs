//! `adit platform init`.

use std::path::{Path, PathBuf};

use adit_core::pki::Name;
use adit_core::turn::uri::RelayUri;
use adit_platform::clock::Clock;
use adit_platform::init::{self as platform, InitError, OPERATOR, Options};
use clap::Args;

use super::{Place, first, not_opened};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::log::tell;
use crate::service::{self, say};

/// Make a new platform: root keys, database, authorities, an operator and a first organisation.
///
/// Shows two tokens, this once: the operator's, for organisations and shared relays, and that of the administrator of
/// the first organisation. With --tokens-dir they go to files that nobody else may read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit platform init --public-url https://platform.example:8443
  adit platform init --dir platform --tokens-dir . --relay turn:127.0.0.1:3478 --gateway gw-1   # to try it out
  adit platform init --public-url https://platform.example:8443 --database-file /etc/adit/database")]
pub(crate) struct Init {
    #[command(flatten)]
    place: Place,
    /// The URL by which agents and people will reach the platform.
    #[arg(long, value_name = "URL", env = "ADIT_PUBLIC_URL", default_value = "https://localhost:8443")]
    public_url: String,
    /// The name of the installation, as certificates carry it; the host of the URL without it.
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<String>,
    /// The first organisation, for good: 1 to 64 of letters, digits, `.`, `_`, `-`.
    #[arg(long, value_name = "NAME", default_value = "main")]
    organisation: String,
    /// The administrator of the first organisation.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    admin: String,
    /// The platform will be started with a certificate that is publicly trusted (--tls-cert), or stand behind a proxy
    /// that has one: tokens then name no authority.
    #[arg(long)]
    public_certificate: bool,
    /// Write the tokens into this directory, as operator.token, admin.token and so on, instead of to standard output.
    #[arg(long, value_name = "DIR")]
    tokens_dir: Option<PathBuf>,
    /// Make a shared relay too, `relay-1`, that gateways reach by this URL, and a token for it.
    #[arg(long, value_name = "URL", requires = "tokens_dir")]
    relay: Option<RelayUri>,
    /// Make a gateway of the organisation too, and a token for its first instance.
    #[arg(long, value_name = "NAME", requires = "tokens_dir")]
    gateway: Option<Name>,
}

pub(crate) fn run(flags: &Init) -> Result<(), Failure> {
    if let Some(directory) = &flags.tokens_dir {
        std::fs::create_dir_all(directory).map_err(|error| {
            Failure::new(Exit::Other, format!("{} can't be made: {error}", directory.display()))
        })?;
        ["operator", "admin", "relay", "gateway"]
            .iter()
            .try_for_each(|name| files::must_be_absent(&file(directory, name)))?;
    }
    service::block_on(async {
        let options = Options {
            trust_domain: flags.trust_domain.clone(),
            admin: flags.admin.clone(),
            pinned: !flags.public_certificate,
            database: flags.place.database.url()?,
            ..Options::new(&flags.public_url, &flags.organisation)
        };
        let made = platform::init(&flags.place.dir, &options, Clock::system()).await;
        let made = made.map_err(|error| not_made(&error))?;
        let further = first::make(&flags.place, &made.admin_token, flags).await?;
        let mut tokens = vec![("operator", &made.operator_token), ("admin", &made.admin_token)];
        tokens.extend(further.iter().map(|(name, token)| (*name, token)));
        match &flags.tokens_dir {
            Some(directory) => {
                let names: Vec<_> = tokens.iter().map(|(name, _)| *name).collect();
                for (name, token) in &tokens {
                    files::create(&file(directory, name), &format!("{}\n", token.as_str()), files::SECRET)?;
                }
                say(format_args!("{}", flags.told(&made, &names)));
            }
            None => {
                tell(format_args!("{}", flags.told(&made, &[])));
                for (name, token) in &tokens {
                    tell(format_args!("the token of {}, which is shown this once:", flags.whose(name)));
                    say(format_args!("{}", token.as_str()));
                }
            }
        }
        Ok(())
    })
}

impl Init {
    /// The name of the gateway that is to be made.
    pub(super) fn gateway(&self) -> Option<&Name> {
        self.gateway.as_ref()
    }

    /// By what the relay that is to be made is reached.
    pub(super) fn relay(&self) -> Option<&RelayUri> {
        self.relay.as_ref()
    }

    /// The first organisation.
    pub(super) fn organisation(&self) -> &str {
        &self.organisation
    }

    fn whose(&self, name: &str) -> String {
        match name {
            "operator" => format!("{OPERATOR}, who makes organisations and shared relays"),
            _ => format!("{}, who administers {}", self.admin, self.organisation),
        }
    }

    fn told(&self, made: &platform::Init, tokens: &[&str]) -> String {
        let dir = self.place.dir.display();
        let mut text = format!(
            "made the platform {} in {dir}, which will be reached at {}\n keep a copy of {}, apart from backups: without \
             it they can't be read",
            made.trust_domain,
            made.public_url,
            made.root_keys.display()
        );
        if let Some(directory) = &self.tokens_dir {
            for name in tokens {
                text += &format!("\n token   {}", file(directory, name).display());
            }
        }
        let certificate = if self.public_certificate { " --tls-cert FILE --tls-key FILE" } else { "" };
        let port =
            made.public_url.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(443);
        let listen = if port == 8443 { String::new() } else { format!(" --listen 0.0.0.0:{port}") };
        let database = self.place.database.flags();
        text += &format!("\n next: adit platform start --dir {dir}{listen}{database}{certificate}");
        text + &self.then(&made.public_url)
    }

    /// What follows once the platform runs.
    fn then(&self, url: &str) -> String {
        let Some(directory) = &self.tokens_dir else { return String::new() };
        let file = |name| file(directory, name).display().to_string();
        let mut text = String::new();
        if self.relay.is_some() {
            text += &format!("\n then: adit relay start --token-file {} --domain {url}", file("relay"));
        }
        if let Some(name) = &self.gateway {
            text += &format!(
                "\n then: adit gateway start --token-file {} --domain {url} --allow tcp://HOST:PORT\n then: adit gateways \
                 show {name} --wait --token-file {} --domain {url}",
                file("gateway"),
                file("admin")
            );
        }
        text
    }
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.token"))
}

fn not_made(error: &InitError) -> Failure {
    match error {
        InitError::PublicUrl(_) | InitError::Name(..) | InitError::Reserved => {
            Failure::new(Exit::Usage, error)
        }
        InitError::Open(error) => not_opened(error),
        InitError::Authority(_) => Failure::new(Exit::Other, error),
    }
}
