//! What is smol's own: tasks, timers, readiness, names and TCP.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use adit_driver::{Alarm, Readiness, Runtime, SocketIo};
use futures_io::{AsyncRead, AsyncWrite};
use smol::net::{TcpListener, TcpStream};
use smol::{Async, Executor, Timer};

use crate::stream::Stream;

/// Where tasks run: on smol's global executor, or on one of the application. Timers and sockets are those of
/// async-io, which are there for everybody.
#[derive(Debug, Clone, Default)]
pub struct Smol(Option<Arc<Executor<'static>>>);

/// A socket that async-io watches.
#[derive(Debug)]
pub struct SmolSocket(Async<OwnedFd>);

/// A timer of async-io, and when it goes off.
#[derive(Debug)]
pub struct SmolAlarm(Timer, Option<Instant>);

impl From<Arc<Executor<'static>>> for Smol {
    fn from(executor: Arc<Executor<'static>>) -> Self {
        Self(Some(executor))
    }
}

impl Runtime for Smol {
    type Socket = SmolSocket;
    type Tcp = TcpStream;
    type Listener = TcpListener;
    type Alarm = SmolAlarm;
    type Stream = Stream;

    /// The global executor, which runs on threads of its own. Never panics.
    fn current() -> Self {
        Self(None)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Some(executor) => executor.spawn(task).detach(),
            None => smol::spawn(task).detach(),
        }
    }

    fn alarm(&self) -> SmolAlarm {
        SmolAlarm(Timer::never(), None)
    }

    fn register(&self, socket: OwnedFd) -> io::Result<SmolSocket> {
        Async::new_nonblocking(socket).map(SmolSocket)
    }

    async fn resolve(&self, host: String) -> io::Result<Vec<IpAddr>> {
        Ok(smol::net::resolve((host, 0)).await?.iter().map(SocketAddr::ip).collect())
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).await
    }

    async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    fn poll_read(tcp: &mut TcpStream, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(tcp).poll_read(cx, buffer)
    }

    fn poll_write(tcp: &mut TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(tcp).poll_write(cx, bytes)
    }

    fn poll_shutdown(tcp: &mut TcpStream, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(tcp.shutdown(Shutdown::Write))
    }
}

impl Readiness for SmolSocket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_readable(cx).map(drop)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_writable(cx).map(drop)
    }
}

/// async-io keeps no readiness of its own that an attempt would have to clear.
impl SocketIo for SmolSocket {
    fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        attempt()
    }

    fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        attempt()
    }
}

impl AsFd for SmolSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Alarm for SmolAlarm {
    fn poll_at(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.1 != Some(at) {
            self.1 = Some(at);
            self.0.set_at(at);
        }
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_resolved() {
        let resolve =
            |host: &str| smol::block_on(Smol::current().resolve(host.to_owned())).unwrap_or_default();
        assert_eq!(resolve("::1"), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(!resolve("localhost").is_empty());
        assert!(resolve("nothing.invalid").is_empty());
    }

    #[test]
    fn a_refused_dial_is_told_apart() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = smol::block_on(Smol::current().connect(free)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_alarm_goes_off_again_when_it_is_set_again() {
        let mut alarm = Smol::current().alarm();
        for _ in 0..2 {
            let at = Instant::now() + std::time::Duration::from_millis(5);
            smol::block_on(std::future::poll_fn(|cx| alarm.poll_at(at, cx)));
            assert!(Instant::now() >= at);
        }
    }
}
