//! An axum service inside a gateway: connectors reach its handlers, and nothing listens on any TCP port.
//!
//! ```sh
//! cargo run --example axum_target -- \
//!     ca/gw-1 ca/connector-ca.pem turn:relay.example:3478 secret 198.51.100.7 tcp://greeter.internal:80
//! ```
//!
//! - `ca/gw-1`: the gateway's own certificate and key (`.pem`, `.key`), as `adit ca issue` writes them.
//! - `ca/connector-ca.pem`: who vouches for connectors.
//! - `turn:relay.example:3478` and `secret`: the relay, and the file with its secret.
//! - `198.51.100.7`: the connector's address as the relay sees it; the relay lets nobody else through.
//! - `tcp://greeter.internal:80`: what connectors call the service. The name need not exist anywhere.
//!
//! Ctrl-C or SIGTERM ends it in good order: requests are answered, the allocation is given back.

use std::error::Error;
use std::pin::pin;
use std::{env, fs, io};

use adit_tokio::{Gateway, GatewayEvent, Notice, Stream};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [own, anchor, relay, secret, peer, target] = &arguments[..] else {
        return Err("arguments: OWN ANCHOR RELAY SECRET-FILE CONNECTOR-IP TARGET".into());
    };
    // A full channel holds streams back, as a full backlog of a TCP port would.
    let (accepted, incoming) = mpsc::channel(64);
    let mut gateway = Gateway::builder()
        .certificate(fs::read(format!("{own}.pem"))?, fs::read(format!("{own}.key"))?)
        .trust(fs::read(anchor)?)
        .relay_with_secret(relay, fs::read_to_string(secret)?.trim_end())
        .permit(peer.parse()?)
        .serve(target, move |stream, dial| {
            let accepted = accepted.clone();
            async move {
                // Where the service has ended, the stream is dropped here: the connector sees a reset.
                let _ = accepted.send((stream, Caller(dial.peer.role.name().to_string()))).await;
            }
        })
        .spawn()?;

    let service = Router::new().route("/", get(greet)).into_make_service_with_connect_info::<Caller>();
    let server = axum::serve(Tunnel(incoming), service).with_graceful_shutdown(stop_signal()?);
    let mut serving = pin!(server.into_future());
    loop {
        tokio::select! {
            _ = &mut serving => break,
            Some(notice) = gateway.event() => match notice {
                Notice::Event(GatewayEvent::Addresses(addresses)) => println!("reached at {addresses:?}"),
                // Relays that are lost, connectors that come and go, streams, refusals.
                other => println!("{other:?}"),
            },
        }
    }
    gateway.shut_down().await;
    println!("ended");
    Ok(())
}

/// A handler like any other. Who calls is known by certificate, not by address.
async fn greet(ConnectInfo(Caller(name)): ConnectInfo<Caller>) -> String {
    format!("hello, {name}\n")
}

/// Where axum accepts from: streams of the gateway, in place of TCP connections.
struct Tunnel(mpsc::Receiver<(Stream, Caller)>);

/// The name in a connector's certificate.
#[derive(Debug, Clone)]
struct Caller(String);

impl Listener for Tunnel {
    type Io = Stream;
    type Addr = Caller;

    async fn accept(&mut self) -> (Stream, Caller) {
        match self.0.recv().await {
            Some(accepted) => accepted,
            // The gateway has ended; axum expects listeners to go on for ever.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        Err(io::ErrorKind::AddrNotAvailable.into())
    }
}

impl Connected<IncomingStream<'_, Tunnel>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Tunnel>) -> Self {
        stream.remote_addr().clone()
    }
}

fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    })
}
