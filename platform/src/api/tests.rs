use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use super::routes::Method;
use super::testing::Api;
use crate::config::Rate;
use crate::store::{organisations, revocations};
use crate::trust::token::Token;
use crate::words::Role;

#[tokio::test]
async fn who_calls_is_told_who_it_is() {
    let api = Api::new().await;
    let who = api.get(&api.admin, "/v1/whoami").await.expect(200);
    assert_eq!((&who["identity"]["name"], &who["organisation"]), (&json!("ada"), &json!("acme")));
    let who = api.get(&api.operator, "/v1/whoami").await.expect(200);
    assert_eq!((&who["organisation"], &who["trust_domain"]), (&json!("installation"), &json!("adit.test")));
}

#[tokio::test]
async fn who_does_not_say_who_it_is_is_told_how() {
    let api = Api::new().await;
    let anonymous = api.send(Request::get("/v1/whoami"), Body::empty()).await;
    anonymous.problem(401, "unauthenticated");
    let cut = &api.admin[..api.admin.len() - 3];
    let cut = api.get(cut, "/v1/whoami").await;
    cut.problem(401, "unauthenticated");
    assert!(cut.body["detail"].as_str().unwrap().contains("does not read"));
    let basic = Request::get("/v1/whoami").header(AUTHORIZATION, "Basic YTpi");
    api.send(basic, Body::empty()).await.problem(401, "unauthenticated");
    let stranger = Token::new(crate::trust::token::Kind::Access, None);
    api.get(&stranger.reveal(), "/v1/whoami").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn what_the_router_can_not_answer_is_a_problem_too() {
    let api = Api::new().await;
    api.get(&api.admin, "/v1/nonsense").await.problem(404, "not-found");
    api.call(&api.admin, Method::Put, "/v1/projects", None).await.problem(405, "method-not-allowed");
    api.get(&api.admin, "/v1/projects?limit=0").await.problem(400, "bad-request");
    api.get(&api.admin, "/v1/projects?limit=x").await.problem(400, "bad-request");
    api.get(&api.admin, "/v1/projects?size=1").await.problem(400, "bad-request");
    api.get(&api.admin, "/v1/projects/%ff").await.problem(400, "bad-request");
}

#[tokio::test]
async fn a_body_that_is_wrong_is_told_how_and_nothing_is_made() {
    let api = Api::with(|config| config.limits.body = 100).await;
    let post = |media_type: &'static str, body: String| {
        let request = Request::post("/v1/gateways").header(AUTHORIZATION, format!("Bearer {}", api.admin));
        api.send(request.header(CONTENT_TYPE, media_type), body)
    };
    post("application/json", "{\"name\": ".to_owned()).await.problem(400, "malformed-json");
    post("application/json", r#"{"name": "a", "more": 1}"#.to_owned()).await.problem(400, "bad-request");
    post("application/json", r#"{"name": "a b"}"#.to_owned()).await.problem(400, "bad-request");
    post("text/plain", r#"{"name": "a"}"#.to_owned()).await.problem(415, "unsupported-media-type");
    post("application/json", format!(r#"{{"name": "{}"}}"#, "a".repeat(200))).await.problem(413, "too-large");
    assert_eq!(api.get(&api.admin, "/v1/gateways").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_body_that_does_not_say_how_long_it_is_is_cut_off_as_well() {
    let api = Api::with(|config| config.limits.body = 100).await;
    let chunks = futures(vec!["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; 3]);
    let request = Request::post("/v1/gateways").header(AUTHORIZATION, format!("Bearer {}", api.admin));
    let request = request.header(CONTENT_TYPE, "application/json");
    api.send(request, Body::from_stream(chunks)).await.problem(413, "too-large");
}

fn futures(
    chunks: Vec<&'static str>,
) -> impl futures_core::Stream<Item = Result<&'static str, std::io::Error>> {
    struct Chunks(std::vec::IntoIter<&'static str>);
    impl futures_core::Stream for Chunks {
        type Item = Result<&'static str, std::io::Error>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(self.0.next().map(Ok))
        }
    }
    Chunks(chunks.into_iter())
}

#[tokio::test]
async fn a_name_is_given_once() {
    let api = Api::new().await;
    for path in ["/v1/gateways", "/v1/projects"] {
        api.post(&api.admin, path, json!({ "name": "one" })).await.expect(201);
        api.post(&api.admin, path, json!({ "name": "one" })).await.problem(409, "conflict");
    }
    api.person("ann", &[]).await;
    api.delete(&api.admin, "/v1/identities/ann").await.expect(204);
    let again = json!({ "name": "ann", "kind": "person" });
    api.post(&api.admin, "/v1/identities", again).await.problem(409, "conflict");
}

#[tokio::test]
async fn a_revoked_identity_is_out_at_once_and_gateways_are_told() {
    let api = Api::new().await;
    let ann = api.person("ann", &[Role::Auditor]).await;
    api.get(&ann, "/v1/identities").await.expect(200);
    let before = organisations::generation(api.app.store.reader(), &api.acme).await.unwrap();
    api.delete(&api.admin, "/v1/identities/ann").await.expect(204);
    api.get(&ann, "/v1/whoami").await.problem(401, "revoked");
    assert!(organisations::generation(api.app.store.reader(), &api.acme).await.unwrap() > before);
    let revoked = revocations::running(&api.app.store, &api.acme).await.unwrap();
    assert_eq!(revoked.identities, ["spiffe://adit.test/org/acme/person/ann"]);
    // Once more is harmless, and a revoked identity gets nothing new.
    api.delete(&api.admin, "/v1/identities/ann").await.expect(204);
    api.post(&api.admin, "/v1/identities/ann/tokens", json!({})).await.problem(409, "conflict");
}

#[tokio::test]
async fn an_organisation_keeps_an_administrator() {
    let api = Api::new().await;
    api.delete(&api.admin, "/v1/identities/ada").await.problem(409, "conflict");
    let demoted = json!({ "roles": ["auditor"] });
    api.call(&api.admin, Method::Patch, "/v1/identities/ada", Some(demoted.clone()))
        .await
        .problem(409, "conflict");
    api.get(&api.admin, "/v1/whoami").await.expect(200);
    api.person("bob", &[Role::Admin]).await;
    api.call(&api.admin, Method::Patch, "/v1/identities/ada", Some(demoted)).await.expect(200);
    api.post(&api.admin, "/v1/gateways", json!({ "name": "g" })).await.problem(403, "forbidden");
    api.delete(&api.operator, "/v1/identities/op").await.problem(409, "conflict");
}

#[tokio::test]
async fn roles_stay_on_their_side() {
    let api = Api::new().await;
    let operator = json!({ "name": "x", "kind": "person", "roles": ["operator"] });
    api.post(&api.admin, "/v1/identities", operator.clone()).await.problem(400, "bad-request");
    api.post(&api.operator, "/v1/identities", operator).await.expect(201);
    let admin = json!({ "name": "y", "kind": "person", "roles": ["admin"] });
    api.post(&api.operator, "/v1/identities", admin).await.problem(400, "bad-request");
}

#[tokio::test]
async fn tokens_run_out_and_are_revoked_one_by_one() {
    let api = Api::new().await;
    let ann = api.person("ann", &[]).await;
    let issued =
        api.post(&api.admin, "/v1/identities/ann/tokens", json!({ "expires_in": 60 })).await.expect(201);
    let second = issued["token"].as_str().unwrap();
    assert_eq!(second.parse::<Token>().unwrap().pin(), Some([7; 32]));
    api.get(second, "/v1/whoami").await.expect(200);
    api.app.clock.advance(Duration::from_secs(61));
    api.get(second, "/v1/whoami").await.problem(401, "expired");
    api.get(&ann, "/v1/whoami").await.expect(200);

    let first = ann.parse::<Token>().unwrap().id().to_owned();
    let listed = api.get(&api.admin, "/v1/identities/ann/tokens").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(listed["items"][0]["last_used_at"].is_u64() && !listed.to_string().contains("adit_"));
    api.delete(&api.admin, &format!("/v1/identities/ada/tokens/{first}")).await.problem(404, "not-found");
    api.delete(&api.admin, &format!("/v1/identities/ann/tokens/{first}")).await.expect(204);
    api.get(&ann, "/v1/whoami").await.problem(401, "revoked");
}

#[tokio::test]
async fn a_token_counts_from_where_it_may() {
    let api = Api::new().await;
    let ann = api.person("ann", &[]).await;
    let only = |network: &str| Some(json!({ "allowed_from": [network] }));
    api.call(&api.admin, Method::Patch, "/v1/identities/ann", only("198.51.100.0/24")).await.expect(200);
    api.get(&ann, "/v1/whoami").await.problem(403, "forbidden");
    api.call(&api.admin, Method::Patch, "/v1/identities/ann", only("192.0.2.0/24")).await.expect(200);
    api.get(&ann, "/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn members_see_their_projects_and_nothing_else() {
    let api = Api::new().await;
    let [ann, bob] = [api.person("ann", &[]).await, api.person("bob", &[]).await];
    for name in ["red", "blue"] {
        api.post(&api.admin, "/v1/projects", json!({ "name": name })).await.expect(201);
        api.post(&api.admin, "/v1/gateways", json!({ "name": name })).await.expect(201);
        let link = json!({ "project": name, "gateway": name, "targets": ["tcp://db:5432"] });
        api.post(&api.admin, "/v1/links", link).await.expect(201);
    }
    api.get(&ann, "/v1/projects").await.problem(403, "forbidden");
    let put = |token, role: &'static str| {
        api.call(token, Method::Put, "/v1/projects/red/members/ann", Some(json!({ "role": role })))
    };
    put(&bob, "admin").await.problem(403, "forbidden");
    put(&api.admin, "member").await.expect(200);
    for path in ["/v1/projects", "/v1/gateways"] {
        let seen = api.get(&ann, path).await.expect(200);
        assert_eq!((seen["items"].as_array().unwrap().len(), &seen["items"][0]["name"]), (1, &json!("red")));
        let hidden = api.get(&ann, &format!("{path}/blue")).await;
        hidden.problem(404, "not-found");
        assert_eq!(hidden.body, api.get(&ann, &format!("{path}/none")).await.body);
    }
    assert_eq!(api.get(&ann, "/v1/links").await.expect(200)["items"][0]["project"], "red");
    put(&ann, "admin").await.problem(403, "forbidden");
    put(&api.admin, "admin").await.expect(200);
    let blue = Some(json!({ "role": "admin" }));
    api.call(&ann, Method::Put, "/v1/projects/blue/members/bob", blue.clone())
        .await
        .problem(404, "not-found");
    api.call(&ann, Method::Put, "/v1/projects/red/members/bob", blue).await.expect(200);
    let who = api.get(&bob, "/v1/whoami").await.expect(200);
    assert_eq!(who["projects"], json!([{ "project": "red", "role": "admin" }]));
    api.delete(&ann, "/v1/projects/red/members/bob").await.expect(204);
    api.delete(&ann, "/v1/projects/red/members/bob").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_link_is_replaced_and_its_targets_are_checked() {
    let api = Api::new().await;
    api.post(&api.admin, "/v1/projects", json!({ "name": "p" })).await.expect(201);
    api.post(&api.admin, "/v1/gateways", json!({ "name": "g" })).await.expect(201);
    let link = |target: &str| json!({ "project": "p", "gateway": "g", "targets": [target] });
    api.post(&api.admin, "/v1/links", link("http://db")).await.problem(400, "bad-request");
    let first = api.post(&api.admin, "/v1/links", link("tcp://db:5432")).await.expect(201);
    let second = api.post(&api.admin, "/v1/links", link("tcp://db:5433")).await.expect(201);
    assert_eq!((&first["id"], &second["targets"]), (&second["id"], &json!(["tcp://db:5433"])));
    assert_eq!(api.get(&api.admin, "/v1/links").await.expect(200)["items"], json!([second]));
    let missing = json!({ "project": "p", "gateway": "h", "targets": ["tcp://db:1"] });
    api.post(&api.admin, "/v1/links", missing).await.problem(404, "not-found");
    let path = format!("/v1/links/{}", second["id"].as_str().unwrap());
    api.delete(&api.admin, &path).await.expect(204);
    api.delete(&api.admin, &path).await.problem(404, "not-found");
}

#[tokio::test]
async fn a_gateway_gets_a_token_that_pins_the_platform_and_goes_with_what_is_its_own() {
    let api = Api::new().await;
    let made = api.post(&api.admin, "/v1/gateways", json!({ "name": "g" })).await.expect(201);
    assert_eq!(made["health"]["state"], "pending");
    let token = api.call(&api.admin, Method::Post, "/v1/gateways/g/enrolment-tokens", None).await.expect(201);
    let token: Token = token["token"].as_str().unwrap().parse().unwrap();
    assert_eq!((token.kind(), token.pin()), (crate::trust::token::Kind::Gateway, Some([7; 32])));
    api.get(&token.reveal(), "/v1/whoami").await.problem(401, "unauthenticated");
    api.delete(&api.admin, "/v1/gateways/g").await.expect(204);
    api.get(&api.admin, "/v1/gateways/g").await.problem(404, "not-found");
    api.post(&api.admin, "/v1/gateways", json!({ "name": "g" })).await.expect(201);
}

#[tokio::test]
async fn shared_relays_are_seen_by_all_and_managed_by_operators() {
    let api = Api::new().await;
    let new = |name: &str| json!({ "name": name, "urls": ["turn:relay.example:3478?transport=udp"] });
    let bad = json!({ "name": "r", "urls": ["http://relay.example"] });
    api.post(&api.operator, "/v1/relays", bad).await.problem(400, "bad-request");
    let shared = api.post(&api.operator, "/v1/relays", new("shared")).await.expect(201);
    assert_eq!(shared["shared"], true);
    api.post(&api.admin, "/v1/relays", new("own")).await.expect(201);
    assert_eq!(api.get(&api.admin, "/v1/relays").await.expect(200)["items"].as_array().unwrap().len(), 2);
    assert_eq!(api.get(&api.operator, "/v1/relays").await.expect(200)["items"].as_array().unwrap().len(), 1);
    api.get(&api.operator, "/v1/relays/own").await.problem(404, "not-found");
    api.delete(&api.admin, "/v1/relays/shared").await.problem(403, "forbidden");
    api.call(&api.admin, Method::Post, "/v1/relays/shared/enrolment-tokens", None)
        .await
        .problem(403, "forbidden");
    api.call(&api.operator, Method::Post, "/v1/relays/shared/enrolment-tokens", None).await.expect(201);
    api.delete(&api.admin, "/v1/relays/own").await.expect(204);
    api.delete(&api.operator, "/v1/relays/shared").await.expect(204);
}

#[tokio::test]
async fn what_was_done_is_in_the_audit() {
    let api = Api::new().await;
    for n in 0..3 {
        api.post(&api.admin, "/v1/projects", json!({ "name": format!("p{n}") })).await.expect(201);
    }
    let mut after = String::new();
    let mut actions = Vec::new();
    loop {
        let page = api.get(&api.admin, &format!("/v1/audit?limit=2{after}")).await.expect(200);
        actions.extend(page["items"].as_array().unwrap().iter().map(|event| event["action"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(actions, ["organisation.created", "project.created", "project.created", "project.created"]);
    let verdict = api.get(&api.admin, "/v1/audit/verify").await.expect(200);
    assert_eq!((&verdict["intact"], &verdict["events"]), (&json!(true), &json!(4)));
    let export = api.get(&api.admin, "/v1/audit/export").await.expect(200);
    let lines: Vec<Value> =
        export.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 4 && lines[1]["actor"] == "identity:ada" && lines[1]["object"] == "project:p0");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let api = Api::new().await;
    for name in ["c", "a", "b"] {
        api.post(&api.admin, "/v1/gateways", json!({ "name": name })).await.expect(201);
    }
    let first = api.get(&api.admin, "/v1/gateways?limit=2").await.expect(200);
    assert_eq!((&first["items"][0]["name"], &first["next"]), (&json!("a"), &json!("b")));
    let last = api.get(&api.admin, "/v1/gateways?limit=2&after=b").await.expect(200);
    assert_eq!((&last["items"][0]["name"], &last["next"]), (&json!("c"), &Value::Null));
}

#[tokio::test]
async fn failed_authentications_are_bounded_and_others_at_the_address_go_on() {
    let api = Api::with(|config| config.limits.failures = Rate { burst: 2, per_minute: 1 }).await;
    let wrong = Token::new(crate::trust::token::Kind::Identity, None).reveal();
    for _ in 0..2 {
        api.get(&wrong, "/v1/whoami").await.problem(401, "unauthenticated");
    }
    api.get(&wrong, "/v1/whoami").await.problem(429, "rate-limited");
    api.get(&api.admin, "/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn an_operator_makes_organisations_and_sees_nothing_in_them() {
    let api = Api::new().await;
    let made = api.post(&api.operator, "/v1/orgs", json!({ "name": "globex" })).await.expect(201);
    let globex = made["admin_token"].as_str().unwrap();
    let who = api.get(globex, "/v1/whoami").await.expect(200);
    assert_eq!((&who["organisation"], &who["identity"]["name"]), (&json!("globex"), &json!("admin")));
    api.post(&api.operator, "/v1/orgs", json!({ "name": "globex" })).await.problem(409, "conflict");
    for reserved in ["installation", "self", "a/b"] {
        api.post(&api.operator, "/v1/orgs", json!({ "name": reserved })).await.problem(400, "bad-request");
    }
    let listed = api.get(&api.operator, "/v1/orgs").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    api.get(&api.operator, "/v1/orgs/installation").await.problem(404, "not-found");
    api.get(globex, "/v1/orgs").await.problem(403, "forbidden");
    api.get(&api.operator, "/v1/gateways").await.problem(403, "forbidden");
}

#[tokio::test]
async fn one_organisation_does_not_see_another() {
    let api = Api::new().await;
    let made = api.post(&api.operator, "/v1/orgs", json!({ "name": "globex" })).await.expect(201);
    let globex = made["admin_token"].as_str().unwrap();
    let gateway = api.post(&api.admin, "/v1/gateways", json!({ "name": "g" })).await.expect(201);
    let id = gateway["id"].as_str().unwrap();
    let foreign = api.get(globex, &format!("/v1/gateways/{id}")).await;
    foreign.problem(404, "not-found");
    assert_eq!(foreign.body, api.get(globex, "/v1/gateways/nothing").await.body);
    api.delete(globex, &format!("/v1/gateways/{id}")).await.problem(404, "not-found");
    api.post(globex, "/v1/gateways", json!({ "name": "g" })).await.expect(201);
    api.get(&api.admin, &format!("/v1/gateways/{id}")).await.expect(200);
}

#[tokio::test]
async fn the_platform_ca_and_the_document_are_for_everybody() {
    let api = Api::new().await;
    let ca = api.send(Request::get("/v1/ca"), Body::empty()).await.expect(200);
    assert!(ca.as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let document = api.send(Request::get("/v1/openapi.json"), Body::empty()).await.expect(200);
    assert!(document["paths"]["/v1/gateways/{gateway}"]["get"]["operationId"] == "getGateway");
}

#[tokio::test]
async fn an_instance_that_lacks_something_is_not_ready() {
    let api = Api::new().await;
    let ready = || api.send(Request::get("/readyz"), Body::empty());
    ready().await.expect(200);
    api.app.readiness.lacks("watcher", "it does not run");
    assert_eq!(ready().await.expect(503)["reasons"], json!(["watcher: it does not run"]));
    api.app.readiness.has("watcher");
    ready().await.expect(200);
    api.send(Request::get("/healthz"), Body::empty()).await.expect(200);
}

#[tokio::test]
async fn each_route_of_the_table_is_answered_by_the_router() {
    let api = Api::new().await;
    for route in super::routes::table() {
        let path = route.path.replace(['{', '}'], "");
        let answered = api.call("adit_identity_x_y", route.method, &path, None).await;
        let code = answered.body["type"].as_str().unwrap_or_default();
        assert!(!code.ends_with("method-not-allowed") && answered.status != 404, "{path}: {}", answered.body);
    }
}
