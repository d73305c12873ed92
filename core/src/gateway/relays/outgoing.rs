//! What goes out through the relays: what the clients have to say, and QUIC's datagrams in the frames of TURN.

use std::num::NonZeroUsize;

use super::line::{Line, Parked};
use super::{MAX_PARKED, Relays};
use crate::client::Readiness;
use crate::gateway::Step;
use crate::io::{To, Transmit};

impl Relays {
    /// The next datagrams: what the clients have to say, then QUIC; the other way round when closing, since nothing
    /// reaches a peer any more once its allocation was given back.
    pub(in crate::gateway) fn poll_transmit(
        &mut self,
        step: &mut Step<'_>,
        max_segments: NonZeroUsize,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if let Some((transmit, bytes)) = self.goodbyes.pop_front() {
            out.extend_from_slice(&bytes);
            Some(transmit)
        } else if self.closing {
            self.poll_quic(step, max_segments, scratch, out)
                .or_else(|| self.poll_clients(step, max_segments, out))
        } else {
            self.poll_clients(step, max_segments, out)
                .or_else(|| self.poll_quic(step, max_segments, scratch, out))
                // Where QUIC's datagrams have to wait for a link, that has something to say now.
                .or_else(|| self.poll_clients(step, max_segments, out))
        }
    }

    fn poll_clients(
        &mut self,
        step: &mut Step<'_>,
        max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        self.lines.iter_mut().flatten().find_map(|line| {
            let own = line.client.as_mut()?.poll_transmit(step.now, max_segments, out);
            let transmit = own.or_else(|| line.unpark(step, out))?;
            line.readdressed(transmit, out)
        })
    }

    fn poll_quic(
        &mut self,
        step: &mut Step<'_>,
        max_segments: NonZeroUsize,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        loop {
            scratch.clear();
            let outgoing = step.quic.poll_transmit(step.now, max_segments, scratch)?;
            let Some(line) = self.line_mut(outgoing.way.via as usize) else { continue };
            let parked = Parked {
                peer: outgoing.way.remote,
                ecn: outgoing.ecn,
                stride: outgoing.stride,
                bytes: Vec::new(),
            };
            let transmit = line.send(step, parked, scratch, out);
            if let Some(transmit) = transmit.and_then(|transmit| line.readdressed(transmit, out)) {
                return Some(transmit);
            }
        }
    }
}

impl Line {
    /// Frames datagrams for their peer, or lets them wait for the channel.
    fn send(
        &mut self,
        step: &mut Step<'_>,
        head: Parked,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let client = self.client.as_mut()?;
        match client.readiness(head.peer) {
            Readiness::Pending if self.parked_bytes + bytes.len() <= MAX_PARKED => {
                self.parked_bytes += bytes.len();
                self.parked.push_back(Parked { bytes: bytes.to_vec(), ..head });
                None
            }
            Readiness::Pending => {
                step.counters.no_channel += 1;
                None
            }
            Readiness::Bound | Readiness::Absent => {
                client.encapsulate(step.now, head.peer, bytes, head.stride, head.ecn, out)
            }
        }
    }

    /// The next datagrams whose channel is no longer pending.
    fn unpark(&mut self, step: &mut Step<'_>, out: &mut Vec<u8>) -> Option<Transmit> {
        let client = self.client.as_mut()?;
        loop {
            let ready = |parked: &Parked| client.readiness(parked.peer) != Readiness::Pending;
            let index = self.parked.iter().position(ready)?;
            let parked = self.parked.remove(index)?;
            self.parked_bytes -= parked.bytes.len();
            let Parked { peer, ecn, stride, bytes } = parked;
            let transmit = client.encapsulate(step.now, peer, &bytes, stride, ecn, out);
            if transmit.is_some() {
                return transmit;
            }
        }
    }

    /// Forgets what waits: there is no allocation any more.
    pub(super) fn unpark_all(&mut self, step: &mut Step<'_>) {
        step.counters.no_channel += self.parked.len() as u64;
        self.parked.clear();
        self.parked_bytes = 0;
    }

    /// What its client has still to say by the socket or link that it gives up.
    pub(super) fn goodbye(&mut self) -> Option<(Transmit, Vec<u8>)> {
        let mut out = Vec::new();
        let transmit = self.client.as_mut()?.poll_goodbye(&mut out)?;
        let transmit = self.readdressed(transmit, &mut out)?;
        Some((transmit, out))
    }

    /// The client's transmit under our number for its socket or link; nothing where that is gone.
    fn readdressed(&self, transmit: Transmit, out: &mut Vec<u8>) -> Option<Transmit> {
        let to = match transmit.to {
            To::Udp { to, .. } => self.socket.map(|socket| To::Udp { socket, to }),
            To::Link(_) => self.link.map(To::Link),
        };
        if to.is_none() {
            out.clear();
        }
        Some(Transmit { to: to?, ..transmit })
    }
}
