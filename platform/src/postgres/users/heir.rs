//! Who owns what users leave behind: a role that may do nothing.
//!
//! Functions, views and the expressions of indexes run with the rights of their owner, whoever has them run. Were the
//! admin user the owner of what a user made, the next user had the admin user's rights. So each admin user has an heir
//! on its server: a role that can't log in, is in no other role, and has no rights but those of an owner.
//!
//! PostgreSQL wants an owner to have rights on what some kinds of objects lie in: it is lent them for as long as
//! handing over takes.

use aws_lc_rs::digest::{SHA256, digest};
use tokio_postgres::types::Type;

use super::super::quote::{identifier, literal};
use super::super::retry::Tries;
use super::super::{Session, SqlError, Transaction, column};
use super::membership;

/// The lock for making heirs.
const LOCK: &str = "heirs";

/// How the comment on an heir begins.
const MARK: &str = "adit heir v1";

/// What it goes on with, for whoever comes across one.
const EXPLANATION: &str = "owns what users of Adit's leases left behind, so that nobody's rights come with it. \
     Grant it nothing, and do not let it log in";

/// No rights for that.
const NO_RIGHTS: &str = "42501";

/// Two make the same at once.
const NOT_UNIQUE: [&str; 2] = ["23505", "42710"];

/// What the user `$1` owns that is within this session's reach.
const OWNED: &str = "FROM pg_shdepend AS depends JOIN pg_roles AS roles ON roles.oid = depends.refobjid \
     WHERE depends.refclassid = 'pg_catalog.pg_authid'::regclass AND depends.deptype = 'o' AND roles.rolname = $1 \
     AND depends.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// The name of the heir of an admin user.
fn name(admin: &str) -> String {
    let hash = digest(&SHA256, format!("adit heir of {admin}").as_bytes());
    let short: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("adit-heir-{short}")
}

/// The heir of the admin user, which is made where it is not there.
///
/// # Errors
/// As [`make_in`].
pub(super) async fn make(session: &mut Session) -> Result<String, SqlError> {
    let mut tries = Tries::default();
    let mut was_late = false;
    loop {
        match make_once(session).await {
            Err(error) if tries.again(&error).await => {}
            // Locks are each database's own: somebody in another one was quicker, and now it is there.
            Err(SqlError::Refused { code, .. }) if !was_late && NOT_UNIQUE.contains(&code.as_str()) => {
                was_late = true;
            }
            done => return done,
        }
    }
}

async fn make_once(session: &mut Session) -> Result<String, SqlError> {
    let mut transaction = session.begin(Some(LOCK)).await?;
    let heir = make_in(&mut transaction).await?;
    transaction.commit().await?;
    Ok(heir)
}

/// The heir, in a transaction that somebody else ends.
///
/// # Errors
/// [`SqlError`]: a role of its name that is no heir (42710), and one that may do something (55000).
pub(in crate::postgres) async fn make_in(transaction: &mut Transaction<'_>) -> Result<String, SqlError> {
    let heir = name(transaction.user());
    let sql = "SELECT coalesce(starts_with(shobj_description(oid, 'pg_authid'), $2), false), \
         rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls \
         OR EXISTS (SELECT FROM pg_auth_members AS members WHERE members.member = roles.oid), \
         pg_has_role(oid, 'USAGE') FROM pg_roles AS roles WHERE rolname = $1";
    let rows = transaction.query(sql, &[(&heir, Type::TEXT), (&MARK, Type::TEXT)]).await?;
    let role = identifier(&heir);
    let is_member = match rows.first() {
        Some(row) if !column::<bool>(row, 0)? => {
            let message = format!(
                "there is a role {role} already, which is not the platform's: rename it, for what users leave \
                 behind goes to a role of this name"
            );
            return Err(SqlError::Refused { code: "42710".to_owned(), message });
        }
        Some(row) if column(row, 1)? => {
            let message = format!(
                "the role {role} owns what users left behind and must not be able to do anything: run \
                 ALTER ROLE {role} NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS, and \
                 revoke every role from it"
            );
            return Err(SqlError::Refused { code: "55000".to_owned(), message });
        }
        Some(row) => column(row, 2)?,
        None => {
            let comment = literal(&format!("{MARK}: {EXPLANATION}"));
            transaction.execute(&format!("CREATE ROLE {role} NOLOGIN"), &[]).await?;
            transaction.execute(&format!("COMMENT ON ROLE {role} IS {comment}"), &[]).await?;
            false
        }
    };
    if !is_member {
        let with = membership(transaction.major());
        transaction.execute(&format!("GRANT {role} TO SESSION_USER{with}"), &[]).await?;
    }
    Ok(heir)
}

/// Whether a user owns something in this session's database, or something that belongs to the server as a whole.
pub(super) async fn owns(transaction: &mut Transaction<'_>, username: &str) -> Result<bool, SqlError> {
    let sql = format!("SELECT 1 {OWNED} LIMIT 1");
    Ok(!transaction.query(&sql, &[(&username, Type::TEXT)]).await?.is_empty())
}

/// Everything that a user owns in this session's database, and all that belongs to the server as a whole, goes to the
/// heir.
///
/// # Errors
/// [`SqlError`]; where a right is missing (42501) it says who has to be granted what.
pub(in crate::postgres) async fn hand_over(
    transaction: &mut Transaction<'_>,
    username: &str,
    heir: &str,
) -> Result<(), SqlError> {
    let to = identifier(heir);
    // Before anything in them: who owns a schema may make things there.
    hand_over_schemas(transaction, username, &to).await?;
    let (lent, missing): (Vec<_>, Vec<_>) =
        needs(transaction, username, heir).await?.into_iter().partition(|need| need.may_grant);
    for need in &lent {
        transaction.execute(&format!("GRANT {} TO {to}", need.right), &[]).await?;
    }
    let reassign = format!("REASSIGN OWNED BY {} TO {to}", identifier(username));
    let done = transaction.execute(&reassign, &[]).await;
    let grants = missing.iter().map(|need| format!("GRANT {} TO {to};", need.right)).collect();
    done.map_err(|error| with_grants(error, grants))?;
    for need in lent.iter().filter(|need| !need.stays) {
        transaction.execute(&format!("REVOKE {} FROM {to}", need.right), &[]).await?;
    }
    Ok(())
}

async fn hand_over_schemas(
    transaction: &mut Transaction<'_>,
    username: &str,
    to: &str,
) -> Result<(), SqlError> {
    let sql = "SELECT n.nspname::text, current_database()::text, session_user::text FROM pg_namespace n \
         JOIN pg_roles r ON r.oid = n.nspowner WHERE r.rolname = $1 ORDER BY 1";
    for row in transaction.query(sql, &[(&username, Type::TEXT)]).await? {
        let [schema, database, admin] =
            [column::<String>(&row, 0)?, column(&row, 1)?, column(&row, 2)?].map(|name| identifier(&name));
        let done = transaction.execute(&format!("ALTER SCHEMA {schema} OWNER TO {to}"), &[]).await;
        let grant = format!("GRANT CREATE ON DATABASE {database} TO {admin};");
        done.map_err(|error| with_grants(error, vec![grant]))?;
    }
    Ok(())
}

/// A right without which the heir can't own something.
struct Need {
    /// As `GRANT` has it.
    right: String,
    /// Whether the admin user may grant it.
    may_grant: bool,
    /// Whether it is not taken back: the heir becomes the owner of what it is on.
    stays: bool,
}

/// What the heir lacks. Relations and types need nothing; but types are asked for too, for what a server may want.
async fn needs(transaction: &mut Transaction<'_>, username: &str, heir: &str) -> Result<Vec<Need>, SqlError> {
    let sql = format!(
        "WITH owned AS (SELECT depends.classid, roles.oid AS owner, CASE WHEN depends.dbid <> 0 THEN \
         (pg_identify_object(depends.classid, depends.objid, depends.objsubid)).schema END AS schema {OWNED} \
         AND depends.classid <> 'pg_catalog.pg_class'::regclass) \
         SELECT 'CREATE ON SCHEMA', n.nspname::text, has_schema_privilege(n.oid, 'CREATE WITH GRANT OPTION'), false \
         FROM pg_namespace n WHERE quote_ident(n.nspname) IN (SELECT schema FROM owned) \
         AND n.nspname NOT LIKE 'pg\\_temp\\_%' AND NOT has_schema_privilege($2, n.oid, 'CREATE') \
         UNION ALL SELECT 'CREATE ON DATABASE', d.datname::text, \
         has_database_privilege(d.oid, 'CREATE WITH GRANT OPTION'), d.datdba IN (SELECT owner FROM owned) \
         FROM pg_database d WHERE d.datname = current_database() AND NOT has_database_privilege($2, d.oid, 'CREATE') \
         AND 'pg_catalog.pg_publication'::regclass IN (SELECT classid FROM owned) \
         UNION ALL SELECT 'USAGE ON FOREIGN DATA WRAPPER', w.fdwname::text, \
         has_foreign_data_wrapper_privilege(w.oid, 'USAGE WITH GRANT OPTION'), false \
         FROM pg_foreign_data_wrapper w WHERE NOT has_foreign_data_wrapper_privilege($2, w.oid, 'USAGE') AND w.oid IN \
         (SELECT s.srvfdw FROM pg_foreign_server s JOIN pg_roles r ON r.oid = s.srvowner WHERE r.rolname = $1) \
         ORDER BY 1, 2"
    );
    let rows = transaction.query(&sql, &[(&username, Type::TEXT), (&heir, Type::TEXT)]).await?;
    let read = |row| {
        let (what, on): (String, String) = (column(row, 0)?, column(row, 1)?);
        let right = format!("{what} {}", identifier(&on));
        Ok(Need { right, may_grant: column(row, 2)?, stays: column(row, 3)? })
    };
    rows.iter().map(read).collect()
}

/// The same error, with what an administrator of the server has to run where rights are missing.
fn with_grants(error: SqlError, grants: Vec<String>) -> SqlError {
    match error {
        SqlError::Refused { code, message } if code == NO_RIGHTS && !grants.is_empty() => {
            let grants = grants.join(" ");
            let message = format!(
                "{message}: what the user owned can't be passed on before an administrator of the server runs {grants}"
            );
            SqlError::Refused { code, message }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::MAX_NAME;

    #[test]
    fn each_admin_user_has_an_heir_of_its_own_whose_name_is_not_cut() {
        let long = "ä".repeat(31);
        assert!(name(&long).len() <= MAX_NAME);
        assert_eq!(name("app"), name("app"));
        assert_ne!(name("app"), name("App"));
    }
}
