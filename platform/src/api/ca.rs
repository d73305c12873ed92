//! The platform CA, for who wants to check the API's certificate and those of relays.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::App;
use super::problem::Problem;
use super::routes::{Needs, Route};
use crate::authority::platform_ca;

/// RFC 8555 §9.1.
const PEM: &str = "application/pem-certificate-chain";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/ca", Needs::Nobody, certificate)
            .named("getCa", "The certificate of the platform CA, PEM.")
            .answers_as(PEM),
    ]
}

async fn certificate(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Problem> {
    Ok(([(CONTENT_TYPE, PEM)], platform_ca::certificate(app.store.reader()).await?))
}
