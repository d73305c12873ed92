//! The beginning of an installation: root keys, database, platform CA, an operator, and a first organisation.
//!
//! Everything that the database gets is one transaction, and whatever files were made are taken away again where that
//! fails: there is a platform afterwards, or what there was before.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use adit_core::pki::identity::BadName;
use adit_core::pki::{Name, TrustDomain};
use reqwest::Url;
use serde_json::json;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::authority::{self, AuthorityError, platform_ca};
use crate::clock::Clock;
use crate::config::DatabaseUrl;
use crate::home::Home;
use crate::store::{
    Change, INSTALLATION, Installation, OpenError, Store, StoreError, make_directory, organisations, settings,
};
use crate::trust::random_id;
use crate::trust::root_key::RootKeys;
use crate::words::Role;

/// The name of the first operator.
pub const OPERATOR: &str = "operator";

/// What an installation begins with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name, as certificates carry it; the host of `public_url` where it is absent and fit for it.
    pub trust_domain: Option<String>,
    /// Under which URL agents and people reach the API: `https://host:port`.
    pub public_url: String,
    /// The name of the first organisation.
    pub organisation: String,
    /// The name of its administrator.
    pub admin: String,
    /// Whether the API's certificate will be by the platform CA, so that tokens pin that.
    pub pinned: bool,
    /// `postgres://…`; the embedded database where it is absent.
    pub database: Option<DatabaseUrl>,
}

impl Options {
    /// The usual beginning of an installation that is reached at `public_url`.
    pub fn new(public_url: &str, organisation: &str) -> Self {
        Self {
            trust_domain: None,
            public_url: public_url.to_owned(),
            organisation: organisation.to_owned(),
            admin: "admin".to_owned(),
            pinned: true,
            database: None,
        }
    }
}

/// What was made.
pub struct Init {
    /// The token of the operator. It is shown this once.
    pub operator_token: Zeroizing<String>,
    /// The token of the first organisation's administrator. It is shown this once.
    pub admin_token: Zeroizing<String>,
    /// The name of the installation.
    pub trust_domain: String,
    /// Under which URL the API is reached, without a slash at its end.
    pub public_url: String,
    /// The platform CA, PEM.
    pub platform_ca: String,
    /// The root-key file, to be copied to a safe place.
    pub root_keys: PathBuf,
}

impl std::fmt::Debug for Init {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Init").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

/// Why no installation was made. Nothing of it is left then.
#[derive(Debug, Error)]
pub enum InitError {
    /// The URL is none under which the API can be reached.
    #[error("the public URL is https://host or https://host:port, not '{0}'")]
    PublicUrl(String),
    /// A name is none.
    #[error("'{0}' can't be a name here: {1}")]
    Name(String, BadName),
    /// The name of the operators' own organisation.
    #[error("the organisation '{INSTALLATION}' is the operators' own; choose another name")]
    Reserved,
    /// The directory, the database or the root keys.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The authorities.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl From<StoreError> for InitError {
    fn from(error: StoreError) -> Self {
        Self::Open(error.into())
    }
}

/// Makes an installation in `directory`, which it makes too.
///
/// # Errors
/// [`InitError`]; where there is one already, [`OpenError::Initialised`].
pub async fn init(directory: &Path, options: &Options, clock: Clock) -> Result<Init, InitError> {
    let plan = Plan::of(options)?;
    let home = Home::new(directory, options.database.as_ref());
    let was_there = directory.exists();
    make_directory(directory)?;
    // Who has the lock is alone, and may sweep.
    let lock = home.lock()?;
    let traces = Traces::before(directory, was_there);
    let made = make(&home, &plan, options, clock, lock).await;
    if made.is_err() {
        traces.sweep();
    }
    made
}

/// What is to be made, in names that are fit for it.
struct Plan {
    trust_domain: TrustDomain,
    public_url: String,
    organisation: Name,
    admin: Name,
}

impl Plan {
    fn of(options: &Options) -> Result<Self, InitError> {
        let url = public_url(&options.public_url)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let trust_domain = match &options.trust_domain {
            Some(text) => text.parse().map_err(|error| InitError::Name(text.clone(), error))?,
            None => host.parse().unwrap_or_default(),
        };
        let name = |text: &str| text.parse().map_err(|error| InitError::Name(text.to_owned(), error));
        if options.organisation == INSTALLATION {
            return Err(InitError::Reserved);
        }
        let public_url = url.as_str().trim_end_matches('/').to_owned();
        let (organisation, admin) = (name(&options.organisation)?, name(&options.admin)?);
        Ok(Self { trust_domain, public_url, organisation, admin })
    }
}

fn public_url(text: &str) -> Result<Url, InitError> {
    let bad = || InitError::PublicUrl(text.chars().filter(|letter| !letter.is_control()).take(200).collect());
    let url = Url::parse(text).map_err(|_| bad())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if url.scheme() != "https" || url.path() != "/" || url.fragment().is_some() || !plain {
        return Err(bad());
    }
    Ok(url)
}

async fn make(
    home: &Home,
    plan: &Plan,
    options: &Options,
    clock: Clock,
    lock: File,
) -> Result<Init, InitError> {
    let keys = root_keys(home)?;
    let installation =
        Installation { id: random_id(), trust_domain: plan.trust_domain.to_string(), epoch: random_id() };
    let instance = home.instance()?;
    let (location, lock) = (home.location(), Some(lock));
    let (store, mut change) =
        Store::create_locked(location, &keys, &instance, clock, installation, lock).await?;
    let filled = fill(&mut change, plan, options.pinned).await;
    let made = match filled {
        Ok((operator_token, admin_token, platform_ca)) => {
            change.commit().await.map_err(InitError::from).map(|()| Init {
                operator_token,
                admin_token,
                trust_domain: plan.trust_domain.to_string(),
                public_url: plan.public_url.clone(),
                platform_ca,
                root_keys: home.root_key_file(),
            })
        }
        Err(error) => Err(error),
    };
    store.close().await;
    made
}

/// Those that an interrupted attempt left behind, or new ones.
fn root_keys(home: &Home) -> Result<RootKeys, OpenError> {
    let path = home.root_key_file();
    if fs::exists(&path).map_err(|error| OpenError::File(path.display().to_string(), error))? {
        return Ok(RootKeys::read(&path)?);
    }
    let keys = RootKeys::generate();
    keys.create(&path)?;
    Ok(keys)
}

async fn fill(
    change: &mut Change,
    plan: &Plan,
    pinned: bool,
) -> Result<(Zeroizing<String>, Zeroizing<String>, String), InitError> {
    settings::set(change.connection(), settings::PUBLIC_URL, &plan.public_url).await?;
    platform_ca::found(change).await?;
    let certificate = platform_ca::certificate(change.connection()).await?;
    let pin = if pinned { Some(platform_ca::its_pin(change.connection()).await?) } else { None };
    let operator = organisations::first_identity(change, INSTALLATION, OPERATOR, Role::Operator, pin).await?;
    change.audit("installation.created", INSTALLATION, json!({ "trust-domain": plan.trust_domain.as_str() }));
    let name = plan.organisation.as_str();
    let (organisation, admin) = organisations::create(change, name, plan.admin.as_str(), pin).await?;
    authority::found(change, &organisation.id, name).await?;
    Ok((operator.token.reveal(), admin.token.reveal(), certificate))
}

/// What an attempt may leave in the directory, and was not there before it.
struct Traces(Vec<PathBuf>);

impl Traces {
    fn before(directory: &Path, was_there: bool) -> Self {
        let files = ["root-keys", "instance-id", "platform.db", "platform.db-wal", "platform.db-shm"];
        let paths = files.iter().map(|file| directory.join(file)).filter(|path| !path.exists());
        let all =
            if was_there { Vec::new() } else { vec![directory.join("platform.lock"), directory.to_owned()] };
        Self(paths.chain(all).collect())
    }

    /// The directory itself goes only when it is empty.
    fn sweep(&self) {
        for path in &self.0 {
            let gone = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a file of the attempt stays");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tokens;
    use crate::trust::token::Token;

    fn options() -> Options {
        Options::new("https://adit.example:8443", "acme")
    }

    #[tokio::test]
    async fn an_installation_begins_with_an_operator_and_an_organisation() {
        let directory = tempfile::tempdir().unwrap();
        let made = init(directory.path(), &options(), Clock::system()).await.unwrap();
        assert_eq!(
            (made.trust_domain.as_str(), made.public_url.as_str()),
            ("adit.example", "https://adit.example:8443")
        );
        let store = Home::new(directory.path(), None).open(Clock::system()).await.unwrap();
        for (token, organisation) in [(&made.operator_token, INSTALLATION), (&made.admin_token, "acme")] {
            let token: Token = token.parse().unwrap();
            let row = tokens::look_up(store.reader(), token.id()).await.unwrap().unwrap();
            let name = organisations::name(store.reader(), &row.organisation).await.unwrap();
            assert!(row.is(&token) && name.as_deref() == Some(organisation));
            assert_eq!(token.pin(), Some(platform_ca::its_pin(store.reader()).await.unwrap()));
        }
        let url = settings::get(store.reader(), settings::PUBLIC_URL).await.unwrap();
        assert_eq!(url, Some(made.public_url));
    }

    #[tokio::test]
    async fn a_second_init_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        init(directory.path(), &options(), Clock::system()).await.unwrap();
        let keys = fs::read(directory.path().join("root-keys")).unwrap();
        let again = init(directory.path(), &options(), Clock::system()).await;
        assert!(matches!(again, Err(InitError::Open(OpenError::Initialised(_)))));
        assert_eq!(fs::read(directory.path().join("root-keys")).unwrap(), keys);
        Home::new(directory.path(), None).open(Clock::system()).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_left_of_an_attempt_that_fails() {
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("platform");
        let mut nowhere = options();
        nowhere.database = Some(DatabaseUrl("postgres://127.0.0.1:1/none".to_owned()));
        assert!(init(&directory, &nowhere, Clock::system()).await.is_err());
        assert!(!directory.exists());
        init(&directory, &options(), Clock::system()).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_interrupted_is_taken_up_again() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path(), None);
        let keys = RootKeys::generate();
        keys.create(&home.root_key_file()).unwrap();
        fs::write(directory.path().join("platform.db"), b"").unwrap();
        init(directory.path(), &options(), Clock::system()).await.unwrap();
        assert_eq!(home.root_keys().unwrap().newest(), keys.newest());
    }

    #[tokio::test]
    async fn names_and_urls_are_judged_before_anything_is_made() {
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("platform");
        for change in [
            |options: &mut Options| options.public_url = "http://adit.example".to_owned(),
            |options: &mut Options| options.public_url = "https://user@adit.example/path".to_owned(),
            |options: &mut Options| options.organisation = "a/b".to_owned(),
            |options: &mut Options| options.organisation = INSTALLATION.to_owned(),
            |options: &mut Options| options.trust_domain = Some("Upper".to_owned()),
        ] {
            let mut options = options();
            change(&mut options);
            assert!(init(&directory, &options, Clock::system()).await.is_err(), "{options:?}");
            assert!(!directory.exists());
        }
    }
}
