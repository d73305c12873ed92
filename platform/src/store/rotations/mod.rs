//! Rotations: which users' passwords change when, and which password counts. Passwords lie here sealed.
//!
//! - [`turns`] — what is written while a password changes.

pub mod turns;

use sqlx::{Any, FromRow};
use zeroize::Zeroizing;

use super::databases::open;
use super::json::{list, to_list, to_word, word};
use super::owned::Kind;
use super::{Change, Store, StoreError, of_row, time_of_row};
use crate::trust::random_id;
use crate::trust::seal::Place;
use crate::words::{NewRotation, PasswordPolicy, Rotation, RotationMode, Schedule, Trouble};

/// What the columns of a [`Row`] are.
const SELECT: &str = "SELECT r.id, r.organisation, r.database_id, d.name AS database_name, d.project AS project_id, \
    p.name AS project, r.name, r.mode, r.users, r.schedule, r.password, r.pre_hashed, r.current_user_index, \
    r.sealed_current, r.sealed_pending, r.pending_user_index, r.turns, r.created_at, r.rotated_at, r.next_at, \
    r.claim_until, r.claim, r.attempts, r.failing_since, r.error \
    FROM rotations r JOIN databases d ON d.id = r.database_id JOIN projects p ON p.id = d.project";

const KIND: Kind = Kind { select: SELECT, alias: "r" };

#[derive(FromRow)]
struct Raw {
    id: String,
    organisation: String,
    database_id: String,
    database_name: String,
    project_id: String,
    project: String,
    name: String,
    mode: String,
    users: String,
    schedule: String,
    password: String,
    pre_hashed: i64,
    current_user_index: i64,
    sealed_current: String,
    sealed_pending: String,
    pending_user_index: i64,
    turns: i64,
    created_at: i64,
    rotated_at: i64,
    next_at: i64,
    claim_until: i64,
    claim: i64,
    attempts: i64,
    failing_since: i64,
    error: String,
}

/// A rotation, with the names of what it refers to.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The organisation's id.
    pub organisation: String,
    /// The database's id.
    pub database_id: String,
    /// The database's name.
    pub database: String,
    /// The project's id.
    pub project_id: String,
    /// The project's name.
    pub project: String,
    /// Its name.
    pub name: String,
    /// How passwords change.
    pub mode: RotationMode,
    /// Its users: two or one.
    pub users: Vec<String>,
    /// When passwords change.
    pub schedule: Schedule,
    /// What passwords are made of.
    pub password: PasswordPolicy,
    /// Whether the server is given a SCRAM verifier in place of the password.
    pub pre_hashed: bool,
    /// How often a password has changed.
    pub turns: u64,
    /// When it was made.
    pub created_at: u64,
    /// When a password last changed.
    pub rotated_at: Option<u64>,
    /// When work on it is due next.
    pub next_at: u64,
    /// Until when a platform instance works on it, in unix seconds; 0 for none.
    pub claim_until: u64,
    /// How often it was claimed so far.
    pub claim: i64,
    /// How often the turn that is due has failed.
    pub attempts: u32,
    /// Since when it fails.
    pub failing_since: Option<u64>,
    /// What went wrong last.
    pub error: String,
    current: Sealed,
    pending: Sealed,
}

/// A password of one of the users. The text is empty where there is none.
#[derive(Debug, Clone)]
struct Sealed {
    user: usize,
    text: String,
}

impl TryFrom<Raw> for Row {
    type Error = StoreError;

    fn try_from(raw: Raw) -> Result<Self, StoreError> {
        let users: Vec<String> = list(&raw.users)?;
        let sealed = |index: i64, text: String| match usize::try_from(index) {
            Ok(user) if user < users.len() => Ok(Sealed { user, text }),
            _ => Err(StoreError::Corrupt(format!("a rotation has no user {index}"))),
        };
        let current = sealed(raw.current_user_index, raw.sealed_current)?;
        let pending = sealed(raw.pending_user_index, raw.sealed_pending)?;
        Ok(Self {
            id: raw.id,
            organisation: raw.organisation,
            database_id: raw.database_id,
            database: raw.database_name,
            project_id: raw.project_id,
            project: raw.project,
            name: raw.name,
            mode: word(&raw.mode)?,
            users,
            schedule: list(&raw.schedule)?,
            password: list(&raw.password)?,
            pre_hashed: raw.pre_hashed != 0,
            turns: of_row(raw.turns),
            created_at: of_row(raw.created_at),
            rotated_at: time_of_row(raw.rotated_at),
            next_at: of_row(raw.next_at),
            claim_until: of_row(raw.claim_until),
            claim: raw.claim,
            attempts: raw.attempts.try_into().unwrap_or(u32::MAX),
            failing_since: time_of_row(raw.failing_since),
            error: raw.error,
            current,
            pending,
        })
    }
}

impl Row {
    /// As the API shows it; what fails for more than `stuck` seconds at `now` is stuck.
    pub fn words(&self, now: u64, stuck: u64) -> Rotation {
        let trouble = self.failing_since.map(|since| Trouble {
            since,
            attempts: self.attempts,
            error: self.error.clone(),
            next_at: self.next_at,
            stuck: now.saturating_sub(since) > stuck,
        });
        Rotation {
            id: self.id.clone(),
            name: self.name.clone(),
            project: self.project.clone(),
            database: self.database.clone(),
            mode: self.mode,
            users: self.users.clone(),
            schedule: self.schedule.clone(),
            password: self.password.clone(),
            pre_hashed: self.pre_hashed,
            created_at: self.created_at,
            rotated_at: self.rotated_at,
            next_at: self.next_at,
            trouble,
        }
    }

    /// Whether a turn has begun whose outcome nobody has noted yet.
    pub fn is_turning(&self) -> bool {
        !self.pending.text.is_empty()
    }

    /// The user whose password changes next.
    pub fn next_user(&self) -> usize {
        match self.mode {
            RotationMode::TwoUser if self.turns > 0 => 1 - self.current.user,
            RotationMode::TwoUser | RotationMode::SingleUser => 0,
        }
    }

    /// With what to log in now: the user and its password. `None` before the first turn.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where the password can't be opened.
    pub fn current(&self, store: &Store) -> Result<Option<(String, Zeroizing<String>)>, StoreError> {
        let opened = self.opened(store, &self.current, current_place(&self.organisation, &self.id))?;
        Ok(opened.map(|(user, password)| (self.users[user].clone(), password)))
    }

    /// The index of the user, and the password that it is about to be given or has been given; `None` while no turn is
    /// under way.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where the password can't be opened.
    pub fn pending(&self, store: &Store) -> Result<Option<(usize, Zeroizing<String>)>, StoreError> {
        self.opened(store, &self.pending, pending_place(&self.organisation, &self.id))
    }

    fn opened(
        &self,
        store: &Store,
        sealed: &Sealed,
        place: Place<'_>,
    ) -> Result<Option<(usize, Zeroizing<String>)>, StoreError> {
        match sealed.text.is_empty() {
            true => Ok(None),
            false => Ok(Some((sealed.user, open(store, &place, &sealed.text)?))),
        }
    }
}

fn current_place<'a>(organisation: &'a str, id: &'a str) -> Place<'a> {
    Place { organisation, table: "rotations", row: id, column: "sealed_current" }
}

fn pending_place<'a>(organisation: &'a str, id: &'a str) -> Place<'a> {
    Place { organisation, table: "rotations", row: id, column: "sealed_pending" }
}

/// At most `limit` rotations, by name, after the name `after`: those of the projects of the identity `only`, where one
/// is given.
///
/// # Errors
/// Those of the database.
pub async fn all(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<Row>, StoreError> {
    KIND.all::<Raw, Row>(store, organisation, only, after, limit).await
}

/// The rotation with this id or name, where the identity `only` is in its project or none is given.
///
/// # Errors
/// Those of the database.
pub async fn find(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    key: &str,
) -> Result<Option<Row>, StoreError> {
    KIND.find::<Raw, Row>(store, organisation, only, key).await
}

/// The rotation with this id.
///
/// # Errors
/// Those of the database.
pub async fn by_id(store: &Store, organisation: &str, id: &str) -> Result<Option<Row>, StoreError> {
    KIND.by_id::<Raw, Row>(store, organisation, id).await
}

/// Makes a rotation, which is due at once, and says its id.
///
/// # Errors
/// [`StoreError::Conflict`] where the name is taken, [`StoreError::Referenced`] where the database has gone.
pub async fn create(change: &mut Change, database: &str, new: &NewRotation) -> Result<String, StoreError> {
    let (id, now, organisation) = (random_id(), change.now(), change.organisation().to_owned());
    let epoch = change.store().installation().epoch.clone();
    let statement = "INSERT INTO rotations (id, organisation, database_id, name, mode, users, schedule, password, \
        pre_hashed, current_user_index, sealed_current, sealed_pending, pending_user_index, turns, epoch, \
        created_at, rotated_at, next_at, claim_owner, claim_until, claim, attempts, failing_since, error) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, '', '', 0, 0, $10, $11, 0, $11, '', 0, 0, 0, 0, '')";
    let insert = sqlx::query(statement).bind(&id).bind(organisation).bind(database).bind(&new.name);
    let insert = insert.bind(to_word(new.mode)).bind(to_list(&new.users)).bind(to_list(&new.schedule));
    let insert = insert.bind(to_list(&new.password)).bind(i64::from(new.pre_hashed));
    insert.bind(epoch).bind(now).execute(change.connection()).await?;
    Ok(id)
}

/// Deletes a rotation. `false`, and nothing deleted, while a platform instance works on it.
///
/// # Errors
/// Those of the database.
pub async fn delete(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "DELETE FROM rotations WHERE organisation = $1 AND id = $2 AND claim_until <= $3";
    let delete = sqlx::query(statement).bind(organisation).bind(id).bind(now);
    Ok(delete.execute(change.connection()).await?.rows_affected() == 1)
}

/// The names of the organisation's rotations on `host` and `port`, each with its users.
///
/// # Errors
/// Those of the database.
pub async fn users_on(
    change: &mut Change,
    host: &str,
    port: u16,
) -> Result<Vec<(String, Vec<String>)>, StoreError> {
    let organisation = change.organisation().to_owned();
    let statement = "SELECT r.name, r.users FROM rotations r JOIN databases d ON d.id = r.database_id \
        WHERE r.organisation = $1 AND d.host = $2 AND d.port = $3 ORDER BY r.name";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(organisation).bind(host);
    let rows = query.bind(i64::from(port)).fetch_all(change.connection()).await?;
    rows.into_iter().map(|(name, users)| Ok((name, list(&users)?))).collect()
}

/// The rotations of a database, by name, with their users.
///
/// # Errors
/// Those of the database.
pub async fn users_of(change: &mut Change, database: &str) -> Result<Vec<(String, Vec<String>)>, StoreError> {
    let organisation = change.organisation().to_owned();
    let statement =
        "SELECT name, users FROM rotations WHERE organisation = $1 AND database_id = $2 ORDER BY name";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(organisation).bind(database);
    let rows = query.fetch_all(change.connection()).await?;
    rows.into_iter().map(|(name, users)| Ok((name, list(&users)?))).collect()
}

#[cfg(test)]
mod tests;
