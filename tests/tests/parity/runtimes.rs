//! What the two runtimes' own traits look like to a scenario.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::thread;

use adit_driver::Runtime;
use adit_smol::Smol;
use adit_tokio::Tokio;

/// A runtime that runs beside the test.
pub(crate) trait Parlour: Runtime {
    fn the() -> Self;
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T;
    fn write(stream: &mut Self::Stream, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
    fn read_some(
        stream: &mut Self::Stream,
        buffer: &mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + Send;
    async fn write_some(stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize>;
    /// Reads to the end, then writes `answer` and finishes.
    fn answer(stream: Self::Stream, answer: String) -> impl Future<Output = ()> + Send + 'static;
    /// A listener on a free port of 127.0.0.1, and where.
    async fn listen() -> (Self::Listener, SocketAddr);
    fn finish(stream: &mut Self::Stream) -> impl Future<Output = io::Result<()>> + Send;
    async fn read_to_end(stream: &mut Self::Stream) -> io::Result<Vec<u8>>;
    /// Writes everything, finishes, and reads to the end meanwhile.
    fn exchange(
        stream: Self::Stream,
        bytes: Vec<u8>,
    ) -> impl Future<Output = io::Result<Vec<u8>>> + Send + 'static;
}

impl Parlour for Tokio {
    fn the() -> Self {
        static HANDLE: OnceLock<tokio::runtime::Handle> = OnceLock::new();
        let start = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let handle = runtime.handle().clone();
            thread::spawn(move || runtime.block_on(pending::<()>()));
            handle
        };
        HANDLE.get_or_init(start).clone().into()
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle().block_on(work)
    }

    async fn write(stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<()> {
        tokio::io::AsyncWriteExt::write_all(stream, bytes).await
    }

    async fn read_some(stream: &mut Self::Stream, buffer: &mut [u8]) -> io::Result<usize> {
        tokio::io::AsyncReadExt::read(stream, buffer).await
    }

    async fn write_some(stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize> {
        tokio::io::AsyncWriteExt::write(stream, bytes).await
    }

    async fn answer(mut stream: Self::Stream, answer: String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    async fn listen() -> (Self::Listener, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn finish(stream: &mut Self::Stream) -> io::Result<()> {
        tokio::io::AsyncWriteExt::shutdown(stream).await
    }

    async fn read_to_end(stream: &mut Self::Stream) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(stream, &mut all).await?;
        Ok(all)
    }

    async fn exchange(stream: Self::Stream, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut read, mut write) = tokio::io::split(stream);
        let mut all = Vec::new();
        let send = async {
            write.write_all(&bytes).await?;
            write.shutdown().await
        };
        smol::future::try_zip(send, read.read_to_end(&mut all)).await?;
        Ok(all)
    }
}

impl Parlour for Smol {
    fn the() -> Self {
        Self::current()
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        smol::block_on(work)
    }

    async fn write(stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<()> {
        smol::io::AsyncWriteExt::write_all(stream, bytes).await
    }

    async fn read_some(stream: &mut Self::Stream, buffer: &mut [u8]) -> io::Result<usize> {
        smol::io::AsyncReadExt::read(stream, buffer).await
    }

    async fn write_some(stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize> {
        smol::io::AsyncWriteExt::write(stream, bytes).await
    }

    async fn answer(mut stream: Self::Stream, answer: String) {
        use smol::io::{AsyncReadExt, AsyncWriteExt};
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.close().await.unwrap();
    }

    async fn listen() -> (Self::Listener, SocketAddr) {
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn finish(stream: &mut Self::Stream) -> io::Result<()> {
        smol::io::AsyncWriteExt::close(stream).await
    }

    async fn read_to_end(stream: &mut Self::Stream) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        smol::io::AsyncReadExt::read_to_end(stream, &mut all).await?;
        Ok(all)
    }

    async fn exchange(stream: Self::Stream, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        use smol::io::{AsyncReadExt, AsyncWriteExt};
        let (mut read, mut write) = smol::io::split(stream);
        let mut all = Vec::new();
        let send = async {
            write.write_all(&bytes).await?;
            write.close().await
        };
        smol::future::try_zip(send, read.read_to_end(&mut all)).await?;
        Ok(all)
    }
}
