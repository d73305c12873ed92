//! Databases: servers on which the platform makes and changes users. Passwords of admin users lie here sealed.
//!
//! - [`root`] — what is written while an admin user gets a new password.

pub mod root;

use sqlx::{Any, FromRow};
use zeroize::Zeroizing;

use super::json::{to_word, word};
use super::owned::Kind;
use super::{Change, Store, StoreError, of_row, time_of_row, to_row};
use crate::postgres::Login;
use crate::servers::Address;
use crate::trust::random_id;
use crate::trust::seal::Place;
use crate::words::{Database, TlsMode};

/// What the columns of a [`Row`] are.
const SELECT: &str = "SELECT d.id, d.organisation, d.project AS project_id, p.name AS project, \
    d.gateway AS gateway_id, g.name AS gateway, d.name, d.host, d.port, d.tls, d.ca, d.dbname, d.admin_user, \
    d.sealed_password, d.sealed_pending, d.max_connections, d.created_at, d.rotated_at, d.claim_owner, \
    d.claim_until, d.claim, d.scanned_at \
    FROM databases d JOIN projects p ON p.id = d.project JOIN gateways g ON g.id = d.gateway";

const KIND: Kind = Kind { select: SELECT, alias: "d" };

#[derive(FromRow)]
struct Raw {
    id: String,
    organisation: String,
    project_id: String,
    project: String,
    gateway_id: String,
    gateway: String,
    name: String,
    host: String,
    port: i64,
    tls: String,
    ca: String,
    dbname: String,
    admin_user: String,
    sealed_password: String,
    sealed_pending: String,
    max_connections: i64,
    created_at: i64,
    rotated_at: i64,
    claim_owner: String,
    claim_until: i64,
    claim: i64,
    scanned_at: i64,
}

/// A database, with the names of what it refers to.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The organisation's id.
    pub organisation: String,
    /// The project's id.
    pub project_id: String,
    /// The project's name.
    pub project: String,
    /// The gateway's id.
    pub gateway_id: String,
    /// The gateway's name.
    pub gateway: String,
    /// Its name.
    pub name: String,
    /// The host, as the gateway resolves it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// The certificates (PEM) that sign the server's; public roots where it is empty.
    pub ca: String,
    /// The database on the server that the platform logs in to.
    pub dbname: String,
    /// The user as whom the platform works.
    pub admin_user: String,
    /// Its password, sealed.
    pub sealed_password: String,
    /// The password that it gets or has got, sealed; empty while no root rotation is under way.
    pub sealed_pending: String,
    /// How many connections this platform instance has to it at once.
    pub max_connections: u32,
    /// When it was made.
    pub created_at: u64,
    /// When the admin user last got a new password from the platform.
    pub rotated_at: Option<u64>,
    /// The platform instance that works on it; empty for none.
    pub claim_owner: String,
    /// Until when, in unix seconds.
    pub claim_until: u64,
    /// How often it was claimed so far.
    pub claim: i64,
    /// When its server was last searched for users that nobody leases.
    pub scanned_at: Option<u64>,
}

impl TryFrom<Raw> for Row {
    type Error = StoreError;

    fn try_from(raw: Raw) -> Result<Self, StoreError> {
        let port =
            raw.port.try_into().map_err(|_| StoreError::Corrupt(format!("{} is no port", raw.port)))?;
        Ok(Self {
            id: raw.id,
            organisation: raw.organisation,
            project_id: raw.project_id,
            project: raw.project,
            gateway_id: raw.gateway_id,
            gateway: raw.gateway,
            name: raw.name,
            host: raw.host,
            port,
            tls: word(&raw.tls)?,
            ca: raw.ca,
            dbname: raw.dbname,
            admin_user: raw.admin_user,
            sealed_password: raw.sealed_password,
            sealed_pending: raw.sealed_pending,
            max_connections: raw.max_connections.try_into().unwrap_or(1),
            created_at: of_row(raw.created_at),
            rotated_at: time_of_row(raw.rotated_at),
            claim_owner: raw.claim_owner,
            claim_until: of_row(raw.claim_until),
            claim: raw.claim,
            scanned_at: time_of_row(raw.scanned_at),
        })
    }
}

impl Row {
    /// As the API shows it.
    pub fn words(&self) -> Database {
        Database {
            id: self.id.clone(),
            name: self.name.clone(),
            project: self.project.clone(),
            gateway: self.gateway.clone(),
            host: self.host.clone(),
            port: self.port,
            tls: self.tls,
            ca: Some(self.ca.clone()).filter(|ca| !ca.is_empty()),
            database: self.dbname.clone(),
            admin_user: self.admin_user.clone(),
            max_connections: self.max_connections,
            created_at: self.created_at,
            rotated_at: self.rotated_at,
        }
    }

    /// The target that a link from its project to its gateway has to allow.
    pub fn target(&self) -> String {
        target(&self.host, self.port)
    }

    /// Where its server is, for the sessions with it.
    pub fn address(&self) -> Address {
        Address {
            organisation: self.organisation.clone(),
            gateway: self.gateway_id.clone(),
            database: self.id.clone(),
            host: self.host.clone(),
            port: self.port,
            max_connections: self.max_connections,
        }
    }

    /// Whether a root rotation has begun whose outcome nobody has noted yet.
    pub fn is_rotating(&self) -> bool {
        !self.sealed_pending.is_empty()
    }

    fn login(&self, password: Zeroizing<String>, dbname: Option<&str>) -> Login {
        Login {
            host: self.host.clone(),
            tls: self.tls,
            ca: self.ca.clone(),
            user: self.admin_user.clone(),
            password,
            dbname: dbname.unwrap_or(&self.dbname).to_owned(),
        }
    }
}

/// `tcp://host:port`, an IPv6 address in brackets.
pub fn target(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("tcp://[{host}]:{port}"),
        false => format!("tcp://{host}:{port}"),
    }
}

/// How its admin user logs in to `dbname`, or to the database's own.
///
/// # Errors
/// [`StoreError::Corrupt`] where the password can't be opened.
pub fn login(store: &Store, row: &Row, dbname: Option<&str>) -> Result<Login, StoreError> {
    let place = password_place(&row.organisation, &row.id);
    Ok(row.login(open(store, &place, &row.sealed_password)?, dbname))
}

/// The same with the password that a root rotation is about to give it or has given it; `None` while there is none.
///
/// # Errors
/// [`StoreError::Corrupt`] where the password can't be opened.
pub fn pending_login(store: &Store, row: &Row, dbname: Option<&str>) -> Result<Option<Login>, StoreError> {
    if !row.is_rotating() {
        return Ok(None);
    }
    let place = pending_place(&row.organisation, &row.id);
    Ok(Some(row.login(open(store, &place, &row.sealed_pending)?, dbname)))
}

fn password_place<'a>(organisation: &'a str, id: &'a str) -> Place<'a> {
    Place { organisation, table: "databases", row: id, column: "sealed_password" }
}

fn pending_place<'a>(organisation: &'a str, id: &'a str) -> Place<'a> {
    Place { organisation, table: "databases", row: id, column: "sealed_pending" }
}

pub(super) fn open(store: &Store, place: &Place<'_>, sealed: &str) -> Result<Zeroizing<String>, StoreError> {
    let bytes = store.sealer().open(place, sealed)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| StoreError::Corrupt("a password is no text".into()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// At most `limit` databases, by name, after the name `after`: those of the projects of the identity `only`, where one
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

/// The database with this id or name, where the identity `only` is in its project or none is given.
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

/// The database with this id.
///
/// # Errors
/// Those of the database.
pub async fn by_id(store: &Store, organisation: &str, id: &str) -> Result<Option<Row>, StoreError> {
    KIND.by_id::<Raw, Row>(store, organisation, id).await
}

/// The same as it is within the change.
///
/// # Errors
/// Those of the database.
pub async fn in_change(change: &mut Change, id: &str) -> Result<Option<Row>, StoreError> {
    KIND.in_change::<Raw, Row>(change, id).await
}

/// What a database is made of.
#[derive(Debug)]
pub struct New<'a> {
    /// Its name.
    pub name: &'a str,
    /// The project's id.
    pub project: &'a str,
    /// What of it may change.
    pub settings: Settings<'a>,
    /// The admin user's password.
    pub password: &'a str,
}

/// What of a database may change.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// The gateway's id.
    pub gateway: &'a str,
    /// The host.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// The certificates (PEM) that sign the server's; empty for public roots.
    pub ca: &'a str,
    /// The database on the server.
    pub dbname: &'a str,
    /// The user as whom the platform works.
    pub admin_user: &'a str,
    /// How many connections a platform instance has to it at once.
    pub max_connections: u32,
}

/// Makes a database, and says its id.
///
/// # Errors
/// [`StoreError::Conflict`] where the name is taken, [`StoreError::Referenced`] where project or gateway have gone.
pub async fn create(change: &mut Change, new: &New<'_>) -> Result<String, StoreError> {
    let (id, now, organisation) = (random_id(), change.now(), change.organisation().to_owned());
    let place = password_place(&organisation, &id);
    let sealed = change.store().sealer().seal(&place, new.password.as_bytes());
    let statement = "INSERT INTO databases (id, organisation, project, gateway, name, host, port, tls, ca, dbname, \
        admin_user, sealed_password, sealed_pending, max_connections, created_at, rotated_at, claim_owner, \
        claim_until, claim, scanned_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', $13, $14, 0, '', 0, 0, 0)";
    let with = &new.settings;
    let insert = sqlx::query(statement).bind(&id).bind(&organisation).bind(new.project).bind(with.gateway);
    let insert = insert.bind(new.name).bind(with.host).bind(i64::from(with.port)).bind(to_word(with.tls));
    let insert = insert.bind(with.ca).bind(with.dbname).bind(with.admin_user).bind(sealed);
    let insert = insert.bind(i64::from(with.max_connections)).bind(now);
    insert.execute(change.connection()).await?;
    Ok(id)
}

/// Changes a database: its settings, and its admin user's password where there is one, which ends a root rotation whose
/// outcome is not known. Claims end too: whoever works on it begins anew. `false`, and nothing changed, where it has
/// gone, and while a root rotation is under way.
///
/// # Errors
/// [`StoreError::Referenced`] where the gateway has gone.
pub async fn update(
    change: &mut Change,
    id: &str,
    with: &Settings<'_>,
    password: Option<&str>,
) -> Result<bool, StoreError> {
    let organisation = change.organisation().to_owned();
    let place = password_place(&organisation, id);
    let sealed = password.map(|password| change.store().sealer().seal(&place, password.as_bytes()));
    let now = change.now();
    let statement = "UPDATE databases SET gateway = $3, host = $4, port = $5, tls = $6, ca = $7, dbname = $8, \
        admin_user = $9, max_connections = $10, \
        sealed_password = CASE WHEN $11 = '' THEN sealed_password ELSE $11 END, sealed_pending = '', \
        claim_owner = '', claim_until = 0, claim = claim + 1 WHERE organisation = $1 AND id = $2 \
        AND (sealed_pending = '' OR ($11 <> '' AND claim_until <= $12))";
    let update = sqlx::query(statement).bind(&organisation).bind(id).bind(with.gateway).bind(with.host);
    let update = update.bind(i64::from(with.port)).bind(to_word(with.tls)).bind(with.ca).bind(with.dbname);
    let update = update.bind(with.admin_user).bind(i64::from(with.max_connections));
    let update = update.bind(sealed.unwrap_or_default()).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Deletes a database and what was found on its server.
///
/// # Errors
/// [`StoreError::Referenced`] while secrets or rotations are of it.
pub async fn delete(change: &mut Change, id: &str) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    for statement in [
        "DELETE FROM orphans WHERE organisation = $1 AND database_id = $2",
        "DELETE FROM databases WHERE organisation = $1 AND id = $2",
    ] {
        sqlx::query(statement).bind(&organisation).bind(id).execute(change.connection()).await?;
    }
    Ok(())
}

/// How many secrets and how many rotations a database has.
///
/// # Errors
/// Those of the database.
pub async fn dependants(store: &Store, organisation: &str, id: &str) -> Result<(i64, i64), StoreError> {
    let statement = "SELECT \
        (SELECT COUNT(*) FROM secrets WHERE organisation = $1 AND database_id = $2), \
        (SELECT COUNT(*) FROM rotations WHERE organisation = $1 AND database_id = $2)";
    let query = sqlx::query_as::<Any, (i64, i64)>(statement).bind(organisation).bind(id);
    Ok(query.fetch_one(store.reader()).await?)
}

/// The names of databases that belong to the project or go through the gateway with this id; at most three.
///
/// # Errors
/// Those of the database.
pub async fn names_on(store: &Store, organisation: &str, id: &str) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT name FROM databases WHERE organisation = $1 AND (project = $2 OR gateway = $2) \
        ORDER BY name LIMIT 3";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(organisation).bind(id);
    Ok(query.fetch_all(store.reader()).await?)
}

/// The databases of the organisation whose admin user is `user` on `host` and `port`, by name.
///
/// # Errors
/// Those of the database.
pub async fn with_admin(
    change: &mut Change,
    host: &str,
    port: u16,
    user: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let organisation = change.organisation().to_owned();
    let statement = "SELECT id, name FROM databases \
        WHERE organisation = $1 AND host = $2 AND port = $3 AND admin_user = $4 ORDER BY name";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(organisation).bind(host);
    Ok(query.bind(i64::from(port)).bind(user).fetch_all(change.connection()).await?)
}

/// Claims work on a database for this platform instance until `until`, unless another one has it, or there is no root
/// rotation to settle where it has to be `unsettled`. The number of the claim.
///
/// # Errors
/// Those of the database.
pub async fn claim(
    store: &Store,
    organisation: &str,
    id: &str,
    unsettled: bool,
    until: u64,
) -> Result<Option<i64>, StoreError> {
    let mut change = store.unaudited_change(organisation).await?;
    let (me, now) = (store.instance().to_owned(), change.now());
    let statement = "UPDATE databases SET claim_owner = $3, claim_until = $4, claim = claim + 1 \
        WHERE organisation = $1 AND id = $2 AND claim_until <= $5 AND ($6 = 0 OR sealed_pending <> '') \
        RETURNING claim";
    let update = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(id).bind(me);
    let update = update.bind(to_row(until)).bind(now).bind(i64::from(unsettled));
    let claim = update.fetch_optional(change.connection()).await?;
    change.commit().await?;
    Ok(claim)
}

/// Gives a claim up, if it still counts.
///
/// # Errors
/// Those of the database.
pub async fn release(store: &Store, organisation: &str, id: &str, claim: i64) -> Result<(), StoreError> {
    let mut change = store.quiet_change(organisation).await?;
    let statement = "UPDATE databases SET claim_owner = '', claim_until = 0 \
        WHERE organisation = $1 AND id = $2 AND claim = $3";
    sqlx::query(statement).bind(organisation).bind(id).bind(claim).execute(change.connection()).await?;
    change.commit().await
}

#[cfg(test)]
mod tests;
