//! What a runtime does for gateways and connectors: everything but this is shared.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::pipe::Pipe;
use crate::reactor::SocketIo;

/// An asynchronous runtime: tokio, smol. A value of it is a cheap handle of one running instance.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A socket that the runtime watches: UDP, a listener, a link.
    type Socket: SocketIo + Readiness + Send;
    /// A TCP connection.
    type Tcp: AsFd + Send + 'static;
    /// A listening TCP socket.
    type Listener: Send + Sync + 'static;
    /// A timer.
    type Alarm: Alarm + Send;
    /// A byte stream of a tunnel with the runtime's own traits for reading and writing.
    type Stream: From<Pipe> + Send + 'static;

    /// The instance that the caller runs in.
    ///
    /// # Panics
    /// Where there is none and the runtime needs one.
    fn current() -> Self;

    /// Runs `task` to its end, whether anybody waits for it or not.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// A timer that is not set.
    fn alarm(&self) -> Self::Alarm;

    /// Watches a non-blocking socket. May be called from outside of the instance.
    ///
    /// # Errors
    /// Whatever prevents it.
    fn register(&self, socket: OwnedFd) -> io::Result<Self::Socket>;

    /// Asks the system's resolver.
    fn resolve(&self, host: String) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;

    /// Makes a TCP connection.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Tcp>> + Send;

    /// Waits for the next TCP connection.
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<(Self::Tcp, SocketAddr)>> + Send;

    /// Reads from a TCP connection; 0 bytes are its end.
    fn poll_read(tcp: &mut Self::Tcp, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes to a TCP connection.
    fn poll_write(tcp: &mut Self::Tcp, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends FIN.
    fn poll_shutdown(tcp: &mut Self::Tcp, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Who wakes a task when a socket may be used. An error counts as ready: the call that follows finds it again.
pub trait Readiness {
    /// Ready when something may have arrived, a connection among it.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// Ready when something may be sent, or a connection has been made or has failed.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A timer that can be set again.
pub trait Alarm {
    /// Sets the timer to `at`, if it is not, and waits for that.
    fn poll_at(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()>;
}

/// The instant that lies `time` ahead; no later than anybody lives to see.
pub(crate) fn after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    Instant::now() + time.min(FAR)
}

/// Lets `time` pass.
pub(crate) async fn sleep<R: Runtime>(runtime: &R, time: Duration) {
    let (mut alarm, at) = (runtime.alarm(), after(time));
    poll_fn(|cx| alarm.poll_at(at, cx)).await;
}

/// What `work` gives, if it does so within `limit`.
pub(crate) async fn within<R: Runtime, T>(
    runtime: &R,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let (mut alarm, at) = (runtime.alarm(), after(limit));
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => alarm.poll_at(at, cx).map(|()| None),
    })
    .await
}
