//! A TURN client over `std::net`: a machine of the core in a loop of one's own.
//!
//! It allocates on a relay, lets one peer in, sends back what that peer sends, and releases the allocation after so
//! many seconds: `cargo run --example turn_client_std -- 127.0.0.1:3478 user password 127.0.0.1 60`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "clocks and sockets are the owner's")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};
use std::{env, error::Error, io, num::NonZeroUsize, thread};

use adit_core::client::{Client, Config, Event};
use adit_core::io::{Completion, Datagrams, Effect, Forwards, Onward, SocketId};
use adit_core::time::Clock;
use adit_core::turn::credentials::Credentials;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [relay, username, password, peer, seconds] = &arguments[..] else {
        return Err("arguments: RELAY:PORT USERNAME PASSWORD PEER SECONDS".into());
    };
    // A machine fetches nothing for itself: the time, randomness and its configuration are handed to it.
    let (now, unix) = (Instant::now(), SystemTime::UNIX_EPOCH.elapsed()?);
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed)?;
    let credentials = Credentials { username: username.clone(), password: password.clone() };
    let mut client = Client::new(Config::new(relay.parse()?, credentials), Clock::new(now, unix), now, seed);
    client.permit(now, peer.parse()?)?;

    let end = now + Duration::from_secs(seconds.parse()?);
    let mut socket = None;
    while settle(&mut client, &mut socket, Instant::now()) {
        receive(&mut client, &socket, end);
        let now = Instant::now();
        client.handle_timeout(now);
        if now >= end {
            client.close(now);
        }
    }
    println!("released");
    Ok(())
}

/// The machine wants one socket at a time: a fresh one for each attempt to allocate.
type Socket = Option<(SocketId, UdpSocket)>;

/// Carries out what the machine wants until it wants nothing more. False when it has come to its end.
fn settle(client: &mut Client, socket: &mut Socket, now: Instant) -> bool {
    let mut out = Vec::new();
    loop {
        while client.poll_transmit(now, NonZeroUsize::MIN, &mut out).is_some() {
            send(client, socket, &out);
            out.clear();
        }
        match client.poll_event() {
            None => return true,
            Some(Event::Closed) => return false,
            Some(Event::Effect(Effect::Bind { socket: id, addr, .. })) => {
                let result = bind(socket, id, addr).map_err(|error| error.kind());
                client.handle_completion(now, Completion::Bound { socket: id, result });
            }
            Some(Event::Effect(_)) => *socket = None, // Unbind: a client asks for nothing else.
            Some(Event::Allocated { relayed, .. }) => println!("relayed address: {}", relayed[0]),
            Some(event) => println!("{event:?}"),
        }
    }
}

fn bind(socket: &mut Socket, id: SocketId, addr: SocketAddr) -> io::Result<SocketAddr> {
    socket.insert((id, UdpSocket::bind(addr)?)).1.local_addr()
}

/// Waits for a datagram, at most until the machine's deadline, and sends back what a peer sent.
fn receive(client: &mut Client, socket: &Socket, end: Instant) {
    let now = Instant::now();
    let deadline = client.poll_timeout().map(|deadline| deadline.at);
    let until = deadline.into_iter().chain(Some(end).filter(|&end| end > now)).min().unwrap_or(now);
    let time = until.saturating_duration_since(now).max(Duration::from_millis(1));
    let Some((id, udp)) = socket else { return thread::sleep(time) };
    let mut buffer = [0; 2048];
    let received = udp.set_read_timeout(Some(time)).and_then(|()| udp.recv_from(&mut buffer));
    let Ok((len, remote)) = received else { return };
    let mut batch = Datagrams::single(*id, remote, &mut buffer[..len]);
    let (now, mut runs) = (Instant::now(), Forwards::default());
    client.handle_datagrams(now, batch.reborrow(), &mut runs);
    for run in runs.drain() {
        let Onward::Owner { peer } = run.onward else { unreachable!("a client forwards nothing") };
        // A peer's data is still where it arrived, behind a header.
        let data = run.body(&batch, 0);
        println!("{peer} sent {} bytes", data.len());
        let mut out = Vec::new();
        if client.encapsulate(now, peer, data, data.len(), None, &mut out).is_some() {
            send(client, socket, &out);
        }
    }
}

/// What can't be sent is lost, as it might be on the way; the machine repeats what matters.
fn send(client: &Client, socket: &Socket, datagram: &[u8]) {
    if let Some((_, udp)) = socket {
        let _ = udp.send_to(datagram, client.server());
    }
}
