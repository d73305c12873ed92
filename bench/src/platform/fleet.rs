//! Gateways that exist as far as the API can tell: enrolled, with keys, sessions and heartbeats.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use adit_core::pki::{Key, KeyKind};
use adit_platform::client::{Client, ClientError};
use adit_platform::trust::token::Token;
use adit_platform::words::{EnrolmentToken, Gateway, Heartbeat, NewGateway, NewSession};
use anyhow::{Context, Result};
use indicatif::ProgressBar;

use super::server::Server;

/// All of them.
pub(super) struct Fleet(Arc<[Arc<Agent>]>);

/// One gateway instance.
pub(super) struct Agent {
    client: Client,
    anonymous: Client,
    audience: String,
    id: String,
    key: Key,
    session: String,
    generation: AtomicU64,
}

impl Fleet {
    /// Makes `count` gateways and enrols an instance of each, `parallel` at once.
    ///
    /// # Errors
    /// The first that fails.
    pub(super) async fn enrol(server: &Server, count: u32, parallel: u32, bar: &ProgressBar) -> Result<Self> {
        let workers = (0..parallel.min(count)).map(|first| {
            let (admin, anonymous, bar) = (server.admin(), server.anonymous(), bar.clone());
            tokio::spawn(async move {
                let mut agents = Vec::new();
                for number in (first..count).step_by(parallel as usize) {
                    agents.push(Arc::new(Agent::enrol(&admin, &anonymous, number).await?));
                    bar.inc(1);
                }
                anyhow::Ok(agents)
            })
        });
        let mut agents = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            agents.extend(worker.await?.context("a gateway can't be enrolled")?);
        }
        Ok(Self(agents.into()))
    }

    pub(super) fn agents(&self) -> Arc<[Arc<Agent>]> {
        Arc::clone(&self.0)
    }
}

impl Agent {
    async fn enrol(admin: &Client, anonymous: &Client, number: u32) -> Result<Self> {
        let name = format!("gw-{number}");
        let _: Gateway = admin.post("/v1/gateways", &NewGateway { name: name.clone() }).await?;
        let path = format!("/v1/gateways/{name}/enrolment-tokens");
        let token: EnrolmentToken = admin.post(&path, &serde_json::json!({})).await?;
        let token: Token = token.token.parse()?;
        let key = Key::generate(KeyKind::EcdsaP256);
        let enrolled = anonymous.enrol(&token, &key).await?;
        let (access, _) = anonymous.access(&enrolled.trust_domain, &enrolled.id, &key, unix).await?;
        let client = anonymous.with_token(&access.access_token);
        let new = NewSession { fingerprint: format!("{number:064x}"), version: "bench".to_owned() };
        let session = client.gateway_session(&new).await?;
        Ok(Self {
            client,
            anonymous: anonymous.clone(),
            audience: enrolled.trust_domain,
            id: enrolled.id,
            key,
            session: session.session,
            generation: session.desired.generation.into(),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A heartbeat of a gateway about which nothing is new: what there is most of.
    pub(super) async fn beat(self: Arc<Self>) -> Result<(), ClientError> {
        let heartbeat = Heartbeat {
            session: self.session.clone(),
            generation: self.generation.load(Ordering::Relaxed),
            addresses: vec![SocketAddr::from(([203, 0, 113, 7], 50_000))],
            relays: Vec::new(),
            peers: Vec::new(),
            credentials_expire_at: None,
            time: unix(),
        };
        let answer = self.client.gateway_heartbeat(&heartbeat).await?;
        if let Some(desired) = answer.desired {
            self.generation.store(desired.generation, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A nonce, a proof, a token.
    pub(super) async fn exchange(self: Arc<Self>) -> Result<(), ClientError> {
        self.anonymous.access(&self.audience, &self.id, &self.key, unix).await.map(drop)
    }
}

fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}
