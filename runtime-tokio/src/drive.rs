//! The task that turns a hub.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adit_driver::{Closer, Machine, Request, Shared};
use tokio::time::Sleep;

use crate::reactor::{TokioReactor, mark_ready};

/// How many turns one poll of the task takes before it lets others run.
const TURNS: usize = 8;

/// Turns the hub until it is closed. `serve` is given what the hub asks of the runtime.
pub(crate) async fn drive<M: Machine>(shared: Arc<Shared<M, TokioReactor>>, mut serve: impl FnMut(Request)) {
    let _closer = Closer::new(Arc::clone(&shared));
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    poll_fn(|cx| {
        shared.set_driver(cx.waker());
        for _ in 0..TURNS {
            let (turn, requests) = shared.turn(Instant::now(), |hub| mark_ready(hub, cx));
            requests.into_iter().for_each(&mut serve);
            if shared.with(|hub| hub.is_closed()) {
                return Poll::Ready(());
            }
            if turn.more {
                break;
            }
            // Only now has every socket that holds nothing said so, and registers the task to be woken.
            let ready = shared.with(|hub| {
                mark_ready(hub, cx);
                hub.is_ready()
            });
            if !ready && is_early(sleep.as_mut(), turn.deadline, cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Sets the alarm; whether the deadline is still to come.
fn is_early(mut sleep: Pin<&mut Sleep>, deadline: Option<Instant>, cx: &mut Context<'_>) -> bool {
    let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else { return true };
    if sleep.deadline() != deadline {
        sleep.as_mut().reset(deadline);
    }
    sleep.poll(cx).is_pending()
}
