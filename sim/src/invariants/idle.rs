//! Machines at rest.

use std::time::Duration;

use super::{Broken, Law};
use crate::plan::Stage;

/// How often a machine may wake in a second at rest, for itself and for each connection that it keeps alive. One wakes
/// twice in five seconds to ask for a sign of life and to acknowledge one, and some more for the timers behind that.
const WAKES: f64 = 1.0;

/// The wake-ups of all machines at one moment.
pub(crate) struct Rest {
    since: Duration,
    wakes: Vec<u64>,
}

impl Rest {
    /// The world is at rest from now on.
    pub(crate) fn begin(stage: &Stage) -> Self {
        Self { since: stage.world.elapsed(), wakes: wakes(stage) }
    }

    /// The rest is over: nobody woke more often than it had to.
    pub(crate) fn end(&self, stage: &Stage) -> Result<(), Broken> {
        let time = (stage.world.elapsed() - self.since).as_secs_f64();
        let peers = 1 + stage.gateways.len().max(stage.connectors.len());
        for (place, (after, before)) in wakes(stage).iter().zip(&self.wakes).enumerate() {
            let rate = (after - before) as f64 / time;
            if rate > WAKES * peers as f64 {
                let how =
                    format!("machine {place} of relays, gateways, connectors wakes {rate:.1} times a second");
                return Err(Broken { law: Law::Spin, at: stage.world.elapsed(), how });
            }
        }
        Ok(())
    }
}

fn wakes(stage: &Stage) -> Vec<u64> {
    let relays = stage.relays.iter().map(|&relay| stage.world.wakes(relay));
    let gateways = stage.gateways.iter().map(|&gateway| stage.world.wakes(gateway));
    let connectors = stage.connectors.iter().map(|&connector| stage.world.wakes(connector));
    relays.chain(gateways).chain(connectors).collect()
}
