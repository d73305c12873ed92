//! The flags of `adit relay start`, named as coturn names them where it has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;

use adit_core::relay::{Config, RelayAddress};
use adit_core::turn::address_policy::{Network, Policy};
use adit_core::turn::credentials::Authenticator;
use clap::builder::RangedU64ValueParser;
use clap::{ArgGroup, Args};

use crate::agent::flags::Platform;
use crate::exit::{Exit, Failure};
use crate::{addresses, files};

/// Start the relay.
///
/// With --domain the platform says who may use the relay: the token is exchanged once for an identity whose key never
/// leaves this machine; afterwards the relay starts without token, and from what it has kept while the platform is
/// away. The realm comes from the platform too.
///
/// Without, clients authenticate with time-limited credentials that were made from a shared secret (as coturn's
/// --use-auth-secret), or as users with a password. Peers are denied when they are private, loopback,
/// link-local, multicast or otherwise special, however the address is written, unless --allowed-peer-ip names
/// them.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).multiple(true).arg("domain"))]
#[command(after_help = "Examples:
  adit relay start --domain https://adit.example.com --token-file token --external-ip 203.0.113.7
  adit relay start --static-auth-secret-file secret --external-ip 203.0.113.7
  adit relay start --listen 127.0.0.1:3478 --user-file gw:password --allowed-peer-ip 127.0.0.1
  adit relay start --listen 192.0.2.1:3478 --listen '[2001:db8::1]:3478' --static-auth-secret-file secret

Open UDP for the listening port and for --min-port to --max-port. Nothing needs to be opened at gateways.")]
pub(crate) struct Start {
    /// Where clients are served. Repeat it for more addresses; port 0 takes any free one.
    #[arg(
        long,
        value_name = "ADDR",
        env = "ADIT_LISTEN",
        value_delimiter = ',',
        default_value = "0.0.0.0:3478",
        value_parser = addresses::parse
    )]
    listen: Vec<SocketAddr>,
    /// The realm that credentials belong to. It is in every reply to strangers: keep it short.
    #[arg(long, value_name = "NAME", env = "ADIT_REALM", default_value = "adit", value_parser = realm)]
    realm: String,
    /// This machine's address that relayed addresses are bound to, at most one per family. By default the
    /// listening address, or where that is 0.0.0.0 or ::, the address of the default route.
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    relay_ip: Vec<IpAddr>,
    /// The public address that clients are told, where a NAT maps it one to one: PUBLIC or PUBLIC/PRIVATE, at
    /// most one per family.
    #[arg(long, value_name = "IP", env = "ADIT_EXTERNAL_IP", value_delimiter = ',')]
    external_ip: Vec<External>,
    /// The lowest port of relayed addresses, at least 1024.
    #[arg(long, value_name = "PORT", env = "ADIT_MIN_PORT", default_value_t = 49152, value_parser = port())]
    min_port: u16,
    /// The highest port of relayed addresses.
    #[arg(long, value_name = "PORT", env = "ADIT_MAX_PORT", default_value_t = 65535, value_parser = port())]
    max_port: u16,
    /// A file with the secret that time-limited credentials are made from. Repeat it to keep an old secret
    /// alive while a new one is brought out.
    #[arg(
        long,
        value_name = "FILE",
        env = "ADIT_STATIC_AUTH_SECRET_FILE",
        value_delimiter = ',',
        group = "who"
    )]
    static_auth_secret_file: Vec<PathBuf>,
    /// The secret itself. Every user of this machine can read it in the list of processes: prefer the file.
    #[arg(long, value_name = "SECRET", group = "who")]
    static_auth_secret: Vec<String>,
    /// A user whose password stands in a file. Repeat it for more.
    #[arg(long, value_name = "NAME:FILE", group = "who")]
    user_file: Vec<User>,
    /// A user with a password. Every user of this machine can read it: prefer --user-file.
    #[arg(long, value_name = "NAME:PASSWORD", group = "who")]
    user: Vec<User>,
    /// How many allocations one user may have; 0 is no limit.
    #[arg(long, value_name = "N", env = "ADIT_USER_QUOTA", default_value_t = 0)]
    user_quota: u32,
    /// How many allocations there may be in all; 0 is no limit.
    #[arg(long, value_name = "N", env = "ADIT_TOTAL_QUOTA", default_value_t = 0)]
    total_quota: u32,
    /// A peer or network that may be reached although it is special, such as 10.1.0.0/16 or 127.0.0.1.
    #[arg(long, value_name = "IP|NETWORK", env = "ADIT_ALLOWED_PEER_IP", value_delimiter = ',')]
    allowed_peer_ip: Vec<Network>,
    /// A peer or network that may not be reached, whatever else is allowed.
    #[arg(long, value_name = "IP|NETWORK", env = "ADIT_DENIED_PEER_IP", value_delimiter = ',')]
    denied_peer_ip: Vec<Network>,
    /// Let clients of this relay reach each other by their relayed addresses.
    #[arg(long)]
    allow_relayed_peers: bool,
    /// Accept channel numbers up to 0x7FFF, as RFC 5766 had it: for old clients, coturn's turnutils_uclient
    /// before 4.17 among them.
    #[arg(long)]
    rfc5766_channels: bool,
    #[command(flatten)]
    pub(super) platform: Platform,
}

impl Start {
    /// What the relay is started with.
    pub(super) fn config(self) -> Result<Config, Failure> {
        let authenticator = self.authenticator()?;
        self.config_for(authenticator)
    }

    /// What it is started with where the platform says who may use it.
    pub(super) fn config_with_platform(self) -> Result<Config, Failure> {
        let own = self.static_auth_secret_file.len() + self.static_auth_secret.len();
        if own + self.user_file.len() + self.user.len() > 0 {
            let what =
                "with --domain the platform says who may use the relay, so secrets and users have no place";
            return Err(Failure::new(Exit::Usage, what)
                .next("leave --static-auth-secret, --static-auth-secret-file, --user and --user-file out, or --domain"));
        }
        let nobody = Authenticator::new(&self.realm);
        self.config_for(nobody)
    }

    fn config_for(self, authenticator: Authenticator) -> Result<Config, Failure> {
        if self.min_port > self.max_port {
            let what = format!("--min-port {} lies above --max-port {}", self.min_port, self.max_port);
            return Err(Failure::new(Exit::Usage, what));
        }
        let quota = |number: u32| (number > 0).then_some(number);
        let (ipv4, ipv6) = (self.relay_address(IpAddr::is_ipv4)?, self.relay_address(IpAddr::is_ipv6)?);
        if ipv4.is_none() && ipv6.is_none() {
            return Err(Failure::new(
                Exit::Address,
                "there is no address that relayed addresses could be bound to",
            )
            .next("this machine has no default route: name its address with --relay-ip"));
        }
        Ok(Config {
            ipv4,
            ipv6,
            ports: self.min_port..=self.max_port,
            policy: self.policy(),
            allow_relayed_peers: self.allow_relayed_peers,
            rfc5766_channels: self.rfc5766_channels,
            own_addresses: self.own_addresses(),
            user_quota: quota(self.user_quota),
            total_quota: quota(self.total_quota),
            listen: self.listen.clone(),
            ..Config::new(authenticator)
        })
    }

    /// The relayed address of one family, if the relay serves that family.
    fn relay_address(&self, family: fn(&IpAddr) -> bool) -> Result<Option<RelayAddress>, Failure> {
        let external: Vec<_> = self.external_ip.iter().filter(|external| family(&external.public)).collect();
        let given: Vec<_> = self.relay_ip.iter().copied().filter(family).collect();
        if external.len() > 1 || given.len() > 1 {
            return Err(Failure::new(
                Exit::Usage,
                "--external-ip and --relay-ip are given twice for one family",
            ));
        }
        let external = external.first();
        let bind = external.and_then(|external| external.private).or(given.first().copied());
        let Some(bind) = bind.or_else(|| self.bindable(family)) else { return Ok(None) };
        Ok(Some(RelayAddress { bind, advertised: external.map_or(bind, |external| external.public) }))
    }

    /// An address of the family that the relay listens on.
    fn bindable(&self, family: fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let mut listening = self.listen.iter().map(SocketAddr::ip).filter(family);
        let first = listening.next()?;
        let concrete = std::iter::once(first).chain(listening).find(|ip| !ip.is_unspecified());
        concrete.or_else(|| default_route(first))
    }

    /// The addresses of this machine that the other flags don't name, as far as they are known.
    fn own_addresses(&self) -> Vec<IpAddr> {
        let unspecified = self.listen.iter().map(SocketAddr::ip).filter(IpAddr::is_unspecified);
        let known = unspecified.flat_map(|any| {
            let loopback: IpAddr =
                if any.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            [Some(loopback), default_route(any)]
        });
        known.flatten().collect()
    }

    fn policy(&self) -> Policy {
        let policy = self.allowed_peer_ip.iter().copied().fold(Policy::default_deny(), Policy::allow);
        self.denied_peer_ip.iter().copied().fold(policy, Policy::deny)
    }

    fn authenticator(&self) -> Result<Authenticator, Failure> {
        let mut all = Authenticator::new(&self.realm);
        for path in &self.static_auth_secret_file {
            all = all.with_secret(files::read_secret(path, "the relay's secret")?.as_bytes());
        }
        for secret in &self.static_auth_secret {
            all = all.with_secret(secret.as_bytes());
        }
        for User { name, rest } in &self.user_file {
            all = all.with_user(name, &files::read_secret(rest.as_ref(), "the user's password")?);
        }
        Ok(self.user.iter().fold(all, |all, User { name, rest }| all.with_user(name, rest)))
    }
}

/// PUBLIC or PUBLIC/PRIVATE.
#[derive(Debug, Clone, Copy)]
struct External {
    public: IpAddr,
    private: Option<IpAddr>,
}

impl FromStr for External {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |text: &str| text.parse().map_err(|_| format!("{text:?} is no IP address"));
        let (public, private) = match text.split_once('/') {
            Some((public, private)) => (parse(public)?, Some(parse(private)?)),
            None => (parse(text)?, None),
        };
        if private.is_some_and(|private: IpAddr| private.is_ipv4() != IpAddr::is_ipv4(&public)) {
            return Err("both addresses must be of one family".into());
        }
        Ok(Self { public, private })
    }
}

/// NAME:FILE or NAME:PASSWORD.
#[derive(Debug, Clone)]
struct User {
    name: String,
    rest: String,
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, rest)) if !name.is_empty() && !rest.is_empty() => {
                Ok(Self { name: name.into(), rest: rest.into() })
            }
            _ => Err("a name, a colon and something behind it are needed".into()),
        }
    }
}

/// RFC 8656 §7.2: none of the well-known ports.
fn port() -> RangedU64ValueParser<u16> {
    RangedU64ValueParser::new().range(1024..=u64::from(u16::MAX))
}

/// RFC 8489 §14.9: fewer than 128 characters.
fn realm(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > 127 {
        return Err("a realm has 1 to 127 characters".into());
    }
    Ok(text.to_owned())
}

/// The address that this machine would send from to the internet; connecting a UDP socket sends nothing.
fn default_route(any: IpAddr) -> Option<IpAddr> {
    let target: IpAddr = match any {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(target, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        start: Start,
    }

    fn relay(arguments: &[&str]) -> Config {
        let line = ["relay", "--user", "u:p"].iter().chain(arguments);
        Line::try_parse_from(line).unwrap().start.config().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_family_relays_on_the_address_that_it_listens_on() {
        let config = relay(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
        assert_eq!(config.ipv4, Some(RelayAddress::direct(ip("127.0.0.1"))));
        assert_eq!(config.ipv6, Some(RelayAddress::direct(ip("::1"))));
        assert_eq!(relay(&["--listen", "127.0.0.1:0"]).ipv6, None);
    }

    #[test]
    fn an_external_address_is_what_clients_are_told() {
        let config = relay(&["--listen", "10.0.0.1:3478", "--external-ip", "203.0.113.7"]);
        let expected = RelayAddress { bind: ip("10.0.0.1"), advertised: ip("203.0.113.7") };
        assert_eq!(config.ipv4, Some(expected));
        let config = relay(&["--external-ip", "203.0.113.7/10.0.0.2"]);
        assert_eq!(config.ipv4.unwrap().bind, ip("10.0.0.2"));
    }

    #[test]
    fn someone_must_be_allowed_in() {
        assert!(Line::try_parse_from(["relay"]).is_err());
        assert!(Line::try_parse_from(["relay", "--user", "nobody"]).is_err());
        assert!(Line::try_parse_from(["relay", "--static-auth-secret", "s"]).is_ok());
        let platform = ["relay", "--domain", "a.example", "--listen", "127.0.0.1:0"];
        assert!(Line::try_parse_from(platform).unwrap().start.config_with_platform().is_ok());
    }

    #[test]
    fn the_platform_and_secrets_of_ones_own_do_not_go_together() {
        let both = Line::try_parse_from(["relay", "--domain", "a.example", "--user", "u:p"]).unwrap();
        assert_eq!(both.start.config_with_platform().unwrap_err().exit, Exit::Usage);
    }

    /// RFC 8489 §14.9 and RFC 8656 §7.2.
    #[test]
    fn what_an_rfc_bounds_is_checked() {
        assert!(realm(&"r".repeat(127)).is_ok() && realm(&"r".repeat(128)).is_err() && realm("").is_err());
        let accepts =
            |port: &str| Line::try_parse_from(["relay", "--user", "u:p", "--min-port", port]).is_ok();
        assert!(accepts("1024") && !accepts("1023") && !accepts("65536"));
    }

    #[test]
    fn peers_are_named_by_networks() {
        let policy = relay(&["--allowed-peer-ip", "127.0.0.1", "--denied-peer-ip", "8.8.0.0/16"]).policy;
        assert!(policy.judge(ip("127.0.0.1")).is_ok());
        assert!(policy.judge(ip("8.8.8.8")).is_err());
        assert!(policy.judge(ip("10.0.0.1")).is_err());
    }
}
