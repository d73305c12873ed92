//! `adit gateway status`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::paths::Paths;
use super::systemd::Systemd;
use super::unit;
use crate::exit::{Exit, Failure};
use crate::service::say;

/// Tell how the gateway's service on this machine is.
///
/// The exit status is 0 while it runs. What the platform knows of it, an administrator sees with
/// `adit gateways show NAME`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  adit gateway status --json")]
pub(crate) struct Status {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Look below this directory, into the image of a machine, instead of at this one.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// What is known of the service.
#[derive(Debug, Serialize)]
struct Found {
    /// Whether the unit is there.
    installed: bool,
    /// systemd's word for how it is: `active`, `activating`, `failed`, `inactive`; absent where systemd does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Whether it starts with the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    /// Since when it is so, as systemd tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// What the gateway says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
}

pub(crate) fn status(status: &Status) -> Result<(), Failure> {
    let paths = Paths::to_read(status.root.as_deref());
    let systemd = Systemd::of(&paths);
    let found = Found::look(&paths, systemd);
    match status.json {
        true => say(format_args!("{}", serde_json::to_string(&found).expect("plain values become JSON"))),
        false => say(format_args!("{}", found.text())),
    }
    found.verdict(systemd)
}

impl Found {
    fn look(paths: &Paths, systemd: Systemd) -> Self {
        let installed = paths.unit().exists();
        let asked = ["ActiveState", "UnitFileState", "StateChangeTimestamp", "StatusText"];
        match systemd.properties(asked).filter(|_| installed) {
            Some([state, enabled, since, says]) => Self {
                installed,
                state: Some(state),
                enabled: Some(enabled == "enabled"),
                since: Some(since).filter(|since| !since.is_empty()),
                says: Some(says).filter(|says| !says.is_empty()),
            },
            None => Self { installed, state: None, enabled: None, since: None, says: None },
        }
    }

    fn text(&self) -> String {
        let mut lines =
            vec![format!("unit     {}", if self.installed { unit::NAME } else { "not installed" })];
        let mut add = |name: &str, value: Option<&str>| {
            lines.extend(value.map(|value| format!("{name:<8} {value}")));
        };
        add("state", self.state.as_deref());
        add("since", self.since.as_deref());
        add("at boot", self.enabled.map(|enabled| if enabled { "started" } else { "not started" }));
        add("says", self.says.as_deref());
        lines.join("\n")
    }

    fn verdict(&self, systemd: Systemd) -> Result<(), Failure> {
        if !self.installed {
            return Err(
                Failure::new(Exit::Other, "the gateway is not installed here").next("adit gateway install")
            );
        }
        match (&self.state, systemd) {
            (Some(state), _) if state == "active" => Ok(()),
            (Some(state), _) => Err(Failure::new(Exit::Other, format!("the gateway's service is {state}"))
                .next("journalctl -u adit-gateway says why; systemctl start adit-gateway starts it")),
            (None, _) => Err(Failure::new(
                Exit::Other,
                "systemd does not run here, so nothing is known of the gateway",
            )
            .next("look where it runs")),
        }
    }
}
