//! What is tokio's own: tasks, timers, readiness, names and TCP.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adit_driver::{Alarm, Readiness, Runtime, SocketIo};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use crate::stream::Stream;

/// One tokio runtime.
#[derive(Debug, Clone)]
pub struct Tokio(Handle);

/// A socket that tokio watches.
#[derive(Debug)]
pub struct TokioSocket(AsyncFd<OwnedFd>);

/// A timer of tokio.
#[derive(Debug)]
pub struct TokioAlarm(Pin<Box<Sleep>>);

impl From<Handle> for Tokio {
    fn from(handle: Handle) -> Self {
        Self(handle)
    }
}

impl Tokio {
    /// The runtime's own handle.
    pub fn handle(&self) -> &Handle {
        &self.0
    }
}

impl Runtime for Tokio {
    type Socket = TokioSocket;
    type Tcp = TcpStream;
    type Listener = TcpListener;
    type Alarm = TokioAlarm;
    type Stream = Stream;

    fn current() -> Self {
        Self(Handle::current())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(task));
    }

    fn alarm(&self) -> TokioAlarm {
        let _inside = self.0.enter();
        TokioAlarm(Box::pin(sleep(Duration::ZERO)))
    }

    #[allow(
        deprecated,
        reason = "unsound for what may close behind its back; an OwnedFd doesn't, and the heir is unsafe"
    )]
    fn register(&self, socket: OwnedFd) -> io::Result<TokioSocket> {
        let _inside = self.0.enter();
        Ok(TokioSocket(AsyncFd::try_new(socket)?))
    }

    async fn resolve(&self, host: String) -> io::Result<Vec<IpAddr>> {
        Ok(lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).await
    }

    async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    fn poll_read(tcp: &mut TcpStream, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(tcp).poll_read(cx, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }

    fn poll_write(tcp: &mut TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(tcp).poll_write(cx, bytes)
    }

    fn poll_shutdown(tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(tcp).poll_shutdown(cx)
    }
}

impl Readiness for TokioSocket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_read_ready(cx).map(drop)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_write_ready(cx).map(drop)
    }
}

impl SocketIo for TokioSocket {
    fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::READABLE, |_| attempt())
    }

    fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::WRITABLE, |_| attempt())
    }
}

impl AsFd for TokioSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Alarm for TokioAlarm {
    fn poll_at(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let at = tokio::time::Instant::from_std(at);
        if self.0.deadline() != at {
            self.0.as_mut().reset(at);
        }
        self.0.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_names_are_resolved() {
        let resolve = |host: &str| {
            let host = host.to_owned();
            async move { Tokio::current().resolve(host).await.unwrap_or_default() }
        };
        assert_eq!(resolve("::1").await, ["::1".parse::<IpAddr>().unwrap()]);
        assert!(!resolve("localhost").await.is_empty());
        assert!(resolve("nothing.invalid").await.is_empty());
    }

    #[tokio::test]
    async fn a_refused_dial_is_told_apart() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Tokio::current().connect(free).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
