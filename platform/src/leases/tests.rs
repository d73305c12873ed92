use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Any;

use super::*;
use crate::api::testing::Api;
use crate::store::audit;
use crate::words::Role;

/// A secret of `acme`, of which `ann`, who is in its project, has so many leases. Her id.
async fn leased(api: &Api, count: u32) -> String {
    let post = async |path: &str, body| api.post(&api.admin, path, body).await.expect(201);
    api.person("ann", &[Role::Auditor]).await;
    let ann = api.get(&api.admin, "/v1/identities/ann").await.expect(200)["id"].as_str().unwrap().to_owned();
    post("/v1/projects", json!({ "name": "shop" })).await;
    post("/v1/gateways", json!({ "name": "gw" })).await;
    let link = json!({ "project": "shop", "gateway": "gw", "targets": ["tcp://db:5432"] });
    post("/v1/links", link).await;
    let database = json!({ "name": "main", "project": "shop", "gateway": "gw", "host": "db", "tls": "disable",
        "admin_user": "adit", "admin_password": "password" });
    let database = post("/v1/databases", database).await;
    let secret = json!({ "name": "reader", "database": "main", "access": "custom",
        "creation": ["CREATE ROLE {{username}} PASSWORD {{password}}"] });
    let secret = post("/v1/secrets", secret).await;
    let mut change = api.app.store.quiet_change(&api.acme).await.unwrap();
    let statement = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $5) \
        INSERT INTO leases (id, organisation, secret, database_id, identity, username, sealed_password, idempotency, \
        request, state, epoch, created_at, made_at, expires_at, max_expires_at, ended_at, reason, claim_owner, \
        claim_until, claim, due_at, attempts, failing_since, stuck, error) \
        SELECT 'lease-' || n, $1, $2, $3, $4, 'v-' || n, '', 'lease-' || n, '', 'active', 'e', $6, $6, $6 + 9999, \
        $6 + 9999, 0, '', '', 0, 1, $6 + 9999, 0, 0, 0, '' FROM n";
    let insert = sqlx::query(statement).bind(&api.acme).bind(secret["id"].as_str().unwrap());
    let insert = insert.bind(database["id"].as_str().unwrap()).bind(&ann).bind(i64::from(count));
    insert.bind(change.now()).execute(change.connection()).await.unwrap();
    change.commit().await.unwrap();
    ann
}

/// How many leases are in each state, and how many events there are of one that ends.
async fn counts(api: &Api) -> (i64, i64, i64) {
    let statement = "SELECT (SELECT COUNT(*) FROM leases WHERE state = 'active'), \
        (SELECT COUNT(*) FROM leases WHERE state = 'revoking'), \
        (SELECT COUNT(DISTINCT object) FROM audit WHERE action = 'lease.revoking')";
    sqlx::query_as::<Any, _>(statement).fetch_one(api.app.store.reader()).await.unwrap()
}

/// How many leases a test ends at once: `ADIT_LEASES`, of which 10,000 is the most that a secret can have.
fn many() -> u32 {
    std::env::var("ADIT_LEASES").map_or(2000, |count| count.parse().unwrap())
}

#[tokio::test]
async fn thousands_of_leases_end_in_one_request_each_with_its_event() {
    let (api, count) = (Api::new().await, many());
    leased(&api, count).await;
    let begun = Instant::now();
    let answer = api.delete(&api.admin, "/v1/secrets/reader/leases").await.expect(200);
    let took = begun.elapsed();
    println!("{count} leases were told to end in {took:?}");
    assert_eq!(answer["revoking"], count);
    assert_eq!(counts(&api).await, (0, count.into(), count.into()));
    assert!(audit::verify(&api.app.store, &api.acme).await.unwrap().intact);
    assert!(took < Duration::from_secs(10), "a request may take 30 s: {took:?}");
    // Once more is harmless.
    let again = api.delete(&api.admin, "/v1/secrets/reader/leases").await.expect(200);
    assert_eq!(again["revoking"], 0);
    assert_eq!(counts(&api).await, (0, count.into(), count.into()));
}

#[tokio::test]
async fn an_end_that_is_interrupted_leaves_nothing_half_done() {
    let api = Api::new().await;
    let ann = leased(&api, 450).await;
    let mut change = api.app.store.change(&api.acme, "identity:ada").await.unwrap();
    assert_eq!(end(&mut change, Which::OfIdentity(&ann), "interrupted").await.unwrap(), 450);
    drop(change);
    assert_eq!(counts(&api).await, (450, 0, 0));
    api.delete(&api.admin, "/v1/identities/ann").await.expect(204);
    assert_eq!(counts(&api).await, (0, 450, 450));
    assert!(audit::verify(&api.app.store, &api.acme).await.unwrap().intact);
}
