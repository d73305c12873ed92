//! `adit forward`: a local port that leads to a target in the private network.
//!
//! With `--gateway`, [`platform`] does it as whoever is logged in. Without, a file says everything:
//!
//! 1. The local port is bound, and the gateway's addresses are read.
//! 2. The gateway is connected to, and the target is opened once: what is wrong shows at once, in the exit
//!    status.
//! 3. Each local connection becomes a stream. Failures are logged, and the address file is followed.

mod platform;
mod trouble;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_core::connector::{Config, Event, GatewayConfig, GatewayKey};
use adit_core::pki::tls;
use adit_core::time::WallCell;
use adit_core::tunnel::{ALPN, Target};
use adit_tokio::{Connector, Forwarded, Notice};
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use crate::config::{Addresses, ConnectorFile};
use crate::exit::{Exit, Failure};
use crate::login::Place;
use crate::service::{self, Signals};
use crate::{addresses, when};
use trouble::{Trouble, not_connected, not_opened};

pub(crate) use platform::{Passage, Start};

/// The file of a connector without a platform.
const CONFIG: &str = "/etc/adit/connector.toml";
/// How long to wait before the gateway is tried again at the start.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the address file is looked at.
const FOLLOW: Duration = Duration::from_secs(1);
/// The longest time that the start may be tried for, in seconds: a year.
const LONGEST_WAIT: u64 = 365 * 86_400;
/// How long the probe waits for the target to close its end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Make a local port that leads to a target in the private network.
///
/// With --gateway, connects to that gateway of the platform as whoever is logged in (`adit login`), with a key and a
/// certificate for this target that live in memory only. Without, to the gateway that a file names. Opens the target
/// once to see whether that works, and then forwards each local connection. Prints where it listens.
#[derive(Debug, Args)]
#[command(after_help = r#"With a platform:
  adit forward tcp://db.internal:5432 --gateway gw-1 --listen 127.0.0.1:6432
  psql -h 127.0.0.1 -p 6432

Without, a file:
  gateway-id = "gw-1"
  organisation = "acme"
  address-file = "gateway.addr"          # rewritten by the gateway; or: addresses = ["192.0.2.1:50000"]
  [identity]
  certificate = "laptop.pem"             # adit ca issue DIR connector laptop
  key = "laptop.key"
  trust-anchor = ["gateway-ca.pem"]

  adit forward tcp://db.internal:5432 --config connector.toml --listen 127.0.0.1:6432"#)]
pub(crate) struct Forward {
    /// What to reach through the gateway: tcp://host:port, or host:port. The gateway resolves the name.
    target: Target,
    /// The gateway's name, as the platform has it: any of its instances will do.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    gateway: Option<String>,
    /// The connector's file [default without --gateway: /etc/adit/connector.toml].
    #[arg(long, value_name = "FILE", env = "ADIT_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen for local connections; port 0 takes any free one. Everyone who reaches this address
    /// reaches the target.
    #[arg(
        long,
        value_name = "ADDR",
        env = "ADIT_FORWARD_LISTEN",
        default_value = "127.0.0.1:0",
        value_parser = addresses::parse
    )]
    listen: SocketAddr,
    /// Do not open the target at the start, only connect to the gateway.
    #[arg(long)]
    no_check: bool,
    /// How many seconds to keep trying at the start before giving up.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=LONGEST_WAIT))]
    wait: u64,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(mut forward: Forward) -> Result<(), Failure> {
    service::block_on(async {
        match forward.gateway.take() {
            Some(gateway) => platform::serve(forward, &gateway).await,
            None => serve(forward).await,
        }
    })
}

async fn serve(flags: Forward) -> Result<(), Failure> {
    let file = ConnectorFile::load(flags.config.as_deref().unwrap_or(Path::new(CONFIG)))?;
    let mut signals = Signals::new()?;
    let listener =
        TcpListener::bind(flags.listen).await.map_err(|error| cannot_listen(flags.listen, &error))?;
    let local = listener.local_addr().map_err(|error| cannot_listen(flags.listen, &error))?;
    file.identity.log_warnings();
    let way = Way::new(file)?;
    let known = tokio::select! {
        result = way.prove(&flags) => result?,
        () = signals.next() => return Ok(()),
    };
    service::say(format_args!(
        "listening on {local}, forwarding to {} through gateway {}",
        flags.target, way.file.gateway
    ));
    service::ready();
    let result = tokio::select! {
        () = adit_tokio::forward(listener, way.connector.clone(), way.gateway, flags.target, report) => Ok(()),
        () = way.follow(known) => Ok(()),
        () = way.log() => Err(ended()),
        () = signals.next() => Ok(()),
    };
    service::stopping();
    way.connector.shut_down();
    result
}

/// A connector and the one gateway that it leads to.
struct Way {
    file: ConnectorFile,
    connector: Connector,
    gateway: GatewayKey,
}

impl Way {
    fn new(file: ConnectorFile) -> Result<Self, Failure> {
        let (identity, wall) = (&file.identity, WallCell::new(when::now()));
        let client = tls::client_config(
            &identity.own,
            identity.anchors.clone(),
            identity.expected.clone(),
            file.gateway.clone(),
            &[ALPN],
            wall.clone(),
        );
        let client = client.map_err(|error| Failure::new(Exit::Certificate, error))?;
        let connector = Connector::spawn(Config::new(wall));
        // No server name is sent: the certificate says who answers.
        let gateway = connector.add_gateway(GatewayConfig {
            tls: client,
            server_name: "gateway".into(),
            addresses: Vec::new(),
        });
        Ok(Self { file, connector, gateway })
    }

    /// Tries until the gateway is connected and the target has opened, or for as long as the user wants to
    /// wait. The addresses by which it was found.
    async fn prove(&self, flags: &Forward) -> Result<Vec<SocketAddr>, Failure> {
        let end = Instant::now() + Duration::from_secs(flags.wait);
        loop {
            let failure = match self.attempt(flags).await {
                Ok(addresses) => return Ok(addresses),
                Err(Trouble::Lasting(failure)) => return Err(failure),
                Err(Trouble::Passing(failure)) => failure,
            };
            if Instant::now() >= end {
                return Err(failure);
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, flags: &Forward) -> Result<Vec<SocketAddr>, Trouble> {
        let addresses = self.addresses().map_err(Trouble::Lasting)?;
        if addresses.is_empty() {
            return Err(self.no_address());
        }
        self.connector.set_addresses(self.gateway, addresses.clone());
        self.connect().await?;
        if flags.no_check {
            return Ok(addresses);
        }
        let mut stream = self.connector.open(self.gateway, &flags.target).await.map_err(not_opened)?;
        // An orderly end, which servers do not complain about in their logs.
        let _ = stream.shutdown().await;
        let _ = timeout(GOODBYE, stream.read(&mut [0; 1024])).await;
        Ok(addresses)
    }

    async fn connect(&self) -> Result<(), Trouble> {
        if self.connector.stats(self.gateway).is_some() {
            return Ok(());
        }
        self.connector.connect(self.gateway);
        loop {
            match self.connector.event().await {
                Some(Notice::Event(Event::Connected { .. })) => return Ok(()),
                Some(Notice::Event(Event::ConnectFailed { error, .. })) => return Err(not_connected(&error)),
                Some(_) => {}
                None => return Err(Trouble::Lasting(ended())),
            }
        }
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        match &self.file.addresses {
            Addresses::Fixed(addresses) => Ok(addresses.clone()),
            Addresses::File(path) => addresses::read(path),
        }
    }

    /// Looks for others than the `known` addresses for ever; there are none where they stand in the file.
    async fn follow(&self, mut known: Vec<SocketAddr>) {
        loop {
            sleep(FOLLOW).await;
            match self.addresses() {
                Ok(addresses) if addresses == known => {}
                Ok(addresses) => {
                    tracing::info!(?addresses, "the gateway's addresses have changed");
                    self.connector.set_addresses(self.gateway, addresses.clone());
                    known = addresses;
                }
                Err(failure) => tracing::warn!("{}", failure.what),
            }
        }
    }

    async fn log(&self) {
        while let Some(notice) = self.connector.event().await {
            let Notice::Event(event) = notice else { continue };
            match event {
                Event::Connected { address, .. } => tracing::info!(%address, "connected to the gateway"),
                Event::ConnectFailed { error, .. } => tracing::warn!(%error, "the gateway can't be reached"),
                Event::Disconnected { reason, .. } => tracing::warn!(%reason, "the gateway has gone"),
                Event::Draining { .. } => tracing::info!("the gateway is about to leave"),
                _ => {}
            }
        }
    }

    fn no_address(&self) -> Trouble {
        let place = match &self.file.addresses {
            Addresses::File(path) => format!("{} holds none", path.display()),
            Addresses::Fixed(_) => "the file holds none".into(),
        };
        let what = format!("no address of gateway {} is known: {place}", self.file.gateway);
        Trouble::Passing(
            Failure::new(Exit::GatewayUnreachable, what)
                .next("is the gateway running, and is its [status] address-file this one?"),
        )
    }
}

/// Says what became of a local connection. Who made it is shown at DEBUG only.
fn report(what: Forwarded) {
    match what {
        Forwarded::Opened { client, address } => tracing::debug!(%client, %address, "opened"),
        Forwarded::Refused { client, error } => {
            tracing::warn!(%error, "a connection was not forwarded");
            tracing::debug!(%client, "refused");
        }
        Forwarded::Ended { client, moved } => {
            tracing::debug!(%client, sent = moved.into_pipe, received = moved.out_of_pipe, "ended");
        }
        Forwarded::Broken { client, error } => {
            tracing::info!(%error, "a connection was cut");
            tracing::debug!(%client, "broken");
        }
        Forwarded::NotAccepted(error) => {
            tracing::warn!(%error, "no local connection can be accepted for now");
        }
    }
}

fn ended() -> Failure {
    Failure::new(Exit::Other, "the connector has ended by itself")
        .next("look for a panic above, and report it")
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Address, format!("can't listen on {address}: {error}"))
        .next("choose another --listen; port 0 takes any free one")
}
