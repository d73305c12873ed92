//! Programs of this workspace, built if need be.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program or example `name`, whichever crate it belongs to.
///
/// # Panics
/// When there is none, or it does not compile.
#[must_use]
pub fn executable(name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    // All at once, as `cargo xtask test` does: another selection has other features, and compiles anew.
    build.args(["build", "--quiet", "--workspace", "--bins", "--examples", "--message-format=json"]);
    build.args((!cfg!(debug_assertions)).then_some("--release"));
    let output = build.stderr(Stdio::inherit()).output().expect("cargo");
    assert!(output.status.success(), "{name} does not compile");
    let text = String::from_utf8(output.stdout).expect("cargo writes JSON");
    let found = text.lines().filter_map(built).find(|path| path.file_stem().is_some_and(|stem| stem == name));
    found.unwrap_or_else(|| panic!("cargo has built no {name}"))
}

fn built(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    message.get("executable")?.as_str().map(|path| Path::new(path).to_owned())
}
