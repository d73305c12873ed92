//! A UDP proxy that keeps a copy of every byte: what somebody on the path, or the relay itself, sees.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often the threads look whether they are to end.
const TURN: Duration = Duration::from_millis(100);

/// A tap between whoever sends to [`Wiretap::address`] and one destination.
#[derive(Debug)]
pub struct Wiretap {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    seen: Mutex<Vec<u8>>,
    ended: AtomicBool,
}

impl Wiretap {
    /// Listens on `listen` and forwards to `to`, one socket for each source, and back.
    ///
    /// # Panics
    /// When `listen` cannot be bound.
    #[must_use]
    pub fn between(listen: SocketAddr, to: SocketAddr) -> Self {
        let socket = bind(listen);
        let address = socket.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared { to, seen: Mutex::default(), ended: AtomicBool::new(false) });
        let tap = Arc::clone(&shared);
        thread::spawn(move || tap.forward(&Arc::new(socket)));
        Self { address, shared }
    }

    /// Where to send.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes seen so far, both ways.
    #[must_use]
    pub fn amount(&self) -> usize {
        self.shared.seen.lock().expect("no tap panics").len()
    }

    /// Whether `marker` was among them.
    #[must_use]
    pub fn saw(&self, marker: &[u8]) -> bool {
        self.shared.seen.lock().expect("no tap panics").windows(marker.len()).any(|bytes| bytes == marker)
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn forward(self: &Arc<Self>, front: &Arc<UdpSocket>) {
        let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        self.listen(front, |bytes, from| {
            let back = backs.entry(from).or_insert_with(|| self.open_back(front, from));
            let _ = back.send_to(bytes, self.to);
        });
    }

    fn open_back(self: &Arc<Self>, front: &Arc<UdpSocket>, source: SocketAddr) -> Arc<UdpSocket> {
        let back = Arc::new(bind(SocketAddr::new(front.local_addr().expect("a bound socket").ip(), 0)));
        let (tap, front, socket) = (Arc::clone(self), Arc::clone(front), Arc::clone(&back));
        thread::spawn(move || {
            tap.listen(&socket, |bytes, _| {
                let _ = front.send_to(bytes, source);
            });
        });
        back
    }

    /// Records what arrives and hands it on, until the tap ends.
    fn listen(&self, socket: &UdpSocket, mut each: impl FnMut(&[u8], SocketAddr)) {
        let mut buffer = [0; 65_536];
        while !self.ended.load(Ordering::Relaxed) {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    self.seen.lock().expect("no tap panics").extend_from_slice(&buffer[..length]);
                    each(&buffer[..length], from);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => panic!("wiretap: {error}"),
            }
        }
    }
}

fn bind(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("an address of our own");
    socket.set_read_timeout(Some(TURN)).expect("not zero");
    socket
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), ConnectionRefused | Interrupted | TimedOut | WouldBlock)
}
