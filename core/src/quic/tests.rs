//! Pairs of endpoints in virtual time.

mod pair;
mod routing;

use std::sync::Arc;
use std::time::Duration;

use pair::{DELAY, End, Flying, Pair, client_seen, server_way, transfer, transmits};
use quinn_proto::Side;
use quinn_proto::crypto::ServerConfig;
use quinn_proto::transport_parameters::TransportParameters;

use super::*;
use crate::io::{Read, Write};
use crate::rand::Rng;

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

fn closed(event: &Event) -> Option<CloseReason> {
    match event {
        Event::Closed { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut rng = Rng::new([9; 32]);
    (0..len.div_ceil(64)).flat_map(|_| rng.bytes::<64>()).take(len).collect()
}

#[test]
fn both_ends_agree_on_who_speaks_and_how() {
    let (pair, here, there) = Pair::connected();
    let (client, server) = (&pair.client.endpoint, &pair.server.endpoint);
    assert_eq!(client.alpn(here).unwrap(), b"adit/1");
    assert_eq!(server.alpn(there).unwrap(), b"adit/1");
    assert_eq!(server.peer_certificates(there).unwrap().len(), 1);
    assert_eq!(server.way(there), Some(client_seen(5000)));
    assert_eq!(client.way(here), Some(server_way()));
    let (mut ours, mut theirs) = ([0; 32], [1; 32]);
    assert!(client.export(here, b"label", b"context", &mut ours));
    assert!(server.export(there, b"label", b"context", &mut theirs));
    assert_eq!(ours, theirs);
}

#[test]
fn a_first_flight_may_come_reordered_and_twice() {
    let mut pair = Pair::new();
    let mut count = 0;
    pair.rule = Some(Box::new(move |datagram: Flying| {
        count += 1;
        let first = if count % 2 == 1 { 2 * DELAY } else { DELAY };
        vec![(first, datagram.clone()), (3 * DELAY, datagram)]
    }));
    pair.connect();
    assert_eq!(pair.server.endpoint.len(), 1);
    // The ClientHello with its post-quantum key share takes two datagrams.
    let flight = pair.trace.iter().take_while(|(at, to_server, _)| *to_server && at.is_zero());
    assert_eq!(flight.count(), 2);
}

#[test]
fn a_mebibyte_arrives_in_both_directions() {
    let (mut pair, here, there) = Pair::connected();
    let stream = pair.client.endpoint.open(here).unwrap();
    let sent = noise(MIB);
    assert!(transfer(&mut pair, stream, (false, here), there, &sent) == sent);
    assert!(transfer(&mut pair, stream, (true, there), here, &sent) == sent);
    let stats = pair.server.endpoint.stats(there).unwrap();
    assert_eq!((stats.stream_bytes_received, stats.stream_bytes_sent), (MIB as u64, MIB as u64));
    assert!(stats.rtt >= 2 * DELAY && stats.mtu > 1200);
}

#[test]
fn a_lossy_network_loses_no_byte() {
    let (mut pair, here, there) = Pair::connected();
    let mut rng = Rng::new([4; 32]);
    pair.rule = Some(Box::new(move |datagram: Flying| match rng.below(20) {
        0 => vec![],
        1 => vec![(DELAY, datagram.clone()), (DELAY, datagram)],
        2 => vec![(2 * DELAY, datagram)],
        _ => vec![(DELAY, datagram)],
    }));
    let stream = pair.client.endpoint.open(here).unwrap();
    let sent = noise(MIB / 4);
    assert!(transfer(&mut pair, stream, (false, here), there, &sent) == sent);
}

#[test]
fn a_stream_outlives_a_nat_that_forgets() {
    let (mut pair, here, there) = Pair::connected();
    let stream = pair.client.endpoint.open(here).unwrap();
    let sent = noise(MIB);
    let mut datagrams = 0;
    // In the midst of it the NAT takes another port.
    pair.rule = Some(Box::new(move |mut datagram: Flying| {
        datagrams += 1;
        if datagram.to_server && datagrams > 100 {
            datagram.way = client_seen(6000);
        }
        vec![(DELAY, datagram)]
    }));
    assert!(transfer(&mut pair, stream, (false, here), there, &sent) == sent);
    assert_eq!(pair.server.endpoint.way(there), Some(client_seen(6000)));
    assert!(transfer(&mut pair, stream, (true, there), here, &sent) == sent);
}

#[test]
fn a_forged_datagram_does_not_move_the_way() {
    let (mut pair, here, there) = Pair::connected();
    pair.stream(here);
    let genuine = pair.last_to_server.clone().unwrap();
    let thief = Way { via: 3, remote: "192.0.2.66:66".parse().unwrap() };
    // One that was heard before, and one with our connection ID and a broken seal.
    pair.inject(Flying { way: thief, ..genuine.clone() });
    let mut broken = genuine.clone();
    *broken.bytes.last_mut().unwrap() ^= 1;
    pair.inject(Flying { way: thief, ..broken });
    pair.run(SECOND);
    assert_eq!(pair.server.endpoint.way(there), Some(client_seen(5000)));
}

#[test]
fn stragglers_do_not_move_the_way_back() {
    let (mut pair, here, there) = Pair::connected();
    let stream = pair.stream(here);
    let old = pair.client_seen;
    // The next datagram takes its time, and arrives after one by the new way.
    pair.rule = Some(Box::new(|datagram| {
        vec![(if datagram.way.remote.port() == 5000 { 2 * DELAY } else { DELAY }, datagram)]
    }));
    pair.client.endpoint.write(here, stream, b"late");
    pair.flush();
    pair.client_seen = client_seen(6000);
    pair.client.endpoint.write(here, stream, b"early");
    pair.run(5 * DELAY);
    assert_ne!(pair.server.endpoint.way(there), Some(old));
}

#[test]
fn a_wrong_client_certificate_is_refused_without_a_word_too_much() {
    let mut pair = Pair::new();
    let stranger = pair.tls.stranger.clone();
    pair.client.endpoint.connect(pair.now, server_way(), "gateway", stranger).unwrap();
    pair.run(SECOND);
    assert!(pair.client.take(pair::connected).is_none(), "only after the server is content");
    let Some(CloseReason::TlsRefusedByPeer { alert }) = pair.client.take(closed) else { panic!() };
    let Some(CloseReason::TlsRefusedByUs { alert: told, detail }) = pair.server.take(closed) else {
        panic!()
    };
    assert_eq!(alert, told);
    assert!(detail.contains("unknown CA"), "{detail}");
    pair.run(10 * SECOND);
    assert!(pair.client.endpoint.is_empty() && pair.server.endpoint.is_empty());
}

#[test]
fn the_wire_gets_a_constant_and_the_owner_the_sentence() {
    let tls = pair::Tls::new(&crate::time::WallCell::new(pair::NOW)).server;
    let server = Arc::new(crypto::Server::new(tls).unwrap());
    let nothing = TransportParameters::read(Side::Client, &mut &[][..]).unwrap();
    let mut session = server.start_session(1, &nothing);
    // A message of one byte that is no ClientHello.
    let error = session.read_handshake(&[0xff, 0, 0, 1, 0]).unwrap_err();
    assert_eq!(error.reason, crypto::REASON);
    let handshake = session.handshake_data().unwrap().downcast::<crypto::Handshake>().unwrap();
    assert!(handshake.failure.is_some());
}

#[test]
fn an_idle_connection_stays_and_a_cut_one_ends() {
    let (mut pair, _, there) = Pair::connected();
    pair.run(120 * SECOND);
    assert_eq!(pair.client.take(closed), None);
    assert!(pair.server.endpoint.way(there).is_some());
    pair.rule = Some(Box::new(|_| vec![]));
    pair.run(60 * SECOND);
    assert_eq!(pair.client.take(closed), Some(CloseReason::TimedOut));
    assert_eq!(pair.server.take(closed), Some(CloseReason::TimedOut));
    assert!(pair.client.endpoint.is_empty() && pair.server.endpoint.is_empty());
    assert_eq!(pair.client.endpoint.poll_timeout(), None);
}

#[test]
fn the_ends_of_a_stream_are_told() {
    let (mut pair, here, there) = Pair::connected();
    let stream = pair.stream(here);
    let mut buf = [0; 16];

    pair.client.endpoint.finish(here, stream);
    pair.run(SECOND);
    assert!(pair.client.events.contains(&Event::Finished { conn: here, stream }));
    let mut read = |pair: &mut Pair| pair.server.endpoint.read(there, stream, &mut buf);
    assert_eq!(read(&mut pair), Read::Bytes(1));
    assert_eq!(read(&mut pair), Read::Finished);
    assert_eq!(read(&mut pair), Read::Reset);

    pair.client.endpoint.stop(here, stream, 7);
    pair.run(SECOND);
    assert!(pair.server.events.contains(&Event::Stopped { conn: there, stream, code: 7 }));
    assert_eq!(pair.server.endpoint.write(there, stream, b"no"), Write::Closed);

    let other = pair.stream(here);
    pair.client.endpoint.reset(here, other, 8);
    pair.run(SECOND);
    assert!(pair.server.events.contains(&Event::Readable { conn: there, stream: other }));
    assert_eq!(pair.server.endpoint.read(there, other, &mut [0; 16]), Read::Reset);
}

#[test]
fn a_close_is_told_with_its_code() {
    let (mut pair, here, _) = Pair::connected();
    pair.client.endpoint.close(pair.now, here, 42, b"done");
    pair.run(10 * SECOND);
    assert_eq!(pair.client.take(closed), Some(CloseReason::LocallyClosed));
    let reason = CloseReason::PeerClosed { code: 42, reason: "done".into() };
    assert_eq!(pair.server.take(closed), Some(reason));
    assert!(pair.client.endpoint.is_empty() && pair.server.endpoint.is_empty());
}

#[test]
fn a_goodbye_during_the_handshake_is_no_error() {
    let mut pair = Pair::new();
    let here = pair.dial();
    pair.run(DELAY + DELAY / 2); // the server has answered, and nobody has heard it yet
    pair.client.endpoint.close(pair.now, here, 42, b"done");
    pair.run(10 * SECOND);
    let reason = CloseReason::PeerClosed { code: 0, reason: String::new() };
    assert_eq!(pair.server.take(closed), Some(reason), "what it says is for those who are verified");
}

#[test]
fn who_was_forgotten_hears_of_it_at_once() {
    let (mut pair, here, there) = Pair::connected();
    // The other end takes its leave, and nobody hears it.
    pair.rule = Some(Box::new(|datagram| if datagram.to_server { vec![(DELAY, datagram)] } else { vec![] }));
    pair.server.endpoint.close(pair.now, there, 0, b"");
    pair.run(5 * SECOND);
    assert!(pair.server.endpoint.is_empty());
    assert_eq!(pair.client.take(closed), None);
    pair.rule = None;
    pair.client.endpoint.ping(here);
    pair.run(2 * SECOND);
    assert_eq!(pair.client.take(closed), Some(CloseReason::Reset));
}

#[test]
fn credit_for_streams_is_told() {
    let mut pair = Pair::configured(Config { max_streams: 1, ..Config::default() });
    let (here, there) = pair.connect();
    let stream = pair.client.endpoint.open(here).unwrap();
    assert_eq!(pair.client.endpoint.open(here), None);
    pair.client.events.clear();
    assert_eq!(transfer(&mut pair, stream, (false, here), there, b"all"), b"all");
    pair.server.endpoint.finish(there, stream);
    pair.run(SECOND);
    assert!(pair.client.events.contains(&Event::StreamsAvailable { conn: here }));
    assert!(pair.client.endpoint.open(here).is_some());
}

#[test]
fn a_stream_that_the_peer_cancels_does_not_cost_its_credit() {
    let mut pair = Pair::configured(Config { max_streams: 1, ..Config::default() });
    let (here, there) = pair.connect();
    let stream = pair.client.endpoint.open(here).unwrap();
    assert_eq!(transfer(&mut pair, stream, (false, here), there, b"all"), b"all");
    pair.server.endpoint.write(there, stream, b"nobody reads this");
    pair.client.endpoint.stop(here, stream, 7);
    pair.run(SECOND);
    assert_eq!(pair.server.endpoint.write(there, stream, b"no"), Write::Closed);
    assert!(pair.client.endpoint.open(here).is_some());
}

#[test]
fn a_held_connection_sends_nothing() {
    let mut pair = Pair::new();
    let here = pair.dial();
    pair.client.endpoint.hold(here, true);
    pair.run(SECOND);
    assert!(pair.trace.is_empty());
    pair.client.endpoint.hold(here, false);
    pair.run(SECOND);
    assert_eq!(pair.client.take(pair::connected), Some(here));
}

#[test]
fn connections_take_turns() {
    let mut pair = Pair::new();
    let (first, second) = (pair.connect().0, pair.connect().0);
    for here in [first, second] {
        let stream = pair.client.endpoint.open(here).unwrap();
        pair.client.endpoint.write(here, stream, &noise(MIB / 8));
    }
    let order: Vec<_> =
        transmits(&mut pair.client, pair.now, 2).into_iter().filter_map(|sent| sent.0).collect();
    let turns = order.windows(2).filter(|two| two[0] != two[1]).count();
    assert!(turns >= 4, "{order:?}");
}

#[test]
fn a_flood_of_first_packets_stays_bounded() {
    let config = Config { retry_threshold: 4, max_handshakes: 8, ..Config::default() };
    let mut pair = Pair::configured(config.clone());
    for number in 0..100 {
        // Each is a fresh client whose answers go nowhere.
        let mut other = End::new(config.clone(), pair.wall.clone(), 100 + number);
        other.endpoint.connect(pair.now, server_way(), "gateway", pair.tls.client.clone()).unwrap();
        for (_, bytes, ecn) in transmits(&mut other, pair.now, 8) {
            let way = client_seen(10_000 + u16::from(number));
            pair.inject(Flying { to_server: true, way, ecn, bytes });
        }
    }
    let (len, counters) = (pair.server.endpoint.len(), *pair.server.endpoint.counters());
    assert_eq!(len, 4, "{counters:?}");
    assert!(counters.retried >= 96 && counters.responses_dropped > 0, "{counters:?}");
    pair.flush();
    // A client that is real proves its address and is let in.
    pair.connect();
    pair.run(11 * SECOND);
    assert_eq!(pair.server.endpoint.counters().handshakes_expired, 4);
    assert_eq!(pair.server.endpoint.len(), 1);
}

#[test]
fn a_retry_is_believed_by_its_own_way_only() {
    let mut pair = Pair::configured(Config { retry_threshold: 0, ..Config::default() });
    pair.dial();
    // What the client sends with the token seems to come from elsewhere.
    pair.run(3 * DELAY / 2);
    pair.client_seen = client_seen(6000);
    pair.run(DELAY);
    // Both datagrams of the first flight were answered; the client heeds one.
    assert_eq!(pair.server.endpoint.counters().retried, 2);
    pair.run(SECOND);
    assert!(pair.server.endpoint.is_empty());
    assert!(matches!(pair.client.take(closed), Some(CloseReason::BlamedByPeer { code: 0xb, .. })));

    pair.connect();
}

#[test]
fn noise_is_dropped_and_counted() {
    let (mut pair, here, there) = Pair::connected();
    let genuine = {
        pair.stream(here);
        pair.last_to_server.clone().unwrap().bytes
    };
    let mut rng = Rng::new([5; 32]);
    for _ in 0..10_000 {
        let len = rng.below(1400) as usize;
        let mut bytes = vec![0; len];
        bytes.fill_with(|| rng.bytes::<1>()[0]);
        // Half of them begin like real ones: with our connection ID, or as first packets.
        match rng.below(4) {
            0 => bytes.iter_mut().zip(&genuine[..13]).for_each(|(to, from)| *to = *from),
            1 => bytes.iter_mut().zip([0xc3, 0, 0, 0, 1, 16]).for_each(|(to, from)| *to = from),
            _ => {}
        }
        let way = client_seen(rng.below(65_536) as u16);
        pair.inject(Flying { to_server: true, way, ecn: None, bytes });
    }
    let counters = *pair.server.endpoint.counters();
    assert!(counters.malformed > 0 && counters.unknown > 0 && counters.ignored > 0, "{counters:?}");
    assert_eq!(pair.server.endpoint.len(), 1);
    assert_eq!(pair.server.endpoint.way(there), Some(client_seen(5000)));
    let stream = pair.client.endpoint.open(here).unwrap();
    assert_eq!(transfer(&mut pair, stream, (false, here), there, b"still there"), b"still there");
}

#[test]
fn the_same_seed_gives_the_same_lengths_at_the_same_times() {
    let trace = || {
        let (mut pair, here, there) = Pair::connected();
        let stream = pair.client.endpoint.open(here).unwrap();
        transfer(&mut pair, stream, (false, here), there, &noise(MIB / 8));
        pair.trace
    };
    assert_eq!(trace(), trace());
}
