//! The HTTPS API: one table of routes, a guard in front of it, and handlers by noun.

mod access;
mod app;
mod audit;
mod ca;
pub mod caller;
mod databases;
pub mod extract;
mod gateways;
pub mod health;
mod identities;
mod leases;
pub mod limit;
mod links;
pub(crate) mod managed;
pub(crate) mod named;
mod openapi;
mod orgs;
mod orphans;
pub mod problem;
mod projects;
mod relays;
mod rotations;
pub mod routes;
mod secrets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod whoami;

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use access::{Gate, Pattern, guard};
pub use app::App;
use problem::{Code, Problem};
use routes::Route;

/// The router of the whole [table](routes::table).
pub fn router(app: &Arc<App>) -> Router {
    let router = routes::table().into_iter().fold(Router::new(), |router, route| {
        let Route { path, needs, limited, handler, .. } = route;
        let gate = Gate { app: app.clone(), needs, limited, path };
        router.route(path, handler.route_layer(from_fn_with_state(gate, guard)))
    });
    router
        .merge(health::router())
        .fallback(|| async { Problem::new(Code::NotFound, "There is no such path; see /v1/openapi.json.") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                Code::MethodNotAllowed,
                "The path exists, the method does not; see /v1/openapi.json.",
            )
        })
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(from_fn_with_state(app.clone(), in_time))
        .layer(from_fn(traced))
        .with_state(app.clone())
}

fn after_panic(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default();
    Problem::internal(format_args!("a handler panicked: {text}")).into_response()
}

/// A request that takes too long is given up, and what it had begun in the store is undone.
async fn in_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.config.times.request, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("a request took too long").into_response(),
    }
}

/// One line for each request: no addresses, no names, no bodies.
async fn traced(request: Request, next: Next) -> Response {
    let (method, begun) = (request.method().clone(), Instant::now());
    let response = next.run(request).await;
    let route = response.extensions().get::<Pattern>().map_or("-", |pattern| pattern.0);
    let (status, ms) = (response.status().as_u16(), begun.elapsed().as_millis());
    tracing::debug!(%method, route, status, ms, "answered");
    response
}
