//! The error queue of a UDP socket (ip(7), `IP_RECVERR`): what ICMP says of datagrams that have left.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};

/// Room for the error, and for all else that the kernel adds to a datagram, in bytes.
const CONTROL: usize = 512;

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransportError {
    /// Whom it was sent to.
    pub(crate) peer: SocketAddr,
    pub(crate) kind: ErrorKind,
    /// The largest packet that the path would have taken, in bytes, where that is what was wrong.
    pub(crate) mtu: Option<u16>,
}

/// Has the kernel keep what ICMP says. It fails one call for each piece of news, and has the rest in the queue.
///
/// # Errors
/// What the system says; it does not refuse that to a UDP socket.
pub(crate) fn enable(socket: &impl AsFd, v4: bool) -> io::Result<()> {
    if v4 {
        setsockopt(socket, Ipv4RecvErr, &true)?;
    } else {
        setsockopt(socket, Ipv6RecvErr, &true)?;
    }
    Ok(())
}

/// The next piece of news; `None` where there is none.
pub(crate) fn next(socket: &impl AsFd) -> Option<TransportError> {
    // The datagram itself, or its beginning, would be here. It is not looked at.
    let mut payload = [0];
    let mut slices = [IoSliceMut::new(&mut payload)];
    let mut control = [0; CONTROL];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut control), flags)
            .ok()?;
    let peer = message.address.and_then(|address| address_of(&address));
    let error = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            Some(error)
        }
        _ => None,
    })?;
    let errno = i32::try_from(error.ee_errno).unwrap_or_default();
    let is_too_big = errno == nix::libc::EMSGSIZE;
    Some(TransportError {
        peer: peer?,
        kind: io::Error::from_raw_os_error(errno).kind(),
        mtu: is_too_big.then(|| u16::try_from(error.ee_info).unwrap_or(u16::MAX)),
    })
}

fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|&v4| SocketAddrV4::from(v4).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|&v6| SocketAddrV6::from(v6).into()))
}
