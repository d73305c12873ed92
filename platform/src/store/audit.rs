//! The audit: append-only, written with the change that it tells of.
//!
//! Each platform instance keeps one chain for each organisation, so that instances don't wait for each other. An
//! event's hash covers the event and the hash before it; `audit_heads` holds where each chain ends, so that events
//! missing at the end are noticed too.

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, AnyExecutor, AssertSqlSafe};

use super::error::StoreError;
use super::{Store, of_row, to_row};
use crate::words::{AuditEvent, AuditVerdict};

/// The longest detail of an event, in bytes of JSON; a longer one is replaced by its length.
const MAX_DETAIL: usize = 8 * 1024;

/// The most events that one statement inserts: each has nine parameters, of which SQLite takes 32,766.
const MAX_ROWS: usize = 200;

/// The most events of one page.
pub const MAX_PAGE: u32 = 500;

/// The most breaks that a verdict lists.
const MAX_BREAKS: usize = 100;

/// An event that is to be appended.
#[derive(Debug)]
pub(super) struct NewEvent {
    pub(super) organisation: String,
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) object: String,
    pub(super) detail: Value,
}

/// Appends `events` to the chains of `instance`.
pub(super) async fn append(
    connection: &mut AnyConnection,
    instance: &str,
    now: i64,
    mut events: Vec<NewEvent>,
) -> Result<(), StoreError> {
    // Chains are locked in one order everywhere. The sort is stable: events keep theirs.
    events.sort_by(|a, b| a.organisation.cmp(&b.organisation));
    for chain in events.chunk_by(|a, b| a.organisation == b.organisation) {
        append_to_chain(connection, instance, now, chain).await?;
    }
    Ok(())
}

async fn append_to_chain(
    connection: &mut AnyConnection,
    instance: &str,
    now: i64,
    events: &[NewEvent],
) -> Result<(), StoreError> {
    let organisation = &events.first().expect("a chunk has an event").organisation;
    let (mut sequence, mut hash) = lock_head(connection, organisation, instance).await?;
    for some in events.chunks(MAX_ROWS) {
        let mut rows = Vec::with_capacity(some.len());
        for event in some {
            sequence += 1;
            let row = Row::new(event, instance, sequence, now).after(&hash);
            hash.clone_from(&row.hash);
            rows.push(row);
        }
        insert(connection, &rows).await?;
    }
    let statement =
        "UPDATE audit_heads SET sequence = $3, hash = $4 WHERE organisation = $1 AND instance = $2";
    let update = sqlx::query(statement).bind(organisation).bind(instance).bind(sequence).bind(hash);
    update.execute(connection).await?;
    Ok(())
}

/// Inserts rows, [`MAX_ROWS`] at most, by one statement: one for each row takes too long where thousands of leases end
/// at once.
async fn insert(connection: &mut AnyConnection, rows: &[Row]) -> Result<(), StoreError> {
    let places = |row: usize| {
        let places: Vec<_> = (1..=9).map(|column| format!("${}", row * 9 + column)).collect();
        format!("({})", places.join(", "))
    };
    let places: Vec<_> = (0..rows.len()).map(places).collect();
    let statement = AssertSqlSafe(format!("INSERT INTO audit ({COLUMNS}) VALUES {}", places.join(", ")));
    // Only the usual one is worth being kept prepared.
    let mut insert = sqlx::query(statement).persistent(rows.len() == 1);
    for row in rows {
        insert = insert.bind(&row.organisation).bind(&row.instance).bind(row.sequence).bind(row.at);
        insert =
            insert.bind(&row.actor).bind(&row.action).bind(&row.object).bind(&row.detail).bind(&row.hash);
    }
    insert.execute(connection).await?;
    Ok(())
}

/// Where the chain ends, kept from others until the transaction ends.
async fn lock_head(
    connection: &mut AnyConnection,
    organisation: &str,
    instance: &str,
) -> Result<(i64, String), StoreError> {
    let insert = "INSERT INTO audit_heads (organisation, instance, sequence, hash) VALUES ($1, $2, 0, '') \
                  ON CONFLICT (organisation, instance) DO UPDATE SET sequence = audit_heads.sequence \
                  RETURNING sequence, hash";
    let head = sqlx::query_as::<Any, (i64, String)>(insert).bind(organisation).bind(instance);
    Ok(head.fetch_one(connection).await?)
}

/// An event as its row has it.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    organisation: String,
    instance: String,
    sequence: i64,
    at: i64,
    actor: String,
    action: String,
    object: String,
    detail: String,
    hash: String,
}

const COLUMNS: &str = "organisation, instance, sequence, at, actor, action, object, detail, hash";

impl Row {
    fn new(event: &NewEvent, instance: &str, sequence: i64, at: i64) -> Self {
        let detail = event.detail.to_string();
        let detail = match detail.len() {
            0..=MAX_DETAIL => detail,
            length => json!({ "left-out-bytes": length }).to_string(),
        };
        Self {
            organisation: event.organisation.clone(),
            instance: instance.to_owned(),
            sequence,
            at,
            actor: event.actor.clone(),
            action: event.action.clone(),
            object: event.object.clone(),
            detail,
            hash: String::new(),
        }
    }

    /// SHA-256, in hex, over the hash before it and every part, each with its length.
    fn hash_after(&self, before: &str) -> String {
        let (sequence, at) = (self.sequence.to_string(), self.at.to_string());
        let parts: [&str; 9] = [
            before,
            &self.organisation,
            &self.instance,
            &sequence,
            &at,
            &self.actor,
            &self.action,
            &self.object,
            &self.detail,
        ];
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        hex(context.finish().as_ref())
    }

    /// The same row behind the one with the hash `before`.
    fn after(mut self, before: &str) -> Self {
        self.hash = self.hash_after(before);
        self
    }

    fn into_word(self) -> AuditEvent {
        AuditEvent {
            instance: self.instance,
            sequence: of_row(self.sequence),
            at: of_row(self.at),
            actor: self.actor,
            action: self.action,
            object: self.object,
            detail: serde_json::from_str(&self.detail).unwrap_or(Value::String(self.detail)),
            hash: self.hash,
        }
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A place in the list of events: after which one a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    at: u64,
    sequence: u64,
    instance: String,
}

impl Cursor {
    /// The place after `event`.
    pub fn after(event: &AuditEvent) -> Self {
        Self { at: event.at, sequence: event.sequence, instance: event.instance.clone() }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.at, self.sequence, self.instance)
    }
}

impl std::str::FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().unwrap_or_default();
        Ok(Self { at: next().parse()?, sequence: next().parse()?, instance: next().to_owned() })
    }
}

/// The events of `organisation` from `since` on and after `after`, in the order of time: at most `limit`, and at most
/// [`MAX_PAGE`].
///
/// # Errors
/// Those of the database.
pub async fn list(
    executor: impl AnyExecutor<'_>,
    organisation: &str,
    since: u64,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Vec<AuditEvent>, StoreError> {
    let (at, sequence, instance) =
        after.map_or((-1, 0, ""), |cursor| (to_row(cursor.at), to_row(cursor.sequence), &cursor.instance));
    let statement = format!(
        "SELECT {COLUMNS} FROM audit WHERE organisation = $1 AND at >= $2 AND (at, instance, sequence) > ($3, $4, $5) \
         ORDER BY at, instance, sequence LIMIT $6"
    );
    let query = sqlx::query_as::<Any, Row>(AssertSqlSafe(statement))
        .bind(organisation)
        .bind(to_row(since))
        .bind(at)
        .bind(instance)
        .bind(sequence)
        .bind(i64::from(limit.min(MAX_PAGE)));
    Ok(query.fetch_all(executor).await?.into_iter().map(Row::into_word).collect())
}

/// Reads every event of `organisation` and checks each chain from its beginning to its head.
///
/// # Errors
/// Those of the database. That a chain is broken is no error but a verdict.
pub async fn verify(store: &Store, organisation: &str) -> Result<AuditVerdict, StoreError> {
    let mut snapshot = store.snapshot().await?;
    let statement =
        "SELECT instance, sequence, hash FROM audit_heads WHERE organisation = $1 ORDER BY instance";
    let heads = sqlx::query_as::<Any, (String, i64, String)>(statement).bind(organisation);
    let heads = heads.fetch_all(&mut *snapshot).await?;
    let mut verdict = AuditVerdict { intact: true, events: 0, breaks: Vec::new() };
    for (instance, sequence, hash) in &heads {
        let chain = read_chain(&mut snapshot, organisation, instance, &mut verdict.events).await?;
        let (last, found) = match chain {
            Ok(end) => end,
            Err(sequence) => {
                verdict
                    .breaks
                    .push(format!("event {sequence} of instance {instance} is missing or was changed"));
                continue;
            }
        };
        if (last, &found) != (*sequence, hash) {
            let (from, to) = (last + 1, sequence);
            verdict
                .breaks
                .push(format!("events {from} to {to} at the end of instance {instance} are missing"));
        }
    }
    let known: Vec<&str> = heads.iter().map(|(instance, ..)| instance.as_str()).collect();
    verdict.breaks.extend(headless(&mut snapshot, organisation, &known).await?);
    verdict.breaks.truncate(MAX_BREAKS);
    verdict.intact = verdict.breaks.is_empty();
    Ok(verdict)
}

/// The last sequence and hash of a chain, or the sequence of its first event that does not fit.
async fn read_chain(
    connection: &mut AnyConnection,
    organisation: &str,
    instance: &str,
    events: &mut u64,
) -> Result<Result<(i64, String), i64>, StoreError> {
    let statement = format!(
        "SELECT {COLUMNS} FROM audit WHERE organisation = $1 AND instance = $2 AND sequence > $3 \
         ORDER BY sequence LIMIT $4"
    );
    let (mut last, mut hash, mut broken) = (0, String::new(), None);
    let mut position = i64::MIN;
    loop {
        let query = sqlx::query_as::<Any, Row>(AssertSqlSafe(statement.as_str()));
        let query = query.bind(organisation).bind(instance).bind(position).bind(i64::from(MAX_PAGE));
        let rows = query.fetch_all(&mut *connection).await?;
        let Some(end) = rows.last() else { break };
        position = end.sequence;
        *events += rows.len() as u64;
        for row in &rows {
            let fits = row.sequence == last + 1 && row.hash_after(&hash) == row.hash;
            if !fits && broken.is_none() {
                broken = Some(last + 1);
            }
            (last, hash) = (row.sequence, row.hash.clone());
        }
    }
    Ok(broken.map_or(Ok((last, hash)), Err))
}

/// Chains whose head is not there.
async fn headless(
    connection: &mut AnyConnection,
    organisation: &str,
    known: &[&str],
) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT DISTINCT instance FROM audit WHERE organisation = $1 ORDER BY instance";
    let found = sqlx::query_scalar::<Any, String>(statement).bind(organisation);
    let found = found.fetch_all(connection).await?;
    let strange = found.into_iter().filter(|instance| !known.contains(&instance.as_str()));
    Ok(strange
        .map(|instance| format!("where the events of instance {instance} end is not recorded"))
        .collect())
}
