//! What a driver does for the relay, and what the ends of its connections learn from what comes out.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use adit_core::io::{Close, Completion, Effect, LINK_PIECE, LinkId, To};
use adit_core::relay::Event;
use adit_core::stun::{Builder, Class, Message, Method};

use super::super::relay_bench::is_reachable;
use super::{Asked, Bench, End, PERMISSION, Pipe, Role, Side};

impl Bench {
    pub(super) fn builder(&mut self, method: Method, link: LinkId, asked: Asked) -> Builder {
        self.transactions += 1;
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.transactions.to_be_bytes());
        self.asked.insert(transaction, (link, asked));
        Builder::new(Class::Request, method, transaction)
    }

    /// One of the ends that are like that.
    pub(super) fn nth(&self, which: u8, like: impl Fn(&End) -> bool) -> Option<LinkId> {
        let links: Vec<LinkId> =
            self.ends.iter().filter(|(_, end)| like(end)).map(|(link, _)| *link).collect();
        links.get(usize::from(which) % links.len().max(1)).copied()
    }

    /// A client that may say something: none that waits for a connection to be bound, since it may be bound already.
    pub(super) fn speaker(&mut self, which: u8) -> Option<LinkId> {
        let link = self.nth(which, |end| matches!(end.role, Role::Client { .. }))?;
        let rest = self.ends.get_mut(&link).map(|end| std::mem::take(&mut end.rest));
        self.hand_over(link, &rest.unwrap_or_default());
        let binds = |(by, asked): &(LinkId, Asked)| *by == link && matches!(asked, Asked::Bind { .. });
        (!self.asked.values().any(binds)).then_some(link)
    }

    pub(super) fn hand_over(&mut self, link: LinkId, bytes: &[u8]) {
        self.current = Some(link);
        for piece in bytes.chunks(LINK_PIECE) {
            self.relay.handle_bytes(self.now, link, piece);
        }
        self.settle();
        self.current = None;
    }

    pub(super) fn lose(&mut self, link: LinkId, result: Result<(), ErrorKind>) {
        self.ends.remove(&link);
        self.relay.handle_completion(self.now, Completion::LinkClosed { link, result });
        self.settle();
    }

    /// Until nothing is left to do; then looks at what has come out.
    pub(super) fn settle(&mut self) {
        let mut closed = Vec::new();
        loop {
            let mut out = Vec::new();
            while let Some(transmit) = self.relay.poll_transmit(self.now, NonZeroUsize::MIN, &mut out) {
                assert_eq!(transmit.stride, out.len());
                match transmit.to {
                    To::Link(link) => self.take(link, &out),
                    To::Udp { to, .. } => assert!(is_reachable(to.ip()), "{to} is forbidden"),
                }
                out.clear();
            }
            let Some(event) = self.relay.poll_event() else { break };
            closed.extend(self.handle(event));
        }
        let ends: Vec<LinkId> = self.ends.keys().copied().collect();
        // A peer may have heard what was bound to it by an answer that lies elsewhere.
        ends.iter().for_each(|&link| self.read_messages(link));
        ends.iter().for_each(|&link| self.read_pipe(link));
        for (link, how) in closed {
            self.close(link, how);
        }
    }

    fn take(&mut self, link: LinkId, piece: &[u8]) {
        assert!(!piece.is_empty() && piece.len() <= LINK_PIECE);
        let end = self.ends.get_mut(&link).expect("nothing is said to who is not there");
        assert!(!end.is_full, "it has not taken the last piece");
        assert!(!end.is_told_all, "it was told that this was all");
        end.received.extend_from_slice(piece);
        if end.takes {
            self.relay.handle_completion(self.now, Completion::Writable { link });
        } else {
            end.is_full = true;
        }
    }

    fn handle(&mut self, event: Event) -> Option<(LinkId, Close)> {
        match event {
            Event::Effect(
                Effect::Bind { socket, addr, .. } | Effect::Listen { listener: socket, addr, .. },
            ) => {
                assert!(self.sockets.iter().all(|(_, at)| *at != addr), "{addr} is bound already");
                self.sockets.push((socket, addr));
                self.relay.handle_completion(self.now, Completion::Bound { socket, result: Ok(addr) });
            }
            Event::Effect(Effect::Unbind { socket }) => self.sockets.retain(|(other, _)| *other != socket),
            Event::Effect(Effect::OpenLink { link, to, .. }) => {
                assert!(is_reachable(to.ip()), "{to} is forbidden");
                self.dialled.push((link, to));
                let current = self.current;
                let waiting = self.asked.values_mut().rev().find_map(|asked| match asked {
                    (by, Asked::Connect(waiting @ None)) if Some(*by) == current => Some(waiting),
                    _ => None,
                });
                *waiting.expect("somebody has asked for it") = Some(link);
            }
            Event::Effect(Effect::PipeLink { link }) => self.end(link).is_pipe = true,
            Event::Effect(Effect::ReadLink { link, read }) => self.end(link).is_read = read,
            Event::Effect(Effect::FinishLink { link }) => self.end(link).is_told_all = true,
            Event::Effect(Effect::CloseLink { link, how }) => {
                if let Some(end) = self.ends.get_mut(&link) {
                    end.is_told_all = true;
                }
                return Some((link, how));
            }
            Event::Effect(other) => panic!("a relay never asks for {other:?}"),
            Event::HandOver(_) => panic!("it is the only shard"),
            Event::Moved { .. } => panic!("nobody has a ticket"),
            _ => {}
        }
        None
    }

    fn end(&mut self, link: LinkId) -> &mut End {
        self.ends.get_mut(&link).expect("the relay asks for nothing of who is not there")
    }

    /// The relay has closed a link.
    fn close(&mut self, link: LinkId, how: Close) {
        self.dialled.retain(|(other, _)| *other != link);
        self.owners.retain(|_, owner| *owner != link);
        self.permitted.retain(|(owner, _), _| *owner != link);
        let Some(end) = self.ends.remove(&link) else { return };
        if let Role::Pipe(pipe, _) = end.role
            && how == Close::Finish
        {
            self.pipes[pipe].is_complete();
        }
    }

    /// Reads what a client was told, until its link is an end of a connection.
    fn read_messages(&mut self, link: LinkId) {
        let Some(end) = self.ends.get_mut(&link) else { return };
        let Role::Client { splitter, .. } = &mut end.role else { return };
        let mut splitter = std::mem::take(splitter);
        let received = std::mem::take(&mut end.received);
        let mut rest = &received[..];
        while let Some(message) = splitter.next(&mut rest).expect("a relay sends messages") {
            if self.hear(link, message) {
                self.end(link).received = rest.to_vec();
                return;
            }
        }
        if let Role::Client { splitter: place, .. } = &mut self.end(link).role {
            *place = splitter;
        }
    }

    /// What a client learns from a message. Whether its link is an end of a connection from then on.
    fn hear(&mut self, link: LinkId, message: &[u8]) -> bool {
        // Data on a channel.
        let Ok(message) = Message::parse(message) else { return false };
        let peer = message.peer_address().expect("a good address");
        if (message.class(), message.method()) == (Class::Indication, Method::CONNECTION_ATTEMPT) {
            let number = message.connection_id().expect("a number").expect("there is one");
            let owners = &self.owners;
            let theirs = |(_, from, to): &(LinkId, SocketAddr, SocketAddr)| {
                Some(*from) == peer && owners.get(to) == Some(&link)
            };
            // The address may have been given to somebody else before its client takes this.
            if let Some(place) = self.knocked.iter().position(theirs) {
                let (knocked, ..) = self.knocked.remove(place);
                self.tell(link, number, knocked);
            }
            return false;
        }
        if message.class() == Class::Indication {
            return false;
        }
        if let (Ok(Some(told)), Role::Client { nonce, .. }) = (message.nonce(), &mut self.end(link).role) {
            *nonce = told.to_owned();
        }
        // What is raw may be a request, too.
        let Some((_, asked)) = self.asked.remove(&message.transaction()) else { return false };
        if message.class() != Class::Success {
            return false;
        }
        match asked {
            Asked::Permit(peer) => {
                assert!(is_reachable(peer), "{peer} is forbidden");
                self.permitted.insert((link, peer), self.now + PERMISSION);
            }
            Asked::Connect(opened) => {
                let number = message.connection_id().expect("a number").expect("there is one");
                self.tell(link, number, opened.expect("it was opened"));
            }
            Asked::Bind { number, tail } => return self.bind(link, number, tail),
            Asked::Other if message.method() == Method::ALLOCATE => {
                let relayed = message.relayed_addresses().map(|address| address.expect("a good address"));
                self.owners.extend(relayed.map(|address| (address, link)));
            }
            Asked::Other => {}
        }
        false
    }

    /// A client is told of a connection.
    fn tell(&mut self, client: LinkId, number: u32, peer: LinkId) {
        let Role::Client { user, .. } = self.end(client).role else { panic!("clients are told") };
        let known = self.connections.insert(number, (user, peer));
        assert!(known.is_none(), "another connection has that number");
    }

    /// A client's link is one with that of a peer from now on.
    fn bind(&mut self, link: LinkId, number: u32, tail: Vec<u8>) -> bool {
        let (owner, peer) = self.connections.remove(&number).expect("it was told of, and is bound once");
        let Role::Client { user, .. } = self.end(link).role else { panic!("clients bind") };
        assert_eq!(user, owner, "it is another user's");
        let pipe = self.pipes.len();
        self.pipes.push(Pipe { said: [tail, Vec::new()], ..Pipe::default() });
        self.end(link).role = Role::Pipe(pipe, Side::Client);
        // It may have been reset in the meantime.
        if let Some(end) = self.ends.get_mut(&peer) {
            assert!(matches!(end.role, Role::Peer));
            end.role = Role::Pipe(pipe, Side::Peer);
            self.pipes[pipe].said[Side::Peer as usize] = std::mem::take(&mut end.early);
        }
        true
    }

    fn read_pipe(&mut self, link: LinkId) {
        let Some(end) = self.ends.get_mut(&link) else { return };
        match end.role {
            // Its client may have bound it, and not taken the answer yet.
            Role::Client { .. } | Role::Peer => {}
            Role::Pipe(pipe, side) => {
                self.pipes[pipe].heard[side as usize].append(&mut end.received);
                self.pipes[pipe].check();
            }
        }
    }
}
