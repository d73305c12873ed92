//! The unit by which systemd runs a gateway: a user of its own, and nothing that a gateway does not need.

use std::fmt::Write as _;
use std::path::Path;

/// The unit's name.
pub(super) const NAME: &str = "adit-gateway.service";
/// The name of the token among the unit's credentials.
const CREDENTIAL: &str = "token";
/// What stands before the mark in the unit that says whether the binary came with it. systemd ignores it.
const MARK: &str = "X-Adit-Binary=";

/// What the unit runs.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    /// The binary.
    pub(super) binary: &'a Path,
    /// Whether the binary was put there by the installation, and goes with it.
    pub(super) owned: bool,
    /// The platform.
    pub(super) domain: &'a str,
    /// The gateway's file.
    pub(super) config: &'a Path,
    /// The file with the enrolment token.
    pub(super) token: &'a Path,
    /// The authority to trust for the platform, where it is not in the token.
    pub(super) ca: Option<&'a Path>,
}

impl Unit<'_> {
    /// The unit's file.
    pub(super) fn text(&self) -> String {
        let mark = if self.owned { "installed" } else { "found" };
        let token = self.token.display();
        format!(
            r#"# Written by `adit gateway install`, which replaces it. What is yours goes to a drop-in:
#   systemctl edit {NAME}
[Unit]
Description=Adit gateway
Documentation=https://github.com/adit-project/adit
Wants=network-online.target
After=network-online.target nss-lookup.target
# However long the platform is away: it is tried again.
StartLimitIntervalSec=0
{MARK}{mark}

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
LoadCredential={CREDENTIAL}:{token}
StateDirectory=adit/gateway
StateDirectoryMode=0700
Restart=on-failure
RestartSec=5
# A wrong command line, a wrong file, a refusal by the platform: a person must look at it.
RestartPreventExitStatus=2 3 12
TimeoutStartSec=90
TimeoutStopSec=45
WatchdogSec=60
LimitNOFILE=65536

# A user that exists only while this runs, and owns nothing but its state.
DynamicUser=yes
User=adit-gateway
UMask=0077
{HARDENING}
[Install]
WantedBy=multi-user.target
"#,
            command = self.command(),
        )
    }

    fn command(&self) -> String {
        let mut command = quote(&self.binary.display().to_string());
        let mut add = |flag: &str, value: &str| {
            write!(command, " \\\n    {flag} {value}").expect("a String takes everything");
        };
        add("gateway start --config", &quote(&self.config.display().to_string()));
        add("--domain", &quote(self.domain));
        if let Some(ca) = self.ca {
            add("--ca-file", &quote(&ca.display().to_string()));
        }
        add("--token-file", &format!("${{CREDENTIALS_DIRECTORY}}/{CREDENTIAL}"));
        command
    }
}

/// A gateway talks IP and writes its state; it needs no device, no kernel, no capability, no other process.
const HARDENING: &str = "\
AmbientCapabilities=
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
DevicePolicy=closed
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
";

/// Whether `unit` says that the binary was put there by the installation.
pub(super) fn owns_binary(unit: &str) -> bool {
    unit.lines().any(|line| line.strip_prefix(MARK) == Some("installed"))
}

/// The binary that `unit` runs.
pub(super) fn binary(unit: &str) -> Option<String> {
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
    let quoted = command.trim_end_matches('\\').trim_end();
    Some(unquote(quoted))
}

/// `value` as one word of a command line of systemd (systemd.service(5), systemd.syntax(7)).
fn quote(value: &str) -> String {
    let mut word = value.replace('\\', r"\\").replace('"', r#"\""#).replace('%', "%%").replace('$', "$$");
    if word.is_empty() || word.contains([' ', '\t', '\'', '"', '\\', ';']) {
        word = format!("\"{word}\"");
    }
    word
}

fn unquote(word: &str) -> String {
    let inner = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or(word);
    inner.replace("$$", "$").replace("%%", "%").replace(r#"\""#, "\"").replace(r"\\", r"\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(binary: &str, owned: bool) -> String {
        let [binary, config, token] = [binary, "/etc/adit/gateway.toml", "/etc/adit/token"].map(Path::new);
        Unit { binary, owned, domain: "https://a.example/%7e$x", config, token, ca: None }.text()
    }

    #[test]
    fn the_unit_says_what_came_with_it() {
        for (path, owned) in [("/usr/local/bin/adit", true), ("/opt/my \"tools\"/100%/adit", false)] {
            let text = unit(path, owned);
            assert_eq!((binary(&text).as_deref(), owns_binary(&text)), (Some(path), owned));
        }
    }

    #[test]
    fn nothing_that_systemd_would_expand_is_left_in_values() {
        assert!(unit("/usr/bin/adit", true).contains("--domain https://a.example/%%7e$$x"));
    }

    #[test]
    fn the_token_is_no_part_of_the_command() {
        let text = unit("/usr/bin/adit", true);
        assert!(text.contains("--token-file ${CREDENTIALS_DIRECTORY}/token\n"));
        assert!(text.contains("LoadCredential=token:/etc/adit/token\n"));
    }
}
