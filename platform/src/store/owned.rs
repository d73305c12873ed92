//! What belongs to the project of a database: databases, secrets and rotations. Who sees them is said here, once.

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, FromRow};

use super::{Change, Store, StoreError};

/// One kind of them.
pub(super) struct Kind {
    /// `SELECT … FROM …`, in which `d` is the database.
    pub(super) select: &'static str,
    /// What it is called there.
    pub(super) alias: &'static str,
}

/// Those of the projects of the identity `$2`; all where it is empty.
const SEEN: &str =
    "($2 = '' OR d.project IN (SELECT project FROM members WHERE organisation = $1 AND identity = $2))";

impl Kind {
    /// At most `limit`, by name, after the name `after`: those of the projects of the identity `only`, where one is
    /// given.
    pub(super) async fn all<Raw, Row>(
        &self,
        store: &Store,
        organisation: &str,
        only: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Row>, StoreError>
    where
        Raw: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
        Row: TryFrom<Raw, Error = StoreError>,
    {
        let Self { select, alias } = self;
        let statement = format!(
            "{select} WHERE {alias}.organisation = $1 AND {alias}.name > $3 AND {SEEN} ORDER BY {alias}.name LIMIT $4"
        );
        let query = sqlx::query_as::<Any, Raw>(AssertSqlSafe(statement)).bind(organisation);
        let query = query.bind(only.unwrap_or_default()).bind(after).bind(i64::from(limit));
        query.fetch_all(store.reader()).await?.into_iter().map(Row::try_from).collect()
    }

    /// The one with this id or name, where the identity `only` is in its project or none is given.
    pub(super) async fn find<Raw, Row>(
        &self,
        store: &Store,
        organisation: &str,
        only: Option<&str>,
        key: &str,
    ) -> Result<Option<Row>, StoreError>
    where
        Raw: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
        Row: TryFrom<Raw, Error = StoreError>,
    {
        let Self { select, alias } = self;
        let statement = format!(
            "{select} WHERE {alias}.organisation = $1 AND ({alias}.id = $3 OR {alias}.name = $3) AND {SEEN} \
             ORDER BY CASE WHEN {alias}.id = $3 THEN 0 ELSE 1 END LIMIT 1"
        );
        let query = sqlx::query_as::<Any, Raw>(AssertSqlSafe(statement)).bind(organisation);
        let query = query.bind(only.unwrap_or_default()).bind(key);
        query.fetch_optional(store.reader()).await?.map(Row::try_from).transpose()
    }

    /// The one with this id.
    pub(super) async fn by_id<Raw, Row>(
        &self,
        store: &Store,
        organisation: &str,
        id: &str,
    ) -> Result<Option<Row>, StoreError>
    where
        Raw: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
        Row: TryFrom<Raw, Error = StoreError>,
    {
        let Self { select, alias } = self;
        let statement = format!("{select} WHERE {alias}.organisation = $1 AND {alias}.id = $2");
        let query = sqlx::query_as::<Any, Raw>(AssertSqlSafe(statement)).bind(organisation).bind(id);
        query.fetch_optional(store.reader()).await?.map(Row::try_from).transpose()
    }

    /// The same as it is within a change.
    pub(super) async fn in_change<Raw, Row>(
        &self,
        change: &mut Change,
        id: &str,
    ) -> Result<Option<Row>, StoreError>
    where
        Raw: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
        Row: TryFrom<Raw, Error = StoreError>,
    {
        let (Self { select, alias }, organisation) = (self, change.organisation().to_owned());
        let statement = format!("{select} WHERE {alias}.organisation = $1 AND {alias}.id = $2");
        let query = sqlx::query_as::<Any, Raw>(AssertSqlSafe(statement)).bind(organisation).bind(id);
        query.fetch_optional(change.connection()).await?.map(Row::try_from).transpose()
    }
}
