//! The pages over HTTP: one request a connection, of bounded length, within bounded time, and a bounded number of them at
//! once, since each is a descriptor that an allocation could have had.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Monitor;

/// How many are served at once; others wait.
const MOST: usize = 16;
/// How long a request and its answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a request.
const LONGEST: usize = 8 << 10;
/// How long to wait after the system has given no connection.
const REST: Duration = Duration::from_millis(200);

/// The media type of OpenMetrics (its §4.1).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, monitor: Monitor, patience: Duration) {
    let (pages, room) = (pages(monitor), Arc::new(Semaphore::new(MOST)));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            // Who asks too slowly, or goes away, gets nothing.
            let _ = tokio::time::timeout(patience, converse(stream, pages)).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, pages: Router) {
    let mut server = http1::Builder::new();
    server.header_read_timeout(None).max_buf_size(LONGEST).keep_alive(false);
    let mut served = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    // What is no request has been answered too.
    let _ = poll_fn(|cx| served.poll_without_shutdown(cx)).await;
    let mut stream = served.into_parts().io.into_inner();
    // What was sent beyond the request is read, or the system would take the answer back.
    let _ = stream.shutdown().await;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

fn pages(monitor: Monitor) -> Router {
    Router::new()
        .route("/healthz", get(|| async { page(StatusCode::OK, TEXT, "ok\n") }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { page(StatusCode::NOT_FOUND, TEXT, "/healthz /readyz /metrics\n") })
        .with_state(monitor)
}

async fn readyz(State(monitor): State<Monitor>) -> Response {
    let (ready, body) = monitor.readiness();
    page(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, JSON, body)
}

async fn metrics(State(monitor): State<Monitor>) -> Response {
    match monitor.metrics() {
        Ok(body) => page(StatusCode::OK, OPENMETRICS, body),
        Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, ""),
    }
}

fn page(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.into()).into_response()
}
