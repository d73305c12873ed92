//! The data path: what peers sent, out of its frame; what the owner sends, into one (RFC 8656 §11, §12).

use std::net::SocketAddr;
use std::time::Instant;

use super::{Client, Event};
use crate::io::{Datagrams, Ecn, Forwards, Onward, Run, Transmit};
use crate::secure::Speaks;
use crate::stun::{self, Class, Icmp, Message, Method};
use crate::turn::{channel_data, stream};

/// How much news of ICMP waits for an owner who does not fetch it.
const MAX_UNREAD: usize = 64;

impl Client {
    /// Frames datagrams of `stride` bytes (the last may be shorter) for `peer` and appends them to `out`: as
    /// ChannelData where a channel is bound, else as Send indications where the peer is permitted.
    ///
    /// `None`, and nothing appended, where there is neither; that is counted. Over a link, what it can't take at once
    /// waits for `poll_transmit`, and `None` says nothing. Costs one look-up per call.
    pub fn encapsulate(
        &mut self,
        _now: Instant,
        peer: SocketAddr,
        payload: &[u8],
        stride: usize,
        ecn: Option<Ecn>,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if payload.is_empty() {
            return None;
        }
        let stride = stride.clamp(1, usize::from(u16::MAX));
        let before = out.len();
        if let Some(number) = self.channels.bound(peer) {
            // A stream wants padding (RFC 8656 §12.5); datagrams are as long as they are.
            let pad = self.is_reliable();
            for datagram in payload.chunks(stride) {
                if pad {
                    stream::write_channel_data(out, number, datagram);
                } else {
                    out.extend_from_slice(&channel_data::header(number, datagram.len()));
                    out.extend_from_slice(datagram);
                }
            }
            let framed = (channel_data::HEADER_LEN + stride).min(out.len() - before);
            return self.carry(before, framed, ecn, out);
        }
        if !self.permissions.installed(peer.ip()) {
            self.counters.not_ready += payload.chunks(stride).count() as u64;
            return None;
        }
        let mut framed = 0;
        for datagram in payload.chunks(stride) {
            let id = self.rng.bytes();
            let len = stun::write_indication(out, Method::SEND, &id, peer, datagram);
            framed = framed.max(len);
        }
        if framed == 0 {
            return None;
        }
        self.carry(before, framed, ecn, out)
    }

    /// Sorts what the relay sent: data of peers goes out as runs, responses are handled.
    pub(super) fn receive(&mut self, now: Instant, batch: &Datagrams<'_>, out: &mut Forwards) {
        let mut last = None;
        for index in 0..batch.len() {
            if let Some(Data { peer, strip, len }) = self.sort(now, batch.segment(index), &mut last) {
                let onward = Onward::Owner { peer };
                let segments = index..index + 1;
                out.push(Run { onward, ecn: batch.ecn, strip, len, prefix: None, segments });
            }
        }
    }

    /// One message. `last` is the channel of the one before.
    pub(super) fn sort(
        &mut self,
        now: Instant,
        message: &[u8],
        last: &mut Option<(u16, SocketAddr)>,
    ) -> Option<Data> {
        match message.first().and_then(|&first| Speaks::of_datagram(first)) {
            Some(Speaks::ChannelData) => self.unwrap_channel(message, last),
            Some(Speaks::Stun) => self.unwrap_message(now, message),
            _ => {
                self.counters.malformed += 1;
                None
            }
        }
    }

    /// ChannelData. `last` is the channel of the datagram before, which is most likely this one's as well.
    fn unwrap_channel(&mut self, datagram: &[u8], last: &mut Option<(u16, SocketAddr)>) -> Option<Data> {
        let Some((number, len)) = channel_data::parse(datagram) else {
            self.counters.malformed += 1;
            return None;
        };
        let peer = match *last {
            Some((known, peer)) if known == number => Some(peer),
            _ => self.channels.peer(number),
        };
        let Some(peer) = peer else {
            self.counters.unknown_channel += 1;
            return None;
        };
        *last = Some((number, peer));
        Some(Data { peer, strip: channel_data::HEADER_LEN, len })
    }

    fn unwrap_message(&mut self, now: Instant, datagram: &[u8]) -> Option<Data> {
        let Ok(message) = Message::parse(datagram) else {
            self.counters.malformed += 1;
            return None;
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::DATA) => self.unwrap_indication(&message),
            (Class::Success | Class::Error, _) => {
                self.respond(now, &message);
                None
            }
            _ => {
                self.counters.unexpected += 1;
                None
            }
        }
    }

    /// What ICMP has told the relay about a datagram of ours (RFC 8656 §11.6).
    fn undelivered(&mut self, peer: SocketAddr, icmp: Icmp) {
        if !self.permissions.wanted(peer.ip()) {
            self.counters.unpermitted += 1;
        } else if self.events.len() >= MAX_UNREAD {
            self.counters.unread += 1;
        } else {
            self.events.push_back(Event::Undelivered { peer, icmp });
        }
    }

    fn unwrap_indication(&mut self, message: &Message<'_>) -> Option<Data> {
        if let (Ok(Some(peer)), Ok(Some(icmp))) = (message.peer_address(), message.icmp()) {
            self.undelivered(peer, icmp);
            return None;
        }
        let (Ok(Some(peer)), Some(data)) = (message.peer_address(), message.data_range()) else {
            self.counters.malformed += 1;
            return None;
        };
        // The relay filters as well; this keeps out what arrives after the owner has changed its mind.
        if !self.permissions.wanted(peer.ip()) {
            self.counters.unpermitted += 1;
            return None;
        }
        Some(Data { peer, strip: data.start, len: data.len() })
    }
}

/// Where a peer's data lies in its datagram.
pub(super) struct Data {
    pub(super) peer: SocketAddr,
    pub(super) strip: usize,
    pub(super) len: usize,
}
