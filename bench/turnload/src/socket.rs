//! UDP sockets, and waiting for them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

/// How many ready sockets one wait tells.
const EVENTS: usize = 256;

/// A socket that never blocks, with room for `buffer` bytes in the kernel, where that lets us have it.
///
/// # Errors
/// What the system says to the bind.
pub(crate) fn bind(address: SocketAddrV4, buffer: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    if sockopt::set_socket_recv_buffer_size_force(&socket, buffer).is_err() {
        let _ = socket.set_recv_buffer_size(buffer);
    }
    if sockopt::set_socket_send_buffer_size_force(&socket, buffer).is_err() {
        let _ = socket.set_send_buffer_size(buffer);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::V4(address).into())?;
    Ok(socket.into())
}

/// The address of a socket.
///
/// # Errors
/// When it is none of IPv4.
pub(crate) fn local(socket: &UdpSocket) -> io::Result<SocketAddrV4> {
    match socket.local_addr()? {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// Any port of `ip`.
pub(crate) fn any(ip: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(ip, 0)
}

/// Waits for many sockets at once. Level-triggered; a socket leaves when it is closed.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Waits for `socket` too, under a name.
    ///
    /// # Errors
    /// When the kernel has no memory for it.
    pub(crate) fn add(&self, socket: &UdpSocket, name: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(name), epoll::EventFlags::IN)?)
    }

    /// Waits for at most `timeout`, or for ever, and returns how many sockets hold something.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> usize {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        self.events.clear();
        // An interrupted wait tells of none.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref());
        self.events.len()
    }

    /// The name of the `index`th of them.
    pub(crate) fn name(&self, index: usize) -> u64 {
        self.events[index].data.u64()
    }
}
