//! `adit relay`: the TURN server.
//!
//! 1. [`flags`] and [`settings`] say what it can be told, [`setup`] what that comes to.
//! 2. [`serving`] starts it, hears what it says, and drains it at the end; [`orders`] are read again while it runs.
//! 3. Without a platform that is all; with one, [`agent::relay`] stands between.

mod certificate;
mod coturn;
mod event_log;
mod flags;
mod orders;
mod serving;
mod settings;
mod setup;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use adit_core::relay::Config;
use clap::Subcommand;

use crate::agent;
use crate::exit::{Exit, Failure};
use crate::monitor::{self, Monitor};
use crate::service::{self, Signals};

pub(crate) use orders::Orders;
pub(crate) use serving::Serving;
pub(crate) use settings::Settings;

/// Run the TURN server that gateways allocate on.
#[derive(Debug, Subcommand)]
pub(crate) enum Relay {
    Start(Box<flags::Start>),
    ImportCoturn(coturn::ImportCoturn),
}

pub(crate) fn run(relay: Relay) -> Result<(), Failure> {
    let flags = match relay {
        Relay::Start(flags) => *flags,
        Relay::ImportCoturn(import) => return import.run(),
    };
    let settings = flags.settings()?;
    let (config, revoked) = (settings.config()?, settings.revoked()?);
    check(&config)?;
    service::block_on(async move {
        let monitor = Monitor::new("relay");
        monitor.open(settings.monitor_listen, monitor::RELAY).await?;
        let (platform, orders) = (settings.platform(), Orders::new(flags, settings)?);
        match platform.domain.clone() {
            Some(domain) => agent::relay::serve(platform, domain, orders, monitor).await,
            None => serve(config, &revoked, orders, monitor).await,
        }
    })
}

/// Serves without a platform until a signal comes; a second one ends it at once.
async fn serve(
    config: Config,
    revoked: &BTreeSet<String>,
    mut orders: Orders,
    monitor: Monitor,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let serving = orders.begin(config, revoked, monitor)?;
    loop {
        tokio::select! {
            heard = serving.hear() => heard?,
            () = orders.wait() => orders.follow(Some(&serving)),
            () = signals.next() => break,
        }
    }
    service::stopping();
    tokio::select! {
        () = serving.drain(orders.drain()) => {}
        () = signals.next() => tracing::warn!("told twice: the relay ends at once"),
    }
    serving.end();
    Ok(())
}

/// Looks whether relayed addresses can be bound.
fn check(config: &Config) -> Result<(), Failure> {
    [config.ipv4, config.ipv6].into_iter().flatten().try_for_each(|address| check_bindable(address.bind))
}

/// Better now than at the first client's request.
fn check_bindable(ip: IpAddr) -> Result<(), Failure> {
    UdpSocket::bind(SocketAddr::new(ip, 0)).map(drop).map_err(|error| {
        Failure::new(Exit::Address, format!("relayed addresses can't be bound to {ip}: {error}")).next(
            "name an address of this machine with --relay-ip, or with --external-ip PUBLIC/PRIVATE behind a NAT",
        )
    })
}
