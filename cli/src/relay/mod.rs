//! `adit relay`: the TURN server.

mod flags;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adit_core::relay::{Config, Event, Released};
use adit_mio::{Notice, RelayServer, StartError};
use clap::Subcommand;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::exit::{Exit, Failure};
use crate::{agent, service};

/// How long the loop waits for an event before it looks for a signal.
const TICK: Duration = Duration::from_millis(100);

/// Run the TURN server that gateways allocate on.
#[derive(Debug, Subcommand)]
pub(crate) enum Relay {
    Start(flags::Start),
}

pub(crate) fn run(relay: Relay) -> Result<(), Failure> {
    let Relay::Start(flags) = relay;
    if let Some(domain) = flags.platform.domain.clone() {
        let platform = flags.platform.clone();
        let config = flags.config_with_platform()?;
        check(&config)?;
        return service::block_on(agent::relay::serve(platform, domain, config));
    }
    let stop = stop_flag()?;
    service::raise_descriptor_limit();
    let config = flags.config()?;
    check(&config)?;
    let server = start(config)?;
    serve(&server, &stop)?;
    service::stopping();
    end(server);
    Ok(())
}

/// Looks whether relayed addresses can be bound.
fn check(config: &Config) -> Result<(), Failure> {
    [config.ipv4, config.ipv6].into_iter().flatten().try_for_each(|address| check_bindable(address.bind))
}

/// Starts the relay and says so.
pub(crate) fn start(config: Config) -> Result<RelayServer, Failure> {
    let relayed = [config.ipv4, config.ipv6];
    let server = RelayServer::spawn(config).map_err(not_started)?;
    for address in server.addresses() {
        service::say(format_args!("listening on {address}"));
    }
    for address in relayed.into_iter().flatten() {
        tracing::info!(advertised = %address.advertised, "relayed addresses");
    }
    service::ready();
    Ok(server)
}

/// Stops the relay and says what it has done.
pub(crate) fn end(server: RelayServer) {
    let counters = server.counters();
    tracing::info!(
        to_peers = counters.to_peers.packets,
        to_clients = counters.to_clients.packets,
        allocations = server.allocations(),
        "the relay stops"
    );
    server.stop();
}

/// Better now than at the first client's request.
fn check_bindable(ip: IpAddr) -> Result<(), Failure> {
    UdpSocket::bind(SocketAddr::new(ip, 0)).map(drop).map_err(|error| {
        Failure::new(Exit::Address, format!("relayed addresses can't be bound to {ip}: {error}")).next(
            "name an address of this machine with --relay-ip, or with --external-ip PUBLIC/PRIVATE behind a NAT",
        )
    })
}

/// Set by Ctrl-C and SIGTERM; the second Ctrl-C ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::new(Exit::Other, format!("signals can't be handled: {error}")))?;
    }
    Ok(stop)
}

fn serve(server: &RelayServer, stop: &AtomicBool) -> Result<(), Failure> {
    while !stop.load(Ordering::Relaxed) {
        match server.wait_event(TICK) {
            Some(Notice::Event(event)) => log(&event),
            Some(Notice::Lost(count)) => tracing::debug!(count, "events were not logged"),
            None if server.has_failed() => return Err(failed()),
            None => {}
        }
    }
    Ok(())
}

/// The relay's thread is gone although nobody has stopped it.
pub(crate) fn failed() -> Failure {
    Failure::new(Exit::Other, "the relay's thread has ended").next("look for a panic above, and report it")
}

/// Users and their addresses are personal: they are shown at DEBUG only.
pub(crate) fn log(event: &Event) {
    match event {
        Event::Allocated { client, username, relayed } => {
            tracing::info!(addresses = relayed.len(), "an allocation was made");
            tracing::debug!(%client, %username, ?relayed, "allocated");
        }
        Event::Released { client, username, reason } => {
            let reason = match reason {
                Released::Closed => "its client closed it",
                Released::Expired => "it was not refreshed",
                Released::Revoked => "its user was revoked",
            };
            tracing::info!(reason, "an allocation has ended");
            tracing::debug!(%client, %username, "released");
        }
        Event::Moved { from, to, username } => tracing::debug!(%from, %to, %username, "moved"),
        Event::Drained => tracing::info!("no allocation is left"),
        Event::ListenFailed { addr, kind } => tracing::error!(%addr, %kind, "no longer listening"),
        Event::Listening { .. } | Event::Effect(_) => {}
    }
}

fn not_started(error: StartError) -> Failure {
    match &error {
        StartError::Listen { addr, kind } => {
            let failure = Failure::new(Exit::Address, &error);
            match kind {
                ErrorKind::AddrInUse => failure.next(format!(
                    "find out who has it (ss -lunp 'sport = :{}'), or choose another --listen",
                    addr.port()
                )),
                ErrorKind::AddrNotAvailable => failure.next("list this machine's addresses with: ip address"),
                _ => failure.next("choose another --listen"),
            }
        }
        StartError::System(_) => Failure::new(Exit::Other, error),
    }
}
