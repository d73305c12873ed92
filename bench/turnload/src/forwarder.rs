//! The least that a relay can do: ChannelData in at one socket, its payload out at another, and back.
//!
//! A client makes itself known by eight bytes of 0xFF with its channel's number in the second and third, and is told
//! in as many where its peer reaches it. There are no requests, permissions, timers or counters; what is left is the
//! kernel's work, one look-up in a table for each burst, and the headers.

use std::collections::HashMap;
use std::io::IoSlice;
use std::net::{SocketAddrV4, UdpSocket};

use anyhow::Result;

use crate::batch::{self, Outgoing, Received, Receiver, Sender};
use crate::options::{Forward, Mode};
use crate::packet::{CHANNEL_HEADER, channel_header, read_channel_header};
use crate::socket::{self, Poll};

/// Bytes of room in the kernel for each socket.
const BUFFER: usize = 4 << 20;
/// How often a socket is read before the others have their turn.
const ROUNDS: usize = 4;
/// The name of the socket that clients send to.
const CLIENTS: u64 = u64::MAX;
/// The first byte of a client that makes itself known.
const HELLO: u8 = 0xFF;

/// Forwards until it is killed.
///
/// # Errors
/// When a socket cannot be bound.
pub(crate) fn run(options: &Forward) -> Result<()> {
    let mut forwarder = Forwarder::new(options)?;
    loop {
        for index in 0..forwarder.poll.wait(None) {
            match forwarder.poll.name(index) {
                CLIENTS => forwarder.forward_up()?,
                leg => forwarder.forward_down(leg as usize),
            }
        }
    }
}

struct Forwarder {
    mode: Mode,
    peer: SocketAddrV4,
    listening: UdpSocket,
    poll: Poll,
    legs: Vec<Leg>,
    by_client: HashMap<(SocketAddrV4, u16), usize>,
    receiver: Receiver,
    sender: Sender,
}

/// A client's channel, and the socket that its peer sends to.
struct Leg {
    socket: UdpSocket,
    client: SocketAddrV4,
    channel: u16,
}

impl Forwarder {
    fn new(options: &Forward) -> Result<Self> {
        let listening = socket::bind(options.listen, BUFFER)?;
        let receiver = match options.mode {
            Mode::Mmsg => Receiver::new(64, 2_048),
            Mode::Gro => Receiver::new(16, 65_536),
        };
        if options.mode == Mode::Gro {
            batch::coalesce(&listening)?;
        }
        let poll = Poll::new()?;
        poll.add(&listening, CLIENTS)?;
        Ok(Self {
            mode: options.mode,
            peer: options.peer,
            listening,
            poll,
            legs: Vec::new(),
            by_client: HashMap::new(),
            receiver,
            sender: Sender::default(),
        })
    }

    fn forward_up(&mut self) -> Result<()> {
        for _ in 0..ROUNDS {
            let more = self.receiver.receive(&self.listening);
            let mut strangers = Vec::new();
            let messages: Vec<_> = self.receiver.messages().collect();
            let mut rest = &messages[..];
            while let [first, ..] = rest {
                let key =
                    |message: &Received<'_>| Some((message.from, read_channel_header(message.bytes)?.0));
                let same = rest.iter().take_while(|message| key(message) == key(first)).count();
                let (together, behind) = rest.split_at(same.max(1));
                match key(first).and_then(|key| self.by_client.get(&key)) {
                    Some(&leg) => up(&mut self.sender, &self.legs[leg].socket, self.peer, together),
                    None => strangers.extend(together.iter().filter_map(hello)),
                }
                rest = behind;
            }
            for (client, channel) in strangers {
                self.welcome(client, channel)?;
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn forward_down(&mut self, leg: usize) {
        let leg = &self.legs[leg];
        for _ in 0..ROUNDS {
            let more = self.receiver.receive(&leg.socket);
            down(&mut self.sender, &self.listening, leg, self.peer, &self.receiver);
            if !more {
                break;
            }
        }
    }

    /// Gives a client a socket, unless it has one, and tells it where that is.
    fn welcome(&mut self, client: SocketAddrV4, channel: u16) -> Result<()> {
        let leg = match self.by_client.get(&(client, channel)) {
            Some(&leg) => leg,
            None => {
                let socket = socket::bind(socket::any(*socket::local(&self.listening)?.ip()), BUFFER)?;
                if self.mode == Mode::Gro {
                    batch::coalesce(&socket)?;
                }
                self.poll.add(&socket, self.legs.len() as u64)?;
                self.by_client.insert((client, channel), self.legs.len());
                self.legs.push(Leg { socket, client, channel });
                self.legs.len() - 1
            }
        };
        let address = socket::local(&self.legs[leg].socket)?;
        let mut answer = [0; 8];
        answer[2..4].copy_from_slice(&address.port().to_be_bytes());
        answer[4..].copy_from_slice(&address.ip().octets());
        self.listening.send_to(&answer, client)?;
        Ok(())
    }
}

/// The client and the channel of a message that makes a client known.
fn hello(message: &Received<'_>) -> Option<(SocketAddrV4, u16)> {
    let &[HELLO, high, low, HELLO, HELLO, HELLO, HELLO, HELLO] = message.bytes else { return None };
    Some((message.from, u16::from_be_bytes([high, low])))
}

/// Sends the payloads of ChannelData on: each message as one, cut as it came.
fn up(sender: &mut Sender, socket: &UdpSocket, peer: SocketAddrV4, messages: &[Received<'_>]) {
    let mut parts = Vec::with_capacity(messages.iter().map(datagrams).sum());
    for datagram in messages.iter().flat_map(|message| message.bytes.chunks(message.stride)) {
        let (_, len) = read_channel_header(datagram).unwrap_or_default();
        let payload = datagram.get(CHANNEL_HEADER..).unwrap_or_default();
        parts.push(IoSlice::new(&payload[..len.min(payload.len())]));
    }
    let mut rest = &parts[..];
    let outgoing: Vec<_> = messages
        .iter()
        .map(|message| {
            let (own, behind) = rest.split_at(datagrams(message));
            rest = behind;
            let stride = message.stride.saturating_sub(CHANNEL_HEADER) as u16;
            Outgoing { to: Some(peer), parts: own, stride: (own.len() > 1).then_some(stride) }
        })
        .collect();
    sender.send_all(socket, &outgoing);
}

/// Sends what the peer has sent on to the client, each datagram with its header.
fn down(sender: &mut Sender, listening: &UdpSocket, leg: &Leg, peer: SocketAddrV4, receiver: &Receiver) {
    let is_data = |message: &Received<'_>| message.from == peer && !message.bytes.is_empty();
    let messages: Vec<_> = receiver.messages().filter(is_data).collect();
    // All datagrams of a message have one length, except for its last.
    let headers: Vec<_> = messages
        .iter()
        .map(|message| {
            let last = message.bytes.len() - (datagrams(message) - 1) * message.stride;
            [message.stride, last].map(|len| channel_header(leg.channel, len))
        })
        .collect();
    let mut parts = Vec::with_capacity(2 * messages.iter().map(datagrams).sum::<usize>());
    for (message, [usual, last]) in messages.iter().zip(&headers) {
        let count = datagrams(message);
        for (index, datagram) in message.bytes.chunks(message.stride).enumerate() {
            parts.push(IoSlice::new(if index + 1 == count { last } else { usual }));
            parts.push(IoSlice::new(datagram));
        }
    }
    let mut rest = &parts[..];
    let outgoing: Vec<_> = messages
        .iter()
        .map(|message| {
            let (own, behind) = rest.split_at((2 * datagrams(message)).min(rest.len()));
            rest = behind;
            let stride = (message.stride + CHANNEL_HEADER) as u16;
            Outgoing { to: Some(leg.client), parts: own, stride: (own.len() > 2).then_some(stride) }
        })
        .collect();
    sender.send_all(listening, &outgoing);
}

/// How many datagrams a message holds; none where it is empty.
fn datagrams(message: &Received<'_>) -> usize {
    message.bytes.len().div_ceil(message.stride)
}
