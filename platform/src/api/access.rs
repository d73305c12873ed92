//! The guard: one middleware in front of every handler that asks who calls and whether that is enough.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;

use super::App;
use super::caller::{Agent, Caller, Source};
use super::problem::{Code, Problem};
use super::routes::Needs;
use crate::store::callers::{self, AgentOf, IdentityOf};
use crate::store::tokens::{self, Dead, TokenRow};
use crate::trust::token::{Kind, Token};

/// What the guard of one route knows.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) app: Arc<App>,
    pub(super) needs: Needs,
    pub(super) limited: bool,
    pub(super) path: &'static str,
}

/// The pattern of the route that answered, for the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern(pub(super) &'static str);

pub(super) async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let mut response = match admit(&gate, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(Pattern(gate.path));
    response
}

/// Lets the request through with who it is, or says why not.
async fn admit(gate: &Gate, request: &mut Request) -> Result<(), Problem> {
    let app = &gate.app;
    let source = source(request, &app.config.trusted_proxies)?;
    if gate.limited {
        app.first_contact.take(source)?;
    }
    if gate.needs == Needs::Nobody {
        request.extensions_mut().insert(Source(source));
        return Ok(());
    }
    // Failures are bounded and successes are not: nobody locks out who shares the address.
    let subject = match authenticate(app, request.headers(), source).await {
        Err(problem) if problem.code.status() == axum::http::StatusCode::UNAUTHORIZED => {
            app.failures.take(source)?;
            return Err(problem);
        }
        outcome => outcome?,
    };
    match subject {
        Subject::Identity(caller) => {
            suffices(gate.needs, &caller)?;
            request.extensions_mut().insert(caller);
        }
        Subject::Agent(agent) if gate.needs == Needs::Agent(agent.kind) => {
            request.extensions_mut().insert(agent);
        }
        Subject::Agent(_) => return Err(Problem::forbidden("A gateway or relay does not call this route.")),
    }
    Ok(())
}

fn suffices(needs: Needs, caller: &Caller) -> Result<(), Problem> {
    match needs {
        Needs::Nobody | Needs::Caller => Ok(()),
        Needs::Operator if caller.is_operator() => Ok(()),
        Needs::Operator => Err(Problem::forbidden("Only an operator of the installation may do this.")),
        Needs::Permission(permission) if caller.may(permission) => Ok(()),
        Needs::Permission(_) => Err(Problem::forbidden(
            "Your roles do not allow this; an administrator of your organisation can change them.",
        )),
        Needs::Agent(_) => Err(Problem::forbidden("Only an enrolled gateway or relay calls this route.")),
    }
}

enum Subject {
    Identity(Caller),
    Agent(Agent),
}

async fn authenticate(app: &App, headers: &HeaderMap, source: IpAddr) -> Result<Subject, Problem> {
    let token = bearer(headers)?;
    match token.kind() {
        Kind::Identity => identity(app, &token, source).await.map(Subject::Identity),
        Kind::Access => agent(app, &token, source).await.map(Subject::Agent),
        Kind::Gateway | Kind::Relay => Err(Problem::new(
            Code::Unauthenticated,
            "An enrolment token enrols, once; it opens nothing else. Use an identity's token.",
        )),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Token, Problem> {
    let unauthenticated = |detail: String| Problem::new(Code::Unauthenticated, detail);
    let value = headers
        .get(AUTHORIZATION)
        .ok_or_else(|| unauthenticated("Send a token: Authorization: Bearer adit_…".to_owned()))?;
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthenticated("The header is to read Authorization: Bearer adit_…".to_owned()));
    }
    token.trim().parse().map_err(|error| unauthenticated(format!("The token does not read: {error}.")))
}

fn unknown() -> Problem {
    Problem::new(Code::Unauthenticated, "The token is not known here. Ask an administrator for a new one.")
}

/// The secret comes first: who does not have it learns nothing about the token.
fn judge(token: &Token, row: &TokenRow, holder_revoked_at: Option<u64>, now: u64) -> Result<(), Problem> {
    if !row.is(token) {
        return Err(unknown());
    }
    match row.check(now) {
        Err(Dead::Expired) => Err(Problem::new(Code::Expired, "The token has run out. Get a new one.")),
        Ok(()) if holder_revoked_at.is_none() => Ok(()),
        _ => Err(Problem::new(Code::Revoked, "The token or its holder was revoked. Ask an administrator.")),
    }
}

async fn identity(app: &App, token: &Token, source: IpAddr) -> Result<Caller, Problem> {
    let found = callers::identity(&app.store, token.id()).await?.ok_or_else(unknown)?;
    judge(token, &found.token, found.revoked_at, app.clock.now())?;
    if !allowed_from(&found.allowed_from, source) {
        return Err(Problem::forbidden(
            "The token does not count from your address; see its identity's allowed_from.",
        ));
    }
    tokens::touch(&app.store, &found.token).await?;
    let IdentityOf { token, organisation_name, name, roles, .. } = found;
    let (organisation, identity) = (token.organisation, token.subject);
    let projects = callers::projects(&app.store, &organisation, &identity).await?;
    Ok(Caller { organisation, organisation_name, identity, name, roles, projects, source })
}

async fn agent(app: &App, token: &Token, source: IpAddr) -> Result<Agent, Problem> {
    let found = callers::agent(&app.store, token.id()).await?.ok_or_else(unknown)?;
    judge(token, &found.token, found.revoked_at, app.clock.now())?;
    let AgentOf { token, organisation_name, kind, of, name, .. } = found;
    Ok(Agent {
        kind,
        id: token.subject,
        of,
        name,
        organisation: token.organisation,
        organisation_name,
        source,
    })
}

fn allowed_from(networks: &[IpNet], source: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(&source))
}

/// Where the request comes from: the other end of the connection, or what trusted proxies say that their other end
/// was, read from the nearest one on.
fn source(request: &Request, trusted: &[IpNet]) -> Result<IpAddr, Problem> {
    let ConnectInfo(peer) = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .ok_or_else(|| Problem::internal("a request without an address"))?;
    Ok(behind_proxies(peer.ip().to_canonical(), request.headers(), trusted))
}

fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let mut told: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    while is_trusted(&nearest) {
        // A proxy that writes no address hides nobody: then it is the source itself.
        let Some(Ok(next)) = told.pop().map(str::parse::<IpAddr>) else { break };
        nearest = next.to_canonical();
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| ("x-forwarded-for".parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_trusted_proxies_say_where_a_request_comes_from() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let said = headers(&["203.0.113.9, 192.0.2.7", "10.1.1.1"]);
        assert_eq!(behind_proxies(ip("10.0.0.1"), &said, &proxies), ip("192.0.2.7"));
        assert_eq!(behind_proxies(ip("198.51.100.1"), &said, &proxies), ip("198.51.100.1"));
        assert_eq!(behind_proxies(ip("10.0.0.1"), &said, &[]), ip("10.0.0.1"));
        assert_eq!(behind_proxies(ip("10.0.0.1"), &headers(&["unknown"]), &proxies), ip("10.0.0.1"));
    }
}
