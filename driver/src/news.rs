//! The life-cycle of a gateway or a connector as a stream of events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::drive::Driven;
use crate::events::Notice;
use crate::machine::Machine;
use crate::runtime::Runtime;

/// The events of a gateway or a connector, until it has ended. It keeps neither alive.
///
/// Each event goes to whoever asks first: one task at a time may wait, here or in a call of `event`. Dropping this
/// loses no event.
pub struct News<M: Machine, R: Runtime>(Arc<Driven<M, R>>);

impl<M: Machine, R: Runtime> News<M, R> {
    pub(crate) fn of(shared: &Arc<Driven<M, R>>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl<M: Machine, R: Runtime> Stream for News<M, R> {
    type Item = Notice<M::Event>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice<M::Event>>> {
        self.0.poll_event(cx)
    }
}
