//! A relay whose secrets come from the platform.
//!
//! 1. It enrols, once, and begins a session: from it come the realm and the secrets that credentials are made from.
//! 2. It serves. Each heartbeat tells how it is and brings the secrets; others than before are in effect at once, and no
//!    allocation ends by that.
//! 3. While the platform is away it goes on, and begins, with what it has kept.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::time::{Duration, Instant};

use adit_core::relay::{Config, Event};
use adit_core::turn::credentials::Authenticator;
use adit_driver::Notice;
use adit_mio::RelayServer;
use adit_platform::client::{ClientError, Domain, Skew};
use adit_platform::words::{
    AccessToken, AgentKind, Certificate, RelayHeartbeat, RelayHeartbeatAnswer, RelaySession, RelayStatus,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;

use super::agenda::Step;
use super::enrol::{self, Member};
use super::flags::Platform;
use super::line::{Line, kept};
use crate::exit::Failure;
use crate::relay::{end, failed, log, start};
use crate::service::{self, Signals};

/// Serves until a signal comes, or until the platform has revoked this relay. `config` lets nobody in; the platform's
/// secrets do.
pub(crate) async fn serve(platform: Platform, domain: Domain, config: Config) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let member = tokio::select! {
        member = enrol::join(&platform, &domain, AgentKind::Relay) => member?,
        () = signals.next() => return Ok(()),
    };
    let mut agent = Agent::new(member, config)?;
    let failure = tokio::select! {
        failure = agent.run() => Some(failure),
        () = signals.next() => None,
    };
    service::stopping();
    tokio::select! {
        () = agent.stop() => {}
        () = signals.next() => {}
    }
    failure.map_or(Ok(()), Err)
}

/// What the platform has said, and what is kept of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Instructions {
    realm: String,
    /// base64.
    secrets: Vec<String>,
    /// When the certificate is to be renewed, in unix seconds; 0 where there is none.
    certificate_renewal: u64,
}

impl Instructions {
    /// Who may use the relay. A secret that can't be read lets nobody in.
    fn authenticator(&self) -> Authenticator {
        let secrets = self.secrets.iter().filter_map(|secret| STANDARD.decode(secret).ok());
        secrets.fold(Authenticator::new(&self.realm), |all, secret| all.with_secret(&secret))
    }
}

/// What the platform has answered.
enum Answer {
    Access(AccessToken, Skew),
    Session(RelaySession),
    Certificate(Certificate),
    Heartbeat(RelayHeartbeatAnswer),
}

/// A request that is under way.
type Asked = Pin<Box<dyn Future<Output = Result<Answer, ClientError>>>>;

struct Agent {
    line: Line,
    /// What the relay is started with; gone once it is.
    config: Option<Config>,
    instructions: Option<Instructions>,
    server: Option<RelayServer>,
}

impl Agent {
    fn new(member: Member, config: Config) -> Result<Self, Failure> {
        let now = Instant::now();
        let instructions: Option<Instructions> = member.state.instructions()?;
        let mut line = Line::new(member, now);
        if let Some(instructions) = &instructions {
            let wait = instructions.certificate_renewal.saturating_sub(line.unix().0);
            line.agenda.certified(now + Duration::from_secs(wait));
        }
        Ok(Self { line, config: Some(config), instructions, server: None })
    }

    /// Follows the platform and the relay until something goes wrong for good.
    async fn run(&mut self) -> Failure {
        let mut asked: Option<(Step, Asked)> = None;
        loop {
            let (step, at) = self.line.agenda.next();
            let result = tokio::select! {
                notice = next(self.server.as_ref()) => notice_of(notice),
                (step, answer) = answer(&mut asked) => {
                    asked = None;
                    self.hear(Instant::now(), step, answer)
                }
                () = sleep_until(at.into()), if asked.is_none() => {
                    self.line.agenda.asked(step);
                    asked = Some((step, self.ask(step)));
                    Ok(())
                }
            };
            if let Err(failure) = result {
                return failure;
            }
        }
    }

    async fn stop(&mut self) {
        let client = self.line.client();
        self.line.close(async move { client.end_relay_session().await }).await;
        if let Some(server) = self.server.take() {
            end(server);
        }
    }

    fn ask(&self, step: Step) -> Asked {
        let client = self.line.client();
        match step {
            Step::Access => {
                let access = self.line.access();
                Box::pin(async move { access.await.map(|(access, skew)| Answer::Access(access, skew)) })
            }
            Step::Session => {
                let new = self.line.new_session();
                Box::pin(async move { client.relay_session(&new).await.map(Answer::Session) })
            }
            Step::Certificate => {
                let request = self.line.certificate_request();
                Box::pin(async move { client.relay_certificate(&request).await.map(Answer::Certificate) })
            }
            Step::Heartbeat => {
                let heartbeat = self.heartbeat();
                Box::pin(async move { client.relay_heartbeat(&heartbeat).await.map(Answer::Heartbeat) })
            }
        }
    }

    fn hear(&mut self, now: Instant, step: Step, answer: Result<Answer, ClientError>) -> Result<(), Failure> {
        match answer {
            // The relay itself goes by this machine's clock, which judges the expiry of credentials.
            Ok(Answer::Access(access, skew)) => {
                self.line.granted(now, &access, skew);
            }
            Ok(Answer::Session(session)) => {
                self.line.heard(session.server_time);
                self.line.session = Some(session.session);
                self.line.agenda.began(now, Duration::from_secs(session.heartbeat_interval));
                self.follow(session.realm, session.secrets);
                self.begin()?;
            }
            Ok(Answer::Certificate(certificate)) => self.certified(now, &certificate),
            Ok(Answer::Heartbeat(answer)) => {
                self.line.heard(answer.server_time);
                self.line.agenda.reported(now, Duration::from_secs(answer.heartbeat_interval));
                let realm = self.instructions.as_ref().map(|instructions| instructions.realm.clone());
                self.follow(realm.unwrap_or_default(), answer.secrets);
            }
            Err(error) => {
                self.line.failed(now, step, &error)?;
                // Better with what is known than not at all. A refusal is another thing than an absence.
                if !matches!(error, ClientError::Problem { .. }) {
                    self.begin()?;
                }
            }
        }
        Ok(())
    }

    fn heartbeat(&self) -> RelayHeartbeat {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let status = match self.server.as_ref().map(RelayServer::status) {
            None => RelayStatus { version, ..RelayStatus::default() },
            Some(status) => RelayStatus {
                allocations: status.allocations as u64,
                relayed_packets: status.to_peers.packets + status.to_clients.packets,
                relayed_bytes: status.to_peers.bytes + status.to_clients.bytes,
                dropped_packets: status.dropped,
                refused_requests: status.auth_failures,
                uptime: crate::when::now().0.saturating_sub(status.since.0),
                version,
            },
        };
        let session = self.line.session.clone().unwrap_or_default();
        RelayHeartbeat { session, status, time: self.line.unix().0 }
    }

    /// These secrets count from now on, and no others.
    fn follow(&mut self, realm: String, secrets: Vec<String>) {
        let certificate_renewal = self.instructions.as_ref().map_or(0, |before| before.certificate_renewal);
        let instructions = Instructions { realm, secrets, certificate_renewal };
        if self.instructions.as_ref() == Some(&instructions) {
            return;
        }
        // What the platform makes credentials from after this must outlive a restart without the platform.
        kept(self.line.state().set_instructions(&instructions));
        if let Some(server) = &self.server {
            server.set_authenticator(instructions.authenticator());
            tracing::info!(
                secrets = instructions.secrets.len(),
                "the platform has changed the relay's secrets"
            );
        }
        self.instructions = Some(instructions);
    }

    fn certified(&mut self, now: Instant, certificate: &Certificate) {
        self.line.heard(certificate.server_time);
        let wait = certificate.not_after.saturating_sub(certificate.server_time) / 2;
        self.line.agenda.certified(now + Duration::from_secs(wait.max(1)));
        kept(self.line.state().set_certificate(&certificate.chain));
        if let Some(instructions) = &mut self.instructions {
            instructions.certificate_renewal = certificate.server_time + wait;
            kept(self.line.state().set_instructions(instructions));
        }
    }

    /// Begins to serve, if it is known whom, and nobody is served yet.
    fn begin(&mut self) -> Result<(), Failure> {
        let Some(instructions) = &self.instructions else { return Ok(()) };
        let Some(config) = self.config.take() else { return Ok(()) };
        self.server = Some(start(Config { authenticator: instructions.authenticator(), ..config })?);
        service::say(format_args!(
            " next: adit gateway start --domain {} --token-file FILE --allow tcp://HOST:PORT",
            self.line.domain()
        ));
        if self.line.session.is_none() {
            tracing::warn!("the platform is away: the relay begins with the secrets that it has kept");
        }
        Ok(())
    }
}

fn notice_of(notice: Option<Notice<Event>>) -> Result<(), Failure> {
    match notice {
        Some(Notice::Event(event)) => log(&event),
        Some(Notice::Lost(count)) => tracing::debug!(count, "events were not logged"),
        None => return Err(failed()),
    }
    Ok(())
}

/// The relay's next event; never, while there is no relay.
async fn next(server: Option<&RelayServer>) -> Option<Notice<Event>> {
    match server {
        Some(server) => server.event().await,
        None => pending().await,
    }
}

/// The answer to what was asked; never, while nothing was.
async fn answer(asked: &mut Option<(Step, Asked)>) -> (Step, Result<Answer, ClientError>) {
    match asked {
        Some((step, request)) => (*step, poll_fn(|cx| request.as_mut().poll(cx)).await),
        None => pending().await,
    }
}
