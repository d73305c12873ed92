//! The API in this process, for unit tests: a new store, the router, and callers of each kind.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::App;
use super::routes::Method;
use crate::authority::{self, platform_ca};
use crate::config::Config;
use crate::store::testing::World;
use crate::store::{INSTALLATION, organisations};
use crate::words::Role;

/// The API over a new store, with the organisation `acme`.
pub(crate) struct Api {
    _world: World,
    pub(crate) app: Arc<App>,
    router: Router,
    /// The token of an operator.
    pub(crate) operator: String,
    /// The token of the administrator of `acme`.
    pub(crate) admin: String,
    /// The id of `acme`.
    pub(crate) acme: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answered {
    /// The body, where the status is `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// Checks that it is this problem.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.body["type"], format!("urn:adit:problem:{code}"));
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let world = World::new().await;
        let mut config = Config::new(world.directory.path().to_owned(), ([127, 0, 0, 1], 0).into());
        configure(&mut config);
        let app = Arc::new(App::new(world.store.clone(), config, Some([7; 32])));
        let mut change = world.store.change(INSTALLATION, "platform").await.unwrap();
        platform_ca::found(&mut change).await.unwrap();
        let operator = organisations::first_identity(&mut change, INSTALLATION, "op", Role::Operator, None)
            .await
            .unwrap();
        let (acme, admin) = organisations::create(&mut change, "acme", "ada", None).await.unwrap();
        authority::found(&mut change, &acme.id, "acme").await.unwrap();
        change.commit().await.unwrap();
        Self {
            router: super::router(&app),
            _world: world,
            app,
            operator: operator.token.reveal().to_string(),
            admin: admin.token.reveal().to_string(),
            acme: acme.id,
        }
    }

    /// Sends a request from 192.0.2.1.
    pub(crate) async fn send(
        &self,
        request: axum::http::request::Builder,
        body: impl Into<Body>,
    ) -> Answered {
        let source: SocketAddr = ([192, 0, 2, 1], 4711).into();
        let request = request.extension(ConnectInfo(source)).body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Answered { status, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) }
    }

    pub(crate) async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answered {
        let request = Request::builder()
            .method(method.as_str())
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {token}"));
        match body {
            Some(body) => self.send(request.header(CONTENT_TYPE, "application/json"), body.to_string()).await,
            None => self.send(request, Body::empty()).await,
        }
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answered {
        self.call(token, Method::Get, path, None).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answered {
        self.call(token, Method::Post, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, token: &str, path: &str) -> Answered {
        self.call(token, Method::Delete, path, None).await
    }

    /// The token of a new person of `acme`.
    pub(crate) async fn person(&self, name: &str, roles: &[Role]) -> String {
        let new = json!({ "name": name, "kind": "person", "roles": roles });
        let created = self.post(&self.admin, "/v1/identities", new).await.expect(201);
        created["token"].as_str().unwrap().to_owned()
    }
}
