//! How the world goes on: from deadline to deadline, with what the machines want done and what is on the wire.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use adit_core::connector;
use adit_core::gateway;
use adit_core::io::{Completion, Datagrams, Effect, Forwards, Onward, SocketId, To, Transmit};
use adit_core::quic::Way;
use adit_core::relay::{self, Relay};
use adit_core::time::Deadline;

use bytes::BytesMut;

use super::{DELAY, Dialled, Node, Packet, World, connector_ip};

const SEGMENTS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

impl World {
    // --- time ------------------------------------------------------------------------------------------------

    /// From deadline to deadline.
    pub(crate) fn live(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..1_000_000 {
            self.settle();
            let arrival = self.wire.front().map(|(at, _)| *at);
            let Some(next) = self.deadlines().map(|deadline| deadline.at).chain(arrival).min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            while self.wire.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, packet) = self.wire.pop_front().unwrap();
                self.carried += 1;
                self.deliver(packet);
            }
            self.wake_all();
        }
        assert!(self.deadlines().all(|deadline| deadline.at > end), "the world never comes to rest");
        self.now = end;
    }

    fn deadlines(&self) -> impl Iterator<Item = Deadline> {
        let relays = self.relays.iter().map(Relay::poll_timeout);
        let both = [self.gateway.poll_timeout(), self.connector.poll_timeout()];
        let stranger = self.stranger.as_ref().map(|stranger| stranger.quic.poll_timeout());
        relays.chain(both).chain(stranger).flatten()
    }

    /// Until nothing is due. A deadline may turn out to have passed when it is looked at again, but one that never
    /// moves would keep a driver spinning.
    fn wake_all(&mut self) {
        for _ in 0..3 {
            self.wake_up();
            self.settle();
            if self.deadlines().all(|deadline| deadline.at > self.now) {
                return;
            }
        }
        let late: Vec<_> = self.deadlines().filter(|deadline| deadline.at <= self.now).collect();
        panic!("{late:?} at {:?}", self.now);
    }

    /// Calls `handle_timeout` where it is due.
    fn wake_up(&mut self) {
        let now = self.now;
        let due = |deadline: Option<Deadline>| deadline.is_some_and(|deadline| deadline.at <= now);
        for relay in &mut self.relays {
            if due(relay.poll_timeout()) {
                relay.handle_timeout(now);
            }
        }
        if due(self.gateway.poll_timeout()) {
            self.gateway.handle_timeout(now);
        }
        if due(self.connector.poll_timeout()) {
            self.connector.handle_timeout(now);
        }
        if let Some(stranger) = &mut self.stranger {
            stranger.quic.handle_timeout(now);
        }
    }

    // --- effects and events ----------------------------------------------------------------------------------

    /// Transmits, then events, until there is neither.
    fn settle(&mut self) {
        while self.transmits() | self.events() {}
    }

    fn events(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.relays.len() {
            while let Some(event) = self.relays[index].poll_event() {
                any = true;
                if let relay::Event::Effect(effect) = event {
                    self.carry_out(Node::Relay(index), effect);
                }
            }
        }
        while let Some(event) = self.gateway.poll_event() {
            any = true;
            match event {
                gateway::Event::Effect(effect) => self.carry_out(Node::Gateway, effect),
                event => self.at_gateway.push(event),
            }
        }
        while let Some(event) = self.connector.poll_event() {
            any = true;
            match event {
                connector::Event::Effect(effect) => self.carry_out(Node::Connector, effect),
                event => self.at_connector.push(event),
            }
        }
        if let Some(stranger) = &mut self.stranger {
            stranger.events();
        }
        any
    }

    fn carry_out(&mut self, node: Node, effect: Effect) {
        match effect {
            Effect::Bind { socket, addr, .. } => {
                let local = self.bind(node, addr);
                self.addresses.insert((node, socket), local);
                let done = Completion::Bound { socket, result: Ok(local) };
                match node {
                    Node::Relay(index) => self.relays[index].handle_completion(self.now, done),
                    Node::Gateway => self.gateway.handle_completion(self.now, done),
                    Node::Connector => self.connector.handle_completion(self.now, done),
                }
            }
            Effect::Unbind { socket } => drop(self.addresses.remove(&(node, socket))),
            Effect::Resolve { query, .. } if !self.resolves => self.queries.push(query),
            Effect::Resolve { query, host } => {
                let result = self.names.get(&host).cloned().ok_or(ErrorKind::NotFound);
                self.complete(Completion::Resolved { query, result });
            }
            Effect::Dial { pipe, to, timeout } => {
                self.dials.push((pipe, to, timeout));
                match self.dialling.get(&to).copied().unwrap_or(Dialled::Open) {
                    Dialled::Open => self.complete(Completion::Dialled { pipe, result: Ok(to) }),
                    Dialled::Fails(kind) => self.complete(Completion::Dialled { pipe, result: Err(kind) }),
                    Dialled::Later => {}
                }
            }
            Effect::Wake { pipe, direction } => self.wakes.push((node, pipe, direction)),
            links => panic!("{links:?}"),
        }
    }

    fn bind(&mut self, node: Node, wanted: SocketAddr) -> SocketAddr {
        if let Node::Relay(_) = node {
            return wanted;
        }
        self.next_port += 1;
        let ip = match node {
            Node::Connector if wanted.is_ipv6() => "2a00::7".parse().unwrap(),
            Node::Connector => connector_ip(),
            _ => IpAddr::from([7, 0, 0, 1]),
        };
        SocketAddr::new(ip, self.next_port)
    }

    // --- the network -----------------------------------------------------------------------------------------

    fn transmits(&mut self) -> bool {
        let before = self.wire.len();
        let mut out = Vec::new();
        for index in 0..self.relays.len() {
            while let Some(sent) = self.relays[index].poll_transmit(self.now, SEGMENTS, &mut out) {
                self.send(Node::Relay(index), &sent, &mut out);
            }
        }
        while let Some(sent) = self.gateway.poll_transmit(self.now, SEGMENTS, &mut out) {
            self.send(Node::Gateway, &sent, &mut out);
        }
        assert!(out.is_empty(), "bytes without a transmit");
        while let Some(sent) = self.connector.poll_transmit(self.now, SEGMENTS, &mut out) {
            self.send(Node::Connector, &sent, &mut out);
        }
        assert!(out.is_empty(), "bytes without a transmit");
        let wire = &mut self.wire;
        if let Some(stranger) = &mut self.stranger {
            while let Some((to, stride)) = stranger.poll_transmit(self.now, &mut out) {
                for bytes in out.chunks(stride) {
                    let packet = Packet { from: stranger.address, to, bytes: bytes.to_vec() };
                    wire.push_back((self.now + DELAY, packet));
                }
                out.clear();
            }
        }
        self.wire.len() > before
    }

    fn send(&mut self, node: Node, sent: &Transmit, out: &mut Vec<u8>) {
        let To::Udp { socket, to } = sent.to else { panic!("{sent:?}") };
        let from = self.addresses.get(&(node, socket)).copied();
        for bytes in out.chunks(sent.stride) {
            if let Some(from) = from.filter(|_| !self.silent.contains(&node)) {
                self.wire.push_back((self.now + DELAY, Packet { from, to, bytes: bytes.to_vec() }));
            }
        }
        out.clear();
    }

    fn deliver(&mut self, Packet { from, to, mut bytes }: Packet) {
        if let Some(stranger) = self.stranger.as_mut().filter(|stranger| stranger.address == to) {
            let way = Way { via: 0, remote: from };
            stranger.quic.handle(self.now, way, None, BytesMut::from(&bytes[..]));
            return;
        }
        let found = self.addresses.iter().find(|(_, address)| **address == to);
        let Some((&(node, socket), _)) = found else { return };
        if self.silent.contains(&node) {
            return;
        }
        let mut forwards = Forwards::default();
        let batch = single(socket, from, &mut bytes);
        match node {
            Node::Relay(index) => self.relays[index].handle_datagrams(self.now, batch, &mut forwards),
            Node::Gateway => self.gateway.handle_datagrams(self.now, batch, &mut forwards),
            Node::Connector => self.connector.handle_datagrams(self.now, batch, &mut forwards),
        }
        for run in forwards.drain() {
            let Onward::Send { socket: out, to, .. } = run.onward else { panic!("{run:?}") };
            let mut sent = run.prefix.map_or(Vec::new(), |prefix| prefix.to_vec());
            sent.extend_from_slice(run.body(&single(socket, from, &mut bytes), 0));
            let from = self.addresses[&(node, out)];
            self.wire.push_back((self.now + DELAY, Packet { from, to, bytes: sent }));
        }
    }
}

/// A batch of one.
fn single(socket: SocketId, remote: SocketAddr, payload: &mut [u8]) -> Datagrams<'_> {
    Datagrams { socket, remote, local: None, ecn: None, stride: payload.len().max(1), payload }
}
