//! `adit demo`: the proof, and that nothing of it stays behind.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::time::Duration;

use adit_tests::adit::World;
use adit_tests::process::{Running, finish};
use rustix::process::Signal;

/// The demo with its files in the world's directory, so that what it leaves is seen.
fn demo(world: &World, arguments: &[&str]) -> std::process::Command {
    let mut command = world.command(&["demo", "--seconds", "1"]);
    command.args(arguments).env("TMPDIR", world.place.root());
    command
}

fn assert_nothing_is_left(world: &World) {
    let entries = world.place.root().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = entries.filter(|name| name.to_string_lossy().starts_with("adit-demo")).collect();
    assert!(left.is_empty(), "{left:?}");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    for process in processes {
        // Processes come and go; one that is gone has no command line to read.
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let ours = command.contains(&format!("{}/adit-demo", world.place.root().display()));
        assert!(!ours, "still there: {command}");
    }
}

#[test]
fn the_demo_shows_its_proof_and_ends() {
    let world = World::new();
    let said = finish("adit demo", demo(&world, &["--once"]), Duration::from_secs(120)).success();
    assert!(said.contains("a row through the tunnel    adit-marker-"), "{said}");
    assert!(said.contains("transactions/s"), "{said}");
    assert!(said.contains("the row's text among it     0 times"), "{said}");
    assert!(said.contains(": made, has read the row, is gone"), "{said}");
    assert_nothing_is_left(&world);
}

#[test]
fn the_demo_stays_up_until_it_is_told_to_end() {
    for signal in [Signal::INT, Signal::TERM] {
        let world = World::new();
        let mut running = Running::start("adit demo", demo(&world, &[]));
        let line = running.expect_line("psql -h 127.0.0.1");
        assert!(line.contains("PGPASSWORD="), "{line}");
        running.signal(signal);
        assert!(running.wait().success(), "{}", running.said());
        assert_nothing_is_left(&world);
    }
}

#[test]
fn a_demo_that_is_interrupted_early_leaves_nothing() {
    let world = World::new();
    let mut running = Running::start("adit demo", demo(&world, &["--once"]));
    running.expect_line("starting platform");
    running.signal(Signal::TERM);
    assert!(!running.wait().success(), "{}", running.said());
    assert_nothing_is_left(&world);
}
