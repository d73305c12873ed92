//! Who a token stands for: one look-up by the token's id for each request.

use ipnet::IpNet;
use sqlx::{Any, FromRow};

use super::json::{list, word};
use super::tokens::TokenRow;
use super::{Store, StoreError, time_of_row};
use crate::words::{AgentKind, ProjectRole, Role};

/// An identity's token, and the identity.
#[derive(Debug, Clone)]
pub struct IdentityOf {
    /// The token; its subject is the identity's id.
    pub token: TokenRow,
    /// The organisation's name.
    pub organisation_name: String,
    /// The identity's name.
    pub name: String,
    /// Its roles in the organisation.
    pub roles: Vec<Role>,
    /// From where its tokens count; everywhere where there is none.
    pub allowed_from: Vec<IpNet>,
    /// Since when it is revoked.
    pub revoked_at: Option<u64>,
}

/// An agent's access token, and the agent.
#[derive(Debug, Clone)]
pub struct AgentOf {
    /// The token; its subject is the id of the instance, or of the relay.
    pub token: TokenRow,
    /// The organisation's name.
    pub organisation_name: String,
    /// What the agent is.
    pub kind: AgentKind,
    /// The id of the gateway, or of the relay.
    pub of: String,
    /// The name of the gateway, or of the relay.
    pub name: String,
    /// Since when it is revoked.
    pub revoked_at: Option<u64>,
}

#[derive(FromRow)]
struct IdentityRow {
    #[sqlx(flatten)]
    token: TokenRow,
    organisation_name: String,
    name: String,
    roles: String,
    allowed_from: String,
    holder_revoked_at: i64,
}

const IDENTITY: &str = "SELECT t.id, t.organisation, t.kind, t.subject, t.hash, t.created_at, t.expires_at, \
        t.last_used_at, t.spent_at, t.revoked_at, \
        o.name AS organisation_name, i.name, i.roles, i.allowed_from, i.revoked_at AS holder_revoked_at \
    FROM tokens t \
    JOIN identities i ON i.id = t.subject AND i.organisation = t.organisation \
    JOIN organisations o ON o.id = t.organisation \
    WHERE t.id = $1 AND t.kind = 'identity'";

#[derive(FromRow)]
struct AgentRow {
    #[sqlx(flatten)]
    token: TokenRow,
    organisation_name: String,
    of_id: String,
    name: String,
    holder_revoked_at: i64,
}

const INSTANCE: &str = "SELECT t.id, t.organisation, t.kind, t.subject, t.hash, t.created_at, t.expires_at, \
        t.last_used_at, t.spent_at, t.revoked_at, \
        o.name AS organisation_name, g.id AS of_id, g.name, i.revoked_at AS holder_revoked_at \
    FROM tokens t \
    JOIN instances i ON i.id = t.subject AND i.organisation = t.organisation \
    JOIN gateways g ON g.id = i.gateway \
    JOIN organisations o ON o.id = t.organisation \
    WHERE t.id = $1 AND t.kind = 'access'";

const RELAY: &str = "SELECT t.id, t.organisation, t.kind, t.subject, t.hash, t.created_at, t.expires_at, \
        t.last_used_at, t.spent_at, t.revoked_at, \
        o.name AS organisation_name, r.id AS of_id, r.name, CAST(0 AS BIGINT) AS holder_revoked_at \
    FROM tokens t \
    JOIN relays r ON r.id = t.subject AND r.organisation = t.organisation \
    JOIN organisations o ON o.id = t.organisation \
    WHERE t.id = $1 AND t.kind = 'access'";

/// The identity whose token has this id. The token says of which organisation its holder is: this is where it comes
/// from, and everything after is bound to it.
///
/// # Errors
/// Those of the database.
pub async fn identity(store: &Store, token: &str) -> Result<Option<IdentityOf>, StoreError> {
    let query = sqlx::query_as::<Any, IdentityRow>(IDENTITY).bind(token);
    let Some(row) = query.fetch_optional(store.reader()).await? else { return Ok(None) };
    Ok(Some(IdentityOf {
        roles: list(&row.roles)?,
        allowed_from: list(&row.allowed_from)?,
        token: row.token,
        organisation_name: row.organisation_name,
        name: row.name,
        revoked_at: time_of_row(row.holder_revoked_at),
    }))
}

/// The gateway instance, or the relay, whose access token has this id.
///
/// # Errors
/// Those of the database.
pub async fn agent(store: &Store, token: &str) -> Result<Option<AgentOf>, StoreError> {
    for (kind, statement) in [(AgentKind::Gateway, INSTANCE), (AgentKind::Relay, RELAY)] {
        let query = sqlx::query_as::<Any, AgentRow>(statement).bind(token);
        if let Some(row) = query.fetch_optional(store.reader()).await? {
            return Ok(Some(AgentOf {
                token: row.token,
                organisation_name: row.organisation_name,
                kind,
                of: row.of_id,
                name: row.name,
                revoked_at: time_of_row(row.holder_revoked_at),
            }));
        }
    }
    Ok(None)
}

/// The projects of an identity, by id, and its role in each.
///
/// # Errors
/// Those of the database.
pub async fn projects(
    store: &Store,
    organisation: &str,
    identity: &str,
) -> Result<Vec<(String, ProjectRole)>, StoreError> {
    let statement =
        "SELECT project, role FROM members WHERE organisation = $1 AND identity = $2 ORDER BY project";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(organisation).bind(identity);
    let rows = query.fetch_all(store.reader()).await?;
    rows.into_iter().map(|(project, role)| Ok((project, word(&role)?))).collect()
}
