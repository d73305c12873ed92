//! `turnload`, built and run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::server::Running;
use crate::say;

/// The core that it runs on; the server has the one before.
const CORE: &str = "1";
/// The address of its clients: all ports of the server's address are left to the server.
const CLIENTS: &str = "127.0.0.2";

/// The program.
#[derive(Debug)]
pub(super) struct Generator {
    program: PathBuf,
}

impl Generator {
    /// Builds it. It is a package of its own: see its manifest.
    ///
    /// # Errors
    /// When it does not compile.
    pub(super) fn build() -> Result<Self> {
        say("building the load generator …");
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("turnload");
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/turnload");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]);
        cargo.arg(package.join("Cargo.toml")).arg("--target-dir").arg(&target);
        ensure!(cargo.status().context("cannot run cargo")?.success(), "the load generator does not compile");
        Ok(Self { program: target.join("release/turnload") })
    }

    /// Where it is: it is also the bare forwarders.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Loads a server, and returns the report.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub(super) fn run(&self, arguments: &[String], server: &Running, is_pinned: bool) -> Result<Value> {
        let mut generator = Command::new(&self.program);
        generator.args(arguments).args(server.generator_arguments()).args(["--bind", CLIENTS]);
        if is_pinned {
            generator.args(["--cpu", CORE]);
        }
        let output = generator.stdin(Stdio::null()).output().context("cannot run turnload")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("turnload reports something else than JSON")
    }
}
