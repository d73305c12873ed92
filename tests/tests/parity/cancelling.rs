//! Futures that are dropped, at every point at which they can be.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use adit_driver::{Notice, forward};

use crate::embedding::until;
use crate::real::{Real, a_connector, block_on, poll_times};
use crate::runtimes::Parlour;
use crate::stage::{SOURCE, Stage, What, pattern};

/// How often a future is polled at most before it must have been done.
const POLLS: usize = 1000;

pub(crate) fn an_open_that_is_dropped_at_any_poll_leaves_nothing<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let target = stage.targets.address(What::Echo).parse().unwrap();
    for polls in 0..POLLS {
        // A new connector each time, so that connecting is among the points.
        let connector = a_connector(&stage.runtime, &stage.papers);
        let key = connector.gateway("gw-1", stage.gateway().addresses()).unwrap();
        let opened = block_on(&stage.runtime, poll_times(polls, connector.open(key, &target)));
        let done = opened.is_some();
        drop(opened);
        until("the connector has no stream", || connector.streams() == 0);
        if done {
            break;
        }
        assert!(polls + 1 < POLLS, "it is never done");
    }
    stage.becomes_quiet();
    works(&mut stage);
}

pub(crate) fn an_open_that_is_dropped_at_any_time_leaves_nothing<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let targets = [What::Echo, What::Flood, What::Refuses].map(|what| stage.targets.address(what));
    let targets = targets.map(|target| target.parse().unwrap());
    for step in 0..40 {
        let connector = a_connector(&stage.runtime, &stage.papers);
        let key = connector.gateway("gw-1", stage.gateway().addresses()).unwrap();
        block_on(&stage.runtime, async {
            let wishes = targets.each_ref().map(|target| Box::pin(connector.open(key, target)));
            let [a, b, c] = wishes;
            let all = smol::future::zip(a, smol::future::zip(b, c));
            let time = smol::Timer::after(Duration::from_micros(250 * step));
            smol::future::or(async { drop(all.await) }, async {
                time.await;
            })
            .await;
        });
        until("the connector has no stream", || connector.streams() == 0);
    }
    stage.becomes_quiet();
    works(&mut stage);
}

pub(crate) fn reads_that_are_dropped_lose_no_byte<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let mut stream = stage.open(What::Source).unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 777]);
    for polls in (0..3).cycle() {
        let read = poll_times(polls, R::read_some(&mut stream, &mut buffer));
        match block_on(&stage.runtime, read) {
            Some(Ok(0)) => break,
            Some(count) => all.extend_from_slice(&buffer[..count.unwrap()]),
            None => {}
        }
    }
    assert!(all == pattern(SOURCE));
    stage.finish(&mut stream);
    drop(stream);
    stage.becomes_quiet();
}

pub(crate) fn writes_that_are_dropped_lose_no_byte<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let mut stream = stage.open(What::Sink).unwrap();
    let bytes = pattern(5_000_000);
    let (mut rest, mut polls) = (&bytes[..], (0..3).cycle());
    while !rest.is_empty() {
        let polls = polls.next().unwrap();
        if let Some(count) = block_on(&stage.runtime, poll_times(polls, R::write_some(&mut stream, rest))) {
            rest = &rest[count.unwrap()..];
        }
    }
    for polls in 0..3 {
        let _ = block_on(&stage.runtime, poll_times(polls, R::finish(&mut stream)));
    }
    until("all has arrived", || stage.heard().end.is_some());
    assert!(stage.heard().bytes == bytes);
    drop(stream);
    stage.becomes_quiet();
}

pub(crate) fn a_shutdown_that_is_dropped_ends_the_gateway_all_the_same<R: Parlour>() {
    let mut stage = Real::<R>::start();
    for polls in 0..POLLS {
        let mut stream = stage.open(What::Echo).unwrap();
        let gateway = stage.gateway.take().unwrap();
        let done = block_on(&stage.runtime, poll_times(polls, gateway.shut_down())).is_some();
        until("the allocation is gone", || stage.allocations() == 0);
        assert!(stage.read_to_end(&mut stream).is_err());
        if done {
            return;
        }
        stage.start_gateway();
    }
    panic!("it is never done");
}

pub(crate) fn a_wait_for_events_that_is_dropped_loses_none<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let mut seen = 0;
    for polls in (0..3).cycle() {
        let connector = stage.connector.clone();
        match block_on(&stage.runtime, smol::future::or(poll_times(polls, connector.event()), async { None }))
        {
            Some(Some(Notice::Event(_))) => seen += 1,
            Some(Some(Notice::Lost(count))) => panic!("{count} were lost"),
            Some(None) => break,
            None if seen == 0 => drop(stage.open(What::Echo).unwrap()),
            None => stage.connector.shut_down(),
        }
    }
    assert!(seen > 0, "the connection was told");
}

pub(crate) fn a_drain_that_is_dropped_goes_on<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let stream = stage.open(What::Echo).unwrap();
    let drain = stage.gateway().drain(Duration::from_secs(60));
    assert_eq!(block_on(&stage.runtime, poll_times(1, drain)), None);
    assert!(stage.open(What::Echo).is_err());
    drop(stream);
    assert!(block_on(&stage.runtime, stage.gateway().drain(Duration::MAX)));
}

pub(crate) fn a_forwarding_that_is_dropped_frees_its_port<R: Parlour>() {
    let mut stage = Real::<R>::start();
    let target = || stage.targets.address(What::Echo).parse().unwrap();
    let mut kept = Vec::new();
    for polls in 1..4 {
        let (listener, address) = block_on(&stage.runtime, R::listen());
        let (connector, key, target) = (stage.connector.clone(), stage.key, target());
        // One client for each poll but the last, which drops the future.
        let clients = std::thread::spawn(move || {
            let clients = (0..polls).map(|_| {
                std::thread::sleep(Duration::from_millis(20));
                TcpStream::connect(address)
            });
            clients.collect::<Vec<_>>()
        });
        let forwarding = async {
            let here = async { forward(listener, connector, key, target, |_| {}).await };
            poll_times(polls, here).await
        };
        assert!(block_on(&stage.runtime, forwarding).is_none());
        kept.extend(clients.join().unwrap().into_iter().flatten());
        until("nobody listens", || TcpStream::connect(address).is_err());
    }
    // Those that were accepted live on.
    let served = kept.iter_mut().filter_map(|tcp| {
        tcp.write_all(b"still here").ok()?;
        let mut back = [0; 10];
        tcp.read_exact(&mut back).ok()?;
        (back == *b"still here").then_some(())
    });
    assert!(served.count() > 0);
    drop(kept);
    stage.becomes_quiet();
}

/// Streams are opened and closed as ever.
fn works<R: Parlour>(stage: &mut Real<R>) {
    let stream = stage.open(What::Echo).unwrap();
    assert!(stage.exchange(vec![(stream, pattern(1000))]) == [pattern(1000)]);
    stage.becomes_quiet();
}
