//! System packages: found, installed with apt where that needs no password, or named for people to install.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Something that is installed as one, and the programs by which it is known to be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    name: &'static str,
    debian: &'static [&'static str],
    programs: &'static [&'static str],
}

/// The database server with its clients and pgbench.
pub(crate) const POSTGRESQL: Package = Package {
    name: "PostgreSQL",
    debian: &["postgresql", "postgresql-contrib"],
    programs: &["postgres", "initdb", "psql", "pg_dump", "pgbench"],
};

/// Another TURN server and its client, for the interoperability tests.
pub(crate) const COTURN: Package = Package {
    name: "coturn",
    // OpenSSL's client speaks TLS and DTLS with our relay in the same tests.
    debian: &["coturn", "openssl"],
    programs: &["turnserver", "turnutils_uclient", "turnutils_peer", "openssl"],
};

/// What checks the unit of a gateway; systemd itself need not run.
pub(crate) const SYSTEMD: Package =
    Package { name: "systemd", debian: &["systemd"], programs: &["systemd-analyze"] };

/// Installs what is missing. Nothing that a package brings along is left running or enabled: services are
/// held back by a policy while apt works, and PostgreSQL makes no cluster of its own. What was installed before keeps
/// its services. A shell that a signal ends takes no trap for EXIT, so signals become an exit.
const INSTALL: &str = r#"
set -e
trap 'exit 130' HUP INT TERM
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
cluster=/etc/postgresql-common/createcluster.conf
if [ ! -e "$cluster" ]; then
    mkdir -p "${cluster%/*}"
    echo 'create_main_cluster = false' > "$cluster"
fi
new=
for package in "$@"; do dpkg -s "$package" > /dev/null 2>&1 || new="$new $package"; done
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
for package in $new; do
    if command -v systemctl > /dev/null; then systemctl disable --quiet "$package" 2> /dev/null || true; fi
done
"#;

/// Makes sure that the programs of `wanted` are there.
///
/// # Errors
/// When something is missing and cannot be installed without a password or on this system; the message says
/// what to install.
pub(crate) fn ensure(wanted: &[Package]) -> Result<()> {
    let missing: Vec<_> = wanted.iter().filter(|package| !package.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let debian: Vec<_> = missing.iter().flat_map(|package| package.debian).copied().collect();
    let by_hand = by_hand(&missing, &debian);
    if find("apt-get").is_none() {
        bail!("{by_hand}");
    }
    let mut shell = as_root().with_context(|| by_hand.clone())?;
    eprintln!("installing {} …", debian.join(" "));
    let status = shell.args(["sh", "-c", INSTALL, "sh"]).args(&debian).stdout(Stdio::null()).status()?;
    if !status.success() {
        bail!("apt-get failed ({status}). {by_hand}");
    }
    match missing.iter().find(|package| !package.is_there()) {
        Some(package) => bail!("{} is installed, but {} is not found", package.name, package.missing()),
        None => Ok(()),
    }
}

fn by_hand(missing: &[&Package], debian: &[&str]) -> String {
    let absent: Vec<_> =
        missing.iter().map(|package| format!("{} ({})", package.name, package.missing())).collect();
    format!(
        "missing: {}. Install it and try again; on Debian and Ubuntu: sudo apt-get install {}",
        absent.join(", "),
        debian.join(" ")
    )
}

/// A command that runs its arguments as root: `env` when this is root, or sudo when it asks for no password.
fn as_root() -> Result<Command> {
    let id = Command::new("id").arg("-u").output().context("cannot run id")?;
    if id.stdout.trim_ascii() == b"0" {
        return Ok(Command::new("env"));
    }
    let mut probe = Command::new("sudo");
    let allowed =
        probe.args(["-n", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !allowed {
        bail!("this is not root and sudo would ask for a password");
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("-n");
    Ok(sudo)
}

impl Package {
    fn is_there(&self) -> bool {
        self.programs.iter().all(|program| find(program).is_some())
    }

    /// The programs that are not found, for people.
    fn missing(&self) -> String {
        let absent: Vec<_> =
            self.programs.iter().copied().filter(|program| find(program).is_none()).collect();
        absent.join(", ")
    }
}

/// Looks in `PATH`, in the places of system programs, and where Debian keeps PostgreSQL's server programs.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(system).chain(postgresql_places());
    places.find_map(|place| Some(place.join(program)).filter(|path| path.is_file()))
}

fn postgresql_places() -> Vec<PathBuf> {
    let Ok(versions) = Path::new("/usr/lib/postgresql").read_dir() else { return Vec::new() };
    versions.flatten().map(|version| version.path().join("bin")).collect()
}
