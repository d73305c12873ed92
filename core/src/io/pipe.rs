//! What happens when bytes are moved into and out of a pipe: one tunnelled byte stream.
//!
//! The gateway and the connector have the same four methods for it: `pipe_read`, `pipe_write`, `pipe_finish`
//! (no more bytes will be written: TCP's FIN) and `pipe_close` (forget the pipe: what was written after the last
//! `pipe_finish` is lost, and the other end sees a reset unless it was told the end before).

/// The outcome of `pipe_read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// That many bytes were written to the front of the buffer; never 0 unless the buffer was empty.
    Bytes(usize),
    /// Nothing yet; [`Effect::Wake`](super::Effect::Wake) follows.
    Blocked,
    /// The other end has finished, and everything was read.
    Finished,
    /// The pipe was reset, or its connection was lost.
    Reset,
}

/// The outcome of `pipe_write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// That many bytes were taken from the front; never 0 unless there were none.
    Accepted(usize),
    /// No room; [`Effect::Wake`](super::Effect::Wake) follows.
    Blocked,
    /// The other end takes no more, or the connection was lost.
    Closed,
}
