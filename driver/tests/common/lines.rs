//! A machine with links: it keeps what it hears, and says what it was told to say.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use adit_core::io::{
    Arena, Close, Completion, Datagrams, Effect, Forwards, LinkId, ListenerKind, SocketId, SocketKind, To,
    Transmit,
};
use adit_core::time::{Deadline, UnixTime};
use adit_driver::Machine;

#[derive(Default)]
pub struct Lines {
    sockets: Arena<SocketId, ()>,
    links: Arena<LinkId, Line>,
    effects: VecDeque<Effect>,
    blurted: VecDeque<(LinkId, Vec<u8>)>,
    pub refuses: bool,
    pub accepted: Vec<LinkId>,
    /// All but `Bound` and `Writable`.
    pub completions: Vec<Completion>,
    bound: Vec<(SocketId, Result<SocketAddr, ErrorKind>)>,
    pub inputs: Vec<Input>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Bytes(LinkId),
    Datagrams(SocketId),
}

#[derive(Default)]
struct Line {
    heard: Vec<u8>,
    to_say: VecDeque<Vec<u8>>,
    /// A piece is on its way.
    busy: bool,
}

impl Lines {
    pub fn ask(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub fn listen(&mut self, addr: &str, kind: ListenerKind) -> SocketId {
        let listener = self.sockets.insert(());
        self.ask(Effect::Listen { listener, addr: addr.parse().unwrap(), kind });
        listener
    }

    pub fn bind(&mut self, addr: &str, kind: SocketKind) -> SocketId {
        let socket = self.sockets.insert(());
        self.ask(Effect::Bind { socket, addr: addr.parse().unwrap(), kind });
        socket
    }

    pub fn bound(&self, socket: SocketId) -> Result<SocketAddr, ErrorKind> {
        self.bound.iter().find(|(id, _)| *id == socket).expect("it was answered").1
    }

    pub fn name(&mut self) -> LinkId {
        // Nothing is said before it is open.
        self.links.insert(Line { busy: true, ..Line::default() })
    }

    pub fn open(&mut self, to: SocketAddr, timeout: Duration) -> LinkId {
        let link = self.name();
        self.ask(Effect::OpenLink { link, to, from: None, timeout });
        link
    }

    pub fn open_from(&mut self, from: SocketAddr, to: SocketAddr) -> LinkId {
        let link = self.name();
        self.ask(Effect::OpenLink { link, to, from: Some(from), timeout: Duration::from_secs(10) });
        link
    }

    pub fn close(&mut self, link: LinkId, how: Close) {
        self.links.remove(link).expect("it is open");
        self.ask(Effect::CloseLink { link, how });
    }

    pub fn say(&mut self, link: LinkId, piece: Vec<u8>) {
        self.links.get_mut(link).expect("it is open").to_say.push_back(piece);
    }

    /// Says something without caring whether there is such a link.
    pub fn blurt(&mut self, link: LinkId, piece: Vec<u8>) {
        self.blurted.push_back((link, piece));
    }

    pub fn heard(&self, link: LinkId) -> &[u8] {
        self.links.get(link).map_or(&[], |line| &line.heard)
    }

    /// How many pieces wait, the one that is on its way included.
    pub fn unsaid(&self, link: LinkId) -> usize {
        self.links.get(link).map_or(0, |line| line.to_say.len() + usize::from(line.busy))
    }
}

impl Machine for Lines {
    type Event = Effect;
    type Guest = std::convert::Infallible;

    fn handle_datagrams(&mut self, _now: Instant, batch: Datagrams<'_>, _out: &mut Forwards) {
        self.inputs.push(Input::Datagrams(batch.socket));
    }

    fn accept(&mut self, _: Instant, _: SocketId, local: SocketAddr, remote: SocketAddr) -> Option<LinkId> {
        assert!(local.port() != 0 && remote.port() != 0);
        if self.refuses {
            return None;
        }
        let link = self.links.insert(Line::default());
        self.accepted.push(link);
        Some(link)
    }

    fn handle_bytes(&mut self, _now: Instant, link: LinkId, bytes: &[u8]) {
        self.inputs.push(Input::Bytes(link));
        self.links
            .get_mut(link)
            .expect("only links that are open bring bytes")
            .heard
            .extend_from_slice(bytes);
    }

    fn handle_completion(&mut self, _now: Instant, done: Completion) {
        match done {
            Completion::Bound { socket, result } => self.bound.push((socket, result)),
            Completion::Writable { link } => {
                let line = self.links.get_mut(link).expect("only links that are open are writable");
                assert!(std::mem::replace(&mut line.busy, false), "nothing was on its way");
            }
            done => {
                match done {
                    Completion::LinkOpened { link, .. } => self.links.get_mut(link).unwrap().busy = false,
                    Completion::LinkClosed { link, .. } => drop(self.links.remove(link).unwrap()),
                    _ => {}
                }
                self.completions.push(done);
            }
        }
    }

    fn handle_clock(&mut self, _now: Instant, _unix: UnixTime) {}

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self, _: Instant, _: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        let next = self.blurted.pop_front().or_else(|| {
            let (id, line) = self.links.iter_mut().find(|(_, line)| !line.busy && !line.to_say.is_empty())?;
            line.busy = true;
            Some((id, line.to_say.pop_front()?))
        });
        let (link, piece) = next?;
        out.extend_from_slice(&piece);
        Some(Transmit { to: To::Link(link), from: None, ecn: None, stride: piece.len(), whole: false })
    }

    fn poll_event(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }

    fn effect(event: Effect) -> Result<Effect, Effect> {
        Ok(event)
    }
}
