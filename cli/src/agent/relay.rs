//! A relay whose secrets come from the platform.
//!
//! 1. It enrols, once, and begins a session: from it come the realm and the secrets that credentials are made from.
//! 2. It serves. Each heartbeat tells how it is and brings the secrets; others than before are in effect at once, and no
//!    allocation ends by that.
//! 3. While the platform is away it goes on, and begins, with what it has kept.

use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::time::{Duration, Instant};

use adit_core::relay::Config;
use adit_core::turn::credentials::Authenticator;
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
use crate::monitor::Monitor;
use crate::relay::{Orders, Serving};
use crate::service::{self, Signals};

/// Serves until a signal comes, or until the platform has revoked this relay. What `orders` say lets nobody in; the
/// platform's secrets do.
pub(crate) async fn serve(
    platform: Platform,
    domain: Domain,
    orders: Orders,
    monitor: Monitor,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    monitor.lacks("platform", "it was never reached");
    let member = tokio::select! {
        member = enrol::join(&platform, &domain, AgentKind::Relay) => member?,
        () = signals.next() => return Ok(()),
    };
    let mut agent = Agent::new(member, orders, monitor)?;
    let failure = tokio::select! {
        failure = agent.run() => Some(failure),
        () = signals.next() => None,
    };
    service::stopping();
    tokio::select! {
        () = agent.stop(failure.is_none()) => {}
        () = signals.next() => tracing::warn!("told twice: the relay ends at once"),
    }
    agent.end();
    failure.map_or(Ok(()), Err)
}

/// What the platform has said, and what is kept of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Instructions {
    realm: String,
    /// base64.
    secrets: Vec<String>,
    /// Who is let in no more although their credentials have not run out.
    #[serde(default)]
    revoked: Vec<String>,
    /// When the certificate is to be renewed, in unix seconds; 0 where there is none.
    certificate_renewal: u64,
}

impl Instructions {
    /// Who may use the relay. A secret that can't be read lets nobody in.
    fn authenticator(&self) -> Authenticator {
        let secrets = self.secrets.iter().filter_map(|secret| STANDARD.decode(secret).ok());
        secrets.fold(Authenticator::new(&self.realm), |all, secret| all.with_secret(&secret))
    }

    /// Who is let in no more.
    fn revoked(&self) -> BTreeSet<String> {
        self.revoked.iter().cloned().collect()
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
    instructions: Option<Instructions>,
    serving: Option<Serving>,
    orders: Orders,
    monitor: Monitor,
}

impl Agent {
    fn new(member: Member, orders: Orders, monitor: Monitor) -> Result<Self, Failure> {
        let now = Instant::now();
        let instructions: Option<Instructions> = member.state.instructions()?;
        let mut line = Line::new(member, now);
        if let Some(instructions) = &instructions {
            let wait = instructions.certificate_renewal.saturating_sub(line.unix().0);
            line.agenda.certified(now + Duration::from_secs(wait));
        }
        Ok(Self { line, instructions, serving: None, orders, monitor })
    }

    /// Follows the platform and the relay until something goes wrong for good.
    async fn run(&mut self) -> Failure {
        let mut asked: Option<(Step, Asked)> = None;
        loop {
            let (step, at) = self.line.agenda.next();
            let result = tokio::select! {
                heard = hear(self.serving.as_ref()) => heard,
                () = self.orders.wait() => {
                    self.orders.follow(self.serving.as_ref());
                    Ok(())
                }
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

    /// Says goodbye to the platform, and waits for the clients where they are given time.
    async fn stop(&mut self, drain: bool) {
        let client = self.line.client();
        self.line.close(async move { client.end_relay_session().await }).await;
        if let Some(serving) = self.serving.as_ref().filter(|_| drain) {
            serving.drain(self.orders.drain()).await;
        }
    }

    fn end(self) {
        if let Some(serving) = self.serving {
            serving.end();
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
                self.monitor.has("platform");
                self.line.agenda.began(now, Duration::from_secs(session.heartbeat_interval));
                self.follow(session.realm, session.secrets, session.revoked);
                self.begin()?;
            }
            Ok(Answer::Certificate(certificate)) => self.certified(now, &certificate),
            Ok(Answer::Heartbeat(answer)) => {
                self.line.heard(answer.server_time);
                self.line.agenda.reported(now, Duration::from_secs(answer.heartbeat_interval));
                let realm = self.instructions.as_ref().map(|instructions| instructions.realm.clone());
                self.follow(realm.unwrap_or_default(), answer.secrets, answer.revoked);
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
        let status = match self.serving.as_ref().map(Serving::status) {
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

    /// These secrets count from now on, and no others; who is revoked is let in no more.
    fn follow(&mut self, realm: String, secrets: Vec<String>, revoked: Vec<String>) {
        let certificate_renewal = self.instructions.as_ref().map_or(0, |before| before.certificate_renewal);
        let instructions = Instructions { realm, secrets, revoked, certificate_renewal };
        if self.instructions.as_ref() == Some(&instructions) {
            return;
        }
        // What the platform makes credentials from after this must outlive a restart without the platform.
        kept(self.line.state().set_instructions(&instructions));
        if let Some(serving) = &self.serving {
            serving.admit(&instructions.authenticator(), &instructions.revoked());
            let (secrets, revoked) = (instructions.secrets.len(), instructions.revoked.len());
            tracing::info!(secrets, revoked, "the platform has changed who may use the relay");
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
        if self.serving.is_some() {
            return Ok(());
        }
        let (authenticator, revoked) = (instructions.authenticator(), instructions.revoked());
        let config = Config { authenticator, ..self.orders.config()? };
        self.serving = Some(self.orders.begin(config, &revoked, self.monitor.clone())?);
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

/// Hears what the relay says next; nothing ever, while there is no relay.
async fn hear(serving: Option<&Serving>) -> Result<(), Failure> {
    match serving {
        Some(serving) => serving.hear().await,
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
