//! The one table of routes: what the router answers, what each route needs, and what the OpenAPI document says.

use std::borrow::Cow;
use std::sync::Arc;

use axum::handler::Handler;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::{HttpMethod, RefOr, Schema};
use utoipa::{PartialSchema as _, ToSchema};

use super::App;
use super::caller::Permission;
use crate::words::{AgentKind, Page};

/// What a route needs; the guard asks for it before the handler is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nobody needs to be known.
    Nobody,
    /// Any person or machine.
    Caller,
    /// An operator of the installation.
    Operator,
    /// A person or a machine with this permission in its organisation.
    Permission(Permission),
    /// A gateway instance or a relay, with an access token.
    Agent(AgentKind),
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// Whether it counts against [`first_contact`](crate::config::Limits::first_contact).
    pub limited: bool,
    /// What the OpenAPI document says about it.
    pub operation: Operation,
    pub(super) handler: MethodRouter<Arc<App>>,
}

/// The methods of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes something new.
    Post,
    /// Makes it be so.
    Put,
    /// Changes parts.
    Patch,
    /// Ends it.
    Delete,
}

impl Method {
    /// As it stands in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    /// As the OpenAPI document knows it.
    pub(super) fn openapi(self) -> HttpMethod {
        match self {
            Self::Get => HttpMethod::Get,
            Self::Post => HttpMethod::Post,
            Self::Put => HttpMethod::Put,
            Self::Patch => HttpMethod::Patch,
            Self::Delete => HttpMethod::Delete,
        }
    }
}

/// What the OpenAPI document says about a route.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its id, as `listGateways`.
    pub id: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// The parameters of its query.
    pub query: &'static [QueryParameter],
    /// The body that it takes.
    pub takes: Option<Named>,
    /// Its status when all is well.
    pub status: StatusCode,
    /// The body of the answer then.
    pub answer: Answer,
}

/// A parameter of a query: its name, whether it is a number, and what it says.
pub type QueryParameter = (&'static str, Number, &'static str);

/// Whether a parameter is a number.
pub type Number = bool;

/// The parameters of a list.
pub const PAGED: &[QueryParameter] = &[
    ("after", false, "The `next` of the page before."),
    ("limit", true, "How many items at most: 1 to 500; 100 where it is left out."),
];

/// The body of an answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// None.
    Nothing,
    /// JSON.
    Json(Named),
    /// Something else, of this media type.
    Other(&'static str),
}

/// A type of the words, for the OpenAPI document.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its name.
    pub name: Cow<'static, str>,
    pub(super) schema: fn() -> RefOr<Schema>,
    pub(super) parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Named {
    fn of<T: ToSchema>() -> Self {
        Self { name: T::name(), schema: T::schema, parts: T::schemas }
    }

    /// A page refers to what its items are made of, and the derived list of parts leaves them out.
    fn page_of<T: ToSchema>() -> Self {
        let parts = |parts: &mut Vec<(String, RefOr<Schema>)>| {
            parts.push((T::name().into_owned(), T::schema()));
            T::schemas(parts);
        };
        Self { name: Page::<T>::name(), schema: Page::<T>::schema, parts }
    }
}

impl Route {
    /// A route that reads.
    pub fn get<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Self {
        Self::new(Method::Get, path, needs, handler)
    }

    /// A route that makes something.
    pub fn post<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Self {
        Self::new(Method::Post, path, needs, handler)
    }

    /// A route that makes it be so.
    pub fn put<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Self {
        Self::new(Method::Put, path, needs, handler)
    }

    /// A route that changes parts.
    pub fn patch<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Self {
        Self::new(Method::Patch, path, needs, handler)
    }

    /// A route that ends something.
    pub fn delete<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Self {
        Self::new(Method::Delete, path, needs, handler)
    }

    fn new<H: Handler<T, Arc<App>>, T: 'static>(
        method: Method,
        path: &'static str,
        needs: Needs,
        handler: H,
    ) -> Self {
        let operation = Operation {
            id: "",
            summary: "",
            query: &[],
            takes: None,
            status: StatusCode::NO_CONTENT,
            answer: Answer::Nothing,
        };
        Self { method, path, needs, limited: false, operation, handler: on(method.filter(), handler) }
    }

    /// Its id and what it does.
    pub fn named(mut self, id: &'static str, summary: &'static str) -> Self {
        (self.operation.id, self.operation.summary) = (id, summary);
        self
    }

    /// The parameters of its query.
    pub fn query(mut self, query: &'static [QueryParameter]) -> Self {
        self.operation.query = query;
        self
    }

    /// The body that it takes.
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.operation.takes = Some(Named::of::<T>());
        self
    }

    /// The body of its answer, with the status 200. A route that does not say answers 204.
    pub fn answers<T: ToSchema>(mut self) -> Self {
        self.operation.status = StatusCode::OK;
        self.operation.answer = Answer::Json(Named::of::<T>());
        self
    }

    /// Its answer is a page of a list.
    pub fn lists<T: ToSchema>(mut self) -> Self {
        self.operation.status = StatusCode::OK;
        self.operation.answer = Answer::Json(Named::page_of::<T>());
        self
    }

    /// The body of its answer, with the status 201.
    pub fn creates<T: ToSchema>(self) -> Self {
        let mut created = self.answers::<T>();
        created.operation.status = StatusCode::CREATED;
        created
    }

    /// An answer that is no JSON.
    pub fn answers_as(mut self, media_type: &'static str) -> Self {
        self.operation.status = StatusCode::OK;
        self.operation.answer = Answer::Other(media_type);
        self
    }

    /// Requests of one source are bounded: for routes that work without a token.
    pub fn limited(mut self) -> Self {
        self.limited = true;
        self
    }
}

/// Every route of the API.
pub fn table() -> Vec<Route> {
    [
        super::openapi::routes(),
        super::ca::routes(),
        super::whoami::routes(),
        super::orgs::routes(),
        super::identities::routes(),
        super::tokens::routes(),
        super::projects::routes(),
        super::links::routes(),
        super::gateways::routes(),
        super::relays::routes(),
        super::databases::routes(),
        super::secrets::routes(),
        super::rotations::routes(),
        super::leases::routes(),
        super::orphans::routes(),
        super::audit::routes(),
        crate::fleet::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
