//! Requests that are malformed: each is told what is wrong with it (RFC 9457), and nothing is made of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use adit_core::pki::pem;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::world::World;

/// What came back for bytes that a well-behaved client would not send.
#[derive(Debug)]
struct Raw {
    status: u16,
    head: String,
    body: Value,
}

impl Raw {
    #[track_caller]
    fn is(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        assert_eq!(self.body["type"], format!("urn:adit:problem:{code}"), "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        let (title, detail) = (self.body["title"].as_str().unwrap(), self.body["detail"].as_str().unwrap());
        assert!(detail.ends_with(['.', '…']) && detail != title, "{self:?}");
    }
}

/// Sends `request` as it is, and reads until the platform closes.
async fn send(world: &World, request: Vec<u8>) -> Option<Raw> {
    let (address, tls) = (world.platform.address(), configuration(&world.made.platform_ca));
    let answer = tokio::task::spawn_blocking(move || {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(tls, address.ip().into()).unwrap(), tcp);
        // The platform may close before it has read everything.
        let _ = stream.write_all(&request).and_then(|()| stream.flush());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    });
    let answer = answer.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_str(body).unwrap_or(Value::String(body.to_owned()));
    Some(Raw { status, head: head.to_ascii_lowercase(), body })
}

fn configuration(ca: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(pem::certificates(ca.as_bytes()).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A request by the administrator, with these headers and this body.
async fn call(world: &World, line: &str, headers: &str, body: impl AsRef<[u8]>) -> Raw {
    let token = &*world.made.admin_token;
    let head = format!(
        "{line} HTTP/1.1\r\nhost: adit\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{headers}\r\n"
    );
    send(world, [head.as_bytes(), body.as_ref()].concat()).await.unwrap()
}

async fn post(world: &World, path: &str, body: impl AsRef<[u8]>) -> Raw {
    let length = body.as_ref().len();
    let headers = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
    call(world, &format!("POST {path}"), &headers, body).await
}

#[tokio::test]
async fn a_body_that_is_no_json_or_does_not_fit_makes_nothing() {
    let world = World::new().await;
    let before = world.picture().await;
    for body in
        [&b"{"[..], b"", b"{\"name\": \"gw\"", b"name=gw", b"{\"name\": \"\xff\"}", b"{\"name\": \"gw\"} x"]
    {
        post(&world, "/v1/gateways", body).await.is(400, "malformed-json");
    }
    for body in ["{}", "null", "7", "{\"name\": 7}", "{\"name\": null}", "{\"name\": \"a\", \"name\": \"b\"}"]
    {
        post(&world, "/v1/gateways", body).await.is(400, "bad-request");
    }
    let misspelt =
        post(&world, "/v1/identities", "{\"name\": \"a\", \"kind\": \"person\", \"role\": []}").await;
    misspelt.is(400, "bad-request");
    assert!(misspelt.body["detail"].as_str().unwrap().contains("`role`"), "{misspelt:?}");
    let deep = format!("{{\"name\": {}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(post(&world, "/v1/gateways", deep).await.status, 400);
    assert_eq!(world.picture().await, before);
}

#[tokio::test]
async fn names_roles_targets_and_urls_that_are_none_make_nothing() {
    let world = World::new().await;
    world.gateway_token("gw").await;
    let before = world.picture().await;
    for name in ["", "../etc", "a b", "a/b", "self", "ä", &"x".repeat(65), "a\\u0000"] {
        post(&world, "/v1/gateways", format!("{{\"name\": \"{name}\"}}")).await.is(400, "bad-request");
    }
    for (path, body) in [
        ("/v1/identities", "{\"name\": \"a\", \"kind\": \"robot\"}"),
        ("/v1/identities", "{\"name\": \"a\", \"kind\": \"person\", \"roles\": [\"operator\"]}"),
        ("/v1/identities", "{\"name\": \"a\", \"kind\": \"person\", \"allowed_from\": [\"10.0.0.0/99\"]}"),
        ("/v1/identities/admin/tokens", "{\"expires_in\": 0}"),
        ("/v1/identities/admin/tokens", "{\"expires_in\": -1}"),
        ("/v1/relays", "{\"name\": \"r\", \"urls\": [\"https://relay\"]}"),
        ("/v1/relays", "{\"name\": \"r\", \"urls\": []}"),
        ("/v1/links", "{\"project\": \"p\", \"gateway\": \"gw\", \"targets\": []}"),
        ("/v1/links", "{\"project\": \"p\", \"gateway\": \"gw\", \"targets\": [\"db\"]}"),
    ] {
        post(&world, path, body).await.is(400, "bad-request");
    }
    assert_eq!(world.picture().await, before);
}

#[tokio::test]
async fn a_body_of_another_type_or_too_long_is_not_read() {
    let world = World::new().await;
    let before = world.picture().await;
    let body = "{\"name\": \"gw\"}";
    let length = format!("content-length: {}\r\n", body.len());
    for kind in ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n"] {
        let headers = format!("{kind}{length}");
        call(&world, "POST /v1/gateways", &headers, body).await.is(415, "unsupported-media-type");
    }
    let json = "content-type: application/json\r\n";
    // It is refused by what it announces, before anything of it comes.
    let announced = format!("{json}content-length: 10000000000\r\n");
    call(&world, "POST /v1/gateways", &announced, "").await.is(413, "too-large");
    let long = format!("{{\"name\": \"gw\", \"x\": \"{}\"}}", "x".repeat(64 * 1024));
    post(&world, "/v1/gateways", &long).await.is(413, "too-large");
    let chunked = format!("{json}transfer-encoding: chunked\r\n");
    let body = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    call(&world, "POST /v1/gateways", &chunked, body).await.is(413, "too-large");
    assert_eq!(world.picture().await, before);
}

#[tokio::test]
async fn a_path_or_a_query_that_is_none_is_told() {
    let world = World::new().await;
    for path in
        ["/", "/v1", "/v1/nothing", "/v2/gateways", "/v1/gateways/", "/V1/gateways", "/v1/gateways/gw/x"]
    {
        call(&world, &format!("GET {path}"), "", "").await.is(404, "not-found");
    }
    for path in
        ["/v1/gateways/nothing", "/v1/gateways/%2e%2e%2fidentities", "/v1/gateways/%00", "/v1/gateways/'--"]
    {
        call(&world, &format!("GET {path}"), "", "").await.is(404, "not-found");
    }
    for line in ["DELETE /v1/gateways", "PATCH /v1/enrol", "TRACE /v1/whoami", "NONSENSE /v1/whoami"] {
        call(&world, line, "", "").await.is(405, "method-not-allowed");
    }
    for path in [
        "/v1/gateways?limit=0",
        "/v1/gateways?limit=501",
        "/v1/gateways?limit=many",
        "/v1/gateways?lmit=1",
        "/v1/audit?since=yesterday",
        "/v1/gateways/%ff",
    ] {
        call(&world, &format!("GET {path}"), "", "").await.is(400, "bad-request");
    }
}

#[tokio::test]
async fn who_shows_no_token_or_a_strange_one_is_told() {
    let world = World::new().await;
    for header in [
        "".to_owned(),
        "authorization: adit\r\n".to_owned(),
        "authorization: Basic YTpi\r\n".to_owned(),
        "authorization: Bearer\r\n".to_owned(),
        "authorization: Bearer hunter2\r\n".to_owned(),
        format!("authorization: Bearer {}\r\n", "x".repeat(60_000)),
        "authorization: Bearer \u{e4}\r\n".to_owned(),
    ] {
        let request = format!("GET /v1/whoami HTTP/1.1\r\nhost: adit\r\nconnection: close\r\n{header}\r\n");
        let answer = send(&world, request.into_bytes()).await.unwrap();
        answer.is(401, "unauthenticated");
        assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
    }
}

#[tokio::test]
async fn heads_without_end_are_cut_off_and_others_are_served() {
    let world = World::new().await;
    let head =
        |headers: String| format!("GET /v1/whoami HTTP/1.1\r\nhost: adit\r\n{headers}\r\n").into_bytes();
    for headers in [format!("x: {}\r\n", "x".repeat(2_000_000)), "x: y\r\n".repeat(1000)] {
        let answer = send(&world, head(headers)).await;
        assert!(answer.as_ref().is_none_or(|raw| raw.status == 431), "{answer:?}");
    }
    for nonsense in
        [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\r\n\r\n"]
    {
        let answer = send(&world, nonsense.to_vec()).await;
        assert!(answer.as_ref().is_none_or(|raw| (400..=505).contains(&raw.status)), "{answer:?}");
    }
    world.admin().get::<Value>("/v1/whoami").await.unwrap();
}
