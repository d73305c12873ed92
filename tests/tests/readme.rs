//! README's way by hand, as it stands there: what people copy must work.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::path::Path;

use adit_tests::adit::World;

#[test]
fn the_files_and_commands_of_the_readme_are_right() {
    let world = World::new();
    fs::remove_dir_all(world.place.path("ca")).unwrap();
    let commands = commands();
    assert!(commands.len() >= 6, "{commands:?}");
    for command in commands.iter().filter(|command| command.starts_with(&["adit".into(), "ca".into()])) {
        let arguments: Vec<_> = command[1..].iter().map(String::as_str).collect();
        let _ = world.adit(&arguments).success();
    }
    world.place.write("secret", "a secret");
    for (name, text) in ["gateway.toml", "connector.toml"].iter().zip(blocks("toml")) {
        world.place.write(name, &text);
        let _ = world.adit(&["config", "check", name]).success();
    }
}

#[test]
fn the_commands_of_the_readme_exist() {
    let world = World::new();
    for command in commands().iter().filter(|command| command[0] == "adit") {
        // Asked for help, a command says what is wrong with its flags before it says how it is used.
        let mut arguments: Vec<_> = command[1..].iter().map(String::as_str).collect();
        // What comes after `--` is another program's.
        let end = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        arguments.insert(end, "--help");
        let _ = world.adit(&arguments).success();
    }
}

/// The words of each command in the blocks for a shell, without comments.
fn commands() -> Vec<Vec<String>> {
    let text = blocks("sh").concat().replace("\\\n", " ");
    let lines = text.lines().map(|line| line.split(" #").next().unwrap());
    lines
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
        .collect()
}

fn blocks(language: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace().join("README.md")).unwrap();
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
