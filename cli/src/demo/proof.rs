//! The proof: a row, a benchmark and a leased user through the tunnel, and a tap that saw nothing of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::lease;
use super::postgres::usual_round_trip;
use super::stop::Stop;
use super::world::World;
use crate::log::tell;

/// Connections of pgbench.
pub(crate) const CLIENTS: u16 = 4;

/// What was shown.
#[derive(Debug)]
pub(crate) struct Proof {
    /// The row, as psql printed it.
    pub(crate) row: String,
    /// Transactions a second.
    pub(crate) rate: f64,
    /// Milliseconds that a transaction took.
    pub(crate) latency: f64,
    pub(crate) seconds: u16,
    pub(crate) direct: Duration,
    /// The user that was leased, has read the row, and is gone.
    pub(crate) user: String,
}

/// Reads a marked row through the tunnel, lets pgbench work through it, and leases a user that reads the row too.
///
/// # Errors
/// When a program fails, the row is not the one that was written, or the tap saw the marker.
pub(crate) fn show(world: &mut World, seconds: u16, stop: &Stop) -> Result<Proof> {
    tell(format_args!("writing a marked row into the database, and pgbench's tables …"));
    prepare(world, stop)?;
    tell(format_args!("reading the row through the tunnel …"));
    let row = read_row(world, stop)?;
    ensure!(row == world.marker, "the row that came through the tunnel is {row:?}, not {:?}", world.marker);
    tell(format_args!("running pgbench through the tunnel for {seconds} s …"));
    let (rate, latency) = benchmark(world, seconds, stop)?;
    let direct = usual_round_trip(world.postgres.address)?;
    let user = lease::show(world, stop)?;
    world.check()?;
    let sight = world.tap.sight();
    ensure!(sight.bytes > 0, "nothing passed between gateway and relay: the row took another way");
    ensure!(sight.markers == 0, "the marker was seen between gateway and relay");
    Ok(Proof { row, rate, latency, seconds, direct, user })
}

/// Straight into the database, so that the marker passes the tunnel in one direction only: out.
fn prepare(world: &World, stop: &Stop) -> Result<()> {
    let address = world.postgres.address;
    let insert = format!("INSERT INTO greeting VALUES ('{}')", world.marker);
    let mut psql = world.postgres.programs.psql();
    psql.args(["-c", "CREATE TABLE greeting (marker text)", "-c", &insert]);
    world.postgres.direct(&mut psql, address);
    world.finish("psql", psql, Duration::from_secs(30), stop)?;
    let mut tables = world.postgres.programs.pgbench();
    tables.args(["-i", "-q", "-s", "1"]);
    world.postgres.direct(&mut tables, address);
    world.finish("pgbench", tables, Duration::from_secs(60), stop).map(drop)
}

fn read_row(world: &World, stop: &Stop) -> Result<String> {
    let mut psql = world.postgres.programs.psql();
    psql.args(["-c", "SELECT marker FROM greeting"]);
    world.postgres.direct(&mut psql, world.entrance);
    let said = world.finish("psql through the tunnel", psql, Duration::from_secs(30), stop)?;
    Ok(said.trim().to_owned())
}

fn benchmark(world: &World, seconds: u16, stop: &Stop) -> Result<(f64, f64)> {
    let mut pgbench = world.postgres.programs.pgbench();
    pgbench.args(["-n", "-j", "2", "-c", &CLIENTS.to_string(), "-T", &seconds.to_string()]);
    world.postgres.direct(&mut pgbench, world.entrance);
    let patience = Duration::from_secs(u64::from(seconds) + 30);
    let said = world.finish("pgbench through the tunnel", pgbench, patience, stop)?;
    read_figures(&said).with_context(|| format!("pgbench said nothing of its figures:\n{said}"))
}

/// Transactions a second, and milliseconds for each.
fn read_figures(said: &str) -> Option<(f64, f64)> {
    let figure = |name: &str| {
        let rest = said.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    Some((figure("tps = ")?, figure("latency average = ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_pgbench_are_read() {
        let said =
            "scaling factor: 1\nlatency average = 3.205 ms\ntps = 1247.9 (without initial connection time)\n";
        assert_eq!(read_figures(said), Some((1247.9, 3.205)));
        assert_eq!(read_figures("nothing"), None);
    }
}
