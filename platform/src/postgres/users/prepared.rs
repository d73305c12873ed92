//! Transactions that a user has prepared for two-phase commit. They outlive its sessions, with all their locks, and would
//! take effect whenever somebody says so: with the user they are rolled back.

use tokio_postgres::types::Type;

use super::super::quote::{identifier, literal};
use super::super::{Session, SqlError, column};

/// No rights for that.
const NO_RIGHTS: &str = "42501";

/// There is no such transaction: somebody else was quicker.
const GONE: &str = "42704";

/// A lock was not free in time, or the statement took too long.
const WAITED: [&str; 2] = ["55P03", "57014"];

/// The databases of the server in which a user has prepared transactions.
///
/// # Errors
/// [`SqlError`].
pub async fn databases_with_prepared(session: &mut Session, username: &str) -> Result<Vec<String>, SqlError> {
    let sql = "SELECT DISTINCT database::text FROM pg_prepared_xacts WHERE owner = $1 ORDER BY 1";
    let rows = session.look(sql, &[(&username, Type::TEXT)]).await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

/// Rolls back what a user has prepared in this session's database, as the user itself: nobody else may but a superuser.
///
/// # Errors
/// [`SqlError`]; where that is not allowed (42501) it names the transaction, and what an administrator has to run.
pub async fn roll_back_prepared(session: &mut Session, username: &str) -> Result<(), SqlError> {
    let sql =
        "SELECT gid FROM pg_prepared_xacts WHERE owner = $1 AND database = current_database() ORDER BY 1";
    let rows = session.look(sql, &[(&username, Type::TEXT)]).await?;
    for row in rows {
        let gid: String = column(&row, 0)?;
        match roll_back(session, username, &gid).await {
            Err(SqlError::Refused { code, .. }) if code == GONE => {}
            Err(SqlError::Refused { code, message }) if code == NO_RIGHTS => {
                let message = format!(
                    "{message}: the user has a prepared transaction that can't be rolled back. A superuser runs, in the \
                     database {}: ROLLBACK PREPARED {};",
                    identifier(session.dbname()),
                    literal(&gid)
                );
                return Err(SqlError::Refused { code, message });
            }
            other => other?,
        }
    }
    Ok(())
}

/// It can't be done within a transaction, so that the role can't be of one: the next transaction of the session, and of
/// whoever else is handed the connection by a pooler, begins with its own role again, whatever happens here.
async fn roll_back(session: &mut Session, username: &str, gid: &str) -> Result<(), SqlError> {
    session.execute_foreign(&format!("SET ROLE {}", identifier(username))).await?;
    let done = session.execute_foreign(&format!("ROLLBACK PREPARED {}", literal(gid))).await;
    session.execute_foreign("RESET ROLE").await?;
    done
}

/// The same error; where a user's end waited for a lock in vain, with the prepared transactions that hold one on the
/// user, or on something here that it owns or may use: nobody is there who could be told to end them.
pub(super) async fn with_holders(session: &mut Session, username: &str, error: SqlError) -> SqlError {
    let SqlError::Refused { code, message } = &error else { return error };
    if !WAITED.contains(&code.as_str()) {
        return error;
    }
    let sql = "SELECT DISTINCT held.gid, held.owner::text, held.database::text FROM pg_prepared_xacts AS held \
         JOIN pg_locks AS own ON own.pid IS NULL AND own.transactionid = held.transaction \
         JOIN pg_locks AS locks ON locks.pid IS NULL AND locks.virtualtransaction = own.virtualtransaction \
         JOIN pg_roles AS roles ON roles.rolname = $1 \
         WHERE (locks.classid = 'pg_catalog.pg_authid'::regclass AND locks.objid = roles.oid) \
         OR EXISTS (SELECT FROM pg_shdepend AS depends WHERE depends.refobjid = roles.oid \
         AND depends.refclassid = 'pg_catalog.pg_authid'::regclass AND depends.dbid = locks.database \
         AND depends.classid = 'pg_catalog.pg_class'::regclass AND depends.objid = locks.relation) ORDER BY 1";
    let Ok(rows) = session.look(sql, &[(&username, Type::TEXT)]).await else { return error };
    let named = |row: &tokio_postgres::Row| -> Result<String, SqlError> {
        let [gid, owner, database] = [column::<String>(row, 0)?, column(row, 1)?, column(row, 2)?];
        let (gid, owner, database) = (literal(&gid), identifier(&owner), identifier(&database));
        Ok(format!("ROLLBACK PREPARED {gid}; in the database {database}, as {owner} or as a superuser"))
    };
    match rows.iter().map(named).collect::<Result<Vec<_>, _>>() {
        Ok(named) if !named.is_empty() => {
            let message = format!(
                "{message}: prepared transactions hold locks that the user's removal waits for. Commit them, or run {}",
                named.join(" and ")
            );
            SqlError::Refused { code: code.clone(), message }
        }
        _ => error,
    }
}
