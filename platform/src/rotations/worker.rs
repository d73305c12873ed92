//! Who changes passwords when that is due: every platform instance, each one at a time.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::root::Root;
use super::turn::Turn;
use crate::api::App;
use crate::fleet::duties::jittered;
use crate::servers::reach::Failure;
use crate::store::StoreError;
use crate::store::databases::root;
use crate::store::rotations::turns;

/// Whose wish it is that what is due is done.
const ACTOR: &str = "platform";

/// Works for ever.
pub(crate) async fn work(app: Arc<App>) {
    let mut at_work = JoinSet::new();
    loop {
        if let Err(error) = begin_due(&app, &mut at_work).await {
            tracing::warn!(%error, "what rotations are due is not known; it is asked again");
        }
        let pause = tokio::time::sleep(jittered(app.config.times.lease_duties));
        tokio::select! {
            () = pause => {}
            () = app.rotations.bell.notified() => {}
        }
        while at_work.try_join_next().is_some() {}
    }
}

/// Claims what is due, as far as there are hands; what fails is noted and tried again.
async fn begin_due(app: &Arc<App>, at_work: &mut JoinSet<()>) -> Result<(), StoreError> {
    let free = |at_work: &JoinSet<()>| {
        let free = app.config.limits.lease_workers.max(1).saturating_sub(at_work.len());
        u32::try_from(free).unwrap_or(u32::MAX)
    };
    for (organisation, id) in root::unsettled(&app.store, free(at_work)).await? {
        if let Some(root) = kept(Root::claim(app, &organisation, &id, true, ACTOR).await)? {
            let app = app.clone();
            at_work.spawn(async move { drop(root.run(&app).await) });
        }
    }
    for (organisation, id, known) in turns::due(&app.store, free(at_work)).await? {
        app.config.faults.reach("rotate:due").await;
        if let Some(turn) = kept(Turn::claim(app, &organisation, &id, known, ACTOR).await)? {
            let app = app.clone();
            at_work.spawn(async move { drop(turn.run(&app).await) });
        }
    }
    Ok(())
}

/// What has gone meanwhile is nobody's any more.
fn kept<T>(claimed: Result<Option<T>, Failure>) -> Result<Option<T>, StoreError> {
    match claimed {
        Ok(claimed) => Ok(claimed),
        Err(Failure::Store(error)) => Err(error),
        Err(_) => Ok(None),
    }
}
