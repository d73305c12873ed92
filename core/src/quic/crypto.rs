//! A wrapper around quinn-proto's TLS sessions that keeps the TLS library's sentences off the wire.
//!
//! quinn-proto puts the reason of a failed handshake into CONNECTION_CLOSE, for strangers to read: it tells which
//! certificates were expected, and the server's clock. Here the reason becomes a constant; the sentence stays in the
//! session and comes out through `handshake_data`.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::HandshakeData;
use quinn_proto::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};

/// What a peer is told about a handshake that failed, besides TLS's own alert.
pub(super) const REASON: &str = "handshake failed";

/// What `handshake_data` returns. It is there once a handshake has got somewhere, or has failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Handshake {
    /// The application protocol that was agreed on.
    pub(super) alpn: Option<Vec<u8>>,
    /// The TLS library's sentence about why it refused the peer.
    pub(super) failure: Option<String>,
}

/// Starts wrapped sessions of servers.
pub(super) struct Server(pub(super) Arc<dyn ServerConfig>);

impl ServerConfig for Server {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        wrap(self.0.clone().start_session(version, params))
    }
}

/// Starts wrapped sessions of clients.
pub(super) struct Client(pub(super) Arc<dyn ClientConfig>);

impl ClientConfig for Client {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        self.0.clone().start_session(version, server_name, params).map(wrap)
    }
}

fn wrap(inner: Box<dyn Session>) -> Box<dyn Session> {
    Box::new(Discreet { inner, failure: None })
}

struct Discreet {
    inner: Box<dyn Session>,
    failure: Option<String>,
}

impl Session for Discreet {
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let data = self.inner.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        if data.is_none() && self.failure.is_none() {
            return None;
        }
        let alpn = data.and_then(|data| data.protocol);
        Some(Box::new(Handshake { alpn, failure: self.failure.clone() }))
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(buf).map_err(|mut error| {
            self.failure = Some(std::mem::replace(&mut error.reason, REASON.to_owned()));
            error
        })
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}
