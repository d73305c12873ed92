//! Tests of dynamic secrets.

use std::time::Duration;

use tokio_postgres::types::Type;
use zeroize::Zeroizing;

use super::super::groups::{is_prepared, out_of_reach, prepare_in};
use super::super::quote::identifier;
use super::super::template::{Purpose, Statement, Values};
use super::super::users::{Lengthened, NewUser, OBJECTS, create_in, heir, lengthen_in, refused, run};
use super::super::{Session, SqlError, Transaction, column, password, scram};
use super::Report;
use crate::trust::random_id;
use crate::words::{Access, NewSecret, TestReport};

/// Objects that are named one by one in a report.
const NAMED: usize = 5;

/// Whether leases of a secret can be made in this session's database: its statements and its group, from a user's first
/// to its last, in a transaction that is rolled back. `now` is unix seconds.
///
/// # Errors
/// [`SqlError`] where the server answers no more; what it refuses is in the report.
pub async fn secret(
    session: &mut Session,
    definition: &NewSecret,
    group: Option<&str>,
    now: u64,
) -> Result<TestReport, SqlError> {
    let mut report = Report::default();
    report.server(session, now).await?;
    report.admin(session).await?;
    report.schemas(session, definition, group).await?;
    if let Some(group) = group {
        report.group(session, definition, group).await?;
    }
    let outcome = try_it(session, definition, group).await;
    let remedy = "change the secret's statements, or let the admin user do what the server refuses";
    report.tried("a user can be made, lengthened and removed as the secret says", outcome, remedy)?;
    Ok(report.finish(session))
}

impl Report {
    /// Whether the schemas are there, and can be opened to users.
    async fn schemas(
        &mut self,
        session: &mut Session,
        definition: &NewSecret,
        group: Option<&str>,
    ) -> Result<(), SqlError> {
        let sql = "SELECT has_schema_privilege(oid, 'USAGE WITH GRANT OPTION') \
             OR has_schema_privilege('public', oid, 'USAGE'), session_user::text \
             FROM pg_namespace WHERE nspname = $1";
        for schema in &definition.schemas {
            let rows = session.look(sql, &[(schema, Type::TEXT)]).await?;
            let name = identifier(schema);
            let remedy = format!("CREATE SCHEMA {name};");
            self.check(format!("the schema {schema:?} is there"), !rows.is_empty(), None, remedy);
            let Some(row) = rows.first().filter(|_| group.is_some()) else { continue };
            let (may_grant, admin): (bool, String) = (column(row, 0)?, column(row, 1)?);
            let remedy = format!("GRANT USAGE ON SCHEMA {name} TO {} WITH GRANT OPTION;", identifier(&admin));
            self.check(format!("users can be let into the schema {schema:?}"), may_grant, None, remedy);
        }
        let sql = "SELECT has_database_privilege(current_database(), 'CONNECT WITH GRANT OPTION') \
             OR has_database_privilege('public', current_database(), 'CONNECT'), \
             current_database()::text, session_user::text";
        let rows = session.look(sql, &[]).await?;
        let Some(row) = rows.first().filter(|_| group.is_some()) else { return Ok(()) };
        let [database, admin] =
            [identifier(&column::<String>(row, 1)?), identifier(&column::<String>(row, 2)?)];
        let remedy = format!("GRANT CONNECT ON DATABASE {database} TO {admin} WITH GRANT OPTION;");
        self.check("users can be let into the database", column(row, 0)?, None, remedy);
        Ok(())
    }

    /// Whether the group is there, and which objects it can't be granted.
    async fn group(
        &mut self,
        session: &mut Session,
        definition: &NewSecret,
        group: &str,
    ) -> Result<(), SqlError> {
        let is_prepared = is_prepared(session, group).await?;
        let found = (!is_prepared).then(|| "not yet: the first lease makes it".to_owned());
        self.check(format!("the group role {group:?}"), true, found, "");
        let objects = out_of_reach(session, definition.access, &definition.schemas).await?;
        let admin = identifier(session.user());
        let named: Vec<_> = objects.iter().take(NAMED).map(|(object, _)| object.as_str()).collect();
        let more = objects.len().saturating_sub(NAMED);
        let found = match (objects.len(), more) {
            (0, _) => None,
            (_, 0) => Some(format!("not {}", named.join(", "))),
            _ => Some(format!("not {} and {more} more", named.join(", "))),
        };
        let grants =
            objects.iter().take(NAMED).map(|(_, grant)| format!("{grant} TO {admin} WITH GRANT OPTION;"));
        let remedy = format!("{} Then prepare the secret again.", grants.collect::<Vec<_>>().join(" "));
        self.check("users can be granted every object of the schemas", objects.is_empty(), found, remedy);
        Ok(())
    }
}

/// A whole life, of which nothing stays.
async fn try_it(session: &mut Session, definition: &NewSecret, group: Option<&str>) -> Result<(), SqlError> {
    let username = format!("adit-test-{}", random_id());
    let password = password::generate(&definition.password);
    let given = match definition.pre_hashed {
        true => Zeroizing::new(scram::verifier(&password)),
        false => password.clone(),
    };
    let dbname = session.dbname().to_owned();
    let new = NewUser {
        username: &username,
        password: &password,
        pre_hashed: definition.pre_hashed,
        remaining: Duration::from_secs(definition.default_ttl),
        group,
        creation: &definition.creation,
        schemas: &definition.schemas,
        database: &dbname,
        comment: "adit test",
        lock: &username,
    };
    let mut transaction = session.begin(Some(OBJECTS)).await?;
    if let Some(group) = group.filter(|_| definition.access != Access::Custom) {
        let prepared = prepare_in(&mut transaction, group, definition.access, &definition.schemas).await;
        prepared.map_err(|error| at_step("preparing", error))?;
    }
    let lived = live(&mut transaction, definition, &new, &given).await;
    lived.map_err(|error| error.without(&[&given, &password]))?;
    transaction.rollback().await
}

/// A life, from creation to removal.
async fn live(
    transaction: &mut Transaction<'_>,
    definition: &NewSecret,
    new: &NewUser<'_>,
    given: &str,
) -> Result<(), SqlError> {
    let NewUser { username, schemas, database, remaining, lock, .. } = *new;
    let creation = Statement::parse_all(&definition.creation, Purpose::Creation).map_err(refused)?;
    let renewal = Statement::parse_all(&definition.renewal, Purpose::Renewal).map_err(refused)?;
    let revocation = Statement::parse_all(&definition.revocation, Purpose::Revocation).map_err(refused)?;
    let created = create_in(transaction, new, given, &creation).await;
    created.map_err(|error| at_step("creation", error))?;
    let it = Lengthened { username, remaining, renewal: &definition.renewal, schemas, database, lock };
    let lengthened = lengthen_in(transaction, &it, &renewal).await;
    lengthened.map_err(|error| at_step("renewal", error))?;
    let values = Values { username, password: "", expiration: "", schemas, database };
    let prepared = run(transaction, &revocation, &values).await;
    prepared.map_err(|error| at_step("revocation", error))?;
    removed(transaction, username).await.map_err(|error| at_step("removal", error))
}

async fn removed(transaction: &mut Transaction<'_>, username: &str) -> Result<(), SqlError> {
    let heir = heir::make_in(transaction).await?;
    heir::hand_over(transaction, username, &heir).await?;
    let user = identifier(username);
    transaction.execute(&format!("DROP OWNED BY {user}"), &[]).await?;
    transaction.execute(&format!("DROP ROLE {user}"), &[]).await.map(drop)
}

/// The same error, which says at which step.
fn at_step(step: &str, error: SqlError) -> SqlError {
    match error {
        SqlError::Refused { code, message } => {
            SqlError::Refused { code, message: format!("{step}: {message}") }
        }
        other => other,
    }
}
