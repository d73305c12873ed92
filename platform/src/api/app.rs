//! What every handler works with.

use adit_core::pki::{Identity as Spiffe, Role as Holder, TrustDomain};

use super::caller::Caller;
use super::health::Readiness;
use super::limit::BySource;
use super::problem::Problem;
use crate::clock::Clock;
use crate::config::Config;
use crate::connect::Connect;
use crate::fleet::Fleet;
use crate::leases::Leases;
use crate::rotations::Rotations;
use crate::servers::Servers;
use crate::store::{Change, Store, StoreError, tokens};
use crate::trust::token::{Kind, Pin, Token};
use crate::words::{EnrolmentToken, Identity, Instance, IssuedToken};

/// One platform instance, as its handlers see it.
#[derive(Debug)]
pub struct App {
    /// What the platform knows.
    pub store: Store,
    /// How this instance runs.
    pub config: Config,
    /// The time; the store's clock.
    pub clock: Clock,
    /// What tokens of first contact pin: the platform CA, where it signs the API's certificate.
    pub pin: Option<Pin>,
    /// Whether this instance serves.
    pub readiness: Readiness,
    /// What the handlers of agents share.
    pub fleet: Fleet,
    /// The connector of this instance.
    pub connect: Connect,
    /// Sessions with databases' servers.
    pub servers: Servers,
    /// What the duties of rotations share.
    pub rotations: Rotations,
    /// What the duties of leases share.
    pub leases: Leases,
    pub(super) first_contact: BySource,
    pub(super) failures: BySource,
}

impl App {
    /// An instance on `store`.
    pub fn new(store: Store, config: Config, pin: Option<Pin>) -> Self {
        let first_contact = BySource::new(config.limits.first_contact);
        let failures = BySource::new(config.limits.failures);
        let clock = store.clock().clone();
        let (readiness, fleet, connect) = (Readiness::default(), Fleet::default(), Connect::default());
        let (servers, rotations, leases) = (Servers::default(), Rotations::default(), Leases::default());
        Self {
            store,
            config,
            clock,
            pin,
            readiness,
            fleet,
            connect,
            servers,
            rotations,
            leases,
            first_contact,
            failures,
        }
    }

    /// The name of the installation, as certificates carry it.
    pub fn trust_domain(&self) -> &str {
        &self.store.installation().trust_domain
    }

    /// Begins a change by `caller` of its own organisation.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn change(&self, caller: &Caller) -> Result<Change, StoreError> {
        self.store.change(&caller.organisation, &caller.actor()).await
    }

    /// A token for an identity, which runs out in `life` seconds, or never.
    pub(super) async fn identity_token(
        &self,
        change: &mut Change,
        identity: &str,
        life: Option<u64>,
    ) -> Result<IssuedToken, StoreError> {
        let token = Token::new(Kind::Identity, self.pin);
        let expires_at = life.map(|life| self.clock.now().saturating_add(life));
        let info = tokens::make(change, &token, identity, expires_at).await?;
        Ok(IssuedToken { token: token.reveal().to_string(), info })
    }

    /// A token that enrols an instance of a gateway, or a relay.
    pub(super) async fn enrolment_token(
        &self,
        change: &mut Change,
        kind: Kind,
        subject: &str,
    ) -> Result<EnrolmentToken, StoreError> {
        let token = Token::new(kind, self.pin);
        let expires_at = self.clock.now().saturating_add(self.config.times.enrolment_token.as_secs());
        tokens::make(change, &token, subject, Some(expires_at)).await?;
        Ok(EnrolmentToken { token: token.reveal().to_string(), id: token.id().to_owned(), expires_at })
    }

    /// The name of a person or machine in certificates.
    ///
    /// # Errors
    /// A problem where a name in the store is none.
    pub fn spiffe_of_person(&self, organisation: &str, identity: &Identity) -> Result<String, Problem> {
        self.spiffe(organisation, Holder::Person { identity: name(&identity.name)? })
    }

    /// The name of a gateway instance in certificates.
    ///
    /// # Errors
    /// A problem where a name in the store is none.
    pub fn spiffe_of_instance(&self, organisation: &str, instance: &Instance) -> Result<String, Problem> {
        let (gateway, instance) = (name(&instance.gateway)?, name(&instance.id)?);
        self.spiffe(organisation, Holder::Gateway { gateway, instance })
    }

    fn spiffe(&self, organisation: &str, role: Holder) -> Result<String, Problem> {
        let trust_domain: TrustDomain = self.trust_domain().parse().map_err(Problem::internal)?;
        Ok(Spiffe { trust_domain, organisation: name(organisation)?, role }.to_string())
    }
}

fn name(text: &str) -> Result<adit_core::pki::Name, Problem> {
    text.parse().map_err(Problem::internal)
}
