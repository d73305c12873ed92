//! `adit gateway uninstall`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::Args;

use super::paths::Paths;
use super::systemd::Systemd;
use super::unit;
use crate::exit::{Exit, Failure};
use crate::service::say;

/// Take the gateway's service off this machine.
///
/// Stops it, and removes its unit, token, file and state, and the binary if `install` put it there and no other unit
/// names it. The platform keeps the instance until an administrator revokes it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  adit gateway uninstall --keep-state")]
pub(crate) struct Uninstall {
    /// Let the state stay: with it, a gateway that is installed again is the same instance.
    #[arg(long)]
    keep_state: bool,
    /// Uninstall below this directory, from the image of a machine, instead of from this one.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

pub(crate) fn uninstall(uninstall: &Uninstall) -> Result<(), Failure> {
    let paths = Paths::new(uninstall.root.as_deref())?;
    let systemd = Systemd::of(&paths);
    let mut removed = Vec::new();
    if let Ok(unit) = fs::read_to_string(paths.unit()) {
        systemd.disable()?;
        remove(&paths.unit(), &mut removed)?;
        systemd.reload()?;
        remove_binary(&paths, &unit, &mut removed)?;
    }
    for path in [paths.token(), paths.config(), paths.ca()] {
        remove(&path, &mut removed)?;
    }
    if !uninstall.keep_state {
        remove_state(&paths, &mut removed)?;
    }
    for path in [paths.token(), paths.state()[0].clone(), paths.state()[1].clone()] {
        remove_empty(path.parent().expect("it is in a directory"));
    }
    match removed.is_empty() {
        true => say(format_args!("there was nothing to uninstall")),
        false => say(format_args!(
            "uninstalled the gateway: removed {}\n next: on an administrator's machine, adit gateways show NAME, then \
             adit gateways revoke NAME INSTANCE",
            removed.join(", ")
        )),
    }
    Ok(())
}

/// Removes the binary that came with `unit`, unless something else runs it.
fn remove_binary(paths: &Paths, unit: &str, removed: &mut Vec<String>) -> Result<(), Failure> {
    let Some(binary) = unit::binary(unit).filter(|_| unit::owns_binary(unit)) else { return Ok(()) };
    if let Some(other) = other_user(paths, &binary) {
        say(format_args!("{binary} stays: {other} uses it"));
        return Ok(());
    }
    remove(&paths.below(Path::new(&binary)), removed)
}

/// A unit that names `binary`.
fn other_user(paths: &Paths, binary: &str) -> Option<String> {
    let units = fs::read_dir(paths.units()).ok()?.flatten();
    let mut others = units.filter(|unit| {
        fs::read_to_string(unit.path()).is_ok_and(|text| text.contains(&format!("{binary} ")))
    });
    others.next().map(|unit| unit.file_name().to_string_lossy().into_owned())
}

fn remove_state(paths: &Paths, removed: &mut Vec<String>) -> Result<(), Failure> {
    for path in paths.state() {
        // Where the user of the service exists only while it runs, one of the two is a link to the other.
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {
                fs::remove_dir_all(&path).map_err(|error| cannot(&path, &error))?;
                removed.push(path.display().to_string());
            }
            Ok(_) => remove(&path, removed)?,
            Err(_) => {}
        }
    }
    Ok(())
}

fn remove(path: &Path, removed: &mut Vec<String>) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Ok(()) => removed.push(path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(path, &error)),
    }
    Ok(())
}

/// Removes a directory of ours that nothing else is in.
fn remove_empty(directory: &Path) {
    let _ = fs::remove_dir(directory);
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Other, format!("{} can't be removed: {error}", path.display()))
        .next("remove it by hand, or try again")
}
