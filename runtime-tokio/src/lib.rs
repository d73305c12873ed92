//! Adit under tokio: reach a TCP service in a private network, or offer one, from your own program.
//!
//! ```text
//! your program                 relay                    private network
//! ┌───────────┐   QUIC, mutual TLS, end to end   ┌─────────┐
//! │ Connector │ ───────────────▶ ◀────────────── │ Gateway │ ──▶ target
//! └───────────┘                                  └─────────┘
//! ```
//!
//! A [`Gateway`] keeps an allocation on one or more relays and opens no port. A [`Connector`] opens [`Stream`]s
//! through it to the targets that the gateway allows. Streams are tokio's `AsyncRead` and `AsyncWrite`.
//!
//! ```no_run
//! use adit_tokio::Connector;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let connector = Connector::builder()
//!     .certificate(std::fs::read("laptop.pem")?, std::fs::read("laptop.key")?)
//!     .trust(std::fs::read("gateway-ca.pem")?)
//!     .spawn()?;
//! let gateway = connector.gateway("gw-1", vec!["192.0.2.1:50000".parse()?])?;
//! let mut stream = connector.open(gateway, &"tcp://web.internal:80".parse()?).await?;
//! stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//! stream.shutdown().await?;
//! let mut answer = Vec::new();
//! stream.read_to_end(&mut answer).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The other side, with a target that is served by this very program and has no port:
//!
//! ```no_run
//! use adit_tokio::{Gateway, Stream};
//! use tokio::io::AsyncWriteExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::builder()
//!     .certificate(std::fs::read("gw-1.pem")?, std::fs::read("gw-1.key")?)
//!     .trust(std::fs::read("connector-ca.pem")?)
//!     .relay_with_secret("turn:relay.example:3478", std::fs::read("secret")?)
//!     .permit("198.51.100.7".parse()?)
//!     .allow("tcp://db.internal:5432")
//!     .serve("tcp://greeter:1", |mut stream: Stream, dial| async move {
//!         let _ = stream.write_all(format!("hello, {}\n", dial.peer).as_bytes()).await;
//!         let _ = stream.shutdown().await;
//!     })
//!     .spawn()?;
//! # tokio::signal::ctrl_c().await?;
//! gateway.shut_down().await;
//! # Ok(())
//! # }
//! ```
//!
//! More: `examples/postgres.rs`, tokio-postgres over a stream; `examples/axum_target.rs`, an axum service that is a
//! target. A runtime with one thread is enough, and any flavour will do; it needs its I/O and time drivers enabled.
//!
//! All that is not tokio's own is [`adit_driver`]'s, and the same in `adit-smol`.
#![doc = include_str!("../../driver/docs/embedding.md")]

mod runtime;
mod stream;

pub use adit_core::connector::{Event as ConnectorEvent, Failure, GatewayKey};
pub use adit_core::gateway::Event as GatewayEvent;
pub use adit_core::pki::Identity;
pub use adit_core::tunnel::{RejectCode, Target};
pub use adit_core::turn::credentials::Credentials;
pub use adit_driver::{
    BuildError, Counters, Dial, DiscoverError, Discovered, Forwarded, Found, GatewayError, Moved, News,
    Notice, OpenError, PingError, PoolInstance, forward, forward_pool,
};
pub use runtime::{Tokio, TokioAlarm, TokioSocket};
pub use stream::Stream;

/// A gateway under tokio.
pub type Gateway = adit_driver::Gateway<Tokio>;
/// Makes a [`Gateway`].
pub type GatewayBuilder = adit_driver::GatewayBuilder<Tokio>;
/// A connector under tokio.
pub type Connector = adit_driver::Connector<Tokio>;
/// Makes a [`Connector`].
pub type ConnectorBuilder = adit_driver::ConnectorBuilder<Tokio>;
/// The instances of one gateway, as one thing under tokio.
pub type Pool = adit_driver::Pool<Tokio>;
