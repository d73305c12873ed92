//! Leases: users that live as long as somebody needs them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a lease is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// Its user is being made.
    Creating,
    /// Its user can log in.
    Active,
    /// Its user is being removed, however long that takes.
    Revoking,
    /// Its user is gone.
    Revoked,
    /// Its user was never made.
    Failed,
    /// An administrator gave up on removing its user.
    Abandoned,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// The name of the secret.
    pub secret: String,
    /// The name of the database.
    pub database: String,
    /// The name of the project.
    pub project: String,
    /// The name of the identity that leased.
    pub identity: String,
    /// The user.
    pub username: String,
    /// Where it is in its life.
    pub state: LeaseState,
    /// When it was made.
    pub created_at: u64,
    /// When it ends unless it is renewed.
    pub expires_at: u64,
    /// Until when it can be renewed.
    pub max_expires_at: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Why it is being removed or was: `expired`, `revoked by identity:ann`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What hinders its removal, where that has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// What hinders work on a database's server. It is tried again for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trouble {
    /// Since when.
    pub since: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    pub error: String,
    /// When it is tried again.
    pub next_at: u64,
    /// Whether it has failed for so long that somebody should look at it.
    pub stuck: bool,
}

/// A lease to be made. With the header `Idempotency-Key`, 1 to 128 printable characters, the same request sent again
/// within ten minutes answers with the same lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLease {
    /// The secret's name or id.
    pub secret: String,
    /// Its life in seconds: 60 to the secret's `max_ttl`; the secret's `default_ttl` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// A lease with what is needed to log in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuedLease {
    /// The lease.
    pub lease: Lease,
    /// The password of its user. It is shown this once.
    pub password: String,
    /// The gateway through which the server is reached.
    pub gateway: String,
    /// The server's host, as the gateway resolves it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database on the server.
    pub dbname: String,
}

/// A lease to be renewed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewLease {
    /// From now on how many seconds it lives: never past `max_expires_at`, and never shorter than before; the
    /// secret's `default_ttl` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// How many leases are to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokedLeases {
    /// Leases that are being revoked now and were not before.
    pub revoking: u64,
}

/// What became of leases when the platform was restored from a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// Whether leases from before the restoration wait: none of them expires by itself, and no user that looks lost is
    /// dropped, until an administrator of the organisation confirms.
    pub paused: bool,
    /// How many leases wait.
    pub leases: u64,
}

/// A user on a server that looks as if the platform had made it and that belongs to no lease that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Orphan {
    /// The name of the database.
    pub database: String,
    /// The user.
    pub username: String,
    /// Why it is suspect, and why it is or is not dropped by itself.
    pub finding: String,
    /// Whether it is provably this installation's, of this store.
    pub ours: bool,
    /// When it was first seen.
    pub seen_at: u64,
}

/// The password is shown to nobody.
impl std::fmt::Debug for IssuedLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedLease").field("lease", &self.lease).finish_non_exhaustive()
    }
}
