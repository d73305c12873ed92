//! A stream through a tunnel with the traits of futures-io.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use adit_driver::Pipe;
use futures_io::{AsyncRead, AsyncWrite};

/// A stream through a tunnel, with half-close. Dropping it without
/// [`close`](smol::io::AsyncWriteExt::close) resets it; after it, what was written still arrives, and what the other
/// end writes can still be read.
///
/// Reads and writes may be cancelled at any point: bytes are taken or they are not, and each call says how many.
/// [`smol::io::split`] parts it for two tasks.
pub struct Stream(Pipe);

impl Stream {
    /// The address that the gateway dialled; unspecified where a program serves the target itself.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

impl From<Pipe> for Stream {
    fn from(pipe: Pipe) -> Self {
        Self(pipe)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stream").field(&self.address()).finish()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}
