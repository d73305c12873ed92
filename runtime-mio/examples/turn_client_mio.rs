//! A TURN client over a mio poll of one's own, beside whatever else that poll waits for: here, Ctrl-C.
//!
//! It allocates on a relay, lets one peer in, sends back what that peer sends, and releases the allocation when it
//! is told to end: `cargo run --example turn_client_mio -- 127.0.0.1:3478 user password 127.0.0.1`.
//!
//! For a machine on a thread of its own, with batches and segmentation offload, see `adit_mio::Worker`.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};
use std::{env, error::Error, io, num::NonZeroUsize};

use adit_core::client::{Client, Config, Event};
use adit_core::io::{Completion, Datagrams, Effect, Forwards, Onward, SocketId};
use adit_core::time::Clock;
use adit_core::turn::credentials::Credentials;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

const SOCKET: Token = Token(0);
const INTERRUPT: Token = Token(1);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [relay, username, password, peer] = &arguments[..] else {
        return Err("arguments: RELAY:PORT USERNAME PASSWORD PEER".into());
    };
    let credentials = Credentials { username: username.clone(), password: password.clone() };
    let now = Instant::now();
    let clock = Clock::new(now, SystemTime::UNIX_EPOCH.elapsed()?);
    let client =
        Client::new(Config::new(relay.parse()?, credentials), clock, now, adit_driver::random_seed());
    let mut owner = Owner { client, poll: Poll::new()?, socket: None };
    owner.client.permit(now, peer.parse()?)?;
    let _interrupt = interrupt(&owner.poll)?;
    owner.run()?;
    println!("released");
    Ok(())
}

/// A stream that is readable once the process is asked to end: a signal as a poll sees it.
fn interrupt(poll: &Poll) -> io::Result<mio::net::UnixStream> {
    let (here, there) = UnixStream::pair()?;
    here.set_nonblocking(true)?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::low_level::pipe::register(signal, there.try_clone()?)?;
    }
    let mut here = mio::net::UnixStream::from_std(here);
    poll.registry().register(&mut here, INTERRUPT, Interest::READABLE)?;
    Ok(here)
}

/// The machine, and what its owner holds for it.
struct Owner {
    client: Client,
    poll: Poll,
    /// The machine wants one socket at a time: a fresh one for each attempt to allocate.
    socket: Option<(SocketId, UdpSocket)>,
}

impl Owner {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        while self.settle(Instant::now()) {
            match self.poll.poll(&mut events, self.time_left()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => self.client.handle_timeout(Instant::now()),
            }
            for event in &events {
                match event.token() {
                    INTERRUPT => self.client.close(Instant::now()),
                    _ => self.receive(),
                }
            }
        }
        Ok(())
    }

    fn time_left(&self) -> Option<Duration> {
        Some(self.client.poll_timeout()?.at.saturating_duration_since(Instant::now()))
    }

    /// Carries out what the machine wants until it wants nothing more. False when it has come to its end.
    fn settle(&mut self, now: Instant) -> bool {
        let mut out = Vec::new();
        loop {
            while self.client.poll_transmit(now, NonZeroUsize::MIN, &mut out).is_some() {
                self.send(&out);
                out.clear();
            }
            match self.client.poll_event() {
                None => return true,
                Some(Event::Closed) => return false,
                Some(Event::Effect(Effect::Bind { socket, addr, .. })) => {
                    let result = self.bind(socket, addr).map_err(|error| error.kind());
                    self.client.handle_completion(now, Completion::Bound { socket, result });
                }
                Some(Event::Effect(_)) => self.socket = None, // Unbind: a client asks for nothing else.
                Some(Event::Allocated { relayed, .. }) => println!("relayed address: {}", relayed[0]),
                Some(event) => println!("{event:?}"),
            }
        }
    }

    fn bind(&mut self, id: SocketId, addr: SocketAddr) -> io::Result<SocketAddr> {
        let mut udp = UdpSocket::bind(addr)?;
        self.poll.registry().register(&mut udp, SOCKET, Interest::READABLE)?;
        self.socket.insert((id, udp)).1.local_addr()
    }

    /// Readiness is told once, so that everything is read.
    fn receive(&mut self) {
        let mut buffer = [0; 2048];
        while let Some((socket, udp)) = &self.socket {
            let Ok((len, remote)) = udp.recv_from(&mut buffer) else { return };
            let mut batch = Datagrams::single(*socket, remote, &mut buffer[..len]);
            let mut runs = Forwards::default();
            self.client.handle_datagrams(Instant::now(), batch.reborrow(), &mut runs);
            for run in runs.drain() {
                let Onward::Owner { peer } = run.onward else { unreachable!("a client forwards nothing") };
                // A peer's data is still where it arrived, behind a header.
                self.echo(peer, run.body(&batch, 0));
            }
        }
    }

    fn echo(&mut self, peer: SocketAddr, data: &[u8]) {
        println!("{peer} sent {} bytes", data.len());
        let mut out = Vec::new();
        if self.client.encapsulate(Instant::now(), peer, data, data.len(), None, &mut out).is_some() {
            self.send(&out);
        }
    }

    /// What can't be sent is lost, as it might be on the way; the machine repeats what matters.
    fn send(&self, datagram: &[u8]) {
        if let Some((_, udp)) = &self.socket {
            let _ = udp.send_to(datagram, self.client.server());
        }
    }
}
