//! README's way from an empty directory to a healthy gateway, and on to a database user for a command, as it stands
//! there, but for the ports.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use adit_tests::adit::World;
use adit_tests::postgres::Postgres;
use adit_tests::process::{Running, finish};
use adit_tests::programs;

/// How long the last command may wait for the gateway.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn five_commands_lead_from_an_empty_directory_to_a_healthy_gateway_and_four_more_to_a_user() {
    let world = World::new();
    let postgres = Postgres::start(&world.ports);
    let block = Block::new(&world, &postgres);
    let commands = block.commands("quickstart");
    assert!(commands.len() <= 5, "{commands:?}");
    let began = Instant::now();
    let mut running = Vec::new();
    for (number, words) in commands.iter().enumerate() {
        let arguments: Vec<_> = words[1..].iter().map(String::as_str).collect();
        let command = world.command(&arguments);
        let name = format!("adit {} {}", words[1], words[2]);
        match words[2].as_str() {
            "start" => {
                let mut part = Running::start(&name, command);
                part.expect_line("next: ");
                running.push(part);
            }
            _ => {
                let said = finish(&name, command, PATIENCE).success();
                let is_last = number + 1 == commands.len();
                assert!(
                    said.contains(if is_last { "healthy" } else { "next: adit platform start" }),
                    "{said}"
                );
            }
        }
    }
    println!("healthy after {:.1} s", began.elapsed().as_secs_f64());
    lease(&world, &postgres, &block);
}

/// The second example, as whoever has logged in.
fn lease(world: &World, postgres: &Postgres, block: &Block) {
    postgres.superuser("CREATE ROLE adit LOGIN CREATEROLE PASSWORD 'a password'");
    postgres.superuser("CREATE DATABASE shop OWNER adit");
    let password = world.place.write("adit.password", "a password\n");
    fs::set_permissions(password, fs::Permissions::from_mode(0o600)).unwrap();
    let as_admin = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("ADIT_DOMAIN", &block.platform).env("ADIT_TOKEN_FILE", "tokens/admin.token");
        let psql = programs::find("psql");
        command.env("PATH", psql.parent().unwrap());
        finish(arguments[0], command, PATIENCE).success()
    };
    let target = format!("tcp://127.0.0.1:{}", postgres.port());
    as_admin(&["projects", "add", "shop"]);
    as_admin(&["links", "add", "shop", "gw-1", &target]);
    let mut said = String::new();
    for words in block.commands("secrets") {
        let arguments: Vec<_> = words[1..].iter().map(String::as_str).collect();
        said = as_admin(&arguments);
    }
    assert!(said.contains("current_user") && said.contains("v-"), "{said}");
    assert!(said.contains("the lease is revoked"), "{said}");
}

/// The marked blocks of README, on ports of this world's own.
struct Block {
    text: String,
    platform: String,
}

impl Block {
    fn new(world: &World, postgres: &Postgres) -> Self {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md");
        let [platform, relay] = [0; 2].map(|_| world.address("127.0.0.1").to_string());
        let database = format!("127.0.0.1:{}", postgres.port());
        let mut text = fs::read_to_string(readme).unwrap();
        for (port, address) in [("8443", &platform), ("3478", &relay), ("5432", &database)] {
            text = text.replace(&format!("127.0.0.1:{port}"), address);
        }
        Self { text, platform: format!("https://{platform}") }
    }

    /// The words of each command of a block, without comments.
    fn commands(&self, mark: &str) -> Vec<Vec<String>> {
        let (_, rest) = self.text.split_once(&format!("<!-- {mark} -->\n```sh\n")).unwrap();
        let block = rest.split("```").next().unwrap();
        block.lines().map(|line| words(line.split(" #").next().unwrap())).collect()
    }
}

/// The words as a shell takes them: what stands in quotes is one.
fn words(line: &str) -> Vec<String> {
    let part = |(number, part): (usize, &str)| match number % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    };
    line.split('\'').enumerate().flat_map(part).collect()
}
