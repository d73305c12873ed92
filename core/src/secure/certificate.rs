//! A relay's certificate and its key, as they stand in files.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{dtls, tls};
use crate::pki::pem::{self, BadPem};
use crate::time::WallCell;

/// A chain of certificates, the leaf's first, and the leaf's key.
#[derive(Debug)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// The files don't hold what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFiles {
    /// There is no certificate.
    #[error("{0}")]
    Certificate(BadPem),
    /// There is no private key.
    #[error("there is no private key in PEM form in it")]
    Key,
}

impl Certificate {
    /// What stands in two files, which may be one.
    ///
    /// # Errors
    /// [`BadFiles`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, BadFiles> {
        Ok(Self {
            chain: pem::certificates(chain).map_err(BadFiles::Certificate)?,
            key: PrivateKeyDer::from_pem_slice(key).map_err(|_| BadFiles::Key)?,
        })
    }

    /// For TLS.
    ///
    /// # Errors
    /// [`tls::UnusableCertificate`].
    pub fn tls(&self) -> Result<tls::ServerConfig, tls::UnusableCertificate> {
        // A relay judges nobody's certificate, so that it need not know the time.
        tls::ServerConfig::new(self.chain.clone(), self.key.clone_key(), WallCell::default())
    }

    /// For DTLS, which not every certificate serves.
    ///
    /// # Errors
    /// [`dtls::NotForDtls`].
    pub fn dtls(&self) -> Result<dtls::ServerConfig, dtls::NotForDtls> {
        dtls::ServerConfig::new(&self.chain, &self.key)
    }
}
