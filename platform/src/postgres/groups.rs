//! Group roles: what the users of a secret may do, granted once.
//!
//! A lease grants nothing on objects: many at once would change the same rows of the catalogues, and fail. Its user is
//! in a group, which is made when the secret is prepared, with privileges on what is there and, by default, on what is
//! made later.

use tokio_postgres::types::Type;

use super::quote::{identifier, literal};
use super::retry::Tries;
use super::users::{OBJECTS, membership};
use super::{Session, SqlError, Transaction, column};
use crate::words::Access;

/// The comment on a group: by it the platform knows that it may go on with one that is there.
const COMMENT: &str = "adit group v1";

/// Objects that one GRANT names.
const BATCH: usize = 200;

/// What is granted on one kind of objects.
struct Kind {
    /// As `GRANT … ON` has it, and as default privileges do.
    words: [&'static str; 2],
    /// As `pg_class.relkind` has it.
    relkinds: &'static str,
    /// The function that tells whether a role has a privilege.
    tells: &'static str,
    privileges: &'static [&'static str],
}

/// What users with `access` may do with objects in their schemas.
fn kinds(access: Access) -> Vec<Kind> {
    let tables = |privileges| Kind {
        words: ["TABLE", "TABLES"],
        relkinds: "rpvmf",
        tells: "has_table_privilege",
        privileges,
    };
    let sequences = Kind {
        words: ["SEQUENCE", "SEQUENCES"],
        relkinds: "S",
        tells: "has_sequence_privilege",
        privileges: &["USAGE", "SELECT", "UPDATE"],
    };
    match access {
        Access::ReadOnly => vec![tables(&["SELECT"])],
        Access::ReadWrite => vec![tables(&["SELECT", "INSERT", "UPDATE", "DELETE"]), sequences],
        Access::Custom => Vec::new(),
    }
}

/// Makes the group role `group` in this session's database, with what `access` to `schemas` means: on all objects on
/// which the admin user may grant it, and on those that it, or an owner of which it is a member, makes later. May be
/// done again, for objects that have come since.
///
/// # Errors
/// [`SqlError`]: a role of this name that is no group of the platform's (42710), a schema that is not there (3F000),
/// and what the admin user may not do (42501).
pub async fn prepare(
    session: &mut Session,
    group: &str,
    access: Access,
    schemas: &[String],
) -> Result<(), SqlError> {
    let mut tries = Tries::default();
    loop {
        match prepare_once(session, group, access, schemas).await {
            Err(error) if tries.again(&error).await => {}
            done => return done,
        }
    }
}

async fn prepare_once(
    session: &mut Session,
    group: &str,
    access: Access,
    schemas: &[String],
) -> Result<(), SqlError> {
    let mut transaction = session.begin(Some(OBJECTS)).await?;
    prepare_in(&mut transaction, group, access, schemas).await?;
    transaction.commit().await
}

/// Prepares in a transaction that somebody else ends, and that has the lock.
pub(super) async fn prepare_in(
    transaction: &mut Transaction<'_>,
    group: &str,
    access: Access,
    schemas: &[String],
) -> Result<(), SqlError> {
    make(transaction, group).await?;
    for schema in schemas {
        let sql = "SELECT has_schema_privilege($1, oid, 'USAGE') FROM pg_namespace WHERE nspname = $2";
        let rows = transaction.query(sql, &[(&group, Type::TEXT), (schema, Type::TEXT)]).await?;
        let Some(row) = rows.first() else {
            let message = format!("the schema {schema:?} is not there");
            return Err(SqlError::Refused { code: "3F000".to_owned(), message });
        };
        if !column::<bool>(row, 0)? {
            let sql = format!("GRANT USAGE ON SCHEMA {} TO {}", identifier(schema), identifier(group));
            transaction.execute(&sql, &[]).await?;
        }
        for kind in kinds(access) {
            grant(transaction, group, schema, &kind).await?;
            grant_by_default(transaction, group, schema, &kind).await?;
        }
    }
    Ok(())
}

/// Whether the group is there.
///
/// # Errors
/// [`SqlError`].
pub async fn is_prepared(session: &mut Session, group: &str) -> Result<bool, SqlError> {
    let sql = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1";
    let rows = session.look(sql, &[(&group, Type::TEXT)]).await?;
    let comment: Option<String> = rows.first().map_or(Ok(None), |row| column(row, 0))?;
    Ok(comment.as_deref() == Some(COMMENT))
}

/// Drops a group and what it is granted in this session's database. `false` where there is no such group.
///
/// # Errors
/// [`SqlError`].
pub async fn remove(session: &mut Session, group: &str) -> Result<bool, SqlError> {
    if !is_prepared(session, group).await? {
        return Ok(false);
    }
    let mut tries = Tries::default();
    loop {
        match remove_once(session, &identifier(group)).await {
            Err(error) if tries.again(&error).await => {}
            done => return done.map(|()| true),
        }
    }
}

async fn remove_once(session: &mut Session, group: &str) -> Result<(), SqlError> {
    let mut transaction = session.begin(Some(OBJECTS)).await?;
    transaction.execute(&format!("DROP OWNED BY {group}"), &[]).await?;
    transaction.execute(&format!("DROP ROLE {group}"), &[]).await?;
    transaction.commit().await
}

/// Objects of `schemas` on which the admin user can't grant what `access` needs, quoted; at most 100 of them.
///
/// # Errors
/// [`SqlError`].
pub(super) async fn out_of_reach(
    session: &mut Session,
    access: Access,
    schemas: &[String],
) -> Result<Vec<(String, String)>, SqlError> {
    let mut found = Vec::new();
    for kind in kinds(access) {
        let sql = format!(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = ANY ($1) AND strpos('{}', c.relkind::text) > 0 AND NOT {} ORDER BY 1, 2 LIMIT 100",
            kind.relkinds,
            kind.may_grant(),
        );
        for row in session.look(&sql, &[(&schemas, Type::TEXT_ARRAY)]).await? {
            let (schema, name) = (column::<String>(&row, 0)?, column::<String>(&row, 1)?);
            let object = format!("{}.{}", identifier(&schema), identifier(&name));
            let grant = format!("GRANT {} ON {} {object}", kind.privileges.join(", "), kind.words[0]);
            found.push((object, grant));
        }
    }
    found.truncate(100);
    Ok(found)
}

impl Kind {
    /// Whether the admin user may grant the privileges on the object `c`, in SQL.
    fn may_grant(&self) -> String {
        let each = |privilege| format!("{}(c.oid, '{privilege} WITH GRANT OPTION')", self.tells);
        let all: Vec<_> = self.privileges.iter().map(each).collect();
        format!("(pg_has_role(c.relowner, 'USAGE') OR ({}))", all.join(" AND "))
    }

    /// Whether the role `$1` has the privileges on the object `c`, in SQL.
    fn has(&self) -> String {
        let each = |privilege| format!("{}($1, c.oid, '{privilege}')", self.tells);
        let all: Vec<_> = self.privileges.iter().map(each).collect();
        format!("({})", all.join(" AND "))
    }
}

/// The role itself, in which the admin user is, so that it can remove it again.
async fn make(transaction: &mut Transaction<'_>, group: &str) -> Result<(), SqlError> {
    let with = membership(transaction.major());
    let sql = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1";
    let rows = transaction.query(sql, &[(&group, Type::TEXT)]).await?;
    let name = identifier(group);
    match rows.first().map(|row| column::<Option<String>>(row, 0)).transpose()? {
        Some(Some(comment)) if comment == COMMENT => {}
        Some(_) => {
            let message = format!("there is a role {group:?} already, and it is no group of the platform's");
            return Err(SqlError::Refused { code: "42710".to_owned(), message });
        }
        None => {
            transaction.execute(&format!("CREATE ROLE {name} NOLOGIN"), &[]).await?;
            transaction.execute(&format!("COMMENT ON ROLE {name} IS {}", literal(COMMENT)), &[]).await?;
            transaction.execute(&format!("GRANT {name} TO SESSION_USER{with}"), &[]).await?;
        }
    }
    let sql = "SELECT current_database()::text, has_database_privilege($1, current_database(), 'CONNECT')";
    for row in transaction.query(sql, &[(&group, Type::TEXT)]).await? {
        if !column::<bool>(&row, 1)? {
            let database = identifier(&column::<String>(&row, 0)?);
            transaction.execute(&format!("GRANT CONNECT ON DATABASE {database} TO {name}"), &[]).await?;
        }
    }
    Ok(())
}

/// On the objects that are there, and on which it may be granted.
async fn grant(
    transaction: &mut Transaction<'_>,
    group: &str,
    schema: &str,
    kind: &Kind,
) -> Result<(), SqlError> {
    let sql = format!(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $2 AND strpos('{}', c.relkind::text) > 0 AND {} AND NOT {} ORDER BY 1",
        kind.relkinds,
        kind.may_grant(),
        kind.has(),
    );
    let rows = transaction.query(&sql, &[(&group, Type::TEXT), (&schema, Type::TEXT)]).await?;
    let names: Vec<String> = rows.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
    let privileges = kind.privileges.join(", ");
    for names in names.chunks(BATCH) {
        let qualified = names.iter().map(|name| format!("{}.{}", identifier(schema), identifier(name)));
        let objects = qualified.collect::<Vec<_>>().join(", ");
        let sql = format!("GRANT {privileges} ON {} {objects} TO {}", kind.words[0], identifier(group));
        transaction.execute(&sql, &[]).await?;
    }
    Ok(())
}

/// On the objects that the admin user makes later, and those that the owners make of which it is a member.
async fn grant_by_default(
    transaction: &mut Transaction<'_>,
    group: &str,
    schema: &str,
    kind: &Kind,
) -> Result<(), SqlError> {
    let sql = "SELECT r.rolname::text FROM pg_roles r WHERE r.rolname = current_user \
         OR (pg_has_role(r.oid, 'USAGE') AND NOT r.rolsuper AND NOT starts_with(r.rolname::text, 'pg_') AND r.oid IN \
         (SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 \
         UNION SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = $1)) ORDER BY 1";
    let rows = transaction.query(sql, &[(&schema, Type::TEXT)]).await?;
    let (schema, group) = (identifier(schema), identifier(group));
    let (privileges, objects) = (kind.privileges.join(", "), kind.words[1]);
    for row in &rows {
        let owner = identifier(&column::<String>(row, 0)?);
        let sql = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {privileges} ON {objects} TO {group}"
        );
        transaction.execute(&sql, &[]).await?;
    }
    Ok(())
}
