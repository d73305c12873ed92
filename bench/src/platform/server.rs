//! The platform that is measured: a process of its own, so that its CPU time and memory are its alone.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adit_platform::client::{Client, Trust};
use adit_platform::clock::Clock;
use adit_platform::config::{Config, DatabaseUrl, Rate};
use adit_platform::init::{Options as Installation, init};
use adit_platform::server::Platform;
use anyhow::{Context, Result, bail};
use clap::ValueEnum as _;
use ipnet::IpNet;

use crate::usage::Usage;

/// How the measured platform is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    dir: PathBuf,
    #[arg(long, value_enum)]
    kind: Kind,
    #[arg(long, env = "ADIT_BENCH_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// For what the platform is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// As everywhere.
    Usual,
    /// Everything is on this machine, and is looked at every second.
    Local,
}

/// Serves until it is killed. All agents come from one address here, so the limit for each address is lifted.
pub(crate) fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut config = Config::new(options.dir, (Ipv4Addr::LOCALHOST, 0).into());
        config.database = options.database.map(DatabaseUrl);
        config.limits.first_contact = Rate { burst: 1_000_000, per_minute: 100_000_000 };
        if options.kind == Kind::Local {
            let second = Duration::from_secs(1);
            (config.times.heartbeat, config.times.ping, config.times.duties) = (second, second, second);
            config.connector_bind = Ipv4Addr::LOCALHOST.into();
            config.relay_peer_networks = vec![IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))];
        }
        let mut platform = Platform::start(config).await?;
        println!("{}", platform.address());
        Ok(platform.ended().await?)
    })
}

/// The process, and clients for it.
pub(crate) struct Server {
    process: Child,
    admin: Client,
    operator: Client,
    anonymous: Client,
}

impl Server {
    /// Makes an installation in `directory` and serves it.
    ///
    /// # Errors
    /// When there can be none.
    pub(crate) async fn start(directory: &Path, database: Option<&str>, kind: Kind) -> Result<Self> {
        let dir = directory.join("platform");
        let mut options = Installation::new("https://127.0.0.1", "bench");
        options.database = database.map(|url| DatabaseUrl(url.to_owned()));
        let made = init(&dir, &options, Clock::system()).await?;

        let mut serve = Command::new(std::env::current_exe()?);
        let kind = kind.to_possible_value().context("every kind has a name")?;
        serve
            .arg("serve-platform")
            .arg(&dir)
            .args(["--kind", kind.get_name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        serve.envs(database.map(|url| ("ADIT_BENCH_DATABASE", url)));
        let log = directory.join("platform.log");
        let mut process =
            serve.stderr(fs::File::create(&log)?).spawn().context("the platform can't be started")?;
        let mut address = String::new();
        let output = process.stdout.take().context("its output is a pipe")?;
        BufReader::new(output).read_line(&mut address)?;
        let Ok(domain) = format!("https://{}", address.trim()).parse() else {
            bail!("the platform does not come up:\n{}", fs::read_to_string(&log).unwrap_or_default());
        };
        let anonymous = Client::new(domain, &Trust::from_pem(made.platform_ca.as_bytes())?)?;
        let admin = anonymous.with_token(&made.admin_token);
        let operator = anonymous.with_token(&made.operator_token);
        Ok(Self { process, admin, operator, anonymous })
    }

    /// A client with an administrator's token.
    pub(crate) fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// A client with an operator's token.
    pub(crate) fn operator(&self) -> Client {
        self.operator.clone()
    }

    /// A client without a token.
    pub(crate) fn anonymous(&self) -> Client {
        self.anonymous.clone()
    }

    /// What the process has used until now.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}
