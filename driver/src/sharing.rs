//! Listening sockets that several hubs share: one address, one socket for each hub, and the kernel gives each client to one
//! of them (SO_REUSEPORT).
//!
//! 1. The first hub binds its sockets alone, so that an address which somebody else has is told, whatever options they have.
//!    Then it lets others in.
//! 2. When the last one has bound its own, the kernel is told how to choose: by a program that takes the client's address
//!    and port and comes to one of the hubs' sockets. So it stays the same one for a client, whatever sockets are bound to
//!    the address later: those that are connected to one client, and those of anybody else of the same user, who gets
//!    nothing.
//! 3. What had come before that is thrown away: it may be another hub's.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU8;

use nix::libc::{self, sock_filter, sock_fprog};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use socket2::Socket as RawSocket;

/// Which of the hubs that share listening addresses one is. They bind in the order of their indexes, and all of one before
/// the next. By default there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// From 0.
    pub index: u8,
    /// How many there are.
    pub count: NonZeroU8,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { index: 0, count: NonZeroU8::MIN }
    }
}

impl Sharing {
    fn is_last(self) -> bool {
        self.index + 1 == self.count.get()
    }

    /// Binds a listening socket.
    ///
    /// # Errors
    /// What the system says to the bind.
    pub(crate) fn bind(self, socket: &RawSocket, addr: SocketAddr) -> io::Result<()> {
        if self.index > 0 {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        if self.index == 0 && !self.is_last() {
            socket.set_reuse_port(true)?;
        }
        Ok(())
    }

    /// Tells the kernel how to choose, where all are bound; those for TCP must listen already.
    ///
    /// # Errors
    /// Where the kernel can't be told.
    pub(crate) fn steer(self, socket: &RawSocket, addr: SocketAddr) -> io::Result<()> {
        if self.index == 0 || !self.is_last() {
            return Ok(());
        }
        let mut program = program(addr.is_ipv4(), self.count.get());
        let len = u16::try_from(program.len()).expect("it is short");
        let program = sock_fprog { len, filter: program.as_mut_ptr() };
        setsockopt(socket, AttachReusePortCbpf, &program)?;
        Ok(())
    }
}

/// Where the network header of a packet begins (SKF_NET_OFF).
const NETWORK: u32 = libc::SKF_NET_OFF as u32;
/// The source address in it (RFC 791 §3.1, RFC 8200 §3), and in IPv6 the source port right behind it.
const SOURCE_V4: u32 = 12;
const SOURCE_V6: u32 = 8;
const HEADER_V6: u32 = 40;
/// Spreads: 2³² divided by the golden ratio.
const SPREAD: u32 = 0x9e37_79b1;

/// Comes to the number of the socket: a hash of the source's address and port, modulo `count`. No header but the first is
/// skipped in IPv6: a client that sends others behind it is steered by them, mostly to one place too.
fn program(v4: bool, count: u8) -> Vec<sock_filter> {
    use libc::{
        BPF_A, BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_IND, BPF_K, BPF_LD, BPF_LDX, BPF_MEM, BPF_MOD, BPF_MSH,
        BPF_MUL, BPF_RET, BPF_RSH, BPF_ST, BPF_W, BPF_X, BPF_XOR,
    };
    let step = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    // The hash so far is kept in the first word of the scratch memory.
    let mix = |load: sock_filter| {
        [
            load,
            step(BPF_LDX | BPF_W | BPF_MEM, 0),
            step(BPF_ALU | BPF_XOR | BPF_X, 0),
            step(BPF_ALU | BPF_MUL | BPF_K, SPREAD),
            step(BPF_ST, 0),
        ]
    };
    let word = |offset: u32| step(BPF_LD | BPF_W | BPF_ABS, NETWORK.wrapping_add(offset));
    let mut all = Vec::new();
    if v4 {
        all.extend([
            step(BPF_LDX | BPF_B | BPF_MSH, NETWORK),
            step(BPF_LD | BPF_H | BPF_IND, NETWORK),
            step(BPF_ALU | BPF_MUL | BPF_K, SPREAD),
            step(BPF_ST, 0),
        ]);
        all.extend(mix(word(SOURCE_V4)));
    } else {
        all.extend([
            step(BPF_LD | BPF_H | BPF_ABS, NETWORK.wrapping_add(HEADER_V6)),
            step(BPF_ALU | BPF_MUL | BPF_K, SPREAD),
            step(BPF_ST, 0),
        ]);
        all.extend((0..4).flat_map(|index| mix(word(SOURCE_V6 + 4 * index))));
    }
    all.extend([
        step(BPF_ALU | BPF_RSH | BPF_K, 16),
        step(BPF_ALU | BPF_MOD | BPF_K, count.into()),
        step(BPF_RET | BPF_A, 0),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::time::Duration;

    use adit_core::io::SocketKind;

    use super::*;
    use crate::socket::bind;

    fn sharing(index: u8, count: u8) -> Sharing {
        Sharing { index, count: NonZeroU8::new(count).unwrap() }
    }

    /// Who has got what a hundred clients have sent.
    fn who(sockets: &[&UdpSocket], clients: &[UdpSocket], at: SocketAddr) -> Vec<usize> {
        for client in clients {
            client.send_to(b"x", at).unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
        let mut got = vec![usize::MAX; clients.len()];
        for (index, socket) in sockets.iter().enumerate() {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
                let client = clients.iter().position(|client| client.local_addr().unwrap() == from);
                got[client.unwrap()] = index;
            }
        }
        got
    }

    #[test]
    fn a_client_stays_with_its_hub_whatever_else_is_bound() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let open = |addr, index| bind(addr, SocketKind::Listening, sharing(index, 3)).unwrap().0;
            let first = open(any.parse().unwrap(), 0);
            let at = first.local_addr().unwrap();
            let (second, third) = (open(at, 1), open(at, 2));
            let clients: Vec<_> = (0..100).map(|_| UdpSocket::bind(any).unwrap()).collect();
            let before = who(&[&first, &second, &third], &clients, at);
            assert!(
                (0..3).all(|index| before.iter().filter(|&&got| got == index).count() > 10),
                "{before:?}"
            );

            let joined = RawSocket::new(
                socket2::Domain::for_address(at),
                socket2::Type::DGRAM,
                Some(socket2::Protocol::UDP),
            )
            .unwrap();
            joined.set_reuse_port(true).unwrap();
            joined.set_nonblocking(true).unwrap();
            joined.bind(&at.into()).unwrap();
            let joined = UdpSocket::from(joined);
            let to = clients[7].local_addr().unwrap();
            let (ear, _) = bind(at, SocketKind::Connected { to }, Sharing::default()).unwrap();
            let after = who(&[&first, &second, &third, &joined, &ear], &clients, at);
            let mut expected = before;
            expected[7] = 4;
            assert_eq!(after, expected, "{any}");
        }
    }

    #[test]
    fn the_first_one_is_told_who_has_the_address_already() {
        let at = "127.0.0.1:0".parse().unwrap();
        let (other, _) = bind(at, SocketKind::Listening, sharing(0, 2)).unwrap();
        let taken = other.local_addr().unwrap();
        let refused = bind(taken, SocketKind::Listening, sharing(0, 2)).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse, "although the other one lets its own in");
        assert!(bind(taken, SocketKind::Listening, sharing(1, 2)).is_ok());
    }
}
