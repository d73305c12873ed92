//! The client whose data must arrive: one datagram after the other to a peer that sends it back.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use adit_core::time::UnixTime;
use adit_core::turn::credentials::Credentials;
use adit_tests::adit::SECRET;
use adit_tests::turn::Turn;

const CHANNEL: u16 = 0x4000;
/// How long until the next datagram.
const PAUSE: Duration = Duration::from_millis(2);
/// When one that has not come back is lost.
const LOST: Duration = Duration::from_secs(5);
/// How often allocation, permission and channel are refreshed.
const REFRESH: Duration = Duration::from_secs(120);

pub(crate) struct Client {
    turn: Turn,
    peer: SocketAddr,
    refreshed: Instant,
    number: u64,
}

/// How long datagrams took to their peer and back.
pub(crate) struct Trips {
    times: Vec<Duration>,
    lost: usize,
}

impl Client {
    /// One that goes before all others, if need be: see [`cores`](super::cores).
    pub(crate) fn start(relay: SocketAddr, first: bool) -> Self {
        let Credentials { username, password } =
            Credentials::time_limited(SECRET.as_bytes(), UnixTime(4_000_000_000), "gw-1");
        let mut turn = Turn::new(relay, &username, &password);
        let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = echo.local_addr().unwrap();
        let go = move || {
            if first {
                super::cores::go_first();
            }
        };
        thread::spawn(move || {
            go();
            let mut bytes = [0; 2000];
            while let Ok((len, from)) = echo.recv_from(&mut bytes) {
                echo.send_to(&bytes[..len], from).unwrap();
            }
        });
        go();
        let _ = turn.allocate().relayed();
        assert_eq!(turn.bind_channel(CHANNEL, peer), 0);
        Self { turn, peer, refreshed: Instant::now(), number: 0 }
    }

    /// Sends for as long as `work` takes.
    pub(crate) fn during<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> (T, Trips) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let working = scope.spawn(|| {
                let done = work();
                over.store(true, Ordering::Relaxed);
                done
            });
            let mut trips = Trips { times: Vec::new(), lost: 0 };
            while !over.load(Ordering::Relaxed) && !working.is_finished() {
                self.send(&mut trips);
                thread::sleep(PAUSE);
            }
            (working.join().unwrap(), trips)
        })
    }

    fn send(&mut self, trips: &mut Trips) {
        if self.refreshed.elapsed() > REFRESH {
            assert_eq!((self.turn.refresh(600), self.turn.bind_channel(CHANNEL, self.peer)), (0, 0));
            self.refreshed = Instant::now();
        }
        self.number += 1;
        let words = [&self.number.to_be_bytes()[..], &[7; 192]].concat();
        let began = Instant::now();
        self.turn.send(CHANNEL, &words);
        match self.turn.receive(CHANNEL, LOST) {
            Some(heard) => {
                assert!(heard == words, "another datagram than the one that was sent");
                trips.times.push(began.elapsed());
            }
            None => trips.lost += 1,
        }
    }
}

impl Trips {
    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    /// The time that so many of a hundred took no longer than.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
    }
}

impl fmt::Display for Trips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (half, most) = (self.percentile(50), self.percentile(99));
        write!(
            f,
            "{} of {} came back, half in {half:?}, 99 of 100 in {most:?}",
            self.times.len(),
            self.times.len() + self.lost
        )
    }
}
