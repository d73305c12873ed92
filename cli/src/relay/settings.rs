//! What a relay can be told. Each setting is a flag, most are a variable of the environment, and all are a key of the
//! file, under one name and with one meaning.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use adit_core::turn::address_policy::Network;
use adit_platform::client::Domain;
use clap::Args;
use serde::{Deserialize, Deserializer};

use super::event_log;
use crate::addresses;
use crate::config::toml_file::{self, Text, Texts};
use crate::exit::Failure;
use crate::monitor;

/// The settings that one place gives: the command line with the environment, or the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Settings {
    /// Where clients are served, by UDP and TCP [default: 0.0.0.0:3478]. Repeat it for more addresses; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", env = "ADIT_LISTEN", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) listen: Option<Vec<Listen>>,
    /// The realm that credentials belong to [default: adit]. It is in every reply to strangers: keep it short.
    #[arg(long, value_name = "NAME", env = "ADIT_REALM")]
    pub(super) realm: Option<Realm>,
    /// This machine's address that relayed addresses are bound to, at most one per family. By default the
    /// listening address, or where that is 0.0.0.0 or ::, the address of the default route.
    #[arg(long, value_name = "IP", env = "ADIT_RELAY_IP", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) relay_ip: Option<Vec<IpAddr>>,
    /// The public address that clients are told, where a NAT maps it one to one: PUBLIC or PUBLIC/PRIVATE, at
    /// most one per family.
    #[arg(long, value_name = "IP", env = "ADIT_EXTERNAL_IP", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) external_ip: Option<Vec<External>>,
    /// The lowest port of relayed addresses, at least 1024 [default: 49152].
    #[arg(long, value_name = "PORT", env = "ADIT_MIN_PORT")]
    pub(super) min_port: Option<Port>,
    /// The highest port of relayed addresses [default: 65535].
    #[arg(long, value_name = "PORT", env = "ADIT_MAX_PORT")]
    pub(super) max_port: Option<Port>,
    /// On how many threads the relay works: shards, each with its own clients and its part of the ports [default: one for
    /// each core, at most 16, and one for each 1024 ports]. Quotas, --max-bps and --reply-rate are for all of them together.
    #[arg(long, value_name = "N", env = "ADIT_SHARDS")]
    pub(super) shards: Option<Shards>,
    /// A file with the secret that time-limited credentials are made from. Repeat it to keep an old secret
    /// alive while a new one is brought out.
    #[arg(long, value_name = "FILE", env = "ADIT_STATIC_AUTH_SECRET_FILE", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) static_auth_secret_file: Option<Vec<PathBuf>>,
    /// The secret itself. Every user of this machine can read it in the list of processes: prefer the file.
    #[arg(long, value_name = "SECRET")]
    #[serde(deserialize_with = "texts")]
    pub(super) static_auth_secret: Option<Vec<Secret>>,
    /// A user whose password stands in a file. Repeat it for more.
    #[arg(long, value_name = "NAME:FILE", env = "ADIT_USER_FILE", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) user_file: Option<Vec<User>>,
    /// A file with users: NAME:PASSWORD in each line.
    #[arg(long, value_name = "FILE", env = "ADIT_USERS_FILE", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) users_file: Option<Vec<PathBuf>>,
    /// A user with a password. Every user of this machine can read it: prefer --user-file.
    #[arg(long, value_name = "NAME:PASSWORD")]
    #[serde(deserialize_with = "texts")]
    pub(super) user: Option<Vec<User>>,
    /// A file with the ids of users who are let in no more, one in each line, although their time-limited credentials have
    /// not run out: what stands behind the first colon of the username.
    #[arg(long, value_name = "FILE", env = "ADIT_REVOKED_FILE")]
    pub(super) revoked_file: Option<PathBuf>,
    /// How many allocations one user may have; 0 is no limit [default: 0].
    #[arg(long, value_name = "N", env = "ADIT_USER_QUOTA")]
    pub(super) user_quota: Option<u32>,
    /// How many allocations there may be in all; 0 is no limit [default: 0].
    #[arg(long, value_name = "N", env = "ADIT_TOTAL_QUOTA")]
    pub(super) total_quota: Option<u32>,
    /// How many bytes a second are relayed for one user, each way; 0 is no limit [default: 0].
    #[arg(long, value_name = "BYTES", env = "ADIT_MAX_BPS")]
    pub(super) max_bps: Option<u64>,
    /// How many permissions an allocation may have [default: 128].
    #[arg(long, value_name = "N", env = "ADIT_MAX_PERMISSIONS")]
    pub(super) max_permissions: Option<usize>,
    /// How many channels an allocation may have [default: 128].
    #[arg(long, value_name = "N", env = "ADIT_MAX_CHANNELS")]
    pub(super) max_channels: Option<usize>,
    /// How many TCP connections with peers an allocation may have (RFC 6062); 0 relays no TCP [default: 64].
    #[arg(long, value_name = "N", env = "ADIT_MAX_CONNECTIONS")]
    pub(super) max_connections: Option<usize>,
    /// How many of them may be under way, or wait for their client [default: 16].
    #[arg(long, value_name = "N", env = "ADIT_MAX_PENDING_CONNECTIONS")]
    pub(super) max_pending_connections: Option<usize>,
    /// How many replies a second a source gets before it has shown who it is, and four times as many at once [default: 50].
    #[arg(long, value_name = "N", env = "ADIT_REPLY_RATE")]
    pub(super) reply_rate: Option<u32>,
    /// A peer or network that may be reached although it is special, such as 10.1.0.0/16 or 127.0.0.1.
    #[arg(long, value_name = "IP|NETWORK", env = "ADIT_ALLOWED_PEER_IP", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) allowed_peer_ip: Option<Vec<Network>>,
    /// A peer or network that may not be reached, whatever else is allowed.
    #[arg(long, value_name = "IP|NETWORK", env = "ADIT_DENIED_PEER_IP", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) denied_peer_ip: Option<Vec<Network>>,
    /// Let clients of this relay reach each other by their relayed addresses.
    #[arg(long, value_name = "BOOL", env = "ADIT_ALLOW_RELAYED_PEERS")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) allow_relayed_peers: Option<bool>,
    /// Accept channel numbers up to 0x7FFF, as RFC 5766 had it: for old clients, coturn's turnutils_uclient
    /// before 4.17 among them.
    #[arg(long, value_name = "BOOL", env = "ADIT_RFC5766_CHANNELS")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) rfc5766_channels: Option<bool>,
    /// A file with the certificate, PEM, with those of its issuers behind it, that clients which speak TLS or DTLS are
    /// shown, on all listening addresses. DTLS needs one with an ECDSA key on P-256 or P-384.
    #[arg(long, value_name = "FILE", env = "ADIT_TLS_CERT", alias = "cert")]
    pub(super) tls_cert: Option<PathBuf>,
    /// A file with the certificate's key, PEM.
    #[arg(long, value_name = "FILE", env = "ADIT_TLS_KEY", alias = "pkey")]
    pub(super) tls_key: Option<PathBuf>,
    /// Where clients look for TLS and DTLS [default: port 5349 of the listening addresses, where there is a certificate].
    /// Plain clients are served there too.
    #[arg(long, value_name = "ADDR", env = "ADIT_TLS_LISTEN", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) tls_listen: Option<Vec<Listen>>,
    /// Where new clients are sent (300, ALTERNATE-SERVER) while the relay waits for its end; at most one per family.
    /// Without, they are refused (508).
    #[arg(long, value_name = "ADDR", env = "ADIT_ALTERNATE_SERVER", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(super) alternate_server: Option<Vec<Listen>>,
    /// For how many seconds a stop waits for clients to move [default: 30].
    #[arg(long, value_name = "SECONDS", env = "ADIT_GRACE_PERIOD")]
    pub(super) grace_period: Option<u64>,
    /// A file to which what becomes of allocations is written, one JSON object a line; - is standard output. SIGHUP goes on
    /// in a new file where the old one was moved away.
    #[arg(long, value_name = "FILE|-", env = "ADIT_EVENT_LOG")]
    #[serde(deserialize_with = "text")]
    pub(super) event_log: Option<event_log::Place>,
    /// Show the names of users there, in place of words that stand for them until the relay ends.
    #[arg(long, value_name = "BOOL", env = "ADIT_LOG_USERS")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) log_users: Option<bool>,
    /// Where /healthz, /readyz and /metrics are shown, or none [default: 127.0.0.1:9478, unless that is taken].
    #[arg(long, value_name = "ADDR|none", env = "ADIT_MONITOR_LISTEN")]
    #[serde(deserialize_with = "text")]
    pub(super) monitor_listen: Option<monitor::Listen>,
    /// The platform: a host name, or a URL that begins with `https://`. It says who may use the relay.
    #[arg(long, value_name = "URL", env = "ADIT_DOMAIN", help_heading = PLATFORM)]
    #[serde(deserialize_with = "text")]
    pub(super) domain: Option<Domain>,
    /// The file with the enrolment token. It is needed once; afterwards the state directory has a key instead.
    #[arg(long, value_name = "FILE", env = "ADIT_TOKEN_FILE", help_heading = PLATFORM)]
    pub(super) token_file: Option<PathBuf>,
    /// The authority of the platform's certificate, PEM, where that is neither public nor named by the token.
    #[arg(long, value_name = "FILE", env = "ADIT_CA_FILE", help_heading = PLATFORM)]
    pub(super) ca_file: Option<PathBuf>,
    /// Where the key, the certificate and the last instructions are kept [default: $STATE_DIRECTORY, or a directory
    /// of its own below /var/lib/adit].
    #[arg(long, value_name = "DIR", env = "ADIT_STATE_DIR", help_heading = PLATFORM)]
    pub(super) state_dir: Option<PathBuf>,
}

/// More shards than machines have cores.
const MOST_SHARDS: u8 = 64;

/// The heading of what is for a relay with a platform.
const PLATFORM: &str = "With a platform";

/// Each setting from the first place that gives it. The compiler sees to it that none is forgotten.
macro_rules! first_of {
    ($above:ident, $below:ident: $($setting:ident)*) => {{
        let Settings { $($setting),* } = $above;
        Settings { $($setting: $setting.or($below.$setting)),* }
    }};
}

/// Puts the settings of a running relay back where another one has changed them.
macro_rules! keep {
    ($new:ident, $running:ident, $kept:ident: $($setting:ident)*) => {
        $(if $new.$setting != $running.$setting {
            $new.$setting.clone_from(&$running.$setting);
            $kept.push(stringify!($setting).replace('_', "-"));
        })*
    };
}

impl Settings {
    /// What `text`, which is the file at `path`, gives. Files that it names are relative to it.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let settings: Self = toml_file::parse(path, text)?;
        settings.judge().map_err(|what| Failure::config(what).within(path))?;
        Ok(settings.relative_to(path.parent().unwrap_or(Path::new(""))))
    }

    /// These, and those of `below` where these say nothing.
    pub(super) fn or(self, below: Self) -> Self {
        first_of!(self, below:
            listen realm relay_ip external_ip min_port max_port shards static_auth_secret_file static_auth_secret
            user_file users_file user revoked_file user_quota total_quota max_bps max_permissions max_channels max_connections max_pending_connections reply_rate allowed_peer_ip denied_peer_ip allow_relayed_peers
            rfc5766_channels tls_cert tls_key tls_listen alternate_server grace_period event_log log_users monitor_listen domain token_file ca_file state_dir)
    }

    /// Goes on with what `running` says where that can't change while the relay runs. The settings that were to change
    /// all the same.
    pub(super) fn keep_fixed(&mut self, running: &Self) -> Vec<String> {
        let mut kept = Vec::new();
        keep!(self, running, kept:
            listen realm relay_ip external_ip min_port max_port shards rfc5766_channels tls_listen event_log log_users monitor_listen domain
            token_file ca_file state_dir);
        kept
    }

    /// Whether `key` names a setting.
    pub(crate) fn is_key(key: &str) -> bool {
        let command = Self::augment_args(clap::Command::new("relay"));
        command.get_arguments().any(|argument| argument.get_long() == Some(key))
    }

    fn relative_to(mut self, base: &Path) -> Self {
        let lists = [&mut self.static_auth_secret_file, &mut self.users_file];
        let single = [
            &mut self.revoked_file,
            &mut self.tls_cert,
            &mut self.tls_key,
            &mut self.token_file,
            &mut self.ca_file,
            &mut self.state_dir,
        ];
        let listed = lists.into_iter().flatten().flatten();
        listed.chain(single.into_iter().flatten()).for_each(|path| *path = base.join(&*path));
        if let Some(event_log::Place::File(path)) = &mut self.event_log {
            *path = base.join(&*path);
        }
        for user in self.user_file.iter_mut().flatten() {
            user.rest = base.join(&user.rest).to_string_lossy().into_owned();
        }
        self
    }

    /// Looks whether what is said goes together.
    ///
    /// # Errors
    /// A sentence that names what does not.
    pub(super) fn judge(&self) -> Result<(), String> {
        let (min, max) = self.ports();
        if min > max {
            return Err(format!("min-port {min} lies above max-port {max}"));
        }
        let ports = usize::from(max - min) + 1;
        if let Some(Shards(shards)) =
            self.shards.filter(|Shards(shards)| usize::from(shards.get()) > ports / 2)
        {
            return Err(format!(
                "{shards} shards need more than the {ports} ports from min-port to max-port"
            ));
        }
        let external = self.external_ip.iter().flatten().map(|external| external.public);
        let relay = self.relay_ip.iter().flatten().copied();
        let alternate = self.alternate_server.iter().flatten().map(|Listen(address)| address.ip());
        for (name, addresses) in [
            ("external-ip", external.collect::<Vec<_>>()),
            ("relay-ip", relay.collect()),
            ("alternate-server", alternate.collect()),
        ] {
            let v4 = addresses.iter().filter(|ip| ip.is_ipv4()).count();
            if v4 > 1 || addresses.len() - v4 > 1 {
                return Err(format!("{name} is given twice for one family"));
            }
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("tls-cert and tls-key go together".into());
        }
        if self.tls_listen.is_some() && self.tls_cert.is_none() {
            return Err("tls-listen needs tls-cert and tls-key".into());
        }
        if self.domain.is_some() && self.revoked_file.is_some() {
            return Err(
                "with a domain the platform says who is revoked: leave revoked-file out, or domain".into()
            );
        }
        if self.domain.is_some() && self.lets_somebody_in() {
            return Err("with a domain the platform says who may use the relay: leave static-auth-secret, \
                 static-auth-secret-file, user, user-file and users-file out, or domain"
                .into());
        }
        Ok(())
    }

    /// Whether there is a secret or a user.
    pub(crate) fn lets_somebody_in(&self) -> bool {
        let Self { static_auth_secret, static_auth_secret_file, user, user_file, users_file, .. } = self;
        let files = static_auth_secret_file.iter().chain(users_file).flatten().count();
        files + static_auth_secret.iter().flatten().count() + user.iter().chain(user_file).flatten().count()
            > 0
    }

    /// The lowest and the highest port of relayed addresses.
    pub(super) fn ports(&self) -> (u16, u16) {
        let or = |port: Option<Port>, other| port.map_or(other, |Port(port)| port);
        (or(self.min_port, 49152), or(self.max_port, 65535))
    }
}

/// How many threads relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(super) struct Shards(pub(super) NonZeroU8);

impl TryFrom<u8> for Shards {
    type Error = String;

    fn try_from(count: u8) -> Result<Self, String> {
        let count = NonZeroU8::new(count).filter(|count| count.get() <= MOST_SHARDS);
        count.map(Self).ok_or_else(|| format!("there are 1 to {MOST_SHARDS} shards"))
    }
}

impl FromStr for Shards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.parse::<u8>().map_err(|_| format!("{text:?} is no number of shards"))?)
    }
}

/// An address that clients are served on, here or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen(pub(super) SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        addresses::parse(text).map(Self)
    }
}

/// RFC 8489 §14.9: fewer than 128 characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Realm(pub(super) String);

impl FromStr for Realm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Realm {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.chars().count() {
            1..=127 => Ok(Self(text)),
            _ => Err("a realm has 1 to 127 characters".into()),
        }
    }
}

/// PUBLIC or PUBLIC/PRIVATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct External {
    pub(super) public: IpAddr,
    pub(super) private: Option<IpAddr>,
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

/// RFC 8656 §7.2: none of the well-known ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub(super) struct Port(u16);

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.parse::<u16>().map_err(|_| format!("{text:?} is no port"))?)
    }
}

impl TryFrom<u16> for Port {
    type Error = String;

    fn try_from(port: u16) -> Result<Self, String> {
        match port {
            1024.. => Ok(Self(port)),
            _ => Err(format!("{port} is a well-known port: relayed addresses begin at 1024")),
        }
    }
}

/// A secret that stands where it is used.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a secret is not empty".into()) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// NAME:FILE or NAME:PASSWORD.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) rest: String,
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

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    Text::deserialize(deserializer).map(|Text(value)| Some(value))
}

fn texts<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    Texts::deserialize(deserializer).map(|Texts(values)| Some(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, Failure> {
        Settings::parse(Path::new("/etc/adit/relay.toml"), text)
    }

    #[test]
    fn a_file_says_what_flags_say() {
        let file = parse(
            "listen = ['192.0.2.1:3478', '[2001:db8::1]:3478']\nrealm = 'example.org'\nmin-port = 50000\n\
             static-auth-secret-file = 'secret'\nuser-file = ['gw:keys/gw']\nallowed-peer-ip = '10.0.0.0/8'\n\
             allow-relayed-peers = true\nuser-quota = 3\n",
        )
        .unwrap();
        assert_eq!(file.listen.as_ref().map(Vec::len), Some(2));
        assert_eq!(file.ports(), (50000, 65535));
        assert_eq!(file.static_auth_secret_file.unwrap(), [Path::new("/etc/adit/secret")]);
        assert_eq!(file.user_file.unwrap()[0].rest, "/etc/adit/keys/gw");
        assert_eq!((file.user_quota, file.allow_relayed_peers), (Some(3), Some(true)));
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let what = |text| parse(text).unwrap_err().what;
        assert_eq!(what("\nrelam = 'a'"), "/etc/adit/relay.toml:2: unknown key `relam`");
        assert!(
            what("realm = 'a'\nmin-port = 80\n").starts_with("/etc/adit/relay.toml:2: 80 is a well-known")
        );
        assert!(what("\n\nlisten = ['here']").contains("relay.toml:3: `here` is no IP address"));
        assert!(what("denied-peer-ip = ['10.0.0.0/33']").starts_with("/etc/adit/relay.toml:1: "));
        assert!(what("realm = ''").contains("1 to 127"));
        assert!(what("min-port = 3000\nmax-port = 2000").contains("min-port 3000 lies above max-port 2000"));
        assert!(what("external-ip = ['192.0.2.1', '192.0.2.2']").contains("twice for one family"));
        assert!(what("domain = 'a.example'\nuser = 'a:b'").contains("the platform says who"));
    }

    #[test]
    fn what_one_place_says_another_does_not_add_to() {
        let above = Settings { user_quota: Some(1), ..Settings::default() };
        let below = parse("user-quota = 2\ntotal-quota = 3").unwrap();
        let both = above.or(below);
        assert_eq!((both.user_quota, both.total_quota), (Some(1), Some(3)));
    }

    #[test]
    fn keys_are_the_names_of_flags() {
        assert!(["listen", "users-file", "state-dir"].into_iter().all(Settings::is_key));
        assert!(!Settings::is_key("relays") && !Settings::is_key("targets"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = parse("static-auth-secret = 'north'\nuser = 'ada:wonder'").unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("ada") && !shown.contains("north") && !shown.contains("wonder"), "{shown}");
    }

    /// RFC 8489 §14.9 and RFC 8656 §7.2.
    #[test]
    fn what_an_rfc_bounds_is_checked() {
        let realm = |text: &str| text.parse::<Realm>().is_ok();
        assert!(realm(&"r".repeat(127)) && !realm(&"r".repeat(128)) && !realm(""));
        let port = |text: &str| text.parse::<Port>().is_ok();
        assert!(port("1024") && !port("1023") && !port("65536"));
    }
}
