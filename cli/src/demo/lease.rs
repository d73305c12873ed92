//! The lease: a user that the platform makes through the tunnel, that reads the row, and that is gone afterwards.

use std::time::Duration;

use adit_platform::words::IssuedLease;
use anyhow::{Result, ensure};

use super::stop::Stop;
use super::world::World;
use crate::log::tell;

/// How long psql may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Defines a dynamic secret, leases it, reads the marked row as the new user through the tunnel, and revokes the lease.
/// The user's name.
///
/// # Errors
/// When a step fails, or the user is there when it should not be, or the other way round.
pub(super) fn show(world: &World, stop: &Stop) -> Result<String> {
    let parts = world.parts(stop);
    tell(format_args!("defining the database and a dynamic secret, whose users may read …"));
    parts.define(world.postgres.address, &world.postgres.password)?;
    tell(format_args!("leasing it: the platform makes a user through the tunnel …"));
    let issued = parts.lease()?;
    let user = &issued.lease.username;
    ensure!(is_there(world, user, stop)?, "the server knows no user {user:?}");
    let row = read_row(world, &issued, stop)?;
    let expected = format!("{user} {}", world.marker);
    ensure!(row == expected, "the leased user reads {row:?}, not {expected:?}");
    tell(format_args!("revoking the lease …"));
    parts.revoke(&issued.lease.id)?;
    ensure!(!is_there(world, user, stop)?, "the user {user:?} is still there after its lease was revoked");
    Ok(user.clone())
}

/// Asked without the tunnel, of the server's own list.
fn is_there(world: &World, user: &str, stop: &Stop) -> Result<bool> {
    let mut psql = world.postgres.programs.psql();
    psql.args(["-c", "SELECT rolname FROM pg_roles"]);
    world.postgres.direct(&mut psql, world.postgres.address);
    let said = world.finish("psql", psql, PATIENCE, stop)?;
    Ok(said.lines().any(|line| line == user))
}

fn read_row(world: &World, issued: &IssuedLease, stop: &Stop) -> Result<String> {
    let mut psql = world.postgres.programs.psql();
    psql.args(["-c", "SELECT current_user || ' ' || marker FROM greeting"]);
    world.postgres.direct(&mut psql, world.entrance);
    psql.env("PGUSER", &issued.lease.username).env("PGPASSWORD", &issued.password);
    let said = world.finish("psql as the leased user", psql, PATIENCE, stop)?;
    Ok(said.trim().to_owned())
}
