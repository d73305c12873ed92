//! The connection to a gateway that takes new pipes, seen through its control stream.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Event, GatewayKey, PermitError, Step};
use crate::pki::PeerInfo;
use crate::quic::ConnId;
use crate::time::UnixTime;
use crate::tunnel::{Control, Frame, MAX_PATHS};

/// How many PINGs wait for their PONG; of more the oldest are forgotten.
const MAX_PINGS: usize = 8;
/// How long before the gateway's certificate runs out its successor is asked for, at most.
const RENEW_EARLY: Duration = Duration::from_secs(300);
/// A certificate that has less to live is not worth another connection.
const RENEW_LEAST: u64 = 10;

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) address: SocketAddr,
    control: Control,
    /// Whether the gateway has named `address` as its own on this connection.
    named: bool,
    pings: VecDeque<([u8; 8], Instant)>,
    pinged: u64,
    /// Whom it leads to, and from when on we know that; `None` where the certificate names nobody.
    peer: Option<(PeerInfo, UnixTime)>,
}

/// What the control stream has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing that concerns the connection.
    Nothing,
    /// The gateway is no longer at the address that the connection leads to.
    Moved,
    /// Nonsense.
    Broken,
}

impl Link {
    pub(super) fn new(
        conn: ConnId,
        address: SocketAddr,
        control: Control,
        peer: Option<(PeerInfo, UnixTime)>,
    ) -> Self {
        Self { conn, address, control, named: false, pings: VecDeque::new(), pinged: 0, peer }
    }

    /// When to ask for a connection under the gateway's next certificate: a tenth of what is left before the end. A
    /// gateway that shows the same one again is asked again, a tenth of what is left then before the end.
    pub(super) fn renewal(&self) -> Option<UnixTime> {
        let (peer, since) = self.peer.as_ref()?;
        let left = peer.not_after.0.saturating_sub(since.0);
        let early = (left / 10).min(RENEW_EARLY.as_secs());
        (left >= RENEW_LEAST).then(|| UnixTime(peer.not_after.0 - early))
    }

    /// The first second in which the gateway's certificate no longer counts.
    pub(super) fn expiry(&self) -> Option<UnixTime> {
        self.peer.as_ref().map(|(peer, _)| UnixTime(peer.not_after.0.saturating_add(1)))
    }

    pub(super) fn ping(&mut self, step: &mut Step<'_>) {
        self.pinged += 1;
        let bytes = self.pinged.to_be_bytes();
        if self.pings.len() == MAX_PINGS {
            self.pings.pop_front();
        }
        self.pings.push_back((bytes, step.now));
        self.control.send(step.quic, &Frame::Ping(bytes));
    }

    /// Asks the gateway to let `peers` in for `lifetime`.
    pub(super) fn permit(&mut self, step: &mut Step<'_>, peers: Vec<IpAddr>, lifetime: Duration) {
        if !peers.is_empty() && lifetime >= Duration::from_secs(1) {
            self.control.send(step.quic, &Frame::Permit { peers, lifetime });
        }
    }

    /// The control stream has bytes, or room. `paths` is where the gateway's addresses go.
    pub(super) fn control_ready(
        &mut self,
        step: &mut Step<'_>,
        gateway: GatewayKey,
        paths: &mut Vec<SocketAddr>,
    ) -> Heard {
        self.control.flush(step.quic);
        loop {
            match self.control.receive(step.quic) {
                Ok(None) => return Heard::Nothing,
                Ok(Some(Frame::Pong(bytes))) => {
                    if let Some(rtt) = self.ponged(step.now, bytes) {
                        step.out.push_back(Event::Pong { gateway, rtt });
                    }
                }
                Ok(Some(Frame::Paths(addresses))) => {
                    let (before, now) = (self.named, addresses.contains(&self.address));
                    self.named = now || (before && addresses.is_empty());
                    if !addresses.is_empty() {
                        paths.clone_from(&addresses);
                    }
                    step.out.push_back(Event::Paths { gateway, addresses });
                    if before && !self.named {
                        return Heard::Moved;
                    }
                }
                Ok(Some(Frame::Drain)) => step.out.push_back(Event::Draining { gateway }),
                Ok(Some(_)) | Err(_) => return Heard::Broken,
            }
        }
    }

    /// How long the PONG of `bytes` took; it answers all PINGs before it, too.
    fn ponged(&mut self, now: Instant, bytes: [u8; 8]) -> Option<Duration> {
        let index = self.pings.iter().position(|(sent, _)| *sent == bytes)?;
        let (_, at) = self.pings.drain(..=index).next_back()?;
        Some(now - at)
    }
}

/// The peers that a gateway was asked to let in, and until when.
#[derive(Debug, Default)]
pub(super) struct Permits(BTreeMap<IpAddr, Instant>);

impl Permits {
    /// Notes `peers`. An earlier wish is never taken back.
    pub(super) fn add(
        &mut self,
        now: Instant,
        peers: &[IpAddr],
        lifetime: Duration,
    ) -> Result<(), PermitError> {
        self.0.retain(|_, until| *until > now);
        let mut merged = self.0.clone();
        for &peer in peers {
            let until = merged.entry(peer).or_insert(now);
            *until = (*until).max(now + lifetime);
        }
        if merged.len() > MAX_PATHS {
            return Err(PermitError::TooMany);
        }
        self.0 = merged;
        Ok(())
    }

    /// What is still to be asked for, one item for each end.
    pub(super) fn left(&self, now: Instant) -> Vec<(Vec<IpAddr>, Duration)> {
        let mut by_end = BTreeMap::<Instant, Vec<IpAddr>>::new();
        for (&peer, &until) in &self.0 {
            by_end.entry(until).or_default().push(peer);
        }
        by_end.into_iter().map(|(until, peers)| (peers, until.saturating_duration_since(now))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_run_out_and_are_never_shortened() {
        let (now, second) = (crate::time::start(), Duration::from_secs(1));
        let [a, b]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let mut permits = Permits::default();
        permits.add(now, &[a, b], 10 * second).unwrap();
        permits.add(now, &[a], 5 * second).unwrap();
        permits.add(now, &[b], 20 * second).unwrap();
        assert_eq!(permits.left(now), [(vec![a], 10 * second), (vec![b], 20 * second)]);

        let many: Vec<IpAddr> = (0..MAX_PATHS as u32).map(|n| std::net::Ipv4Addr::from(n).into()).collect();
        assert_eq!(permits.add(now, &many, second), Err(PermitError::TooMany));
        assert_eq!(permits.add(now + 20 * second, &many, second), Ok(()));
    }
}
