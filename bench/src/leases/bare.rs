//! The statements of a lease, over connections that lead to the server directly.

use std::sync::Arc;

use anyhow::Result;
use tokio_postgres::{Client, NoTls};

use crate::postgres::Postgres;

/// Clients that are logged in.
pub(super) struct Bare(Vec<Arc<Client>>);

impl Bare {
    pub(super) async fn connect(postgres: &Postgres, count: u32) -> Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let (client, connection) = tokio_postgres::connect(&postgres.url(), NoTls).await?;
            tokio::spawn(connection);
            clients.push(Arc::new(client));
        }
        clients[0].batch_execute("CREATE ROLE bare_group NOLOGIN").await?;
        Ok(Self(clients))
    }

    /// Makes users that are in a group. Their password's verifier is made by the server, which is as much work there as
    /// it is for the platform.
    pub(super) async fn make(&self, count: u32) -> Result<()> {
        self.each(count, |name| {
            format!(
                "CREATE ROLE \"{name}\" LOGIN PASSWORD 'a password of thirty-two letters' VALID UNTIL '2100-01-01' IN ROLE bare_group;\
                 COMMENT ON ROLE \"{name}\" IS 'a user of a measurement';\
                 GRANT \"{name}\" TO CURRENT_USER"
            )
        })
        .await
    }

    /// Removes them: no login, what they own, the users.
    pub(super) async fn remove(&self, count: u32) -> Result<()> {
        self.each(count, |name| {
            format!(
                "ALTER ROLE \"{name}\" NOLOGIN PASSWORD NULL;\
                 REASSIGN OWNED BY \"{name}\" TO CURRENT_USER;\
                 DROP ROLE \"{name}\""
            )
        })
        .await
    }

    /// For each user one transaction of the statements, which are sent one after the other as a lease's are.
    async fn each(&self, count: u32, statements: fn(&str) -> String) -> Result<()> {
        let step = self.0.len();
        let workers = self.0.iter().enumerate().map(|(first, client)| {
            let client = Arc::clone(client);
            tokio::spawn(async move {
                for number in (first..count as usize).step_by(step) {
                    client.batch_execute("BEGIN").await?;
                    for statement in statements(&format!("bare-{number}")).split(';') {
                        client.batch_execute(statement).await?;
                    }
                    client.batch_execute("COMMIT").await?;
                }
                anyhow::Ok(())
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await??;
        }
        Ok(())
    }
}
