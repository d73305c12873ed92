//! systemd, where it runs and is meant.

use std::process::{Command, Stdio};

use super::paths::Paths;
use super::unit;
use crate::exit::{Exit, Failure};

/// Whether there is a systemd to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Systemd {
    /// It runs this machine.
    Here,
    /// Another machine's files are meant, or something else runs this one.
    Absent,
}

impl Systemd {
    pub(super) fn of(paths: &Paths) -> Self {
        match paths.is_here() && sd_notify::booted().is_ok_and(|booted| booted) {
            true => Self::Here,
            false => Self::Absent,
        }
    }

    /// Makes it read its units.
    pub(super) fn reload(self) -> Result<(), Failure> {
        self.tell(&["daemon-reload"])
    }

    /// Starts the gateway with the machine from now on.
    pub(super) fn enable(self) -> Result<(), Failure> {
        self.tell(&["enable", "--quiet", unit::NAME])
    }

    /// Stops the gateway, and starts it no more.
    pub(super) fn disable(self) -> Result<(), Failure> {
        self.tell(&["disable", "--quiet", "--now", unit::NAME])
    }

    /// Whether the gateway runs.
    pub(super) fn is_active(self) -> bool {
        let asked = || Command::new("systemctl").args(["is-active", "--quiet", unit::NAME]).status();
        self == Self::Here && asked().is_ok_and(|status| status.success())
    }

    /// The values of `properties` of the gateway's unit, in their order.
    pub(super) fn properties<const N: usize>(self, properties: [&str; N]) -> Option<[String; N]> {
        if self == Self::Absent {
            return None;
        }
        let list = format!("--property={}", properties.join(","));
        let output = Command::new("systemctl").args(["show", unit::NAME, &list]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(properties.map(|property| {
            let value = |line: &str| Some(line.strip_prefix(property)?.strip_prefix('=')?.to_owned());
            text.lines().find_map(value).unwrap_or_default()
        }))
    }

    fn tell(self, arguments: &[&str]) -> Result<(), Failure> {
        if self == Self::Absent {
            return Ok(());
        }
        let command = format!("systemctl {}", arguments.join(" "));
        let output = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(Failure::new(Exit::Other, format!("{command} failed: {}", said.trim())))
            }
            Err(error) => Err(Failure::new(Exit::Other, format!("{command} can't be run: {error}"))),
        }
    }
}
