//! Databases and secrets behind a platform in this process, a relay, a gateway and a PostgreSQL.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use adit_platform::api::App;
use adit_platform::fault::Faults;
use adit_platform::server::Platform;
use adit_tests::postgres::{DATABASE, PASSWORD, USER, client, query};
use adit_tests::process::{Finished, PATIENCE, finish};
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::in_process::{Site, wait};

/// How long what takes several steps may take on a machine that is busy.
pub(crate) const LONG: Duration = PATIENCE.saturating_mul(4);

/// Everything but the platform's instances.
pub(crate) struct World {
    site: Site,
    pub(crate) http: reqwest::Client,
}

impl Deref for World {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

/// A platform instance with a runtime of its own.
pub(crate) struct Instance {
    runtime: Option<Runtime>,
    platform: Option<Platform>,
    pub(crate) app: Arc<App>,
    pub(crate) address: SocketAddr,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["type"], format!("urn:adit:problem:{code}"));
    }
}

impl World {
    /// A world with one instance, up to a database with the secrets `reader` and `owner`; the store is in SQLite, or in
    /// the same PostgreSQL.
    pub(crate) fn new(store_in_postgres: bool) -> (Self, Instance) {
        Self::with(store_in_postgres, Faults::default())
    }

    pub(crate) fn with(store_in_postgres: bool, faults: Faults) -> (Self, Instance) {
        Self::that_claims_for(Duration::from_secs(12), store_in_postgres, faults)
    }

    /// The same, and whoever claims work has it for so long.
    pub(crate) fn that_claims_for(
        claim: Duration,
        store_in_postgres: bool,
        faults: Faults,
    ) -> (Self, Instance) {
        let mut site = Site::new(store_in_postgres);
        site.claim = claim;
        let http = http(&site.made.platform_ca);
        let mut world = Self { site, http };
        let instance = world.start("platform-1", world.address, faults);
        world.start_agents();
        world.define(&instance);
        (world, instance)
    }

    /// Starts an instance in the directory `directory`, which has the root keys.
    pub(crate) fn start(&self, directory: &str, address: SocketAddr, faults: Faults) -> Instance {
        let (platform, runtime) = self.platform(directory, address, &faults);
        let app = platform.app().clone();
        Instance { runtime: Some(runtime), platform: Some(platform), app, address }
    }

    pub(crate) fn start_again(&self) -> Instance {
        self.start("platform-1", self.address, Faults::default())
    }

    /// Another instance on the same store, which has to be in PostgreSQL.
    pub(crate) fn start_second(&self, faults: Faults) -> Instance {
        let (directory, address) = self.second();
        self.start(directory, address, faults)
    }

    pub(crate) fn wait_until_healthy(&self, instance: &Instance) {
        self.site.wait_until_healthy(instance.address);
    }

    /// The database `main` with a table of its owner's, and what may be leased on it.
    fn define(&self, instance: &Instance) {
        let port = self.server.port();
        let _ = query("127.0.0.1", port, "CREATE TABLE goods (name text); INSERT INTO goods VALUES ('tea')");
        self.post(instance, "/v1/projects", json!({ "name": "shop" })).expect(201);
        let target = format!("tcp://127.0.0.1:{port}");
        let link = json!({ "project": "shop", "gateway": "gw", "targets": [target] });
        self.post(instance, "/v1/links", link).expect(201);
        let database = json!({
            "name": "main", "project": "shop", "gateway": "gw", "host": "127.0.0.1", "port": port, "tls": "disable",
            "database": DATABASE, "admin_user": USER, "admin_password": PASSWORD, "max_connections": 6,
        });
        self.post(instance, "/v1/databases", database).expect(201);
        self.secret(instance, json!({ "name": "reader", "database": "main", "access": "read-only" }));
        self.secret(
            instance,
            json!({ "name": "owner", "database": "main", "access": "custom", "max_ttl": 7200, "creation": [
                "CREATE ROLE {{username}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}}",
                "GRANT USAGE, CREATE ON SCHEMA public TO {{username}}",
            ] }),
        );
    }

    pub(crate) fn secret(&self, instance: &Instance, new: Value) {
        self.post(instance, "/v1/secrets", new).expect(201);
    }

    pub(crate) fn admin(&self) -> String {
        self.made.admin_token.to_string()
    }

    /// Runs something outside of the platform's own runtimes.
    pub(crate) fn outside<T>(&self, work: impl Future<Output = T>) -> T {
        self.outside.block_on(work)
    }

    /// Begins a request whose answer nobody waits for.
    pub(crate) fn in_the_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.outside.spawn(work);
    }

    pub(crate) fn request(
        &self,
        instance: &Instance,
        token: &str,
        method: Method,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.http.request(method, format!("https://{}{path}", instance.address)).bearer_auth(token)
    }

    pub(crate) fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.outside(answer(request))
    }

    pub(crate) fn ask(
        &self,
        instance: &Instance,
        token: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Answer {
        self.send(self.request(instance, token, method, path).json(&body))
    }

    pub(crate) fn get(&self, instance: &Instance, path: &str) -> Answer {
        self.send(self.request(instance, &self.made.admin_token, Method::GET, path))
    }

    pub(crate) fn post(&self, instance: &Instance, path: &str, body: Value) -> Answer {
        self.ask(instance, &self.admin(), Method::POST, path, body)
    }

    pub(crate) fn delete(&self, instance: &Instance, path: &str) -> Answer {
        self.send(self.request(instance, &self.made.admin_token, Method::DELETE, path))
    }

    /// A lease of `secret`, as the administrator.
    pub(crate) fn lease(&self, instance: &Instance, secret: &str) -> Issued {
        let made = self.post(instance, "/v1/leases", json!({ "secret": secret, "ttl": 600 }));
        Issued::of(&made.expect(201))
    }

    pub(crate) fn state(&self, instance: &Instance, id: &str) -> String {
        let shown = self.get(instance, &format!("/v1/leases/{id}")).expect(200);
        shown["state"].as_str().unwrap().to_owned()
    }

    pub(crate) fn wait_for_state(&self, instance: &Instance, id: &str, state: &str) {
        eventually(&format!("lease {id} is {state}"), || self.state(instance, id) == state);
    }

    /// Every role but those that were there before, groups and heirs: also one that can't log in any more.
    pub(crate) fn users(&self) -> Vec<String> {
        let sql = "SELECT rolname FROM pg_roles WHERE rolname !~ '^(pg_|adit-group-|adit-heir-)' \
            AND rolname NOT IN ('app', 'postgres') ORDER BY 1";
        self.server.superuser(sql).lines().map(str::to_owned).collect()
    }

    pub(crate) fn has_user(&self, username: &str) -> bool {
        let sql = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{username}'");
        self.server.superuser(&sql).trim() == "1"
    }

    /// What psql says as the user of a lease.
    pub(crate) fn psql(&self, issued: &Issued, sql: &str) -> Finished {
        finish("psql", self.psql_command(issued, sql), PATIENCE)
    }

    pub(crate) fn psql_command(&self, issued: &Issued, sql: &str) -> Command {
        let mut psql = client("psql", "127.0.0.1", self.server.port());
        psql.env("PGUSER", &issued.username).env("PGPASSWORD", &issued.password);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        psql
    }

    /// The actions of the audit, with their objects, of the organisation `acme`.
    pub(crate) fn audit(&self, instance: &Instance) -> String {
        let request = self.request(instance, &self.made.admin_token, Method::GET, "/v1/audit/export");
        self.outside(async { request.send().await.unwrap().text().await.unwrap() })
    }

    /// How often the audit has `action` of a lease.
    pub(crate) fn audited(&self, instance: &Instance, action: &str, lease: &str) -> usize {
        let (action, object) = (format!("\"{action}\""), format!("\"lease:{lease}\""));
        self.audit(instance).lines().filter(|line| line.contains(&action) && line.contains(&object)).count()
    }

    pub(crate) fn root_keys(&self) -> std::path::PathBuf {
        self.place.path("platform-1").join("root-keys")
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.place.root()).join(name)
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

/// What a lease's maker is told.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) expires_at: u64,
}

impl Issued {
    pub(crate) fn of(body: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            id: text(&body["lease"]["id"]),
            username: text(&body["lease"]["username"]),
            password: text(&body["password"]),
            expires_at: body["lease"]["expires_at"].as_u64().unwrap(),
        }
    }
}

impl Instance {
    /// It ends as one that is told to.
    pub(crate) fn stop(mut self) {
        let (runtime, platform) = (self.runtime.take().unwrap(), self.platform.take().unwrap());
        runtime.block_on(platform.stop());
    }

    /// It is gone, wherever it was.
    pub(crate) fn crash(mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(5));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    wait(what, LONG, is_so);
}

fn http(ca: &str) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).https_only(true).no_proxy().build().unwrap()
}
