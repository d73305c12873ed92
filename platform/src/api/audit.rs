//! The audit: read, verified, exported.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use futures_core::Stream;
use serde::Deserialize;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{MAX_PAGE, PAGE, Query};
use super::problem::Problem;
use super::routes::{Needs, QueryParameter, Route};
use crate::store::audit::{self, Cursor};
use crate::store::{Store, StoreError};
use crate::words::{AuditEvent, AuditVerdict, Page};

const NDJSON: &str = "application/x-ndjson";

const QUERY: &[QueryParameter] = &[
    ("after", false, "The `next` of the page before."),
    ("limit", true, "How many events at most: 1 to 500; 100 where it is left out."),
    ("since", true, "Only events from this time on."),
];

pub(super) fn routes() -> Vec<Route> {
    let read = Needs::Permission(Permission::ReadAudit);
    vec![
        Route::get("/v1/audit", read, list)
            .named("listAudit", "What was done in the organisation, in the order of time.")
            .query(QUERY)
            .lists::<AuditEvent>(),
        Route::get("/v1/audit/verify", read, verify)
            .named("verifyAudit", "Whether the audit is as it was written.")
            .answers::<AuditVerdict>(),
        Route::get("/v1/audit/export", read, export)
            .named("exportAudit", "Every event, one JSON object on each line.")
            .query(&[("since", true, "Only events from this time on.")])
            .answers_as(NDJSON),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    after: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    since: u64,
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditEvent>>, Problem> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is 1 to {MAX_PAGE}.")));
    }
    let after = query.after.as_deref().map(str::parse::<Cursor>).transpose();
    let after = after.map_err(|_| Problem::bad_request("after is the `next` of the page before."))?;
    let events =
        audit::list(app.store.reader(), &caller.organisation, query.since, after.as_ref(), limit).await?;
    // A full page may be the last one: then the next is empty.
    let next = events.last().filter(|_| events.len() == limit as usize);
    let next = next.map(|event| Cursor::after(event).to_string());
    Ok(Json(Page { items: events, next }))
}

async fn verify(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<AuditVerdict>, Problem> {
    Ok(Json(audit::verify(&app.store, &caller.organisation).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    #[serde(default)]
    since: u64,
}

async fn export(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<impl IntoResponse, Problem> {
    let export = Export::new(app.store.clone(), caller.organisation, query.since).await?;
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(export)))
}

type Read = Pin<Box<dyn Future<Output = Result<Vec<AuditEvent>, StoreError>> + Send>>;

/// Every event, page by page: as fast as the caller reads, and never more than a page in memory.
struct Export {
    store: Store,
    organisation: String,
    since: u64,
    lines: VecDeque<Bytes>,
    next: Option<Read>,
}

impl Export {
    /// Reads the first page at once, so that a store that is away is a problem rather than an empty export.
    async fn new(store: Store, organisation: String, since: u64) -> Result<Self, StoreError> {
        let first = audit::list(store.reader(), &organisation, since, None, MAX_PAGE).await?;
        let mut export = Self { store, organisation, since, lines: VecDeque::new(), next: None };
        export.take(&first);
        Ok(export)
    }

    fn take(&mut self, page: &[AuditEvent]) {
        let line = |event| {
            let mut line = serde_json::to_vec(event).expect("an event is texts and numbers");
            line.push(b'\n');
            Bytes::from(line)
        };
        self.lines.extend(page.iter().map(line));
        let full = page.last().filter(|_| page.len() == MAX_PAGE as usize);
        self.next = full.map(|event| self.read(Cursor::after(event)));
    }

    fn read(&self, after: Cursor) -> Read {
        let (store, organisation, since) = (self.store.clone(), self.organisation.clone(), self.since);
        Box::pin(
            async move { audit::list(store.reader(), &organisation, since, Some(&after), MAX_PAGE).await },
        )
    }
}

impl Stream for Export {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Poll::Ready(Some(Ok(line)));
            }
            let Some(read) = self.next.as_mut() else { return Poll::Ready(None) };
            match std::task::ready!(read.as_mut().poll(context)) {
                Ok(page) => self.take(&page),
                Err(error) => {
                    self.next = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}
