//! Tokens of every kind. The store knows the hash of the secret, never the secret.

use sqlx::{Any, AnyExecutor};

use super::error::StoreError;
use super::{Change, Store, time_of_row, to_row};
use crate::trust::token::{Kind, Token};
use crate::words::TokenInfo;

/// For how long a token that ran out is kept, so that its holder is told so: a week.
const KEPT: u64 = 7 * 24 * 3600;

/// How exactly it is known when a token was last used, in seconds.
const USED_EVERY: i64 = 60;

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TokenRow {
    /// Its id.
    pub id: String,
    /// The id of the organisation.
    pub organisation: String,
    /// [`Kind`] as text.
    kind: String,
    /// The id of what it stands for: an identity; the gateway or relay that it enrols; an instance or a relay.
    pub subject: String,
    hash: String,
    created_at: i64,
    expires_at: i64,
    last_used_at: i64,
    spent_at: i64,
    revoked_at: i64,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dead {
    /// It was revoked.
    Revoked,
    /// It worked once, as it should.
    Spent,
    /// It ran out.
    Expired,
}

impl TokenRow {
    /// What it is for; `None` for a kind that is not known here.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of(&self.kind)
    }

    /// Whether `token` is this one: its kind and its secret, in constant time.
    pub fn is(&self, token: &Token) -> bool {
        self.kind() == Some(token.kind()) && token.matches(&self.hash)
    }

    /// Whether it counts at `now`.
    ///
    /// # Errors
    /// [`Dead`].
    pub fn check(&self, now: u64) -> Result<(), Dead> {
        if self.revoked_at != 0 {
            return Err(Dead::Revoked);
        }
        if self.spent_at != 0 {
            return Err(Dead::Spent);
        }
        match time_of_row(self.expires_at).is_some_and(|end| end <= now) {
            true => Err(Dead::Expired),
            false => Ok(()),
        }
    }

    /// When it runs out; `None` for never.
    pub fn expires_at(&self) -> Option<u64> {
        time_of_row(self.expires_at)
    }

    /// What its holder may know.
    pub fn info(&self) -> TokenInfo {
        TokenInfo {
            id: self.id.clone(),
            created_at: super::of_row(self.created_at),
            expires_at: time_of_row(self.expires_at),
            last_used_at: time_of_row(self.last_used_at),
            revoked_at: time_of_row(self.revoked_at),
        }
    }
}

/// Records `token` of the change's organisation for `subject`, until `expires_at` or for ever.
///
/// # Errors
/// Those of the database.
pub async fn make(
    change: &mut Change,
    token: &Token,
    subject: &str,
    expires_at: Option<u64>,
) -> Result<TokenInfo, StoreError> {
    let organisation = change.organisation().to_owned();
    insert(change, &organisation, token, subject, expires_at).await?;
    Ok(TokenInfo {
        id: token.id().to_owned(),
        created_at: super::of_row(change.now()),
        expires_at,
        last_used_at: None,
        revoked_at: None,
    })
}

pub(super) async fn insert(
    change: &mut Change,
    organisation: &str,
    token: &Token,
    subject: &str,
    expires_at: Option<u64>,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO tokens \
        (id, organisation, kind, subject, hash, created_at, expires_at, last_used_at, spent_at, revoked_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0)";
    let insert = sqlx::query(statement)
        .bind(token.id())
        .bind(organisation)
        .bind(token.kind().as_str())
        .bind(subject)
        .bind(token.hash())
        .bind(change.now())
        .bind(expires_at.map_or(0, to_row));
    insert.execute(change.connection()).await?;
    Ok(())
}

const COLUMNS: &str =
    "id, organisation, kind, subject, hash, created_at, expires_at, last_used_at, spent_at, revoked_at";

/// The token with this id, of whichever organisation: it says which one its holder belongs to. Its secret is yet to be
/// compared.
///
/// # Errors
/// Those of the database.
pub async fn look_up(executor: impl AnyExecutor<'_>, id: &str) -> Result<Option<TokenRow>, StoreError> {
    let statement = format!("SELECT {COLUMNS} FROM tokens WHERE id = $1");
    let query = sqlx::query_as::<Any, TokenRow>(sqlx::AssertSqlSafe(statement)).bind(id);
    Ok(query.fetch_optional(executor).await?)
}

/// The tokens of `subject`, the oldest first; at most 500.
///
/// # Errors
/// Those of the database.
pub async fn list(
    executor: impl AnyExecutor<'_>,
    organisation: &str,
    subject: &str,
    kind: Kind,
) -> Result<Vec<TokenRow>, StoreError> {
    let statement = format!(
        "SELECT {COLUMNS} FROM tokens WHERE organisation = $1 AND subject = $2 AND kind = $3 \
         ORDER BY created_at, id LIMIT 500"
    );
    let query = sqlx::query_as::<Any, TokenRow>(sqlx::AssertSqlSafe(statement));
    let query = query.bind(organisation).bind(subject).bind(kind.as_str());
    Ok(query.fetch_all(executor).await?)
}

/// Uses a token that works once. `false` where it was used, revoked or ran out before: of two that try at the same
/// time, one gets it.
///
/// # Errors
/// Those of the database.
pub async fn spend(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE tokens SET spent_at = $3, last_used_at = $3 WHERE organisation = $1 AND id = $2 \
                     AND spent_at = 0 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $3)";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Ends one token of `subject`. `false` where there is none that counted.
///
/// # Errors
/// Those of the database.
pub async fn revoke(change: &mut Change, subject: &str, id: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE tokens SET revoked_at = $4 WHERE organisation = $1 AND subject = $2 AND id = $3 \
                     AND revoked_at = 0";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let update = sqlx::query(statement).bind(organisation).bind(subject).bind(id).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Ends every token of `subject`, and says how many that were.
///
/// # Errors
/// Those of the database.
pub async fn revoke_all(change: &mut Change, subject: &str) -> Result<u64, StoreError> {
    let statement =
        "UPDATE tokens SET revoked_at = $3 WHERE organisation = $1 AND subject = $2 AND revoked_at = 0";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let update = sqlx::query(statement).bind(organisation).bind(subject).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected())
}

/// Records that `token` is used now, to the minute.
///
/// # Errors
/// Those of the database.
pub async fn touch(store: &Store, token: &TokenRow) -> Result<(), StoreError> {
    let now = store.now();
    if now < token.last_used_at.saturating_add(USED_EVERY) {
        return Ok(());
    }
    let mut change = store.quiet_change(&token.organisation).await?;
    let statement =
        "UPDATE tokens SET last_used_at = $3 WHERE organisation = $1 AND id = $2 AND last_used_at < $3";
    let update = sqlx::query(statement).bind(&token.organisation).bind(&token.id).bind(now);
    update.execute(change.connection()).await?;
    change.commit().await
}

/// Forgets at most `limit` tokens that ran out: access tokens at once, others after a week.
///
/// # Errors
/// Those of the database.
pub async fn purge(store: &Store, limit: u32) -> Result<u64, StoreError> {
    let mut change = store.quiet_change(super::INSTALLATION).await?;
    let statement = "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens \
        WHERE expires_at > 0 AND expires_at <= CASE WHEN kind = $1 THEN $2 ELSE $3 END LIMIT $4)";
    let now = store.now();
    let delete = sqlx::query(statement)
        .bind(Kind::Access.as_str())
        .bind(now)
        .bind(now.saturating_sub(to_row(KEPT)))
        .bind(i64::from(limit));
    let gone = delete.execute(change.connection()).await?.rows_affected();
    change.commit().await?;
    Ok(gone)
}
