//! What handlers take from a request: a body of JSON, a query. Each says what is wrong with it by itself.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::App;
use super::problem::{Code, Problem};

/// How many items a page holds where the caller does not say.
pub const PAGE: u32 = 100;

/// How many items a page holds at most.
pub const MAX_PAGE: u32 = 500;

/// The body, as JSON. At most [`Limits::body`](crate::config::Limits::body) bytes are read.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let limit = app.config.limits.body;
        expect_json(request.headers())?;
        if announced_length(request.headers()).is_some_and(|length| length > limit as u64) {
            return Err(too_large(limit));
        }
        let bytes = to_bytes(request.into_body(), limit).await.map_err(|_| too_large(limit))?;
        parse(&bytes).map(Self)
    }
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = said.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "Send JSON, with the header Content-Type: application/json.",
    ))
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("A body has at most {limit} bytes."))
}

/// The message of serde_json says line and column, and the field.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => Problem::bad_request(format!("The body does not fit: {error}.")),
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::new(Code::MalformedJson, format!("The body is no JSON: {error}."))
        }
    })
}

/// The query of the URL.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        AxumQuery::from_request_parts(parts, state)
            .await
            .map(|AxumQuery(query)| Self(query))
            .map_err(|error| Problem::bad_request(format!("The query does not fit: {}.", error.body_text())))
    }
}

/// The parameters of the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        AxumPath::from_request_parts(parts, state)
            .await
            .map(|AxumPath(path)| Self(path))
            .map_err(|error| Problem::bad_request(format!("The path does not fit: {}.", error.body_text())))
    }
}

/// Which page of a list is wanted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The `next` of the page before.
    pub after: Option<String>,
    /// How many items at most: 1 to [`MAX_PAGE`].
    pub limit: Option<u32>,
}

impl PageQuery {
    /// How many items are wanted.
    ///
    /// # Errors
    /// A problem when it is none or more than [`MAX_PAGE`].
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.limit.unwrap_or(PAGE) {
            limit @ 1..=MAX_PAGE => Ok(limit),
            _ => Err(Problem::bad_request(format!("limit is 1 to {MAX_PAGE}."))),
        }
    }

    /// Behind which name, or id, the page begins; the empty text is before all of them.
    pub fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::NewGateway;

    #[test]
    fn a_body_says_where_it_is_wrong() {
        let refusal = |text: &str| parse::<NewGateway>(text.as_bytes()).unwrap_err();
        let cut = refusal("{\n\"name\": \"a");
        assert!(cut.code == Code::MalformedJson && cut.detail.contains("line 2"), "{cut:?}");
        let misspelt = refusal(r#"{"nmae": "a"}"#);
        assert!(misspelt.code == Code::BadRequest && misspelt.detail.contains("`nmae`"), "{misspelt:?}");
    }

    #[test]
    fn a_page_is_bounded() {
        let page = |limit| PageQuery { after: None, limit };
        assert_eq!(page(None).limit(), Ok(PAGE));
        assert!(page(Some(0)).limit().is_err() && page(Some(MAX_PAGE + 1)).limit().is_err());
    }
}
