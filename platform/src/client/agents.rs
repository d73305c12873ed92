//! What agents ask of the platform.

use adit_core::pki::{Key, pem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Client, ClientError, Distrust, Skew};
use crate::trust::token::{Pin, Token};
use crate::trust::{pin, proof};
use crate::words::{
    AccessToken, Certificate, CertificateRequest, Enrol, Enrolled, Heartbeat, HeartbeatAnswer, NewSession,
    Nonce, Proof, RelayHeartbeat, RelayHeartbeatAnswer, RelaySession, Session,
};

impl Client {
    /// The certificates of the platform's own CA, PEM.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ca(&self) -> Result<String, ClientError> {
        let ca = self.text("/v1/ca").await?;
        match pem::certificates(ca.as_bytes()) {
            Ok(_) => Ok(ca),
            Err(error) => Err(self.malformed(&format!("the platform's CA: {error}"))),
        }
    }

    /// The same on first contact, by `pin`: one of them must have that key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pinned_ca(&self, pin: &Pin) -> Result<String, ClientError> {
        let ca = self.ca().await?;
        let certificates = pem::certificates(ca.as_bytes()).unwrap_or_default();
        match certificates.iter().any(|certificate| pin::of(certificate).as_ref() == Some(pin)) {
            true => Ok(ca),
            false => Err(ClientError::Untrusted { domain: self.domain().to_string(), why: Distrust::Issuer }),
        }
    }

    /// Exchanges `token` for an instance whose key is `key`. It can be done once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enrol(&self, token: &Token, key: &Key) -> Result<Enrolled, ClientError> {
        let public_key = key.public().der();
        let signature = proof::sign(key, &proof::enrolment(token.id(), &public_key));
        let public_key = STANDARD.encode(public_key);
        self.post("/v1/enrol", &Enrol { token: token.reveal().to_string(), public_key, signature }).await
    }

    /// Shows that the caller has the key of `id`, for an access token. `audience` is the trust domain; `local` is
    /// this machine's time, whose error the server's nonce shows: the result is by how much it is wrong.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn access(
        &self,
        audience: &str,
        id: &str,
        key: &Key,
        local: impl Fn() -> u64,
    ) -> Result<(AccessToken, Skew), ClientError> {
        let Nonce { nonce, server_time, .. } = self.get("/v1/auth/nonce").await?;
        // The answer came over a channel whose other end has shown that it is the platform.
        let time = Skew::between(local(), server_time).correct(local());
        let signature = proof::sign(key, &proof::access(audience, id, &nonce, time));
        let proof = Proof { id: id.to_owned(), nonce, time, signature };
        let access: AccessToken = self.post("/v1/auth/token", &proof).await?;
        let skew = Skew::between(local(), access.server_time);
        Ok((access, skew))
    }

    /// Begins a process of a gateway instance.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn gateway_session(&self, new: &NewSession) -> Result<Session, ClientError> {
        self.post("/v1/gateways/self/session", new).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_gateway_session(&self) -> Result<(), ClientError> {
        self.delete("/v1/gateways/self/session").await
    }

    /// Asks for a gateway instance's certificate.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn gateway_certificate(
        &self,
        request: &CertificateRequest,
    ) -> Result<Certificate, ClientError> {
        self.post("/v1/gateways/self/certificate", request).await
    }

    /// Reports a gateway instance.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn gateway_heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, ClientError> {
        self.post("/v1/gateways/self/heartbeat", heartbeat).await
    }

    /// Begins a process of a relay.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn relay_session(&self, new: &NewSession) -> Result<RelaySession, ClientError> {
        self.post("/v1/relays/self/session", new).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_relay_session(&self) -> Result<(), ClientError> {
        self.delete("/v1/relays/self/session").await
    }

    /// Asks for a relay's certificate.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn relay_certificate(&self, request: &CertificateRequest) -> Result<Certificate, ClientError> {
        self.post("/v1/relays/self/certificate", request).await
    }

    /// Reports a relay.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn relay_heartbeat(
        &self,
        heartbeat: &RelayHeartbeat,
    ) -> Result<RelayHeartbeatAnswer, ClientError> {
        self.post("/v1/relays/self/heartbeat", heartbeat).await
    }
}
