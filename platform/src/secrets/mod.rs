//! Dynamic secrets: what they are defined as, and what the server needs before their first lease.

pub(crate) mod definition;

use serde_json::json;

use crate::api::App;
use crate::postgres::groups;
use crate::servers::reach::{Failure, linked, session};
use crate::store::databases;
use crate::store::secrets::{self, Row};

/// Makes the group role of a secret on the server, where it has one, with what its users may do; `actor` wants it.
///
/// # Errors
/// [`Failure`]. What was done may be done again.
pub(crate) async fn prepare(
    app: &App,
    secret: &Row,
    database: &databases::Row,
    actor: &str,
) -> Result<(), Failure> {
    linked(app, database).await?;
    if let Some(group) = &secret.group_role {
        let mut session = session(app, database, Some(&secret.dbname)).await?;
        let definition = &secret.definition;
        groups::prepare(&mut session, group, definition.access, &definition.schemas).await?;
    }
    let mut change = app.store.change(&secret.organisation, actor).await?;
    secrets::set_prepared(&mut change, &secret.id).await?;
    let detail =
        json!({ "database": database.name, "gateway": database.gateway, "group": secret.group_role });
    change.audit("secret.prepared", &format!("secret:{}", secret.name), detail);
    Ok(change.commit().await?)
}

/// Removes the group role of a secret that was deleted. Where the server is not reached, the role stays: it may log in
/// nowhere, and nobody is in it.
pub(crate) async fn tidy(app: &App, secret: &Row, database: &databases::Row) {
    let Some(group) = &secret.group_role else { return };
    let removing = async {
        linked(app, database).await?;
        let mut session = session(app, database, Some(&secret.dbname)).await?;
        groups::remove(&mut session, group).await.map_err(Failure::from)
    };
    if let Err(error) = removing.await {
        tracing::warn!(group, %error, "the group role of a deleted secret stays on its server: DROP ROLE ends it");
    }
}
