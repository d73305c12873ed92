//! What a running relay is told anew: at SIGHUP flags, environment and files are read again.
//!
//! Secrets, users, the policy for peers, limits and how the relay ends take effect at once, without the loss of an
//! allocation. What is wrong changes nothing. What can't change in a running relay is said, and stays as it was.

use std::collections::BTreeSet;

use adit_core::relay::{Config, Relay};

use super::flags::Start;
use super::serving::{Drain, Serving};
use super::settings::Settings;
use crate::exit::Failure;
use crate::monitor::Monitor;
use crate::service::{self, Reloads};

/// The settings of a running relay, and where they come from.
pub(crate) struct Orders {
    flags: Start,
    settings: Settings,
    reloads: Reloads,
}

impl Orders {
    /// The relay begins with `settings`, which `flags` have come to.
    pub(super) fn new(flags: Start, settings: Settings) -> Result<Self, Failure> {
        Ok(Self { flags, settings, reloads: Reloads::new()? })
    }

    /// Starts the relay, which lets nobody in who is `revoked`.
    pub(crate) fn begin(
        &self,
        config: Config,
        revoked: &BTreeSet<String>,
        monitor: Monitor,
    ) -> Result<Serving, Failure> {
        Serving::start(config, self.settings.shards(), revoked, monitor, self.settings.event_log()?)
    }

    /// Waits for an order.
    pub(crate) async fn wait(&mut self) {
        self.reloads.next().await;
    }

    /// What the relay is started with, where that is now.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        self.settings.config()
    }

    /// How the relay ends.
    pub(crate) fn drain(&self) -> Drain {
        self.settings.drain()
    }

    /// Reads everything again, and puts it into effect in the relay, if there is one already.
    pub(crate) fn follow(&mut self, serving: Option<&Serving>) {
        service::reloading();
        match self.read(serving) {
            Ok(kept) => {
                if !kept.is_empty() {
                    tracing::warn!("{} can't change while the relay runs: restart it", kept.join(", "));
                }
                tracing::info!("the settings were read again and are in effect");
            }
            Err(Failure { what, next, .. }) => {
                tracing::error!(next, "the settings were read again, and nothing was changed: {what}");
            }
        }
        service::ready();
    }

    /// The settings that stay as they were although they were to change.
    fn read(&mut self, serving: Option<&Serving>) -> Result<Vec<String>, Failure> {
        let mut settings = self.flags.settings()?;
        let kept = settings.keep_fixed(&self.settings);
        let change = settings.change()?;
        if let Some(serving) = serving {
            serving.change(change);
            serving.reopen_events();
        }
        self.settings = settings;
        Ok(kept)
    }
}

impl Settings {
    /// What puts these settings into effect in a running relay, as far as they can change there.
    fn change(&self) -> Result<impl Fn(&mut Relay, std::time::Instant) + use<>, Failure> {
        let config = self.config()?;
        let revoked = self.revoked()?;
        let admitted = self.domain.is_none().then(|| (config.authenticator.clone(), revoked));
        Ok(move |relay: &mut Relay, now| {
            // The platform says who may use its relays.
            if let Some((authenticator, revoked)) = &admitted {
                relay.set_authenticator(now, authenticator.clone());
                relay.set_revoked(now, revoked);
            }
            relay.set_policy(now, config.policy.clone(), config.allow_relayed_peers);
            relay.set_quotas(now, config.user_quota, config.total_quota);
            relay.set_max_rate(now, config.max_rate);
            relay.set_room(now, config.max_permissions, config.max_channels);
            relay.set_connection_limits(now, config.connections);
            relay.set_reply_budget(now, config.reply_budget);
            relay.set_certificates(now, config.tls.clone(), config.dtls.clone());
        })
    }
}
