//! What may change while the relay runs: who may use it, whom its users may reach, and how much of it they may have.
//! No allocation ends by that.

use std::num::NonZeroU64;
use std::time::Instant;

use super::Relay;
use super::budget::ReplyBudget;
use super::tcp::ConnectionLimits;
use crate::secure::{dtls, tls};
use crate::turn::address_policy::Policy;
use crate::turn::credentials::Authenticator;

impl Relay {
    /// Who may use it from now on. No allocation ends: each lives on under its key, until its client sends the next
    /// request, which must be signed with credentials that are good by then. Keep the secret that is to be replaced
    /// for as long as credentials made from it are out.
    pub fn set_authenticator(&mut self, _now: Instant, authenticator: Authenticator) {
        self.config.authenticator = authenticator;
    }

    /// What it shows to clients that speak TLS or DTLS, from now on: a renewed certificate. Whoever is connected stays so.
    pub fn set_certificates(
        &mut self,
        _now: Instant,
        tls: Option<tls::ServerConfig>,
        dtls: Option<dtls::ServerConfig>,
    ) {
        (self.config.tls, self.config.dtls) = (tls, dtls);
    }

    /// Which peers may be reached from now on, and whether relayed addresses are among them. Peers that the policy denies
    /// lose their permissions, channels and connections. O(allocations and connections).
    pub fn set_policy(&mut self, _now: Instant, policy: Policy, allow_relayed_peers: bool) {
        self.reach.set_policy(policy, allow_relayed_peers);
        let reach = &self.reach;
        self.table.keep_peers(|peer| reach.address(peer).is_ok());
        self.end_denied();
    }

    /// How many allocations there may be for each user, and in all; `None` is no limit. Who has more already keeps them.
    pub fn set_quotas(&mut self, _now: Instant, per_user: Option<u32>, total: Option<u32>) {
        self.table.set_quotas(per_user, total);
    }

    /// How many bytes a second are relayed for each user, each way; `None` is no limit.
    pub fn set_max_rate(&mut self, _now: Instant, rate: Option<NonZeroU64>) {
        self.config.max_rate = rate;
        self.table.set_rate(rate);
        self.rest_no_more();
    }

    /// How many permissions and channels each new allocation may have.
    pub fn set_room(&mut self, _now: Instant, permissions: usize, channels: usize) {
        self.config.max_permissions = permissions;
        self.config.max_channels = channels;
    }

    /// How many TCP connections with peers there may be (RFC 6062). Those that there are stay.
    pub fn set_connection_limits(&mut self, _now: Instant, limits: ConnectionLimits) {
        self.config.connections = limits;
        self.connections.set_limits(limits.share(&self.config.shard));
    }

    /// How many replies a source gets from now on before it has authenticated itself.
    pub fn set_reply_budget(&mut self, _now: Instant, budget: ReplyBudget) {
        self.config.reply_budget = budget;
    }
}
