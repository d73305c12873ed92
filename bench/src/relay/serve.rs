//! The relay that is measured: a process of its own, so that its CPU time and memory are its alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::time::Duration;

use adit_core::relay::{Config, RelayAddress, ReplyBudget};
use adit_core::turn::address_policy::{Network, Policy};
use adit_core::turn::credentials::Authenticator;
use adit_mio::RelayServer;
use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::server::{FIRST_PORT, REALM, SECRET};

/// More files than any measurement has open.
const MANY_FILES: u64 = 200_000;

/// How it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    listen: SocketAddr,
    /// Threads. The measurements are of one, so that they are beside one thread of the other servers.
    #[arg(long, default_value = "1")]
    shards: NonZeroU8,
}

/// Serves until it is killed. All clients come from one address here, so they have a budget of replies that many
/// addresses would have.
pub(crate) fn run(options: &Options) -> Result<()> {
    allow_many_files();
    let config = Config {
        listen: vec![options.listen.into()],
        ipv4: Some(RelayAddress::direct(options.listen.ip())),
        ports: FIRST_PORT..=u16::MAX,
        policy: Policy::default_deny().allow(Network::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8)),
        reply_budget: ReplyBudget { rate: 1_000_000, burst: 1_000_000 },
        ..Config::new(Authenticator::new(REALM).with_secret(SECRET.as_bytes()))
    };
    let server = RelayServer::spawn_shards(config, options.shards)?;
    while !server.has_failed() {
        // As the binary does, which writes them to its log.
        let _ = server.wait_event(Duration::from_secs(1));
    }
    bail!("the relay has ended")
}

/// One for each allocation; only root may go beyond the limit that was set.
pub(super) fn allow_many_files() {
    let raised = Rlimit { current: Some(MANY_FILES), maximum: Some(MANY_FILES) };
    if setrlimit(Resource::Nofile, raised).is_err() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
