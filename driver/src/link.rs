//! One TCP connection of a hub, or one listener: how it is made, and how bytes go through it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use adit_core::io::ListenerKind;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, sockopt};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::reactor::{Interest, SocketIo};
use crate::sharing::Sharing;

/// How many connections of clients wait in the kernel to be accepted, and how many of one allocation's peers.
const BACKLOG: i32 = 1024;
const RELAYED_BACKLOG: i32 = 32;

/// Makes a non-blocking listener.
///
/// # Errors
/// `AddrInUse`, `PermissionDenied`, `AddrNotAvailable` and whatever else the system says to the bind.
pub(crate) fn listen(addr: SocketAddr, kind: ListenerKind, sharing: Sharing) -> io::Result<OwnedFd> {
    let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of the last run that are still being forgotten don't hold the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    match kind {
        ListenerKind::Clients => {
            sharing.bind(&socket, addr)?;
            socket.listen(BACKLOG)?;
            sharing.steer(&socket, addr)?;
        }
        ListenerKind::Relayed => {
            socket.bind(&addr.into())?;
            socket.listen(RELAYED_BACKLOG)?;
            // Connections may be made from the port as well. Only now: before, another listener would not be in the way.
            socket.set_reuse_port(true)?;
        }
    }
    Ok(socket.into())
}

/// Begins to connect.
///
/// # Errors
/// Whatever the system says at once; what it says later comes from [`Link::opened`].
pub(crate) fn connect(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<OwnedFd> {
    let socket = RawSocket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(from) = from {
        if from.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A listener may have the port, and other connections.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&from.into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(socket.into()),
    }
}

/// The address that a socket is bound to.
pub(crate) fn local_addr(socket: impl AsFd) -> io::Result<SocketAddr> {
    let addr = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(addr).map_err(|_| ErrorKind::Unsupported.into())
}

/// Makes the close that follows a reset: the other end loses what it has not read.
pub(crate) fn reset_on_close(socket: impl AsFd) {
    // Where that fails, FIN is sent instead.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// A registered listener.
pub(crate) struct Listener<S> {
    pub(crate) io: S,
    /// It stands in the queue of sockets to read.
    pub(crate) readable: bool,
    /// The system had no descriptor left; it is asked again in a while.
    pub(crate) resting: bool,
}

/// A connection that has come.
pub(crate) struct Incoming {
    pub(crate) socket: OwnedFd,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl<S: SocketIo> Listener<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, readable: false, resting: false }
    }

    /// The next connection. `None` where it is gone already.
    pub(crate) fn accept(&self) -> io::Result<Option<Incoming>> {
        let accept = || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            Ok(rustix::net::acceptfrom_with(&self.io, flags)?)
        };
        let (socket, remote) = match self.io.try_read(accept) {
            Err(error) if is_of_connection(&error) => return Ok(None),
            result => result?,
        };
        let (Some(Ok(remote)), Ok(local)) = (remote.map(SocketAddr::try_from), local_addr(&socket)) else {
            return Ok(None);
        };
        Ok(Some(Incoming { socket, local, remote }))
    }
}

/// Whether the failure is that of the one connection, not of the listener (accept(2)).
fn is_of_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkDown)
}

/// A registered connection, with the piece that the kernel has not taken yet.
pub(crate) struct Link<S> {
    pub(crate) io: S,
    pub(crate) state: State,
    rest: Vec<u8>,
    sent: usize,
    /// It stands in the queue of sockets to read.
    pub(crate) readable: bool,
    /// Whether the machine wants its bytes.
    pub(crate) reading: bool,
    /// Its two ways end each by itself.
    pub(crate) is_pipe: bool,
    /// The other end has finished.
    pub(crate) ended: bool,
    /// FIN follows what waits.
    finishes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The kernel is connecting.
    Opening,
    Open,
    /// The machine has no more to do with it: what waits is sent, then FIN, then the other end's FIN is awaited, so
    /// that nothing that arrives meanwhile makes the kernel send RST instead.
    Finishing,
}

impl<S: SocketIo> Link<S> {
    pub(crate) fn new(io: S, state: State) -> Self {
        // Machines hand over whole pieces; best effort.
        let _ = sockopt::set_tcp_nodelay(&io, true);
        Self {
            io,
            state,
            rest: Vec::new(),
            sent: 0,
            readable: false,
            reading: true,
            is_pipe: false,
            ended: false,
            finishes: false,
        }
    }

    /// One that comes from another hub, for which `waiting` waits.
    pub(crate) fn with(io: S, waiting: Vec<u8>) -> Self {
        Self { rest: waiting, ..Self::new(io, State::Open) }
    }

    /// Takes what waits for the connection.
    pub(crate) fn take_waiting(&mut self) -> Vec<u8> {
        let mut waiting = std::mem::take(&mut self.rest);
        waiting.drain(..std::mem::take(&mut self.sent));
        waiting
    }

    pub(crate) fn interest(&self) -> Interest {
        Interest {
            read: self.reading && !self.ended && self.state != State::Opening,
            write: self.is_blocked() || self.state == State::Opening,
        }
    }

    /// Whether something waits for the connection.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.rest.is_empty()
    }

    /// How the attempt to connect has ended: this end and the other.
    ///
    /// # Errors
    /// What prevented it; `WouldBlock` while it hasn't ended.
    pub(crate) fn opened(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        self.io.try_write(|| {
            sockopt::socket_error(&self.io)??;
            match rustix::net::getpeername(&self.io) {
                Ok(remote) => {
                    let remote = remote.and_then(|remote| SocketAddr::try_from(remote).ok());
                    Ok((local_addr(&self.io)?, remote.ok_or(ErrorKind::NotConnected)?))
                }
                Err(rustix::io::Errno::NOTCONN) => Err(ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Reads once; 0 bytes are the end.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| self.io.try_read(|| Ok(rustix::net::recv(&self.io, &mut *buffer, RecvFlags::empty())?.0)))
    }

    /// Sends a piece; what the kernel doesn't take waits. How much it has taken.
    ///
    /// # Errors
    /// Those of a broken connection.
    pub(crate) fn send(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.push(piece)?;
        self.rest.extend_from_slice(&piece[sent..]);
        Ok(sent)
    }

    /// Sends what waits; how much the kernel has taken of it.
    ///
    /// # Errors
    /// Those of a broken connection.
    pub(crate) fn flush(&mut self) -> io::Result<usize> {
        let sent = self.push(&self.rest[self.sent..])?;
        self.sent += sent;
        if self.sent == self.rest.len() {
            // Thousands of links must not keep the memory of their worst moment.
            self.rest = Vec::new();
            self.sent = 0;
        }
        Ok(sent)
    }

    /// How many bytes from the front the kernel takes now.
    fn push(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            let send = || Ok(rustix::net::send(&self.io, &bytes[sent..], SendFlags::NOSIGNAL)?);
            match retry(|| self.io.try_write(send)) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Sends FIN behind what waits.
    pub(crate) fn finish(&mut self) {
        self.finishes = true;
        self.end_if_spent();
    }

    /// Sends FIN where it is due and nothing waits.
    pub(crate) fn end_if_spent(&self) {
        if self.finishes && !self.is_blocked() {
            self.shut_down();
        }
    }

    /// Sends FIN.
    pub(crate) fn shut_down(&self) {
        // It fails where the connection is broken, which reading shows too.
        let _ = rustix::net::shutdown(&self.io, Shutdown::Write);
    }
}

/// Calls again where a signal has come between.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
