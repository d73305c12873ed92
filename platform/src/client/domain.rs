//! Where a platform is.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use reqwest::Url;
use thiserror::Error;

/// The address of a platform: a host, and a port where it is not 443. The scheme is always https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(Url);

impl Domain {
    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().expect("https has a host").trim_matches(['[', ']'])
    }

    /// Whether it is this very machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
            || host.parse().is_ok_and(|ip: Ipv6Addr| ip.is_loopback())
    }

    /// The URL of `path`, which begins with `/`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl FromStr for Domain {
    type Err = BadDomain;

    fn from_str(text: &str) -> Result<Self, BadDomain> {
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&whole).map_err(|_| BadDomain::Form)?;
        if url.scheme() != "https" {
            return Err(BadDomain::Scheme);
        }
        let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        match bare && url.fragment().is_none() && matches!(url.path(), "" | "/") && url.has_host() {
            true => Ok(Self(url)),
            false => Err(BadDomain::Excess),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Why a text names no platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadDomain {
    /// It is no URL.
    #[error("this is no URL such as https://adit.example.com or https://192.0.2.1:8443")]
    Form,
    /// It is not https.
    #[error("the platform is spoken to by https only")]
    Scheme,
    /// There is more than a host and a port.
    #[error("only a host and a port belong there, as in https://adit.example.com:8443")]
    Excess,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_host_is_https() {
        for (text, shown, host) in [
            ("adit.example.com", "https://adit.example.com", "adit.example.com"),
            ("https://adit.example.com/", "https://adit.example.com", "adit.example.com"),
            ("127.0.0.1:8443", "https://127.0.0.1:8443", "127.0.0.1"),
            ("https://[::1]:8443", "https://[::1]:8443", "::1"),
        ] {
            let domain: Domain = text.parse().unwrap();
            assert_eq!((domain.to_string().as_str(), domain.host()), (shown, host));
            assert_eq!(domain.url("/v1/ca"), format!("{shown}/v1/ca"));
            assert_eq!(domain.is_loopback(), !shown.contains("example"));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let parse = |text: &str| text.parse::<Domain>().unwrap_err();
        assert_eq!(parse("http://adit.example.com"), BadDomain::Scheme);
        assert_eq!(parse(""), BadDomain::Form);
        for text in ["a/v1", "https://u:p@a", "a?x", "a#x"] {
            assert_eq!(parse(text), BadDomain::Excess, "{text}");
        }
    }
}
