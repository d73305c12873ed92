//! Projects, and who is in them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{Body, PageQuery, Path, Query};
use super::managed::without_databases;
use super::named::{new_name, page};
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::leases;
use crate::store::leases::changes::Which;
use crate::store::{identities, projects, revocations};
use crate::words::{Member, NewMember, NewProject, Page, Project};

pub(super) fn routes() -> Vec<Route> {
    let (read, manage) =
        (Needs::Permission(Permission::ReadProjects), Needs::Permission(Permission::ManageProjects));
    let members = Needs::Permission(Permission::ManageMembers);
    vec![
        Route::get("/v1/projects", read, list)
            .named("listProjects", "The projects: all of them, or the caller's own.")
            .query(PAGED)
            .lists::<Project>(),
        Route::post("/v1/projects", manage, create)
            .named("createProject", "Makes a project.")
            .takes::<NewProject>()
            .creates::<Project>(),
        Route::get("/v1/projects/{project}", read, show)
            .named("getProject", "One project and its members.")
            .answers::<Project>(),
        Route::delete("/v1/projects/{project}", manage, delete)
            .named("deleteProject", "Deletes a project, its links and its memberships."),
        Route::put("/v1/projects/{project}/members/{identity}", members, set_member)
            .named("setMember", "Gives an identity a role in a project.")
            .takes::<NewMember>()
            .answers::<Member>(),
        Route::delete("/v1/projects/{project}/members/{identity}", members, remove_member).named(
            "removeMember",
            "Takes an identity out of a project; its certificates and its leases there are revoked.",
        ),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Project>>, Problem> {
    let limit = query.limit()?;
    let only = caller.only_projects_of();
    let projects = projects::all(&app.store, &caller.organisation, only, query.after(), limit + 1).await?;
    Ok(Json(page(projects, limit, |project| project.name.clone())))
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewProject>,
) -> Result<(StatusCode, Json<Project>), Problem> {
    let name = new_name(&new.name)?;
    let mut change = app.change(&caller).await?;
    let project = projects::create(&mut change, name).await?;
    change.audit("project.created", &format!("project:{name}"), json!({}));
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(project)))
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(project): Path<String>,
) -> Result<Json<Project>, Problem> {
    found(&app, &caller, &project).await.map(Json)
}

/// The project, where the caller sees it.
async fn found(app: &App, caller: &Caller, project: &str) -> Result<Project, Problem> {
    let found = projects::find(&app.store, &caller.organisation, caller.only_projects_of(), project).await?;
    found.ok_or_else(|| Problem::not_found("project"))
}

async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(project): Path<String>,
) -> Result<StatusCode, Problem> {
    let project = found(&app, &caller, &project).await?;
    without_databases(&app, &caller, &project.id, "Delete them first.").await?;
    let mut change = app.change(&caller).await?;
    change.bump().await?;
    revocations::revoke_certificates_of_members(&mut change, &project.id).await?;
    projects::delete(&mut change, &project.id).await?;
    change.audit("project.deleted", &format!("project:{}", project.name), json!({}));
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_member(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((project, identity)): Path<(String, String)>,
    Body(new): Body<NewMember>,
) -> Result<Json<Member>, Problem> {
    let project = managed(&app, &caller, &project).await?;
    let identity = identities::find(&app.store, &caller.organisation, &identity).await?;
    let identity = identity.filter(|identity| identity.revoked_at.is_none());
    let identity = identity.ok_or_else(|| Problem::not_found("identity"))?;
    let mut change = app.change(&caller).await?;
    projects::set_member(&mut change, &project.id, &identity.id, new.role).await?;
    let detail = json!({ "identity": identity.name, "role": new.role });
    change.audit("project.member-set", &format!("project:{}", project.name), detail);
    change.commit().await?;
    Ok(Json(Member { identity: identity.name, role: new.role }))
}

async fn remove_member(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((project, identity)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let project = managed(&app, &caller, &project).await?;
    let identity = identities::find(&app.store, &caller.organisation, &identity).await?;
    let identity =
        identity.filter(|identity| project.members.iter().any(|member| member.identity == identity.name));
    let identity = identity.ok_or_else(|| Problem::not_found("member"))?;
    let mut change = app.change(&caller).await?;
    change.bump().await?;
    revocations::revoke_certificates(&mut change, &identity.id).await?;
    projects::remove_member(&mut change, &project.id, &identity.id).await?;
    let detail = json!({ "identity": identity.name });
    change.audit("project.member-removed", &format!("project:{}", project.name), detail);
    if !identities::is_admin(&mut change, &identity.id).await? {
        let reason = format!("taken out of the project by {}", caller.actor());
        leases::end(&mut change, Which::OfMember(&identity.id, &project.id), &reason).await?;
    }
    change.commit().await?;
    app.leases.ring();
    Ok(StatusCode::NO_CONTENT)
}

/// The project, where the caller says who is in it.
async fn managed(app: &App, caller: &Caller, project: &str) -> Result<Project, Problem> {
    let project = found(app, caller, project).await?;
    if caller.administers(&project.id) {
        return Ok(project);
    }
    Err(Problem::forbidden("Only an administrator of the project may change its members."))
}
