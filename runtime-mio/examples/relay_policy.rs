//! A relay inside an application of one's own, with rules of one's own about the peers that it may be made to reach.
//!
//! Nobody is reached but whom a rule names; a rule with a leading minus takes away again, whatever else is allowed:
//! `cargo run --example relay_policy -- 127.0.0.1:3478 user password 10.20.0.0/16 -10.20.0.13`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, error::Error};

use adit_core::relay::{Config, Event, RelayAddress};
use adit_core::turn::address_policy::{Network, NotANetwork, Policy};
use adit_core::turn::credentials::Authenticator;
use adit_mio::{Notice, RelayServer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [listen, username, password, rules @ ..] = &arguments[..] else {
        return Err("arguments: LISTEN:PORT USERNAME PASSWORD [-]NETWORK…".into());
    };
    let listen: SocketAddr = listen.parse()?;
    let policy = rules.iter().try_fold(Policy::deny_all(), |policy, rule| add(policy, rule))?;
    let address = Some(RelayAddress::direct(listen.ip()));
    let (ipv4, ipv6) = if listen.is_ipv4() { (address, None) } else { (None, address) };
    let authenticator = Authenticator::new("example.org").with_user(username, password);
    let config = Config { listen: vec![listen.into()], ipv4, ipv6, policy, ..Config::new(authenticator) };

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    // The relay has a thread of its own; this one is the application's.
    let relay = RelayServer::spawn(config)?;
    println!("listening on {}", relay.addresses()[0]);
    while !stop.load(Ordering::Relaxed) && !relay.has_failed() {
        match relay.wait_event(Duration::from_millis(200)) {
            Some(Notice::Event(Event::Allocated { username, relayed, .. })) => {
                println!("{username} is reached at {}", relayed[0]);
            }
            Some(Notice::Event(Event::Released { username, reason, .. })) => {
                println!("{username} has left: {reason:?}");
            }
            Some(_) | None => {}
        }
    }
    println!("stopped with {} allocations left", relay.allocations());
    relay.stop();
    Ok(())
}

fn add(policy: Policy, rule: &str) -> Result<Policy, NotANetwork> {
    match rule.strip_prefix('-') {
        Some(denied) => Ok(policy.deny(denied.parse::<Network>()?)),
        None => Ok(policy.allow(rule.parse::<Network>()?)),
    }
}
