//! The few STUN messages of a TURN client (RFC 8489, RFC 8656), written and read as plainly as a load generator may:
//! the server is trusted to answer well.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};
use sha1::Sha1;

const MAGIC_COOKIE: u32 = 0x2112_A442;
const HEADER_LEN: usize = 20;
/// The MESSAGE-INTEGRITY attribute, its head included.
const INTEGRITY_LEN: usize = 24;
/// How long time-limited credentials live, in seconds.
const CREDENTIALS_LIFETIME: u64 = 86_400;

pub(crate) const ALLOCATE: u16 = 0x0003;
pub(crate) const REFRESH: u16 = 0x0004;
pub(crate) const CREATE_PERMISSION: u16 = 0x0008;
pub(crate) const CHANNEL_BIND: u16 = 0x0009;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const CHANNEL_NUMBER: u16 = 0x000C;
const LIFETIME: u16 = 0x000D;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_TRANSPORT: u16 = 0x0019;

/// What ties a response to its request.
pub(crate) type Transaction = [u8; 12];

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    pub(crate) fn new(method: u16, transaction: Transaction) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(method.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes.extend(transaction);
        Self(bytes)
    }

    /// UDP, which is all there is.
    pub(crate) fn transport(self) -> Self {
        self.attribute(REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    }

    pub(crate) fn lifetime(self, seconds: u32) -> Self {
        self.attribute(LIFETIME, &seconds.to_be_bytes())
    }

    pub(crate) fn channel(self, number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        self.attribute(CHANNEL_NUMBER, &[high, low, 0, 0])
    }

    pub(crate) fn peer(self, peer: SocketAddrV4) -> Self {
        let [port_high, port_low] = (peer.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
        let [a, b, c, d] = (u32::from(*peer.ip()) ^ MAGIC_COOKIE).to_be_bytes();
        self.attribute(XOR_PEER_ADDRESS, &[0, 1, port_high, port_low, a, b, c, d])
    }

    /// The message, signed.
    pub(crate) fn signed(self, credentials: &Credentials) -> Vec<u8> {
        let mut signed = self
            .attribute(USERNAME, credentials.username.as_bytes())
            .attribute(REALM, &credentials.realm)
            .attribute(NONCE, &credentials.nonce);
        signed.set_length(signed.0.len() - HEADER_LEN + INTEGRITY_LEN);
        let mut mac = Hmac::<Sha1>::new_from_slice(&credentials.key).expect("any key will do");
        mac.update(&signed.0);
        signed.attribute(MESSAGE_INTEGRITY, &mac.finalize().into_bytes()).0
    }

    /// The message as it is.
    pub(crate) fn unsigned(self) -> Vec<u8> {
        self.0
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.set_length(self.0.len() - HEADER_LEN);
        self
    }

    fn set_length(&mut self, length: usize) {
        self.0[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    }
}

/// Who the client is, with what the server has told about realm and nonce.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    username: String,
    password: String,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: [u8; 16],
}

impl Credentials {
    pub(crate) fn fixed(username: &str, password: &str) -> Self {
        let (username, password) = (username.to_owned(), password.to_owned());
        Self { username, password, realm: Vec::new(), nonce: Vec::new(), key: [0; 16] }
    }

    /// The username says until when it is good; the password is its HMAC under `secret`.
    pub(crate) fn time_limited(secret: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let username = format!("{}:load", now + CREDENTIALS_LIFETIME);
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("any key will do");
        mac.update(username.as_bytes());
        Self::fixed(&username, &BASE64.encode(mac.finalize().into_bytes()))
    }

    /// Takes over what a challenge says.
    pub(crate) fn answer(&mut self, challenge: &Response<'_>) {
        self.realm = challenge.attribute(REALM).unwrap_or(&self.realm).to_vec();
        self.nonce = challenge.attribute(NONCE).unwrap_or(&self.nonce).to_vec();
        let mut md5 = Md5::new();
        for part in [self.username.as_bytes(), b":", &self.realm, b":", self.password.as_bytes()] {
            md5.update(part);
        }
        self.key = md5.finalize().into();
    }
}

/// A response of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Response<'a>(&'a [u8]);

impl<'a> Response<'a> {
    /// `None` when it is none, or not to that request.
    pub(crate) fn parse(bytes: &'a [u8], request: &[u8]) -> Option<Self> {
        let is_message = bytes.len() >= HEADER_LEN && bytes[4..8] == MAGIC_COOKIE.to_be_bytes();
        (is_message && bytes[8..20] == request[8..20]).then_some(Self(bytes))
    }

    /// The code of an error.
    pub(crate) fn error(&self) -> Option<u16> {
        let kind = u16::from_be_bytes([self.0[0], self.0[1]]);
        let value = self.attribute(ERROR_CODE).filter(|_| kind & 0x0110 == 0x0110)?;
        Some(u16::from(*value.get(2)?) * 100 + u16::from(*value.get(3)?))
    }

    pub(crate) fn relayed_address(&self) -> Option<SocketAddrV4> {
        let &[_, _, port_high, port_low, a, b, c, d] = self.attribute(XOR_RELAYED_ADDRESS)? else {
            return None;
        };
        let port = u16::from_be_bytes([port_high, port_low]) ^ (MAGIC_COOKIE >> 16) as u16;
        let address = u32::from_be_bytes([a, b, c, d]) ^ MAGIC_COOKIE;
        Some(SocketAddrV4::new(Ipv4Addr::from(address), port))
    }

    fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = &self.0[HEADER_LEN..];
        loop {
            let (&[kind_high, kind_low, len_high, len_low], behind) = rest.split_first_chunk()?;
            let len = usize::from(u16::from_be_bytes([len_high, len_low]));
            let value = behind.get(..len)?;
            if u16::from_be_bytes([kind_high, kind_low]) == wanted {
                return Some(value);
            }
            rest = behind.get(len.next_multiple_of(4)..)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_length_that_it_tells() {
        let credentials = Credentials::fixed("user", "pass");
        let request = Request::new(CREATE_PERMISSION, [7; 12]).peer("192.0.2.1:5".parse().unwrap());
        let bytes = request.signed(&credentials);
        assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len() - HEADER_LEN);
        assert!(Response::parse(&bytes, &bytes).is_some());
        assert!(Response::parse(&bytes[..19], &bytes).is_none());
    }

    #[test]
    fn an_address_comes_back_as_it_went() {
        let address: SocketAddrV4 = "192.0.2.1:50000".parse().unwrap();
        let mut bytes = Request::new(ALLOCATE, [7; 12]).transport().peer(address).unsigned();
        let at = bytes.windows(2).position(|pair| pair == XOR_PEER_ADDRESS.to_be_bytes()).unwrap();
        bytes[at..at + 2].copy_from_slice(&XOR_RELAYED_ADDRESS.to_be_bytes());
        assert_eq!(Response(&bytes).relayed_address(), Some(address));
        assert_eq!(Response(&bytes).error(), None);
    }
}
