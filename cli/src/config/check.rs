//! `adit config check`.

use std::path::Path;

use adit_core::pki::AuthorityInfo;

use super::connector::{Addresses, ConnectorFile};
use super::gateway::{GatewayFile, RelayCredentials};
use super::identity::Identity;
use super::targets::TargetsFile;
use super::toml_file;
use crate::exit::Failure;
use crate::files;
use crate::relay::Settings;
use crate::service::say;
use crate::when;

/// Which of the files it is.
enum Kind {
    Gateway,
    /// With a platform.
    Targets,
    Connector,
    Relay,
}

pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let text = toml_file::read(path)?;
    match kind(path, &text)? {
        Kind::Gateway => show_gateway(path, &GatewayFile::parse(path, &text)?),
        Kind::Targets => {
            say(format_args!("{}: the file of a gateway with a platform, in order", path.display()));
            show("targets", TargetsFile::parse(path, &text)?.rules.iter());
        }
        Kind::Connector => show_connector(path, &ConnectorFile::parse(path, &text)?),
        Kind::Relay => show_relay(path, &text)?,
    }
    Ok(())
}

/// Tells the files apart by the keys that only one of them has.
fn kind(path: &Path, text: &str) -> Result<Kind, Failure> {
    let table: toml::Table = toml_file::parse(path, text)?;
    // The surest key first: another one may stand in the wrong file, which the reading tells then.
    let keys = [
        ("relays", Kind::Gateway),
        ("gateway-id", Kind::Connector),
        ("credentials", Kind::Gateway),
        ("targets", Kind::Gateway),
        ("addresses", Kind::Connector),
        ("address-file", Kind::Connector),
    ];
    if table.len() == 1 && table.contains_key("targets") {
        return Ok(Kind::Targets);
    }
    let found = keys.into_iter().find(|(key, _)| table.contains_key(*key));
    let relay = || table.keys().any(|key| Settings::is_key(key)).then_some(Kind::Relay);
    found.map(|(_, kind)| kind).or_else(relay).ok_or_else(|| {
        Failure::config(format!("{} is no file of a relay, a gateway or a connector", path.display()))
            .next("a gateway's file has `relays`, a connector's has `gateway-id`, a relay's has `listen`")
    })
}

fn show_gateway(path: &Path, file: &GatewayFile) {
    say(format_args!("{}: a gateway's file, in order", path.display()));
    show_identity(&file.identity);
    show("relays", file.relays.iter());
    let credentials = match &file.credentials {
        RelayCredentials::User { username, .. } => format!("user {username}"),
        RelayCredentials::Secret(_) => "time-limited, made from the relay's secret".into(),
    };
    show("credentials", [credentials]);
    show("permits", file.permit.iter());
    show("targets", file.rules.iter());
    if let Some(path) = &file.address_file {
        show("address file", [path.display()]);
    }
    warn(file.warnings());
}

fn show_connector(path: &Path, file: &ConnectorFile) {
    say(format_args!("{}: a connector's file, in order", path.display()));
    show_identity(&file.identity);
    show("gateway", [&file.gateway]);
    match &file.addresses {
        Addresses::Fixed(addresses) => show("addresses", addresses.iter()),
        Addresses::File(path) => show("address file", [path.display()]),
    }
    warn(&file.identity.warnings);
}

/// Reads the files that it names too.
fn show_relay(path: &Path, text: &str) -> Result<(), Failure> {
    let settings = Settings::parse(path, text)?;
    settings
        .authenticator()
        .map(drop)
        .and(settings.revoked().map(drop))
        .map_err(|failure| failure.within(path))?;
    say(format_args!("{}: a relay's file, in order", path.display()));
    let mut before = "";
    for (label, value) in settings.description() {
        show(if label == before { "" } else { label }, [value]);
        before = label;
    }
    if settings.shows_a_secret() {
        warn(&files::exposed(path, "the file, which has a secret in it,"));
    }
    if !settings.lets_somebody_in() && !settings.has_platform() {
        warn([&"it lets nobody in: flags or the environment must".to_owned()]);
    }
    Ok(())
}

fn show_identity(identity: &Identity) {
    let info = identity.own.info();
    show("identity", [&info.identity]);
    if let Some(targets) = &info.targets {
        show("may open", targets.iter());
    }
    let distance = when::distance(when::now(), info.not_after);
    show("valid until", [format!("{} ({distance})", when::date(info.not_after))]);
    show(
        "trusts",
        identity.trusted.iter().map(|(path, info)| match info {
            Some(AuthorityInfo { organisation, not_after, .. }) => {
                format!("{} (of {organisation}, until {})", path.display(), when::date(*not_after))
            }
            None => format!("{} (of unknown make)", path.display()),
        }),
    );
}

fn show(label: &str, values: impl IntoIterator<Item = impl std::fmt::Display>) {
    let mut label = label;
    for value in values {
        say(format_args!("  {label:<13} {value}"));
        label = "";
    }
}

fn warn<'a>(warnings: impl IntoIterator<Item = &'a String>) {
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
}
