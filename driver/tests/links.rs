//! TCP links of the hub over real loopback connections.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use adit_core::io::{Close, Completion, Effect, Id, LINK_PIECE, LinkId, ListenerKind, SocketKind};
use adit_driver::{Hub, SourceId};
use common::lines::{Input, Lines};
use common::{Direct, PATIENCE};
use socket2::{Domain, SockRef, Socket, Type};

type Exchange = Hub<Lines, Direct>;

fn exchange() -> (Exchange, Direct) {
    let reactor = Direct::default();
    (Hub::new(Lines::default(), reactor.clone(), Instant::now()), reactor)
}

/// A hub that listens, and where.
fn listening(addr: &str) -> (Exchange, SocketAddr) {
    let (mut hub, _) = exchange();
    let local = listen(&mut hub, addr);
    (hub, local)
}

fn listen(hub: &mut Exchange, addr: &str) -> SocketAddr {
    let listener = hub.machine_mut().listen(addr, ListenerKind::Clients);
    hub.turn(Instant::now());
    hub.machine().bound(listener).unwrap()
}

fn turn(hub: &mut Exchange) {
    let all: Vec<_> = hub.sockets().map(|(id, _, _)| id).collect();
    for id in all {
        hub.mark_readable(id);
        hub.mark_writable(id);
    }
    hub.turn(Instant::now());
}

fn turn_until(hub: &mut Exchange, mut done: impl FnMut(&Lines) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(hub.machine()) {
        assert!(Instant::now() < end, "{PATIENCE:?} are over");
        turn(hub);
        thread::yield_now();
    }
}

fn dial(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client of the hub, and the link that it is there.
fn connected(hub: &mut Exchange, to: SocketAddr) -> (TcpStream, LinkId) {
    let before = hub.machine().accepted.len();
    let stream = dial(to);
    turn_until(hub, |machine| machine.accepted.len() > before);
    (stream, *hub.machine().accepted.last().unwrap())
}

/// Bytes in which a lost, repeated or misplaced one shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index ^ (index >> 8) ^ (index >> 16)) as u8).collect()
}

fn how_it_ended(hub: &Exchange, link: LinkId) -> Option<Result<(), ErrorKind>> {
    hub.machine().completions.iter().find_map(|done| match done {
        Completion::LinkClosed { link: id, result } if *id == link => Some(*result),
        _ => None,
    })
}

fn open(hub: &mut Exchange, to: SocketAddr, timeout: Duration) -> LinkId {
    hub.machine_mut().open(to, timeout)
}

#[test]
fn bytes_come_and_go_in_both_families() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let (mut hub, local) = listening(addr);
        let (mut client, link) = connected(&mut hub, local);
        client.write_all(b"over and out").unwrap();
        turn_until(&mut hub, |machine| machine.heard(link).len() == 12);
        hub.machine_mut().say(link, b"roger".to_vec());
        turn(&mut hub);
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!((&answer, hub.machine().heard(link)), (b"roger", &b"over and out"[..]));
        assert_eq!((hub.counters().link_received, hub.counters().link_sent), (12, 5));
    }
}

#[test]
fn an_opened_link_is_told_with_both_its_ends() {
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut hub, _) = exchange();
    let link = open(&mut hub, there.local_addr().unwrap(), PATIENCE);
    turn_until(&mut hub, |machine| !machine.completions.is_empty());
    let (mut stream, from) = there.accept().unwrap();
    let opened = Completion::LinkOpened { link, local: from, remote: there.local_addr().unwrap() };
    assert_eq!(hub.machine().completions, [opened]);
    hub.machine_mut().say(link, b"hello".to_vec());
    turn(&mut hub);
    stream.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(hub.counters().links_opened, 1);
}

#[test]
fn a_link_is_opened_from_the_address_that_was_asked_for() {
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut hub, _) = exchange();
    let link = hub.machine_mut().name();
    let from = Some("127.0.0.2:0".parse().unwrap());
    let (to, timeout) = (there.local_addr().unwrap(), PATIENCE);
    hub.machine_mut().ask(Effect::OpenLink { link, to, from, timeout });
    turn_until(&mut hub, |machine| !machine.completions.is_empty());
    assert_eq!(there.accept().unwrap().1.ip().to_string(), "127.0.0.2");
}

#[test]
fn a_refused_connection_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut hub, reactor) = exchange();
    let link = open(&mut hub, free, PATIENCE);
    turn_until(&mut hub, |machine| !machine.completions.is_empty());
    assert_eq!(how_it_ended(&hub, link), Some(Err(ErrorKind::ConnectionRefused)));
    assert_eq!((hub.counters().links_broken, reactor.registered.get()), (1, 0));
}

#[test]
fn a_connection_that_nobody_answers_ends_in_time() {
    // A listener with a full queue, to which the kernel answers nothing.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let to = full.local_addr().unwrap().as_socket().unwrap();
    let _taken: Vec<_> =
        (0..8).map_while(|_| TcpStream::connect_timeout(&to, Duration::from_millis(200)).ok()).collect();

    let (mut hub, reactor) = exchange();
    let link = open(&mut hub, to, Duration::from_secs(60));
    let now = Instant::now();
    let deadline = hub.turn(now).deadline.unwrap();
    assert!(deadline > now + Duration::from_secs(59));
    turn(&mut hub);
    assert_eq!(how_it_ended(&hub, link), None);
    hub.turn(deadline);
    assert_eq!(how_it_ended(&hub, link), Some(Err(ErrorKind::TimedOut)));
    assert_eq!((hub.turn(deadline).deadline, reactor.registered.get()), (None, 0));
}

#[test]
fn a_slow_reader_gets_every_byte_once_and_in_order() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let (mut client, link) = connected(&mut hub, local);
    SockRef::from(&client).set_recv_buffer_size(256 * 1024).unwrap();
    let all = pattern(6 * 1024 * 1024 + 17);
    for piece in all.chunks(LINK_PIECE) {
        hub.machine_mut().say(link, piece.to_vec());
    }
    turn(&mut hub);
    turn(&mut hub);
    let before = hub.counters().link_sent;
    assert!(before < all.len() as u64, "the kernel took everything");
    assert!(hub.sockets().any(|(id, _, interest)| id == link.into() && interest.write));
    let reader = thread::spawn(move || {
        let (mut got, mut buffer) = (Vec::new(), vec![0; 20_000]);
        loop {
            match client.read(&mut buffer).unwrap() {
                0 => return got,
                count => got.extend_from_slice(&buffer[..count]),
            }
            if got.len() % 100_000 < 20_000 {
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    turn_until(&mut hub, |machine| machine.unsaid(link) == 0);
    hub.machine_mut().close(link, Close::Finish);
    turn_until(&mut hub, |_| reader.is_finished());
    assert!(reader.join().unwrap() == all, "the bytes differ");
    assert_eq!(hub.counters().link_sent, all.len() as u64);
}

#[test]
fn a_reset_by_the_other_end_is_told() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let (client, link) = connected(&mut hub, local);
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    turn_until(&mut hub, |machine| !machine.completions.is_empty());
    assert_eq!(how_it_ended(&hub, link), Some(Err(ErrorKind::ConnectionReset)));
    assert_eq!(hub.counters().links_broken, 1);
}

#[test]
fn what_the_machine_does_not_want_is_reset() {
    let (mut hub, local) = listening("127.0.0.1:0");
    hub.machine_mut().refuses = true;
    let mut client = dial(local);
    let end = Instant::now() + PATIENCE;
    while hub.counters().links_refused == 0 && Instant::now() < end {
        turn(&mut hub);
    }
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!((hub.counters().links_accepted, hub.counters().links_refused), (0, 1));
}

#[test]
fn a_link_that_cannot_be_watched_is_told_as_closed() {
    let (mut hub, reactor) = exchange();
    let local = listen(&mut hub, "127.0.0.1:0");
    reactor.broken.set(true);
    let (_client, link) = connected(&mut hub, local);
    assert_eq!(how_it_ended(&hub, link), Some(Err(ErrorKind::OutOfMemory)));
}

#[test]
fn late_identifiers_find_nothing() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let (mut first, old) = connected(&mut hub, local);
    hub.machine_mut().close(old, Close::Reset);
    turn(&mut hub);
    assert_eq!(first.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (mut second, new) = connected(&mut hub, local);
    assert_eq!((old.index(), old.generation() + 1), (new.index(), new.generation()));

    hub.machine_mut().ask(Effect::CloseLink { link: old, how: Close::Reset });
    hub.machine_mut().ask(Effect::ReadLink { link: old, read: false });
    hub.machine_mut().blurt(old, b"late".to_vec());
    hub.mark_readable(old);
    hub.mark_writable(old);
    turn(&mut hub);
    assert_eq!(hub.counters().dropped_unbound, 1);
    second.write_all(b"new").unwrap();
    turn_until(&mut hub, |machine| machine.heard(new) == b"new");
    assert_eq!(hub.machine().completions.len(), 0);
}

#[test]
fn a_busy_link_leaves_the_others_their_turn() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let udp = hub.machine_mut().bind("127.0.0.1:0", SocketKind::Listening);
    turn(&mut hub);
    let udp_addr = hub.machine().bound(udp).unwrap();
    let (mut client, link) = connected(&mut hub, local);
    turn(&mut hub);
    client.write_all(&vec![7; 400_000]).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.send_to(b"me too", udp_addr).unwrap();
    thread::sleep(Duration::from_millis(50));
    hub.machine_mut().inputs.clear();
    hub.mark_readable(link);
    hub.mark_readable(udp);
    hub.turn(Instant::now());
    let inputs = &hub.machine().inputs;
    assert!(
        inputs[..2].contains(&Input::Datagrams(udp)) && inputs[2..].contains(&Input::Bytes(link)),
        "{inputs:?}"
    );
    assert!(inputs.len() > 4, "it was not busy: {inputs:?}");
}

/// Else a datagram that comes meanwhile would wait until all are accepted and read.
#[test]
fn a_crowd_of_connections_takes_many_turns() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let crowd: Vec<_> = (0..40).map(|_| dial(local)).collect();
    let listeners: Vec<_> = hub.sockets().map(|(id, _, _)| id).collect();
    listeners.into_iter().for_each(|id| hub.mark_readable(id));
    let mut turns = 0;
    while hub.machine().accepted.len() < crowd.len() {
        let before = hub.machine().accepted.len();
        let more = hub.turn(Instant::now()).more;
        let accepted = hub.machine().accepted.len() - before;
        assert!(accepted <= 8 && (more || accepted > 0), "{accepted} in one turn");
        turns += 1;
    }
    assert!(turns >= 5, "{turns}");
}

#[test]
fn what_is_not_read_holds_the_other_end_back() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let (mut client, link) = connected(&mut hub, local);
    hub.machine_mut().ask(Effect::ReadLink { link, read: false });
    turn(&mut hub);
    assert!(hub.sockets().all(|(id, _, interest)| id != link.into() || !interest.read));
    let all = pattern(12 * 1024 * 1024);
    let expected = all.clone();
    let writer = thread::spawn(move || client.write_all(&all).map(|()| client));
    thread::sleep(Duration::from_millis(100));
    turn(&mut hub);
    assert!(!writer.is_finished(), "the kernel holds all of it");
    assert!(hub.machine().heard(link).is_empty());
    hub.machine_mut().ask(Effect::ReadLink { link, read: true });
    turn_until(&mut hub, |machine| machine.heard(link).len() == expected.len());
    assert!(hub.machine().heard(link) == expected, "the bytes differ");
    writer.join().unwrap().unwrap();
}

#[test]
fn a_finished_link_says_everything_before_its_end() {
    let (mut hub, reactor) = exchange();
    let local = listen(&mut hub, "127.0.0.1:0");
    let (mut client, link) = connected(&mut hub, local);
    SockRef::from(&client).set_recv_buffer_size(256 * 1024).unwrap();
    // What arrives after the end must not turn it into a reset.
    client.write_all(b"unread").unwrap();
    let mut piece = pattern(LINK_PIECE);
    let mut expected = Vec::new();
    while !hub.sockets().any(|(id, _, interest)| id == link.into() && interest.write) {
        expected.extend_from_slice(&piece);
        hub.machine_mut().say(link, std::mem::take(&mut piece));
        hub.turn(Instant::now());
        piece = pattern(LINK_PIECE);
    }
    hub.machine_mut().close(link, Close::Finish);
    hub.turn(Instant::now());
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).map(|_| got)
    });
    turn_until(&mut hub, |_| reader.is_finished());
    assert!(reader.join().unwrap().unwrap() == expected, "the bytes differ");
    turn_until(&mut hub, |_| reactor.registered.get() == 1);
    assert_eq!(how_it_ended(&hub, link), None, "the machine knows");
}

#[test]
fn a_link_that_does_not_finish_is_reset_in_time() {
    let (mut hub, reactor) = exchange();
    let local = listen(&mut hub, "127.0.0.1:0");
    let (mut client, link) = connected(&mut hub, local);
    hub.machine_mut().close(link, Close::Finish);
    let now = Instant::now();
    let deadline = hub.turn(now).deadline.unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "FIN has come");
    assert_eq!(reactor.registered.get(), 2);
    hub.turn(deadline);
    assert_eq!(reactor.registered.get(), 1);
    assert!(client.write_all(b"x").and_then(|()| client.read(&mut [0])).is_err());
}

#[test]
fn whoever_has_only_finished_sending_hears_the_rest() {
    let (mut hub, reactor) = exchange();
    let local = listen(&mut hub, "127.0.0.1:0");
    let (mut client, link) = connected(&mut hub, local);
    SockRef::from(&client).set_recv_buffer_size(256 * 1024).unwrap();
    let mut sent = 0;
    while !hub.sockets().any(|(id, _, interest)| id == link.into() && interest.write) {
        hub.machine_mut().say(link, pattern(LINK_PIECE));
        sent += LINK_PIECE;
        hub.turn(Instant::now());
    }
    client.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut hub, |machine| {
        machine.completions.iter().any(|done| matches!(done, Completion::LinkClosed { .. }))
    });
    assert_eq!(how_it_ended(&hub, link), Some(Ok(())));
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).map(|_| got.len())
    });
    turn_until(&mut hub, |_| reader.is_finished());
    assert_eq!(reader.join().unwrap().unwrap(), sent);
    turn_until(&mut hub, |_| reactor.registered.get() == 1);
}

#[test]
fn closing_a_listener_leaves_its_links() {
    let (mut hub, reactor) = exchange();
    let listener = hub.machine_mut().listen("127.0.0.1:0", ListenerKind::Clients);
    hub.turn(Instant::now());
    let local = hub.machine().bound(listener).unwrap();
    let (mut client, link) = connected(&mut hub, local);
    hub.machine_mut().ask(Effect::Unbind { socket: listener });
    turn(&mut hub);
    assert_eq!(TcpStream::connect(local).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    client.write_all(b"still here").unwrap();
    turn_until(&mut hub, |machine| machine.heard(link) == b"still here");
    hub.close();
    assert_eq!(reactor.registered.get(), 0);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_taken_port_is_the_answer_to_the_listener() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let second = hub.machine_mut().listen(&local.to_string(), ListenerKind::Clients);
    hub.turn(Instant::now());
    assert_eq!(hub.machine().bound(second), Err(ErrorKind::AddrInUse));
}

#[test]
fn many_connections_at_once_are_all_accepted() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let clients: Vec<_> = (0..100).map(|_| dial(local)).collect();
    turn_until(&mut hub, |machine| machine.accepted.len() == clients.len());
    assert_eq!(hub.sockets().filter(|(id, _, _)| matches!(id, SourceId::Link(_))).count(), 100);
    assert_eq!(hub.reactor_mut().wanted.get(), 0);
}

/// What a client of RFC 6062 expects of a relay: each way ends by itself, behind what was said.
#[test]
fn the_two_ways_of_a_pipe_end_each_by_itself() {
    let (mut hub, reactor) = exchange();
    let local = listen(&mut hub, "127.0.0.1:0");
    let (mut client, link) = connected(&mut hub, local);
    hub.machine_mut().ask(Effect::PipeLink { link });
    client.write_all(b"all I say").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut hub, |machine| machine.completions.contains(&Completion::LinkFinished { link }));
    assert_eq!(hub.machine().heard(link), b"all I say");
    assert!(hub.sockets().all(|(id, _, interest)| id != link.into() || !interest.read), "there is no more");
    // It still takes all, and its own end comes behind that.
    let expected = pattern(8 * LINK_PIECE);
    expected.chunks(LINK_PIECE).for_each(|piece| hub.machine_mut().say(link, piece.to_vec()));
    turn_until(&mut hub, |machine| machine.unsaid(link) <= 1);
    hub.machine_mut().ask(Effect::FinishLink { link });
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).map(|_| got)
    });
    turn_until(&mut hub, |_| reader.is_finished());
    assert!(reader.join().unwrap().unwrap() == expected, "the bytes differ");
    hub.machine_mut().close(link, Close::Finish);
    turn_until(&mut hub, |_| reactor.registered.get() == 1);
    assert_eq!(how_it_ended(&hub, link), None);
}

#[test]
fn a_pipe_that_has_finished_still_reads() {
    let (mut hub, local) = listening("127.0.0.1:0");
    let (mut client, link) = connected(&mut hub, local);
    hub.machine_mut().ask(Effect::PipeLink { link });
    hub.machine_mut().ask(Effect::FinishLink { link });
    turn(&mut hub);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    client.write_all(b"late").unwrap();
    turn_until(&mut hub, |machine| machine.heard(link) == b"late");
    // A reset is the end of both.
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    turn_until(&mut hub, |machine| {
        machine.completions.iter().any(|done| matches!(done, Completion::LinkClosed { result: Err(_), .. }))
    });
}

/// RFC 6062 §5.2: from the relayed address, to as many peers as the client wants, while others connect to it.
#[test]
fn links_are_opened_from_the_port_of_a_relayed_listener() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let (mut hub, _) = exchange();
        let listener = hub.machine_mut().listen(any, ListenerKind::Relayed);
        turn(&mut hub);
        let relayed = hub.machine().bound(listener).unwrap();
        connected(&mut hub, relayed);
        for _ in 0..2 {
            let peer = TcpListener::bind(any).unwrap();
            let link = hub.machine_mut().open_from(relayed, peer.local_addr().unwrap());
            turn_until(&mut hub, |machine| {
                machine.completions.iter().any(
                    |done| matches!(done, Completion::LinkOpened { link: of, local, .. } if (*of, *local) == (link, relayed)),
                )
            });
            assert_eq!(peer.accept().unwrap().1, relayed);
        }
        connected(&mut hub, relayed);
    }
}

/// Else two relays of one machine would share a port, and each get some of the other's peers.
#[test]
fn a_relayed_listener_has_its_port_for_itself() {
    let (mut hub, _) = exchange();
    let first = hub.machine_mut().listen("127.0.0.1:0", ListenerKind::Relayed);
    turn(&mut hub);
    let addr = hub.machine().bound(first).unwrap().to_string();
    let second = hub.machine_mut().listen(&addr, ListenerKind::Relayed);
    turn(&mut hub);
    assert_eq!(hub.machine().bound(second), Err(ErrorKind::AddrInUse));
}
