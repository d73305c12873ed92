//! Whole tables as JSON, for backups: the same from both databases, and into both.

use std::pin::Pin;

use futures_core::Stream;
use serde_json::{Map, Value};
use sqlx::any::{AnyRow, AnyTypeInfoKind};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Column as _, Row as _, ValueRef as _};

use super::error::StoreError;

/// Every table, in an order in which each refers only to those before it.
pub(crate) const TABLES: &[&str] = &[
    "settings",
    "data_keys",
    "organisations",
    "authorities",
    "identities",
    "tokens",
    "nonces",
    "projects",
    "members",
    "gateways",
    "links",
    "instances",
    "relays",
    "relay_secrets",
    "certificates",
    "revocations",
    "forwardings",
    "permits",
    "platform_instances",
    "databases",
    "secrets",
    "leases",
    "orphans",
    "rotations",
    "audit_heads",
    "audit",
];

/// One row: its columns with texts and whole numbers.
pub(crate) type Object = Map<String, Value>;

/// The rows of a table, one after the other.
pub(crate) struct Rows<'c>(Pin<Box<dyn Stream<Item = Result<AnyRow, sqlx::Error>> + Send + 'c>>);

/// Begins to read `table`, one of [`TABLES`].
pub(crate) fn read<'c>(connection: &'c mut AnyConnection, table: &str) -> Rows<'c> {
    let statement = AssertSqlSafe(format!("SELECT * FROM {table}"));
    Rows(sqlx::query::<Any>(statement).fetch(connection))
}

impl Rows<'_> {
    /// The next row; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Object>, StoreError> {
        let next = std::future::poll_fn(|context| self.0.as_mut().poll_next(context)).await;
        next.transpose()?.map(|row| object(&row)).transpose()
    }
}

fn object(row: &AnyRow) -> Result<Object, StoreError> {
    let columns = row.columns().iter().map(|column| (column.name().to_owned(), column.ordinal()));
    columns.map(|(name, index)| Ok((name, value(row, index)?))).collect()
}

fn value(row: &AnyRow, index: usize) -> Result<Value, StoreError> {
    use AnyTypeInfoKind as K;
    match row.try_get_raw(index)?.type_info().kind() {
        K::Text => Ok(row.try_get::<String, _>(index)?.into()),
        K::SmallInt | K::Integer | K::BigInt => Ok(row.try_get::<i64, _>(index)?.into()),
        other => {
            Err(StoreError::Corrupt(format!("a column is neither a text nor a whole number but {other:?}")))
        }
    }
}

/// Writes one row of `table`.
///
/// # Errors
/// [`StoreError::Corrupt`] for what can be no row; those of the database.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    table: &str,
    row: &Object,
) -> Result<(), StoreError> {
    let fits = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if !TABLES.contains(&table) || !row.keys().all(|name| fits(name)) {
        return Err(StoreError::Corrupt(format!("there is no table {table:.40} with these columns")));
    }
    let names = row.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let places = (1..=row.len()).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ");
    let statement = format!("INSERT INTO {table} ({names}) VALUES ({places})");
    let mut insert = sqlx::query::<Any>(AssertSqlSafe(statement));
    for value in row.values() {
        insert = match (value.as_str(), value.as_i64()) {
            (Some(text), _) => insert.bind(text),
            (_, Some(number)) => insert.bind(number),
            _ => return Err(StoreError::Corrupt(format!("a value of {table} is neither text nor number"))),
        };
    }
    insert.execute(connection).await?;
    Ok(())
}
