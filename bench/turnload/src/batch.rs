//! Many datagrams with one call of the system: `recvmmsg` and `sendmmsg`, with coalesced arrivals (UDP_GRO) and cut
//! departures (UDP_SEGMENT).
//!
//! The only place with `unsafe`: this has to be the bare calls, since what is compared with them, a relay, is held to
//! come near to what the kernel alone costs; the safe wrappers that exist have no UDP_SEGMENT for each message, copy
//! addresses into forms of their own, or allocate. Each block says why it is sound.

use std::io::IoSlice;
use std::mem::zeroed;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

/// Room for one control message with an integer, aligned as the kernel wants it.
type Control = [u64; 8];

/// The length of an IPv4 address as the system has it.
const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

/// Receives up to a fixed number of messages with one call.
pub(crate) struct Receiver {
    bytes: Vec<u8>,
    /// Bytes of each message at most.
    most: usize,
    headers: Vec<libc::mmsghdr>,
    slices: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    /// How many of the headers the last call has filled.
    filled: usize,
}

/// One received message: one datagram, or several of one source that the kernel has coalesced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) from: SocketAddrV4,
    pub(crate) bytes: &'a [u8],
    /// The length of each datagram but the last, never 0.
    pub(crate) stride: usize,
}

impl Receiver {
    /// Room for `messages` messages of `most` bytes each.
    pub(crate) fn new(messages: usize, most: usize) -> Self {
        Self {
            bytes: vec![0; messages * most],
            most,
            // SAFETY: they are plain C structures, for which all bits zero are a value.
            headers: vec![unsafe { zeroed() }; messages],
            slices: vec![libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; messages],
            // SAFETY: as above.
            names: vec![unsafe { zeroed() }; messages],
            controls: vec![[0; 8]; messages],
            filled: 0,
        }
    }

    /// Receives what is there, without waiting. Whether there may be more.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> bool {
        let parts = self.bytes.chunks_exact_mut(self.most).zip(&mut self.slices);
        let headers = self.headers.iter_mut().zip(&mut self.names).zip(&mut self.controls);
        for ((bytes, slice), ((header, name), control)) in parts.zip(headers) {
            *slice = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let header = &mut header.msg_hdr;
            (header.msg_iov, header.msg_iovlen) = (slice, 1);
            (header.msg_name, header.msg_namelen) = (std::ptr::from_mut(name).cast(), NAME_LEN);
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of::<Control>() as _;
            header.msg_flags = 0;
        }
        // SAFETY: each header points to a slice, a name and a control buffer of `self`, and each slice to bytes of
        // `self`; all were set just now, have the lengths that are told, and live as long as the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(count).unwrap_or(0);
        self.filled == self.headers.len()
    }

    /// What the last call has received.
    pub(crate) fn messages(&self) -> impl ExactSizeIterator<Item = Received<'_>> {
        (0..self.filled).map(|index| self.message(index))
    }

    fn message(&self, index: usize) -> Received<'_> {
        let header = &self.headers[index];
        let len = (header.msg_len as usize).min(self.most);
        let bytes = &self.bytes[index * self.most..][..len];
        let name = &self.names[index];
        let from = SocketAddrV4::new(
            Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
            u16::from_be(name.sin_port),
        );
        Received { from, bytes, stride: stride(&header.msg_hdr).unwrap_or(len).max(1) }
    }
}

/// What the kernel says of a message that it has coalesced.
fn stride(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has written the control buffer of this header, which is still there, and its length; the
    // macros stay inside of it.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(head) = control.as_ref() {
            if (head.cmsg_level, head.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
                let value = libc::CMSG_DATA(control).cast::<libc::c_int>().read_unaligned();
                return usize::try_from(value).ok();
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

/// One message to send, in pieces that the kernel puts together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The receiver; `None` where the socket is connected.
    pub(crate) to: Option<SocketAddrV4>,
    pub(crate) parts: &'a [IoSlice<'a>],
    /// The length of each datagram that it is to be cut into; `None` where it is one.
    pub(crate) stride: Option<u16>,
}

/// Sends many messages with one call.
#[derive(Default)]
pub(crate) struct Sender {
    headers: Vec<libc::mmsghdr>,
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
}

impl Sender {
    /// Gives `messages` to the kernel and returns how many it has taken.
    pub(crate) fn send(&mut self, socket: &UdpSocket, messages: &[Outgoing<'_>]) -> usize {
        self.grow(messages.len());
        let places = self.headers.iter_mut().zip(&mut self.names).zip(&mut self.controls);
        for (((header, name), control), message) in places.zip(messages) {
            fill(&mut header.msg_hdr, name, control, message);
        }
        // SAFETY: each of the first `messages.len()` headers points to a name and a control buffer of `self`, and to
        // the parts of its message, which are borrowed longer than this call. IoSlice is iovec, as its
        // documentation promises. The kernel only reads them.
        let taken =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), messages.len() as _, 0) };
        usize::try_from(taken).unwrap_or(0)
    }

    /// The same, but what the kernel refuses is left out and the rest is tried.
    pub(crate) fn send_all(&mut self, socket: &UdpSocket, mut messages: &[Outgoing<'_>]) {
        while !messages.is_empty() {
            let taken = self.send(socket, messages).max(1);
            messages = &messages[taken..];
        }
    }

    fn grow(&mut self, count: usize) {
        if self.headers.len() < count {
            // SAFETY: they are plain C structures, for which all bits zero are a value.
            self.headers.resize_with(count, || unsafe { zeroed() });
            // SAFETY: as above.
            self.names.resize_with(count, || unsafe { zeroed() });
            self.controls.resize(count, [0; 8]);
        }
    }
}

fn fill(
    header: &mut libc::msghdr,
    name: &mut libc::sockaddr_in,
    control: &mut Control,
    message: &Outgoing<'_>,
) {
    header.msg_iov = message.parts.as_ptr().cast_mut().cast();
    header.msg_iovlen = message.parts.len() as _;
    (header.msg_name, header.msg_namelen) = (std::ptr::null_mut(), 0);
    if let Some(to) = message.to {
        name.sin_family = libc::AF_INET as _;
        name.sin_port = to.port().to_be();
        name.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        (header.msg_name, header.msg_namelen) = (std::ptr::from_mut(name).cast(), NAME_LEN);
    }
    (header.msg_control, header.msg_controllen) = (std::ptr::null_mut(), 0);
    let Some(stride) = message.stride else { return };
    const LEN: libc::c_uint = size_of::<u16>() as libc::c_uint;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the buffer is larger than the space of one control message with two bytes, and aligned for its head.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(LEN) as _;
        let head = libc::CMSG_FIRSTHDR(header);
        (*head).cmsg_level = libc::SOL_UDP;
        (*head).cmsg_type = libc::UDP_SEGMENT;
        (*head).cmsg_len = libc::CMSG_LEN(LEN) as _;
        libc::CMSG_DATA(head).cast::<u16>().write_unaligned(stride);
    }
}

/// Lets the kernel coalesce what arrives at `socket`.
///
/// # Errors
/// On kernels before 5.0.
pub(crate) fn coalesce(socket: &UdpSocket) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is an integer that lives as long as the call, and its length is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as _,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_on_the_way_out_is_coalesced_on_the_way_in() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        coalesce(&to).unwrap();
        let std::net::SocketAddr::V4(address) = to.local_addr().unwrap() else { unreachable!() };
        let parts = [IoSlice::new(b"aaaabb"), IoSlice::new(b"bbc")];
        let message = Outgoing { to: Some(address), parts: &parts, stride: Some(4) };
        assert_eq!(Sender::default().send(&from, &[message]), 1);
        let mut receiver = Receiver::new(4, 65_536);
        assert!(!receiver.receive(&to));
        let received: Vec<_> = receiver.messages().flat_map(|it| it.bytes.chunks(it.stride)).collect();
        assert_eq!(received, [&b"aaaa"[..], b"bbbb", b"c"]);
    }

    #[test]
    fn many_go_with_one_call_and_tell_where_they_come_from() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        from.connect(to.local_addr().unwrap()).unwrap();
        let parts = [[IoSlice::new(b"one")], [IoSlice::new(b"three")]];
        let messages = parts.each_ref().map(|parts| Outgoing { to: None, parts, stride: None });
        assert_eq!(Sender::default().send(&from, &messages), 2);
        let mut receiver = Receiver::new(2, 2048);
        assert!(receiver.receive(&to), "it is full, so there may be more");
        let received: Vec<_> = receiver.messages().map(|it| (it.from.into(), it.bytes, it.stride)).collect();
        let source = from.local_addr().unwrap();
        assert_eq!(received, [(source, &b"one"[..], 3), (source, b"three", 5)]);
    }
}
