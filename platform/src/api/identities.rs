//! Identities: persons and machines, and what ends when one is revoked.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{Body, PageQuery, Path, Query};
use super::named::{new_name, page};
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::leases;
use crate::store::leases::changes::Which;
use crate::store::{Change, INSTALLATION, identities};
use crate::words::{CreatedIdentity, Identity, IdentityChange, NewIdentity, Page, Role};

/// Networks of one identity.
const MAX_NETWORKS: usize = 64;

pub(super) fn routes() -> Vec<Route> {
    let read = Needs::Permission(Permission::ReadIdentities);
    let manage = Needs::Permission(Permission::ManageIdentities);
    vec![
        Route::get("/v1/identities", read, list)
            .named("listIdentities", "The identities of the organisation, those that are revoked too.")
            .query(PAGED)
            .lists::<Identity>(),
        Route::post("/v1/identities", manage, create)
            .named("createIdentity", "Makes an identity and its first token.")
            .takes::<NewIdentity>()
            .creates::<CreatedIdentity>(),
        Route::get("/v1/identities/{identity}", read, show)
            .named("getIdentity", "One identity.")
            .answers::<Identity>(),
        Route::patch("/v1/identities/{identity}", manage, change)
            .named("changeIdentity", "Changes roles, or the networks from which tokens count.")
            .takes::<IdentityChange>()
            .answers::<Identity>(),
        Route::delete("/v1/identities/{identity}", manage, revoke).named(
            "revokeIdentity",
            "Revokes an identity for good, with its tokens, certificates, connections and leases.",
        ),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Identity>>, Problem> {
    let limit = query.limit()?;
    let identities = identities::all(&app.store, &caller.organisation, query.after(), limit + 1).await?;
    Ok(Json(page(identities, limit, |identity| identity.name.clone())))
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewIdentity>,
) -> Result<(StatusCode, Json<CreatedIdentity>), Problem> {
    let name = new_name(&new.name)?;
    let roles = roles(&caller.organisation, &new.roles)?;
    check_networks(new.allowed_from.len())?;
    let mut change = app.change(&caller).await?;
    let identity = identities::create(&mut change, name, new.kind, &roles, &new.allowed_from).await?;
    let token = app.identity_token(&mut change, &identity.id, None).await?;
    let detail =
        json!({ "kind": new.kind, "roles": roles, "allowed_from": new.allowed_from, "token": token.info.id });
    change.audit("identity.created", &format!("identity:{name}"), detail);
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(CreatedIdentity { identity, token: token.token })))
}

/// The roles, each once. An operator is of the installation, everybody else of an organisation.
fn roles(organisation: &str, roles: &[Role]) -> Result<Vec<Role>, Problem> {
    let of_installation = organisation == INSTALLATION;
    if roles.iter().any(|&role| (role == Role::Operator) != of_installation) {
        return Err(Problem::bad_request(match of_installation {
            true => "An identity of the installation is an operator, and nothing else.",
            false => "Operators are of the installation; an organisation has administrators and auditors.",
        }));
    }
    let mut roles = roles.to_vec();
    roles.sort();
    roles.dedup();
    Ok(roles)
}

fn check_networks(count: usize) -> Result<(), Problem> {
    match count {
        0..=MAX_NETWORKS => Ok(()),
        _ => Err(Problem::bad_request(format!("allowed_from holds at most {MAX_NETWORKS} networks."))),
    }
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(identity): Path<String>,
) -> Result<Json<Identity>, Problem> {
    found(&app, &caller, &identity).await.map(Json)
}

pub(super) async fn found(app: &App, caller: &Caller, identity: &str) -> Result<Identity, Problem> {
    let found = identities::find(&app.store, &caller.organisation, identity).await?;
    found.ok_or_else(|| Problem::not_found("identity"))
}

/// The identity, where it is not revoked.
pub(super) async fn alive(app: &App, caller: &Caller, identity: &str) -> Result<Identity, Problem> {
    not_revoked(found(app, caller, identity).await?)
}

fn not_revoked(identity: Identity) -> Result<Identity, Problem> {
    match identity.revoked_at {
        None => Ok(identity),
        Some(_) => Err(Problem::conflict("The identity is revoked, for good; make another one.")),
    }
}

async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(identity): Path<String>,
    Body(wanted): Body<IdentityChange>,
) -> Result<Json<Identity>, Problem> {
    let roles = wanted.roles.map(|wanted| roles(&caller.organisation, &wanted)).transpose()?;
    check_networks(wanted.allowed_from.as_ref().map_or(0, Vec::len))?;
    let id = found(&app, &caller, &identity).await?.id;
    let mut change = app.change(&caller).await?;
    change.bump().await?;
    let mut identity = locked(&mut change, &id).await?;
    identity.roles = roles.unwrap_or(identity.roles);
    identity.allowed_from = wanted.allowed_from.unwrap_or(identity.allowed_from);
    identities::set(&mut change, &identity.id, &identity.roles, &identity.allowed_from).await?;
    keep_an_admin(&mut change).await?;
    let detail = json!({ "roles": identity.roles, "allowed_from": identity.allowed_from });
    change.audit("identity.changed", &format!("identity:{}", identity.name), detail);
    if !identity.roles.contains(&Role::Admin) {
        let reason = format!("no administrator any more: {}", caller.actor());
        leases::end(&mut change, Which::OfStranger(&identity.id), &reason).await?;
    }
    change.commit().await?;
    app.leases.ring();
    Ok(Json(identity))
}

/// The identity as the change finds it, behind its bump: what another change has just set is not set back.
async fn locked(change: &mut Change, id: &str) -> Result<Identity, Problem> {
    let identity = identities::in_change(change, id).await?;
    not_revoked(identity.ok_or_else(|| Problem::not_found("identity"))?)
}

/// Asked within the change, behind its bump: the organisation's row is locked, so that two changes can't each leave
/// the other's administrator as the last one.
async fn keep_an_admin(change: &mut Change) -> Result<(), Problem> {
    if identities::has_an_admin(change).await? {
        return Ok(());
    }
    Err(Problem::conflict("It is the last administrator; give another identity the role first."))
}

async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(identity): Path<String>,
) -> Result<StatusCode, Problem> {
    let identity = found(&app, &caller, &identity).await?;
    if identity.revoked_at.is_some() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let mut change = app.change(&caller).await?;
    change.bump().await?;
    identities::revoke(
        &mut change,
        &identity.id,
        &app.spiffe_of_person(&caller.organisation_name, &identity)?,
    )
    .await?;
    keep_an_admin(&mut change).await?;
    change.audit("identity.revoked", &format!("identity:{}", identity.name), json!({}));
    let reason = format!("its identity was revoked by {}", caller.actor());
    leases::end(&mut change, Which::OfIdentity(&identity.id), &reason).await?;
    change.commit().await?;
    app.leases.ring();
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::api::routes::Method;
    use crate::api::testing::Api;

    /// Changes `ann` in two ways, both of which have begun before either may write.
    async fn at_the_same_moment(api: &Api, one: Value, other: Value) {
        let writer = api.app.store.quiet_change(&api.acme).await.unwrap();
        let patch = |body| api.call(&api.admin, Method::Patch, "/v1/identities/ann", Some(body));
        let mut both = Box::pin(async { tokio::join!(patch(one), patch(other)) });
        let begun = tokio::time::timeout(Duration::from_millis(300), &mut both).await;
        assert!(begun.is_err(), "somebody else writes");
        drop(writer);
        let (one, other) = both.await;
        one.expect(200);
        other.expect(200);
    }

    #[tokio::test]
    async fn two_changes_at_the_same_moment_both_take_place() {
        let api = Api::new().await;
        api.person("ann", &[]).await;
        let (roles, networks) =
            (json!({ "roles": ["auditor"] }), json!({ "allowed_from": ["192.0.2.0/24"] }));
        at_the_same_moment(&api, roles, networks).await;
        let ann = api.get(&api.admin, "/v1/identities/ann").await.expect(200);
        assert_eq!((&ann["roles"], &ann["allowed_from"]), (&json!(["auditor"]), &json!(["192.0.2.0/24"])));
    }

    #[test]
    fn operators_are_of_the_installation_and_of_nothing_else() {
        assert!(roles("acme", &[Role::Operator]).is_err());
        assert!(roles(INSTALLATION, &[Role::Admin]).is_err());
        assert_eq!(
            roles("acme", &[Role::Auditor, Role::Admin, Role::Auditor]).unwrap(),
            [Role::Admin, Role::Auditor]
        );
        assert!(roles(INSTALLATION, &[Role::Operator]).is_ok() && roles("acme", &[]).is_ok());
    }
}
