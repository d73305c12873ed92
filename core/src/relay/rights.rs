//! What the credentials of an allocation allow. They only ever narrow what the relay's own policy allows.

use std::net::IpAddr;

use crate::time::UnixTime;
use crate::turn::address_policy::Policy;
use crate::turn::credential_policy::CredentialPolicy;
use crate::turn::credentials::Account;

/// What somebody may do, by their credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rights {
    /// When the credentials run out; `None` is never.
    expiry: Option<UnixTime>,
    /// The peers; `None` leaves them to the relay.
    peers: Option<Policy>,
    /// The number of allocations; `None` leaves it to the relay.
    pub(super) max_allocations: Option<u32>,
}

impl Rights {
    pub(super) fn of(account: &Account) -> Self {
        let policy = account.policy.as_ref();
        Self {
            expiry: account.expiry,
            peers: policy.map(CredentialPolicy::to_policy),
            max_allocations: policy.and_then(|policy| policy.max_allocations).map(u32::from),
        }
    }

    /// Whether `peer` may be reached.
    pub(super) fn permit(&self, peer: IpAddr) -> bool {
        self.peers.as_ref().is_none_or(|policy| policy.judge(peer).is_ok())
    }

    /// Whether they come with renewed credentials: such as run out no earlier. A request that was signed before the
    /// renewal and arrives after it does not bring the old rights back.
    pub(super) fn renew(&self, held: &Self) -> bool {
        let end = |rights: &Self| rights.expiry.unwrap_or(UnixTime(u64::MAX));
        self != held && end(self) >= end(held)
    }
}
