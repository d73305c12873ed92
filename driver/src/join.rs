//! Moves bytes between a TCP connection and a pipe, with half-close both ways.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;

use crate::pipe::Pipe;
use crate::runtime::Runtime;

/// How many bytes are on their way in each direction.
const BUFFER: usize = 64 * 1024;

/// How many bytes went each way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// From the TCP connection into the pipe.
    pub into_pipe: u64,
    /// From the pipe to the TCP connection.
    pub out_of_pipe: u64,
}

/// Moves bytes until both ends have finished. TCP's FIN becomes the pipe's end and the other way round; a reset
/// becomes a reset. A pipe that takes no more bytes still delivers those that it holds.
///
/// # Errors
/// The first error of either side, with the connection and the pipe already gone.
pub(crate) async fn join<R: Runtime>(mut tcp: R::Tcp, pipe: Pipe) -> io::Result<Moved> {
    // Small messages of request-and-answer protocols must not wait for each other's acknowledgements.
    let _ = SockRef::from(&tcp).set_tcp_nodelay(true);
    reset_at_end::<R>(&tcp);
    let (mut inward, mut outward) = (Flow::default(), Flow::default());
    let result = poll_fn(|cx| {
        let one = poll_inward::<R>(&mut inward, &mut tcp, &pipe, cx)?;
        let other = poll_outward::<R>(&mut outward, &pipe, &mut tcp, cx)?;
        if one.is_pending() || other.is_pending() { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await;
    if result.is_ok() {
        let _ = SockRef::from(&tcp).set_linger(None);
    }
    result.map(|()| Moved { into_pipe: inward.total, out_of_pipe: outward.total })
}

/// Has the peer of a TCP connection see a reset, not an orderly end, however the connection ends: an error, a task that
/// is dropped with its runtime, the death of the process. Half of something must not pass for all of it.
pub(crate) fn reset_at_end<R: Runtime>(tcp: &R::Tcp) {
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

/// One direction: what was read and not yet written.
struct Flow {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    finished: bool,
    done: bool,
    total: u64,
}

impl Default for Flow {
    fn default() -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { buffer, start: 0, end: 0, finished: false, done: false, total: 0 }
    }
}

impl Flow {
    fn waiting(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
        self.finished = count == 0;
    }

    fn written(&mut self, count: usize) {
        self.start += count;
        self.total += count as u64;
    }
}

fn poll_inward<R: Runtime>(
    flow: &mut Flow,
    tcp: &mut R::Tcp,
    pipe: &Pipe,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !flow.done {
        if flow.waiting().is_empty() && !flow.finished {
            let Poll::Ready(count) = R::poll_read(tcp, cx, &mut flow.buffer)? else {
                // Else a target that says nothing would keep its connection after the client has gone.
                ready!(pipe.poll_closed(cx));
                flow.done = true;
                break;
            };
            flow.filled(count);
        }
        if flow.finished {
            ready!(pipe.poll_shutdown(cx))?;
            flow.done = true;
        } else {
            match ready!(pipe.poll_write(cx, flow.waiting())) {
                Ok(count) => flow.written(count),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => flow.done = true,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
    Poll::Ready(Ok(()))
}

fn poll_outward<R: Runtime>(
    flow: &mut Flow,
    pipe: &Pipe,
    tcp: &mut R::Tcp,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !flow.done {
        if flow.waiting().is_empty() && !flow.finished {
            let count = ready!(pipe.poll_read(cx, &mut flow.buffer))?;
            flow.filled(count);
        }
        if flow.finished {
            ready!(R::poll_shutdown(tcp, cx))?;
            flow.done = true;
        } else {
            let count = ready!(R::poll_write(tcp, cx, flow.waiting()))?;
            flow.written(count);
        }
    }
    Poll::Ready(Ok(()))
}
