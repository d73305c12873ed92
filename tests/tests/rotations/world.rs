//! Databases and rotations behind a platform in this process, which can be stopped at any step, with a PostgreSQL behind
//! a real gateway and relay.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use adit_platform::client::{Client, ClientError};
use adit_platform::fault::Faults;
use adit_platform::server::Platform;
use adit_platform::store::{databases, rotations};
use adit_platform::words::{Credentials, Rotation};
use adit_tests::postgres::{DATABASE, Postgres};
use adit_tests::process::PATIENCE;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_postgres::NoTls;

use crate::in_process::{Site, wait};

/// The admin user on the server, which is no superuser, and what its password is at first.
pub(crate) const ADMIN: &str = "adit";
pub(crate) const ADMIN_PASSWORD: &str = "first-password";

/// How long the worker may take to see to what a crash has left: the claim runs out, the gateway reports again.
const SETTLED: Duration = Duration::from_secs(90);

/// At which step the platform is to stop, and when each step was reached.
#[derive(Debug, Default)]
struct Steps {
    armed: Option<(String, mpsc::Sender<()>)>,
    reached: Vec<(String, Instant)>,
}

/// Two platform instances that see at the same time what is due, once they are to. Then the second one waits.
#[derive(Debug)]
pub(crate) struct Meeting {
    awaited: AtomicBool,
    arrived: AtomicUsize,
    second: Semaphore,
}

impl Meeting {
    fn new() -> Self {
        let (awaited, arrived) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { awaited, arrived, second: Semaphore::new(0) }
    }

    pub(crate) fn begin(&self) {
        self.awaited.store(true, Ordering::SeqCst);
    }

    /// The second instance goes on with what it has seen.
    pub(crate) fn end(&self) {
        self.awaited.store(false, Ordering::SeqCst);
        self.second.add_permits(1);
    }

    async fn reach(&self, is_second: bool) {
        if !self.awaited.load(Ordering::SeqCst) {
            return;
        }
        self.arrived.fetch_add(1, Ordering::SeqCst);
        while self.arrived.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if is_second {
            self.second.acquire().await.unwrap().forget();
        }
    }
}

pub(crate) struct World {
    platform: Option<(Platform, Runtime)>,
    second: Option<(Platform, Runtime)>,
    pub(crate) meeting: Arc<Meeting>,
    steps: Arc<Mutex<Steps>>,
    site: Site,
}

impl World {
    /// A platform with the database `main`, for which everything is there.
    pub(crate) fn new() -> Self {
        Self::with(false)
    }

    /// The same with a second instance, both on the PostgreSQL that has the database.
    pub(crate) fn with_two_instances() -> Self {
        let mut world = Self::with(true);
        let (directory, address) = world.site.second();
        world.second = Some(world.instance(directory, address));
        world
    }

    fn with(store_in_postgres: bool) -> Self {
        let site = Site::new(store_in_postgres);
        site.server.superuser(&format!("CREATE ROLE {ADMIN} LOGIN CREATEROLE PASSWORD '{ADMIN_PASSWORD}'"));
        for user in ["one", "two"] {
            site.server.superuser(&format!("CREATE ROLE {user} LOGIN"));
        }
        let meeting = Arc::new(Meeting::new());
        let mut world = Self { platform: None, second: None, meeting, steps: Arc::default(), site };
        world.start();
        world.site.start_agents();
        let port = world.postgres().port();
        let target = format!("tcp://127.0.0.1:{port}");
        world.post("/v1/projects", &json!({ "name": "shop" }));
        world.post("/v1/links", &json!({ "project": "shop", "gateway": "gw", "targets": [target] }));
        world.post(
            "/v1/databases",
            &json!({
                "name": "main", "project": "shop", "gateway": "gw", "host": "127.0.0.1",
                "port": port, "tls": "disable", "database": DATABASE, "admin_user": ADMIN,
                "admin_password": ADMIN_PASSWORD,
            }),
        );
        world
    }

    fn start(&mut self) {
        self.platform = Some(self.instance("platform-1", self.site.address));
    }

    fn instance(&self, directory: &str, address: SocketAddr) -> (Platform, Runtime) {
        let (steps, meeting) = (self.steps.clone(), self.meeting.clone());
        let is_second = address != self.site.address;
        let faults = Faults::new(move |step| {
            let stop = note(&steps, step);
            let meeting = (step == "rotate:due").then(|| meeting.clone());
            async move {
                if let Some(meeting) = meeting {
                    meeting.reach(is_second).await;
                }
                if stop {
                    std::future::pending::<()>().await;
                }
            }
        });
        self.site.platform(directory, address, &faults)
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        &self.site.server
    }

    /// A client of the administrator.
    pub(crate) fn admin(&self) -> Client {
        self.site.client(&self.site.made.admin_token)
    }

    /// Where a test's own tasks run.
    pub(crate) fn outer(&self) -> &Runtime {
        &self.site.outside
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.outer().block_on(self.admin().post(path, body))
    }

    /// Defines a rotation of these users, and waits for its first turn.
    pub(crate) fn rotation(&self, name: &str, mode: &str, users: &[&str]) {
        self.rotation_every(86_400, name, mode, users);
    }

    /// The same, and it turns every so many seconds.
    pub(crate) fn rotation_every(&self, seconds: u64, name: &str, mode: &str, users: &[&str]) {
        let schedule = json!({ "every": seconds });
        let new =
            json!({ "name": name, "database": "main", "mode": mode, "users": users, "schedule": schedule });
        self.post("/v1/rotations", &new);
        self.until("the first turn", PATIENCE, |world| world.shown(name).rotated_at.is_some());
    }

    /// A rotation as the API shows it.
    pub(crate) fn shown(&self, rotation: &str) -> Rotation {
        self.outer().block_on(self.admin().get(&format!("/v1/rotations/{rotation}"))).unwrap()
    }

    /// How often a password of it has changed.
    pub(crate) fn turns(&self, rotation: &str) -> u64 {
        let (platform, runtime) = self.platform.as_ref().unwrap();
        let store = &platform.app().store;
        let id = self.shown(rotation).id;
        runtime.block_on(async {
            let organisation = sqlx::query_scalar::<sqlx::Any, String>("SELECT organisation FROM rotations");
            let organisation = organisation.fetch_one(store.reader()).await.unwrap();
            rotations::by_id(store, &organisation, &id).await.unwrap().unwrap().turns
        })
    }

    pub(crate) fn credentials(&self, name: &str) -> Result<Credentials, ClientError> {
        self.outer().block_on(self.admin().get(&format!("/v1/rotations/{name}/credentials")))
    }

    /// Whether the server lets this user in, asked directly.
    pub(crate) fn lets_in(&self, user: &str, password: &str) -> bool {
        self.outer().block_on(lets_in(self.postgres().port(), user, password))
    }

    /// The admin user's password as the platform knows it, once no rotation of it is under way.
    pub(crate) fn admin_password(&self) -> Option<String> {
        let (platform, runtime) = self.platform.as_ref().unwrap();
        let store = &platform.app().store;
        runtime.block_on(async {
            let organisation = sqlx::query_scalar::<sqlx::Any, String>("SELECT organisation FROM databases");
            let organisation = organisation.fetch_one(store.reader()).await.unwrap();
            let row = databases::find(store, &organisation, None, "main").await.unwrap().unwrap();
            let login = databases::login(store, &row, None).unwrap();
            (!row.is_rotating()).then(|| login.password.to_string())
        })
    }

    /// Lets time pass at once.
    pub(crate) fn advance(&self, by: Duration) {
        self.site.clock.advance(by);
    }

    /// Asks for `path`, crashes the platform at `step`, and starts it again.
    pub(crate) fn crash_at(&mut self, step: &str, path: &str) {
        let (sender, stopped) = mpsc::channel();
        self.steps.lock().unwrap().armed = Some((step.to_owned(), sender));
        let (admin, path) = (self.admin(), path.to_owned());
        let asked = self.outer().spawn(async move {
            let _: Result<Value, _> = admin.post(&path, &json!({})).await;
        });
        stopped.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{step} is not reached"));
        let (platform, runtime) = self.platform.take().unwrap();
        runtime.block_on(async { drop(platform) });
        runtime.shutdown_timeout(Duration::from_secs(5));
        asked.abort();
        self.start();
    }

    /// From the last time that `from` was reached to the next `to`.
    pub(crate) fn between(&self, from: &str, to: &str) -> Duration {
        let steps = self.steps.lock().unwrap();
        let last = |name: &str| steps.reached.iter().rfind(|(step, _)| step == name).unwrap().1;
        last(to).duration_since(last(from))
    }

    /// Waits until what a crash left is seen to.
    #[track_caller]
    pub(crate) fn until_settled(&self, what: &str, is: impl Fn(&Self) -> bool) {
        self.until(what, SETTLED, is);
    }

    #[track_caller]
    fn until(&self, what: &str, patience: Duration, is: impl Fn(&Self) -> bool) {
        wait(what, patience, || is(self));
    }
}

/// The platform goes first, while those that it talks to are there.
impl Drop for World {
    fn drop(&mut self) {
        for (platform, runtime) in self.second.take().into_iter().chain(self.platform.take()) {
            runtime.block_on(async { drop(platform) });
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// Notes that a step is reached, and says whether it is the last one.
fn note(steps: &Mutex<Steps>, step: &str) -> bool {
    let mut steps = steps.lock().unwrap();
    steps.reached.push((step.to_owned(), Instant::now()));
    match steps.armed.take() {
        Some((armed, stopped)) if armed == step => {
            stopped.send(()).unwrap();
            true
        }
        other => {
            steps.armed = other;
            false
        }
    }
}

/// Whether the server on this port lets this user in.
pub(crate) async fn lets_in(port: u16, user: &str, password: &str) -> bool {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(user).password(password).dbname(DATABASE);
    match config.connect(NoTls).await {
        Ok(_) => true,
        Err(error) => {
            let code = error.code().map(tokio_postgres::error::SqlState::code);
            assert_eq!(code, Some("28P01"), "{error:?}");
            false
        }
    }
}
