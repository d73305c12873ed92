//! The queue of datagrams that the relay has to send itself: replies, Data indications, and what clients with links send
//! to peers. What comes by datagram and goes by datagram never gets here.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

use crate::io::{Ecn, SocketId, To, Transmit};

/// Replies that may wait. The driver drains the queue after each batch, so this is never reached by one that does.
const MOST_REPLIES: usize = 4096;

/// Data indications that may wait; fewer, so that data never displaces a reply.
const MOST_DATA: usize = 1024;

/// What may wait for peers, in bytes; each transmit counts 64 more. A driver that drains the queue after what a link
/// has brought never reaches it.
const MOST_TO_PEERS: usize = 1024 * 1024;
const OVERHEAD: usize = 64;

/// The largest transmit, in bytes.
const MAX_TRANSMIT: usize = 65_000;

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

/// The way to a client that comes by UDP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doorstep {
    pub(super) socket: SocketId,
    pub(super) client: SocketAddr,
    pub(super) local: Option<IpAddr>,
}

/// Datagrams that wait for `poll_transmit`.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<(Transmit, Box<[u8]>)>,
    /// To peers; equal ones that go one way are one transmit.
    to_peers: VecDeque<(Transmit, Vec<u8>)>,
    to_peers_bytes: usize,
}

impl Outbox {
    /// Queues a reply.
    pub(super) fn reply(&mut self, to: Doorstep, bytes: Box<[u8]>) -> Result<(), QueueFull> {
        self.push(MOST_REPLIES, to, None, bytes)
    }

    /// Queues data for a client.
    pub(super) fn data(&mut self, to: Doorstep, ecn: Option<Ecn>, bytes: Box<[u8]>) -> Result<(), QueueFull> {
        self.push(MOST_DATA, to, ecn, bytes)
    }

    fn push(
        &mut self,
        most: usize,
        to: Doorstep,
        ecn: Option<Ecn>,
        bytes: Box<[u8]>,
    ) -> Result<(), QueueFull> {
        if self.queue.len() >= most {
            return Err(QueueFull);
        }
        let Doorstep { socket, client, local } = to;
        let to = To::Udp { socket, to: client };
        self.queue.push_back((Transmit { to, from: local, ecn, stride: bytes.len(), whole: false }, bytes));
        Ok(())
    }

    /// Queues a datagram for a peer: never in fragments, where it is to stay `whole`.
    pub(super) fn peer_data(
        &mut self,
        socket: SocketId,
        peer: SocketAddr,
        whole: bool,
        bytes: &[u8],
    ) -> Result<(), QueueFull> {
        if self.to_peers_bytes + bytes.len() + OVERHEAD > MOST_TO_PEERS {
            return Err(QueueFull);
        }
        let to = To::Udp { socket, to: peer };
        if let Some((last, all)) = self.to_peers.back_mut()
            && (last.to, last.whole) == (to, whole)
            && last.stride == bytes.len()
            && !bytes.is_empty()
            && all.len() + bytes.len() <= MAX_TRANSMIT
        {
            all.extend_from_slice(bytes);
            self.to_peers_bytes += bytes.len();
            return Ok(());
        }
        let transmit = Transmit { to, from: None, ecn: None, stride: bytes.len(), whole };
        self.to_peers.push_back((transmit, bytes.to_vec()));
        self.to_peers_bytes += bytes.len() + OVERHEAD;
        Ok(())
    }

    /// How many transmits wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.to_peers.len()
    }

    /// The next one; its bytes are appended to `out`.
    pub(super) fn poll(&mut self, max_segments: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        if let Some((transmit, bytes)) = self.queue.pop_front() {
            out.extend_from_slice(&bytes);
            return Some(transmit);
        }
        let (transmit, bytes) = self.to_peers.front_mut()?;
        let (transmit, most) = (*transmit, transmit.stride.saturating_mul(max_segments.get()));
        if bytes.len() > most {
            out.extend(bytes.drain(..most));
            self.to_peers_bytes -= most;
        } else {
            self.to_peers_bytes -= bytes.len() + OVERHEAD;
            out.append(bytes);
            self.to_peers.pop_front();
        }
        Some(transmit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Id as _;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn polled(outbox: &mut Outbox, segments: usize) -> Vec<(SocketAddr, usize, usize)> {
        let mut all = Vec::new();
        loop {
            let mut out = Vec::new();
            let Some(transmit) = outbox.poll(NonZeroUsize::new(segments).unwrap(), &mut out) else { break };
            let To::Udp { to, .. } = transmit.to else { panic!("a datagram") };
            all.push((to, transmit.stride, out.len()));
        }
        assert_eq!((outbox.len(), outbox.to_peers_bytes), (0, 0));
        all
    }

    #[test]
    fn equal_datagrams_to_one_peer_are_one_transmit_of_so_many_segments() {
        let (mut outbox, socket) = (Outbox::default(), SocketId::new(1, 0));
        for (port, len) in [(1, 100), (1, 100), (1, 100), (1, 99), (2, 99), (1, 100)] {
            outbox.peer_data(socket, peer(port), false, &vec![7; len]).unwrap();
        }
        let expected = [
            (peer(1), 100, 200),
            (peer(1), 100, 100),
            (peer(1), 99, 99),
            (peer(2), 99, 99),
            (peer(1), 100, 100),
        ];
        assert_eq!(polled(&mut outbox, 2), expected);
    }

    #[test]
    fn an_empty_datagram_is_one_too() {
        let (mut outbox, socket) = (Outbox::default(), SocketId::new(1, 0));
        (0..2).for_each(|_| outbox.peer_data(socket, peer(1), false, b"").unwrap());
        assert_eq!(polled(&mut outbox, 9), [(peer(1), 0, 0), (peer(1), 0, 0)]);
    }

    #[test]
    fn what_waits_for_peers_is_bounded() {
        let (mut outbox, socket) = (Outbox::default(), SocketId::new(1, 0));
        let taken = (0..100_000u32).filter(|number| {
            outbox.peer_data(socket, peer(1 + (number % 2) as u16), false, &[7; 100]).is_ok()
        });
        assert_eq!(taken.count(), MOST_TO_PEERS / (100 + OVERHEAD));
        polled(&mut outbox, 1);
        assert!(outbox.peer_data(socket, peer(1), false, b"again").is_ok());
    }
}
