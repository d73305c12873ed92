//! `adit ca`: certificates without a platform.

use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_core::pki::issue::{IssueError, LoadError};
use adit_core::pki::{
    Authority, Key, KeyKind, Name, Office, PublicKey, Role, Serial, Terms, TrustDomain, pem,
};
use adit_core::rand::Rng;
use adit_core::tunnel::Target;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};

use crate::exit::{Exit, Failure};
use crate::service::say;
use crate::{files, when};

/// Make certificates without a platform.
///
/// Each organisation has a root and under it two authorities: one issues the certificates of gateways, the
/// other those of connectors. A gateway trusts the connectors' authority and the other way round, so that
/// neither can play the other.
#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    New(New),
    Issue(Issue),
}

/// Make the authorities of a new organisation.
///
/// Writes root-ca, gateway-ca and connector-ca into DIR, each as .pem and .key; the keys are readable by you
/// only. Keep root-ca.key off line: it is needed only to replace one of the other two.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  adit ca new ca --organisation acme
  adit ca issue ca gateway gw-1         # ca/gw-1.pem, ca/gw-1.key: copy them to the gateway,
                                        # with ca/connector-ca.pem as its trust-anchor
  adit ca issue ca connector laptop     # ca/laptop.pem, ca/laptop.key: copy them to the connector,
                                        # with ca/gateway-ca.pem as its trust-anchor")]
pub(crate) struct New {
    /// The directory to write into; it is made when it is missing.
    dir: PathBuf,
    /// The organisation's name: 1 to 64 letters, digits, `.`, `_`, `-`.
    #[arg(long, value_name = "NAME")]
    organisation: Name,
    /// The installation that the organisation belongs to, in lower case.
    #[arg(long, value_name = "DOMAIN", default_value_t)]
    trust_domain: TrustDomain,
    /// How many days the authorities are valid.
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = lifetime())]
    days: u32,
    /// The kind of their keys.
    #[arg(long, value_name = "KIND", default_value = "ecdsa-p256")]
    key: KeyChoice,
}

/// Issue the certificate of a gateway or connector.
///
/// Writes NAME.pem (the certificate and its authority's) and NAME.key into DIR, or to where --out says.
/// Nothing is overwritten.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit ca issue ca gateway gw-1
  adit ca issue ca connector ada --target tcp://10.0.0.5:5432 --days 7
  adit ca issue ca gateway gw-2 --csr gw-2.csr     # the key stays where the request was made")]
pub(crate) struct Issue {
    /// The directory that `adit ca new` wrote.
    dir: PathBuf,
    /// What the certificate is for.
    kind: Kind,
    /// The gateway's or connector's name: 1 to 64 letters, digits, `.`, `_`, `-`.
    name: Name,
    /// The only target that the connector may open, such as tcp://db.internal:5432. Repeat it for more;
    /// without it, the gateway's own list decides alone.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<Target>,
    /// Certify the key of this request (PKCS #10, PEM) instead of making one. Only its key is used.
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// How many days the certificate is valid.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = lifetime())]
    days: u32,
    /// Where to write: PATH.pem and PATH.key instead of DIR/NAME.pem and DIR/NAME.key.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// The kind of the new key.
    #[arg(long, value_name = "KIND", default_value = "ecdsa-p256", conflicts_with = "csr")]
    key: KeyChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A gateway, which connectors reach.
    Gateway,
    /// A connector, which reaches gateways.
    Connector,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyChoice {
    /// Verified by every TLS stack.
    EcdsaP256,
    /// Smaller and faster; some stacks can't verify it.
    Ed25519,
}

pub(crate) fn run(ca: Ca) -> Result<(), Failure> {
    match ca {
        Ca::New(new) => make(new),
        Ca::Issue(order) => issue(order),
    }
}

fn make(new: New) -> Result<(), Failure> {
    std::fs::create_dir_all(&new.dir).map_err(|error| {
        Failure::new(Exit::Other, format!("{} can't be made: {error}", new.dir.display()))
    })?;
    let stems = ["root-ca", "gateway-ca", "connector-ca"].map(|name| new.dir.join(name));
    for stem in &stems {
        check_absent(stem)?;
    }
    let mut rng = Rng::new(adit_driver::random_seed());
    // One instant for all: authorities that begin a second later would outlive their root.
    let now = when::now();
    let mut terms = || Terms::new(Serial::random(&mut rng), now, days(new.days));
    let keys = [(); 3].map(|()| Key::generate(new.key.into()));
    let root =
        Authority::root(new.organisation.clone(), new.trust_domain, &keys[0], terms()).map_err(refused)?;
    let gateways = root.intermediate(Office::Gateway, &keys[1], terms()).map_err(refused)?;
    let connectors = root.intermediate(Office::Connector, &keys[2], terms()).map_err(refused)?;
    for ((stem, key), authority) in stems.iter().zip(&keys).zip([&root, &gateways, &connectors]) {
        write_pair(stem, &pem::encode_certificates([authority.certificate()]), Some(key))?;
    }
    say(format_args!("{}: the authorities of {}", new.dir.display(), new.organisation));
    say(format_args!("  root-ca.key        keep it off line"));
    say(format_args!("  gateway-ca.pem     trust-anchor of connectors"));
    say(format_args!("  connector-ca.pem   trust-anchor of gateways"));
    say(format_args!("next: adit ca issue {} gateway NAME, and connector NAME", new.dir.display()));
    Ok(())
}

fn issue(order: Issue) -> Result<(), Failure> {
    if order.kind == Kind::Gateway && !order.targets.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "--target restricts a connector; a gateway's certificate has none",
        )
        .next("put the gateway's targets into its file: [targets] allow = [\"tcp://…\"]"));
    }
    let stem = order.out.clone().unwrap_or_else(|| order.dir.join(order.name.as_str()));
    check_absent(&stem)?;
    let authority = load(&order.dir, order.kind)?;
    let (public, key) = subject(&order)?;
    let targets: Vec<String> = order.targets.iter().map(ToString::to_string).collect();
    let targets = (!targets.is_empty()).then_some(targets.as_slice());
    let mut rng = Rng::new(adit_driver::random_seed());
    let terms = Terms::new(Serial::random(&mut rng), when::now(), days(order.days));
    let leaf = authority.issue(role(&order), targets, &public, terms).map_err(refused)?;
    write_pair(&stem, &pem::encode_certificates([&leaf, authority.certificate()]), key.as_ref())?;
    say(format_args!(
        "{}: valid until {}",
        with_extension(&stem, "pem").display(),
        when::date(terms.not_after)
    ));
    if key.is_some() {
        say(format_args!(
            "{}: keep it where it is used, and only there",
            with_extension(&stem, "key").display()
        ));
    }
    Ok(())
}

/// Whose certificate it will be.
fn role(order: &Issue) -> Role {
    match order.kind {
        Kind::Gateway => Role::Gateway { gateway: order.name.clone(), instance: Name::zero() },
        Kind::Connector => Role::Connector { id: order.name.clone() },
    }
}

/// The key to certify, with its private half when we make it.
fn subject(order: &Issue) -> Result<(PublicKey, Option<Key>), Failure> {
    let Some(path) = &order.csr else {
        let key = Key::generate(order.key.into());
        return Ok((key.public(), Some(key)));
    };
    let request = files::read(path, "the request")?;
    let public = PublicKey::from_request_pem(&request).map_err(|error| {
        Failure::new(Exit::Certificate, format!("the request {} can't be used: {error}", path.display()))
            .next("make one with: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes …")
    })?;
    Ok((public, None))
}

/// The authority in `dir` that issues certificates of `kind`.
fn load(dir: &Path, kind: Kind) -> Result<Authority, Failure> {
    let (stem, office) = match kind {
        Kind::Gateway => (dir.join("gateway-ca"), Office::Gateway),
        Kind::Connector => (dir.join("connector-ca"), Office::Connector),
    };
    let path = with_extension(&stem, "pem");
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Certificate, format!("{} can't be used: {why}", path.display()))
            .next("is this the directory that `adit ca new` wrote?")
    };
    let certificate = files::read(&path, "the authority")?;
    let certificate = pem::certificates(&certificate).map_err(|error| unusable(&error))?.swap_remove(0);
    let key = files::read(&with_extension(&stem, "key"), "the authority's key")?;
    let key = Key::from_pem(&key).map_err(|error| unusable(&error))?;
    let authority = Authority::load(certificate, &key).map_err(|error| unusable(&error))?;
    if authority.info().office != office { Err(unusable(&LoadError::NoAuthority)) } else { Ok(authority) }
}

fn check_absent(stem: &Path) -> Result<(), Failure> {
    files::must_be_absent(&with_extension(stem, "pem"))?;
    files::must_be_absent(&with_extension(stem, "key"))
}

/// The key comes first: a certificate without its key would be worse than a key without its certificate.
fn write_pair(stem: &Path, certificates: &str, key: Option<&Key>) -> Result<(), Failure> {
    if let Some(key) = key {
        files::create(&with_extension(stem, "key"), &key.to_pem(), files::SECRET)?;
    }
    files::create(&with_extension(stem, "pem"), certificates, files::PUBLIC)
}

/// `stem` with an extension added; a name such as `gw.1` keeps all of itself.
fn with_extension(stem: &Path, extension: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

/// Up to a hundred years.
fn lifetime() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=36_500)
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

fn refused(error: IssueError) -> Failure {
    match error {
        IssueError::Outlives { not_after } => Failure::new(
            Exit::Usage,
            format!("the certificate would outlive its authority, which ends on {}", when::date(not_after)),
        )
        .next("choose fewer --days"),
        other => Failure::new(Exit::Usage, other),
    }
}

impl From<KeyChoice> for KeyKind {
    fn from(choice: KeyChoice) -> Self {
        match choice {
            KeyChoice::EcdsaP256 => Self::EcdsaP256,
            KeyChoice::Ed25519 => Self::Ed25519,
        }
    }
}
