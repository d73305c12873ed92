//! One pipe as a byte stream, for any runtime to wrap.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use adit_core::io::{Direction, PipeId, Read, Write};

use crate::machine::Pipes;
use crate::reactor::Reactor;
use crate::shared::Shared;

/// A pipe and the right to use it. Dropping it closes the pipe: what was written before the last
/// [`poll_shutdown`](Self::poll_shutdown) still arrives, anything else ends in a reset.
pub struct Stream<M: Pipes, R: Reactor> {
    shared: Arc<Shared<M, R>>,
    pipe: PipeId,
}

impl<M: Pipes, R: Reactor> Stream<M, R> {
    /// Takes `pipe` over.
    pub fn new(shared: Arc<Shared<M, R>>, pipe: PipeId) -> Self {
        Self { shared, pipe }
    }

    pub(crate) fn shared(&self) -> &Shared<M, R> {
        &self.shared
    }

    /// The pipe.
    pub fn pipe(&self) -> PipeId {
        self.pipe
    }

    /// Reads into `buffer`; 0 bytes mean that the other end has finished.
    ///
    /// # Errors
    /// `ConnectionReset` when the pipe was reset or its connection lost; `ConnectionAborted` when the hub was
    /// closed.
    pub fn poll_read(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.shared.call(|hub, now| {
            if hub.is_closed() {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
            }
            match hub.machine_mut().pipe_read(now, self.pipe, buffer) {
                Read::Bytes(count) => Poll::Ready(Ok(count)),
                Read::Finished => Poll::Ready(Ok(0)),
                Read::Reset => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
                Read::Blocked => {
                    hub.wait_for(self.pipe, Direction::Read, cx.waker());
                    Poll::Pending
                }
            }
        })
    }

    /// Writes from the front of `bytes`; how many were taken.
    ///
    /// # Errors
    /// `BrokenPipe` when the other end takes no more or its connection was lost; `ConnectionAborted` when the
    /// hub was closed.
    pub fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.shared.call(|hub, now| {
            if hub.is_closed() {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
            }
            match hub.machine_mut().pipe_write(now, self.pipe, bytes) {
                Write::Accepted(count) => Poll::Ready(Ok(count)),
                Write::Closed => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
                Write::Blocked => {
                    hub.wait_for(self.pipe, Direction::Write, cx.waker());
                    Poll::Pending
                }
            }
        })
    }

    /// No more bytes will be written: TCP's FIN. Never pending.
    ///
    /// # Errors
    /// `ConnectionAborted` when the hub was closed.
    pub fn poll_shutdown(&self, _cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.shared.call(|hub, now| {
            if hub.is_closed() {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
            }
            hub.machine_mut().pipe_finish(now, self.pipe);
            Poll::Ready(Ok(()))
        })
    }

    /// Ready when the other end takes no more bytes, or the hub was closed; also after
    /// [`poll_shutdown`](Self::poll_shutdown). It shares the waker for writing, so that only the task that writes may wait
    /// here.
    pub fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let now = Instant::now();
        self.shared.with(|hub| {
            if hub.is_closed() || hub.machine_mut().pipe_write(now, self.pipe, &[]) == Write::Closed {
                return Poll::Ready(());
            }
            hub.wait_for(self.pipe, Direction::Write, cx.waker());
            Poll::Pending
        })
    }
}

impl<M: Pipes, R: Reactor> Drop for Stream<M, R> {
    fn drop(&mut self) {
        self.shared.call(|hub, now| {
            hub.forget(self.pipe);
            if !hub.is_closed() {
                hub.machine_mut().pipe_close(now, self.pipe);
            }
        });
    }
}
