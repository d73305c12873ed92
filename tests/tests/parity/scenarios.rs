//! What must be the same everywhere.

use std::time::Duration;

use adit_core::tunnel::RejectCode;

use crate::stage::{End, FLOOD, Heard, SOURCE, Stage, What, pattern};

pub(crate) fn bytes_go_to_a_target_and_come_back<S: Stage>() {
    let mut stage = S::start();
    let stream = stage.open(What::Echo).unwrap();
    assert!(stage.exchange(vec![(stream, pattern(100_000))]) == [pattern(100_000)]);
    stage.becomes_quiet();
}

pub(crate) fn the_client_may_finish_first<S: Stage>() {
    let mut stage = S::start();
    let mut stream = stage.open(What::Echo).unwrap();
    stage.write(&mut stream, b"a question");
    stage.finish(&mut stream);
    stage.wait(Duration::from_millis(200));
    assert_eq!(stage.read_to_end(&mut stream).unwrap(), b"a question");
    stage.drop(stream);
    stage.becomes_quiet();
}

pub(crate) fn the_target_may_finish_first<S: Stage>() {
    let mut stage = S::start();
    let mut stream = stage.open(What::Source).unwrap();
    assert!(stage.read_to_end(&mut stream).unwrap() == pattern(SOURCE));
    stage.write(&mut stream, b"thank you");
    stage.finish(&mut stream);
    let told = Heard { bytes: b"thank you".to_vec(), end: Some(End::Finished) };
    stage.until("the target has heard all", |stage| stage.heard() == told);
    stage.drop(stream);
    stage.becomes_quiet();
}

pub(crate) fn two_hundred_streams_run_at_once<S: Stage>() {
    let mut stage = S::start();
    let bytes = |number: usize| pattern(20_000 + number);
    let streams = (0..200).map(|number| (stage.open(What::Echo).unwrap(), bytes(number))).collect();
    let back = stage.exchange(streams);
    assert!(back.iter().enumerate().all(|(number, back)| *back == bytes(number)));
    stage.becomes_quiet();
}

pub(crate) fn twenty_megabytes_go_each_way<S: Stage>() {
    let mut stage = S::start();
    let stream = stage.open(What::Echo).unwrap();
    let bytes = pattern(20_000_000);
    assert!(stage.exchange(vec![(stream, bytes.clone())]) == [bytes]);
    stage.becomes_quiet();
}

pub(crate) fn a_refused_target_is_told<S: Stage>() {
    is_rejected::<S>(What::Refuses, RejectCode::Refused);
}

pub(crate) fn a_denied_target_is_told<S: Stage>() {
    is_rejected::<S>(What::Denied, RejectCode::Denied);
}

pub(crate) fn an_unreachable_target_is_told<S: Stage>() {
    is_rejected::<S>(What::Unreachable, RejectCode::Unreachable);
}

fn is_rejected<S: Stage>(what: What, code: RejectCode) {
    let mut stage = S::start();
    assert_eq!(stage.open(what).err(), Some(code));
    stage.becomes_quiet();
    assert!(stage.open(What::Echo).is_ok(), "the others are still there");
}

pub(crate) fn a_reader_that_waits_holds_the_target_back<S: Stage>() {
    let mut stage = S::start();
    let mut stream = stage.open(What::Flood).unwrap();
    stage.wait(Duration::from_secs(2));
    let said = stage.said();
    assert!(said < FLOOD * 3 / 4, "the target could write {said} bytes that nobody reads");
    assert_eq!(stage.read_to_end(&mut stream).unwrap().len(), FLOOD);
    stage.finish(&mut stream);
    stage.drop(stream);
    stage.becomes_quiet();
}

pub(crate) fn a_dropped_stream_resets_its_target<S: Stage>() {
    let mut stage = S::start();
    let mut stream = stage.open(What::Sink).unwrap();
    stage.write(&mut stream, b"half a request");
    stage.until("the target hears it", |stage| stage.heard().bytes == b"half a request");
    stage.drop(stream);
    stage.until("the target sees a reset", |stage| stage.heard().end == Some(End::Reset));
    stage.becomes_quiet();
}

pub(crate) fn a_wish_that_is_dropped_leaves_nothing<S: Stage>() {
    let mut stage = S::start();
    for what in [What::Echo, What::Refuses, What::Denied] {
        stage.wish(what);
    }
    stage.becomes_quiet();
    let stream = stage.open(What::Echo).unwrap();
    stage.wish(What::Echo);
    assert!(stage.exchange(vec![(stream, pattern(100))]) == [pattern(100)]);
    stage.becomes_quiet();
}

pub(crate) fn streams_are_opened_again_after_a_gateways_restart<S: Stage>() {
    let mut stage = S::start();
    let mut old = stage.open(What::Echo).unwrap();
    stage.restart_gateway();
    assert_eq!(stage.read_to_end(&mut old), Err(End::Reset));
    stage.drop(old);
    let new = stage.open(What::Echo).unwrap();
    assert!(stage.exchange(vec![(new, pattern(1000))]) == [pattern(1000)]);
    stage.becomes_quiet();
}

pub(crate) fn streams_are_opened_again_after_a_relays_restart<S: Stage>() {
    let mut stage = S::start();
    let old = stage.open(What::Echo).unwrap();
    stage.restart_relay();
    let new = stage.open(What::Echo).unwrap();
    assert!(stage.exchange(vec![(new, pattern(1000))]) == [pattern(1000)]);
    stage.drop(old);
    stage.until("the connector forgets both", |stage| stage.streams().0 == 0);
}

pub(crate) fn a_gateway_that_is_shut_down_gives_its_allocation_back<S: Stage>() {
    let mut stage = S::start();
    let mut stream = stage.open(What::Echo).unwrap();
    assert_eq!(stage.allocations(), 1);
    stage.shut_down_gateway();
    stage.until("the allocation is gone", |stage| stage.allocations() == 0);
    assert_eq!(stage.read_to_end(&mut stream), Err(End::Reset));
}
