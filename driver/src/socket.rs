//! One UDP socket of a hub: how it is made, and how batches go through it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use adit_core::io::{Ecn, SocketKind};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{
    Ipv4PacketInfo, Ipv6DontFrag, Ipv6RecvPacketInfo, RcvBufForce, ReceiveTimestampns, SndBufForce,
};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use rustix::net::{SendFlags, sendto};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::buffer::ReceiveBuffer;
use crate::counters::Counters;
use crate::error_queue::{self, TransportError};
use crate::reactor::SocketIo;
use crate::sharing::Sharing;

/// Room in the kernel for what arrives, and for what is sent, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffers {
    pub(crate) receive: usize,
    pub(crate) send: usize,
}

/// Of a socket to which many send: some hundredths of a second at millions of packets, for as long as the machine or the
/// kernel may hold a thread up.
pub(crate) const FOR_ALL: Buffers = Buffers { receive: 16 << 20, send: 4 << 20 };
/// Of a socket to which one sends.
const FOR_ONE: Buffers = Buffers { receive: 4 << 20, send: 4 << 20 };
/// Of the socket of one allocation among many.
const FOR_ALLOCATION: Buffers = Buffers { receive: 1 << 20, send: 1 << 20 };
/// How much waits for a socket that takes nothing at the moment, in bytes.
const QUEUE_BYTES: usize = 512 * 1024;
/// The largest UDP payload, and so the largest call with segmentation offload.
pub(crate) const MAX_CALL: usize = 65_507;
/// The longest datagrams that the kernel is asked to cut, in bytes: they fit a frame of Ethernet, over IPv6 too. It cuts
/// nothing into datagrams that would have to be fragmented, and says so as it says that it can't cut at all.
pub(crate) const MAX_SEGMENT: usize = 1452;

/// Makes and binds a non-blocking socket with the options of its kind.
///
/// # Errors
/// `AddrInUse`, `PermissionDenied`, `AddrNotAvailable` and whatever else the system says to the bind.
pub(crate) fn bind(
    addr: SocketAddr,
    kind: SocketKind,
    sharing: Sharing,
) -> io::Result<(UdpSocket, UdpSocketState)> {
    let socket = RawSocket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    enlarge(&socket, buffers(kind));
    match kind {
        SocketKind::Listening => {
            sharing.bind(&socket, addr)?;
            sharing.steer(&socket, addr)?;
        }
        SocketKind::Connected { to } => {
            socket.set_reuse_port(true)?;
            socket.bind(&addr.into())?;
            socket.connect(&to.into())?;
        }
        SocketKind::Relayed | SocketKind::Client => socket.bind(&addr.into())?,
    }
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    // `UdpSocketState` asks for more about what arrives than anybody reads, and the kernel writes it for each batch.
    setsockopt(&socket, ReceiveTimestampns, &false)?;
    if kind == SocketKind::Relayed || !addr.ip().is_unspecified() {
        let off = &false;
        if addr.is_ipv4() {
            setsockopt(&socket, Ipv4PacketInfo, off)?;
        } else {
            setsockopt(&socket, Ipv6RecvPacketInfo, off)?;
        }
    }
    if kind == SocketKind::Relayed {
        fragment(&socket, addr.is_ipv4(), true)?;
        error_queue::enable(&socket, addr.is_ipv4())?;
    }
    Ok((socket.into(), state))
}

/// Asks for room. Best effort, as the kernel's own limit may give less: then more is dropped under load, and nothing else
/// changes.
pub(crate) fn enlarge(socket: &RawSocket, Buffers { receive, send }: Buffers) {
    if setsockopt(socket, RcvBufForce, &receive).is_err() {
        let _ = socket.set_recv_buffer_size(receive);
    }
    if setsockopt(socket, SndBufForce, &send).is_err() {
        let _ = socket.set_send_buffer_size(send);
    }
}

fn buffers(kind: SocketKind) -> Buffers {
    match kind {
        SocketKind::Listening => FOR_ALL,
        SocketKind::Client | SocketKind::Connected { .. } => FOR_ONE,
        SocketKind::Relayed => FOR_ALLOCATION,
    }
}

/// Lets the datagrams of a relayed socket be fragmented, or sets DF. `UdpSocketState` has set it; clear is the alternate
/// behaviour of RFC 8656 §14, since a program can't read DF of what it received.
fn fragment(socket: &impl AsFd, v4: bool, may: bool) -> io::Result<()> {
    if v4 {
        let mode = if may { Ipv4PathMtuDiscovery::DONT } else { Ipv4PathMtuDiscovery::PROBE };
        sockopt::set_ip_mtu_discover(socket, mode)?;
    } else {
        let mode = if may { Ipv6PathMtuDiscovery::DONT } else { Ipv6PathMtuDiscovery::PROBE };
        sockopt::set_ipv6_mtu_discover(socket, mode)?;
        setsockopt(socket, Ipv6DontFrag, &!may)?;
    }
    Ok(())
}

/// A registered socket with what waits to be sent from it.
pub(crate) struct Socket<S> {
    pub(crate) io: S,
    state: UdpSocketState,
    local: SocketAddr,
    queue: VecDeque<Waiting>,
    queued: usize,
    /// The kernel tells of what became of earlier datagrams, by failing a later call.
    hears: bool,
    /// It has done so.
    failed: bool,
    /// The kernel cuts what is sent into datagrams.
    cuts: bool,
}

/// Datagrams that found the socket full.
struct Waiting {
    head: Head,
    bytes: Vec<u8>,
}

/// Where datagrams go and how they are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<IpAddr>,
    pub(crate) ecn: Option<Ecn>,
    /// In bytes; not 0 unless there are no bytes.
    pub(crate) stride: usize,
    /// Never in fragments, although the socket's other datagrams may be.
    pub(crate) whole: bool,
}

impl<S: SocketIo> Socket<S> {
    pub(crate) fn new(io: S, state: UdpSocketState, local: SocketAddr, kind: SocketKind) -> Self {
        let hears = kind == SocketKind::Relayed;
        Self { io, state, local, queue: VecDeque::new(), queued: 0, hears, failed: false, cuts: true }
    }

    /// Receives up to `BATCH_SIZE` batches; fewer mean that there were no more.
    pub(crate) fn receive(&self, buffer: &mut ReceiveBuffer) -> io::Result<usize> {
        self.io.try_read(|| {
            buffer.fill(|slices, meta| self.state.recv(UdpSockRef::from(&self.io), slices, meta))
        })
    }

    /// Whether more can be received at once than `count`, which a call has just brought.
    pub(crate) fn may_hold_more(count: usize) -> bool {
        count >= BATCH_SIZE
    }

    /// Whether something waits for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether a call to send has failed since this was last asked, for what may be the fault of an earlier datagram.
    pub(crate) fn has_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// What ICMP, or the system itself, has said of an earlier datagram; of relayed sockets only.
    pub(crate) fn transport_error(&self) -> Option<TransportError> {
        if self.hears { error_queue::next(&self.io) } else { None }
    }

    /// Sends datagrams, or lets them wait behind others, or drops them where too many wait.
    pub(crate) fn send(&mut self, head: Head, bytes: &[u8], counters: &mut Counters) {
        if head.to.port() == 0 || head.to.is_ipv4() != self.local.is_ipv4() {
            // For the kernel that is an invalid argument, which quinn-udp takes for a lack of offload.
            counters.dropped_unsendable += datagrams(head, bytes);
            return;
        }
        let rest = if self.is_blocked() { bytes } else { self.push(head, bytes, counters) };
        if !rest.is_empty() {
            self.wait(head, rest, counters);
        }
    }

    /// Sends what waits. Whether the socket has taken all of it.
    pub(crate) fn flush(&mut self, counters: &mut Counters) -> bool {
        while let Some(mut waiting) = self.queue.pop_front() {
            self.queued -= waiting.bytes.len();
            let sent = waiting.bytes.len() - self.push(waiting.head, &waiting.bytes, counters).len();
            if sent < waiting.bytes.len() {
                waiting.bytes.drain(..sent);
                self.queued += waiting.bytes.len();
                self.queue.push_front(waiting);
                return false;
            }
        }
        true
    }

    fn wait(&mut self, head: Head, bytes: &[u8], counters: &mut Counters) {
        if self.queued + bytes.len() > QUEUE_BYTES {
            counters.dropped_full += datagrams(head, bytes);
            return;
        }
        self.queued += bytes.len();
        self.queue.push_back(Waiting { head, bytes: bytes.to_vec() });
    }

    /// Gives datagrams to the kernel until it takes no more, and returns those that it did not take.
    fn push<'b>(&mut self, head: Head, mut bytes: &'b [u8], counters: &mut Counters) -> &'b [u8] {
        let cuts = self.cuts && head.stride <= MAX_SEGMENT;
        let mut offload = if cuts { self.state.max_gso_segments() } else { 1 };
        // The first error may be an earlier datagram's: the kernel tells it once, and sends nothing that time.
        let mut is_own = !self.hears;
        loop {
            let (call, rest) = bytes.split_at(call_length(head.stride, offload, bytes.len()));
            counters.send_calls += 1;
            match self.try_send(head, call) {
                Ok(()) => counters.sent += datagrams(head, call),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return bytes,
                Err(_) if !is_own => {
                    (is_own, self.failed) = (true, true);
                    continue;
                }
                Err(error) if call.len() > head.stride => {
                    // No segmentation on this way, or segments too large for it: one by one then. Only the first is for
                    // good: a device that can't have checksums computed later.
                    self.cuts &= error.raw_os_error() != Some(Errno::EIO as i32);
                    offload = 1;
                    continue;
                }
                Err(error) if quinn_udp::is_msg_size_err(&error) => counters.dropped_large += 1,
                Err(_) => counters.dropped_error += 1,
            }
            bytes = rest;
            if bytes.is_empty() {
                return bytes;
            }
        }
    }

    fn try_send(&self, head: Head, contents: &[u8]) -> io::Result<()> {
        if head.ecn.is_none() && head.from.is_none() && !head.whole {
            return self.io.try_write(|| self.send_plainly(head, contents));
        }
        self.send_in_full(head, contents)
    }

    /// Without ECN and source address there is little to tell the kernel, and what need not be told costs nothing: that is
    /// a good part of what a datagram costs otherwise.
    fn send_plainly(&self, head: Head, contents: &[u8]) -> io::Result<()> {
        if contents.len() <= head.stride {
            sendto(&self.io, contents, SendFlags::empty(), &head.to)?;
            return Ok(());
        }
        let stride = u16::try_from(head.stride).expect("at most MAX_SEGMENT");
        let sent = sendmsg(
            self.io.as_fd().as_raw_fd(),
            &[IoSlice::new(contents)],
            &[ControlMessage::UdpGsoSegments(&stride)],
            MsgFlags::empty(),
            Some(&SockaddrStorage::from(head.to)),
        );
        sent.map(|_| ()).map_err(io::Error::from)
    }

    fn send_in_full(&self, head: Head, contents: &[u8]) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: head.to,
            ecn: head.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
            contents,
            segment_size: (contents.len() > head.stride).then_some(head.stride),
            src_ip: head.from,
        };
        if !head.whole {
            return self.io.try_write(|| self.state.try_send(UdpSockRef::from(&self.io), &transmit));
        }
        // DF is an option of the socket, not of a datagram. It is set for this call only.
        let v4 = self.local.is_ipv4();
        fragment(&self.io, v4, false)?;
        let sent = self.io.try_write(|| self.state.try_send(UdpSockRef::from(&self.io), &transmit));
        fragment(&self.io, v4, true)?;
        sent
    }
}

/// How many of `len` bytes go into one call.
fn call_length(stride: usize, segments: usize, len: usize) -> usize {
    let fit = (MAX_CALL / stride.max(1)).clamp(1, segments.max(1));
    stride.saturating_mul(fit).min(len)
}

/// The number of datagrams in `bytes`; an empty one counts.
fn datagrams(head: Head, bytes: &[u8]) -> u64 {
    bytes.len().div_ceil(head.stride.max(1)).max(1) as u64
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::fd::BorrowedFd;

    use super::*;
    use nix::sys::socket::getsockopt;

    /// Notes whether DF is set while something is sent.
    struct Watched {
        socket: UdpSocket,
        df: RefCell<Vec<bool>>,
    }

    impl Watched {
        fn has_df(&self) -> bool {
            match self.socket.local_addr().unwrap() {
                SocketAddr::V4(_) => {
                    sockopt::ip_mtu_discover(&self.socket).unwrap() == Ipv4PathMtuDiscovery::PROBE
                }
                SocketAddr::V6(_) => getsockopt(&self.socket, Ipv6DontFrag).unwrap(),
            }
        }
    }

    impl AsFd for Watched {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }

    impl SocketIo for Watched {
        fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            attempt()
        }

        fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            self.df.borrow_mut().push(self.has_df());
            attempt()
        }
    }

    /// RFC 8656 §14.
    #[test]
    fn what_must_stay_whole_sets_df_for_its_own_call_only() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(addr).unwrap();
            let (socket, state) =
                bind(addr.parse().unwrap(), SocketKind::Relayed, Sharing::default()).unwrap();
            let local = socket.local_addr().unwrap();
            let mut socket =
                Socket::new(Watched { socket, df: RefCell::default() }, state, local, SocketKind::Relayed);
            let mut counters = Counters::default();
            for whole in [false, true, false] {
                let to = receiver.local_addr().unwrap();
                let head = Head { to, from: None, ecn: None, stride: 4, whole };
                socket.send(head, b"data", &mut counters);
                assert!(!socket.io.has_df());
            }
            assert_eq!(*socket.io.df.borrow(), [false, true, false], "{addr}");
            assert_eq!(counters.sent, 3);
        }
    }

    #[test]
    fn a_call_holds_whole_segments_and_never_too_many() {
        assert_eq!(call_length(1200, 64, 1200 * 64), 1200 * 54);
        assert_eq!(call_length(1200, 10, 1200 * 64), 1200 * 10);
        assert_eq!(call_length(1200, 1, 3000), 1200);
        assert_eq!(call_length(100, 64, 250), 250);
        assert_eq!(call_length(0, 64, 0), 0);
    }

    #[test]
    fn only_a_relayed_socket_lets_its_datagrams_be_fragmented() {
        let addr = "127.0.0.1:0".parse().unwrap();
        let (relayed, _) = bind(addr, SocketKind::Relayed, Sharing::default()).unwrap();
        let (client, _) = bind(addr, SocketKind::Client, Sharing::default()).unwrap();
        assert_eq!(sockopt::ip_mtu_discover(&relayed).unwrap(), Ipv4PathMtuDiscovery::DONT);
        assert_eq!(sockopt::ip_mtu_discover(&client).unwrap(), Ipv4PathMtuDiscovery::PROBE);

        let addr = "[::1]:0".parse().unwrap();
        let (relayed, _) = bind(addr, SocketKind::Relayed, Sharing::default()).unwrap();
        let (client, _) = bind(addr, SocketKind::Client, Sharing::default()).unwrap();
        assert!(!getsockopt(&relayed, Ipv6DontFrag).unwrap());
        assert!(getsockopt(&client, Ipv6DontFrag).unwrap());
    }

    #[test]
    fn a_taken_port_is_told() {
        let (first, _) =
            bind("127.0.0.1:0".parse().unwrap(), SocketKind::Listening, Sharing::default()).unwrap();
        let taken = bind(first.local_addr().unwrap(), SocketKind::Listening, Sharing::default());
        assert_eq!(taken.map(|_| ()).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn both_families_share_a_port_number() {
        let (v6, _) = bind("[::]:0".parse().unwrap(), SocketKind::Listening, Sharing::default()).unwrap();
        let port = v6.local_addr().unwrap().port();
        assert!(
            bind(SocketAddr::from(([0, 0, 0, 0], port)), SocketKind::Listening, Sharing::default()).is_ok()
        );
    }
}
