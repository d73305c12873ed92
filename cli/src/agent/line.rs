//! The agent's side of the conversation with the platform: how it shows who it is, what an error means, and what people
//! are told. Each change is told once.

use std::time::{Duration, Instant};

use adit_core::pki::PeerInfo;
use adit_core::time::UnixTime;
use adit_platform::client::{Client, ClientError, Domain, Skew};
use adit_platform::words::{AccessToken, CertificateRequest, Enrolled, NewSession};

use super::agenda::{Agenda, Step, Verdict};
use super::enrol::Member;
use super::fingerprint::fingerprint;
use super::state::State;
use crate::args::VERSION;
use crate::exit::{Exit, Failure};
use crate::when;

/// How long the platform is waited for when the agent says goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// How the conversation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Nothing was heard yet.
    Silent,
    /// The platform answers.
    Good,
    /// It does not do what it is asked: why.
    Troubled(String),
}

/// A line to the platform.
pub(super) struct Line {
    pub(super) agenda: Agenda,
    pub(super) member: Member,
    /// The present session, which heartbeats show.
    pub(super) session: Option<String>,
    /// With the token that lives shortly.
    client: Client,
    skew: Skew,
    standing: Standing,
}

impl Line {
    /// A line of `member`, on which nothing was said yet.
    pub(super) fn new(member: Member, now: Instant) -> Self {
        let client = member.client.clone();
        let agenda = Agenda::new(now);
        Self { agenda, member, session: None, client, skew: Skew::default(), standing: Standing::Silent }
    }

    /// Who the platform says that this is.
    pub(super) fn enrolled(&self) -> &Enrolled {
        &self.member.membership.enrolled
    }

    pub(super) fn state(&self) -> &State {
        &self.member.state
    }

    /// Where the platform is.
    pub(super) fn domain(&self) -> &Domain {
        self.member.client.domain()
    }

    /// A client that shows the present token.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The time, as the platform has it.
    pub(super) fn unix(&self) -> UnixTime {
        UnixTime(self.skew.correct(when::now().0))
    }

    /// When a certificate is to be renewed: at half its life.
    pub(super) fn renewal(&self, now: Instant, certificate: &PeerInfo) -> Instant {
        let life = certificate.not_after.0.saturating_sub(certificate.not_before.0);
        let half = certificate.not_before.0.saturating_add(life / 2);
        now + Duration::from_secs(half.saturating_sub(self.unix().0))
    }

    // --- requests that both agents make ------------------------------------------------------------------------

    /// Asks for a token that lives shortly.
    pub(super) fn access(&self) -> impl Future<Output = Result<(AccessToken, Skew), ClientError>> + use<> {
        let (client, key) = (self.member.client.clone(), self.member.key.clone());
        let (audience, id) = (self.enrolled().trust_domain.clone(), self.enrolled().id.clone());
        async move { client.access(&audience, &id, &key, || when::now().0).await }
    }

    pub(super) fn new_session(&self) -> NewSession {
        NewSession { fingerprint: fingerprint(self.state().directory()), version: VERSION.to_owned() }
    }

    pub(super) fn certificate_request(&self) -> CertificateRequest {
        CertificateRequest { csr: self.member.key.request_pem() }
    }

    // --- what comes of them ------------------------------------------------------------------------------------

    /// There is a token now. Whether the time of this machine has turned out to be another than was thought.
    pub(super) fn granted(&mut self, now: Instant, access: &AccessToken, skew: Skew) -> bool {
        self.client = self.member.client.with_token(&access.access_token);
        self.agenda.granted(now, Duration::from_secs(access.expires_in));
        self.corrected(skew)
    }

    /// The platform has answered, and said what its time is. Whether the time of this machine has turned out to be
    /// another than was thought.
    pub(super) fn heard(&mut self, server_time: u64) -> bool {
        if self.standing != Standing::Good {
            tracing::info!("the platform is reached");
            self.standing = Standing::Good;
        }
        self.corrected(Skew::between(when::now().0, server_time))
    }

    fn corrected(&mut self, skew: Skew) -> bool {
        let here = when::now().0;
        let before = std::mem::replace(&mut self.skew, skew);
        if before.correct(here).abs_diff(skew.correct(here)) <= 5 {
            return false;
        }
        match skew.intolerable() {
            Some(seconds) => tracing::warn!(
                seconds,
                "this machine's clock is wrong; the platform's time is used: set the clock, by NTP for instance"
            ),
            None => tracing::info!("this machine's clock is right again"),
        }
        true
    }

    /// `step` came to nothing.
    ///
    /// # Errors
    /// The platform has revoked this agent: the end.
    pub(super) fn failed(&mut self, now: Instant, step: Step, error: &ClientError) -> Result<(), Failure> {
        let verdict = self.agenda.failed(now, step, error);
        if verdict == Verdict::Over {
            return Err(Failure::new(Exit::PlatformRefused, "the platform has revoked this agent")
                .next("if that is a mistake: move the state directory away, and enrol with a new token"));
        }
        if error.code() == Some("session-ended") {
            tracing::warn!("the session was ended; it begins anew");
            return Ok(());
        }
        // A token that has run out is replaced without a word; where that fails too, it is told then.
        if matches!(error.code(), Some("expired" | "unauthenticated")) && step != Step::Access {
            return Ok(());
        }
        let why = match verdict {
            Verdict::Occupied => {
                format!("another process works as this one, which waits for its end; {error}")
            }
            _ => error.to_string(),
        };
        let troubled = Standing::Troubled(why.clone());
        if std::mem::replace(&mut self.standing, troubled.clone()) != troubled {
            tracing::warn!("no answer that helps, trying again: {why}");
        }
        Ok(())
    }

    /// Says goodbye by `end`, so that nobody waits for this one to come back.
    pub(super) async fn close(&self, end: impl Future<Output = Result<(), ClientError>>) {
        if self.session.is_none() {
            return;
        }
        match tokio::time::timeout(GOODBYE, end).await {
            Ok(Ok(())) => tracing::debug!("the session has ended"),
            Ok(Err(error)) => tracing::debug!("the session could not be ended: {error}"),
            Err(_) => tracing::debug!("the platform did not hear the goodbye"),
        }
    }
}

/// Who can't keep something goes on with it all the same.
pub(super) fn kept(result: Result<(), Failure>) {
    if let Err(failure) = result {
        tracing::warn!("{}; {}", failure.what, failure.next);
    }
}
