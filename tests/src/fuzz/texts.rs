//! Texts that people and usernames carry: what is accepted reads as it writes, in one spelling.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use adit_core::gateway::{TargetPolicy, TargetRule};
use adit_core::pki::{Identity, Name, TrustDomain};
use adit_core::tunnel::{Host, Target};
use adit_core::turn::address_policy::{Network, Policy};
use adit_core::turn::credential_policy::CredentialPolicy;
use adit_core::turn::credentials::{MAX_USERNAME, TimeLimited};
use adit_core::turn::uri::RelayUri;

/// Reads `bytes` as each kind of text. Lines after the first are more rules of a policy.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = reads_as_it_writes::<RelayUri>(text).map(|uri| assert_ne!(uri.port, 0));
    reads_as_it_writes::<Identity>(text);
    reads_as_it_writes::<Name>(text);
    reads_as_it_writes::<TrustDomain>(text);
    reads_as_it_writes::<TargetRule>(text);
    let _ = reads_as_it_writes::<Target>(text).map(|target| check_target(&target));
    let _ = reads_as_it_writes::<Network>(text).map(check_network);
    username(text);
    policy(text);
}

/// What `text` says, if it says something: the same as what is written of it.
fn reads_as_it_writes<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value = T::from_str(text).ok()?;
    let written = value.to_string();
    let again = T::from_str(&written).ok();
    assert!(again.is_some_and(|again| again == value), "{text:?} is written as {written:?}");
    // `str::parse` of a number takes a sign; nothing else here has a plus.
    assert!(!text.contains('+'), "a sign in {text:?}");
    assert!(!written.contains(char::is_control));
    Some(value)
}

fn check_target(target: &Target) {
    assert_ne!(target.port, 0);
    if let Host::Name(name) = &target.host {
        assert!(name.len() <= 253 && name.parse::<IpAddr>().is_err());
        assert_eq!(*name, name.to_ascii_lowercase());
    }
}

fn check_network(network: Network) {
    assert!(network.contains(network.address()) && network.within(&network));
    // What is denied is denied, whatever is allowed besides.
    let policy = Policy::default_deny().allow(network).deny(network);
    assert!(policy.judge(network.address()).is_err());
}

fn username(text: &str) {
    if let Some(parts) = TimeLimited::parse(text) {
        assert!(text.len() >= parts.id.len() && !parts.id.contains(':'));
    }
    if let Ok(policy) = CredentialPolicy::parse(text) {
        assert!(text.len() <= MAX_USERNAME);
        assert_eq!(policy.encode(), text, "a policy has one spelling");
    }
}

/// The first line is a target, the others are rules: no target is reached that nobody named.
fn policy(text: &str) {
    let mut lines = text.lines();
    let Some(Ok(target)) = lines.next().map(str::parse::<Target>) else { return };
    let rules: Vec<TargetRule> = lines.take(8).filter_map(|line| line.parse().ok()).collect();
    let named = rules.iter().any(|rule| rule.to_string() == target.to_string());
    let count = rules.len();
    let policy = TargetPolicy::new(rules);
    let peer: Identity = "spiffe://adit.local/org/acme/connector/c".parse().expect("an identity");
    let may = policy.may_resolve(&peer, &target);
    assert!(!may || count > 0, "the default allows nothing");
    let metadata: IpAddr = [169, 254, 169, 254].into();
    if let Host::Name(_) = &target.host {
        let networks = text.contains("169.254.169.254") || text.contains("a9fe:a9fe");
        assert!(networks || !policy.allows(&peer, &target, metadata), "a name leads to metadata");
    }
    if let Host::Ip(ip) = target.host {
        assert_eq!(may, policy.allows(&peer, &target, ip));
        assert!(!named || may, "what is named is allowed");
    }
}
