//! A client of allocations of TCP (RFC 6062) over plain sockets, which does what it is told and waits for each answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use adit_core::stun::{Builder, Class, Family, Message, Method};
use adit_core::turn::credentials::Credentials;
use adit_core::turn::stream::Splitter;

use crate::process::PATIENCE;
use crate::turn::Answer;

/// A connection to a relay: its allocation's, or one for data.
pub struct TurnTcp {
    stream: TcpStream,
    /// What it shows.
    pub credentials: Credentials,
    realm: String,
    nonce: String,
    splitter: Splitter,
    /// What has come and was not looked at.
    unread: Vec<u8>,
    transactions: u8,
}

impl TurnTcp {
    /// Connects to `relay`, as a user with this name and password.
    ///
    /// # Panics
    /// When it can't.
    #[must_use]
    pub fn connect(relay: SocketAddr, username: &str, password: &str) -> Self {
        let stream = TcpStream::connect(relay).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("an option");
        let credentials = Credentials { username: username.to_owned(), password: password.to_owned() };
        Self {
            stream,
            credentials,
            realm: String::new(),
            nonce: String::new(),
            splitter: Splitter::default(),
            unread: Vec::new(),
            transactions: 0,
        }
    }

    /// Asks for an allocation of TCP.
    pub fn allocate(&mut self, family: Family) -> SocketAddr {
        self.ask(Method::ALLOCATE, |builder| builder.requested_transport(6).requested_family(family))
            .relayed()
    }

    /// Permits a peer.
    pub fn permit(&mut self, peer: SocketAddr) -> u16 {
        self.ask(Method::CREATE_PERMISSION, |builder| builder.peer_address(peer)).code()
    }

    /// Has the relay connect to a peer. The number of the connection, or the code of the error.
    ///
    /// # Errors
    /// The code.
    ///
    /// # Panics
    /// When there is no number.
    pub fn dial(&mut self, peer: SocketAddr) -> Result<u32, u16> {
        let answer = self.ask(Method::CONNECT, |builder| builder.peer_address(peer));
        match answer.code() {
            0 => Ok(answer.message().connection_id().expect("readable").expect("a number")),
            code => Err(code),
        }
    }

    /// Waits until a peer has connected: who, and the number of the connection.
    ///
    /// # Panics
    /// When something else comes.
    pub fn attempt(&mut self) -> (SocketAddr, u32) {
        let bytes = self.message();
        let message = Message::parse(&bytes).expect("a message");
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::CONNECTION_ATTEMPT));
        let peer = message.peer_address().expect("readable").expect("a peer");
        (peer, message.connection_id().expect("readable").expect("a number"))
    }

    /// Binds this connection to the one with that number, and says `words` in the same breath. The bare stream, and what
    /// has come by it already.
    ///
    /// # Errors
    /// The code of what the relay says instead.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn bind(mut self, number: u32, words: &[u8]) -> Result<(TcpStream, Vec<u8>), u16> {
        // The nonce comes first: the words must not be taken for a message.
        let _ = self.ask(Method::REFRESH, |builder| builder);
        let request = self.signed(Method::CONNECTION_BIND, |builder| builder.connection_id(number));
        self.stream.write_all(&[&request, words].concat()).expect("the relay listens");
        match Answer::read(self.message()).code() {
            0 => Ok((self.stream, self.unread)),
            code => Err(code),
        }
    }

    /// Asks, signed, and where the relay wants another realm or nonce once more.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn ask(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Answer {
        for _ in 0..2 {
            let request = self.signed(method, &fill);
            self.stream.write_all(&request).expect("the relay listens");
            let answer = Answer::read(self.message());
            if !matches!(answer.code(), 401 | 438) {
                return answer;
            }
            let message = answer.message();
            self.realm = message.realm().ok().flatten().expect("a realm").to_owned();
            self.nonce = message.nonce().ok().flatten().expect("a nonce").to_owned();
        }
        panic!("the relay wants another nonce, and then another one");
    }

    fn signed(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Vec<u8> {
        self.transactions += 1;
        let builder = fill(Builder::new(Class::Request, method, [self.transactions; 12]));
        if self.nonce.is_empty() {
            return builder.finish();
        }
        let signed = builder.username(&self.credentials.username).realm(&self.realm).nonce(&self.nonce);
        signed.finish_with_integrity(&self.credentials.key(&self.realm))
    }

    /// The next message.
    fn message(&mut self) -> Vec<u8> {
        loop {
            let mut rest = &self.unread[..];
            let message = self.splitter.next(&mut rest).expect("messages").map(<[u8]>::to_vec);
            self.unread = rest.to_vec();
            if let Some(message) = message {
                return message;
            }
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).expect("a message comes");
            assert!(count > 0, "the relay has hung up");
            self.unread.extend_from_slice(&piece[..count]);
        }
    }
}
