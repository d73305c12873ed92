//! What a lease costs, next to the same SQL over a direct connection.
//!
//! 1. A PostgreSQL, a platform, and a relay with a gateway, each in processes of their own ([`way`]).
//! 2. Leases are made and revoked through all of them, many at once.
//! 3. The same statements by a client that is connected to the server directly ([`bare`]).

mod bare;
pub(crate) mod way;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use adit_platform::client::Client;
use adit_platform::words::{IssuedLease, NewDatabase, NewLease, Secret, TlsMode};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::platform::server::{Kind, Server};
use crate::postgres::{PASSWORD, Postgres, Programs, USER};
use crate::say;
use crate::usage::Usage;
use way::Way;

/// What is measured.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench leases
  cargo xtask bench leases --leases 1000 --parallel 50")]
pub(crate) struct Options {
    /// How many leases are made and revoked.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    leases: u32,
    /// How many are under way at once.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    parallel: u32,
}

/// CPU time of all that takes part.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    wall: Duration,
    /// Of the platform; of the client itself where there is none.
    works: Duration,
    way: Duration,
    server: Duration,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let programs = Programs::find().context(
        "PostgreSQL's server programs are neither in PATH nor below /usr/lib/postgresql. Install them (Debian, \
         Ubuntu: sudo apt-get install postgresql)",
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(options, &programs))
}

async fn measure(options: &Options, programs: &Programs) -> Result<()> {
    say("starting a PostgreSQL, a platform, a relay and a gateway for this measurement");
    let site = Site::start(programs).await?;
    site.define(options).await?;
    // The first lease prepares the server and opens connections: not what is asked about.
    let first = site.lease().await?;
    site.revoke(&first).await?;

    say(&format!("making and revoking {} leases, {} at once", options.leases, options.parallel));
    let (made, usernames) = site.cost(site.make(options)).await?;
    let (revoked, ()) = site.cost(site.revoke_all(options, usernames)).await?;
    ensure!(site.postgres.superuser(NONE_IS_LEFT).is_ok(), "a user is left on the server");

    say("the same SQL over direct connections");
    let bare = Arc::new(bare::Bare::connect(&site.postgres, options.parallel).await?);
    let (bare_made, ()) = site.cost_of_bare(bare.make(options.leases)).await?;
    let (bare_dropped, ()) = site.cost_of_bare(bare.remove(options.leases)).await?;

    println!("{:<34}{:>11}{:>13}{:>13}{:>13}", "", "per second", "client side", "way", "server");
    let rows = [
        ("lease made", made),
        ("  bare SQL of the same", bare_made),
        ("lease revoked", revoked),
        ("  bare SQL of the same", bare_dropped),
    ];
    for (name, cost) in rows {
        cost.show(name, options.leases);
    }
    println!(
        "\nMilliseconds of CPU time for each. Client side: the platform, or the bare client; way: relay and gateway;"
    );
    println!("server: PostgreSQL.");
    Ok(())
}

/// Fails where a user of a lease is there: they are all in the group of the secret, or called `bare-…`.
const NONE_IS_LEFT: &str = "DO $$ BEGIN IF EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member \
    WHERE r.rolcanlogin AND r.rolname NOT IN ('bench', 'postgres')) THEN RAISE 'left'; END IF; END $$";

/// All that takes part.
struct Site {
    postgres: Postgres,
    platform: Server,
    way: Way,
    admin: Client,
    _directory: tempfile::TempDir,
}

impl Site {
    async fn start(programs: &Programs) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("adit-bench-").tempdir()?;
        let postgres = Postgres::start(programs)?;
        let platform = Server::start(directory.path(), None, Kind::Local).await?;
        let way = Way::start(&platform, directory.path(), &postgres.target()).await?;
        let admin = platform.admin();
        Ok(Self { postgres, platform, way, admin, _directory: directory })
    }

    /// A project, its link, a database and a secret of it.
    async fn define(&self, options: &Options) -> Result<()> {
        let _: Value = self.admin.post("/v1/projects", &json!({ "name": "bench" })).await?;
        let link =
            json!({ "project": "bench", "gateway": way::GATEWAY, "targets": [self.postgres.target()] });
        let _: Value = self.admin.post("/v1/links", &link).await?;
        let database = NewDatabase {
            name: "db".to_owned(),
            project: "bench".to_owned(),
            gateway: way::GATEWAY.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.postgres.port(),
            tls: TlsMode::Disable,
            ca: None,
            database: USER.to_owned(),
            admin_user: USER.to_owned(),
            admin_password: PASSWORD.to_owned(),
            max_connections: options.parallel,
        };
        let _: Value = self.admin.post("/v1/databases", &database).await?;
        let secret =
            json!({ "name": "reader", "database": "db", "access": "read-only", "max_leases": 10_000 });
        let _: Secret = self.admin.post("/v1/secrets", &secret).await?;
        Ok(())
    }

    async fn lease(&self) -> Result<String> {
        lease(&self.admin).await
    }

    async fn revoke(&self, id: &str) -> Result<()> {
        Ok(self.admin.delete(&format!("/v1/leases/{id}")).await?)
    }

    /// Their ids.
    async fn make(&self, options: &Options) -> Result<Vec<String>> {
        let next = Arc::new(AtomicU32::new(0));
        let (count, mut workers) = (options.leases, Vec::new());
        for _ in 0..options.parallel {
            let (admin, next) = (self.admin.clone(), Arc::clone(&next));
            workers.push(tokio::spawn(async move {
                let mut ids = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    ids.push(lease(&admin).await?);
                }
                anyhow::Ok(ids)
            }));
        }
        let mut ids = Vec::new();
        for worker in workers {
            ids.extend(worker.await??);
        }
        Ok(ids)
    }

    async fn revoke_all(&self, options: &Options, ids: Vec<String>) -> Result<()> {
        let share = ids.len().div_ceil(options.parallel as usize);
        let workers = ids.chunks(share).map(|ids| {
            let (admin, ids) = (self.admin.clone(), ids.to_vec());
            tokio::spawn(async move {
                for id in ids {
                    admin.delete(&format!("/v1/leases/{id}")).await?;
                }
                anyhow::Ok(())
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await??;
        }
        Ok(())
    }

    async fn cost<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(Cost, T)> {
        let used =
            || anyhow::Ok((self.platform.usage()?.cpu, self.way.usage()?.cpu, self.postgres.usage()?.cpu));
        let (before, began) = (used()?, Instant::now());
        let result = work.await?;
        let (wall, after) = (began.elapsed(), used()?);
        let [works, way, server] = [after.0 - before.0, after.1 - before.1, after.2.saturating_sub(before.2)];
        Ok((Cost { wall, works, way, server }, result))
    }

    async fn cost_of_bare<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(Cost, T)> {
        let used = || anyhow::Ok((Usage::of(std::process::id())?.cpu, self.postgres.usage()?.cpu));
        let (before, began) = (used()?, Instant::now());
        let result = work.await?;
        let (wall, after) = (began.elapsed(), used()?);
        let (works, server) = (after.0 - before.0, after.1.saturating_sub(before.1));
        Ok((Cost { wall, works, way: Duration::ZERO, server }, result))
    }
}

async fn lease(admin: &Client) -> Result<String> {
    let new = NewLease { secret: "reader".to_owned(), ttl: None };
    let issued: IssuedLease = admin.post("/v1/leases", &new).await?;
    Ok(issued.lease.id)
}

impl Cost {
    fn show(&self, name: &str, count: u32) {
        let per_second = f64::from(count) / self.wall.as_secs_f64();
        let each = |cpu: Duration| cpu.as_secs_f64() * 1000.0 / f64::from(count);
        let [works, way, server] = [self.works, self.way, self.server].map(each);
        println!("{name:<34}{per_second:>11.1}{works:>13.2}{way:>13.2}{server:>13.2}");
    }
}
