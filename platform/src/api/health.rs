//! Whether this platform instance lives, and whether it serves; for those who watch over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::App;

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a platform instance does not serve; nothing where it does.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<BTreeMap<&'static str, String>>);

impl Readiness {
    /// `part` does not work, for this reason, until it is said to work again.
    pub fn lacks(&self, part: &'static str, reason: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, reason.into());
    }

    /// `part` works.
    pub fn has(&self, part: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    fn reasons(&self) -> Vec<String> {
        let lacking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lacking.iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }
}

/// Outside of the versions of the API, without a token and without a guard.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}

async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let mut reasons = app.readiness.reasons();
    if !matches!(tokio::time::timeout(PATIENCE, app.store.ping()).await, Ok(Ok(()))) {
        reasons.push("store: the database does not answer".to_owned());
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })))
}
