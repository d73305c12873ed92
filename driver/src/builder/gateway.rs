//! What a gateway is made of.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::client::Families;
use adit_core::gateway::{Config, Judge, TargetPolicy, TargetRule};
use adit_core::pki::Identity;
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::Target;
use adit_core::turn::credentials::Credentials;

use super::BuildError;
use super::credential::Parts;
use crate::dialler::{Answer, Dial, Dialler, dial_with, serve_with};
use crate::discovery::{Discovered, Discovery, Found, follow};
use crate::gateway::Gateway;
use crate::runtime::Runtime;

/// How long credentials that are made from a relay's secret are good. Who holds the secret gains nothing from a
/// short life, and some relays end an allocation whose username changes.
const CREDENTIALS_LIFE: Duration = Duration::from_secs(365 * 86_400);

type Adjust = Box<dyn FnOnce(&mut Config) + Send>;

/// Makes a [`Gateway`]. What must be given: a certificate, a trust anchor, and a relay or a way to find one. Without
/// a target, connectors reach nothing; without a permitted address, no connector reaches the gateway.
#[must_use = "nothing runs before spawn"]
pub struct GatewayBuilder<R> {
    parts: Parts,
    relays: Vec<(Found, Login)>,
    discovery: Option<Discovery>,
    permit: Vec<IpAddr>,
    rules: Vec<TargetRule>,
    judge: Option<Judge>,
    served: Vec<(Target, Arc<Answer>)>,
    other: Option<Arc<Answer>>,
    adjust: Vec<Adjust>,
    runtime: Option<R>,
    mistake: Option<BuildError>,
}

/// How the gateway shows itself to a relay.
enum Login {
    Credentials,
    Secret(Vec<u8>),
}

impl<R> Default for GatewayBuilder<R> {
    fn default() -> Self {
        Self {
            parts: Parts::default(),
            relays: Vec::new(),
            discovery: None,
            permit: Vec::new(),
            rules: Vec::new(),
            judge: None,
            served: Vec::new(),
            other: None,
            adjust: Vec::new(),
            runtime: None,
            mistake: None,
        }
    }
}

/// Who it is, and where it is found.
impl<R: Runtime> GatewayBuilder<R> {
    /// The gateway's certificate chain, leaf first, and its key, both as PEM.
    pub fn certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.parts.own = Some((chain.into(), key.into()));
        self
    }

    /// An authority that vouches for connectors, as PEM; may be called more than once.
    pub fn trust(mut self, anchor: impl Into<Vec<u8>>) -> Self {
        self.parts.anchors.push(anchor.into());
        self
    }

    /// A relay to keep an allocation on, by its URI (RFC 7065), and a user of it (RFC 8489 §9.2). May be called more
    /// than once: the gateway has an allocation on every relay at the same time. `turn:` is UDP, or TCP with
    /// `?transport=tcp`; without a port it is 3478. For several ways to one relay, and for TLS and DTLS, see
    /// [`relays`](Self::relays).
    pub fn relay(self, uri: &str, credentials: Credentials) -> Self {
        self.log_in(uri, credentials, Login::Credentials)
    }

    /// Relays to keep allocations on, each with all its ways and with what makes its certificate believed.
    ///
    /// ```
    /// use adit_core::gateway::RelayTrust;
    /// use adit_core::turn::credentials::Credentials;
    /// use adit_driver::{Found, GatewayBuilder, Runtime};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let credentials = Credentials { username: "gw-1".into(), password: "…".into() };
    /// let pin = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".parse()?;
    /// let relay = Found::new("turn:relay.example", credentials)?
    ///     .or("turns:relay.example:443?transport=tcp")?
    ///     .trusting(RelayTrust { pin: Some(pin), ..RelayTrust::default() });
    ///
    /// fn build<R: Runtime>(gateway: GatewayBuilder<R>, relay: Found) -> GatewayBuilder<R> {
    ///     gateway.relays([relay])
    /// }
    /// # let _ = relay;
    /// # Ok(())
    /// # }
    /// ```
    pub fn relays(mut self, relays: impl IntoIterator<Item = Found>) -> Self {
        for relay in relays {
            self.add(relay, Login::Credentials);
        }
        self
    }

    /// A relay to keep an allocation on, and its secret, from which credentials are made and renewed. Otherwise as
    /// [`relay`](Self::relay).
    pub fn relay_with_secret(self, uri: &str, secret: impl Into<Vec<u8>>) -> Self {
        let nobody = Credentials { username: String::new(), password: String::new() };
        self.log_in(uri, nobody, Login::Secret(secret.into()))
    }

    /// Asks `find` for relays and credentials: at the start, whenever the answer has grown old, and again soon when
    /// there was none. New relays are added, missing ones given back, credentials renewed. It replaces
    /// [`relay`](Self::relay).
    ///
    /// An answer may take 30 s. Without one, it is asked again after 1 s, then after twice as long each time, up to
    /// 60 s; the relays that are known stay as they are meanwhile.
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    ///
    /// use adit_core::turn::credentials::Credentials;
    /// use adit_driver::{Discovered, Found, GatewayBuilder, Runtime};
    ///
    /// /// What your own API would tell.
    /// async fn ask() -> io::Result<Vec<(&'static str, Credentials)>> {
    ///     let credentials = Credentials { username: "1790000000:gw-1".into(), password: "…".into() };
    ///     Ok(vec![("turn:relay-1.example", credentials)])
    /// }
    ///
    /// fn build<R: Runtime>(gateway: GatewayBuilder<R>) -> GatewayBuilder<R> {
    ///     gateway.discover(|| async {
    ///         let mut relays = Vec::new();
    ///         for (uri, credentials) in ask().await? {
    ///             relays.push(Found::new(uri, credentials).map_err(io::Error::other)?);
    ///         }
    ///         // Half of the credentials' life is a good time to ask again.
    ///         Ok::<_, io::Error>(Discovered { relays, good_for: Duration::from_secs(3600) })
    ///     })
    /// }
    /// ```
    pub fn discover<F, G, E>(mut self, find: F) -> Self
    where
        F: Fn() -> G + Send + Sync + 'static,
        G: Future<Output = Result<Discovered, E>> + Send + 'static,
        E: std::fmt::Display,
    {
        self.discovery = Some(Discovery::new(find));
        self
    }

    /// A connector's address, as the relays see it: they let nobody else through (RFC 8656 §9). May be called up to
    /// [`MAX_PEERS`](adit_core::client::MAX_PEERS) times.
    pub fn permit(mut self, peer: IpAddr) -> Self {
        self.permit.push(peer);
        self
    }

    fn log_in(mut self, uri: &str, credentials: Credentials, login: Login) -> Self {
        match Found::new(uri, credentials) {
            Ok(relay) => self.add(relay, login),
            Err(error) => self.note(error),
        }
        self
    }

    /// A relay that could not be used is a mistake now, not later.
    fn add(&mut self, relay: Found, login: Login) {
        match relay.config(Families::Both, &WallCell::default()) {
            Ok(_) => self.relays.push((relay, login)),
            Err(error) => self.note(error),
        }
    }

    fn note(&mut self, mistake: impl Into<BuildError>) {
        self.mistake.get_or_insert(mistake.into());
    }
}

/// What can be reached through it.
impl<R: Runtime> GatewayBuilder<R> {
    /// Allows targets by a rule, as in `tcp://db.internal:5432` or `tcp://10.0.0.0/8:*`: see [`TargetRule`].
    pub fn allow(mut self, rule: &str) -> Self {
        match rule.parse::<TargetRule>() {
            Ok(rule) => self.rules.push(rule),
            Err(error) => self.note(error),
        }
        self
    }

    /// Lets `judge` decide who may have what, in place of the rules: before a name is resolved (`None`), and at each
    /// address. Loopback, link-local and other special addresses need a rule besides. It must answer at once: the
    /// gateway waits for it.
    ///
    /// ```
    /// # use adit_driver::{GatewayBuilder, Runtime};
    /// # fn build<R: Runtime>(gateway: GatewayBuilder<R>) -> GatewayBuilder<R> {
    /// gateway.judge(|peer, target, address| {
    ///     let internal = address.is_none_or(|ip| matches!(ip, std::net::IpAddr::V4(ip) if ip.is_private()));
    ///     internal && target.port == 5432 && peer.role.name().as_str() == "reporting"
    /// })
    /// # }
    /// ```
    pub fn judge(
        mut self,
        judge: impl Fn(&Identity, &Target, Option<IpAddr>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.judge = Some(Judge::new(judge));
        self
    }

    /// Serves `target`, as in `tcp://greeter:80`, by `handler`: a target without any port. It needs no rule, its name
    /// need not exist, and a [judge](Self::judge) is not asked: `handler` knows from [`Dial::peer`] who came, and drops
    /// the stream of whom it does not want, which resets it. Each stream runs on a task of its own.
    pub fn serve<H, F>(mut self, target: &str, handler: H) -> Self
    where
        H: Fn(R::Stream, Dial) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        match target.parse::<Target>() {
            Ok(target) => self.served.push((target, serve_with::<R, _, _>(handler))),
            Err(error) => self.note(error),
        }
        self
    }

    /// Has `dial` open all other targets, in place of TCP. What it returns serves the stream; an error refuses the
    /// connector: `ConnectionRefused` and `TimedOut` are told apart, anything else is that there is no way there.
    /// [`Dial::timeout`] is the time it has.
    ///
    /// ```
    /// use std::io::{self, ErrorKind};
    ///
    /// use adit_driver::{Dial, GatewayBuilder, Runtime};
    ///
    /// /// A way that is not TCP: a serial line, a pool of connections, a proxy.
    /// struct Line;
    ///
    /// impl Line {
    ///     async fn connect(dial: &Dial) -> io::Result<Line> {
    ///         if dial.target.port == 23 { Ok(Line) } else { Err(ErrorKind::ConnectionRefused.into()) }
    ///     }
    ///
    ///     /// Moves bytes until both ends have finished.
    ///     async fn serve<S>(self, stream: S) {
    /// #       drop(stream);
    ///         // …
    ///     }
    /// }
    ///
    /// fn build<R: Runtime>(gateway: GatewayBuilder<R>) -> GatewayBuilder<R> {
    ///     gateway.allow("tcp://10.0.0.0/8:23").dial(|dial| async move {
    ///         let line = Line::connect(&dial).await?;
    ///         Ok(move |stream| line.serve(stream))
    ///     })
    /// }
    /// ```
    pub fn dial<D, F, S, G>(mut self, dial: D) -> Self
    where
        D: Fn(Dial) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: FnOnce(R::Stream) -> G + Send + 'static,
        G: Future<Output = ()> + Send + 'static,
    {
        self.other = Some(dial_with::<R, _, _, _, _>(dial));
        self
    }
}

/// How it runs.
impl<R: Runtime> GatewayBuilder<R> {
    /// Changes what has no method here, time-outs and limits: see [`Config::new`] for the defaults.
    ///
    /// ```
    /// # use adit_driver::{GatewayBuilder, Runtime};
    /// # fn build<R: Runtime>(gateway: GatewayBuilder<R>) -> GatewayBuilder<R> {
    /// gateway.configure(|config| {
    ///     config.dial_timeout = std::time::Duration::from_secs(3);
    ///     config.max_streams = 200;
    ///     config.quic.stream_window = 4 << 20; // bytes
    /// })
    /// # }
    /// ```
    pub fn configure(mut self, adjust: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.adjust.push(Box::new(adjust));
        self
    }

    /// Runs it there instead of where [`spawn`](Self::spawn) is called.
    pub fn on(mut self, runtime: R) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Starts the gateway, which asks its relays for allocations at once.
    ///
    /// # Errors
    /// [`BuildError`].
    ///
    /// # Panics
    /// Outside of a runtime, where the runtime is one that can't be used from everywhere.
    pub fn spawn(mut self) -> Result<Gateway<R>, BuildError> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        let credential = self.parts.read(false)?;
        let discovery = self.discovery.take().or_else(|| known(self.relays, credential.name().to_string()));
        let discovery = discovery.ok_or(BuildError::NoRelay)?;
        let runtime = self.runtime.unwrap_or_else(R::current);
        let mut dialler = Dialler::tcp(runtime.clone());
        for (target, answer) in self.served {
            dialler.serve(target, answer);
        }
        self.other.into_iter().for_each(|answer| dialler.set_other(answer));
        let targets = TargetPolicy::new(self.rules).serving(dialler.served().cloned());
        let targets = match self.judge {
            Some(judge) => targets.judged_by(judge),
            None => targets,
        };
        let families = families(&self.permit);
        let config = Config::new(credential.server()?, credential.wall());
        let mut config = Config { permit: self.permit, targets, ..config };
        self.adjust.into_iter().for_each(|adjust| adjust(&mut config));
        let gateway = Gateway::spawn_on(runtime.clone(), config, dialler)?;
        runtime.spawn(follow(runtime.clone(), Arc::downgrade(gateway.shared()), discovery, families));
        Ok(gateway)
    }
}

/// The relays that were named; their credentials are renewed in time. None where none was named.
fn known(relays: Vec<(Found, Login)>, name: String) -> Option<Discovery> {
    if relays.is_empty() {
        return None;
    }
    Some(Discovery::new(move || {
        let expiry = UnixTime((crate::world::unix() + CREDENTIALS_LIFE).as_secs());
        let relays = relays.iter().map(|(relay, login)| match login {
            Login::Credentials => relay.clone(),
            Login::Secret(secret) => {
                Found { credentials: Credentials::time_limited(secret, expiry, &name), ..relay.clone() }
            }
        });
        let found = Discovered { relays: relays.collect(), good_for: CREDENTIALS_LIFE / 2 };
        async move { Ok::<_, std::convert::Infallible>(found) }
    }))
}

/// The families in which someone may come: a relayed address that nobody may reach is of no use.
fn families(permit: &[IpAddr]) -> Families {
    match (permit.iter().any(IpAddr::is_ipv4), permit.iter().any(IpAddr::is_ipv6)) {
        (true, false) => Families::V4,
        (false, true) => Families::V6,
        _ => Families::Both,
    }
}
