//! TCP links under all three runtimes: one machine, one suite of scenarios.
#![allow(missing_docs, clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::collections::VecDeque;
use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use adit_core::io::{
    Arena, Completion, Datagrams, Effect, Forwards, LINK_PIECE, LinkId, ListenerKind, SocketId, To, Transmit,
};
use adit_core::time::{Deadline, UnixTime};
use adit_driver::{Machine, Notice};
use adit_mio::Worker;
use adit_smol::Smol;
use adit_tokio::Tokio;

const PATIENCE: Duration = Duration::from_secs(30);

/// How much waits for a link before it is not read any more, and how little must be left before it is again.
const HIGH: usize = 256 * 1024;
const LOW: usize = 64 * 1024;

/// Sends back what a link brings.
#[derive(Default)]
struct Echo {
    listeners: Arena<SocketId, ()>,
    links: Arena<LinkId, Line>,
    events: VecDeque<Event>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<u8>,
    busy: bool,
    paused: bool,
}

enum Event {
    Effect(Effect),
    News(News),
}

#[derive(Debug, PartialEq)]
enum News {
    Listening(SocketAddr),
    Opened(SocketAddr),
    Closed(Result<(), ErrorKind>),
}

impl Echo {
    fn listen() -> Self {
        let mut echo = Self::default();
        let listener = echo.listeners.insert(());
        echo.ask(Effect::Listen {
            listener,
            addr: "127.0.0.1:0".parse().unwrap(),
            kind: ListenerKind::Clients,
        });
        echo
    }

    /// It says hello to whom it reaches.
    fn dial(to: SocketAddr, timeout: Duration) -> Self {
        let mut echo = Self::default();
        let link = echo.links.insert(Line { waiting: b"hello".to_vec().into(), busy: true, paused: false });
        echo.ask(Effect::OpenLink { link, to, from: None, timeout });
        echo
    }

    fn ask(&mut self, effect: Effect) {
        self.events.push_back(Event::Effect(effect));
    }

    fn tell(&mut self, news: News) {
        self.events.push_back(Event::News(news));
    }
}

impl Machine for Echo {
    type Event = Event;
    type Guest = std::convert::Infallible;

    fn handle_datagrams(&mut self, _now: Instant, _batch: Datagrams<'_>, _out: &mut Forwards) {}

    fn accept(&mut self, _: Instant, _: SocketId, _: SocketAddr, _: SocketAddr) -> Option<LinkId> {
        Some(self.links.insert(Line::default()))
    }

    fn handle_bytes(&mut self, _now: Instant, link: LinkId, bytes: &[u8]) {
        let Some(line) = self.links.get_mut(link) else { return };
        line.waiting.extend(bytes);
        assert!(line.waiting.len() <= HIGH + LINK_PIECE, "it was read though it should not be");
        if line.waiting.len() > HIGH && !std::mem::replace(&mut line.paused, true) {
            self.ask(Effect::ReadLink { link, read: false });
        }
    }

    fn handle_completion(&mut self, _now: Instant, done: Completion) {
        match done {
            Completion::Bound { result, .. } => self.tell(News::Listening(result.unwrap())),
            Completion::Writable { link } => {
                if let Some(line) = self.links.get_mut(link) {
                    line.busy = false;
                }
            }
            Completion::LinkOpened { link, remote, .. } => {
                self.links.get_mut(link).unwrap().busy = false;
                self.tell(News::Opened(remote));
            }
            Completion::LinkClosed { link, result } => {
                self.links.remove(link).unwrap();
                self.tell(News::Closed(result));
            }
            _ => {}
        }
    }

    fn handle_clock(&mut self, _now: Instant, _unix: UnixTime) {}

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self, _: Instant, _: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        let (link, line) = self.links.iter_mut().find(|(_, line)| !line.busy && !line.waiting.is_empty())?;
        let count = line.waiting.len().min(LINK_PIECE);
        out.extend(line.waiting.drain(..count));
        line.busy = true;
        if line.waiting.len() < LOW && std::mem::take(&mut line.paused) {
            self.ask(Effect::ReadLink { link, read: true });
        }
        Some(Transmit { to: To::Link(link), from: None, ecn: None, stride: count, whole: false })
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }

    fn effect(event: Event) -> Result<Effect, Event> {
        match event {
            Event::Effect(effect) => Ok(effect),
            news => Err(news),
        }
    }
}

/// A machine that runs; dropping it stops it.
struct Running {
    next: Box<dyn FnMut() -> Option<Notice<Event>>>,
    stop: Box<dyn FnMut()>,
}

impl Running {
    fn news(&mut self) -> News {
        let end = Instant::now() + PATIENCE;
        loop {
            match (self.next)() {
                Some(Notice::Event(Event::News(news))) => return news,
                Some(_) => panic!("events were lost"),
                None => thread::sleep(Duration::from_millis(1)),
            }
            assert!(Instant::now() < end, "no news");
        }
    }

    fn listening(&mut self) -> SocketAddr {
        let News::Listening(address) = self.news() else { panic!("it listens first") };
        address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        (self.stop)();
    }
}

macro_rules! running {
    ($shared:expr) => {{
        let one = $shared;
        let other = one.clone();
        Running {
            next: Box::new(move || one.with(|hub| hub.pop_event())),
            stop: Box::new(move || other.close()),
        }
    }};
}

fn on_mio(machine: Echo) -> Running {
    let worker = Worker::spawn("echo", machine, Instant::now()).unwrap();
    let shared = worker.shared().clone();
    let mut running = running!(shared);
    let mut worker = Some(worker);
    running.stop = Box::new(move || drop(worker.take()));
    running
}

fn on_tokio(machine: Echo) -> Running {
    static HANDLE: OnceLock<tokio::runtime::Handle> = OnceLock::new();
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(pending::<()>()));
        handle
    };
    let runtime = Tokio::from(HANDLE.get_or_init(start).clone());
    running!(adit_driver::spawn(&runtime, machine, Instant::now()))
}

fn on_smol(machine: Echo) -> Running {
    running!(adit_driver::spawn(&Smol::default(), machine, Instant::now()))
}

/// Bytes in which a lost, repeated or misplaced one shows.
fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|index| (index ^ (index >> 8) ^ (index >> 16) ^ salt) as u8).collect()
}

fn everything_comes_back_however_slowly_it_is_read(run: fn(Echo) -> Running) {
    let mut echo = run(Echo::listen());
    let at = echo.listening();
    let clients: Vec<_> = (0..4)
        .map(|salt| {
            thread::spawn(move || {
                let sent = pattern(3 * 1024 * 1024 + salt, salt);
                let mut stream = TcpStream::connect(at).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let bytes = sent.clone();
                let writing = thread::spawn(move || writer.write_all(&bytes).unwrap());
                // The kernel's buffers fill up first, and then the machine's.
                thread::sleep(Duration::from_millis(200));
                let mut got = vec![0; sent.len()];
                for chunk in got.chunks_mut(100_000) {
                    stream.read_exact(chunk).unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
                writing.join().unwrap();
                assert!(got == sent, "the bytes differ");
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    (0..4).for_each(|_| assert_eq!(echo.news(), News::Closed(Ok(()))));
}

fn a_link_that_is_opened_speaks_and_hears_of_its_end(run: fn(Echo) -> Running) {
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = there.local_addr().unwrap();
    let mut echo = run(Echo::dial(at, PATIENCE));
    assert_eq!(echo.news(), News::Opened(at));
    let (mut stream, _) = there.accept().unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    drop(stream);
    assert_eq!(echo.news(), News::Closed(Ok(())));
}

fn a_reset_is_told(run: fn(Echo) -> Running) {
    let mut echo = run(Echo::listen());
    let mut stream = TcpStream::connect(echo.listening()).unwrap();
    stream.write_all(b"what is sent back").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    // Closing with something unread makes the kernel reset the connection.
    drop(stream);
    assert_eq!(echo.news(), News::Closed(Err(ErrorKind::ConnectionReset)));
}

fn a_refused_connection_is_told(run: fn(Echo) -> Running) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut echo = run(Echo::dial(free, PATIENCE));
    assert_eq!(echo.news(), News::Closed(Err(ErrorKind::ConnectionRefused)));
}

fn a_connection_that_nobody_answers_ends_in_time(run: fn(Echo) -> Running) {
    // A listener whose queue is full, to which the kernel answers nothing.
    let full = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
    let full = full.unwrap();
    rustix::net::bind(&full, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let at: SocketAddr = rustix::net::getsockname(&full).unwrap().try_into().unwrap();
    let _taken: Vec<_> =
        (0..8).map_while(|_| TcpStream::connect_timeout(&at, Duration::from_millis(200)).ok()).collect();
    let mut echo = run(Echo::dial(at, Duration::from_millis(300)));
    assert_eq!(echo.news(), News::Closed(Err(ErrorKind::TimedOut)));
}

fn a_closed_hub_closes_its_links(run: fn(Echo) -> Running) {
    let mut echo = run(Echo::listen());
    let mut stream = TcpStream::connect(echo.listening()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    drop(echo);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

macro_rules! suite {
    ($($module:ident: $run:ident),*) => {$(
        mod $module {
            #[test]
            fn everything_comes_back_however_slowly_it_is_read() {
                super::everything_comes_back_however_slowly_it_is_read(super::$run);
            }
            #[test]
            fn a_link_that_is_opened_speaks_and_hears_of_its_end() {
                super::a_link_that_is_opened_speaks_and_hears_of_its_end(super::$run);
            }
            #[test]
            fn a_reset_is_told() {
                super::a_reset_is_told(super::$run);
            }
            #[test]
            fn a_refused_connection_is_told() {
                super::a_refused_connection_is_told(super::$run);
            }
            #[test]
            fn a_connection_that_nobody_answers_ends_in_time() {
                super::a_connection_that_nobody_answers_ends_in_time(super::$run);
            }
            #[test]
            fn a_closed_hub_closes_its_links() {
                super::a_closed_hub_closes_its_links(super::$run);
            }
        }
    )*};
}

suite!(under_mio: on_mio, under_tokio: on_tokio, under_smol: on_smol);
