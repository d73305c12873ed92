//! The patches of `tests/mutants` still apply: one that does not breaks nothing, and shows nothing.
//! `cargo xtask mutants` applies each and shows which test notices.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_mutant_still_applies_and_says_what_it_breaks() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let entries = fs::read_dir(workspace.join("tests/mutants")).unwrap();
    let patches: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(patches.len() >= 20, "{} mutants", patches.len());
    for patch in patches {
        let text = fs::read_to_string(&patch).unwrap();
        let story = text.lines().next().unwrap();
        assert!(story.ends_with('.') && !story.starts_with("diff "), "{} has no story", patch.display());
        let check =
            Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(workspace).output();
        let check = check.expect("git is installed");
        let why = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "write {} anew for what has changed: {why}", patch.display());
    }
}
