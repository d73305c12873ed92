//! The platform that is measured: a process of its own, so that its CPU time and memory are its alone.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use adit_platform::client::{Client, Trust};
use adit_platform::clock::Clock;
use adit_platform::config::{Config, DatabaseUrl, Rate};
use adit_platform::init::{Options as Installation, init};
use adit_platform::server::Platform;
use anyhow::{Context, Result};

use crate::usage::Usage;

/// How the measured platform is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    dir: PathBuf,
    #[arg(long, env = "ADIT_BENCH_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// Serves until it is killed. All agents come from one address here, so the limit for each address is lifted.
pub(crate) fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut config = Config::new(options.dir, (Ipv4Addr::LOCALHOST, 0).into());
        config.database = options.database.map(DatabaseUrl);
        config.limits.first_contact = Rate { burst: 1_000_000, per_minute: 100_000_000 };
        let mut platform = Platform::start(config).await?;
        println!("{}", platform.address());
        Ok(platform.ended().await?)
    })
}

/// The process, and clients for it.
pub(super) struct Server {
    process: Child,
    admin: Client,
    anonymous: Client,
}

impl Server {
    /// Makes an installation in `directory` and serves it.
    ///
    /// # Errors
    /// When there can be none.
    pub(super) async fn start(directory: &Path, database: Option<&str>) -> Result<Self> {
        let dir = directory.join("platform");
        let mut options = Installation::new("https://127.0.0.1", "bench");
        options.database = database.map(|url| DatabaseUrl(url.to_owned()));
        let made = init(&dir, &options, Clock::system()).await?;

        let mut serve = Command::new(std::env::current_exe()?);
        serve.arg("serve-platform").arg(&dir).stdin(Stdio::null()).stdout(Stdio::piped());
        serve.envs(database.map(|url| ("ADIT_BENCH_DATABASE", url)));
        let log = fs::File::create(directory.join("platform.log"))?;
        let mut process = serve.stderr(log).spawn().context("the platform can't be started")?;
        let mut address = String::new();
        let output = process.stdout.take().context("its output is a pipe")?;
        BufReader::new(output).read_line(&mut address)?;
        let domain =
            format!("https://{}", address.trim()).parse().context("the platform does not come up")?;
        let anonymous = Client::new(domain, &Trust::from_pem(made.platform_ca.as_bytes())?)?;
        let admin = anonymous.with_token(&made.admin_token);
        Ok(Self { process, admin, anonymous })
    }

    /// A client with an administrator's token.
    pub(super) fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// A client without a token.
    pub(super) fn anonymous(&self) -> Client {
        self.anonymous.clone()
    }

    /// What the process has used until now.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}
