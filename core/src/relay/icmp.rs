//! What ICMP says about datagrams that did not reach their peers, told to the client (RFC 8656 §11.5).

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::Relay;
use super::counters::Drop;
use super::table::Socket;
use crate::io::SocketId;
use crate::stun::{Builder, Class, Icmp, Method};

impl Relay {
    /// News of ICMP on a relayed socket. Who sent it does not matter, and can't be told; but only about datagrams to
    /// peers that are permitted the client is told anything.
    pub(super) fn transport_error(
        &mut self,
        now: Instant,
        socket: SocketId,
        peer: SocketAddr,
        kind: ErrorKind,
        mtu: Option<u16>,
    ) {
        self.counters.transport_errors += 1;
        let Some(Socket::Relayed(id)) = self.table.socket(socket) else { return };
        let Some(allocation) = self.table.get(id).filter(|allocation| allocation.is_live()) else { return };
        let Some(icmp) = icmp(peer.ip(), kind, mtu) else { return };
        if !allocation.permissions.allow(now, peer.ip()) {
            return self.counters.drop(Drop::NoPermission);
        }
        let path = allocation.path();
        let transaction = self.rng.bytes();
        let indication =
            Builder::new(Class::Indication, Method::DATA, transaction).peer_address(peer).icmp(icmp).finish();
        if let Err(reason) = self.send_to_client(path, None, indication) {
            self.counters.drop(reason);
        }
    }
}

/// Type and code of what the kernel calls `kind`, for the version of IP that the peer has; `None` for what is no word of
/// ICMP's.
fn icmp(peer: IpAddr, kind: ErrorKind, mtu: Option<u16>) -> Option<Icmp> {
    let v4 = peer.is_ipv4();
    if let Some(mtu) = mtu {
        // Fragmentation needed (RFC 1191), or packet too big (RFC 4443 §3.2).
        let (kind, code) = if v4 { (3, 4) } else { (2, 0) };
        return Some(Icmp { kind, code, data: mtu.into() });
    }
    let (kind, code) = match (kind, v4) {
        // Destination unreachable: port, host, network; of IPv6 address for host, no route for network.
        (ErrorKind::ConnectionRefused, true) => (3, 3),
        (ErrorKind::HostUnreachable, true) => (3, 1),
        (ErrorKind::NetworkUnreachable, true) => (3, 0),
        (ErrorKind::ConnectionRefused, false) => (1, 4),
        (ErrorKind::HostUnreachable, false) => (1, 3),
        (ErrorKind::NetworkUnreachable, false) => (1, 0),
        _ => return None,
    };
    Some(Icmp { kind, code, data: 0 })
}
