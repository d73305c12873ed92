//! What machines hold: bounded at all times, nothing in the end; and counters that only a bug can raise.

use adit_core::connector::{self, Failure};
use adit_core::gateway;
use adit_core::quic::CloseReason;
use adit_core::relay;

use super::{Finding, Law};
use crate::machine::Machine;
use crate::network::Drop;
use crate::plan::Stage;
use crate::world::{Handle, World};

/// How many bytes may wait for channels at a gateway, for each relay.
const PARKED: usize = 256 * 1024;

/// Between two inputs nothing waits at a relay, and no more at a gateway than it may keep.
pub(super) fn bounds(stage: &Stage) -> Finding {
    for (number, relay) in running(&stage.world, &stage.relays) {
        relay.check();
        let holdings = relay.holdings();
        if holdings.waiting > 0 {
            return Err((
                Law::Bounds,
                format!("relay {number} was drained and keeps {} replies", holdings.waiting),
            ));
        }
        let fewest = holdings.allocations + holdings.permissions + holdings.channels + holdings.reservations;
        if holdings.timers != fewest {
            return Err((
                Law::Bounds,
                format!("relay {number} has a timer too many or too few: {holdings:?}"),
            ));
        }
    }
    for (number, gateway) in running(&stage.world, &stage.gateways) {
        let parked = gateway.holdings().parked;
        if parked > PARKED * stage.relays.len() {
            return Err((Law::Bounds, format!("gateway {number} keeps {parked} bytes for channels")));
        }
    }
    Ok(())
}

/// Nothing happens that only a bug explains.
pub(super) fn faults(stage: &Stage) -> Finding {
    if stage.world.dropped(Drop::NotBound) > 0 {
        return Err((Law::Fault, "a machine sends from a socket that it does not have".to_owned()));
    }
    for (number, relay) in running(&stage.world, &stage.relays) {
        let counters = relay.counters();
        // The world delivers nothing to a socket that was given up, and has no links.
        let lost = counters.dropped(relay::Drop::UnknownSocket) + counters.dropped(relay::Drop::UnknownLink);
        if lost > 0 {
            return Err((Law::Fault, format!("relay {number} does not know a socket of its own")));
        }
    }
    for (number, gateway) in running(&stage.world, &stage.gateways) {
        let counters = gateway.counters();
        if counters.unknown_socket + counters.unknown_link > 0 {
            return Err((
                Law::Fault,
                format!("gateway {number} does not know a socket of its own: {counters:?}"),
            ));
        }
    }
    for (number, connector) in running(&stage.world, &stage.connectors) {
        let counters = connector.counters();
        if counters.unknown_socket + counters.unknown_link + counters.no_socket > 0 {
            return Err((
                Law::Fault,
                format!("connector {number} does not know a socket of its own: {counters:?}"),
            ));
        }
    }
    news(stage)
}

/// Nobody blames the other end for breaking a protocol: both are ours, and what others send is not authentic.
fn news(stage: &Stage) -> Finding {
    for &on in stage.gateways.iter().filter(|&&on| stage.world.is_running(on)) {
        let blame = |event: &&gateway::Event| match event {
            gateway::Event::Disconnected { reason, .. } | gateway::Event::Refused { reason } => {
                is_blame(reason)
            }
            _ => false,
        };
        if let Some(event) = stage.world.news(on).iter().find(blame) {
            return Err((Law::Fault, format!("{event:?}")));
        }
    }
    for &on in stage.connectors.iter().filter(|&&on| stage.world.is_running(on)) {
        let blame = |event: &&connector::Event| match event {
            connector::Event::Disconnected { reason, .. } => is_blame(reason),
            connector::Event::Failed { failure, .. } => *failure == Failure::Protocol,
            _ => false,
        };
        if let Some(event) = stage.world.news(on).iter().find(blame) {
            return Err((Law::Fault, format!("{event:?}")));
        }
    }
    Ok(())
}

fn is_blame(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::PeerBroke { .. } | CloseReason::BlamedByPeer { .. } | CloseReason::VersionMismatch
    )
}

/// Everybody has left and all lifetimes are over: nothing is held, nobody wants to be woken.
pub(super) fn leaks(stage: &Stage) -> Finding {
    let leak = |who: &str, number: usize, what: String| {
        Err((Law::Leak, format!("{who} {number} still holds {what}")))
    };
    for (number, relay) in running(&stage.world, &stage.relays) {
        let holdings = relay.holdings();
        let empty = relay::Holdings { sockets: 1, ..relay::Holdings::default() };
        if holdings != empty
            || stage.world.sockets(stage.relays[number]) != 1
            || relay.poll_timeout().is_some()
        {
            return leak("relay", number, format!("{holdings:?}, deadline {:?}", relay.poll_timeout()));
        }
    }
    for (number, gateway) in running(&stage.world, &stage.gateways) {
        let (holdings, pipes) = (gateway.holdings(), stage.world.open_pipes(stage.gateways[number]));
        let sockets = stage.world.sockets(stage.gateways[number]);
        if holdings != gateway::Holdings::default() || pipes + sockets > 0 || gateway.poll_timeout().is_some()
        {
            return leak("gateway", number, format!("{holdings:?}, {pipes} pipes, {sockets} sockets"));
        }
    }
    for (number, connector) in running(&stage.world, &stage.connectors) {
        let (holdings, pipes) = (connector.holdings(), stage.world.open_pipes(stage.connectors[number]));
        if holdings != connector::Holdings::default() || pipes > 0 || connector.poll_timeout().is_some() {
            return leak(
                "connector",
                number,
                format!("{holdings:?}, {pipes} pipes, {:?}", connector.poll_timeout()),
            );
        }
    }
    match stage.world.next() {
        Some(at) => Err((Law::Leak, format!("something is to happen in {:?}", at - stage.world.now()))),
        None => Ok(()),
    }
}

fn running<'a, M: Machine>(
    world: &'a World,
    handles: &'a [Handle<M>],
) -> impl Iterator<Item = (usize, &'a M)> {
    let runs = |&(_, handle): &(usize, &Handle<M>)| world.is_running(*handle);
    handles.iter().enumerate().filter(runs).map(|(number, &handle)| (number, world.machine(handle)))
}
