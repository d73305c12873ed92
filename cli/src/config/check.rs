//! `adit config check`.

use std::path::Path;

use adit_core::pki::AuthorityInfo;

use super::connector::{Addresses, ConnectorFile};
use super::gateway::{GatewayFile, RelayCredentials};
use super::identity::Identity;
use super::toml_file;
use crate::exit::Failure;
use crate::service::say;
use crate::when;

/// Which of the two files it is.
enum Kind {
    Gateway,
    Connector,
}

pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let text = toml_file::read(path)?;
    match kind(path, &text)? {
        Kind::Gateway => show_gateway(path, &GatewayFile::parse(path, &text)?),
        Kind::Connector => show_connector(path, &ConnectorFile::parse(path, &text)?),
    }
    Ok(())
}

/// Tells the files apart by the keys that only one of them has.
fn kind(path: &Path, text: &str) -> Result<Kind, Failure> {
    let table: toml::Table = toml_file::parse(path, text)?;
    let has = |keys: &[&str]| keys.iter().any(|key| table.contains_key(*key));
    match (has(&["relays", "credentials", "targets"]), has(&["gateway-id", "addresses", "address-file"])) {
        (true, false) => Ok(Kind::Gateway),
        (false, true) => Ok(Kind::Connector),
        _ => {
            Err(Failure::config(format!("{} is neither a gateway's nor a connector's file", path.display()))
                .next("a gateway's file has `relays`, a connector's has `gateway-id`"))
        }
    }
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
    warn(&file.identity.warnings);
    if file.permit.is_empty() {
        warn(&["[peers] permit is empty: the relay will let no connector through".into()]);
    }
    if file.rules.is_empty() {
        warn(&["[targets] allow is empty: every target will be denied".into()]);
    }
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

fn warn(warnings: &[String]) {
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
}
