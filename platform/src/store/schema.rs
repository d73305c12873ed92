//! The schema's versions. One process at a time brings a database up to date, in one transaction.

use sqlx::{Any, AnyConnection, Connection as _};

use super::connect::Pools;
use super::error::OpenError;

/// Every version of the schema, from the first. What was released is never edited.
const VERSIONS: &[&str] =
    &[include_str!("migrations/0001_begin.sql"), include_str!("migrations/0002_leases.sql")];

/// The last version that is known here.
pub const SCHEMA: i64 = VERSIONS.len() as i64;

/// The number that stands for this program among PostgreSQL's advisory locks.
const ADVISORY_LOCK: i64 = 0x0061_6469_7400_0001;

/// Brings the schema up to date.
pub(super) async fn migrate(pools: &Pools, postgres: bool) -> Result<(), OpenError> {
    let mut connection = pools.writer.acquire().await?;
    let begin = if postgres { "BEGIN" } else { "BEGIN IMMEDIATE" };
    let mut transaction = connection.begin_with(begin).await?;
    if postgres {
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ADVISORY_LOCK);
        lock.execute(&mut *transaction).await?;
    }
    bring_up_to_date(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

async fn bring_up_to_date(connection: &mut AnyConnection) -> Result<(), OpenError> {
    let table = "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)";
    sqlx::raw_sql(table).execute(&mut *connection).await?;
    let found = "SELECT COALESCE(MAX(version), 0) FROM schema_versions";
    let found: i64 = sqlx::query_scalar::<Any, i64>(found).fetch_one(&mut *connection).await?;
    if found > SCHEMA {
        return Err(OpenError::Later { found, known: SCHEMA });
    }
    for (version, statements) in (1..).zip(VERSIONS).filter(|(version, _)| *version > found) {
        sqlx::raw_sql(*statements).execute(&mut *connection).await?;
        let record = sqlx::query("INSERT INTO schema_versions (version) VALUES ($1)").bind(version);
        record.execute(&mut *connection).await?;
    }
    Ok(())
}
