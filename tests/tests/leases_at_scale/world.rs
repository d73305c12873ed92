//! What both kinds of test begin with: a database and a secret, and what stands on the server and in the platform.

use std::collections::BTreeSet;
use std::fs;

use adit_platform::client::{Client, ClientError, Trust};
use adit_platform::trust::token::Token;
use adit_platform::words::{Lease, LeaseState, NewDatabase, Page, Secret, TlsMode};
use adit_tests::adit::World;
use adit_tests::platform::GATEWAY;
use adit_tests::postgres::{DATABASE, PASSWORD, Postgres, USER};
use serde_json::{Value, json};

/// The secret of every test.
pub(crate) const SECRET: &str = "reader";

/// The server as a target of gateways.
pub(crate) fn target(postgres: &Postgres) -> String {
    format!("tcp://127.0.0.1:{}", postgres.port())
}

/// A client of the platform at `url`, as the administrator of the installation in `world`.
pub(crate) fn admin(world: &World, url: &str) -> Client {
    let text = fs::read_to_string(world.place.path("tokens/admin.token")).unwrap();
    let token: Token = text.trim().parse().unwrap();
    let stranger = Client::new(url.parse().unwrap(), &Trust::Pinned(token.pin().unwrap())).unwrap();
    stranger.with_token(text.trim())
}

/// Defines the database `db` and a secret in the project `shop`; the first lease prepares the server.
pub(crate) async fn define(admin: &Client, postgres: &Postgres, secret: &str) {
    let database = NewDatabase {
        name: "db".to_owned(),
        project: "shop".to_owned(),
        gateway: GATEWAY.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: postgres.port(),
        tls: TlsMode::Disable,
        ca: None,
        database: DATABASE.to_owned(),
        admin_user: USER.to_owned(),
        admin_password: PASSWORD.to_owned(),
        max_connections: 20,
    };
    admin.post::<Value>("/v1/databases", &database).await.unwrap();
    let new = json!({ "name": secret, "database": "db", "access": "read-only", "max_leases": 10_000 });
    admin.post::<Secret>("/v1/secrets", &new).await.unwrap();
}

/// Every lease that the platform knows.
pub(crate) async fn leases(admin: &Client) -> Result<Vec<Lease>, ClientError> {
    let (mut leases, mut after) = (Vec::new(), String::new());
    loop {
        let page: Page<Lease> = admin.get(&format!("/v1/leases?limit=500{after}")).await?;
        leases.extend(page.items);
        match page.next {
            Some(next) => after = format!("&after={}", adit_platform::client::segment(&next)),
            None => return Ok(leases),
        }
    }
}

/// Those among `names` that are users on the server.
pub(crate) fn users(postgres: &Postgres, names: &BTreeSet<String>) -> BTreeSet<String> {
    let all = postgres.superuser("SELECT rolname FROM pg_roles WHERE rolcanlogin");
    all.lines().filter(|name| names.contains(*name)).map(str::to_owned).collect()
}

/// Everything on the server that can log in, or that anything of a lease is left of, but for its own users.
pub(crate) fn strangers(postgres: &Postgres) -> BTreeSet<String> {
    let all = postgres.superuser(
        "SELECT rolname FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' AND rolname NOT IN ('postgres', 'app') \
         AND (rolcanlogin OR shobj_description(oid, 'pg_authid') IS NOT NULL AND oid IN (SELECT member FROM pg_auth_members))",
    );
    all.lines().map(str::to_owned).collect()
}

/// The users of the leases that are in `state`.
pub(crate) fn usernames(leases: &[Lease], state: LeaseState) -> BTreeSet<String> {
    leases.iter().filter(|lease| lease.state == state).map(|lease| lease.username.clone()).collect()
}
