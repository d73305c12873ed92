//! Packets: from a machine's transmits and forwards through the network into another machine's batch.

use std::net::{IpAddr, SocketAddr};

use adit_core::io::{Datagrams, Ecn, Onward, Run, SocketId, To, Transmit};

use super::{Happening, World};
use crate::network::{Door, Drop, HostIndex, Packet, Sent};

impl World {
    pub(super) fn arrive(&mut self, door: Door, packet: Packet) {
        let Some((host, inner)) = self.network.receive(self.now(), door, &packet) else { return };
        let Some(socket) = self.hosts[host].sockets.at(inner) else {
            self.network.drop(Drop::NoSocket);
            return;
        };
        if self.hosts[host].asleep.is_some() {
            self.network.drop(Drop::Cut);
            return;
        }
        let (remote, ecn, stride) = (packet.from, packet.ecn, packet.payload.len());
        let mut payload = self.coalesce(door, packet);
        let (now, mut forwards) = (self.now(), std::mem::take(&mut self.forwards));
        let machine = self.hosts[host].machine.as_mut().expect("it has a socket");
        let local = Some(inner.ip());
        let mut batch =
            Datagrams { socket, remote, local, ecn, stride: stride.max(1), payload: &mut payload };
        machine.handle_datagrams(now, batch.reborrow(), &mut forwards);
        for run in forwards.drain() {
            self.forward(host, &run, &batch);
        }
        self.forwards = forwards;
        self.settle(host);
    }

    /// Appends what arrives at the same instant and looks the same, as GRO would.
    fn coalesce(&mut self, door: Door, first: Packet) -> Vec<u8> {
        let (from, to, ecn, stride) = (first.from, first.to, first.ecn, first.payload.len());
        let mut payload = first.payload;
        let mut last = stride;
        while last == stride && stride > 0 && payload.len() < 60_000 {
            let joins = |next: &Happening| {
                matches!(next, Happening::Arrives { door: at, packet } if *at == door
                    && (packet.from, packet.to, packet.ecn) == (from, to, ecn)
                    && (1..=stride).contains(&packet.payload.len()))
            };
            if !self.queue.peek(self.present.now()).is_some_and(joins) {
                break;
            }
            let Some(Happening::Arrives { packet, .. }) = self.queue.pop() else { break };
            if self.network.receive(self.present.now(), door, &packet).is_some() {
                last = packet.payload.len();
                payload.extend_from_slice(&packet.payload);
            }
        }
        payload
    }

    fn forward(&mut self, host: HostIndex, run: &Run, batch: &Datagrams<'_>) {
        let Onward::Send { socket, to, .. } = run.onward else {
            panic!("{} left a run to its driver that is its owner's", self.hosts[host].name);
        };
        for index in run.segments.clone() {
            let mut payload = run.prefix.map_or_else(Vec::new, |prefix| prefix.to_vec());
            payload.extend_from_slice(run.body(batch, index));
            self.send(host, (socket, None, to), run.ecn, payload);
        }
    }

    pub(super) fn transmit(&mut self, host: HostIndex, transmit: Transmit, bytes: &[u8]) {
        let (socket, to) = match transmit.to {
            To::Udp { socket, to } => (socket, to),
            To::Link(link) => return self.transmit_link(host, link, bytes),
        };
        let name = &self.hosts[host].name;
        assert!(!bytes.is_empty() && transmit.stride > 0, "{name} has an empty transmit");
        let segments = bytes.len().div_ceil(transmit.stride);
        assert!(segments <= Self::SEGMENTS.get(), "{name} sends {segments} segments at once");
        for segment in bytes.chunks(transmit.stride) {
            self.send(host, (socket, transmit.from, to), transmit.ecn, segment.to_vec());
        }
    }

    fn send(
        &mut self,
        host: HostIndex,
        (socket, from, to): (SocketId, Option<IpAddr>, SocketAddr),
        ecn: Option<Ecn>,
        payload: Vec<u8>,
    ) {
        let Some(from) = self.hosts[host].source(socket, from, to) else {
            self.network.drop(Drop::NotBound);
            return;
        };
        let (now, elapsed) = (self.now(), self.elapsed());
        let packet = Packet { from, to, ecn, payload };
        let Some(Sent { packet, door, arrives, again }) = self.network.send(now, elapsed, host, packet)
        else {
            return;
        };
        if let Some(at) = again {
            self.queue.plan(at, Happening::Arrives { door, packet: packet.clone() });
        }
        self.queue.plan(arrives, Happening::Arrives { door, packet });
    }
}
