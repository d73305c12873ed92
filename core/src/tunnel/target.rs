//! Targets: what a connector asks a gateway to reach.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A TCP service in the gateway's network: `tcp://host:port`, or `host:port` for short.
///
/// ```
/// use adit_core::tunnel::{Host, Target};
///
/// let target: Target = "tcp://db.internal:5432".parse()?;
/// assert_eq!(target, Target { host: Host::Name("db.internal".into()), port: 5432 });
/// # Ok::<(), adit_core::tunnel::TargetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The host that the gateway resolves and dials.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: u16,
}

/// The host of a target: an address, or a name that the gateway resolves in its own network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A host name, in lower case, at most 253 bytes (RFC 1035 §2.3.4).
    Name(String),
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The scheme is not `tcp`.
    #[error("the scheme of a target is tcp, as in tcp://db.internal:5432, not '{0}'")]
    Scheme(String),
    /// There is no port.
    #[error("'{0}' names no port; write it as tcp://host:port")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("'{0}' is no port; a port is a number from 1 to 65535")]
    Port(String),
    /// The host is empty, too long, or holds a character that no host name has.
    #[error("'{0}' is no host name or address; an IPv6 address stands in brackets, as in tcp://[::1]:5432")]
    Host(String),
}

impl Target {
    /// The target of `host` and `port`.
    ///
    /// # Errors
    /// [`TargetError::Host`] and [`TargetError::Port`] where one of them is none.
    pub fn new(host: &str, port: u16) -> Result<Self, TargetError> {
        if port == 0 {
            return Err(TargetError::Port("0".into()));
        }
        Ok(Self { host: host.parse()?, port })
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// Reads `tcp://host:port`, or `host:port` for short.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let rest = match text.split_once("://") {
            Some(("tcp", rest)) => rest,
            Some((scheme, _)) => return Err(TargetError::Scheme(scheme.into())),
            None => text,
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| TargetError::NoPort(text.into()))?;
        // `parse` would take a sign as well.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse().ok().filter(|_| digits).ok_or_else(|| TargetError::Port(port.into()))?;
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) if host.contains(':') => Self::new(host, number),
            None if !host.contains(':') => Self::new(host, number),
            _ => Err(TargetError::Host(host.into())),
        }
    }
}

impl FromStr for Host {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if is_host_name(text) {
            return Ok(Self::Name(text.to_ascii_lowercase()));
        }
        Err(TargetError::Host(text.into()))
    }
}

/// Whether `text` is a host name as resolvers take it: letters, digits, hyphens and underscores, in labels of at
/// most 63 bytes. A name of digits and dots only is a mistyped address, not a name.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = text.strip_suffix('.').unwrap_or(text).rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "tcp://[{ip}]:{}", self.port),
            host => write!(f, "tcp://{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Target, TargetError> {
        text.parse()
    }

    #[test]
    fn a_target_reads_as_it_writes() {
        for text in ["tcp://127.0.0.1:5432", "tcp://[::1]:5432", "tcp://db.internal:1", "tcp://a_b-c.:65535"]
        {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("DB.Internal:5432").unwrap().to_string(), "tcp://db.internal:5432");
    }

    #[test]
    fn what_is_no_target_says_why() {
        assert!(matches!(parse("udp://a:1"), Err(TargetError::Scheme(_))));
        assert!(matches!(parse("tcp://a"), Err(TargetError::NoPort(_))));
        for text in ["a:0", "a:65536", "a:", "a:x", "a:-1", "a:+1"] {
            assert!(matches!(parse(text), Err(TargetError::Port(_))), "{text}");
        }
        let long = format!("{}:1", "a.".repeat(127));
        for text in [":1", "::1:5432", "[a]:1", "[::1:1", "a b:1", "a..b:1", "1.2.3:1", "a/b:1", "ü:1", &long]
        {
            assert!(matches!(parse(text), Err(TargetError::Host(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_target_reads_as_it_writes(host in host(), port in 1..=u16::MAX) {
            let target = Target { host, port };
            prop_assert_eq!(target.to_string().parse(), Ok(target));
        }

        #[test]
        fn whatever_is_read_is_a_target(text in "(tcp://)?[a-zA-Z0-9:\\[\\]./_-]{0,40}|.{0,40}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert!(target.port != 0);
                prop_assert_eq!(target.to_string().parse(), Ok(target));
            }
        }
    }

    fn host() -> impl Strategy<Value = Host> {
        prop_oneof![
            any::<IpAddr>().prop_map(Host::Ip),
            "[a-z0-9_-]{1,30}(\\.[a-z0-9-]{1,20}){0,4}\\.[a-z]{1,9}\\.?".prop_map(Host::Name),
        ]
    }
}
