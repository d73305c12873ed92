//! What each of coturn's options is here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::conf::Line;
use super::ranges::{self, Range};
use crate::relay::settings::{External, Port, Realm, User};

/// What becomes of an option that is no setting of a relay's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is so here without being said.
    Always,
    /// There is nothing like it, for this reason.
    Nothing(&'static str),
}

use Fate::{Always, Nothing};

/// The options that need no key, and those that have none. All others are translated below.
const FATES: &[(&str, Fate)] = &[
    ("lt-cred-mech", Always),
    ("use-auth-secret", Always),
    ("no-multicast-peers", Always),
    ("no-software-attribute", Always),
    ("no-rfc5780", Always),
    ("no-stun-backward-compatibility", Always),
    ("response-origin-only-with-rfc5780", Always),
    ("no-tlsv1", Always),
    ("no-tlsv1_1", Always),
    ("no-cli", Always),
    ("no-auth-pings", Always),
    ("no-dynamic-ip-list", Always),
    ("no-dynamic-realms", Always),
    ("no-stdout-log", Always),
    ("no-http", Always),
    ("no-loopback-peers", Always),
    ("no-auth", Nothing("everybody shows who they are: give them a user or time-limited credentials")),
    ("oauth", Nothing("third-party authorisation (RFC 7635) is not spoken")),
    ("server-name", Nothing("third-party authorisation (RFC 7635) is not spoken")),
    ("secure-stun", Nothing("Binding requests are answered to everybody, within a budget for each source")),
    ("stun-only", Nothing("a relay relays")),
    ("no-stun", Nothing("Binding requests are always answered; a client asks one to learn its own address")),
    (
        "fingerprint",
        Nothing("FINGERPRINT tells STUN from other protocols on one port, and there is none here"),
    ),
    ("check-origin-consistency", Nothing("ORIGIN is no longer part of STUN")),
    ("software-attribute", Nothing("strangers are not told what runs here")),
    ("mobility", Always),
    ("server-relay", Nothing("peers without a permission are never let through")),
    ("no-udp", Nothing("clients are always served over UDP")),
    ("no-udp-relay", Nothing("UDP is always relayed")),
    ("listening-device", Nothing("name the addresses of the device with listen")),
    ("relay-device", Nothing("name the address of the device with relay-ip")),
    ("alt-listening-port", Nothing("NAT discovery (RFC 5780) is not spoken")),
    ("alt-tls-listening-port", Nothing("NAT discovery (RFC 5780) is not spoken")),
    ("tcp-proxy-port", Nothing("the PROXY protocol is not spoken")),
    ("udp-self-balance", Nothing("clients are not spread over listening addresses")),
    ("relay-threads", Nothing("there is a thread for each core, or as many as shards says")),
    ("ne", Nothing("there is one network engine")),
    (
        "alternate-server",
        Nothing(
            "coturn sends all clients elsewhere, always; here alternate-server counts while the relay \
                                  waits for its end",
        ),
    ),
    (
        "tls-alternate-server",
        Nothing(
            "coturn sends all clients elsewhere, always; here alternate-server counts while the \
                                      relay waits for its end",
        ),
    ),
    ("bps-capacity", Nothing("there is no limit for all clients together: shape the machine's traffic")),
    ("channel-lifetime", Nothing("ten minutes, as RFC 8656 says")),
    ("permission-lifetime", Nothing("five minutes, as RFC 8656 says")),
    (
        "max-allocate-timeout",
        Nothing("an allocation is answered when its ports are bound, within ten seconds"),
    ),
    (
        "keep-address-family",
        Nothing("without being asked for another one an address is of IPv4, as RFC 8656 says"),
    ),
    ("userdb", Nothing("there is no database of users: a platform, users-file or static-auth-secret-file")),
    ("db", Nothing("there is no database of users: a platform, users-file or static-auth-secret-file")),
    (
        "psql-userdb",
        Nothing("there is no database of users: a platform, users-file or static-auth-secret-file"),
    ),
    (
        "sql-userdb",
        Nothing("there is no database of users: a platform, users-file or static-auth-secret-file"),
    ),
    (
        "mysql-userdb",
        Nothing("there is no database of users: a platform, users-file or static-auth-secret-file"),
    ),
    (
        "mongo-userdb",
        Nothing("there is no database of users: a platform, users-file or static-auth-secret-file"),
    ),
    (
        "redis-userdb",
        Nothing("there is no database of users: a platform, users-file or static-auth-secret-file"),
    ),
    (
        "secret-key-file",
        Nothing("there is no database of users: a platform, users-file or static-auth-secret-file"),
    ),
    ("redis-statsdb", Nothing("numbers are at /metrics, for Prometheus to fetch")),
    (
        "prometheus-username-labels",
        Nothing("users are no part of metrics: they are personal, and have no bound"),
    ),
    ("pkey-pwd", Nothing("keys are not encrypted: have the file readable by the relay's user only")),
    ("no-tcp", Nothing("TCP is served on all listening addresses: close the port to it in the firewall")),
    ("CA-file", Nothing("clients show no certificates")),
    ("cipher-list", Nothing("TLS has the ciphers that are good today")),
    ("ec-curve-name", Nothing("TLS has the curves that are good today")),
    ("dh566", Nothing("TLS has no exchange over finite fields")),
    ("dh1066", Nothing("TLS has no exchange over finite fields")),
    ("dh-file", Nothing("TLS has no exchange over finite fields")),
    ("no-tlsv1_2", Nothing("TLS 1.2 and 1.3 are spoken")),
    ("raw-public-keys", Nothing("certificates are X.509")),
    ("acme-redirect", Nothing("there is no web server")),
    ("respond-http-unsupported", Nothing("there is no web server")),
    ("web-admin", Nothing("there is no web server for administration")),
    ("web-admin-ip", Nothing("there is no web server for administration")),
    ("web-admin-port", Nothing("there is no web server for administration")),
    ("web-admin-listen-on-workers", Nothing("there is no web server for administration")),
    (
        "cli-ip",
        Nothing("there is no port for commands: SIGHUP has the file read again, /metrics shows numbers"),
    ),
    (
        "cli-port",
        Nothing("there is no port for commands: SIGHUP has the file read again, /metrics shows numbers"),
    ),
    (
        "cli-password",
        Nothing("there is no port for commands: SIGHUP has the file read again, /metrics shows numbers"),
    ),
    ("cli-max-output-sessions", Nothing("there is no port for commands")),
    ("verbose", Nothing("RUST_LOG=debug shows every session")),
    ("Verbose", Nothing("RUST_LOG=debug shows every session")),
    ("log-file", Nothing("the log goes to standard error, which systemd keeps")),
    ("syslog", Nothing("the log goes to standard error, which systemd keeps")),
    ("syslog-facility", Nothing("the log goes to standard error, which systemd keeps")),
    ("simple-log", Nothing("the log goes to standard error, which systemd keeps")),
    ("new-log-timestamp", Nothing("log lines always have full times")),
    ("new-log-timestamp-format", Nothing("log lines always have full times")),
    ("log-binding", Nothing("Binding requests are counted, not logged")),
    ("daemon", Nothing("the relay stays in the foreground, where systemd has it")),
    ("pidfile", Nothing("the relay stays in the foreground, where systemd has it")),
    ("proc-user", Nothing("systemd says which user runs the relay: User=")),
    ("proc-group", Nothing("systemd says which user runs the relay: Group=")),
];

/// Options whose values are nobody's business.
const SECRET: &[&str] = &["user", "static-auth-secret"];

/// What a configuration comes to.
#[derive(Debug, Default)]
pub(super) struct Translation {
    /// Each setting, with the lines that it was made from.
    settings: Vec<(Vec<String>, String)>,
    /// Each option without counterpart once: the line, or 0 where it is about what was not said; the name; why.
    nothing: Vec<(usize, String, String)>,
    /// Files beside the output, and what is in them.
    secrets: Vec<(String, String)>,
}

impl Translation {
    /// What `lines` come to. Files of secrets begin with `stem`.
    pub(super) fn of(lines: &[Line], stem: &str) -> Self {
        let mut made = Self::default();
        let mut options = Options { by_name: BTreeMap::new() };
        for line in lines {
            match FATES.iter().find(|(name, _)| *name == line.name) {
                Some((_, Always)) => {}
                // An option that is said to be off asks for nothing.
                Some((_, Nothing(why))) if line.is_on() || !line.value.is_empty() && !is_switch(line) => {
                    made.nothing(line, why);
                }
                Some(_) => {}
                None => options.by_name.entry(line.name.clone()).or_default().push(line.clone()),
            }
        }
        made.addresses(&mut options);
        made.users(&mut options, stem);
        made.limits(&mut options);
        made.peers(&mut options);
        made.monitoring(&mut options);
        for line in options.by_name.into_values().flatten() {
            made.nothing(&line, "coturn has no such option");
        }
        made.nothing.sort();
        made
    }

    /// The relay's file.
    pub(super) fn text(&self, source: &str) -> String {
        let mut text = format!("# A relay's file, made from {source} by `adit relay import-coturn`.\n");
        for (from, setting) in &self.settings {
            let from = from.join(", ");
            write!(text, "\n# {from}\n{setting}\n").expect("a String takes everything");
        }
        if !self.nothing.is_empty() {
            text.push_str("\n# What coturn was told besides, and has no counterpart:\n");
        }
        for nothing in &self.nothing {
            writeln!(text, "# {}", told(nothing)).expect("a String takes everything");
        }
        text
    }

    /// The files of secrets: their names, and what is in them.
    pub(super) fn secrets(&self) -> &[(String, String)] {
        &self.secrets
    }

    /// Says what has no counterpart.
    pub(super) fn tell(&self) {
        for nothing in &self.nothing {
            tracing::warn!("{}", told(nothing));
        }
    }

    fn nothing(&mut self, line: &Line, why: &str) {
        if self.nothing.iter().all(|(_, name, _)| *name != line.name) {
            self.nothing.push((line.number, line.name.clone(), why.to_owned()));
        }
    }

    fn setting(&mut self, from: &[Line], setting: String) {
        let shown = from.iter().map(|line| match line.value.as_str() {
            "" => line.name.clone(),
            _ if SECRET.contains(&line.name.as_str()) => format!("{}=…", line.name),
            value => format!("{}={value}", line.name),
        });
        self.settings.push((shown.collect(), setting));
    }

    fn list<T: ToString>(&mut self, from: &[Line], key: &str, values: &[T]) {
        if !values.is_empty() {
            let values: Vec<_> = values.iter().map(|value| quoted(&value.to_string())).collect();
            self.setting(from, format!("{key} = [{}]", values.join(", ")));
        }
    }

    /// Where clients come, and where relayed addresses are.
    fn addresses(&mut self, options: &mut Options) {
        let port = options.last("listening-port");
        let number = port.as_ref().and_then(|line| line.value.parse().ok()).unwrap_or(3478);
        let ips = options.all("listening-ip");
        let aux = options.all("aux-server");
        let mut listen: Vec<SocketAddr> = Vec::new();
        for line in &ips {
            match line.value.parse::<IpAddr>() {
                Ok(ip) => listen.push(SocketAddr::new(ip, number)),
                Err(_) => self.nothing(line, "this is no IP address"),
            }
        }
        if listen.is_empty() && (port.is_some() || !aux.is_empty()) {
            listen.push(SocketAddr::from(([0, 0, 0, 0], number)));
        }
        for line in &aux {
            match line.value.parse() {
                Ok(address) => listen.push(address),
                Err(_) => self.nothing(line, "this is no IP address with a port"),
            }
        }
        self.list(&[port.as_slice(), &ips, &aux].concat(), "listen", &listen);
        self.certificate(options, &listen);
        self.one_for_each_family(options, "relay-ip", |value| value.parse::<IpAddr>().ok());
        self.one_for_each_family(options, "external-ip", |value| {
            value.parse::<External>().ok().map(|external| external.public)
        });
        for key in ["min-port", "max-port"] {
            let Some(line) = options.last(key) else { continue };
            match line.value.parse::<Port>() {
                Ok(_) => self.setting(std::slice::from_ref(&line), format!("{key} = {}", line.value)),
                Err(why) => self.nothing(&line, &why),
            }
        }
    }

    /// What clients are shown that speak TLS or DTLS, and where they look for them. Without both there is no certificate.
    fn certificate(&mut self, options: &mut Options, listen: &[SocketAddr]) {
        let off = ["no-tls", "no-dtls"].map(|name| options.last(name).filter(Line::is_on));
        let (cert, key, port) =
            (options.last("cert"), options.last("pkey"), options.last("tls-listening-port"));
        let is_off = off.iter().all(Option::is_some);
        let (Some(cert), Some(key), false) = (&cert, &key, is_off) else {
            for line in [cert, key, port].iter().flatten().filter(|_| !is_off) {
                self.nothing(line, "TLS and DTLS take both cert and pkey");
            }
            return;
        };
        for (line, name) in [(cert, "tls-cert"), (key, "tls-key")] {
            self.setting(std::slice::from_ref(line), format!("{name} = {}", quoted(&line.value)));
        }
        if let Some(line) = port {
            let number = line.value.parse().unwrap_or(5349);
            let ips: BTreeSet<IpAddr> = listen.iter().map(SocketAddr::ip).collect();
            let default = ips.is_empty().then_some(IpAddr::from([0, 0, 0, 0]));
            let places = ips.into_iter().chain(default).map(|ip| SocketAddr::new(ip, number));
            self.list(std::slice::from_ref(&line), "tls-listen", &places.collect::<Vec<_>>());
        }
        for line in off.iter().flatten() {
            self.nothing(line, "a certificate serves TLS and DTLS alike");
        }
    }

    /// The first value of each family: coturn may have several, and gives each client the one that it reached.
    fn one_for_each_family(&mut self, options: &mut Options, key: &str, read: fn(&str) -> Option<IpAddr>) {
        let (mut taken, mut families) = (Vec::new(), Vec::new());
        for line in options.all(key) {
            match read(&line.value) {
                None => self.nothing(&line, "this is no IP address"),
                Some(ip) if families.contains(&ip.is_ipv4()) => {
                    self.nothing(&line, "one for each family: run a relay for each further address");
                }
                Some(ip) => {
                    families.push(ip.is_ipv4());
                    taken.push(line);
                }
            }
        }
        let values: Vec<_> = taken.iter().map(|line| line.value.clone()).collect();
        self.list(&taken, key, &values);
    }

    /// Who may come.
    fn users(&mut self, options: &mut Options, stem: &str) {
        if let Some(line) = options.last("realm") {
            match line.value.parse::<Realm>() {
                Ok(_) => {
                    self.setting(std::slice::from_ref(&line), format!("realm = {}", quoted(&line.value)));
                }
                Err(why) => self.nothing(&line, &why),
            }
        }
        let secrets = options.all("static-auth-secret");
        let mut names = Vec::new();
        for (place, line) in secrets.iter().enumerate() {
            let name =
                if place == 0 { format!("{stem}.secret") } else { format!("{stem}.secret-{}", place + 1) };
            self.secrets.push((name.clone(), format!("{}\n", line.value)));
            names.push(name);
        }
        self.list(&secrets, "static-auth-secret-file", &names);
        let (mut taken, mut file) = (Vec::new(), String::new());
        for line in options.all("user") {
            match line.value.parse::<User>() {
                Ok(user) if is_key(&user.rest) => {
                    self.nothing(
                        &line,
                        "a user has a password here, not its key: no password can be made from that",
                    );
                }
                Ok(user) => {
                    writeln!(file, "{}:{}", user.name, user.rest).expect("a String takes everything");
                    taken.push(line);
                }
                Err(why) => self.nothing(&line, &why),
            }
        }
        if !taken.is_empty() {
            let name = format!("{stem}.users");
            self.secrets.push((name.clone(), file));
            self.list(&taken, "users-file", &[name]);
        }
        if let Some(line) = options.last("rest-api-separator").filter(|line| line.value != ":") {
            self.nothing(&line, "a colon stands between the expiry and the id of a time-limited username");
        }
    }

    /// How much of it they may have.
    fn limits(&mut self, options: &mut Options) {
        // coturn's bytes a second are those of a session, ours those of a user.
        for key in ["user-quota", "total-quota", "max-bps"] {
            let Some(line) = options.last(key) else { continue };
            match line.value.parse::<u32>() {
                Ok(most) => self.setting(std::slice::from_ref(&line), format!("{key} = {most}")),
                Err(_) => self.nothing(&line, "this is no number"),
            }
        }
        if let Some(line) = options.last("no-tcp-relay").filter(Line::is_on) {
            self.setting(std::slice::from_ref(&line), "max-connections = 0".into());
        }
        let same = [
            ("stale-nonce", "600", "a nonce is good for ten minutes"),
            ("max-allocate-lifetime", "3600", "an allocation lives an hour at most until it is refreshed"),
            (
                "allocation-default-address-family",
                "ipv4",
                "without being asked for another one an address is of IPv4",
            ),
        ];
        for (key, here, why) in same {
            let line = options.last(key).filter(|line| !line.value.is_empty() && line.value != here);
            if let Some(line) = line {
                self.nothing(&line, why);
            }
        }
    }

    /// Whom they may reach.
    fn peers(&mut self, options: &mut Options) {
        let loopback = options.last("allow-loopback-peers").filter(Line::is_on);
        let (allowed, denied) = (options.all("allowed-peer-ip"), options.all("denied-peer-ip"));
        let mut ranges = |lines: &[Line]| -> Vec<Range> {
            let read = |line: &Line| {
                let range = Range::parse(&line.value);
                if range.is_none() {
                    self.nothing(line, "this is no address, and no range of addresses");
                }
                range
            };
            lines.iter().filter_map(read).collect()
        };
        let (allow, deny) = (ranges(&allowed), ranges(&denied));
        let mut networks: Vec<String> =
            allow.iter().flat_map(|range| range.networks()).map(|network| network.to_string()).collect();
        if loopback.is_some() {
            networks.extend(["127.0.0.0/8".to_owned(), "::1".to_owned()]);
        }
        self.list(&[loopback.as_slice(), &allowed].concat(), "allowed-peer-ip", &networks);
        self.list(&denied, "denied-peer-ip", &ranges::denied(&deny, &allow));
        let note = "coturn lets clients reach private networks unless they are denied, and here they are denied unless \
                    allowed-peer-ip names them";
        self.nothing.push((0, "peers".to_owned(), note.to_owned()));
    }

    /// Where its numbers are.
    fn monitoring(&mut self, options: &mut Options) {
        let lines: Vec<_> = ["prometheus", "prometheus-address", "prometheus-port"]
            .into_iter()
            .filter_map(|name| options.last(name))
            .collect();
        let value = |name: &str| lines.iter().find(|line| line.name == name).map(|line| line.value.as_str());
        if value("prometheus").is_none() {
            return;
        }
        let ip = value("prometheus-address").and_then(|ip| ip.parse::<IpAddr>().ok());
        let port = value("prometheus-port").and_then(|port| port.parse().ok()).unwrap_or(9641);
        let address = SocketAddr::new(ip.unwrap_or(IpAddr::from([127, 0, 0, 1])), port);
        self.setting(&lines, format!("monitor-listen = {}", quoted(&address.to_string())));
    }
}

/// The options that are not done with yet.
struct Options {
    by_name: BTreeMap<String, Vec<Line>>,
}

impl Options {
    /// All of one name, in their order.
    fn all(&mut self, name: &str) -> Vec<Line> {
        self.by_name.remove(name).unwrap_or_default()
    }

    /// The last of one name: that which counts where there can be one.
    fn last(&mut self, name: &str) -> Option<Line> {
        self.all(name).pop()
    }
}

/// What is told of an option without counterpart.
fn told((number, name, why): &(usize, String, String)) -> String {
    match number {
        0 => format!("{name}: {why}"),
        number => format!("line {number}, {name}: {why}"),
    }
}

/// Whether the value says on or off.
fn is_switch(line: &Line) -> bool {
    ["0", "1", "no", "yes", "off", "on", "false", "true"].contains(&line.value.to_ascii_lowercase().as_str())
}

/// Whether what stands for a user's password is the key that is made from it.
fn is_key(password: &str) -> bool {
    let digits = password.strip_prefix("0x");
    digits.is_some_and(|digits| digits.len() >= 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::conf;
    use super::*;

    fn translation(text: &str) -> Translation {
        Translation::of(&conf::read(text), "relay")
    }

    fn has(text: &str, expected: &[&str]) {
        let made = translation(text).text("turnserver.conf");
        for line in expected {
            assert!(made.lines().any(|found| found == *line), "{line}\n{made}");
        }
    }

    #[test]
    fn addresses_and_limits_are_written_with_the_lines_that_they_come_from() {
        has(
            "listening-port=3479\nlistening-ip=192.0.2.1\nlistening-ip=2001:db8::1\naux-server=192.0.2.2:33478\n\
             external-ip=203.0.113.7/192.0.2.1\nmin-port=50000\nuser-quota=12\nmax-bps=64000\nrealm=example.org\nprometheus\n",
            &[
                "# listening-port=3479, listening-ip=192.0.2.1, listening-ip=2001:db8::1, aux-server=192.0.2.2:33478",
                r#"listen = ["192.0.2.1:3479", "[2001:db8::1]:3479", "192.0.2.2:33478"]"#,
                r#"external-ip = ["203.0.113.7/192.0.2.1"]"#,
                "min-port = 50000",
                "user-quota = 12",
                "max-bps = 64000",
                r#"realm = "example.org""#,
                r#"monitor-listen = "127.0.0.1:9641""#,
            ],
        );
        has("listening-port=3480", &[r#"listen = ["0.0.0.0:3480"]"#]);
    }

    #[test]
    fn secrets_and_passwords_go_to_files_of_their_own() {
        let made = translation(
            "static-auth-secret=north\nstatic-auth-secret=south\nuser=ada:won:der\nuser=bob:0xbc807ee29df3c9ffa736523fb2c4e8ee\n",
        );
        let text = made.text("turnserver.conf");
        assert!(text.contains(r#"static-auth-secret-file = ["relay.secret", "relay.secret-2"]"#), "{text}");
        assert!(text.contains(r#"users-file = ["relay.users"]"#), "{text}");
        assert!(!["north", "south", "won", "bc807"].iter().any(|secret| text.contains(secret)), "{text}");
        let files =
            [("relay.secret", "north\n"), ("relay.secret-2", "south\n"), ("relay.users", "ada:won:der\n")];
        assert!(made.secrets().iter().map(|(name, text)| (name.as_str(), text.as_str())).eq(files));
        assert!(text.contains("# line 4, user: a user has a password here"), "{text}");
    }

    #[test]
    fn a_certificate_serves_tls_where_clients_look_for_it() {
        let tls = "listening-ip=192.0.2.1\ntls-listening-port=443\ncert=/etc/a.pem\npkey=/etc/a.key\n";
        let expected =
            [r#"tls-cert = "/etc/a.pem""#, r#"tls-key = "/etc/a.key""#, r#"tls-listen = ["192.0.2.1:443"]"#];
        has(tls, &expected);
        assert!(!translation(&format!("{tls}no-tls\nno-dtls\n")).text("t").contains("a.pem"));
        has(&format!("{tls}no-dtls\n"), &["# line 5, no-dtls: a certificate serves TLS and DTLS alike"]);
        has("cert=/etc/a.pem\n", &["# line 1, cert: TLS and DTLS take both cert and pkey"]);
    }

    #[test]
    fn what_is_allowed_wins_as_it_does_in_coturn() {
        has(
            "denied-peer-ip=10.0.0.0-10.255.255.255\nallowed-peer-ip=10.0.0.0-10.127.255.255\nallow-loopback-peers\n",
            &[
                r#"allowed-peer-ip = ["10.0.0.0/9", "127.0.0.0/8", "::1"]"#,
                r#"denied-peer-ip = ["10.128.0.0/9"]"#,
            ],
        );
    }

    #[test]
    fn what_has_no_counterpart_is_told_once_and_why() {
        let made = translation(
            "cli-port=5766\ncli-port=5767\nno-cli\nno-udp=off\nnonsense=1\nmin-port=80\nstale-nonce=600\nstale-nonce=60\n",
        );
        let names: Vec<_> = made.nothing.iter().map(|(number, name, _)| (*number, name.as_str())).collect();
        let expected = [(0, "peers"), (1, "cli-port"), (5, "nonsense"), (6, "min-port"), (8, "stale-nonce")];
        assert_eq!(names, expected);
    }

    #[test]
    fn no_option_has_two_fates() {
        let mut names: Vec<_> = FATES.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FATES.len());
    }
}
