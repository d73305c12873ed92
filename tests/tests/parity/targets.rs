//! Real targets, each a thread: they know no runtime.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::stage::{End, FLOOD, Heard, SOURCE, What, pattern};

/// The addresses of all targets, and what they have to tell.
pub(crate) struct Targets {
    echo: SocketAddr,
    source: SocketAddr,
    flood: SocketAddr,
    sink: SocketAddr,
    refuses: SocketAddr,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    heard: Mutex<Heard>,
    said: AtomicUsize,
}

impl Targets {
    pub(crate) fn start() -> Self {
        let told = Arc::new(Told::default());
        let serve = |serve: fn(TcpStream, &Told) -> io::Result<()>| listen(&told, serve);
        Self {
            echo: serve(echo),
            source: serve(|tcp, told| source(tcp, told, SOURCE)),
            flood: serve(|tcp, told| source(tcp, told, FLOOD)),
            sink: serve(listen_to),
            refuses: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
            told,
        }
    }

    pub(crate) fn address(&self, what: What) -> String {
        let address = match what {
            What::Echo => self.echo,
            What::Source => self.source,
            What::Flood => self.flood,
            What::Sink => self.sink,
            What::Refuses => self.refuses,
            // TCP to a group is ENETUNREACH on every machine.
            What::Unreachable => "224.0.0.1:9".parse().unwrap(),
            What::Denied => "127.0.0.2:80".parse().unwrap(),
        };
        format!("tcp://{address}")
    }

    pub(crate) fn heard(&self) -> Heard {
        self.told.heard.lock().unwrap().clone()
    }

    pub(crate) fn said(&self) -> usize {
        self.told.said.load(Ordering::Relaxed)
    }
}

fn listen(told: &Arc<Told>, serve: fn(TcpStream, &Told) -> io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let told = Arc::clone(told);
    named(move || {
        while let Ok((tcp, _)) = listener.accept() {
            let told = Arc::clone(&told);
            named(move || drop(serve(tcp, &told)));
        }
    });
    address
}

fn named(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("target".into()).spawn(work).unwrap();
}

fn echo(mut tcp: TcpStream, _told: &Told) -> io::Result<()> {
    io::copy(&mut tcp.try_clone()?, &mut tcp)?;
    tcp.shutdown(Shutdown::Write)
}

fn source(mut tcp: TcpStream, told: &Told, length: usize) -> io::Result<()> {
    for chunk in pattern(length).chunks(64 * 1024) {
        tcp.write_all(chunk)?;
        told.said.fetch_add(chunk.len(), Ordering::Relaxed);
    }
    tcp.shutdown(Shutdown::Write)?;
    listen_to(tcp, told)
}

fn listen_to(mut tcp: TcpStream, told: &Told) -> io::Result<()> {
    *told.heard.lock().unwrap() = Heard::default();
    let mut buffer = [0; 4096];
    loop {
        let end = match tcp.read(&mut buffer) {
            Ok(0) => End::Finished,
            Ok(count) => {
                told.heard.lock().unwrap().bytes.extend_from_slice(&buffer[..count]);
                continue;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) => return Err(error),
        };
        told.heard.lock().unwrap().end = Some(end);
        return Ok(());
    }
}
