//! A tap on the wire between gateway and relay: it forwards datagrams, counts them, and looks for a marker in
//! them. What it sees is what the relay sees.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often the threads look whether they are to end.
const TURN: Duration = Duration::from_millis(200);
/// Bytes of the newest datagram that are kept to be shown.
pub(crate) const SAMPLE: usize = 10;

/// A running tap.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

/// What it has seen so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    /// How often the marker was in a datagram.
    pub(crate) markers: u64,
    pub(crate) sample: [u8; SAMPLE],
    pub(crate) sample_of: usize,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    marker: String,
    datagrams: AtomicU64,
    bytes: AtomicU64,
    markers: AtomicU64,
    sample: Mutex<([u8; SAMPLE], usize)>,
    ended: AtomicBool,
}

impl Tap {
    /// Listens on a free port of 127.0.0.1 and forwards to `to`, and back.
    pub(crate) fn start(to: SocketAddr, marker: &str) -> io::Result<Self> {
        let front = Arc::new(bind()?);
        let address = front.local_addr()?;
        let shared = Arc::new(Shared {
            to,
            marker: marker.to_owned(),
            datagrams: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            markers: AtomicU64::new(0),
            sample: Mutex::new(([0; SAMPLE], 0)),
            ended: AtomicBool::new(false),
        });
        let tap = Arc::clone(&shared);
        thread::spawn(move || tap.forward(&front));
        Ok(Self { address, shared })
    }

    pub(crate) fn sight(&self) -> Sight {
        let (sample, sample_of) = *self.shared.sample.lock().expect("no tap panics");
        Sight {
            datagrams: self.shared.datagrams.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            markers: self.shared.markers.load(Ordering::Relaxed),
            sample,
            sample_of,
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// One socket towards the relay for each source, as a NAT has.
    fn forward(self: &Arc<Self>, front: &Arc<UdpSocket>) {
        let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        self.listen(front, |datagram, from| {
            let back = match backs.entry(from) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match self.open_back(front, from) {
                    Ok(back) => new.insert(back),
                    Err(_) => return,
                },
            };
            // A datagram that cannot be sent is lost, as on any wire.
            let _ = back.send_to(datagram, self.to);
        });
    }

    fn open_back(self: &Arc<Self>, front: &Arc<UdpSocket>, source: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let back = Arc::new(bind()?);
        let (tap, front, socket) = (Arc::clone(self), Arc::clone(front), Arc::clone(&back));
        thread::spawn(move || {
            tap.listen(&socket, |datagram, _| {
                let _ = front.send_to(datagram, source);
            });
        });
        Ok(back)
    }

    fn listen(&self, socket: &UdpSocket, mut each: impl FnMut(&[u8], SocketAddr)) {
        let mut buffer = vec![0; 65_536];
        while !self.ended.load(Ordering::Relaxed) {
            // Errors are time-outs, or ICMP's news of a port that is not open yet.
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                self.look(&buffer[..length]);
                each(&buffer[..length], from);
            }
        }
    }

    fn look(&self, datagram: &[u8]) {
        self.datagrams.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(datagram.len() as u64, Ordering::Relaxed);
        let found =
            datagram.windows(self.marker.len()).filter(|bytes| *bytes == self.marker.as_bytes()).count();
        self.markers.fetch_add(found as u64, Ordering::Relaxed);
        if let Some(head) = datagram.first_chunk() {
            *self.sample.lock().expect("no tap panics") = (*head, datagram.len());
        }
    }
}

fn bind() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(TURN))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_forwards_and_finds_the_marker_where_it_is_in_the_clear() {
        let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tap = Tap::start(echo.local_addr().unwrap(), "marker").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"a datagram with a marker in it", tap.address).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = echo.recv_from(&mut buffer).unwrap();
        echo.send_to(&buffer[..length.min(5)], from).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 5);
        let sight = tap.sight();
        assert_eq!((sight.datagrams, sight.bytes, sight.markers), (2, 35, 1));
        assert_eq!(&sight.sample, b"a datagram");
    }
}
