//! Streams of a shared hub.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use adit_core::io::{Id, PipeId};
use adit_driver::{Closer, Hub, Shared, Stream};
use common::{Direct, Echo};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn shared() -> (Arc<Shared<Echo, Direct>>, Stream<Echo, Direct>) {
    let shared = Shared::new(Hub::new(Echo::default(), Direct::default(), Instant::now()));
    let stream = Stream::new(Arc::clone(&shared), PipeId::new(0, 0));
    (shared, stream)
}

#[test]
fn a_reader_is_woken_by_the_turn_after_the_write() {
    let (shared, stream) = shared();
    let (reader, driver) = (Arc::new(Count::default()), Arc::new(Count::default()));
    shared.set_driver(&Waker::from(Arc::clone(&driver)));
    let waker = Waker::from(Arc::clone(&reader));
    let cx = Context::from_waker(&waker);

    let mut buffer = [0; 16];
    assert!(stream.poll_read(&cx, &mut buffer).is_pending());
    assert!(matches!(stream.poll_write(&cx, b"hello, world"), Poll::Ready(Ok(8))));
    assert!(stream.poll_write(&cx, b"orld").is_pending());
    assert!(driver.take() > 0);
    assert_eq!(reader.take(), 0);

    shared.turn(Instant::now(), |_| ());
    assert_eq!(reader.take(), 1);
    assert!(matches!(stream.poll_read(&cx, &mut buffer), Poll::Ready(Ok(8))));
    assert_eq!(&buffer[..8], b"hello, w");
}

#[test]
fn a_finished_stream_reads_to_its_end() {
    let (_shared, stream) = shared();
    let cx = Context::from_waker(Waker::noop());
    assert!(matches!(stream.poll_write(&cx, b"last"), Poll::Ready(Ok(4))));
    assert!(matches!(stream.poll_shutdown(&cx), Poll::Ready(Ok(()))));
    let mut buffer = [0; 16];
    assert!(matches!(stream.poll_read(&cx, &mut buffer), Poll::Ready(Ok(4))));
    assert!(matches!(stream.poll_read(&cx, &mut buffer), Poll::Ready(Ok(0))));
}

#[test]
fn dropping_a_stream_closes_its_pipe_once() {
    let (shared, stream) = shared();
    drop(stream);
    assert_eq!(shared.with(|hub| hub.machine().closed), 1);
}

#[test]
fn closing_the_hub_ends_every_wait() {
    let (shared, stream) = shared();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let cx = Context::from_waker(&waker);
    let mut buffer = [0; 1];
    assert!(stream.poll_read(&cx, &mut buffer).is_pending());
    assert!(shared.poll_event(&cx).is_pending());
    shared.close();
    assert_eq!(count.take(), 2);
    assert!(matches!(shared.poll_event(&cx), Poll::Ready(None)));
    let Poll::Ready(Err(error)) = stream.poll_read(&cx, &mut buffer) else { panic!("still waiting") };
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
}

#[test]
fn a_driver_that_panics_leaves_nobody_waiting() {
    let (shared, stream) = shared();
    let closer = Closer::new(Arc::clone(&shared));
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let cx = Context::from_waker(&waker);
    assert!(stream.poll_read(&cx, &mut [0]).is_pending());
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _closer = closer;
        shared.turn(Instant::now(), |_| panic!("a bug"));
    }))
    .unwrap_err();
    assert_eq!(count.take(), 1);
    assert!(matches!(shared.poll_event(&cx), Poll::Ready(None)));
}
