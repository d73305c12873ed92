//! TLS 1.3 for quinn-proto, over rustls.
//!
//! quinn-proto has this too, but puts rustls' sentence about a failed handshake into CONNECTION_CLOSE, for strangers
//! to read: it tells which certificates were expected, and the server's clock. Here the wire gets a constant, and
//! the error stays with the session, for its owner. There are no tickets, so there is no early data either.

use std::any::Any;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use quinn_proto::crypto::{
    self, ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, PacketKey, ServerConfig,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::crypto::CryptoProvider;
use rustls::quic::{self, KeyChange, PacketKeySet, Secrets, Suite, Version};
use rustls::{CipherSuite, Error};
use rustls_pki_types::{CertificateDer, ServerName};

use super::UnusableTls;

/// What a peer is told about a handshake that failed, besides TLS's own alert.
pub(super) const REASON: &str = "handshake failed";

/// The key and the nonce of a Retry's tag (RFC 9001 §5.8).
const RETRY_KEY: [u8; 16] = 0xbe0c690b9f66575a1d766b54e368c84e_u128.to_be_bytes();
const RETRY_NONCE: [u8; 12] = *b"\x46\x15\x99\xd3\x5d\x63\x2b\xf2\x23\x98\x25\xbb";
const TAG: usize = 16;

/// What `handshake_data` returns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Handshake {
    /// The application protocol that was agreed on.
    pub(super) alpn: Option<Vec<u8>>,
    /// Why the other end was refused, if it was.
    pub(super) failure: Option<Error>,
}

/// Starts sessions of servers.
pub(super) struct Server {
    tls: Arc<rustls::ServerConfig>,
    initial: Suite,
}

impl Server {
    pub(super) fn new(tls: Arc<rustls::ServerConfig>) -> Result<Self, UnusableTls> {
        let initial = initial_suite(tls.crypto_provider())?;
        // So that none fails later.
        quic::ServerConnection::new(tls.clone(), Version::V1, Vec::new()).map_err(|_| UnusableTls)?;
        Ok(Self { tls, initial })
    }
}

impl ServerConfig for Server {
    fn initial_keys(&self, _: u32, dst_cid: &ConnectionId) -> Result<crypto::Keys, UnsupportedVersion> {
        Ok(initial_keys(&self.initial, dst_cid, Side::Server))
    }

    fn retry_tag(&self, _: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; TAG] {
        retry_tag(orig_dst_cid, &[packet])
    }

    fn start_session(self: Arc<Self>, _: u32, params: &TransportParameters) -> Box<dyn crypto::Session> {
        let connection = quic::ServerConnection::new(self.tls.clone(), Version::V1, encode(params))
            .expect("the configuration was tried out");
        Box::new(Session::new(connection.into(), self.initial))
    }
}

/// Starts sessions of clients.
pub(super) struct Client {
    tls: Arc<rustls::ClientConfig>,
    initial: Suite,
}

impl Client {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>) -> Result<Self, UnusableTls> {
        let initial = initial_suite(tls.crypto_provider())?;
        Ok(Self { tls, initial })
    }
}

impl ClientConfig for Client {
    fn start_session(
        self: Arc<Self>,
        _: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        let invalid = |_| ConnectError::InvalidServerName(server_name.to_owned());
        let name = ServerName::try_from(server_name).map_err(invalid)?.to_owned();
        let connection = quic::ClientConnection::new(self.tls.clone(), Version::V1, name, encode(params))
            .map_err(|_| ConnectError::EndpointStopping)?;
        Ok(Box::new(Session::new(connection.into(), self.initial)))
    }
}

/// One end of one handshake, and the keys that came of it.
struct Session {
    tls: quic::Connection,
    initial: Suite,
    /// From which the next generation of keys is made (RFC 9001 §6).
    next: Option<Secrets>,
    failure: Option<Error>,
}

impl Session {
    fn new(tls: quic::Connection, initial: Suite) -> Self {
        Self { tls, initial, next: None, failure: None }
    }

    fn side(&self) -> Side {
        match self.tls {
            quic::Connection::Client(_) => Side::Client,
            quic::Connection::Server(_) => Side::Server,
        }
    }

    /// What the other end is told: the alert, and nothing else.
    fn refuse(&mut self, error: Error) -> TransportError {
        self.failure = Some(error);
        let code = match self.tls.alert() {
            Some(alert) => TransportErrorCode::crypto(alert.into()),
            None => TransportErrorCode::PROTOCOL_VIOLATION,
        };
        TransportError { code, frame: None, reason: REASON.to_owned() }
    }
}

impl crypto::Session for Session {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> crypto::Keys {
        initial_keys(&self.initial, dst_cid, side)
    }

    /// Returns false always: nobody waits for the event that comes of it.
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        match self.tls.read_hs(buf) {
            Ok(()) => Ok(false),
            Err(error) => Err(self.refuse(error)),
        }
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<crypto::Keys> {
        match self.tls.write_hs(buf)? {
            KeyChange::Handshake { keys } => Some(keys_for_quinn(keys)),
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(next);
                Some(keys_for_quinn(keys))
            }
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let PacketKeySet { local, remote } = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(local), remote: Box::new(remote) })
    }

    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let alpn = self.tls.alpn_protocol().map(<[u8]>::to_vec);
        Some(Box::new(Handshake { alpn, failure: self.failure.clone() }))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let chain = self.tls.peer_certificates()?;
        let chain: Vec<CertificateDer<'static>> = chain.iter().map(|it| it.clone().into_owned()).collect();
        Some(Box::new(chain))
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(mut encoded) = self.tls.quic_transport_parameters() else { return Ok(None) };
        Ok(Some(TransportParameters::read(self.side(), &mut encoded)?))
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        Some(false)
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        // The tag keeps accidents out, not attackers: its key is in the RFC.
        payload
            .split_last_chunk::<TAG>()
            .is_some_and(|(token, tag)| retry_tag(orig_dst_cid, &[header, token]) == *tag)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        match self.tls.export_keying_material(output, label, Some(context)) {
            Ok(_) => Ok(()),
            Err(_) => Err(ExportKeyingMaterialError),
        }
    }
}

/// The suite that protects the first packets of all connections (RFC 9001 §5.2).
fn initial_suite(provider: &CryptoProvider) -> Result<Suite, UnusableTls> {
    let mut suites = provider.cipher_suites.iter();
    let suite = suites.find(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    suite.and_then(|suite| suite.tls13()?.quic_suite()).ok_or(UnusableTls)
}

fn initial_keys(suite: &Suite, dst_cid: &ConnectionId, side: Side) -> crypto::Keys {
    let side = match side {
        Side::Client => rustls::Side::Client,
        Side::Server => rustls::Side::Server,
    };
    keys_for_quinn(suite.keys(dst_cid, side, Version::V1))
}

fn keys_for_quinn(keys: quic::Keys) -> crypto::Keys {
    let (local, remote) = (keys.local, keys.remote);
    crypto::Keys {
        header: KeyPair { local: Box::new(local.header), remote: Box::new(remote.header) },
        packet: KeyPair { local: Box::new(local.packet), remote: Box::new(remote.packet) },
    }
}

fn encode(params: &TransportParameters) -> Vec<u8> {
    let mut encoded = Vec::new();
    params.write(&mut encoded);
    encoded
}

/// The tag of the Retry packet whose `parts` follow each other (RFC 9001 §5.8).
fn retry_tag(orig_dst_cid: &ConnectionId, parts: &[&[u8]]) -> [u8; TAG] {
    let len = u8::try_from(orig_dst_cid.len()).expect("connection IDs have at most 20 bytes");
    let mut pseudo_packet = vec![len];
    pseudo_packet.extend_from_slice(orig_dst_cid);
    pseudo_packet.extend(parts.iter().copied().flatten());

    let key = UnboundKey::new(&AES_128_GCM, &RETRY_KEY).expect("the key has the length of AES-128's");
    let nonce = Nonce::assume_unique_for_key(RETRY_NONCE);
    let tag = LessSafeKey::new(key).seal_in_place_separate_tag(nonce, Aad::from(pseudo_packet), &mut []);
    tag.expect("there is nothing to encrypt").as_ref().try_into().expect("a tag of AES-GCM has 16 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packet of RFC 9001 §A.4.
    #[test]
    fn a_retry_has_the_tag_of_the_rfc() {
        let orig_dst_cid = ConnectionId::new(&0x8394_c8f0_3e51_5708_u64.to_be_bytes());
        let packet = b"\xff\x00\x00\x00\x01\x00\x08\xf0\x67\xa5\x50\x2a\x42\x62\xb5token";
        let tag = 0x04a2_65ba_2eff_4d82_9058_fb3f_0f24_96ba_u128.to_be_bytes();
        assert_eq!(retry_tag(&orig_dst_cid, &[packet]), tag);
        assert_eq!(retry_tag(&orig_dst_cid, &[&packet[..4], &packet[4..]]), tag);
    }
}
