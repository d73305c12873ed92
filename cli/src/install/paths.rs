//! Where everything is, on this machine or in an image of another.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// The gateway's file.
pub(super) const CONFIG: &str = "/etc/adit/gateway.toml";
/// The enrolment token.
pub(super) const TOKEN: &str = "/etc/adit/gateway.token";
/// The authority to trust for the platform.
pub(super) const CA: &str = "/etc/adit/platform-ca.pem";
/// Where administrators' units are.
pub(super) const UNITS: &str = "/etc/systemd/system";
/// The state of a service whose user exists only while it runs, and the way that others find it by.
pub(super) const STATE: [&str; 2] = ["/var/lib/private/adit/gateway", "/var/lib/adit/gateway"];

/// Paths below the root of a machine.
#[derive(Debug)]
pub(super) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Paths of this machine, whose administrator one must be to change them; or those below `root`.
    pub(super) fn new(root: Option<&Path>) -> Result<Self, Failure> {
        match root {
            Some(root) if !root.is_dir() => {
                Err(Failure::new(Exit::Usage, format!("{} is no directory", root.display())))
            }
            Some(root) => Ok(Self { root: root.to_owned() }),
            None if rustix::process::geteuid().is_root() => Ok(Self { root: "/".into() }),
            None => Err(Failure::new(Exit::Other, "only root may change the services of this machine")
                .next("the same with sudo before it")),
        }
    }

    /// Paths that are only read.
    pub(super) fn to_read(root: Option<&Path>) -> Self {
        Self { root: root.unwrap_or(Path::new("/")).to_owned() }
    }

    /// Whether it is this machine.
    pub(super) fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// An absolute path, below the root.
    pub(super) fn below(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn config(&self) -> PathBuf {
        self.below(Path::new(CONFIG))
    }

    pub(super) fn token(&self) -> PathBuf {
        self.below(Path::new(TOKEN))
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.below(Path::new(CA))
    }

    pub(super) fn units(&self) -> PathBuf {
        self.below(Path::new(UNITS))
    }

    pub(super) fn unit(&self) -> PathBuf {
        self.units().join(super::unit::NAME)
    }

    pub(super) fn state(&self) -> [PathBuf; 2] {
        STATE.map(|path| self.below(Path::new(path)))
    }
}
