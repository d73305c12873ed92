//! This platform instance's certificate as a connector of each organisation: made on demand, renewed at half its life.

use std::sync::Arc;

use adit_core::pki::{Certified, Key, KeyKind, pem};

use super::ConnectError;
use crate::api::App;
use crate::authority::issue;

/// A certificate of ours.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) certified: Arc<Certified>,
    pub(super) serial: String,
    /// When it is to be replaced: unix seconds.
    renew_at: u64,
}

impl App {
    /// The certificate in an organisation, with at least half of its life before it.
    pub(super) async fn own_certificate(&self, organisation: &str) -> Result<Own, ConnectError> {
        let mut all = self.connect.own.lock().await;
        let now = self.clock.now();
        if let Some(own) = all.get(organisation).filter(|own| now < own.renew_at) {
            return Ok(own.clone());
        }
        let own = self.issue_own(organisation).await?;
        all.retain(|_, own| now < own.renew_at);
        all.insert(organisation.to_owned(), own.clone());
        Ok(own)
    }

    /// It is recorded among the certificates, and revoked with this instance; no event of the audit, since nobody did
    /// anything.
    async fn issue_own(&self, organisation: &str) -> Result<Own, ConnectError> {
        let (key, life) = (Key::generate(KeyKind::EcdsaP256), self.config.times.connector_leaf);
        let mut change = self.store.quiet_change(organisation).await?;
        let instance = self.store.instance().to_owned();
        let issued = issue::platform(&mut change, &instance, &key.public(), life).await?;
        change.commit().await?;
        let broken = |error: &dyn std::fmt::Display| ConnectError::Certificate(error.to_string());
        let chain = pem::certificates(issued.chain.as_bytes()).map_err(|error| broken(&error))?;
        let certified = Certified::new(chain, key).map_err(|error| broken(&error))?;
        let renew_at = self.clock.now().saturating_add(life.as_secs() / 2);
        Ok(Own { certified: Arc::new(certified), serial: issued.serial, renew_at })
    }
}
