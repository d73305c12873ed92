//! A TURN client that does what it is told and waits for each answer, over UDP (RFC 8656).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use adit_core::stun::{Builder, Class, Message, Method, TransactionId};
use adit_core::turn::credentials::Credentials;

use crate::process::PATIENCE;

/// How long until a request is sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// A client of one relay.
#[derive(Debug)]
pub struct Turn {
    socket: UdpSocket,
    /// What it shows.
    pub credentials: Credentials,
    realm: String,
    nonce: String,
    transaction: TransactionId,
}

/// What a request was answered.
#[derive(Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// The answer that these bytes are.
    ///
    /// # Panics
    /// When they are no message.
    #[must_use]
    pub fn read(bytes: Vec<u8>) -> Self {
        assert!(Message::parse(&bytes).is_ok(), "an answer is a message");
        Self(bytes)
    }

    /// The message.
    ///
    /// # Panics
    /// Never: it was read before.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        Message::parse(&self.0).expect("it was read before")
    }

    /// The code of an error, 0 for success.
    ///
    /// # Panics
    /// When an error has no code.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            _ => self.message().error_code().expect("readable").expect("an error has a code").code,
        }
    }

    /// The first relayed address.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn relayed(&self) -> SocketAddr {
        assert_eq!(self.code(), 0, "an allocation was refused");
        self.message().relayed_addresses().next().expect("an address").expect("readable")
    }
}

impl Turn {
    /// A client of `relay` with this name and password.
    ///
    /// # Panics
    /// When there is no socket.
    #[must_use]
    pub fn new(relay: SocketAddr, username: &str, password: &str) -> Self {
        let socket = UdpSocket::bind((relay.ip(), 0)).expect("a free port");
        socket.connect(relay).expect("an address of this machine");
        // Nobody else's, nor that of somebody who had this port before: a relay remembers those for a while.
        let mut transaction = [0; 12];
        transaction[4..].copy_from_slice(&RandomState::new().build_hasher().finish().to_be_bytes());
        let credentials = Credentials { username: username.to_owned(), password: password.to_owned() };
        Self { socket, credentials, realm: String::new(), nonce: String::new(), transaction }
    }

    /// Asks for an allocation.
    pub fn allocate(&mut self) -> Answer {
        self.ask(Method::ALLOCATE, |builder| builder.requested_transport(17))
    }

    /// Prolongs or ends it.
    pub fn refresh(&mut self, seconds: u64) -> u16 {
        self.ask(Method::REFRESH, |builder| builder.lifetime(Duration::from_secs(seconds))).code()
    }

    /// Permits a peer.
    pub fn permit(&mut self, peer: SocketAddr) -> u16 {
        self.ask(Method::CREATE_PERMISSION, |builder| builder.peer_address(peer)).code()
    }

    /// Binds a channel.
    pub fn bind_channel(&mut self, number: u16, peer: SocketAddr) -> u16 {
        self.ask(Method::CHANNEL_BIND, |builder| builder.channel_number(number).peer_address(peer)).code()
    }

    /// Sends data on a channel.
    ///
    /// # Panics
    /// When the system does not send it.
    pub fn send(&self, number: u16, data: &[u8]) {
        let len = u16::try_from(data.len()).expect("a datagram");
        let bytes = [&number.to_be_bytes()[..], &len.to_be_bytes(), data].concat();
        self.socket.send(&bytes).expect("a datagram fits");
    }

    /// The next data of a channel; nothing when none comes within `patience`.
    pub fn receive(&self, number: u16, patience: Duration) -> Option<Vec<u8>> {
        let mut bytes = self.read(patience)?;
        (bytes.get(..2) == Some(&number.to_be_bytes()[..])).then(|| bytes.split_off(4))
    }

    /// The next message that is no answer to a request: an indication; nothing when none comes within `patience`.
    pub fn indication(&self, patience: Duration) -> Option<Answer> {
        let bytes = self.read(patience)?;
        let is_one = Message::parse(&bytes).is_ok_and(|message| message.class() == Class::Indication);
        is_one.then_some(Answer(bytes))
    }

    /// Asks, signed, and where the relay wants another realm or nonce once more.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn ask(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Answer {
        let mut last = None;
        for _ in 0..2 {
            self.transaction[0] = self.transaction[0].wrapping_add(1);
            let builder = fill(Builder::new(Class::Request, method, self.transaction));
            let request = match self.nonce.is_empty() {
                true => builder.finish(),
                false => builder
                    .username(&self.credentials.username)
                    .realm(&self.realm)
                    .nonce(&self.nonce)
                    .finish_with_integrity(&self.credentials.key(&self.realm)),
            };
            let answer = self.exchange(&request);
            let message = answer.message();
            let nonce = message.nonce().ok().flatten().map(str::to_owned);
            let realm = message.realm().ok().flatten().map(str::to_owned);
            let again =
                matches!(answer.code(), 401 | 438) && nonce.is_some() && nonce.as_ref() != Some(&self.nonce);
            let first = self.nonce.is_empty() || answer.code() == 438;
            self.nonce = nonce.unwrap_or_else(|| std::mem::take(&mut self.nonce));
            self.realm = realm.unwrap_or_else(|| std::mem::take(&mut self.realm));
            last = Some(answer);
            if !again || !first {
                break;
            }
        }
        last.expect("it was asked")
    }

    fn exchange(&self, request: &[u8]) -> Answer {
        for _ in 0..PATIENCE.as_millis() / AGAIN.as_millis() {
            // A relay that is not there is asked again.
            let _ = self.socket.send(request);
            while let Some(bytes) = self.read(AGAIN) {
                let fits = |message: Message<'_>| message.bytes()[8..20] == request[8..20];
                if Message::parse(&bytes).is_ok_and(fits) {
                    return Answer(bytes);
                }
            }
        }
        panic!("the relay does not answer");
    }

    fn read(&self, patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(patience)).expect("a time-out");
        let mut bytes = vec![0; 2000];
        let len = match self.socket.recv(&mut bytes) {
            Ok(len) => len,
            Err(error) => {
                // A machine where nobody listens refuses at once, and somebody may soon.
                if error.kind() == ErrorKind::ConnectionRefused {
                    std::thread::sleep(patience.min(AGAIN));
                }
                return None;
            }
        };
        bytes.truncate(len);
        Some(bytes)
    }
}
