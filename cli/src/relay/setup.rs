//! What the settings of a relay come to: the configuration of the machine, with the secrets read from their files.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::{NonZeroU8, NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::time::Duration;

use adit_core::relay::{Alternates, Config, ConnectionLimits, RelayAddress, ReplyBudget};
use adit_core::turn::address_policy::Policy;
use adit_core::turn::credentials::Authenticator;

use super::event_log::{EventLog, Place};
use super::serving::Drain;
use super::settings::{Listen, Realm, Settings, Shards, User};
use crate::agent::flags::Platform;
use crate::exit::{Exit, Failure};
use crate::files;

/// How many threads there are at the most, and how many ports for each, where nobody says how many.
const USUAL_SHARDS: usize = 16;
const PORTS_OF_A_SHARD: usize = 1024;

impl Settings {
    /// What the relay is started with. Where there is a platform it lets nobody in yet.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let authenticator = match self.domain {
            Some(_) => Authenticator::new(self.realm()),
            None => self.authenticator()?,
        };
        let (ipv4, ipv6) = (self.relay_address(IpAddr::is_ipv4), self.relay_address(IpAddr::is_ipv6));
        if ipv4.is_none() && ipv6.is_none() {
            return Err(Failure::new(
                Exit::Address,
                "there is no address that relayed addresses could be bound to",
            )
            .next("this machine has no default route: name its address with --relay-ip"));
        }
        let (min, max) = self.ports();
        let quota = |number: Option<u32>| number.filter(|&number| number > 0);
        self.secured(Config {
            ipv4,
            ipv6,
            ports: min..=max,
            policy: self.policy(),
            allow_relayed_peers: self.allow_relayed_peers.unwrap_or(false),
            rfc5766_channels: self.rfc5766_channels.unwrap_or(false),
            own_addresses: self.own_addresses(),
            user_quota: quota(self.user_quota),
            total_quota: quota(self.total_quota),
            listen: self.listen().into_iter().map(Into::into).collect(),
            ..self.limits(Config::new(authenticator))
        })
    }

    /// `config` with how much one source, one user and one allocation may have.
    fn limits(&self, config: Config) -> Config {
        let connections = ConnectionLimits {
            per_allocation: self.max_connections.unwrap_or(config.connections.per_allocation),
            pending: self.max_pending_connections.unwrap_or(config.connections.pending),
            ..config.connections
        };
        let budget = |rate: u32| ReplyBudget { rate, burst: rate.saturating_mul(4) };
        Config {
            max_rate: self.max_bps.and_then(NonZeroU64::new),
            max_permissions: self.max_permissions.unwrap_or(config.max_permissions),
            max_channels: self.max_channels.unwrap_or(config.max_channels),
            connections,
            reply_budget: self.reply_rate.map_or(config.reply_budget, budget),
            ..config
        }
    }

    /// How many threads relay.
    pub(super) fn shards(&self) -> NonZeroU8 {
        self.shards.map_or_else(|| self.usual_shards(), |Shards(shards)| shards)
    }

    /// One for each core, as far as each has ports enough for some clients.
    fn usual_shards(&self) -> NonZeroU8 {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (min, max) = self.ports();
        let enough = (usize::from(max - min) + 1) / PORTS_OF_A_SHARD;
        let count = cores.min(USUAL_SHARDS).min(enough);
        u8::try_from(count).ok().and_then(NonZeroU8::new).unwrap_or(NonZeroU8::MIN)
    }

    /// Where the platform is and how it is known.
    pub(super) fn platform(&self) -> Platform {
        Platform {
            domain: self.domain.clone(),
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            state_dir: self.state_dir.clone(),
        }
    }

    /// Where events are written down.
    pub(super) fn event_log(&self) -> Result<Option<EventLog>, Failure> {
        let open = |place: &Place| EventLog::open(place.clone(), self.log_users.unwrap_or(false));
        self.event_log.as_ref().map(open).transpose()
    }

    /// How the relay ends.
    pub(super) fn drain(&self) -> Drain {
        let alternates = self.alternate_server.iter().flatten().map(|Listen(address)| *address);
        let (ipv4, ipv6): (Vec<_>, Vec<_>) = alternates.partition(SocketAddr::is_ipv4);
        Drain {
            alternates: Alternates { ipv4: ipv4.first().copied(), ipv6: ipv6.first().copied() },
            grace: Duration::from_secs(self.grace_period.unwrap_or(30)),
        }
    }

    /// The addresses that clients are served on.
    pub(crate) fn listen(&self) -> Vec<SocketAddr> {
        let default = || vec![Listen(SocketAddr::from(([0, 0, 0, 0], 3478)))];
        self.listen.clone().unwrap_or_else(default).into_iter().map(|Listen(address)| address).collect()
    }

    /// The realm of credentials.
    pub(crate) fn realm(&self) -> &str {
        self.realm.as_ref().map_or("adit", |Realm(realm)| realm)
    }

    /// Who may use the relay, where no platform says so.
    pub(crate) fn authenticator(&self) -> Result<Authenticator, Failure> {
        let mut all = Authenticator::new(self.realm());
        for path in self.static_auth_secret_file.iter().flatten() {
            all = all.with_secret(files::read_secret(path, "the relay's secret")?.as_bytes());
        }
        for secret in self.static_auth_secret.iter().flatten() {
            all = all.with_secret(secret.0.as_bytes());
        }
        for User { name, rest } in self.user_file.iter().flatten() {
            all = all.with_user(name, &files::read_secret(rest.as_ref(), "the user's password")?);
        }
        for path in self.users_file.iter().flatten() {
            all = users(path)?.iter().fold(all, |all, User { name, rest }| all.with_user(name, rest));
        }
        Ok(self.user.iter().flatten().fold(all, |all, User { name, rest }| all.with_user(name, rest)))
    }

    /// Who is let in no more.
    pub(crate) fn revoked(&self) -> Result<BTreeSet<String>, Failure> {
        let Some(path) = &self.revoked_file else { return Ok(BTreeSet::new()) };
        let lines = lines(path, "the file of revoked users")?;
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }

    /// Which peers may be reached.
    pub(crate) fn policy(&self) -> Policy {
        let allowed = self.allowed_peer_ip.iter().flatten().copied();
        let policy = allowed.fold(Policy::default_deny(), Policy::allow);
        self.denied_peer_ip.iter().flatten().copied().fold(policy, Policy::deny)
    }

    /// Whether there is a platform.
    pub(crate) fn has_platform(&self) -> bool {
        self.domain.is_some()
    }

    /// Whether a secret or a password stands among them, and not in a file of its own.
    pub(crate) fn shows_a_secret(&self) -> bool {
        self.static_auth_secret.is_some() || self.user.is_some()
    }

    /// What they mean, for people; without secrets.
    pub(crate) fn description(&self) -> Vec<(&'static str, String)> {
        let (min, max) = self.ports();
        let mut all: Vec<_> =
            self.listen().iter().map(|address| ("listens on", address.to_string())).collect();
        all.extend(self.tls_listen().iter().map(|address| ("listens on", format!("{address} for TLS"))));
        all.push(("ports", format!("{min} to {max} of relayed addresses")));
        all.extend(self.shards.map(|Shards(shards)| ("works", format!("on {shards} threads"))));
        for external in self.external_ip.iter().flatten() {
            all.push(("external", external.public.to_string()));
        }
        match &self.domain {
            Some(domain) => all.push(("platform", domain.to_string())),
            None => all.push(("realm", self.realm().to_owned())),
        }
        let count = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let secrets = self.static_auth_secret_file.iter().flatten().count()
            + self.static_auth_secret.iter().flatten().count();
        let users = self.user_file.iter().chain(&self.user).flatten().count();
        let files = self.users_file.iter().flatten().count();
        let who = [count(secrets, "secrets"), count(users, "users"), count(files, "files of users")];
        all.extend(who.into_iter().flatten().map(|who| ("lets in", who)));
        let quota = |quota: Option<u32>, of| match quota {
            None | Some(0) => None,
            Some(most) => Some(("quota", format!("{most} allocations {of}"))),
        };
        all.extend(quota(self.user_quota, "for each user"));
        all.extend(quota(self.total_quota, "in all"));
        let rate = self.max_bps.filter(|&most| most > 0);
        all.extend(rate.map(|most| ("rate", format!("{most} bytes a second for each user, each way"))));
        all.extend(self.allowed_peer_ip.iter().flatten().map(|peer| ("allows", peer.to_string())));
        all.extend(self.denied_peer_ip.iter().flatten().map(|peer| ("denies", peer.to_string())));
        all
    }

    /// The relayed address of one family, if the relay serves that family.
    fn relay_address(&self, family: fn(&IpAddr) -> bool) -> Option<RelayAddress> {
        let external = self.external_ip.iter().flatten().find(|external| family(&external.public));
        let given = self.relay_ip.iter().flatten().copied().find(family);
        let bind = external.and_then(|external| external.private).or(given);
        let bind = bind.or_else(|| self.bindable(family))?;
        Some(RelayAddress { bind, advertised: external.map_or(bind, |external| external.public) })
    }

    /// An address of the family that the relay listens on.
    fn bindable(&self, family: fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let listening = self.listen();
        let mut listening = listening.iter().map(SocketAddr::ip).filter(family);
        let first = listening.next()?;
        let concrete = std::iter::once(first).chain(listening).find(|ip| !ip.is_unspecified());
        concrete.or_else(|| default_route(first))
    }

    /// The addresses of this machine that the other settings don't name, as far as they are known.
    fn own_addresses(&self) -> Vec<IpAddr> {
        let listen = self.listen();
        let unspecified = listen.iter().map(SocketAddr::ip).filter(IpAddr::is_unspecified);
        let known = unspecified.flat_map(|any| {
            let loopback: IpAddr =
                if any.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            [Some(loopback), default_route(any)]
        });
        known.flatten().collect()
    }
}

/// The users in `path`: NAME:PASSWORD in each line, without spaces around them; lines that begin with # say nothing.
fn users(path: &Path) -> Result<Vec<User>, Failure> {
    if let Some(warning) = files::exposed(path, "the file of users") {
        tracing::warn!("{warning}");
    }
    let users = lines(path, "the file of users")?.into_iter();
    users
        .map(|(number, line)| {
            line.parse()
                .map_err(|what: String| Failure::config(format!("{}:{number}: {what}", path.display())))
        })
        .collect()
}

/// The lines of `path`, which is `role`, with their numbers; without those that are empty or begin with #.
fn lines(path: &Path, role: &str) -> Result<Vec<(usize, String)>, Failure> {
    let text = String::from_utf8(files::read(path, role)?)
        .map_err(|_| Failure::config(format!("{role} {} is no text", path.display())))?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    Ok(said.map(|(number, line)| (number, line.to_owned())).collect())
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
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::parse(Path::new("relay.toml"), text).unwrap()
    }

    fn config(text: &str) -> Config {
        settings(text).config().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_family_relays_on_the_address_that_it_listens_on() {
        let both = config("listen = ['127.0.0.1:0', '[::1]:0']");
        assert_eq!(both.ipv4, Some(RelayAddress::direct(ip("127.0.0.1"))));
        assert_eq!(both.ipv6, Some(RelayAddress::direct(ip("::1"))));
        assert_eq!(config("listen = '127.0.0.1:0'").ipv6, None);
    }

    #[test]
    fn an_external_address_is_what_clients_are_told() {
        let told = config("listen = '10.0.0.1:3478'\nexternal-ip = '203.0.113.7'");
        let expected = RelayAddress { bind: ip("10.0.0.1"), advertised: ip("203.0.113.7") };
        assert_eq!(told.ipv4, Some(expected));
        assert_eq!(config("external-ip = '203.0.113.7/10.0.0.2'").ipv4.unwrap().bind, ip("10.0.0.2"));
    }

    #[test]
    fn there_are_as_many_shards_as_are_good_for_the_ports() {
        let shards = |text: &str| settings(text).shards().get();
        assert_eq!(shards("shards = 3"), 3);
        assert_eq!(shards("min-port = 50000\nmax-port = 51999"), 1, "for so few ports, however many cores");
        assert!((1..=16).contains(&shards("")));
        for wrong in ["shards = 0", "shards = 65", "shards = 2\nmin-port = 50000\nmax-port = 50002"] {
            assert!(Settings::parse(Path::new("relay.toml"), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn peers_are_named_by_networks() {
        let policy = settings("allowed-peer-ip = '127.0.0.1'\ndenied-peer-ip = '8.8.0.0/16'").policy();
        assert!(policy.judge(ip("127.0.0.1")).is_ok());
        assert!(policy.judge(ip("8.8.8.8")).is_err());
        assert!(policy.judge(ip("10.0.0.1")).is_err());
    }

    #[test]
    fn users_stand_one_in_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, "# ours\n\nada:wonder:land\n bob:builder\n").unwrap();
        let read = users(&path).unwrap();
        assert_eq!((read.len(), read[0].rest.as_str(), read[1].name.as_str()), (2, "wonder:land", "bob"));
        std::fs::write(&path, "ada:wonder\nbob\n").unwrap();
        assert!(users(&path).unwrap_err().what.contains("users:2: a name, a colon"));
    }
}
