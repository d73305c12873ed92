//! What an agent keeps: a directory that one process has, with files that only their owner may read.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `key.pem` | the private key, made here |
//! | `identity.json` | who the platform says that this is, and by what the platform is known |
//! | `certificate.pem` | the last certificate with its chain |
//! | `instructions.json` | what the platform last said: relays with credentials, or a relay's secrets |
//! | `lock` | held by the process that runs |
//!
//! With these an agent starts while the platform is away. Each file is replaced as a whole, and is on the disk before
//! it counts.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use adit_core::pki::{Certified, Key, KeyKind};
use adit_platform::words::Enrolled;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::files;

const KEY: &str = "key.pem";
const IDENTITY: &str = "identity.json";
const CERTIFICATE: &str = "certificate.pem";
const INSTRUCTIONS: &str = "instructions.json";
const LOCK: &str = "lock";

/// A state directory, locked by this process as long as this lives.
#[derive(Debug)]
pub(super) struct State {
    directory: PathBuf,
    _lock: File,
}

/// Who the platform says that this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Membership {
    /// What enrolment has said.
    pub(super) enrolled: Enrolled,
    /// By what the API's certificate is known.
    pub(super) trust: TrustedBy,
}

/// By what the certificate of the platform's API is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TrustedBy {
    /// The platform's own authority, which the token has named.
    PlatformCa,
    /// The authorities of this machine's operating system.
    Public,
}

impl State {
    /// Opens the directory, which is made where it is missing, for this process alone.
    pub(super) fn open(directory: &Path) -> Result<Self, Failure> {
        let failed = |error: &io::Error| {
            let what = format!("the state directory {} can't be used: {error}", directory.display());
            Failure::new(Exit::Other, what).next("name another one with --state-dir, or change its owner")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| failed(&error))?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(|error| failed(&error))?;
        let lock =
            OpenOptions::new().create(true).append(true).mode(files::SECRET).open(directory.join(LOCK));
        let lock = lock.map_err(|error| failed(&error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::new(
                Exit::Other,
                format!("another process runs with the state directory {}", directory.display()),
            )
            .next("stop it first; a second instance needs a state directory and a token of its own")),
            Err(error) => Err(failed(&error.into())),
        }
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The key. It is made where there is none yet.
    pub(super) fn key(&self) -> Result<Key, Failure> {
        let Some(pem) = self.read(KEY)? else {
            let key = Key::generate(KeyKind::EcdsaP256);
            self.write(KEY, Zeroizing::new(key.to_pem()).as_bytes())?;
            return Ok(key);
        };
        Key::from_pem(&Zeroizing::new(pem)).map_err(|error| self.broken(KEY, &error.to_string()))
    }

    /// Who the platform says that this is; `None` before enrolment.
    pub(super) fn membership(&self) -> Result<Option<Membership>, Failure> {
        self.read_json(IDENTITY)
    }

    pub(super) fn set_membership(&self, membership: &Membership) -> Result<(), Failure> {
        self.write_json(IDENTITY, membership)
    }

    /// The last certificate, with its key. One that can't be read counts as none: another is asked for.
    pub(super) fn certificate(&self, key: &Key) -> Result<Option<Certified>, Failure> {
        let Some(pem) = self.read(CERTIFICATE)? else { return Ok(None) };
        let chain = adit_core::pki::pem::certificates(&pem);
        Ok(chain.ok().and_then(|chain| Certified::new(chain, key.clone()).ok()))
    }

    pub(super) fn set_certificate(&self, chain: &str) -> Result<(), Failure> {
        self.write(CERTIFICATE, chain.as_bytes())
    }

    /// What the platform last said. What can't be read counts as nothing: it is said again.
    pub(super) fn instructions<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let Some(text) = self.read(INSTRUCTIONS)? else { return Ok(None) };
        Ok(serde_json::from_slice(&Zeroizing::new(text)).ok())
    }

    pub(super) fn set_instructions(&self, instructions: &impl Serialize) -> Result<(), Failure> {
        self.write_json(INSTRUCTIONS, instructions)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        match std::fs::read(self.directory.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.broken(name, &error.to_string())),
        }
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|error| self.broken(name, &error.to_string()))
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_vec(value).expect("plain values become JSON");
        self.write(name, &Zeroizing::new(text))
    }

    /// Replaces a file at once and for good: a power cut leaves the old one or the new one.
    fn write(&self, name: &str, contents: &[u8]) -> Result<(), Failure> {
        let path = self.directory.join(name);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(contents)?;
            file.as_file().set_permissions(Permissions::from_mode(files::SECRET))?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error: io::Error| {
            Failure::new(Exit::Other, format!("{} can't be written: {error}", path.display()))
                .next("is the disk full, or the state directory of another owner?")
        })
    }

    fn broken(&self, name: &str, why: &str) -> Failure {
        let path = self.directory.join(name);
        Failure::config(format!("{} can't be used: {why}", path.display()))
            .next("to begin anew, move the state directory away and enrol with a new token")
    }
}

#[cfg(test)]
mod tests {
    use adit_platform::words::AgentKind;

    use super::*;

    fn membership() -> Membership {
        let enrolled = Enrolled {
            kind: AgentKind::Gateway,
            id: "i".into(),
            name: "gw".into(),
            organisation: "acme".into(),
            trust_domain: "adit.local".into(),
            platform_ca: String::new(),
            server_time: 1,
        };
        Membership { enrolled, trust: TrustedBy::PlatformCa }
    }

    #[test]
    fn what_was_kept_is_there_again() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("a/b");
        let key = {
            let state = State::open(&directory).unwrap();
            assert_eq!(state.membership().unwrap(), None);
            state.set_membership(&membership()).unwrap();
            state.set_instructions(&[1, 2]).unwrap();
            state.key().unwrap()
        };
        let state = State::open(&directory).unwrap();
        assert_eq!(state.membership().unwrap(), Some(membership()));
        assert_eq!(state.instructions::<Vec<u8>>().unwrap(), Some(vec![1, 2]));
        assert_eq!(state.instructions::<String>().unwrap(), None);
        assert_eq!(state.key().unwrap().der(), key.der());
        assert!(state.certificate(&key).unwrap().is_none());
    }

    #[test]
    fn only_its_owner_may_look_into_it() {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let state = State::open(place.path()).unwrap();
        state.key().unwrap();
        state.set_membership(&membership()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(place.path()), 0o700);
        for name in [KEY, IDENTITY, LOCK] {
            assert_eq!(mode(&place.path().join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn a_second_process_is_sent_away() {
        let place = tempfile::tempdir().unwrap();
        let first = State::open(place.path()).unwrap();
        assert!(State::open(place.path()).unwrap_err().what.contains("another process"));
        drop(first);
        State::open(place.path()).unwrap();
    }

    #[test]
    fn a_key_that_is_broken_is_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        let state = State::open(place.path()).unwrap();
        std::fs::write(place.path().join(KEY), "nothing").unwrap();
        assert_eq!(state.key().unwrap_err().exit, Exit::Config);
        std::fs::write(place.path().join(CERTIFICATE), "nothing").unwrap();
        assert!(state.certificate(&Key::generate(KeyKind::EcdsaP256)).unwrap().is_none());
    }
}
