//! Ways to a relay, as URIs name them (RFC 7065), and how the relay is known where they are secured.

use rustls_pki_types::ServerName;

use crate::client::Transport;
use crate::pki::Anchors;
use crate::secure::{Pin, Trust, dtls, tls};
use crate::time::WallCell;
use crate::turn::uri::{self, Host, RelayUri};

/// A way to a relay.
#[derive(Debug, Clone)]
pub struct RelayWay {
    /// A host name, or an address in text form.
    pub host: String,
    /// The port, of UDP or TCP.
    pub port: u16,
    /// What carries messages there.
    pub transport: Transport,
}

/// What makes a relay's certificate believed; the first that is there counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayTrust {
    /// The key that the certificate must have.
    pub pin: Option<Pin>,
    /// Authorities of whoever runs the relay. Over DTLS they must have issued its certificate directly.
    pub anchors: Option<Anchors>,
    /// Authorities that everybody trusts. They issue through others, so that they vouch for nobody over DTLS.
    pub public: Option<Anchors>,
}

/// Nothing could make the relay's certificate believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverifiable {
    /// Over TLS.
    #[error("nobody is trusted to vouch for the relay over TLS: name its pin, or a trust-anchor")]
    Tls,
    /// Over DTLS.
    #[error(
        "over DTLS only the relay's own certificate is seen, for which no public authority vouches by itself: name its \
         pin, or a trust-anchor that has issued it directly"
    )]
    Dtls,
}

impl RelayWay {
    /// Over plain UDP.
    pub fn udp(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, transport: Transport::Udp }
    }

    /// The way that `uri` names, where `trust` makes the relay known by what `wall` says that the time is.
    ///
    /// # Errors
    /// [`Unverifiable`], when the way is secured and `trust` does not reach that far.
    pub fn of(uri: &RelayUri, trust: &RelayTrust, wall: &WallCell) -> Result<Self, Unverifiable> {
        // Without the brackets that an IPv6 address has in a URI.
        let host = match &uri.host {
            Host::Name(name) => name.clone(),
            Host::Address(ip) => ip.to_string(),
        };
        let direct = || {
            let pin = trust.pin.map(Trust::Pinned);
            pin.or_else(|| trust.anchors.clone().map(Trust::Anchored))
        };
        let transport = match (uri.transport, uri.secure) {
            (uri::Transport::Udp, false) => Transport::Udp,
            (uri::Transport::Tcp, false) => Transport::Tcp,
            (uri::Transport::Udp, true) => {
                let trust = direct().ok_or(Unverifiable::Dtls)?;
                let name = server_name(&host).ok_or(Unverifiable::Dtls)?;
                Transport::Dtls(dtls::ClientConfig::new(name, trust, wall.clone()))
            }
            (uri::Transport::Tcp, true) => {
                let public = || trust.public.clone().map(Trust::Anchored);
                let trust = direct().or_else(public).ok_or(Unverifiable::Tls)?;
                let name = server_name(&host).ok_or(Unverifiable::Tls)?;
                Transport::Tls(tls::ClientConfig::new(name, trust, wall.clone()))
            }
        };
        Ok(Self { host, port: uri.port, transport })
    }
}

/// The name that a certificate must have; `None` for a host that no certificate names.
fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Over;
    use crate::pki::{Key, KeyKind, Serial, ServerAuthority, Terms};
    use crate::time::UnixTime;

    fn anchors() -> Anchors {
        let terms = Terms { serial: Serial::new(1), not_before: UnixTime(0), not_after: UnixTime(1000) };
        let authority = ServerAuthority::new("test", &Key::generate(KeyKind::EcdsaP256), terms).unwrap();
        Anchors::new(&[authority.certificate().clone()]).unwrap()
    }

    /// RFC 7065, RFC 5928 §3.
    #[test]
    fn a_uri_names_one_of_four_ways() {
        let trust = RelayTrust { anchors: Some(anchors()), ..RelayTrust::default() };
        for (uri, host, port, over) in [
            ("turn:relay.example", "relay.example", 3478, Over::Udp),
            ("turn:192.0.2.1:99?transport=tcp", "192.0.2.1", 99, Over::Tcp),
            ("turns:relay.example", "relay.example", 5349, Over::Tls),
            ("turns:[2001:db8::1]:443?transport=tcp", "2001:db8::1", 443, Over::Tls),
            ("turns:relay.example?transport=udp", "relay.example", 5349, Over::Dtls),
        ] {
            let way = RelayWay::of(&uri.parse().unwrap(), &trust, &WallCell::default()).unwrap();
            assert_eq!((way.host.as_str(), way.port, way.transport.over()), (host, port, over), "{uri}");
        }
    }

    #[test]
    fn a_secured_way_needs_somebody_who_vouches_for_the_relay() {
        let of = |uri: &str, trust: &RelayTrust| {
            RelayWay::of(&uri.parse().unwrap(), trust, &WallCell::default()).map(|way| way.transport.over())
        };
        let (tls, dtls) = ("turns:relay.example", "turns:relay.example?transport=udp");
        let nobody = RelayTrust::default();
        let public = RelayTrust { public: Some(anchors()), ..RelayTrust::default() };
        let pinned = RelayTrust { pin: Some(Pin::of_key(b"key")), ..RelayTrust::default() };
        assert_eq!((of(tls, &nobody), of(dtls, &nobody)), (Err(Unverifiable::Tls), Err(Unverifiable::Dtls)));
        assert_eq!((of(tls, &public), of(dtls, &public)), (Ok(Over::Tls), Err(Unverifiable::Dtls)));
        assert_eq!((of(tls, &pinned), of(dtls, &pinned)), (Ok(Over::Tls), Ok(Over::Dtls)));
        assert_eq!(of("turn:relay.example?transport=tcp", &nobody), Ok(Over::Tcp), "nothing to verify");
    }
}
