//! What a connector is made of.

use std::sync::Arc;

use adit_core::connector::Config;

use super::BuildError;
use super::credential::Parts;
use crate::connector::Connector;
use crate::runtime::Runtime;

type Adjust = Box<dyn FnOnce(&mut Config) + Send>;

/// Makes a [`Connector`]. What must be given: a certificate and a trust anchor.
#[must_use = "nothing runs before spawn"]
pub struct ConnectorBuilder<R> {
    parts: Parts,
    runtime: Option<R>,
    adjust: Vec<Adjust>,
}

impl<R> Default for ConnectorBuilder<R> {
    fn default() -> Self {
        Self { parts: Parts::default(), runtime: None, adjust: Vec::new() }
    }
}

impl<R: Runtime> ConnectorBuilder<R> {
    /// The connector's certificate chain, leaf first, and its key, both as PEM.
    pub fn certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.parts.own = Some((chain.into(), key.into()));
        self
    }

    /// An authority that vouches for gateways, as PEM; may be called more than once.
    pub fn trust(mut self, anchor: impl Into<Vec<u8>>) -> Self {
        self.parts.anchors.push(anchor.into());
        self
    }

    /// Changes what has no method here, time-outs and limits: see [`Config::new`] for the defaults.
    pub fn configure(mut self, adjust: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.adjust.push(Box::new(adjust));
        self
    }

    /// Runs it there instead of where [`spawn`](Self::spawn) is called.
    pub fn on(mut self, runtime: R) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Starts the connector. It knows no gateway yet: [`Connector::gateway`].
    ///
    /// # Errors
    /// [`BuildError`].
    ///
    /// # Panics
    /// Outside of a runtime, where the runtime is one that can't be used from everywhere.
    pub fn spawn(self) -> Result<Connector<R>, BuildError> {
        let credential = self.parts.read(true)?;
        let mut config = Config::new(credential.wall());
        self.adjust.into_iter().for_each(|adjust| adjust(&mut config));
        let runtime = self.runtime.unwrap_or_else(R::current);
        Ok(Connector::spawn_on(&runtime, config, Some(Arc::new(credential))))
    }
}
