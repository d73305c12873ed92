//! A new intermediate takes over from the old one, and nobody is refused on the way.
//!
//! 1. The new one is made and announced: it is an anchor, and issues nothing yet.
//! 2. From `used_from` on it issues; by then every end that is on line has heard of it.
//! 3. One leaf's life later, when nothing is valid any more that the old one issued, it is no anchor any longer.

use std::time::Duration;

use adit_core::pki::Office;
use serde_json::json;
use sqlx::Any;

use super::{AuthorityError, INTERMEDIATE_LIFE, ROOT_LIFE, add_intermediate, in_office, new_root, word};
use crate::store::{Change, Store, StoreError, of_row, to_row};

/// How a rollover is spread in time.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From the announcement of an intermediate until it issues.
    pub announced: Duration,
    /// The longest life of what the old one issued.
    pub leaf: Duration,
}

/// Begins the rollover of the organisation's intermediate for `office`; a root that is near its end is followed too.
///
/// # Errors
/// [`AuthorityError`].
pub async fn begin(change: &mut Change, office: Office, pace: Pace) -> Result<(), AuthorityError> {
    let organisation = change.organisation().to_owned();
    let mut root = in_office(change, Office::Root).await?;
    let now = of_row(change.now());
    if root.info().not_after.0 < now.saturating_add(2 * INTERMEDIATE_LIFE.as_secs()) {
        let name = root.info().organisation.to_string();
        root = new_root(change, &organisation, &name).await?;
    }
    let used_from = now.saturating_add(pace.announced.as_secs());
    retire(change, &organisation, office, used_from.saturating_add(pace.leaf.as_secs())).await?;
    add_intermediate(change, &organisation, &root, office, used_from).await?;
    change.bump().await?;
    let object = format!("authority:{}", word(office));
    change.audit("authority.announced", &object, json!({ "used-from": used_from }));
    Ok(())
}

/// The ones before are no anchors any longer from `until` on.
async fn retire(
    change: &mut Change,
    organisation: &str,
    office: Office,
    until: u64,
) -> Result<(), AuthorityError> {
    let statement = "UPDATE authorities SET trusted_until = $3 WHERE organisation = $1 AND office = $2 \
                     AND trusted_until > $3";
    let update = sqlx::query(statement).bind(organisation).bind(word(office)).bind(to_row(until));
    update.execute(change.connection()).await?;
    Ok(())
}

/// Begins the rollovers that are due: of intermediates of which less than a third of their life is left. Says how many
/// those were, at most `limit`.
///
/// # Errors
/// [`AuthorityError`].
pub async fn begin_due(store: &Store, pace: Pace, limit: u32) -> Result<usize, AuthorityError> {
    let due = due(store, limit).await?;
    for (organisation, office) in &due {
        let office = if office == word(Office::Gateway) { Office::Gateway } else { Office::Connector };
        let mut change = store.change(organisation, "platform").await?;
        // Another platform instance may have been faster.
        if latest(&mut change, office).await? > horizon(store.now()) {
            continue;
        }
        begin(&mut change, office, pace).await?;
        change.commit().await?;
    }
    Ok(due.len())
}

/// The end of an intermediate of which a third is left now.
fn horizon(now: i64) -> i64 {
    now.saturating_add(to_row(INTERMEDIATE_LIFE.as_secs() / 3))
}

async fn due(store: &Store, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
    let statement = "SELECT organisation, office FROM authorities WHERE office <> $1 \
        GROUP BY organisation, office HAVING MAX(not_after) <= $2 ORDER BY organisation, office LIMIT $3";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(word(Office::Root));
    let query = query.bind(horizon(store.now())).bind(i64::from(limit));
    Ok(query.fetch_all(store.reader()).await?)
}

/// The end of the organisation's latest intermediate; on PostgreSQL two instances take turns by its row.
async fn latest(change: &mut Change, office: Office) -> Result<i64, StoreError> {
    let organisation = change.organisation().to_owned();
    let lock =
        sqlx::query("UPDATE organisations SET generation = generation WHERE id = $1").bind(&organisation);
    lock.execute(change.connection()).await?;
    let statement = "SELECT MAX(not_after) FROM authorities WHERE organisation = $1 AND office = $2";
    let query = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(word(office));
    Ok(query.fetch_one(change.connection()).await?)
}

const _: () = assert!(ROOT_LIFE.as_secs() > 4 * INTERMEDIATE_LIFE.as_secs());
