//! A platform over real HTTPS with two organisations, somebody of each role, and objects as they are needed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use adit_core::pki::{Key, KeyKind, pem};
use adit_platform::api::routes::{Method, Route};
use adit_platform::client::{Client, Trust};
use adit_platform::clock::Clock;
use adit_platform::config::{Config, Rate};
use adit_platform::init::{Options, init};
use adit_platform::server::Platform;
use adit_platform::trust::token::Token;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::expected::Role;

/// Part of the name of each object of the other organisation.
pub(crate) const SECRET: &str = "secret-of-globex";

/// What was answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The code of the problem; nothing where it is none.
    pub(crate) fn code(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default().trim_start_matches("urn:adit:problem:")
    }

    #[track_caller]
    fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// An organisation's administrator, or an operator.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    token: String,
    prefix: &'static str,
}

/// The objects that a request is about, by the names of the path's parameters.
#[derive(Debug, Clone)]
pub(crate) struct Subject(Vec<(&'static str, String)>);

impl Subject {
    /// Nothing that exists.
    pub(crate) fn nothing(route: &Route) -> Self {
        Self(nouns(route).into_iter().map(|noun| (noun, "nothing".to_owned())).collect())
    }

    /// This one, with the last object of `other`.
    pub(crate) fn with_last_of(&self, other: &Self) -> Self {
        let mut mixed = self.clone();
        *mixed.0.last_mut().unwrap() = other.0.last().unwrap().clone();
        mixed
    }

    fn of(&self, noun: &str) -> &str {
        self.0.iter().find(|(name, _)| *name == noun).map_or("nothing", |(_, value)| value.as_str())
    }
}

/// The parameters of a route's path.
pub(crate) fn nouns(route: &Route) -> Vec<&'static str> {
    route.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// Whether the route answers with many things.
pub(crate) fn is_list(route: &Route) -> bool {
    nouns(route).is_empty() && (route.operation.id.starts_with("list") || route.operation.id == "exportAudit")
}

/// Whether the administrator of an organisation with objects sees some in this list.
pub(crate) fn holds_objects(operation: &str) -> bool {
    !matches!(operation, "listOrganisations" | "listPlatformInstances")
}

pub(crate) struct World {
    _directory: TempDir,
    _platform: Platform,
    http: reqwest::Client,
    base: String,
    client: Client,
    tokens: BTreeMap<Role, String>,
    operator: Owner,
    pub(crate) acme: Owner,
    pub(crate) globex: Owner,
    number: AtomicU32,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = init(directory.path(), &Options::new("https://127.0.0.1:1", "acme"), Clock::system())
            .await
            .unwrap();
        let mut config = Config::new(directory.path().to_owned(), (Ipv4Addr::LOCALHOST, 0).into());
        let endless = Rate { burst: 1_000_000, per_minute: 1_000_000 };
        (config.limits.failures, config.limits.first_contact) = (endless, endless);
        let platform = Platform::start(config).await.unwrap();
        let trust = Trust::from_pem(made.platform_ca.as_bytes()).unwrap();
        let owner = |token: &str, prefix| Owner { token: token.to_owned(), prefix };
        let mut world = Self {
            http: http(&made.platform_ca),
            base: format!("https://{}", platform.address()),
            client: Client::new(platform.address().to_string().parse().unwrap(), &trust).unwrap(),
            tokens: BTreeMap::new(),
            operator: owner(&made.operator_token, "shared"),
            acme: owner(&made.admin_token, "of-acme"),
            globex: owner("", SECRET),
            number: AtomicU32::new(0),
            _directory: directory,
            _platform: platform,
        };
        world.populate().await;
        world
    }

    async fn populate(&mut self) {
        let globex = self.post(&self.operator, "/v1/orgs", json!({ "name": "globex" })).await.expect(201);
        self.globex.token = globex["admin_token"].as_str().unwrap().to_owned();
        self.tokens.insert(Role::Operator, self.operator.token.clone());
        self.tokens.insert(Role::Admin, self.acme.token.clone());
        for (role, name, roles) in [
            (Role::Auditor, "auditor", json!(["auditor"])),
            (Role::ProjectAdmin, "project-admin", json!([])),
            (Role::ProjectMember, "project-member", json!([])),
            (Role::WithoutRoles, "without-roles", json!([])),
        ] {
            let new = json!({ "name": name, "kind": "person", "roles": roles });
            let made = self.post(&self.acme, "/v1/identities", new).await.expect(201);
            self.tokens.insert(role, made["token"].as_str().unwrap().to_owned());
        }
        let home = self.project(&self.acme, true).await;
        let gateway = self.make(&self.acme, "/v1/gateways", json!({})).await;
        self.link(&self.acme, &home, &gateway).await;
        let agent = self.agent(&self.acme, &format!("/v1/gateways/{gateway}")).await;
        self.tokens.insert(Role::GatewayAgent, agent.1);
        let relay = self.relay(&self.acme).await;
        let agent = self.agent(&self.acme, &format!("/v1/relays/{relay}")).await;
        self.tokens.insert(Role::RelayAgent, agent.1);
        // Something in each list of the other organisation.
        self.linked(&self.globex).await;
        self.relay(&self.globex).await;
        self.identity(&self.globex).await;
        let database = self.database(&self.globex, false).await;
        for path in ["/v1/secrets", "/v1/rotations"] {
            self.make(&self.globex, path, of_database(path, "", &database)).await;
        }
        self.lease(&self.globex, &self.globex.token, false).await;
    }

    /// Calls `route` about `subject`, with a body that fits.
    pub(crate) async fn call(&self, route: &Route, role: Role, subject: &Subject) -> Answer {
        let mut path = route.path.to_owned();
        for (noun, value) in &subject.0 {
            path = path.replace(&format!("{{{noun}}}"), value);
        }
        let body = route.operation.takes.is_some().then(|| self.body(route.operation.id, subject));
        self.send(self.tokens.get(&role), route.method, &path, body).await
    }

    pub(crate) async fn list_as_globex(&self, route: &Route) -> Answer {
        self.send(Some(&self.globex.token), route.method, route.path, None).await
    }

    fn body(&self, operation: &str, subject: &Subject) -> Value {
        match operation {
            "createIdentity" => json!({ "name": self.name("x"), "kind": "machine" }),
            "createRelay" => json!({ "name": self.name("x"), "urls": ["turn:192.0.2.1:3478?transport=udp"] }),
            "createOrganisation" | "createProject" | "createGateway" => json!({ "name": self.name("x") }),
            "setMember" => json!({ "role": "member" }),
            "createLink" => json!({
                "project": subject.of("project"), "gateway": subject.of("gateway"), "targets": ["tcp://db:5432"],
            }),
            "createDatabase" => of_server(&self.name("x"), subject.of("project"), subject.of("gateway")),
            "createSecret" => of_database("/v1/secrets", &self.name("x"), subject.of("database")),
            "createRotation" => of_database("/v1/rotations", &self.name("x"), subject.of("database")),
            "createLease" => json!({ "secret": subject.of("secret") }),
            "createForwarding" => json!({ "gateway": "nothing", "csr": "" }),
            "setConnectorAddresses" => json!({ "serial": "00", "addresses": ["192.0.2.1"] }),
            _ => json!({}),
        }
    }

    /// New objects of the caller's own organisation; `joined` says whether members of projects are in theirs.
    pub(crate) async fn subject(&self, route: &Route, role: Role, joined: bool) -> Subject {
        let owner = if role == Role::Operator { &self.operator } else { &self.acme };
        // An operator has nothing but identities and relays: what it may not do is asked of acme's.
        let owner = if needs_organisation(route) { &self.acme } else { owner };
        if nouns(route) == ["lease"] {
            // Members see their own leases only.
            let token = self.tokens.get(&role).filter(|_| joined && role.is_of_project());
            let lease = self.lease(owner, token.unwrap_or(&owner.token), joined).await;
            return Subject(vec![("lease", lease)]);
        }
        self.objects(route, owner, joined).await
    }

    /// New objects of the other organisation.
    pub(crate) async fn foreign(&self, route: &Route) -> Subject {
        match route.path.contains("{org}") || route.path.contains("/platform/") {
            // There is no organisation that an operator does not see, and no foreign platform instance.
            true => Subject::nothing(route),
            false => self.objects(route, &self.globex, false).await,
        }
    }

    async fn objects(&self, route: &Route, owner: &Owner, joined: bool) -> Subject {
        let one = |noun, value: String| Subject(vec![(noun, value)]);
        let two = |first, second: (&'static str, String)| Subject(vec![first, second]);
        match (route.operation.id, nouns(route).as_slice()) {
            ("createLink", _) => {
                let (project, gateway) = self.linked(owner).await;
                two(("project", project), ("gateway", gateway))
            }
            ("createDatabase", _) => {
                let project = self.project(owner, joined).await;
                let gateway = self.make(owner, "/v1/gateways", json!({})).await;
                self.link(owner, &project, &gateway).await;
                two(("project", project), ("gateway", gateway))
            }
            (_, ["lease"]) => one("lease", self.lease(owner, &owner.token, joined).await),
            ("createLease", _) => one("secret", self.secret(owner, joined).await),
            ("createSecret" | "createRotation", _) | (_, ["database"]) => {
                one("database", self.database(owner, joined).await)
            }
            (_, [noun @ ("secret" | "rotation")]) => {
                let database = self.database(owner, joined).await;
                let path = if *noun == "secret" { "/v1/secrets" } else { "/v1/rotations" };
                one(noun, self.make(owner, path, of_database(path, "", &database)).await)
            }
            (_, ["database", "username"]) => {
                two(("database", self.database(owner, joined).await), ("username", "nothing".to_owned()))
            }
            (_, ["org"]) => one("org", "acme".to_owned()),
            (_, ["identity"]) => one("identity", self.identity(owner).await),
            (_, ["identity", "token"]) => {
                let identity = self.identity(owner).await;
                let path = format!("/v1/identities/{identity}/tokens");
                let token = self.post(owner, &path, json!({})).await.expect(201);
                two(("identity", identity), ("token", text(&token["info"]["id"])))
            }
            (_, ["project"]) => one("project", self.project(owner, joined).await),
            (operation, ["project", "identity"]) => {
                let (project, identity) = (self.project(owner, joined).await, self.identity(owner).await);
                if operation == "removeMember" {
                    self.join(owner, &project, &identity, "member").await;
                }
                two(("project", project), ("identity", identity))
            }
            (_, ["link"]) => {
                let project = self.project(owner, joined).await;
                let gateway = self.make(owner, "/v1/gateways", json!({})).await;
                one("link", self.link(owner, &project, &gateway).await)
            }
            (_, ["gateway"]) => one("gateway", self.gateway(owner, joined).await),
            ("revokeGatewayInstance", _) => {
                let gateway = self.gateway(owner, joined).await;
                let (instance, _) = self.agent(owner, &format!("/v1/gateways/{gateway}")).await;
                two(("gateway", gateway), ("instance", instance))
            }
            (_, ["relay"]) => one("relay", self.relay(owner).await),
            (_, []) => Subject(Vec::new()),
            _ if route.path.contains("/platform/") => Subject::nothing(route),
            (operation, nouns) => panic!("{operation} is about {nouns:?}: say how to make one"),
        }
    }

    /// A database whose server nobody reaches.
    pub(crate) async fn database(&self, owner: &Owner, joined: bool) -> String {
        let project = self.project(owner, joined).await;
        let gateway = self.make(owner, "/v1/gateways", json!({})).await;
        self.link(owner, &project, &gateway).await;
        self.make(owner, "/v1/databases", of_server("", &project, &gateway)).await
    }

    /// A secret of such a database.
    pub(crate) async fn secret(&self, owner: &Owner, joined: bool) -> String {
        let database = self.database(owner, joined).await;
        self.make(owner, "/v1/secrets", of_database("/v1/secrets", "", &database)).await
    }

    /// A lease of such a secret by whom `token` is of, which has failed.
    async fn lease(&self, owner: &Owner, token: &String, joined: bool) -> String {
        let secret = self.secret(owner, joined).await;
        let new = json!({ "secret": secret });
        let answer = self.send(Some(token), Method::Post, "/v1/leases", Some(new)).await;
        assert_eq!(answer.code(), "database-failed", "{answer:?}");
        let path = format!("/v1/leases?secret={secret}");
        let made = self.send(Some(token), Method::Get, &path, None).await.expect(200);
        text(&made["items"][0]["id"])
    }

    async fn identity(&self, owner: &Owner) -> String {
        self.make(owner, "/v1/identities", json!({ "kind": "machine" })).await
    }

    async fn project(&self, owner: &Owner, joined: bool) -> String {
        let project = self.make(owner, "/v1/projects", json!({})).await;
        if joined {
            self.join(owner, &project, "project-admin", "admin").await;
            self.join(owner, &project, "project-member", "member").await;
        }
        project
    }

    async fn join(&self, owner: &Owner, project: &str, identity: &str, role: &str) {
        let path = format!("/v1/projects/{project}/members/{identity}");
        self.send(Some(&owner.token), Method::Put, &path, Some(json!({ "role": role }))).await.expect(200);
    }

    /// A gateway, and a project that is linked to it.
    async fn gateway(&self, owner: &Owner, joined: bool) -> String {
        let project = self.project(owner, joined).await;
        let gateway = self.make(owner, "/v1/gateways", json!({})).await;
        self.link(owner, &project, &gateway).await;
        gateway
    }

    /// A project, and the gateway that it is linked to.
    pub(crate) async fn linked(&self, owner: &Owner) -> (String, String) {
        let project = self.project(owner, false).await;
        let gateway = self.make(owner, "/v1/gateways", json!({})).await;
        self.link(owner, &project, &gateway).await;
        (project, gateway)
    }

    async fn link(&self, owner: &Owner, project: &str, gateway: &str) -> String {
        let new = json!({ "project": project, "gateway": gateway, "targets": ["tcp://db:5432"] });
        text(&self.post(owner, "/v1/links", new).await.expect(201)["id"])
    }

    async fn relay(&self, owner: &Owner) -> String {
        self.make(owner, "/v1/relays", json!({ "urls": ["turn:192.0.2.1:3478?transport=udp"] })).await
    }

    /// Enrols an agent of the gateway or relay at `path`: its id, and an access token.
    async fn agent(&self, owner: &Owner, path: &str) -> (String, String) {
        let path = format!("{path}/enrolment-tokens");
        let token = self.send(Some(&owner.token), Method::Post, &path, None).await.expect(201);
        let token: Token = token["token"].as_str().unwrap().parse().unwrap();
        let key = Key::generate(KeyKind::EcdsaP256);
        let enrolled = self.client.enrol(&token, &key).await.unwrap();
        let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let access = self.client.access(&enrolled.trust_domain, &enrolled.id, &key, now).await.unwrap();
        (enrolled.id, access.0.access_token)
    }

    /// Makes an object with a new name at `path`, and says its id.
    async fn make(&self, owner: &Owner, path: &str, mut new: Value) -> String {
        new["name"] = json!(self.name(owner.prefix));
        let made = self.post(owner, path, new).await.expect(201);
        text(if made["id"].is_string() { &made["id"] } else { &made["identity"]["id"] })
    }

    fn name(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.number.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn post(&self, owner: &Owner, path: &str, body: Value) -> Answer {
        self.send(Some(&owner.token), Method::Post, path, Some(body)).await
    }

    async fn send(&self, token: Option<&String>, method: Method, path: &str, body: Option<Value>) -> Answer {
        let method = method.as_str().parse().unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }
}

/// A database to be defined.
pub(crate) fn of_server(name: &str, project: &str, gateway: &str) -> Value {
    json!({
        "name": name, "project": project, "gateway": gateway, "host": "db", "admin_user": "adit",
        "admin_password": "secret",
    })
}

/// A secret or a rotation of a database to be defined, for this path.
pub(crate) fn of_database(path: &str, name: &str, database: &str) -> Value {
    match path {
        "/v1/secrets" => json!({ "name": name, "database": database, "access": "read-only" }),
        _ => json!({
            "name": name, "database": database, "mode": "single-user", "users": [database],
            "schedule": { "every": 3600 },
        }),
    }
}

/// Whether the route is about something that an installation has none of.
fn needs_organisation(route: &Route) -> bool {
    [
        "/v1/projects",
        "/v1/links",
        "/v1/gateways",
        "/v1/forwardings",
        "/v1/databases",
        "/v1/secrets",
        "/v1/leases",
        "/v1/restored",
        "/v1/rotations",
    ]
    .iter()
    .any(|path| route.path.starts_with(path))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn http(ca: &str) -> reqwest::Client {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(pem::certificates(ca.as_bytes()).unwrap());
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).https_only(true).no_proxy().build().unwrap()
}
