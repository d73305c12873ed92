//! DTLS sessions on datagrams, for both ends: dimpl with our checks around it.
//!
//! 1. What the socket brings goes into [`receive`](Dtls::receive); time into [`handle_timeout`](Dtls::handle_timeout).
//! 2. After each of the two, and right after a client's session was made, [`poll`](Dtls::poll) is called until it gives
//!    nothing: datagrams to send, what was said, and news.
//! 3. Once [`Output::Connected`] came, [`seal`](Dtls::seal) makes one record, which is one datagram, of what is to be sent.
//!
//! What to know about the library below, and what is done about it here:
//! - It speaks 1.2 with ECDHE-ECDSA, whose keys are on P-256 or P-384: [`ServerConfig::new`] takes no others. Of a chain
//!   it sends the leaf alone, so that who checks names must trust the leaf's issuer directly ([`Trust`]). No SNI is sent.
//! - Every error of it is the end of a session. It keeps what is sent before the handshake is done without bound: so
//!   nothing is taken before. It joins records that wait: so each is fetched at once.
//! - Its cookie is checked inside of a session: see [`hello`](super::hello) for what is looked at before.
//! - Its randomness is the system's: for keys always, and for what else is random unless a seed is given
//!   ([`ServerConfig::seeded`]). With a seed, runs differ in bytes and in the lengths of a handshake (an ECDSA signature
//!   has 70 to 72 bytes), not in the times of its repetitions.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use dimpl::crypto::aws_lc_rs::default_provider;
use dimpl::{DtlsCertificate, Error, SecurityError, TimeoutError};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::failure::{BadCertificate, Failure};
use super::trust::Trust;
use crate::pki::{Key, KeyKind};
use crate::time::WallCell;

/// How long a relay waits for a client to finish its handshake.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client waits for its relay.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// When a flight that was not answered is sent again, the first time: as with STUN (RFC 8489 §6.2.1).
const RETRANSMIT: Duration = Duration::from_millis(500);
/// The longest datagram of a handshake: with the headers of IPv6 and UDP it fits 1,280 bytes.
const HANDSHAKE_MTU: usize = 1200;
/// Room for what the library has to give: more than most datagrams need.
const ROOM: usize = 2048;

/// The length of a record's header (RFC 6347 §4.1), the content type of handshake records, and the type of a ServerHello
/// (RFC 5246 §7.4).
const RECORD_HEADER: usize = 13;
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;

/// What a relay shows.
#[derive(Clone)]
pub struct ServerConfig {
    common: Arc<dimpl::Config>,
    certificate: DtlsCertificate,
}

/// How a client speaks with one relay.
#[derive(Clone)]
pub struct ClientConfig {
    common: Arc<dimpl::Config>,
    /// The library wants one even where the relay asks for none. It is nobody's.
    certificate: DtlsCertificate,
    check: Check,
}

/// Why DTLS can't serve a certificate that TLS may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotForDtls {
    /// There is no certificate, or what is there is none.
    #[error("there is no certificate, or it is malformed")]
    Certificate,
    /// The key is RSA, Ed25519, or on another curve.
    #[error("its key is not ECDSA on P-256 or P-384")]
    Kind,
    /// The key belongs to another certificate.
    #[error("the key does not belong to the certificate")]
    Mismatch,
}

impl ServerConfig {
    /// The leaf of `chain`, which comes first, and its key. This is where it is found out whether DTLS can serve them:
    /// ECDSA on P-256 and P-384 it can, RSA and Ed25519 it can't.
    ///
    /// # Errors
    /// [`NotForDtls`].
    pub fn new(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'_>) -> Result<Self, NotForDtls> {
        let leaf = chain.first().ok_or(NotForDtls::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| NotForDtls::Certificate)?;
        let pair = ecdsa(key).ok_or(NotForDtls::Kind)?;
        if parsed.public_key().subject_public_key.data != pair.public_key().as_ref() {
            return Err(NotForDtls::Mismatch);
        }
        let private = pair.to_pkcs8v1().map_err(|_| NotForDtls::Kind)?;
        let certificate =
            DtlsCertificate { certificate: leaf.to_vec(), private_key: private.as_ref().to_vec() };
        Ok(Self { common: common(SERVER_TIMEOUT, None), certificate })
    }

    /// The same for a simulated world: what is random but no key follows from `seed`. It is the same in all sessions.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { common: common(SERVER_TIMEOUT, Some(seed)), ..self }
    }
}

impl ClientConfig {
    /// For the relay `host`, which `trust` makes believed by what `wall` says that the time is.
    pub fn new(host: ServerName<'static>, trust: Trust, wall: WallCell) -> Self {
        let key = Key::generate(KeyKind::EcdsaP256);
        // A relay that asks for a certificate is shown one that it can't read.
        let certificate =
            DtlsCertificate { certificate: vec![0x30, 0], private_key: key.der().secret_der().to_vec() };
        Self { common: common(CLIENT_TIMEOUT, None), certificate, check: Check { host, trust, wall } }
    }

    /// As [`ServerConfig::seeded`].
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { common: common(CLIENT_TIMEOUT, Some(seed)), ..self }
    }
}

fn common(timeout: Duration, seed: Option<u64>) -> Arc<dimpl::Config> {
    let builder = dimpl::Config::builder()
        .with_crypto_provider(default_provider())
        .require_client_certificate(false)
        .mtu(HANDSHAKE_MTU)
        .flight_start_rto(RETRANSMIT)
        .handshake_timeout(timeout);
    let builder = match seed {
        Some(seed) => builder.dangerously_set_rng_seed(seed),
        None => builder,
    };
    Arc::new(builder.build().expect("these are legal values, and the provider is whole"))
}

fn ecdsa(key: &PrivateKeyDer<'_>) -> Option<EcdsaKeyPair> {
    let read = |algorithm| EcdsaKeyPair::from_private_key_der(algorithm, key.secret_der()).ok();
    read(&ECDSA_P256_SHA256_ASN1_SIGNING).or_else(|| read(&ECDSA_P384_SHA384_ASN1_SIGNING))
}

/// What a client checks of its relay.
#[derive(Debug, Clone)]
struct Check {
    host: ServerName<'static>,
    trust: Trust,
    wall: WallCell,
}

impl Check {
    fn check(&self, leaf: &[u8]) -> Result<(), BadCertificate> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.wall.get().0));
        let leaf = CertificateDer::from(leaf);
        self.trust.check(&leaf, &[], &self.host, now).map_err(|error| BadCertificate::from(&error))
    }
}

/// One session.
pub struct Dtls {
    inner: dimpl::Dtls,
    /// A client's only.
    check: Option<Check>,
    state: State,
    /// Everything that there was to poll was polled, or put aside.
    settled: bool,
    /// How long a client has to show that it receives what is sent to its address; nothing once it has.
    proof_due: Option<Instant>,
    /// What was to be polled when something was sealed.
    aside: VecDeque<(Output, Vec<u8>)>,
    timeout: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshaking,
    Connected,
    /// The other end has said goodbye, or we have.
    Ended,
    Failed(Failure),
}

/// What a session gives; bytes are appended to the buffer that [`Dtls::poll`] was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A datagram to send.
    Datagram,
    /// What the other end has said: one record, as it was sealed there.
    Plaintext,
    /// The handshake is done, and the relay is the right one.
    Connected,
    /// The other end says nothing more.
    Ended,
    /// The session is over.
    Failed(Failure),
}

impl Dtls {
    /// The session of a relay with a sender whose first datagram [`hello::check`](super::hello::check) let pass; that is
    /// then to be received.
    pub fn server(config: &ServerConfig, now: Instant) -> Self {
        let inner = dimpl::Dtls::new_12(Arc::clone(&config.common), config.certificate.clone(), now);
        Self { proof_due: Some(now + SERVER_TIMEOUT), ..Self::new(inner, None) }
    }

    /// The session of a client.
    pub fn client(config: &ClientConfig, now: Instant) -> Self {
        let mut inner = dimpl::Dtls::new_12(Arc::clone(&config.common), config.certificate.clone(), now);
        inner.set_active(true);
        let mut session = Self::new(inner, Some(config.check.clone()));
        // The first flight leaves with the first look at the clock.
        session.handle_timeout(now);
        session
    }

    fn new(inner: dimpl::Dtls, check: Option<Check>) -> Self {
        let (state, aside) = (State::Handshaking, VecDeque::new());
        Self { inner, check, state, settled: true, proof_due: None, aside, timeout: None }
    }

    /// A datagram of the other end. What is none of it is passed over.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) {
        self.step(|inner| {
            // It goes by the time of the last look at the clock.
            inner.handle_timeout(now)?;
            inner.handle_packet(datagram)
        });
    }

    /// Time has passed. A HelloVerifyRequest is not repeated by itself (RFC 6347 §3.2.1): its client repeats what it answers.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.proof_due {
            None => self.step(|inner| inner.handle_timeout(now)),
            Some(due) if now >= due => self.step(|_| Err(Error::Timeout(TimeoutError::Handshake))),
            Some(_) => {}
        }
    }

    /// What there is to do next; `None` when there is nothing more for now.
    pub fn poll(&mut self, out: &mut Vec<u8>) -> Option<Output> {
        if let Some((output, bytes)) = self.aside.pop_front() {
            out.extend_from_slice(&bytes);
            return Some(output);
        }
        self.poll_inner(out)
    }

    fn poll_inner(&mut self, out: &mut Vec<u8>) -> Option<Output> {
        if let State::Failed(failure) = self.state {
            // Once.
            return (!std::mem::replace(&mut self.settled, true)).then_some(Output::Failed(failure));
        }
        let (start, mut room) = (out.len(), ROOM);
        loop {
            out.resize(start + room, 0);
            let (len, output) = match self.inner.poll_output(&mut out[start..]) {
                dimpl::Output::BufferTooSmall { needed } => {
                    room = needed.max(room + 1);
                    continue;
                }
                dimpl::Output::Packet(bytes) => {
                    if has_server_hello(bytes) {
                        self.proof_due = None;
                    }
                    (bytes.len(), Some(Output::Datagram))
                }
                dimpl::Output::ApplicationData(bytes) => (bytes.len(), Some(Output::Plaintext)),
                dimpl::Output::Timeout(at) => {
                    self.timeout = Some(at);
                    self.settled = true;
                    (0, None)
                }
                dimpl::Output::PeerCert(leaf) => {
                    match self.check.as_ref().map_or(Ok(()), |check| check.check(leaf)) {
                        Ok(()) => continue,
                        Err(bad) => (0, Some(self.fail(Failure::Certificate(bad)))),
                    }
                }
                dimpl::Output::Connected => {
                    self.state = State::Connected;
                    (0, Some(Output::Connected))
                }
                dimpl::Output::CloseNotify => {
                    self.state = State::Ended;
                    (0, Some(Output::Ended))
                }
                _ => continue,
            };
            out.truncate(start + len);
            return output;
        }
    }

    /// Makes a datagram of `plaintext`, appended to `out`: as many bytes longer for each. `false`, and nothing appended,
    /// when there is no connection. What was still to be polled is so afterwards.
    #[must_use = "what is not sealed is lost"]
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.settled {
            self.put_aside();
        }
        if !self.is_connected() || plaintext.is_empty() {
            return false;
        }
        self.step(|inner| inner.send_application_data(plaintext).map(drop));
        let sealed = self.poll_inner(out) == Some(Output::Datagram);
        self.put_aside();
        sealed
    }

    /// Else a record would be joined with what waits. There is at most what one datagram has brought.
    fn put_aside(&mut self) {
        loop {
            let mut bytes = Vec::new();
            let Some(output) = self.poll_inner(&mut bytes) else { return };
            self.aside.push_back((output, bytes));
        }
    }

    /// Says that nothing more is sent; what it says is to be polled.
    pub fn close(&mut self) {
        let connected = self.is_connected();
        self.step(dimpl::Dtls::close);
        if connected {
            self.state = State::Ended;
        }
    }

    /// Whether the handshake is done and nobody has said goodbye.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Whether the other end has shown that it receives what is sent to its address. A client does not ask that of its
    /// relay.
    pub fn is_proven(&self) -> bool {
        self.proof_due.is_none()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Failed(_) | State::Ended => None,
            State::Handshaking | State::Connected => self.proof_due.or(self.timeout),
        }
    }

    fn step(&mut self, step: impl FnOnce(&mut dimpl::Dtls) -> Result<(), Error>) {
        if matches!(self.state, State::Failed(_) | State::Ended) {
            return;
        }
        self.settled = false;
        if let Err(error) = step(&mut self.inner) {
            self.fail(failure(&error));
            self.settled = false;
        }
    }

    fn fail(&mut self, failure: Failure) -> Output {
        self.state = State::Failed(failure);
        self.settled = true;
        Output::Failed(failure)
    }
}

/// Whether a datagram begins with a ServerHello, which only a cookie that was returned gets (RFC 6347 §4.2.1).
fn has_server_hello(datagram: &[u8]) -> bool {
    datagram.first() == Some(&HANDSHAKE) && datagram.get(RECORD_HEADER) == Some(&SERVER_HELLO)
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Timeout(_) => Failure::TimedOut,
        Error::SecurityError(error) => match error {
            SecurityError::FatalAlert { description } => Failure::Alert(*description),
            SecurityError::UnsupportedServerVersion(_)
            | SecurityError::UnsupportedClientVersion(_)
            | SecurityError::UnsupportedHelloVerifyRequestVersion(_)
            | SecurityError::ExtendedMasterSecretNotNegotiated
            | SecurityError::NoMutuallyAcceptableCipherSuite => Failure::Incompatible,
            _ => Failure::Broken,
        },
        _ => Failure::Broken,
    }
}

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dtls").field("state", &self.state).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig").field("check", &self.check).finish_non_exhaustive()
    }
}
