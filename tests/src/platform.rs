//! A platform as its users run it: made by `adit platform init`, with instances, a relay and a gateway as processes.

use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::adit::World;
use crate::postgres::Postgres;
use crate::process::{PATIENCE, Running, finish};

/// The gateway that the platform begins with.
pub const GATEWAY: &str = "gw-1";

/// An installation in the directory of a world: the organisation `acme`, a relay, and [`GATEWAY`]. What talks to an
/// instance takes its URL, since an instance may also run in the test's own process.
#[derive(Debug)]
pub struct Installation<'w> {
    world: &'w World,
    relay: SocketAddr,
    /// From where the relay allocates.
    relay_ports: RangeInclusive<u16>,
    /// `ADIT_PLATFORM_TIMES`.
    times: String,
    has_postgres: bool,
    /// From where the platform's own connector comes.
    connector: &'static str,
}

/// One instance of the platform.
#[derive(Debug)]
pub struct Instance {
    /// Its process.
    pub running: Running,
    /// Where its API is.
    pub url: String,
}

impl AsRef<str> for Instance {
    fn as_ref(&self) -> &str {
        &self.url
    }
}

impl<'w> Installation<'w> {
    /// Makes it, on `postgres` or on the embedded database. `times` are lengths of time, as `heartbeat=1,ping=1`.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn new(world: &'w World, postgres: Option<&Postgres>, times: &str) -> Self {
        let relay = world.address("127.0.0.1");
        if let Some(postgres) = postgres {
            let path = world.place.write("database", &postgres.url());
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        }
        let (relay_ports, times, has_postgres) =
            (world.ports.range(40), times.to_owned(), postgres.is_some());
        let connector = "127.0.0.1";
        let made = Self { world, relay, relay_ports, times, has_postgres, connector };
        let relay = format!("turn:{relay}?transport=udp");
        let mut init = world.command(&["platform", "init", "--dir", "platform-1", "--organisation", "acme"]);
        init.args(["--tokens-dir", "tokens", "--public-url", "https://127.0.0.1", "--gateway", GATEWAY]);
        init.args(["--relay", &relay]);
        made.on_database(&mut init);
        let _ = finish("adit platform init", init, PATIENCE).success();
        made
    }

    /// Has the platform's own connector come from `address`, where no person's does.
    #[must_use]
    pub fn connecting_from(self, address: &'static str) -> Self {
        Self { connector: address, ..self }
    }

    /// Where the relay is.
    #[must_use]
    pub fn relay_address(&self) -> SocketAddr {
        self.relay
    }

    /// The directory of the instance with this number, from 1 on; each has its own, with the same root keys.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn directory(&self, number: u32) -> PathBuf {
        let directory = self.world.place.path(&format!("platform-{number}"));
        if !directory.exists() {
            fs::create_dir(&directory).expect("a new directory");
            let keys = self.world.place.path("platform-1").join("root-keys");
            fs::copy(keys, directory.join("root-keys")).expect("the first instance has them");
        }
        directory
    }

    /// Starts the instance with this number as a process.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn instance(&self, number: u32) -> Instance {
        self.instance_at(number, self.world.address("127.0.0.1"))
    }

    /// The same at a certain address: where it was before, after its process has ended.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn instance_at(&self, number: u32, listen: SocketAddr) -> Instance {
        let listen = listen.to_string();
        let url = format!("https://{listen}");
        let mut start = self.world.command(&["platform", "start", "--listen", &listen, "--public-url", &url]);
        start.arg("--dir").arg(self.directory(number));
        start.args(["--connector-bind", self.connector, "--grace-period", "2"]);
        start.env("ADIT_PLATFORM_TIMES", &self.times);
        self.on_database(&mut start);
        let mut running = Running::start(&format!("adit platform {number}"), start);
        running.expect_line("the platform serves");
        Instance { running, url }
    }

    /// Starts the relay, which enrols at `instance` unless it has done so before. There is one at a time.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn relay(&self, instance: &impl AsRef<str>) -> Running {
        let (first, last) = (self.relay_ports.start().to_string(), self.relay_ports.end().to_string());
        let mut relay = self.world.command(&["relay", "start", "--listen", &self.relay.to_string()]);
        relay.args(["--allowed-peer-ip", "127.0.0.0/8", "--min-port", &first, "--max-port", &last]);
        relay.args(["--grace-period", "0"]);
        enrolled(&mut relay, instance, "relay");
        let mut running = Running::start("adit relay", relay);
        running.expect_line("listening on");
        running
    }

    /// Starts the gateway, which enrols at `instance` unless it has done so before, and allows `target`.
    #[must_use]
    pub fn gateway(&self, instance: &impl AsRef<str>, target: &str) -> Running {
        let mut gateway = self.world.command(&["gateway", "start", "--allow", target]);
        gateway.args(["--grace-period", "1"]);
        enrolled(&mut gateway, instance, "gateway");
        Running::start("adit gateway", gateway)
    }

    /// Waits until `instance` calls the gateway healthy.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_until_healthy(&self, instance: &impl AsRef<str>) {
        let mut show = self.as_admin(instance, &["gateways", "show", GATEWAY, "--wait"]);
        show.env("NO_COLOR", "1");
        let _ = finish("adit gateways show", show, PATIENCE * 2).success();
    }

    /// Lets the project `shop`, which is made, reach `target` through the gateway.
    ///
    /// # Panics
    /// When the platform does not let it.
    pub fn link(&self, instance: &impl AsRef<str>, target: &str) {
        for arguments in [&["projects", "add", "shop"][..], &["links", "add", "shop", GATEWAY, target]] {
            let _ = finish("adit", self.as_admin(instance, arguments), PATIENCE).success();
        }
    }

    /// Starts `adit forward` as whoever the token in `token_file` is of. Where it listens.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn forward(
        &self,
        instance: &impl AsRef<str>,
        token_file: &str,
        target: &str,
    ) -> (Running, SocketAddr) {
        let listen = self.world.address("127.0.0.1");
        let arguments = ["forward", target, "--gateway", GATEWAY, "--listen", &listen.to_string()];
        let mut running = Running::start("adit forward", self.with_token(instance, token_file, &arguments));
        running.expect_line(&listen.to_string());
        (running, listen)
    }

    /// A command that asks `instance` as the administrator.
    #[must_use]
    pub fn as_admin(&self, instance: &impl AsRef<str>, arguments: &[&str]) -> Command {
        self.with_token(instance, "tokens/admin.token", arguments)
    }

    /// A command that asks `instance` as whoever the token in `token_file` is of.
    #[must_use]
    pub fn with_token(&self, instance: &impl AsRef<str>, token_file: &str, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command.args(["--domain", instance.as_ref(), "--token-file", token_file]);
        command
    }

    fn on_database(&self, command: &mut Command) {
        if self.has_postgres {
            command.args(["--database-file", "database"]);
        }
    }
}

fn enrolled(command: &mut Command, instance: &impl AsRef<str>, kind: &str) {
    command.args(["--domain", instance.as_ref(), "--token-file", &format!("tokens/{kind}.token")]);
    command.args(["--state-dir", &format!("{kind}-state")]);
}
