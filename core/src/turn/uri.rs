//! The URI of a relay: `turn:host[:port][?transport=udp|tcp]` (RFC 7065).
//!
//! ```
//! use adit_core::turn::uri::{RelayUri, Transport};
//!
//! let relay: RelayUri = "turn:relay.example?transport=udp".parse()?;
//! assert_eq!((relay.port, relay.transport, relay.secure), (3478, Transport::Udp, false));
//! # Ok::<(), adit_core::turn::uri::BadUri>(())
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The port of TURN (RFC 8656 §15).
pub const PORT: u16 = 3478;
/// The port of TURN over TLS and DTLS.
pub const SECURE_PORT: u16 = 5349;

/// Where a relay is and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayUri {
    /// A name or an address.
    pub host: Host,
    /// The port, 1 to 65535; [`PORT`] or [`SECURE_PORT`] where the text names none.
    pub port: u16,
    /// What carries TURN.
    pub transport: Transport,
    /// Whether the hop is encrypted: the scheme is `turns`.
    pub secure: bool,
}

/// The host of a relay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name for the resolver.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// What carries TURN between client and relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP, or DTLS over UDP.
    Udp,
    /// TCP, or TLS over TCP.
    Tcp,
}

/// Text that is no relay's URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    /// It begins with something else.
    #[error(
        "a relay's URI begins with \"turn:\" or \"turns:\", such as turn:relay.example:3478?transport=udp"
    )]
    Scheme,
    /// Slashes belong to other schemes.
    #[error("a relay's URI has no slashes: write turn:relay.example, not turn://relay.example")]
    Slashes,
    /// No host, or one with characters that no host has.
    #[error("{0:?} is not a host name, an IPv4 address or an IPv6 address in brackets")]
    Host(String),
    /// Not a port.
    #[error("{0:?} is not a port from 1 to 65535 (an IPv6 address is written in brackets)")]
    Port(String),
    /// Something else than one transport.
    #[error("{0:?} is not understood: only ?transport=udp or ?transport=tcp may follow the host")]
    Query(String),
}

impl RelayUri {
    /// Whether it is spoken to in plain UDP: what a connector asks where it is seen from.
    pub fn is_plain_udp(&self) -> bool {
        self.transport == Transport::Udp && !self.secure
    }
}

impl FromStr for RelayUri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        let (scheme, rest) = text.split_once(':').ok_or(BadUri::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "turn" => false,
            "turns" => true,
            _ => return Err(BadUri::Scheme),
        };
        if rest.contains('/') {
            return Err(BadUri::Slashes);
        }
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        // RFC 5928 §3: without a transport, turn is UDP and turns is TLS over TCP.
        let default = if secure { Transport::Tcp } else { Transport::Udp };
        let transport = query.map_or(Ok(default), parse_query)?;
        let (host, port) = split_port(authority)?;
        let default = if secure { SECURE_PORT } else { PORT };
        let port = port.map_or(Ok(default), parse_port)?;
        Ok(Self { host: parse_host(host)?, port, transport, secure })
    }
}

impl fmt::Display for RelayUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "turns" } else { "turn" };
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        write!(f, "{scheme}:{}:{}?transport={transport}", self.host, self.port)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

fn parse_query(query: &str) -> Result<Transport, BadUri> {
    match query.to_ascii_lowercase().as_str() {
        "transport=udp" => Ok(Transport::Udp),
        "transport=tcp" => Ok(Transport::Tcp),
        _ => Err(BadUri::Query(query.to_owned())),
    }
}

/// Host and port; the brackets of an IPv6 address stay with the host.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), BadUri> {
    let end = match authority.starts_with('[') {
        true => authority.find(']').ok_or_else(|| BadUri::Host(authority.to_owned()))? + 1,
        false => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(BadUri::Host(authority.to_owned())),
    }
}

fn parse_port(port: &str) -> Result<u16, BadUri> {
    // `parse` would take a sign as well.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|&number| digits && number != 0);
    number.ok_or_else(|| BadUri::Port(port.to_owned()))
}

fn parse_host(host: &str) -> Result<Host, BadUri> {
    let error = || BadUri::Host(host.to_owned());
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(error)?;
        let ip: Ipv6Addr = inner.parse().map_err(|_| error())?;
        return Ok(Host::Address(ip.into()));
    }
    if let Ok(ip) = host.parse() {
        return Ok(Host::Address(ip));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    // A name of digits and dots only is a mistyped address.
    let name = host.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.');
    if host.len() > 253 || !name || !host.bytes().all(allowed) {
        return Err(error());
    }
    Ok(Host::Name(host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        for (text, full) in [
            ("turn:relay.example", "turn:relay.example:3478?transport=udp"),
            ("turns:relay.example", "turns:relay.example:5349?transport=tcp"),
            ("TURN:127.0.0.1:3479?transport=UDP", "turn:127.0.0.1:3479?transport=udp"),
            ("turn:[::1]", "turn:[::1]:3478?transport=udp"),
            ("turn:[2001:db8::1]:443?transport=tcp", "turn:[2001:db8::1]:443?transport=tcp"),
        ] {
            let uri: RelayUri = text.parse().unwrap();
            assert_eq!(uri.to_string(), full);
            assert_eq!(full.parse(), Ok(uri));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let parse = |text: &str| text.parse::<RelayUri>().unwrap_err();
        assert_eq!(parse("relay.example"), BadUri::Scheme);
        assert_eq!(parse("stun:relay.example"), BadUri::Scheme);
        assert_eq!(parse("turn://relay.example"), BadUri::Slashes);
        assert_eq!(parse("turn:"), BadUri::Host(String::new()));
        assert_eq!(parse("turn:a b"), BadUri::Host("a b".into()));
        assert_eq!(parse("turn:1.2.3"), BadUri::Host("1.2.3".into()));
        assert_eq!(parse("turn:[::1"), BadUri::Host("[::1".into()));
        assert_eq!(parse("turn:[::1]x"), BadUri::Host("[::1]x".into()));
        assert_eq!(parse("turn:relay:0"), BadUri::Port("0".into()));
        assert_eq!(parse("turn:relay:+5"), BadUri::Port("+5".into()));
        assert_eq!(parse("turn:::1"), BadUri::Port(":1".into()));
        assert_eq!(parse("turn:relay?transport=sctp"), BadUri::Query("transport=sctp".into()));
    }

    #[test]
    fn plain_udp_is_told_from_what_is_secured_or_a_stream() {
        let plain = |text: &str| text.parse::<RelayUri>().unwrap().is_plain_udp();
        assert!(plain("turn:relay"));
        assert!(
            !plain("turn:relay?transport=tcp")
                && !plain("turns:relay")
                && !plain("turns:relay?transport=udp")
        );
    }
}
