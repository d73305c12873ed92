//! Which targets a connector may reach: none, unless the gateway's operator allowed them.
//!
//! A name is resolved first, each address is judged, and then that address is dialled, so that a name that
//! changes its address between two look-ups gains nothing. Loopback, link-local (the cloud's metadata service
//! among them), unspecified, multicast and broadcast addresses are reached only where a rule names exactly that
//! address, never through a network, a name or `*`; the name `localhost` alone may stand for loopback.
//!
//! An application that embeds a gateway may decide by itself ([`Judge`]), and may be a target itself: such targets
//! are neither resolved nor dialled by TCP.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use crate::pki::Identity;
use crate::tunnel::{Host, Target, TargetError};
use crate::turn::address_policy::Network;

/// What a gateway lets connectors reach. The default allows nothing.
#[derive(Debug, Clone, Default)]
pub struct TargetPolicy {
    rules: Vec<TargetRule>,
    served: BTreeSet<Target>,
    judge: Option<Judge>,
}

/// An application's own decision: whether that connector may reach that target, before its name is resolved
/// (`None`) and at each address. Called with the gateway locked, so it must answer at once.
#[derive(Clone)]
pub struct Judge(Arc<Judgement>);

type Judgement = dyn Fn(&Identity, &Target, Option<IpAddr>) -> bool + Send + Sync;

/// One rule: `tcp://host:port`. The host is an address, a network in CIDR form, or a name, where `*.example.com`
/// stands for every name below it; the port is a number or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRule {
    host: HostRule,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostRule {
    Network(Network),
    Name(String),
    Below(String),
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// What stands there is no target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The number of bits of a network is too large for its family.
    #[error("'{0}' is no network; write it as 10.1.0.0/16")]
    Network(String),
}

impl TargetPolicy {
    /// The policy that allows what any of `rules` allows.
    pub fn new(rules: Vec<TargetRule>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Also allows `targets`, which the application serves itself.
    #[must_use]
    pub fn serving(mut self, targets: impl IntoIterator<Item = Target>) -> Self {
        self.served.extend(targets);
        self
    }

    /// Lets `judge` decide in place of the rules. Addresses that must be named one by one need a rule besides.
    #[must_use]
    pub fn judged_by(mut self, judge: Judge) -> Self {
        self.judge = Some(judge);
        self
    }

    /// Whether the application serves `target` itself.
    pub fn serves(&self, target: &Target) -> bool {
        self.served.contains(target)
    }

    /// Whether some address of `target` might be allowed to `peer`: to be asked before its name is resolved, so
    /// that a denied connector can't use the gateway as a resolver.
    pub fn may_resolve(&self, peer: &Identity, target: &Target) -> bool {
        match (&target.host, &self.judge) {
            _ if self.serves(target) => true,
            (Host::Ip(ip), _) => self.allows(peer, target, *ip),
            (Host::Name(_), Some(judge)) => judge.allows(peer, target, None),
            (Host::Name(name), None) => {
                self.rules.iter().any(|rule| rule.has_port(target.port) && rule.may_hold(name))
            }
        }
    }

    /// Whether `peer` may have `ip`, which the host of `target` is or resolved to, dialled.
    pub fn allows(&self, peer: &Identity, target: &Target, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let by_rule =
            || self.rules.iter().any(|rule| rule.has_port(target.port) && rule.allows(&target.host, ip));
        match &self.judge {
            Some(judge) => judge.allows(peer, target, Some(ip)) && (!is_special(ip) || by_rule()),
            None => by_rule(),
        }
    }
}

impl Judge {
    /// Decides by `judgement`.
    pub fn new(
        judgement: impl Fn(&Identity, &Target, Option<IpAddr>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(judgement))
    }

    fn allows(&self, peer: &Identity, target: &Target, ip: Option<IpAddr>) -> bool {
        (self.0)(peer, target, ip)
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
    }
}

impl TargetRule {
    fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|allowed| allowed == port)
    }

    /// Whether the rule can allow an address that `name` resolves to.
    fn may_hold(&self, name: &str) -> bool {
        matches!(self.host, HostRule::Network(_)) || self.names(name)
    }

    fn names(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        match &self.host {
            HostRule::Name(allowed) => allowed == name,
            HostRule::Below(parent) => {
                name.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            HostRule::Network(_) => false,
        }
    }

    fn allows(&self, host: &Host, ip: IpAddr) -> bool {
        match &self.host {
            HostRule::Network(network) => {
                network.contains(ip) && (!is_special(ip) || *network == Network::from(ip))
            }
            HostRule::Name(name) if name == "localhost" => {
                *host == Host::Name(name.clone()) && (ip.is_loopback() || !is_special(ip))
            }
            HostRule::Name(_) | HostRule::Below(_) => {
                matches!(host, Host::Name(name) if self.names(name)) && !is_special(ip)
            }
        }
    }
}

/// Metadata services of clouds outside link-local space: of Alibaba, Azure and Oracle; of AWS and Google over IPv6.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
];

/// Whether `ip` needs a rule of its own.
fn is_special(ip: IpAddr) -> bool {
    if METADATA.contains(&ip) {
        return true;
    }
    match ip {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0
        }
        IpAddr::V6(ip) => {
            // ::/96 and ::ffff:0:0:0/96 embed IPv4 (RFC 4291 §2.5.5.1, RFC 2765 §2.1); 64:ff9b::/96 (RFC 6052), 64:ff9b:1::/48 (RFC 8215),
            // 2002::/16 (RFC 3056) and 2001::/32 (RFC 4380) may reach IPv4 behind a translator or a tunnel.
            let [a, b, c, d, e, f, ..] = ip.segments();
            let embeds_v4 = (a, b, c, d, e, f) == (0, 0, 0, 0, 0, 0)
                || (a, b, c, d, e, f) == (0, 0, 0, 0, 0xffff, 0)
                || (a, b) == (0x64, 0xff9b)
                || a == 0x2002
                || (a, b) == (0x2001, 0);
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || embeds_v4
        }
    }
}

impl FromStr for TargetRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (rest, port) = match text.strip_suffix(":*") {
            Some(rest) => (format!("{rest}:1"), None),
            None => (text.to_owned(), Some(())),
        };
        if let Some((host, prefix, number)) = split_network(&rest) {
            let target: Target = format!("tcp://{host}:{number}").parse()?;
            let network = || RuleError::Network(text.to_owned());
            let Host::Ip(ip) = target.host else { return Err(network()) };
            let network = format!("{ip}/{prefix}").parse().map_err(|_| network())?;
            return Ok(Self { host: HostRule::Network(network), port: port.map(|()| target.port) });
        }
        let below = rest.replacen("tcp://*.", "tcp://", 1);
        let wildcard = below != rest;
        let target: Target = below.parse()?;
        let host = match target.host {
            Host::Ip(_) if wildcard => return Err(TargetError::Host(text.to_owned()).into()),
            Host::Ip(ip) => HostRule::Network(ip.to_canonical().into()),
            Host::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
                if wildcard { HostRule::Below(name) } else { HostRule::Name(name) }
            }
        };
        Ok(Self { host, port: port.map(|()| target.port) })
    }
}

/// Parts `tcp://10.0.0.0/8:5432` and `tcp://[fd00::]/8:5432` into host, number of bits and port.
fn split_network(text: &str) -> Option<(&str, &str, &str)> {
    let rest = text.strip_prefix("tcp://").unwrap_or(text);
    if rest.contains("://") {
        // Another scheme: reading it as a target says so.
        return None;
    }
    let (host, rest) = rest.split_once('/')?;
    let (prefix, port) = rest.split_once(':')?;
    Some((host, prefix, port))
}

impl fmt::Display for TargetRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tcp://")?;
        match &self.host {
            HostRule::Network(network) => match network.to_string().split_once('/') {
                Some((ip, prefix)) if ip.contains(':') => write!(f, "[{ip}]/{prefix}")?,
                None if network.to_string().contains(':') => write!(f, "[{network}]")?,
                _ => write!(f, "{network}")?,
            },
            HostRule::Name(name) => f.write_str(name)?,
            HostRule::Below(name) => write!(f, "*.{name}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(rules: &[&str]) -> TargetPolicy {
        TargetPolicy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    fn peer() -> Identity {
        "spiffe://test.adit/org/acme/connector/laptop".parse().unwrap()
    }

    fn allows(policy: &TargetPolicy, target: &str, ip: &str) -> bool {
        policy.allows(&peer(), &target.parse().unwrap(), ip.parse().unwrap())
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let target = "tcp://10.0.0.1:5432".parse().unwrap();
        assert!(!TargetPolicy::default().may_resolve(&peer(), &target));
        assert!(!TargetPolicy::default().allows(&peer(), &target, "10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_rule_allows_its_host_and_port_only() {
        let policy = policy(&["tcp://10.0.0.1:5432"]);
        assert!(allows(&policy, "tcp://10.0.0.1:5432", "10.0.0.1"));
        assert!(allows(&policy, "tcp://db:5432", "10.0.0.1"));
        assert!(!allows(&policy, "tcp://10.0.0.1:5433", "10.0.0.1"));
        assert!(!allows(&policy, "tcp://10.0.0.2:5432", "10.0.0.2"));
    }

    #[test]
    fn a_name_is_judged_by_what_it_resolves_to() {
        let policy = policy(&["tcp://db.internal:5432", "tcp://*.apps.internal:*"]);
        assert!(allows(&policy, "tcp://DB.internal.:5432", "10.0.0.1"));
        assert!(allows(&policy, "tcp://a.apps.internal:80", "10.0.0.1"));
        assert!(!allows(&policy, "tcp://apps.internal:80", "10.0.0.1"));
        assert!(!allows(&policy, "tcp://xapps.internal:80", "10.0.0.1"));
        assert!(!allows(&policy, "tcp://10.0.0.1:5432", "10.0.0.1"), "the address was not named");
        for special in
            ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::ffff:127.0.0.1"]
        {
            assert!(!allows(&policy, "tcp://db.internal:5432", special), "{special}");
        }
    }

    #[test]
    fn special_addresses_are_named_one_by_one() {
        let wide = policy(&["tcp://0.0.0.0/0:*", "tcp://[::]/0:*"]);
        assert!(allows(&wide, "tcp://10.9.9.9:1", "10.9.9.9"));
        for special in [
            "127.0.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "::127.0.0.1",
        ] {
            let rule = if special.contains(':') {
                format!("tcp://[{special}]:1")
            } else {
                format!("tcp://{special}:1")
            };
            assert!(!allows(&wide, &rule, special), "{special}");
            assert!(allows(&policy(&[&rule]), &rule, special), "{special}");
        }
        assert!(allows(&policy(&["tcp://127.0.0.1:1"]), "tcp://[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1"));
        assert!(!allows(&policy(&["tcp://127.0.0.0/8:1"]), "tcp://127.0.0.1:1", "127.0.0.1"));
    }

    #[test]
    fn localhost_is_the_one_name_for_loopback() {
        let policy = policy(&["tcp://localhost:5432"]);
        assert!(allows(&policy, "tcp://localhost:5432", "127.0.0.1"));
        assert!(allows(&policy, "tcp://localhost:5432", "::1"));
        assert!(!allows(&policy, "tcp://127.0.0.1:5432", "127.0.0.1"));
        assert!(!allows(&policy, "tcp://localhost:5432", "169.254.169.254"));
    }

    #[test]
    fn names_that_no_rule_can_allow_are_not_resolved() {
        let names = policy(&["tcp://db.internal:5432"]);
        assert!(names.may_resolve(&peer(), &"tcp://db.internal:5432".parse().unwrap()));
        assert!(!names.may_resolve(&peer(), &"tcp://other.internal:5432".parse().unwrap()));
        assert!(!names.may_resolve(&peer(), &"tcp://db.internal:1".parse().unwrap()));
        assert!(policy(&["tcp://10.0.0.0/8:*"]).may_resolve(&peer(), &"tcp://any:1".parse().unwrap()));
    }

    #[test]
    fn a_rule_reads_as_it_writes() {
        for text in [
            "tcp://10.0.0.0/8:5432",
            "tcp://[fd00::]/8:*",
            "tcp://db.internal:1",
            "tcp://*.internal:*",
            "tcp://[::1]:1",
        ] {
            assert_eq!(text.parse::<TargetRule>().unwrap().to_string(), text);
        }
        for text in [
            "tcp://10.0.0.0/33:1",
            "tcp://10.0.0.0/+8:1",
            "tcp://db/8:1",
            "tcp://*.10.0.0.1:1",
            "tcp://*:1",
            "udp://a:1",
            "udp://127.0.0.1:53",
            "postgres://127.0.0.1:5432/db",
            "tcp://a",
            "tcp://[fd00::]/129:*",
        ] {
            assert!(text.parse::<TargetRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_judge_decides_by_peer_and_target() {
        let judge =
            Judge::new(|peer, target, _| peer.role.name().as_str() == "laptop" && target.port == 5432);
        let policy = TargetPolicy::default().judged_by(judge);
        assert!(policy.may_resolve(&peer(), &"tcp://db:5432".parse().unwrap()));
        assert!(allows(&policy, "tcp://db:5432", "10.0.0.1"));
        assert!(!allows(&policy, "tcp://db:5433", "10.0.0.1"));
        let other = "spiffe://test.adit/org/acme/connector/other".parse().unwrap();
        assert!(!policy.may_resolve(&other, &"tcp://db:5432".parse().unwrap()));
    }

    #[test]
    fn a_judge_alone_opens_no_special_address() {
        let yes = || Judge::new(|_, _, _| true);
        assert!(!allows(&TargetPolicy::default().judged_by(yes()), "tcp://db:1", "169.254.169.254"));
        let named = policy(&["tcp://127.0.0.1:1"]).judged_by(yes());
        assert!(allows(&named, "tcp://127.0.0.1:1", "127.0.0.1"));
    }

    #[test]
    fn what_the_application_serves_is_neither_judged_nor_resolved() {
        let own: Target = "tcp://own:1".parse().unwrap();
        let policy = TargetPolicy::default().serving([own.clone()]).judged_by(Judge::new(|_, _, _| false));
        assert!(policy.serves(&own) && policy.may_resolve(&peer(), &own));
        assert!(!policy.may_resolve(&peer(), &"tcp://own:2".parse().unwrap()));
        assert!(format!("{policy:?}").contains("Judge"));
    }

    fn rule() -> impl Strategy<Value = TargetRule> {
        let host = prop_oneof![
            (any::<IpAddr>(), any::<u8>())
                .prop_map(|(ip, prefix)| HostRule::Network(Network::new(ip.to_canonical(), prefix))),
            "[a-z][a-z0-9-]{0,9}(\\.[a-z]{1,5}){0,2}".prop_map(HostRule::Name),
            "[a-z][a-z0-9-]{0,9}(\\.[a-z]{1,5}){0,2}".prop_map(HostRule::Below),
        ];
        (host, prop::option::of(1..=u16::MAX)).prop_map(|(host, port)| TargetRule { host, port })
    }

    proptest! {
        #[test]
        fn any_rule_reads_as_it_writes(rule in rule()) {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }

        #[test]
        fn the_default_allows_nothing(rule in rule(), ip: IpAddr, port in 1..=u16::MAX) {
            let by_address = Target { host: Host::Ip(ip), port };
            let by_name = Target { host: Host::Name("db".into()), port };
            for target in [by_address, by_name] {
                prop_assert!(!TargetPolicy::default().allows(&peer(), &target, ip));
                let other = rule.port.is_some_and(|allowed| allowed != port);
                prop_assert!(!(other && TargetPolicy::new(vec![rule.clone()]).allows(&peer(), &target, ip)));
            }
        }

        /// However wide the rules are: loopback, link-local, metadata and multicast are not reached by them, in none
        /// of the forms that lead there.
        #[test]
        fn no_wide_rule_leads_to_a_special_address(
            ip in prop::sample::select(vec![
                [0, 0, 0, 0], [127, 0, 0, 1], [127, 1, 2, 3], [169, 254, 169, 254], [100, 100, 100, 200],
                [168, 63, 129, 16], [224, 0, 0, 1], [255, 255, 255, 255],
            ]),
            port in 1..=u16::MAX,
        ) {
            let wide = policy(&["tcp://0.0.0.0/0:*", "tcp://[::]/0:*", "tcp://0.0.0.0/1:*", "tcp://*.a:*", "tcp://a:*"]);
            let bits = u128::from(Ipv4Addr::from(ip).to_bits());
            let forms = [
                0xffff << 32 | bits,
                bits,
                0xffff_0000 << 32 | bits,
                0x0064_ff9b << 96 | bits,
                0x0064_ff9b_0001 << 80 | bits,
                0x2002 << 112 | bits << 80,
                0x2001_0000 << 96 | bits << 64,
                0x2001_0000 << 96 | (!bits & 0xffff_ffff),
            ];
            let forms = forms.map(|form| IpAddr::from(Ipv6Addr::from(form)));
            for ip in forms.into_iter().chain([IpAddr::from(ip)]) {
                for host in [Host::Ip(ip), Host::Name("a".into()), Host::Name("b.a".into())] {
                    prop_assert!(!wide.allows(&peer(), &Target { host, port }, ip), "{ip}");
                }
            }
        }
    }
}
