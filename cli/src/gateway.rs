//! `adit gateway`: the agent inside the private network.
//!
//! 1. It reads its file and empties the address file.
//! 2. It asks every relay for an allocation. If none gives one, it says why and ends.
//! 3. From then on it writes each change of its addresses down, logs, and tries again by itself whatever
//!    fails.
//! 4. At SIGHUP it reads its file, and those that the file names, again; no stream ends by that.
//! 5. On Ctrl-C or SIGTERM it gives its allocations back.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adit_core::client::{Families, Lost, MAX_PEERS};
use adit_core::gateway::{Config, Event, RelayConfig, RelayLost};
use adit_core::pki::tls;
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::ALPN;
use adit_core::turn::credentials::Credentials;
use adit_driver::{Notice, Runtime};
use adit_smol::Smol;
use adit_tokio::Tokio;
use clap::{Args, Subcommand, ValueEnum};
use rustls::ServerConfig;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::config::{GatewayFile, Relay, RelayCredentials};
use crate::exit::{Exit, Failure};
use crate::monitor::{self, Monitor};
use crate::service::{self, Reloads, Signals};
use crate::{addresses, agent, install, news, when};

/// How long credentials that we make from the relay's secret are good. Who holds the secret gains nothing
/// from a short life, and some relays end an allocation whose username changes.
const CREDENTIALS_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// How long until addresses that could not be written down are tried again.
const REWRITE: Duration = Duration::from_secs(5);

/// The file of a gateway without a platform.
const CONFIG: &str = "/etc/adit/gateway.toml";

/// Run the gateway inside the private network.
#[derive(Debug, Subcommand)]
pub(crate) enum Gateway {
    Start(Start),
    Install(install::Install),
    Uninstall(install::Uninstall),
    Status(install::Status),
}

/// Start the gateway.
///
/// It opens no port. It keeps an allocation on each relay and lets connectors of its organisation open
/// streams to the targets that are allowed here.
///
/// With --domain the platform says everything but the targets: the token is exchanged once for an identity whose key
/// never leaves this machine; afterwards the gateway starts without token, and from what it has kept while the
/// platform is away. It ends only when the platform has revoked it.
///
/// Without, a file says everything. The gateway ends when no relay gives an allocation at the start; later it tries
/// again for ever.
///
/// SIGHUP has it read its file again, and the certificates and secrets that the file names: what is allowed, who is
/// permitted, certificates and credentials change without the end of a stream. What is wrong changes nothing.
#[derive(Debug, Args)]
#[command(after_help = r#"With a platform:
  adit gateway start --domain https://adit.example.com --token-file token --allow tcp://db.internal:5432
A file for that holds [targets] and nothing else.

Without, a file:
  relays = ["turn:relay.example:3478?transport=udp"]     # or several ways to one, from UDP over DTLS and TCP to TLS:
  # relays = [{ urls = ["turn:relay.example", "turns:relay.example:443?transport=tcp"], pin = "…" }]
  #   known by pin, by trust-anchor = ["relay-ca.pem"], or over TLS alone by public authorities
  organisation = "acme"
  [credentials]
  static-auth-secret-file = "secret"     # or: username, with password-file or password
  [identity]
  certificate = "gw-1.pem"               # adit ca issue DIR gateway gw-1
  key = "gw-1.key"
  trust-anchor = ["connector-ca.pem"]
  [peers]
  permit = ["198.51.100.7"]              # where connectors come from, as the relay sees them
  [targets]
  allow = ["tcp://db.internal:5432"]     # nothing else can be reached; also tcp://*.internal:5432,
                                         # tcp://10.1.0.0/16:5432, and :* for every port
  [status]
  address-file = "gateway.addr"          # where the gateway is, for connectors

Example:
  adit gateway start --config /etc/adit/gateway.toml"#)]
pub(crate) struct Start {
    /// The gateway's file [default without --domain: /etc/adit/gateway.toml].
    #[arg(long, value_name = "FILE", env = "ADIT_CONFIG")]
    config: Option<PathBuf>,
    /// Keep trying when no relay gives an allocation at the start, instead of ending.
    #[arg(long, env = "ADIT_KEEP_TRYING")]
    keep_trying: bool,
    /// What the gateway's tasks run on. They do the same on either.
    #[arg(long, env = "ADIT_RUNTIME", value_enum, default_value_t = Runs::Tokio)]
    runtime: Runs,
    /// Where /healthz, /readyz and /metrics are shown, or none [default: 127.0.0.1:9479, unless that is taken].
    #[arg(long, value_name = "ADDR|none", env = "ADIT_MONITOR_LISTEN")]
    monitor_listen: Option<monitor::Listen>,
    #[command(flatten)]
    platform: agent::gateway::Flags,
}

/// A runtime.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Runs {
    Tokio,
    Smol,
}

pub(crate) fn run(gateway: Gateway) -> Result<(), Failure> {
    let start = match gateway {
        Gateway::Start(start) => start,
        Gateway::Install(flags) => return install::install(flags),
        Gateway::Uninstall(flags) => return install::uninstall(&flags),
        Gateway::Status(flags) => return install::status(&flags),
    };
    service::block_on(async move {
        match start.runtime {
            Runs::Tokio => serve::<Tokio>(start).await,
            Runs::Smol => serve::<Smol>(start).await,
        }
    })
}

async fn serve<R: Runtime>(start: Start) -> Result<(), Failure> {
    let Start { config: path, keep_trying, platform, monitor_listen, .. } = start;
    let monitor = Monitor::new("gateway");
    monitor.open(monitor_listen, monitor::GATEWAY).await?;
    if platform.is_wanted() {
        return agent::gateway::serve::<R>(platform, path, monitor).await;
    }
    let path = path.unwrap_or_else(|| CONFIG.into());
    let file = GatewayFile::load(&path)?;
    file.log_warnings();
    let (mut signals, reloads) = (Signals::new()?, Reloads::new()?);
    let config = config(&file, when::now())?;
    let mut watch = Watch::new(path, file, reloads, keep_trying);
    watch.publish(&[])?;
    let mut gateway = adit_driver::Gateway::<R>::spawn(config).map_err(Failure::config)?;
    monitor.serves(gateway.probe());
    let failure = tokio::select! {
        failure = watch.run(&mut gateway) => Some(failure),
        () = signals.next() => None,
    };
    service::stopping();
    monitor.lacks("gateway", "it is told to end");
    // Nobody shall try an address that is about to vanish.
    let emptied = watch.withdraw();
    if let Some(failure) = failure {
        return Err(failure);
    }
    tracing::info!("the gateway stops");
    gateway.shut_down().await;
    emptied
}

fn config(file: &GatewayFile, now: UnixTime) -> Result<Config, Failure> {
    let wall = WallCell::new(now);
    let server = server(file, &wall)?;
    let relay = |relay: &Relay| {
        let (credentials, families) = (credentials(file, now), families(&file.permit));
        relay.ways(&wall).map(|ways| RelayConfig { ways, credentials, families })
    };
    let relays = file.relays.iter().map(relay).collect::<Result<_, _>>()?;
    Ok(Config {
        relays,
        permit: file.permit.clone(),
        targets: file.targets.clone(),
        ..Config::new(server, wall)
    })
}

fn server(file: &GatewayFile, wall: &WallCell) -> Result<Arc<ServerConfig>, Failure> {
    let identity = &file.identity;
    let server = tls::server_config(
        &identity.own,
        identity.anchors.clone(),
        identity.expected.clone(),
        &[ALPN],
        wall.clone(),
    );
    server.map_err(|error| Failure::new(Exit::Certificate, error))
}

fn credentials(file: &GatewayFile, now: UnixTime) -> Credentials {
    match &file.credentials {
        RelayCredentials::User { username, password } => {
            Credentials { username: username.clone(), password: password.clone() }
        }
        RelayCredentials::Secret(secret) => {
            let expiry = UnixTime(now.0 + CREDENTIALS_LIFE.as_secs());
            Credentials::time_limited(secret.as_bytes(), expiry, file.name().as_str())
        }
    }
}

/// The families in which someone may come: a relayed address that nobody may reach is of no use.
fn families(permit: &[IpAddr]) -> Families {
    match (permit.iter().any(IpAddr::is_ipv4), permit.iter().any(IpAddr::is_ipv6)) {
        (true, false) => Families::V4,
        (false, true) => Families::V6,
        _ => Families::Both,
    }
}

/// What is known of a running gateway.
struct Watch {
    path: PathBuf,
    file: GatewayFile,
    reloads: Reloads,
    /// Why each relay gave no allocation, while none ever did; `None` for one that has not answered yet.
    refusals: Vec<Option<Failure>>,
    /// What the address file was last given.
    published: Vec<SocketAddr>,
    started: bool,
    keep_trying: bool,
    /// The address file does not say what it should.
    unwritten: bool,
}

impl Watch {
    fn new(path: PathBuf, file: GatewayFile, reloads: Reloads, keep_trying: bool) -> Self {
        let (refusals, published) = (vec![None; file.relays.len()], Vec::new());
        let (started, unwritten) = (false, false);
        Self { path, file, reloads, refusals, published, started, keep_trying, unwritten }
    }

    /// Follows the gateway until something goes wrong for good.
    async fn run<R: Runtime>(&mut self, gateway: &mut adit_driver::Gateway<R>) -> Failure {
        let mut renewal = interval_at(Instant::now() + CREDENTIALS_LIFE / 2, CREDENTIALS_LIFE / 2);
        let mut rewrite = interval(REWRITE);
        rewrite.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let notice = tokio::select! {
                notice = gateway.event() => notice,
                _ = renewal.tick() => {
                    self.renew(gateway);
                    continue;
                }
                () = self.reloads.next() => {
                    self.reload(gateway);
                    continue;
                }
                _ = rewrite.tick(), if self.unwritten => {
                    // It is logged, and tried again.
                    let _ = self.publish(&gateway.addresses());
                    continue;
                }
            };
            let result = match notice {
                Some(Notice::Event(event)) => self.handle(event),
                Some(Notice::Lost(count)) => {
                    tracing::debug!(count, "events were not logged");
                    self.publish(&gateway.addresses())
                }
                None => Err(Failure::new(Exit::Other, "the gateway has ended by itself")),
            };
            if let Err(failure) = result {
                return failure;
            }
        }
    }

    /// Makes new credentials before the old ones run out.
    fn renew<R: Runtime>(&self, gateway: &adit_driver::Gateway<R>) {
        let credentials = credentials(&self.file, when::now());
        for relay in 0..self.file.relays.len() {
            gateway.set_credentials(relay, credentials.clone());
        }
    }

    /// Reads everything again, and puts it into effect.
    fn reload<R: Runtime>(&mut self, gateway: &adit_driver::Gateway<R>) {
        service::reloading();
        match self.follow(gateway) {
            Ok(kept) => {
                if !kept.is_empty() {
                    tracing::warn!("{} can't change while the gateway runs: restart it", kept.join(", "));
                }
                tracing::info!("the file was read again and is in effect");
            }
            Err(Failure { what, next, .. }) => {
                tracing::error!(next, "the file was read again, and nothing was changed: {what}");
            }
        }
        if self.started {
            service::ready();
        }
    }

    /// What stays as it was although it was to change.
    fn follow<R: Runtime>(
        &mut self,
        gateway: &adit_driver::Gateway<R>,
    ) -> Result<Vec<&'static str>, Failure> {
        let new = GatewayFile::load(&self.path)?;
        let (is, was) = (new.identity.own.identity(), self.file.identity.own.identity());
        if is != was {
            return Err(Failure::new(
                Exit::Certificate,
                format!("the certificate is {is}'s, and this is {was}"),
            ));
        }
        if new.permit.len() > MAX_PEERS {
            return Err(Failure::config(format!("[peers] permit names more than {MAX_PEERS} addresses")));
        }
        gateway
            .set_tls(server(&new, &gateway.wall())?)
            .map_err(|error| Failure::new(Exit::Certificate, error))?;
        if new.credentials != self.file.credentials {
            let credentials = credentials(&new, when::now());
            (0..self.file.relays.len()).for_each(|relay| gateway.set_credentials(relay, credentials.clone()));
        }
        gateway.set_permitted(new.permit.iter().copied()).map_err(Failure::config)?;
        gateway.set_targets(new.targets.clone());
        new.log_warnings();
        let kept = [
            ("relays", new.relays != self.file.relays),
            ("address-file", new.address_file != self.file.address_file),
            ("the versions of IP in permit", families(&new.permit) != families(&self.file.permit)),
        ];
        let before = std::mem::replace(&mut self.file, new);
        (self.file.relays, self.file.address_file) = (before.relays, before.address_file);
        Ok(kept.into_iter().filter(|(_, is_kept)| *is_kept).map(|(name, _)| name).collect())
    }

    fn handle(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Addresses(addresses) => return self.addresses(&addresses),
            Event::RelayLost { relay, reason, retry_in } => {
                let refusal = refusal(&self.file.relays[relay].to_string(), &reason);
                self.refused(relay, refusal)?;
                tracing::warn!(relay = %self.file.relays[relay], %reason, ?retry_in, "no allocation");
            }
            Event::RelaySilent { relay, since } => {
                let reason = RelayLost::Client(Lost::Unreachable);
                self.refused(relay, refusal(&self.file.relays[relay].to_string(), &reason))?;
                tracing::warn!(relay = %self.file.relays[relay], ?since, "the relay does not answer");
            }
            other => news::log(&other, |relay| self.file.relays[relay].to_string()),
        }
        Ok(())
    }

    fn addresses(&mut self, addresses: &[SocketAddr]) -> Result<(), Failure> {
        self.publish(addresses)?;
        if addresses.is_empty() {
            tracing::warn!("the gateway can't be reached for now");
            return Ok(());
        }
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        service::say(format_args!("gateway {} is reached at {}", self.file.name(), list.join(", ")));
        if !std::mem::replace(&mut self.started, true) {
            service::ready();
        }
        Ok(())
    }

    /// Ends the start when the last relay has refused as well.
    fn refused(&mut self, relay: usize, refusal: Option<Failure>) -> Result<(), Failure> {
        if self.started || self.keep_trying {
            return Ok(());
        }
        if refusal.is_some() {
            self.refusals[relay] = refusal;
        }
        match self.refusals.iter().all(Option::is_some) {
            true => Err(self.refusals.swap_remove(0).expect("all are there")),
            false => Ok(()),
        }
    }

    /// Writes the addresses down. Who has started does not end because that fails, but tries again.
    fn publish(&mut self, addresses: &[SocketAddr]) -> Result<(), Failure> {
        let Some(path) = &self.file.address_file else { return Ok(()) };
        let written = addresses::write(path, self.file.name().as_str(), addresses);
        self.unwritten = written.is_err();
        match written {
            Ok(()) => self.published = addresses.to_vec(),
            Err(failure) if self.started => tracing::warn!("{}", failure.what),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Takes the addresses back. A successor that has started already and writes the same file keeps its own.
    fn withdraw(&self) -> Result<(), Failure> {
        match &self.file.address_file {
            Some(path) => addresses::withdraw(path, self.file.name().as_str(), &self.published),
            None => Ok(()),
        }
    }
}

/// How the start ends when a relay gives no allocation for `reason`; nothing where it will give one soon.
fn refusal(relay: &str, reason: &RelayLost) -> Option<Failure> {
    let exit = match reason {
        RelayLost::Unresolved(_) => Exit::RelayUnreachable,
        RelayLost::Client(lost) => match lost {
            Lost::Unreachable | Lost::Unverified | Lost::Rejected { .. } | Lost::Nonsense => {
                Exit::RelayUnreachable
            }
            Lost::NoSocket { .. } => Exit::Address,
            Lost::Forgotten => return None,
            _ => Exit::RelayRefused,
        },
    };
    // The sentence says what went wrong, and behind its colon what to look at.
    let sentence = reason.to_string();
    let (what, next) = sentence.split_once(": ").unwrap_or((&sentence, ""));
    Some(Failure::new(exit, format!("{relay}: {what}")).next(next))
}
