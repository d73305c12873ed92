//! Where other people's programs are.

use std::path::{Path, PathBuf};

/// The path of `program`: from the newest PostgreSQL that Debian keeps apart, from `PATH`, or from a place of
/// system programs.
///
/// # Panics
/// When it is nowhere; the message says what installs it.
#[must_use]
pub fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = postgresql_places();
    places.extend(std::env::split_paths(&path));
    places.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = places.into_iter().map(|place| place.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{program} is not installed; `cargo xtask test` installs what the tests need")
    })
}

/// Newest first: the wrappers in `/usr/bin` need a cluster of the system, the programs themselves do not.
fn postgresql_places() -> Vec<PathBuf> {
    let Ok(versions) = Path::new("/usr/lib/postgresql").read_dir() else { return Vec::new() };
    let mut places: Vec<_> = versions.flatten().map(|version| version.path().join("bin")).collect();
    places.sort();
    places.reverse();
    places
}
