//! README's way from an empty directory to a healthy gateway, as it stands there, but for the ports.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use adit_tests::adit::World;
use adit_tests::process::{Running, finish};

/// How long the last command may wait for the gateway.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn five_commands_lead_from_an_empty_directory_to_a_healthy_gateway() {
    let world = World::new();
    let commands = quickstart(&world);
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
}

/// The commands of the marked block, on ports of this world's own.
fn quickstart(world: &World) -> Vec<Vec<String>> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md");
    let text = fs::read_to_string(readme).unwrap();
    let (_, rest) = text.split_once("<!-- quickstart -->\n```sh\n").unwrap();
    let mut block = rest.split("```").next().unwrap().to_owned();
    for port in ["8443", "3478"] {
        let address = world.address("127.0.0.1").to_string();
        block = block.replace(&format!("127.0.0.1:{port}"), &address);
    }
    block.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}
