//! The OpenAPI document, built from the table of routes.

use std::sync::OnceLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::PartialSchema as _;
use utoipa::ToSchema as _;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Content, InfoBuilder, OpenApi, Paths, Ref, RefOr, Required, Response, ResponseBuilder, Schema,
};

use super::routes::{Answer, Named, Needs, Operation, Route, table};
use crate::words::{PROBLEM_JSON, Problem};

const SECURITY: &str = "token";
const JSON: &str = "application/json";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/openapi.json", Needs::Nobody, document)
            .named("getOpenApi", "This document.")
            .answers_as(JSON),
    ]
}

async fn document() -> impl IntoResponse {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let text = DOCUMENT.get_or_init(|| build(&table()).to_json().expect("the document is made of texts"));
    ([(CONTENT_TYPE, JSON)], text.as_str())
}

fn build(table: &[Route]) -> OpenApi {
    let mut paths = Paths::new();
    for route in table {
        paths.add_path_operation(route.path, vec![route.method.openapi()], operation(route));
    }
    let info = InfoBuilder::new()
        .title("Adit platform")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Times are unix seconds, lengths of time are seconds. Path segments take ids or names.",
        ))
        .build();
    let mut api = OpenApi::new(info, paths);
    api.components = Some(components(table));
    api
}

fn components(table: &[Route]) -> utoipa::openapi::Components {
    let mut parts = Vec::new();
    for named in table.iter().flat_map(|route| named(&route.operation)) {
        parts.push((named.name.clone().into_owned(), (named.schema)()));
        (named.parts)(&mut parts);
    }
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some("An identity's token, or an agent's access token.".to_owned());
    ComponentsBuilder::new()
        .schemas_from_iter(parts)
        .schema(Problem::name(), Problem::schema())
        .security_scheme(SECURITY, SecurityScheme::Http(bearer))
        .build()
}

/// The types of the words that a route takes and answers.
fn named(operation: &Operation) -> impl Iterator<Item = &Named> {
    let answer = match &operation.answer {
        Answer::Json(named) => Some(named),
        Answer::Nothing | Answer::Other(_) => None,
    };
    operation.takes.iter().chain(answer)
}

fn operation(route: &Route) -> OperationBuilder {
    let Route { operation, needs, path, .. } = route;
    let mut built = OperationBuilder::new()
        .operation_id(Some(operation.id))
        .summary(Some(operation.summary))
        .description(Some(needed(*needs)))
        .tag(tag(path))
        .request_body(operation.takes.as_ref().map(body))
        .response(operation.status.as_str(), success(operation))
        .response("default", problem());
    for name in path.split('/').filter_map(parameter_name) {
        built = built.parameter(path_parameter(name));
    }
    for &(name, number, says) in operation.query {
        built = built.parameter(query_parameter(name, number, says));
    }
    if *needs != Needs::Nobody {
        built = built.security(SecurityRequirement::new(SECURITY, [] as [&str; 0]));
    }
    built
}

/// What the route needs, in words.
fn needed(needs: Needs) -> String {
    match needs {
        Needs::Nobody => "Needs no token.".to_owned(),
        Needs::Caller => "Needs any identity's token.".to_owned(),
        Needs::Operator => "Needs an operator of the installation.".to_owned(),
        Needs::Permission(permission) => {
            format!("Needs the permission {permission:?} in the caller's organisation.")
        }
        Needs::Agent(kind) => format!("Needs the access token of a {kind:?}.").to_lowercase(),
    }
}

/// The noun: the first segment after the version.
fn tag(path: &str) -> &str {
    path.split('/').nth(2).unwrap_or("api").trim_end_matches(".json")
}

fn parameter_name(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn path_parameter(name: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(String::schema()))
        .build()
}

fn query_parameter(name: &str, number: bool, says: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(says))
        .schema(Some(if number { u64::schema() } else { String::schema() }))
        .build()
}

fn reference(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

fn body(named: &Named) -> RequestBody {
    RequestBodyBuilder::new()
        .content(JSON, Content::new(Some(reference(&named.name))))
        .required(Some(Required::True))
        .build()
}

fn success(operation: &Operation) -> Response {
    let response = ResponseBuilder::new().description(operation.summary);
    match &operation.answer {
        Answer::Nothing => response,
        Answer::Json(named) => response.content(JSON, Content::new(Some(reference(&named.name)))),
        Answer::Other(media_type) => response.content(*media_type, Content::new(Some(String::schema()))),
    }
    .build()
}

fn problem() -> Response {
    ResponseBuilder::new()
        .description("A problem (RFC 9457); its type is urn:adit:problem:<code>.")
        .content(PROBLEM_JSON, Content::new(Some(reference(&Problem::name()))))
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::to_value(build(&table())).unwrap()
    }

    #[test]
    fn the_document_has_exactly_the_routes_of_the_table() {
        let document = document();
        let documented: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(|m| (path.clone(), m.to_uppercase()))
            })
            .collect();
        let routes = table();
        let tabled: BTreeSet<_> =
            routes.iter().map(|r| (r.path.to_owned(), r.method.as_str().to_owned())).collect();
        assert_eq!(documented, tabled);
        assert_eq!(tabled.len(), routes.len(), "a route stands twice in the table");
    }

    #[test]
    fn each_operation_has_a_name_of_its_own_and_says_what_it_does() {
        let routes = table();
        let ids: BTreeSet<_> = routes.iter().map(|route| route.operation.id).collect();
        assert_eq!(ids.len(), routes.len());
        for route in &routes {
            assert!(
                !route.operation.id.is_empty() && route.operation.summary.ends_with('.'),
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        let references: BTreeSet<&str> =
            text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.contains("Problem"));
        for name in references {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name} is missing");
        }
    }
}
