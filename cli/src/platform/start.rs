//! `adit platform start`.
//!
//! 1. The store is opened, the API's certificate made or read, and the API served.
//! 2. SIGHUP takes a new certificate; SIGTERM and Ctrl-C let what is under way end.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use adit_platform::config::{Config, Times, TlsFiles};
use adit_platform::server::{Platform, StartError};
use clap::Args;
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};

use super::{Place, not_opened, store};
use crate::addresses;
use crate::exit::{Exit, Failure};
use crate::service::{self, Signals};

/// Start a platform instance.
///
/// Serves the API by HTTPS, watches the gateways, and ends with what is under way on SIGTERM. Several instances share a
/// PostgreSQL, and each has a directory of its own with the same root-keys file. On SIGHUP the files of the certificate
/// are read again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  adit platform start --dir platform
  adit platform start --listen 0.0.0.0:443 --tls-cert fullchain.pem --tls-key key.pem
  adit platform start --database-file /etc/adit/database")]
pub(crate) struct Start {
    #[command(flatten)]
    place: Place,
    /// Where the API listens.
    #[arg(
        long,
        value_name = "ADDR",
        env = "ADIT_PLATFORM_LISTEN",
        default_value = "0.0.0.0:8443",
        value_parser = addresses::parse
    )]
    listen: SocketAddr,
    /// The URL by which agents and people reach the platform; the one of `init` without it.
    #[arg(long, value_name = "URL", env = "ADIT_PUBLIC_URL")]
    public_url: Option<String>,
    /// The API's certificate with its intermediates, PEM; the platform's own authority issues one without it.
    #[arg(long, value_name = "FILE", env = "ADIT_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, value_name = "FILE", env = "ADIT_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The network of a reverse proxy whose X-Forwarded-For is believed. Can be given more than once.
    #[arg(long, value_name = "NETWORK")]
    trusted_proxy: Vec<IpNet>,
    /// A network that the relay credentials of gateways permit as a whole, besides the very addresses from which connectors
    /// come: where those change often within it. Can be given more than once.
    #[arg(long, value_name = "NETWORK")]
    relay_peer_network: Vec<IpNet>,
    /// The local address from which gateways are dialled.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    connector_bind: IpAddr,
    /// For how many seconds a stop waits for what is under way.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    grace_period: u64,
    /// Lengths of time other than the usual ones, as heartbeat=1,access-token=60: for tests of short lives.
    #[arg(
        long,
        value_name = "NAME=SECONDS",
        env = "ADIT_PLATFORM_TIMES",
        value_delimiter = ',',
        hide = true
    )]
    time: Vec<Time>,
}

pub(crate) fn run(flags: Start) -> Result<(), Failure> {
    service::block_on(async {
        let mut signals = Signals::new()?;
        let mut hangup = signal(SignalKind::hangup())
            .map_err(|error| Failure::new(Exit::Other, format!("signals can't be handled: {error}")))?;
        let mut platform = Platform::start(flags.config()?).await.map_err(|error| not_started(&error))?;
        service::say(format_args!(
            "the platform serves {1}, listening on {0}\n next: adit login --domain {1} --token-file FILE",
            platform.address(),
            platform.public_url()
        ));
        service::ready();
        let result = loop {
            tokio::select! {
                ended = platform.ended() => break ended.map_err(|error| broken(&error)),
                () = signals.next() => break Ok(()),
                _ = hangup.recv() => platform.reload(),
            }
        };
        service::stopping();
        if result.is_ok() {
            platform.stop().await;
        }
        result
    })
}

impl Start {
    fn config(self) -> Result<Config, Failure> {
        let mut times = Times { grace: Duration::from_secs(self.grace_period), ..Times::default() };
        self.time.iter().for_each(|time| time.set(&mut times));
        let database = self.place.database.url()?;
        let tls = self.tls_cert.zip(self.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
        Ok(Config {
            database,
            public_url: self.public_url,
            tls,
            trusted_proxies: self.trusted_proxy,
            relay_peer_networks: self.relay_peer_network,
            connector_bind: self.connector_bind,
            times,
            ..Config::new(self.place.dir, self.listen)
        })
    }
}

/// One length of time.
#[derive(Debug, Clone)]
struct Time {
    name: String,
    length: Duration,
}

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, seconds) = text.split_once('=').ok_or_else(|| format!("`{text}` is no NAME=SECONDS"))?;
        let length = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let length = length.filter(|length| !length.is_zero());
        let length = length.ok_or_else(|| format!("`{seconds}` is no number of seconds"))?;
        match field(&mut Times::default(), name) {
            Some(_) => Ok(Self { name: name.to_owned(), length }),
            None => Err(format!("`{name}` is no length of time of a platform")),
        }
    }
}

impl Time {
    fn set(&self, times: &mut Times) {
        *field(times, &self.name).expect("the name was looked at when it was read") = self.length;
    }
}

fn field<'a>(times: &'a mut Times, name: &str) -> Option<&'a mut Duration> {
    Some(match name {
        "heartbeat" => &mut times.heartbeat,
        "ping" => &mut times.ping,
        "watcher-claim" => &mut times.watcher_claim,
        "access-token" => &mut times.access_token,
        "nonce" => &mut times.nonce,
        "enrolment-token" => &mut times.enrolment_token,
        "gateway-leaf" => &mut times.gateway_leaf,
        "connector-leaf" => &mut times.connector_leaf,
        "relay-leaf" => &mut times.relay_leaf,
        "api-leaf" => &mut times.api_leaf,
        "turn-credentials" => &mut times.turn_credentials,
        "turn-renewal" => &mut times.turn_renewal,
        "offline-grace" => &mut times.offline_grace,
        "connector-idle" => &mut times.connector_idle,
        "duties" => &mut times.duties,
        "claim" => &mut times.claim,
        "work" => &mut times.work,
        "work-pause" => &mut times.work_pause,
        "stuck" => &mut times.stuck,
        "lease-duties" => &mut times.lease_duties,
        "orphan-scan" => &mut times.orphan_scan,
        _ => return None,
    })
}

fn not_started(error: &StartError) -> Failure {
    match error {
        StartError::Open(error) => not_opened(error),
        StartError::Store(error) => store(error),
        StartError::Listen(..) => {
            Failure::new(Exit::Address, error).next("choose another --listen, and --public-url with it")
        }
        StartError::PublicUrl(..) => Failure::new(Exit::Usage, error),
        StartError::Tls(..) => Failure::config(error),
        StartError::Authority(_) => Failure::new(Exit::Other, error),
    }
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Other, format!("the API has ended by itself: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_named_and_positive() {
        let mut times = Times::default();
        let time: Time = "heartbeat=0.5".parse().unwrap();
        time.set(&mut times);
        assert_eq!(times.heartbeat, Duration::from_millis(500));
        for text in ["heartbeat", "heart=1", "heartbeat=0", "heartbeat=-1", "heartbeat=x"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
