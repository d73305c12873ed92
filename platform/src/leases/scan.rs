//! Users on servers that are leases of nobody: after crashes that no claim explains, after an abandoned lease, or
//! because somebody restored a backup.
//!
//! A user is dropped only where all of this holds: its mark is valid, and this installation's; the mark is of this
//! epoch, or an administrator has confirmed the older ones; no lease of that id lives; and a search has found it before,
//! longer ago than any claim lasts. Everything else that looks like ours is reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use super::remove::{User, remove};
use super::server::{mark_key, session};
use crate::api::App;
use crate::postgres::mark::{self, Finding};
use crate::postgres::users::{self, Marked};
use crate::servers::reach::Failure;
use crate::store::orphans::{self, Due, Found, Holder};
use crate::store::{StoreError, databases};

/// Searches of one platform instance at once.
const AT_ONCE: u32 = 4;

/// Users that are reported of one server, at most.
const MOST: usize = 1000;

/// What a user's finding says that is ours and lost.
const LOST: &str = "its mark is this installation's, and no lease of it lives: it is dropped when a later search finds \
    it again";

/// What it says of one that an older epoch has made, while that is not confirmed.
const OLDER: &str = "it is from before this platform was restored from a backup: it is dropped only after an \
    administrator has confirmed that";

/// One round: the servers that were not searched for long.
pub(super) async fn round(app: &Arc<App>) -> Result<(), StoreError> {
    let due = orphans::due(&app.store, app.config.times.orphan_scan, AT_ONCE).await?;
    let mut searches = JoinSet::new();
    for due in due {
        if orphans::claim(&app.store, &due).await? {
            searches.spawn(one(app.clone(), due));
        }
    }
    while searches.join_next().await.is_some() {}
    Ok(())
}

async fn one(app: Arc<App>, due: Due) {
    let Due { organisation, database, .. } = &due;
    let searching = async {
        match databases::by_id(&app.store, organisation, database).await? {
            Some(row) => search(&app, &row).await,
            None => Ok(()),
        }
    };
    if let Err(error) = searching.await {
        tracing::warn!(database, %error, "a server could not be searched for lost users; it is tried again later");
    }
}

/// Searches a database's server, notes what was found, and drops what has to be.
pub(crate) async fn search(app: &App, database: &databases::Row) -> Result<(), Failure> {
    let marked = {
        let mut session = session(app, database, None).await?;
        users::marked(&mut session).await?
    };
    let (found, leases) = suspects(app, database, marked).await?;
    let (organisation, id) = (&database.organisation, &database.id);
    orphans::record(&app.store, (organisation, id), &found).await?;
    let times = &app.config.times;
    let before = app.clock.now().saturating_sub((times.claim + times.work).as_secs());
    for username in orphans::seen_since(&app.store, organisation, id, before).await? {
        if let Some(lease) = leases.get(&username) {
            drop_one(app, database, &username, lease, "platform").await?;
        }
    }
    Ok(())
}

/// What is to be said of users that bear marks, those that are provably ours first: however many others there are, they
/// hide none. And of ours, the leases that their marks name.
async fn suspects(
    app: &App,
    database: &databases::Row,
    marked: Vec<Marked>,
) -> Result<(Vec<Found>, BTreeMap<String, String>), Failure> {
    let (key, installation) = (mark_key(app).await?, app.store.installation());
    let read = |user: &Marked| mark::read(key, &installation.id, &user.username, Some(&user.comment));
    let marks: Vec<_> = marked.into_iter().map(|user| (read(&user), user.username)).collect();
    // Rows come before users: whoever is here now and lives has one by now.
    let named: Vec<_> = marks.iter().filter_map(|(mark, _)| mark.lease()).collect();
    let known = Known {
        epoch: &installation.epoch,
        confirmed: orphans::confirmed(&app.store, &database.organisation).await?,
        holders: orphans::holders(&app.store, &database.organisation, &named).await?,
    };
    let (mut found, mut leases) = (Vec::new(), BTreeMap::new());
    for (mark, username) in &marks {
        let Some((finding, ours)) = judge(mark, &known) else { continue };
        if let Some(lease) = mark.lease().filter(|_| ours) {
            leases.insert(username.clone(), lease.to_owned());
        }
        found.push(Found { username: username.clone(), finding, ours });
    }
    found.sort_by_key(|one| !one.ours);
    found.truncate(MOST);
    Ok((found, leases))
}

/// What a judgement on a mark depends on.
struct Known<'a> {
    epoch: &'a str,
    /// Whether marks of older epochs count.
    confirmed: bool,
    holders: BTreeMap<String, Holder>,
}

/// What is to be said of a user that bears this mark, and whether it is ours; `None` where all is well.
fn judge(mark: &Finding, known: &Known<'_>) -> Option<(String, bool)> {
    match mark {
        Finding::None => None,
        Finding::Foreign(other) => {
            Some((format!("it bears the mark of another installation, {other}"), false))
        }
        Finding::Forged => {
            Some(("its mark is not valid: it was forged, or the user was renamed".to_owned(), false))
        }
        Finding::Valid(mark) => match known.holders.get(&mark.lease) {
            Some(Holder::Lives | Holder::Other) => None,
            Some(Holder::Nobody) | None if known.confirmed || mark.epoch == known.epoch => {
                Some((LOST.to_owned(), true))
            }
            Some(Holder::Nobody) | None => Some((OLDER.to_owned(), false)),
        },
    }
}

/// Drops a user that is nobody's lease; its mark is looked at once more. `false` where it is not there any more, or
/// bears another mark.
pub(crate) async fn drop_one(
    app: &App,
    database: &databases::Row,
    username: &str,
    lease: &str,
    actor: &str,
) -> Result<bool, Failure> {
    let user = User { database, username, lease, is_known: false, definition: None, claim: None };
    let dropped = remove(app, user).await?;
    if dropped {
        let mut change = app.store.change(&database.organisation, actor).await?;
        orphans::forget(&mut change, &database.id, username).await?;
        let detail = json!({ "username": username, "gateway": database.gateway, "lease": lease });
        change.audit("orphan.dropped", &format!("database:{}", database.name), detail);
        change.commit().await?;
    }
    tracing::info!(lease, dropped, "a lost user was looked at");
    Ok(dropped)
}

/// What became of a wish to drop a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// It is gone.
    Yes,
    /// It is not there.
    NotThere,
    /// It is not provably ours.
    NotOurs,
    /// Its lease lives.
    Lives,
}

/// Drops a user at somebody's wish: only one that is provably ours, of whichever epoch, and no lease that lives.
pub(crate) async fn drop_by_hand(
    app: &App,
    database: &databases::Row,
    username: &str,
    actor: &str,
) -> Result<Dropped, Failure> {
    let marked = {
        let mut session = session(app, database, None).await?;
        users::marked(&mut session).await?
    };
    let Some(user) = marked.into_iter().find(|user| user.username == username) else {
        return Ok(Dropped::NotThere);
    };
    let key = mark_key(app).await?;
    let finding = mark::read(key, &app.store.installation().id, username, Some(&user.comment));
    let Finding::Valid(mark) = finding else { return Ok(Dropped::NotOurs) };
    match orphans::holder(&app.store, &database.organisation, &mark.lease).await? {
        Holder::Lives => return Ok(Dropped::Lives),
        Holder::Other => return Ok(Dropped::NotOurs),
        Holder::Nobody => {}
    }
    match drop_one(app, database, username, &mark.lease, actor).await? {
        true => Ok(Dropped::Yes),
        false => Ok(Dropped::NotThere),
    }
}
