//! TLS sessions on a byte stream, for both ends: ciphertext in, plaintext and ciphertext out.
//!
//! 1. A client's session begins with what [`Tls::client`] writes: its ClientHello.
//! 2. What the link brings goes into [`receive`](Tls::receive), which gives the plaintext and what is to be sent.
//! 3. Once the handshake is done, [`seal`](Tls::seal) makes records of what is to be sent.
//! 4. [`close`](Tls::close) says goodbye (RFC 8446 §6.1); [`has_ended`](Tls::has_ended) when the other end has.
//!
//! A session keeps at most a record or a handshake message that is not whole yet (64 KiB), and nothing that waits to be
//! sent: that is written to the caller's buffer at once. Its randomness is that of the cryptographic library, as
//! everywhere with TLS: bytes differ from run to run, lengths do not where the keys are Ed25519.

use std::io::BufRead as _;
use std::io::Write as _;
use std::sync::Arc;

use rustls::client::{ClientConnection, Resumption};
use rustls::server::{NoServerSessionStorage, ServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::failure::Failure;
use super::trust::{Trust, Verifier};
use crate::pki::tls::{Wall, provider};
use crate::time::WallCell;

/// What a relay shows: TLS 1.3 and 1.2, no client certificates, nothing kept between sessions.
#[derive(Debug, Clone)]
pub struct ServerConfig(Arc<rustls::ServerConfig>);

/// Certificates and key do not serve TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is malformed, or the key is not its own or of an unknown kind")]
pub struct UnusableCertificate;

impl ServerConfig {
    /// `chain` with the leaf first, and the leaf's key.
    ///
    /// # Errors
    /// [`UnusableCertificate`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        wall: WallCell,
    ) -> Result<Self, UnusableCertificate> {
        let mut config = rustls::ServerConfig::builder_with_details(provider(), Arc::new(Wall(wall)))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites of both versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|_| UnusableCertificate)?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self(Arc::new(config)))
    }
}

/// How a client speaks with one relay.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    config: Arc<rustls::ClientConfig>,
    host: ServerName<'static>,
}

impl ClientConfig {
    /// For the relay `host`, which `trust` makes believed by what `wall` says that the time is.
    pub fn new(host: ServerName<'static>, trust: Trust, wall: WallCell) -> Self {
        let mut config = rustls::ClientConfig::builder_with_details(provider(), Arc::new(Wall(wall)))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites of both versions")
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(trust))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config), host }
    }
}

/// One session.
#[derive(Debug)]
pub struct Tls {
    connection: rustls::Connection,
    /// The other end has said goodbye.
    ended: bool,
}

impl Tls {
    /// The session of a relay with a client that has just connected.
    ///
    /// # Errors
    /// [`Failure::Broken`], when the system has no randomness.
    pub fn server(config: &ServerConfig) -> Result<Self, Failure> {
        Ok(Self::new(ServerConnection::new(Arc::clone(&config.0))?.into()))
    }

    /// The session of a client, whose first bytes are appended to `out`.
    ///
    /// # Errors
    /// [`Failure::Broken`], when the system has no randomness.
    pub fn client(config: &ClientConfig, out: &mut Vec<u8>) -> Result<Self, Failure> {
        let connection = ClientConnection::new(Arc::clone(&config.config), config.host.clone())?;
        let mut session = Self::new(connection.into());
        session.drain(out);
        Ok(session)
    }

    fn new(mut connection: rustls::Connection) -> Self {
        // Nothing stays in there: whoever owns the link bounds what waits to be sent.
        connection.set_buffer_limit(None);
        Self { connection, ended: false }
    }

    /// Takes what has arrived. What it says is appended to `plaintext`, at most as much as has ever arrived; what is to
    /// be sent, to `out`.
    ///
    /// # Errors
    /// [`Failure`]: the session is over. `plaintext` holds what came before, and `out` an alert that tells the other end
    /// why.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        plaintext: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        // What follows a close_notify is nobody's (RFC 8446 §6.1).
        while !bytes.is_empty() && !self.has_ended() {
            if !matches!(self.connection.read_tls(&mut bytes), Ok(1..)) {
                return Err(Failure::Broken);
            }
            let processed = self.connection.process_new_packets();
            self.drain(out);
            self.read(plaintext);
            self.ended = processed?.peer_has_closed();
        }
        Ok(())
    }

    /// Makes records of `plaintext`, appended to `out`. `false`, and nothing appended, before the handshake is done.
    #[must_use = "what is not sealed is lost"]
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> bool {
        if self.is_handshaking() {
            return false;
        }
        let sealed = self.connection.writer().write_all(plaintext).is_ok();
        self.drain(out);
        sealed
    }

    /// Says that nothing more is sent: a close_notify, appended to `out`.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.drain(out);
    }

    /// Whether the handshake is not done.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the other end has said that it sends nothing more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn read(&mut self, plaintext: &mut Vec<u8>) {
        let mut reader = self.connection.reader();
        while let Ok(chunk) = reader.fill_buf() {
            let len = chunk.len();
            if len == 0 {
                return;
            }
            plaintext.extend_from_slice(chunk);
            reader.consume(len);
        }
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() && self.connection.write_tls(out).is_ok() {}
    }
}
