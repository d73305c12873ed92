//! What others have granted to a user and the admin user can't take back: PostgreSQL lets it pass when the user's
//! privileges are revoked, or refuses that altogether, and then does not drop the user, without a word on who has granted
//! what.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::super::quote::identifier;
use super::super::{Session, SqlError, Transaction, column};
use super::end::DEPENDENT_OBJECTS;

/// Grants that an error names one by one.
const NAMED: usize = 5;

/// Privileges of the user `$1` that are left in this database, or on the server as a whole: on what, as people and as
/// `REVOKE` say it, and by whom they were granted, where that is known. Where `$2` is false, only those of grantors whom
/// the admin user can't act for.
const LEFT: &str = "WITH depends AS (SELECT d.classid, d.objid, d.objsubid, d.refobjid AS grantee \
     FROM pg_shdepend AS d JOIN pg_roles AS r ON r.oid = d.refobjid \
     WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.deptype = 'a' AND r.rolname = $1 \
     AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))), \
     lists (classid, objid, objsubid, list) AS (\
     SELECT 'pg_catalog.pg_class'::regclass, oid, 0, relacl FROM pg_class \
     UNION ALL SELECT 'pg_catalog.pg_class'::regclass, attrelid, attnum, attacl FROM pg_attribute \
     UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid, 0, nspacl FROM pg_namespace \
     UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, 0, proacl FROM pg_proc \
     UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid, 0, typacl FROM pg_type \
     UNION ALL SELECT 'pg_catalog.pg_language'::regclass, oid, 0, lanacl FROM pg_language \
     UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid, 0, fdwacl FROM pg_foreign_data_wrapper \
     UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid, 0, srvacl FROM pg_foreign_server \
     UNION ALL SELECT 'pg_catalog.pg_largeobject'::regclass, oid, 0, lomacl FROM pg_largeobject_metadata \
     UNION ALL SELECT 'pg_catalog.pg_tablespace'::regclass, oid, 0, spcacl FROM pg_tablespace \
     UNION ALL SELECT 'pg_catalog.pg_database'::regclass, oid, 0, datacl FROM pg_database), \
     grants AS (SELECT depends.*, acl.grantor FROM depends LEFT JOIN (lists CROSS JOIN LATERAL aclexplode(lists.list) \
     AS acl) ON lists.classid = depends.classid AND lists.objid = depends.objid \
     AND lists.objsubid = depends.objsubid AND acl.grantee = depends.grantee) \
     SELECT DISTINCT pg_describe_object(grants.classid, grants.objid, grants.objsubid), \
     CASE WHEN grants.objsubid <> 0 THEN '(' || quote_ident(a.attname) || ') ON TABLE ' || a.attrelid::regclass \
     WHEN it.type IN ('view', 'materialized view', 'foreign table') THEN 'ON TABLE ' || it.identity \
     WHEN it.type IN ('procedure', 'aggregate') THEN 'ON ROUTINE ' || it.identity \
     WHEN it.type = 'foreign-data wrapper' THEN 'ON FOREIGN DATA WRAPPER ' || it.identity \
     WHEN it.type = 'server' THEN 'ON FOREIGN SERVER ' || it.identity \
     ELSE 'ON ' || upper(it.type) || ' ' || it.identity END, \
     pg_get_userbyid(grants.grantor)::text \
     FROM grants CROSS JOIN LATERAL pg_identify_object(grants.classid, grants.objid, grants.objsubid) AS it \
     LEFT JOIN pg_attribute AS a ON a.attrelid = grants.objid AND a.attnum = grants.objsubid \
     AND grants.classid = 'pg_catalog.pg_class'::regclass AND grants.objsubid <> 0 \
     WHERE $2 OR NOT pg_has_role(grants.grantor, 'USAGE') ORDER BY 1, 3";

/// Whether something is left, which is quickly known.
const ANY_LEFT: &str = "SELECT 1 FROM pg_shdepend AS d JOIN pg_roles AS r ON r.oid = d.refobjid \
     WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.deptype = 'a' AND r.rolname = $1 \
     AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) LIMIT 1";

/// No rights for that.
const NO_RIGHTS: &str = "42501";

/// What is left of a user's privileges within this session's reach once the admin user has revoked what it may; `None`
/// where nothing is left.
pub(super) async fn left(
    transaction: &mut Transaction<'_>,
    username: &str,
) -> Result<Option<SqlError>, SqlError> {
    if transaction.query(ANY_LEFT, &[(&username, Type::TEXT)]).await?.is_empty() {
        return Ok(None);
    }
    let rows = transaction.query(LEFT, &[(&username, Type::TEXT), (&true, Type::BOOL)]).await?;
    let said = said(&rows, username, transaction.dbname())?;
    Ok(said.map(|message| SqlError::Refused { code: DEPENDENT_OBJECTS.to_owned(), message }))
}

/// The same error; where the admin user was not let revoke a user's privileges at all, since it has none itself on
/// something, with what others have granted whom it can't act for.
pub(super) async fn with_grantors(session: &mut Session, username: &str, error: SqlError) -> SqlError {
    let SqlError::Refused { code, message } = &error else { return error };
    if code != NO_RIGHTS {
        return error;
    }
    let all = session.look(LEFT, &[(&username, Type::TEXT), (&false, Type::BOOL)]).await;
    match all.and_then(|rows| said(&rows, username, session.dbname())) {
        Ok(Some(said)) => SqlError::Refused { code: code.clone(), message: format!("{message}: {said}") },
        Ok(None) | Err(_) => error,
    }
}

/// What was granted and by whom, and what to do; `None` where nothing was.
fn said(rows: &[Row], username: &str, dbname: &str) -> Result<Option<String>, SqlError> {
    let (mut granted, mut remedies) = (Vec::new(), Vec::new());
    for row in rows.iter().take(NAMED) {
        let (what, on): (String, String) = (column(row, 0)?, column(row, 1)?);
        let Some(grantor) = column::<Option<String>>(row, 2)?.map(|grantor| identifier(&grantor)) else {
            granted.push(what);
            continue;
        };
        granted.push(format!("{what}, granted by {grantor}"));
        let user = identifier(username);
        remedies.push(format!("SET ROLE {grantor}; REVOKE ALL {on} FROM {user} CASCADE; RESET ROLE;"));
    }
    if granted.is_empty() {
        return Ok(None);
    }
    let more = match rows.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Ok(Some(format!(
        "the user has privileges that the admin user can't take back: {}{more}. Who has granted them, or a superuser, \
         runs in the database {}: {}",
        granted.join("; "),
        identifier(dbname),
        remedies.join(" ")
    )))
}
