//! Strangers who send datagrams from ever new addresses and ports.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use adit_core::rand::Rng;

use super::packets;

/// How many of them are there at once.
const CROWD: usize = 256;
/// How many datagrams are sent without a look at the clock: few, so that the flood is even.
const AT_ONCE: u32 = 20;
/// How many datagrams go by until one of them has another address.
const STAY: u64 = 10;

pub(crate) struct Strangers {
    rng: Rng,
    packets: Vec<Vec<u8>>,
    sockets: Vec<UdpSocket>,
    sent: u64,
}

impl Strangers {
    pub(crate) fn new() -> Self {
        let mut rng = Rng::new([3; 32]);
        let packets = packets::all(&mut rng);
        let sockets = (0..CROWD).map(|_| somewhere(&mut rng)).collect();
        Self { rng, packets, sockets, sent: 0 }
    }

    /// Sends `count` datagrams, `rate` a second. One that falls behind does not catch up all at once.
    pub(crate) fn send(&mut self, to: SocketAddr, count: u64, rate: u32) {
        let pause = Duration::from_secs(1) * AT_ONCE / rate;
        let mut due = Instant::now();
        for number in 0..count {
            if number % u64::from(AT_ONCE) == 0 {
                let now = Instant::now();
                thread::sleep(due.saturating_duration_since(now));
                due = due.max(now.checked_sub(pause * 5).unwrap_or(now)) + pause;
            }
            self.send_one(to);
        }
    }

    fn send_one(&mut self, to: SocketAddr) {
        self.sent += 1;
        let place = self.rng.below(CROWD as u32) as usize;
        if self.sent.is_multiple_of(STAY) {
            self.sockets[place] = somewhere(&mut self.rng);
        }
        let packet = &self.packets[self.rng.below(u32::try_from(self.packets.len()).unwrap()) as usize];
        // A peer that has gone away makes the next call fail.
        let _ = self.sockets[place].send_to(packet, to);
    }
}

/// A socket at a new address; one in four at one of a few, where budgets run out.
fn somewhere(rng: &mut Rng) -> UdpSocket {
    let low = rng.bytes::<2>();
    let address = match rng.below(4) {
        0 => Ipv4Addr::new(127, 9, 9, 1 + rng.below(4) as u8),
        _ => Ipv4Addr::new(127, 10 + rng.below(200) as u8, low[0], low[1].clamp(1, 254)),
    };
    UdpSocket::bind((address, 0)).unwrap()
}
