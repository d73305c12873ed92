//! The other end of the API, for agents and for the command line.
//!
//! 1. [`Domain`]: where the platform is; always HTTPS.
//! 2. [`Trust`]: by what its certificate is known. There is no way to skip that.
//! 3. [`Client`]: requests and answers as [words](crate::words), each answer bounded in size and time.
//! 4. [`ClientError`]: what went wrong, in a sentence that says what to do.
//!
//! [`Skew`] says how wrong this machine's clock is, [`Backoff`] how long to wait before the next attempt.

mod agents;
mod backoff;
mod domain;
mod error;
mod skew;
mod trust;

pub use backoff::Backoff;
pub use domain::{BadDomain, Domain};
pub use error::{ClientError, Distrust};
pub use skew::Skew;
pub use trust::{BadTrust, Trust};

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::words::Problem;

/// The longest answer that is read, in bytes; what is longer is not the API's.
pub const MAX_ANSWER: usize = 1024 * 1024;
/// For how long a connection may be under way.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a request may take as a whole.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// For how long a download may stand still.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one platform. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    domain: Domain,
    bearer: Option<HeaderValue>,
}

impl Client {
    /// A client that shows no token yet.
    ///
    /// # Errors
    /// [`BadTrust`], where nobody would be trusted.
    pub fn new(domain: Domain, trust: &Trust) -> Result<Self, BadTrust> {
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.configuration()?)
            .https_only(true)
            .http1_only()
            // A token goes to nobody but the platform.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("adit/", env!("CARGO_PKG_VERSION")));
        if domain.is_loopback() {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| BadTrust::Setup(error.to_string()))?;
        Ok(Self { http, domain, bearer: None })
    }

    /// The same client, showing `token` from now on. A token that no header can hold is none of ours: the platform
    /// will say so.
    pub fn with_token(&self, token: &str) -> Self {
        let text = Zeroizing::new(format!("Bearer {token}"));
        let bearer = HeaderValue::from_str(&text).ok().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Self { bearer, ..self.clone() }
    }

    /// Where the platform is.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// `GET`. `path` begins with `/`, as `/v1/gateways`; parts of it that people type go through [`segment`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `POST` that may be sent again with the same `key` and then does nothing twice, where the API says so.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    /// `PUT` with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// `PATCH` with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// `DELETE`. What the answer holds is of no interest.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.exchange(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// `DELETE` whose answer says what has become of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// `GET` of a text, such as PEM.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.exchange(self.request(Method::GET, path)).await?;
        String::from_utf8(body).map_err(|_| self.malformed("it is no text"))
    }

    /// `GET` of something that may be long, such as an export. It has no bound but that it may not stand still.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn download(&self, path: &str) -> Result<Download, ClientError> {
        let response = self.request(Method::GET, path).send().await;
        let response = response.map_err(|error| self.failed(&error))?;
        let response = self.accept(response).await?;
        Ok(Download { client: self.clone(), response })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.domain.url(path));
        match &self.bearer {
            Some(bearer) => request.header(AUTHORIZATION, bearer.clone()),
            None => request,
        }
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let body = Zeroizing::new(self.exchange(request).await?);
        // An answer without content (204) reads as nothing.
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| self.malformed(&error.to_string()))
    }

    /// The body of a good answer.
    async fn exchange(&self, request: RequestBuilder) -> Result<Vec<u8>, ClientError> {
        let response = request.timeout(REQUEST_TIMEOUT).send().await;
        let response = response.map_err(|error| self.failed(&error))?;
        let mut response = self.accept(response).await?;
        self.body(&mut response).await
    }

    /// The answer, if it is a good one.
    async fn accept(&self, mut response: Response) -> Result<Response, ClientError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let body = self.body(&mut response).await?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem { problem, retry_after }),
            Err(_) => Err(ClientError::Status { domain: self.domain.to_string(), status, retry_after }),
        }
    }

    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.malformed("it is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        ClientError::of(self.domain.to_string(), error)
    }

    fn malformed(&self, why: &str) -> ClientError {
        ClientError::Malformed { domain: self.domain.to_string(), why: why.to_owned() }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("domain", &self.domain).finish_non_exhaustive()
    }
}

/// A long answer, piece by piece.
#[derive(Debug)]
pub struct Download {
    client: Client,
    response: Response,
}

impl Download {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError`]; what came before is incomplete then.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let chunk = self.response.chunk().await.map_err(|error| self.client.failed(&error))?;
        Ok(chunk.map(|bytes| bytes.to_vec()))
    }
}

/// `text` as one segment of a path or one value of a query, whatever is in it (RFC 3986 §2.3).
pub fn segment(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    match text {
        // They would be taken for steps up and away.
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => text.bytes().map(encode).collect(),
    }
}

#[cfg(test)]
mod tests;
