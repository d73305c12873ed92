//! TCP connections that are idle, slow or senseless, as many as a relay takes and some more.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use adit_core::stun::{Builder, Class, Method};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// A relay takes 1,024 that have said nothing, and 512 of one source.
const FROM: [(u8, usize); 3] = [(1, 700), (2, 500), (3, 400)];
/// How long between looks at all of them.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) struct Crowd {
    relay: SocketAddr,
    seats: Vec<Seat>,
}

/// One connection after the other.
struct Seat {
    from: u8,
    habit: Habit,
    stream: Option<TcpStream>,
    said: usize,
}

#[derive(Clone, Copy)]
enum Habit {
    /// Says nothing.
    Silent,
    /// A request, byte by byte.
    Slow,
    /// The beginning of a handshake of TLS, in fragments.
    Tls,
    /// One whole request, and then nothing.
    Idle,
    /// What nobody understands.
    Garbage,
}

const HABITS: [Habit; 10] = [
    Habit::Silent,
    Habit::Slow,
    Habit::Tls,
    Habit::Silent,
    Habit::Slow,
    Habit::Tls,
    Habit::Silent,
    Habit::Tls,
    Habit::Idle,
    Habit::Garbage,
];

impl Crowd {
    pub(crate) fn new(relay: SocketAddr) -> Self {
        let seats = FROM.iter().flat_map(|&(from, count)| (0..count).map(move |number| (from, number)));
        let seat =
            |(from, number)| Seat { from, habit: HABITS[number % HABITS.len()], stream: None, said: 0 };
        Self { relay, seats: seats.map(seat).collect() }
    }

    /// Keeps all seats taken until it is over.
    pub(crate) fn press(mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let next = Instant::now() + PAUSE;
            for seats in self.seats.chunks_mut(64) {
                seats.iter_mut().for_each(|seat| seat.look(self.relay));
                thread::sleep(Duration::from_millis(2));
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
}

impl Seat {
    fn look(&mut self, relay: SocketAddr) {
        let stands = self.stream.as_mut().is_some_and(|stream| {
            let heard = stream.read(&mut [0; 4096]);
            matches!(heard, Ok(1..)) || heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        if !stands {
            (self.stream, self.said) = (open(self.from, relay), 0);
        }
        let words = self.words();
        if let (Some(stream), true) = (&mut self.stream, self.said < words.len()) {
            let piece = match self.habit {
                Habit::Silent => 0,
                Habit::Slow => 1,
                Habit::Tls => 7,
                Habit::Idle | Habit::Garbage => words.len(),
            };
            let end = words.len().min(self.said + piece);
            // It may have been reset meanwhile, which the next look shows.
            self.said += stream.write(&words[self.said..end]).unwrap_or(0);
        }
    }

    fn words(&self) -> Vec<u8> {
        match self.habit {
            Habit::Silent => Vec::new(),
            Habit::Slow | Habit::Idle => {
                Builder::new(Class::Request, Method::ALLOCATE, [9; 12]).requested_transport(17).finish()
            }
            // A record that says how long it is, and a ClientHello that is longer.
            Habit::Tls => [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 100]].concat(),
            Habit::Garbage => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        }
    }
}

/// Nothing where the relay has no room.
fn open(from: u8, relay: SocketAddr) -> Option<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 8, 8, from), 0))).ok()?;
    connect(&socket, &relay).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}
