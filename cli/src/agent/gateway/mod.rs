//! A gateway instance that the platform tells what to do.
//!
//! 1. It enrols, once, and gets access, a session and a certificate. While the platform is away it begins with what it
//!    has kept.
//! 2. It serves: allocations on the relays that are wanted, QUIC on them, streams to the targets allowed here.
//! 3. Each heartbeat tells how it is and hears what is wanted; [`wanted`] finds out what that changes.
//! 4. It ends when it is told to, or when the platform has revoked it; nothing else is a reason.

mod report;
mod wanted;

use std::future::{pending, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::gateway::{Config, Event, TargetPolicy, TargetRule};
use adit_core::pki::{Certified, pem};
use adit_core::time::{UnixTime, WallCell};
use adit_driver::{Notice, Runtime};
use adit_platform::client::{ClientError, Skew};
use adit_platform::words::{
    AccessToken, AgentKind, Certificate, DesiredState, HealthState, HeartbeatAnswer, Session,
};
use clap::Args;
use rustls::ServerConfig;
use tokio::time::sleep_until;

use super::agenda::Step;
use super::enrol::{self, Member};
use super::flags::Platform;
use super::line::{Line, kept};
use crate::config::TargetsFile;
use crate::exit::{Exit, Failure};
use crate::monitor::Monitor;
use crate::service::{self, Reloads, Signals};
use crate::{news, when};
use wanted::{Places, revoked, server_tls, trusted};

/// The flags of a gateway with a platform.
#[derive(Debug, Args)]
#[command(next_help_heading = "With a platform")]
pub(crate) struct Flags {
    #[command(flatten)]
    platform: Platform,
    /// What may be reached through this gateway, besides what the file allows: tcp://HOST:PORT, where HOST may be a
    /// name, *.NAME, an address or a network, and PORT may be *.
    #[arg(long, value_name = "RULE", env = "ADIT_ALLOW", value_delimiter = ',', requires = "domain")]
    allow: Vec<TargetRule>,
    /// For how many seconds a stop waits for streams to end.
    #[arg(long, value_name = "SECONDS", env = "ADIT_GRACE_PERIOD", default_value_t = 30)]
    grace_period: u64,
}

impl Flags {
    /// Whether there is a platform.
    pub(crate) fn is_wanted(&self) -> bool {
        self.platform.domain.is_some()
    }
}

/// Serves until a signal comes, or until the platform has revoked this instance.
pub(crate) async fn serve<R: Runtime>(
    flags: Flags,
    file: Option<PathBuf>,
    monitor: Monitor,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    monitor.lacks("platform", "there is no session");
    let allowed = Allowed { rules: flags.allow.clone(), file, reloads: Reloads::new()? };
    let targets = allowed.targets()?;
    let domain = flags.platform.domain.clone().expect("it was asked for");
    let member = tokio::select! {
        member = enrol::join(&flags.platform, &domain, AgentKind::Gateway) => member?,
        () = signals.next() => return Ok(()),
    };
    let mut agent = Agent::<R>::new(member, targets, allowed, monitor.clone())?;
    let failure = tokio::select! {
        failure = agent.run() => Some(failure),
        () = signals.next() => None,
    };
    service::stopping();
    monitor.lacks("gateway", "it is told to end");
    let grace = match failure {
        Some(_) => Duration::ZERO,
        None => Duration::from_secs(flags.grace_period),
    };
    tokio::select! {
        () = agent.stop(grace) => {}
        () = signals.next() => tracing::warn!("told twice: the gateway ends at once"),
    }
    failure.map_or(Ok(()), Err)
}

/// What may be reached through this gateway: what flags and file say, and when that is to be read again.
struct Allowed {
    rules: Vec<TargetRule>,
    file: Option<PathBuf>,
    reloads: Reloads,
}

impl Allowed {
    fn targets(&self) -> Result<TargetPolicy, Failure> {
        let mut rules = self.rules.clone();
        if let Some(path) = &self.file {
            rules.extend(TargetsFile::load(path)?.rules);
        }
        if rules.is_empty() {
            tracing::warn!("no target is allowed: every one will be denied; allow one with --allow");
        }
        Ok(TargetPolicy::new(rules))
    }
}

/// What the platform has answered.
enum Answer {
    Access(AccessToken, Skew),
    Session(Session),
    Certificate(Certificate),
    Heartbeat(HeartbeatAnswer),
}

/// A request that is under way.
type Asked = Pin<Box<dyn Future<Output = Result<Answer, ClientError>>>>;

struct Agent<R: Runtime> {
    line: Line,
    targets: TargetPolicy,
    allowed: Allowed,
    certificate: Option<Certified>,
    /// What is wanted, and in effect as far as there is a gateway.
    desired: Option<DesiredState>,
    gateway: Option<adit_driver::Gateway<R>>,
    places: Places,
    /// What the platform last said about our health.
    health: Option<HealthState>,
    /// systemd and people know that it serves.
    started: bool,
    monitor: Monitor,
}

impl<R: Runtime> Agent<R> {
    fn new(
        member: Member,
        targets: TargetPolicy,
        allowed: Allowed,
        monitor: Monitor,
    ) -> Result<Self, Failure> {
        let now = Instant::now();
        let certificate = member.state.certificate(&member.key)?;
        let desired = member.state.instructions()?;
        let mut line = Line::new(member, now);
        let valid = |certified: &Certified| line.unix() <= certified.info().not_after;
        let certificate = certificate.filter(valid);
        if let Some(certified) = &certificate {
            let renewal = line.renewal(now, certified.info());
            line.agenda.certified(renewal);
        }
        Ok(Self {
            line,
            targets,
            allowed,
            certificate,
            desired,
            gateway: None,
            places: Places::default(),
            health: None,
            started: false,
            monitor,
        })
    }

    /// Follows the platform and the gateway until something goes wrong for good.
    async fn run(&mut self) -> Failure {
        let mut asked: Option<(Step, Asked)> = None;
        loop {
            let (step, at) = self.line.agenda.next();
            let result = tokio::select! {
                notice = next(&mut self.gateway) => self.notice(notice),
                (step, answer) = answer(&mut asked) => {
                    asked = None;
                    self.hear(Instant::now(), step, answer)
                }
                () = self.allowed.reloads.next() => {
                    self.reload();
                    Ok(())
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

    /// Reads again what may be reached; the platform says everything else.
    fn reload(&mut self) {
        service::reloading();
        match self.allowed.targets() {
            Ok(targets) => {
                if let Some(gateway) = &self.gateway {
                    gateway.set_targets(targets.clone());
                }
                self.targets = targets;
                tracing::info!("the targets were read again and are in effect");
            }
            Err(Failure { what, next, .. }) => {
                tracing::error!(next, "the targets were read again, and nothing was changed: {what}");
            }
        }
        if self.started {
            service::ready();
        }
    }

    /// Says goodbye to the platform, waits for the streams, and gives the allocations back.
    async fn stop(&mut self, grace: Duration) {
        tracing::info!("the gateway stops");
        let client = self.line.client();
        self.line.close(async move { client.end_gateway_session().await }).await;
        let Some(gateway) = self.gateway.take() else { return };
        if !gateway.drain(grace).await && !grace.is_zero() {
            tracing::warn!("streams were still open at the end of the grace period");
        }
        gateway.shut_down().await;
    }

    // --- the platform ------------------------------------------------------------------------------------------

    fn ask(&self, step: Step) -> Asked {
        let client = self.line.client();
        match step {
            Step::Access => {
                let access = self.line.access();
                Box::pin(async move { access.await.map(|(access, skew)| Answer::Access(access, skew)) })
            }
            Step::Session => {
                let new = self.line.new_session();
                Box::pin(async move { client.gateway_session(&new).await.map(Answer::Session) })
            }
            Step::Certificate => {
                let request = self.line.certificate_request();
                Box::pin(async move { client.gateway_certificate(&request).await.map(Answer::Certificate) })
            }
            Step::Heartbeat => {
                let heartbeat = self.heartbeat();
                Box::pin(async move { client.gateway_heartbeat(&heartbeat).await.map(Answer::Heartbeat) })
            }
        }
    }

    fn hear(&mut self, now: Instant, step: Step, answer: Result<Answer, ClientError>) -> Result<(), Failure> {
        match answer {
            Ok(Answer::Access(access, skew)) => {
                if self.line.granted(now, &access, skew) {
                    self.set_clock();
                }
            }
            Ok(Answer::Session(session)) => {
                self.server_time(session.server_time);
                self.line.session = Some(session.session);
                self.monitor.has("platform");
                self.line.agenda.began(now, Duration::from_secs(session.heartbeat_interval));
                self.want(session.desired);
                self.begin();
            }
            Ok(Answer::Certificate(certificate)) => {
                self.server_time(certificate.server_time);
                self.certified(now, &certificate);
                self.begin();
            }
            Ok(Answer::Heartbeat(answer)) => {
                self.server_time(answer.server_time);
                self.line.agenda.reported(now, Duration::from_secs(answer.heartbeat_interval));
                self.tell_health(answer.health.state, &answer.health.reason);
                if let Some(desired) = answer.desired {
                    self.want(desired);
                }
            }
            Err(error) => {
                self.line.failed(now, step, &error)?;
                // Better with what is known than not at all. A refusal is another thing than an absence.
                if !matches!(error, ClientError::Problem { .. }) {
                    self.begin();
                }
            }
        }
        Ok(())
    }

    fn server_time(&mut self, time: u64) {
        if self.line.heard(time) {
            self.set_clock();
        }
    }

    fn set_clock(&self) {
        if let Some(gateway) = &self.gateway {
            gateway.set_clock(self.line.unix());
        }
    }

    /// What the platform finds before there is an address is no news to anybody.
    fn tell_health(&mut self, state: HealthState, reason: &str) {
        if !self.started || self.health.replace(state) == Some(state) {
            return;
        }
        match state {
            HealthState::Healthy => {
                tracing::info!("healthy: the platform reaches this gateway through its relays");
            }
            other => tracing::warn!(?other, "the platform does not find this gateway healthy: {reason}"),
        }
    }

    /// A certificate has come. One that is not for us is not used.
    fn certified(&mut self, now: Instant, certificate: &Certificate) {
        let chain = pem::certificates(certificate.chain.as_bytes()).ok();
        let certified = chain.and_then(|chain| Certified::new(chain, self.line.member.key.clone()).ok());
        let expected = wanted::identity(self.line.enrolled());
        let Some(certified) = certified.filter(|certified| Some(certified.identity()) == expected.as_ref())
        else {
            tracing::error!(
                "the platform has issued a certificate that is not for this gateway; it is not used"
            );
            self.line.agenda.certified(now + Duration::from_secs(60));
            return;
        };
        let renewal = self.line.renewal(now, certified.info()).max(now + Duration::from_secs(1));
        self.line.agenda.certified(renewal);
        kept(self.line.state().set_certificate(&certificate.chain));
        self.certificate = Some(certified);
        self.renew_tls();
        tracing::info!(not_after = %when::date(UnixTime(certificate.not_after)), "certified");
    }

    // --- the gateway -------------------------------------------------------------------------------------------

    /// Begins to serve, if there is everything that is needed for it and nobody serves yet.
    fn begin(&mut self) {
        let (None, Some(desired), Some(_)) = (&self.gateway, &self.desired, &self.certificate) else {
            return;
        };
        let wall = WallCell::new(self.line.unix());
        let Some(tls) = self.tls(&wall) else { return };
        let config = Config {
            platform: true,
            targets: self.targets.clone(),
            offline_grace: Duration::from_secs(desired.offline_grace),
            ..Config::new(tls, wall)
        };
        match adit_driver::Gateway::spawn(config) {
            Ok(gateway) => {
                self.monitor.serves(gateway.probe());
                self.gateway = Some(gateway);
            }
            Err(error) => {
                tracing::error!("the gateway can't begin: {error}");
                return;
            }
        }
        self.set_clock();
        self.put_into_effect();
        if self.line.session.is_none() {
            tracing::warn!("the platform is away: the gateway begins with what it was last told");
        }
    }

    /// `desired` is wanted from now on.
    fn want(&mut self, desired: DesiredState) {
        kept(self.line.state().set_instructions(&desired));
        let anchors = self.desired.as_ref().map(|before| &before.connector_anchors);
        let renew_tls = anchors.is_some_and(|before| *before != desired.connector_anchors);
        self.desired = Some(desired);
        if renew_tls {
            self.renew_tls();
        }
        self.put_into_effect();
    }

    fn put_into_effect(&mut self) {
        let (Some(gateway), Some(desired)) = (&self.gateway, &self.desired) else { return };
        gateway.set_revoked(revoked(&desired.revoked));
        let changes = self.places.changes(&desired.relays);
        // They permit the peers that are permitted now.
        for (place, credentials) in changes.renew {
            gateway.set_credentials(place, credentials);
        }
        if let Err(error) = gateway.set_permitted(desired.permitted_peers.iter().copied()) {
            tracing::error!("the platform wants too many peers let in: {error}");
        }
        for wanted in changes.add {
            let place = gateway.add_relay(wanted.config(&gateway.wall()));
            self.places.added(place, wanted);
        }
        for place in changes.remove {
            gateway.remove_relay(place);
            self.places.removed(place);
        }
        // The platform is to know that it is in effect.
        self.line.agenda.hurry(Instant::now());
    }

    fn renew_tls(&self) {
        let Some(gateway) = &self.gateway else { return };
        let Some(tls) = self.tls(&gateway.wall()) else { return };
        if let Err(error) = gateway.set_tls(tls) {
            tracing::error!("new certificates can't be used: {error}");
        }
    }

    fn tls(&self, wall: &WallCell) -> Option<Arc<ServerConfig>> {
        let (desired, certified) = (self.desired.as_ref()?, self.certificate.as_ref()?);
        let tls = trusted(&desired.connector_anchors)
            .and_then(|anchors| server_tls(certified, anchors, self.line.enrolled(), wall.clone()));
        tls.inspect_err(|why| tracing::error!("the platform's instructions can't be followed: {why}")).ok()
    }

    fn notice(&mut self, notice: Option<Notice<Event>>) -> Result<(), Failure> {
        match notice {
            Some(Notice::Event(event)) => self.happened(&event),
            Some(Notice::Lost(count)) => {
                tracing::debug!(count, "events were not logged");
                self.line.agenda.hurry(Instant::now());
            }
            None => return Err(Failure::new(Exit::Other, "the gateway has ended by itself")),
        }
        Ok(())
    }

    fn happened(&mut self, event: &Event) {
        match event {
            Event::Addresses(addresses) => self.addresses(addresses),
            Event::Allocated { relay, relayed } => {
                self.places.allocated(*relay, relayed);
                self.line.agenda.hurry(Instant::now());
                news::log(event, |place| self.places.name(place));
            }
            Event::RelayLost { relay, reason, retry_in } => {
                if self.places.lost(*relay, reason.to_string()) {
                    self.line.agenda.hurry(Instant::now());
                    tracing::warn!(relay = self.places.name(*relay), %reason, ?retry_in, "no allocation");
                }
            }
            Event::RelaySilent { relay, since } => {
                if self.places.lost(*relay, "the relay does not answer".to_owned()) {
                    self.line.agenda.hurry(Instant::now());
                    tracing::warn!(relay = self.places.name(*relay), ?since, "the relay does not answer");
                }
            }
            // Somebody who was let in by PERMIT a moment ago: the next credentials permit them.
            Event::PermissionDenied { peer, code: 403, .. } if !self.is_permitted(*peer) => {
                tracing::debug!(%peer, "the relay credentials do not permit a peer yet; others are asked for");
                self.line.agenda.hurry(Instant::now());
            }
            other => news::log(other, |place| self.places.name(place)),
        }
    }

    /// Whether the platform has said so with its last instructions, and not in the meantime.
    fn is_permitted(&self, peer: IpAddr) -> bool {
        self.desired.as_ref().is_some_and(|desired| desired.permitted_peers.contains(&peer))
    }

    fn addresses(&mut self, addresses: &[SocketAddr]) {
        self.line.agenda.hurry(Instant::now());
        if addresses.is_empty() {
            tracing::warn!("the gateway can't be reached for now");
            return service::status("no relay gives an address");
        }
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let text = format!("gateway {} is reached at {}", self.line.enrolled().name, list.join(", "));
        service::say(format_args!("{text}"));
        service::status(&text);
        if !std::mem::replace(&mut self.started, true) {
            let (name, domain) = (&self.line.enrolled().name, self.line.domain());
            service::say(format_args!(
                " next: adit gateways show {name} --wait --domain {domain} --token-file FILE"
            ));
            service::ready();
        }
    }
}

/// The gateway's next event; never, while there is no gateway.
async fn next<R: Runtime>(gateway: &mut Option<adit_driver::Gateway<R>>) -> Option<Notice<Event>> {
    match gateway {
        Some(gateway) => gateway.event().await,
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
