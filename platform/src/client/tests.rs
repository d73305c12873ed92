//! The client against a small HTTPS server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use adit_core::pki::{Key, KeyKind};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use axum_server::tls_rustls::RustlsConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs::default_provider;
use serde_json::{Value, json};

use super::*;
use crate::trust::pin;
use crate::trust::token::Pin;
use crate::words::PROBLEM_JSON;

/// An authority, and what its server runs on.
struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    fn pin(&self) -> Pin {
        pin::of(self.issuer.der()).unwrap()
    }

    fn trust(&self) -> Trust {
        Trust::from_pem(self.issuer.pem().as_bytes()).unwrap()
    }

    /// Serves `routes` with a certificate for `host`, changed by `change`.
    fn serve(&self, host: &str, routes: Router, change: impl FnOnce(&mut CertificateParams)) -> SocketAddr {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![leaf.der().clone(), self.issuer.der().clone()];
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.into())
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(tls)));
        tokio::spawn(server.unwrap().serve(routes.into_make_service()));
        address
    }
}

fn client(address: SocketAddr, trust: &Trust) -> Client {
    Client::new(address.to_string().parse().unwrap(), trust).unwrap()
}

fn routes() -> Router {
    let problem = Problem {
        kind: "urn:adit:problem:conflict".into(),
        title: "it is there already".into(),
        status: 409,
        detail: "choose another name".into(),
    };
    let problem = (StatusCode::CONFLICT, [("content-type", PROBLEM_JSON)], Json(problem));
    let answer = move || async move { problem.into_response() };
    Router::new()
        .route("/hello", get(|headers: HeaderMap| async move {
            Json(json!({ "bearer": headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()) }))
        }))
        .route("/echo", post(|Json(body): Json<Value>| async move { Json(body) }))
        .route("/gone", delete(|| async { StatusCode::NO_CONTENT }))
        .route("/told", delete(|| async { Json(json!({ "state": "revoked" })) }))
        .route("/once", post(|headers: HeaderMap| async move {
            Json(json!(headers.get("idempotency-key").map(|value| value.to_str().unwrap().to_owned())))
        }))
        .route("/conflict", get(answer))
        .route("/proxy", get(|| async { (StatusCode::BAD_GATEWAY, [("retry-after", "7")], "<html>") }))
        .route("/away", get(|| async { (StatusCode::FOUND, [("location", "/hello")]) }))
        .route("/long", get(|| async { "x".repeat(MAX_ANSWER + 1) }))
        .route("/text", get(|| async { "no JSON" }))
}

#[tokio::test]
async fn words_go_there_and_back() {
    let ca = Ca::new();
    let client = client(ca.serve("127.0.0.1", routes(), |_| ()), &ca.trust());
    let hello: Value = client.get("/hello").await.unwrap();
    assert_eq!(hello, json!({ "bearer": null }));
    let hello: Value = client.with_token("adit_x").get("/hello").await.unwrap();
    assert_eq!(hello, json!({ "bearer": "Bearer adit_x" }));
    assert_eq!(client.post::<Value>("/echo", &json!([1])).await.unwrap(), json!([1]));
    client.delete("/gone").await.unwrap();
    assert_eq!(client.remove::<Value>("/told").await.unwrap(), json!({ "state": "revoked" }));
    assert_eq!(client.post_once::<Value>("/once", "a-key", &json!({})).await.unwrap(), json!("a-key"));
    assert!(!format!("{:?}", client.with_token("adit_x")).contains("adit_x"));
}

#[tokio::test]
async fn each_refusal_is_told_for_what_it_is() {
    let ca = Ca::new();
    let client = client(ca.serve("127.0.0.1", routes(), |_| ()), &ca.trust());
    let conflict = client.get::<Value>("/conflict").await.unwrap_err();
    assert_eq!((conflict.code(), conflict.is_retryable()), (Some("conflict"), false));
    assert_eq!(conflict.to_string(), "it is there already; choose another name");
    let proxy = client.get::<Value>("/proxy").await.unwrap_err();
    assert!(proxy.is_retryable() && proxy.retry_after() == Some(Duration::from_secs(7)), "{proxy}");
    assert!(matches!(client.get::<Value>("/away").await, Err(ClientError::Status { status: 302, .. })));
    assert!(matches!(client.get::<Value>("/long").await, Err(ClientError::Malformed { .. })));
    assert!(matches!(client.get::<Value>("/text").await, Err(ClientError::Malformed { .. })));
    let mut download = client.download("/long").await.unwrap();
    let mut length = 0;
    while let Some(chunk) = download.chunk().await.unwrap() {
        length += chunk.len();
    }
    assert_eq!(length, MAX_ANSWER + 1);
}

#[tokio::test]
async fn a_pin_admits_the_authority_that_it_is_of_and_no_other() {
    let (ca, other) = (Ca::new(), Ca::new());
    let routes = routes().route(
        "/v1/ca",
        get({
            let pem = ca.issuer.pem();
            || async { pem }
        }),
    );
    let address = ca.serve("127.0.0.1", routes, |_| ());
    let pem = client(address, &Trust::Pinned(ca.pin())).pinned_ca(&ca.pin()).await.unwrap();
    assert_eq!(Trust::from_pem(pem.as_bytes()).unwrap(), ca.trust());
    let untrusted = client(address, &Trust::Pinned(other.pin())).ca().await.unwrap_err();
    assert!(matches!(untrusted, ClientError::Untrusted { why: Distrust::Issuer, .. }), "{untrusted}");
    let untrusted = client(address, &other.trust()).ca().await.unwrap_err();
    assert!(matches!(untrusted, ClientError::Untrusted { why: Distrust::Issuer, .. }), "{untrusted}");
    let untrusted = client(address, &ca.trust()).pinned_ca(&other.pin()).await.unwrap_err();
    assert!(matches!(untrusted, ClientError::Untrusted { why: Distrust::Issuer, .. }), "{untrusted}");
}

#[tokio::test]
async fn a_pin_excuses_neither_the_name_nor_the_dates() {
    let ca = Ca::new();
    for trust in [ca.trust(), Trust::Pinned(ca.pin())] {
        let distrust = async |address| match client(address, &trust).ca().await {
            Err(ClientError::Untrusted { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(distrust(ca.serve("192.0.2.1", routes(), |_| ())).await, Distrust::Name);
        let expired = ca.serve("127.0.0.1", routes(), |params| params.not_after = date_time_ymd(2001, 1, 1));
        assert_eq!(distrust(expired).await, Distrust::Expired);
        let early = ca.serve("127.0.0.1", routes(), |params| params.not_before = date_time_ymd(2999, 1, 1));
        assert_eq!(distrust(early).await, Distrust::NotYet);
    }
}

#[tokio::test]
async fn a_leaf_is_no_authority_although_it_is_pinned() {
    let ca = Ca::new();
    let mut leaf = None;
    let key = KeyPair::generate().unwrap();
    let address = ca.serve("127.0.0.1", routes(), |params| {
        leaf = pin::of(params.signed_by(&key, &ca.issuer).unwrap().der());
    });
    let error = client(address, &Trust::Pinned(leaf.unwrap())).ca().await.unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn who_does_not_answer_is_unreachable() {
    let ca = Ca::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address, &ca.trust()).ca().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }) && error.is_retryable(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_port_without_tls_is_told() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes()).await });
    let error = client(address, &Ca::new().trust()).ca().await.unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { why: Distrust::NoTls, .. }), "{error}");
}

#[tokio::test]
async fn an_access_token_is_asked_for_with_the_servers_time() {
    let ca = Ca::new();
    let routes = Router::new()
        .route(
            "/v1/auth/nonce",
            get(|| async { Json(json!({ "nonce": "n", "expires_in": 60, "server_time": 9_000 })) }),
        )
        .route(
            "/v1/auth/token",
            post(|Json(proof): Json<crate::words::Proof>| async move {
                assert_eq!((proof.id.as_str(), proof.nonce.as_str(), proof.time), ("i", "n", 9_000));
                Json(json!({ "access_token": proof.signature, "expires_in": 60, "server_time": 9_000 }))
            }),
        );
    let client = client(ca.serve("127.0.0.1", routes, |_| ()), &ca.trust());
    let key = Key::generate(KeyKind::EcdsaP256);
    let (access, skew) = client.access("adit.local", "i", &key, || 1_000).await.unwrap();
    let signed = crate::trust::proof::access("adit.local", "i", "n", 9_000);
    crate::trust::proof::verify(&key.public().der(), &signed, &access.access_token).unwrap();
    assert_eq!(skew.intolerable(), Some(8_000));
}

#[test]
fn whatever_people_type_stays_one_segment() {
    assert_eq!(segment("gw-1.a_b~"), "gw-1.a_b~");
    assert_eq!(segment("../a b?c#d%é"), "..%2Fa%20b%3Fc%23d%25%C3%A9");
    assert_eq!((segment("."), segment("..")), ("%2E".into(), "%2E%2E".into()));
}
