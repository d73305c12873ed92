//! A stream of whichever machine, for runtimes to wrap.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use crate::machine::Pipes;
use crate::reactor::Reactor;
use crate::stream::Stream;

/// One end of a byte stream through a tunnel. Dropping it before [`poll_shutdown`](Self::poll_shutdown) resets it.
pub struct Pipe {
    end: Box<dyn End>,
    address: SocketAddr,
}

/// What every stream can do.
trait End: Send + Sync {
    fn poll_read(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
    fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    fn poll_shutdown(&self, cx: &Context<'_>) -> Poll<io::Result<()>>;
    fn poll_closed(&self, cx: &Context<'_>) -> Poll<()>;
}

/// A stream, and what must live as long as it.
struct Kept<M: Pipes, R: Reactor, K> {
    stream: Stream<M, R>,
    _keep: K,
}

impl Pipe {
    /// Wraps `stream`, whose target is at `address`, and keeps `keep` as long.
    pub(crate) fn new<M, R, K>(stream: Stream<M, R>, address: SocketAddr, keep: K) -> Self
    where
        M: Pipes<Event: Send> + Send + 'static,
        R: Reactor<Socket: Send> + Send + 'static,
        K: Send + Sync + 'static,
    {
        Self { end: Box::new(Kept { stream, _keep: keep }), address }
    }

    /// The address that the gateway dialled.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads into `buffer`; 0 bytes mean that the other end has finished, or that there was no room.
    ///
    /// # Errors
    /// `ConnectionReset` when the stream was reset or its connection lost; `ConnectionAborted` when the gateway or
    /// the connector was shut down.
    pub fn poll_read(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() { Poll::Ready(Ok(0)) } else { self.end.poll_read(cx, buffer) }
    }

    /// Writes from the front of `bytes`; how many were taken.
    ///
    /// # Errors
    /// `BrokenPipe` when the other end takes no more or its connection was lost; `ConnectionAborted` when the
    /// gateway or the connector was shut down.
    pub fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() { Poll::Ready(Ok(0)) } else { self.end.poll_write(cx, bytes) }
    }

    /// No more bytes will be written: TCP's FIN. Never pending.
    ///
    /// # Errors
    /// `ConnectionAborted` when the gateway or the connector was shut down.
    pub fn poll_shutdown(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.end.poll_shutdown(cx)
    }

    /// Ready when the other end takes no more bytes, also after [`poll_shutdown`](Self::poll_shutdown). It shares
    /// the waker for writing, so that only the task that writes may wait here.
    pub fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.end.poll_closed(cx)
    }
}

impl<M, R, K> End for Kept<M, R, K>
where
    M: Pipes<Event: Send> + Send,
    R: Reactor<Socket: Send> + Send,
    K: Send + Sync,
{
    fn poll_read(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_read(cx, buffer)
    }
    fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, bytes)
    }
    fn poll_shutdown(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
    fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.stream.poll_closed(cx)
    }
}
