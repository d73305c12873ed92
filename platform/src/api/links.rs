//! Links: which targets a project reaches through which gateway.

use std::sync::Arc;

use adit_core::tunnel::Target;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{Body, PageQuery, Path, Query};
use super::named::page;
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::store::links::{self, Set};
use crate::store::{gateways, projects, revocations};
use crate::words::{Link, NewLink, Page};

/// Targets of one link, which all have to fit into one certificate.
const MAX_TARGETS: usize = 64;

pub(super) fn routes() -> Vec<Route> {
    let (read, manage) =
        (Needs::Permission(Permission::ReadProjects), Needs::Permission(Permission::ManageLinks));
    vec![
        Route::get("/v1/links", read, list)
            .named("listLinks", "The links: all of them, or those of the caller's projects.")
            .query(PAGED)
            .lists::<Link>(),
        Route::post("/v1/links", manage, create)
            .named(
                "createLink",
                "Says which targets a project reaches through a gateway, in place of what was said.",
            )
            .takes::<NewLink>()
            .creates::<Link>(),
        Route::delete("/v1/links/{link}", manage, delete)
            .named("deleteLink", "Deletes a link; certificates of the project's members are revoked."),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Link>>, Problem> {
    let limit = query.limit()?;
    let only = caller.only_projects_of();
    let links = links::all(&app.store, &caller.organisation, only, query.after(), limit + 1).await?;
    Ok(Json(page(links, limit, |link| link.id.clone())))
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewLink>,
) -> Result<(StatusCode, Json<Link>), Problem> {
    let organisation = &caller.organisation;
    let targets = targets(&new.targets)?;
    let project = projects::find(&app.store, organisation, None, &new.project).await?;
    let project = project.ok_or_else(|| Problem::not_found("project"))?;
    let gateway = gateways::find(&app.store, organisation, None, &new.gateway).await?;
    let gateway = gateway.ok_or_else(|| Problem::not_found("gateway"))?;
    let mut change = app.change(&caller).await?;
    change.bump().await?;
    let set = links::set(&mut change, &project.id, &gateway.id, &targets).await?;
    if set.before.iter().any(|target| !targets.contains(target)) {
        revocations::revoke_certificates_of_members(&mut change, &project.id).await?;
    }
    let detail =
        json!({ "project": project.name, "gateway": gateway.name, "targets": targets, "before": set.before });
    change.audit("link.set", &format!("link:{}", set.id), detail);
    change.commit().await?;
    let Set { id, created_at, .. } = set;
    let link = Link { id, project: project.name, gateway: gateway.name, targets, created_at };
    Ok((StatusCode::CREATED, Json(link)))
}

/// The targets in their one form, each once.
fn targets(texts: &[String]) -> Result<Vec<String>, Problem> {
    if texts.is_empty() || texts.len() > MAX_TARGETS {
        return Err(Problem::bad_request(format!("A link has 1 to {MAX_TARGETS} targets.")));
    }
    let mut targets = Vec::with_capacity(texts.len());
    for text in texts {
        let target: Target = text.parse().map_err(|error| {
            Problem::bad_request(format!("{text:?} is no target: {error}. One reads tcp://host:port."))
        })?;
        let target = target.to_string();
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(link): Path<String>,
) -> Result<StatusCode, Problem> {
    let found = links::find(&app.store, &caller.organisation, &link).await?;
    let (link, project) = found.ok_or_else(|| Problem::not_found("link"))?;
    let mut change = app.change(&caller).await?;
    change.bump().await?;
    revocations::revoke_certificates_of_members(&mut change, &project).await?;
    links::delete(&mut change, &link.id).await?;
    let detail = json!({ "project": link.project, "gateway": link.gateway, "targets": link.targets });
    change.audit("link.deleted", &format!("link:{}", link.id), detail);
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_kept_in_one_form_each_once() {
        let texts = ["tcp://DB.internal:5432", "tcp://db.internal:5432", "tcp://[::1]:1"].map(str::to_owned);
        assert_eq!(targets(&texts).unwrap(), ["tcp://db.internal:5432", "tcp://[::1]:1"]);
        assert!(targets(&[]).is_err() && targets(&["http://db".to_owned()]).is_err());
        assert!(targets(&vec!["tcp://a:1".to_owned(); 65]).is_err());
    }
}
