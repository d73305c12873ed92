//! `adit gateway install | uninstall | status`: the gateway as a service of this machine.
//!
//! 1. The token and the rules are read and checked, before anything is changed.
//! 2. The binary, the token, the file and the unit are put in place. If one of them fails, all are taken back.
//! 3. systemd is told, where it runs. `systemctl start adit-gateway` is all that is left to do.

mod paths;
mod status;
mod systemd;
mod undo;
mod uninstall;
mod unit;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use adit_core::gateway::TargetRule;
use adit_platform::client::Domain;
use adit_platform::trust::token::Kind;
use clap::Args;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::service::say;
use crate::token::EnrolmentToken;
use paths::Paths;
use systemd::Systemd;
use undo::Changes;
use unit::Unit;

pub(crate) use status::{Status, status};
pub(crate) use uninstall::{Uninstall, uninstall};

/// Executable by everyone.
const PROGRAM: u32 = 0o755;

/// Make the gateway a service of this machine, under systemd.
///
/// Puts the binary, the enrolment token, the gateway's file and a hardened unit in place. The unit runs the gateway
/// as a user of its own that may write nothing but its state. Running this again is harmless: it replaces the
/// binary, the unit and what is given anew. If a step fails, everything is as before.
#[derive(Debug, Args)]
#[command(after_help = r#"Examples:
  adit gateway install --token-file gw.token --domain platform.example:8443 --allow tcp://db.internal:5432
  adit gateway install --token - --domain platform.example:8443      # and paste the token
  systemctl start adit-gateway

An administrator makes the token, with: adit gateways enrol NAME --out gw.token"#)]
pub(crate) struct Install {
    #[command(flatten)]
    token: EnrolmentToken,
    /// The platform: its host, with a port, or its URL.
    #[arg(long, value_name = "URL", env = "ADIT_DOMAIN")]
    domain: Domain,
    /// A target that may be reached through this gateway, such as tcp://db.internal:5432, tcp://*.internal:5432 or
    /// tcp://10.1.0.0/16:5432. Can be given more than once. Without it, what the file allows already stays.
    #[arg(long, value_name = "RULE")]
    allow: Vec<TargetRule>,
    /// The authority to trust for the platform's certificate, PEM. The token names it, or it is publicly trusted,
    /// unless an administrator has told you otherwise.
    #[arg(long, value_name = "FILE", env = "ADIT_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Where the binary goes.
    #[arg(long, value_name = "DIR", default_value = "/usr/local/bin")]
    bin_dir: PathBuf,
    /// Install below this directory, into the image of a machine, instead of on this one.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

pub(crate) fn install(install: Install) -> Result<(), Failure> {
    let paths = Paths::new(install.root.as_deref())?;
    let systemd = Systemd::of(&paths);
    let mut changes = Changes::default();
    let found = put(&install, &paths, &mut changes)?;
    systemd.reload()?;
    systemd.enable()?;
    changes.keep();
    say(format_args!("{found}\n next: {}", next(&systemd)));
    Ok(())
}

/// Puts every file in its place. What is to be told about it.
fn put(install: &Install, paths: &Paths, changes: &mut Changes) -> Result<String, Failure> {
    let token = install.token.read(Kind::Gateway)?;
    let ca = install.ca_file.as_deref().map(|path| files::read(path, "the authority")).transpose()?;
    if token.is_none() && !paths.token().exists() {
        return Err(Failure::new(
            Exit::Usage,
            "an enrolment token is needed: --token-file FILE, or --token -",
        )
        .next("an administrator makes one with: adit gateways enrol NAME"));
    }
    let before = fs::read_to_string(paths.unit()).unwrap_or_default();
    let owned = put_binary(install, paths, &before, changes)?;
    if let Some(token) = token {
        changes.write(&paths.token(), &mut token.reveal().as_bytes(), files::SECRET)?;
    }
    if !install.allow.is_empty() || !paths.config().exists() {
        changes.write(&paths.config(), &mut config(&install.allow).as_bytes(), files::PUBLIC)?;
    }
    if let Some(ca) = &ca {
        changes.write(&paths.ca(), &mut ca.as_slice(), files::PUBLIC)?;
    }
    let binary = install.bin_dir.join("adit");
    let unit = Unit {
        binary: &binary,
        owned,
        domain: &install.domain.to_string(),
        config: Path::new(paths::CONFIG),
        token: Path::new(paths::TOKEN),
        ca: paths.ca().exists().then_some(Path::new(paths::CA)),
    };
    changes.write(&paths.unit(), &mut unit.text().as_bytes(), files::PUBLIC)?;
    Ok(told(paths, &binary))
}

/// Copies this very binary, unless it stands there already. Whether it goes with the service.
fn put_binary(
    install: &Install,
    paths: &Paths,
    before: &str,
    changes: &mut Changes,
) -> Result<bool, Failure> {
    let place = install.bin_dir.join("adit");
    if !place.is_absolute() {
        return Err(Failure::new(Exit::Usage, "--bin-dir must be an absolute path"));
    }
    let to = paths.below(&place);
    let own = std::env::current_exe().map_err(|error| no_binary(&error))?;
    if to.exists() && fs::canonicalize(&own).ok() == fs::canonicalize(&to).ok() {
        return Ok(unit::owns_binary(before) && unit::binary(before).as_deref() == place.to_str());
    }
    let mut from = File::open(&own).map_err(|error| no_binary(&error))?;
    changes.write(&to, &mut from, PROGRAM)?;
    Ok(true)
}

fn no_binary(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Other, format!("this program's own file can't be read: {error}"))
}

/// The gateway's file.
fn config(allow: &[TargetRule]) -> String {
    let rules: Vec<_> = allow.iter().map(|rule| format!("    \"{rule}\",\n")).collect();
    let list = if rules.is_empty() { "[]".into() } else { format!("[\n{}]", rules.concat()) };
    format!(
        r#"# What may be reached through this gateway. The platform can allow less, never more.
# Examples: "tcp://db.internal:5432", "tcp://*.internal:5432", "tcp://10.1.0.0/16:5432".
# After a change: systemctl restart adit-gateway
[targets]
allow = {list}
"#
    )
}

fn told(paths: &Paths, binary: &Path) -> String {
    format!(
        "installed the gateway\n binary  {}\n unit    {}\n token   {}\n targets {}",
        paths.below(binary).display(),
        paths.unit().display(),
        paths.token().display(),
        paths.config().display()
    )
}

fn next(systemd: &Systemd) -> String {
    match systemd {
        Systemd::Absent if sd_notify::booted().is_ok_and(|booted| booted) => {
            "boot the image; systemd starts the gateway".into()
        }
        Systemd::Absent => {
            "systemd does not run here; where it does: systemctl enable --now adit-gateway".into()
        }
        Systemd::Here if systemd.is_active() => "systemctl restart adit-gateway".into(),
        Systemd::Here => "systemctl start adit-gateway, then: adit gateway status".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_file_holds_the_rules() {
        let rules = ["tcp://db.internal:5432".parse().unwrap(), "tcp://10.1.0.0/16:5432".parse().unwrap()];
        for rules in [&rules[..], &[]] {
            let file: toml::Table = config(rules).parse().unwrap();
            assert_eq!(file["targets"]["allow"].as_array().unwrap().len(), rules.len());
        }
    }
}
