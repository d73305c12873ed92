//! Clients and their peer, ready to send to each other.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Instant;

use anyhow::Result;

use crate::batch::{self, Outgoing, Receiver, Sender};
use crate::options::{Kind, Server, Traffic};
use crate::packet::{CHANNEL_HEADER, Packet, channel_header};
use crate::setup::{Client, Maker, release};
use crate::socket::{self, Poll};

/// Bytes of room in the kernel for the peer, and for each client.
const BUFFERS: (usize, usize) = (16 << 20, 8 << 20);
/// The largest burst, in bytes: a little less than a UDP payload may be.
const MOST_BYTES: usize = 65_000;
/// The most packets that the kernel cuts from one message.
const MOST_SEGMENTS: usize = 64;
/// The name of the peer's socket.
const PEER: u64 = u64::MAX;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the peer.
    Up,
    /// To a client.
    Down,
}

/// All that sends and receives.
pub(crate) struct Field {
    /// The near ends; behind them, where the server relays among its own clients only, the far ends.
    clients: Vec<Client>,
    /// How many near ends there are.
    near: usize,
    peer: UdpSocket,
    kind: Kind,
    size: usize,
    has_offload: bool,
    poll: Poll,
    receiver: Receiver,
    sender: Sender,
    /// Where bursts are put together.
    burst: Vec<u8>,
    /// What all packets count their time from.
    pub(crate) epoch: Instant,
    /// Counts runs.
    pub(crate) run: u64,
}

/// One packet that has come out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) way: Way,
    pub(crate) packet: Packet,
    /// Who receives what is sent back.
    pub(crate) back: Back,
}

/// How a packet is sent back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Back {
    /// From the peer to where it came from.
    Peer(SocketAddrV4),
    /// From that client.
    Client(usize),
}

impl Field {
    /// Makes all allocations.
    ///
    /// # Errors
    /// When the server does not serve.
    pub(crate) fn open(server: &Server, traffic: &Traffic) -> Result<Self> {
        let peer = socket::bind(server.peer, BUFFERS.0)?;
        let address = socket::local(&peer)?;
        let clients = match server.kind {
            Kind::Pair => {
                let nobody = socket::any(Ipv4Addr::UNSPECIFIED);
                Maker::new(server, nobody, BUFFERS.1)?.make(2 * server.allocations)?
            }
            _ => Maker::new(server, address, BUFFERS.1)?.make(server.allocations)?,
        };
        let poll = Poll::new()?;
        poll.add(&peer, PEER)?;
        for (name, client) in clients.iter().enumerate() {
            poll.add(&client.socket, name as u64)?;
        }
        if traffic.gro {
            clients.iter().map(|client| &client.socket).chain([&peer]).try_for_each(batch::coalesce)?;
        }
        Ok(Self {
            near: server.allocations as usize,
            clients,
            peer,
            kind: server.kind,
            size: traffic.size.into(),
            has_offload: traffic.gso,
            poll,
            receiver: if traffic.gro { Receiver::new(32, 65_536) } else { Receiver::new(64, 2_048) },
            sender: Sender::default(),
            burst: vec![0; 65_536],
            epoch: Instant::now(),
            run: 0,
        })
    }

    /// How many flows there are in each direction.
    pub(crate) fn flows(&self) -> usize {
        self.near
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn time(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Sends up to `count` packets of one flow, numbered from `number`. Returns how many the kernel has taken.
    pub(crate) fn send(&mut self, way: Way, flow: usize, number: u64, count: usize) -> usize {
        let from = match (way, self.kind) {
            (Way::Down, Kind::Pair) => self.near + flow,
            _ => flow,
        };
        let client = &self.clients[from];
        let (socket, to, header) = match (way, self.kind) {
            (Way::Up, Kind::None) => (&client.socket, None, None),
            (Way::Down, Kind::Turn | Kind::Bare | Kind::None) => (&self.peer, Some(client.relayed), None),
            _ => (&client.socket, None, Some(channel_header(client.channel, self.size))),
        };
        let stride = self.size + header.map_or(0, |header| header.len());
        let count = count.min(MOST_BYTES / stride).min(MOST_SEGMENTS);
        let sent = self.epoch.elapsed().as_nanos() as u64;
        for (number, bytes) in (number..).zip(self.burst.chunks_exact_mut(stride).take(count)) {
            let (front, body) = bytes.split_at_mut(stride - self.size);
            front.copy_from_slice(header.as_ref().map_or(&[], |header| header.as_slice()));
            Packet { number, sent }.write(body);
        }
        let bytes = &self.burst[..stride * count];
        if self.has_offload && count > 1 {
            let message = Outgoing { to, parts: &[IoSlice::new(bytes)], stride: Some(stride as u16) };
            return self.sender.send(socket, &[message]) * count;
        }
        let parts: Vec<_> = bytes.chunks_exact(stride).map(|bytes| [IoSlice::new(bytes)]).collect();
        let messages: Vec<_> = parts.iter().map(|parts| Outgoing { to, parts, stride: None }).collect();
        self.sender.send(socket, &messages)
    }

    /// Sends a packet back to where it came from.
    pub(crate) fn send_back(&self, back: Back, packet: Packet) {
        let mut bytes = vec![0; CHANNEL_HEADER + self.size];
        packet.write(&mut bytes[CHANNEL_HEADER..]);
        // What is not taken is lost, and counted so.
        let _ = match back {
            Back::Peer(to) => self.peer.send_to(&bytes[CHANNEL_HEADER..], to),
            Back::Client(index) => {
                let client = &self.clients[index];
                bytes[..CHANNEL_HEADER].copy_from_slice(&channel_header(client.channel, self.size));
                client.socket.send(&bytes)
            }
        };
    }

    /// Hands all packets of this run that have come out to `each`, after waiting at most so many milliseconds.
    pub(crate) fn receive(&mut self, milliseconds: u64, mut each: impl FnMut(Arrival)) {
        let ready = self.poll.wait(Some(std::time::Duration::from_millis(milliseconds)));
        for index in 0..ready {
            let name = self.poll.name(index);
            let (socket, way, front) = match name {
                PEER => (&self.peer, Way::Up, 0),
                far if far as usize >= self.near => {
                    (&self.clients[far as usize].socket, Way::Up, CHANNEL_HEADER)
                }
                near if self.kind == Kind::None => (&self.clients[near as usize].socket, Way::Down, 0),
                near => (&self.clients[near as usize].socket, Way::Down, CHANNEL_HEADER),
            };
            let mut more = true;
            while more {
                more = self.receiver.receive(socket);
                for message in self.receiver.messages() {
                    let back =
                        if name == PEER { Back::Peer(message.from) } else { Back::Client(name as usize) };
                    let whole =
                        message.bytes.chunks(message.stride).filter(|it| it.len() >= front + self.size);
                    let packets = whole.filter_map(|bytes| Packet::read(&bytes[front..]));
                    packets
                        .filter(|packet| packet.run() == self.run)
                        .for_each(|packet| each(Arrival { way, packet, back }));
                }
            }
        }
    }

    /// Ends the allocations.
    pub(crate) fn leave(&self) {
        if matches!(self.kind, Kind::Turn | Kind::Pair) {
            release(&self.clients);
        }
    }
}
