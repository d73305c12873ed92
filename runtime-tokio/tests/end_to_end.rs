//! Streams from a connector through a relay and a gateway to real targets, and back.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test")]

mod world;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use adit_core::connector::Failure;
use adit_core::tunnel::{RejectCode, Target};
use adit_mio::{RelayServer, StartError};
use adit_tokio::{Forwarded, OpenError, forward};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use world::{World, echo_target, exchange, pattern, relay_config, target, within};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test]
async fn bytes_go_to_a_target_and_come_back_over_both_families() {
    for ip in [V4, V6] {
        let world = World::start(ip).await;
        let target = echo_target(ip).await;
        let stream = world.open(target).await;
        assert_eq!(stream.address(), target);
        assert_eq!(exchange(stream, pattern(100_000)).await, pattern(100_000));
        assert!(world.relay.counters().to_clients.packets > 0);
    }
}

#[tokio::test]
async fn each_half_closes_by_itself() {
    let world = World::start(V4).await;
    // Reads to the end, then says how much there was, then finishes.
    let target = target(V4, |mut tcp| async move {
        let mut all = Vec::new();
        tcp.read_to_end(&mut all).await.unwrap();
        tcp.write_all(format!("{} bytes", all.len()).as_bytes()).await.unwrap();
    })
    .await;
    let answer = exchange(world.open(target).await, pattern(5000)).await;
    assert_eq!(answer, b"5000 bytes");
}

#[tokio::test]
async fn two_hundred_streams_run_at_once() {
    let world = World::start(V4).await;
    let target = echo_target(V4).await;
    let streams: Vec<_> = futures(200, |number| {
        let open = world.open(target);
        async move { (number, open.await) }
    })
    .await;
    let exchanges: Vec<_> = streams
        .into_iter()
        .map(|(number, stream)| {
            tokio::spawn(async move {
                let bytes = pattern(20_000 + number);
                assert_eq!(exchange(stream, bytes.clone()).await, bytes);
            })
        })
        .collect();
    for exchange in exchanges {
        exchange.await.unwrap();
    }
    quiet(&world).await;
}

#[tokio::test]
async fn twenty_megabytes_go_both_ways_at_once() {
    let world = World::start(V4).await;
    let stream = world.open(echo_target(V4).await).await;
    let bytes = pattern(20 * 1024 * 1024);
    let start = Instant::now();
    let back = exchange(stream, bytes.clone()).await;
    println!("20 MiB there and back in {:?}; relay {:?}", start.elapsed(), world.relay.socket_counters());
    println!("connector {:?}", world.connector.counters());
    println!("gateway {:?}", world.gateway.socket_counters());
    assert!(back == bytes);
}

#[tokio::test]
async fn a_reader_that_waits_holds_the_target_back() {
    let world = World::start(V4).await;
    let (tell, told) = mpsc::channel();
    let target = target(V4, move |mut tcp| {
        let tell = tell.clone();
        async move {
            let chunk = vec![7; 64 * 1024];
            for _ in 0..2000 {
                tcp.write_all(&chunk).await.unwrap();
                tell.send(chunk.len()).unwrap();
            }
        }
    })
    .await;
    let mut stream = world.open(target).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let written: usize = told.try_iter().sum();
    assert!(written < 60 * 1024 * 1024, "the target could write {written} bytes that nobody reads");
    let mut all = Vec::new();
    within(stream.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), 2000 * 64 * 1024);
}

#[tokio::test]
async fn a_refused_and_a_denied_target_are_told_apart() {
    let world = World::start(V4).await;
    let free = TcpListener::bind((V4, 0)).await.unwrap().local_addr().unwrap();
    assert_eq!(code(&world, &format!("tcp://{free}")).await, RejectCode::Refused);
    assert_eq!(code(&world, "tcp://127.0.0.2:80").await, RejectCode::Denied);
    assert_eq!(code(&world, "tcp://169.254.169.254:80").await, RejectCode::Denied);
    quiet(&world).await;
}

#[tokio::test]
async fn a_dropped_stream_resets_the_connection_of_the_target() {
    let world = World::start(V4).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let target = target(V4, move |mut tcp| {
        let tell = tell.clone();
        async move {
            let mut all = Vec::new();
            tell.send(tcp.read_to_end(&mut all).await.map_err(|error| error.kind())).unwrap();
        }
    })
    .await;
    let mut stream = world.open(target).await;
    stream.write_all(b"half a request").await.unwrap();
    drop(stream);
    assert_eq!(within(told.recv()).await, Some(Err(ErrorKind::ConnectionReset)));
    quiet(&world).await;
}

#[tokio::test]
async fn a_target_that_says_nothing_is_let_go_with_its_client() {
    let world = World::start(V4).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let target = target(V4, move |mut tcp| {
        let tell = tell.clone();
        async move {
            let mut byte = [0];
            while matches!(tcp.read(&mut byte).await, Ok(1)) {}
            tell.send(()).unwrap();
        }
    })
    .await;
    let mut stream = world.open(target).await;
    stream.shutdown().await.unwrap();
    drop(stream);
    within(told.recv()).await.unwrap();
    quiet(&world).await;
}

#[tokio::test]
async fn a_wish_that_is_dropped_leaves_nothing() {
    let world = World::start(V4).await;
    let target: Target = format!("tcp://{}", echo_target(V4).await).parse().unwrap();
    let wish = world.connector.open(world.key, &target);
    let _ = tokio::time::timeout(Duration::from_micros(1), wish).await;
    quiet(&world).await;
}

#[tokio::test]
async fn local_connections_are_forwarded() {
    let world = World::start(V4).await;
    let listener = TcpListener::bind((V4, 0)).await.unwrap();
    let local = listener.local_addr().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let echo = echo_target(V4).await;
    let target = format!("tcp://{echo}").parse().unwrap();
    let report = move |news| tell.send(news).unwrap();
    tokio::spawn(forward(listener, world.connector.clone(), world.key, target, report));

    let mut tcp = TcpStream::connect(local).await.unwrap();
    tcp.write_all(b"through the tunnel").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut all = Vec::new();
    within(tcp.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"through the tunnel");
    let Some(Forwarded::Opened { address, .. }) = within(told.recv()).await else { panic!("not opened") };
    assert_eq!(address, echo);
    let Some(Forwarded::Ended { moved, .. }) = within(told.recv()).await else { panic!("not ended") };
    assert_eq!((moved.into_pipe, moved.out_of_pipe), (18, 18));
}

#[tokio::test]
async fn shutting_the_gateway_down_gives_its_allocation_back() {
    let world = World::start(V4).await;
    let _stream = world.open(echo_target(V4).await).await;
    assert_eq!(world.relay.allocations(), 1);
    let start = Instant::now();
    world.gateway.shut_down().await;
    assert!(start.elapsed() < Duration::from_secs(2));
    until(|| world.relay.allocations() == 0).await;
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let relay = RelayServer::spawn(relay_config(V4)).unwrap();
    let mut config = relay_config(V4);
    config.listen = relay.addresses().iter().copied().map(Into::into).collect();
    let Err(StartError::Listen { addr, kind, .. }) = RelayServer::spawn(config) else { panic!("it runs") };
    assert_eq!((addr, kind), (relay.addresses()[0], ErrorKind::AddrInUse));
    let addr: SocketAddr = relay.addresses()[0];
    relay.stop();
    assert!(std::net::UdpSocket::bind(addr).is_ok());
}

/// How the gateway refuses `target`.
#[test]
fn a_runtime_that_ends_first_leaves_nobody_waiting() {
    let first = runtime();
    let (mut world, target, mut stream) = first.block_on(async {
        let (world, target) = (World::start(V4).await, echo_target(V4).await);
        let stream = world.open(target).await;
        (world, target, stream)
    });
    drop(first);

    runtime().block_on(async {
        let read = within(stream.read(&mut [0; 8])).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        let write = within(stream.write(b"too late")).await;
        assert_eq!(write.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        let target = format!("tcp://{target}").parse().unwrap();
        let open = within(world.connector.open(world.key, &target)).await;
        assert_eq!(open.unwrap_err(), OpenError::ShutDown);
        while within(world.gateway.event()).await.is_some() {}
        while within(world.connector.event()).await.is_some() {}
        within(world.gateway.shut_down()).await;
    });
    // Outside of any runtime.
    drop((stream, world.connector));
}

#[test]
fn handles_may_be_dropped_outside_of_the_runtime_while_it_lives() {
    let runtime = runtime();
    let (world, stream) = runtime.block_on(async {
        let (world, target) = (World::start(V4).await, echo_target(V4).await);
        let stream = world.open(target).await;
        (world, stream)
    });
    assert_eq!(world.relay.allocations(), 1);
    drop((stream, world.connector, world.gateway));
    runtime.block_on(until(|| world.relay.allocations() == 0));
}

#[test]
fn half_of_an_answer_does_not_pass_for_all_of_it_when_a_forward_ends() {
    for shuts_down in [true, false] {
        let runtime = runtime();
        let (world, client, _served) = runtime.block_on(async {
            let (world, server) = (World::start(V4).await, TcpListener::bind((V4, 0)).await.unwrap());
            let target = format!("tcp://{}", server.local_addr().unwrap()).parse().unwrap();
            let listener = TcpListener::bind((V4, 0)).await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            tokio::spawn(forward(listener, world.connector.clone(), world.key, target, |_| ()));
            // The target keeps its end: had it finished, so would the client's have.
            let (mut served, _) = within(server.accept()).await.unwrap();
            served.write_all(b"half").await.unwrap();
            within(client.read_exact(&mut [0; 4])).await.unwrap();
            (world, client.into_std().unwrap(), served.into_std().unwrap())
        });
        if shuts_down {
            world.connector.shut_down();
        }
        runtime.shutdown_background();
        assert_eq!(end_of(client), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_client_whose_task_has_not_begun_sees_a_reset_when_the_forward_ends() {
    let runtime = runtime();
    let (_world, client) = runtime.block_on(async {
        let (world, target) = (World::start(V4).await, "tcp://127.0.0.1:9".parse().unwrap());
        let listener = TcpListener::bind((V4, 0)).await.unwrap();
        let local = listener.local_addr().unwrap();
        let (_first, client) = (TcpStream::connect(local).await, TcpStream::connect(local).await.unwrap());
        // So that the runtime knows the next one to be there.
        drop(listener.accept().await.unwrap());
        let mut forward = pin!(forward(listener, world.connector.clone(), world.key, target, |_| ()));
        // One turn accepts it and starts a task, which never gets one.
        poll_fn(|cx| Poll::Ready(forward.as_mut().poll(cx).is_pending())).await;
        (world, client.into_std().unwrap())
    });
    runtime.shutdown_background();
    assert_eq!(end_of(client), ErrorKind::ConnectionReset);
}

/// How a connection of which nobody sends any more has ended.
fn end_of(mut tcp: std::net::TcpStream) -> ErrorKind {
    tcp.set_nonblocking(false).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    std::io::Read::read(&mut tcp, &mut [0]).unwrap_err().kind()
}

/// A runtime of the test's own, to end it.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn code(world: &World, target: &str) -> RejectCode {
    let result = within(world.connector.open(world.key, &target.parse().unwrap())).await;
    match result.map(|_| ()) {
        Err(OpenError::Failed(Failure::Rejected { code, .. })) => code,
        other => panic!("{other:?}"),
    }
}

/// All streams come to their end at both ends.
async fn quiet(world: &World) {
    until(|| world.gateway.streams() == 0 && world.connector.streams() == 0).await;
}

async fn until(mut done: impl FnMut() -> bool) {
    within(async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Runs `count` futures at once, in one task.
async fn futures<T, F: Future<Output = T>>(count: usize, make: impl Fn(usize) -> F) -> Vec<T> {
    let mut running: Vec<_> = (0..count).map(|number| Some(Box::pin(make(number)))).collect();
    let mut results = Vec::new();
    poll_fn(|cx| {
        for slot in &mut running {
            if let Some(Poll::Ready(result)) = slot.as_mut().map(|future| future.as_mut().poll(cx)) {
                *slot = None;
                results.push(result);
            }
        }
        if running.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results
}

#[tokio::test]
async fn an_idle_tunnel_sleeps() {
    let world = World::start(V4).await;
    let _stream = world.open(echo_target(V4).await).await;
    let before = cpu_ticks();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = cpu_ticks() - before;
    assert!(used < 20, "{used} hundredths of a second were spent on nothing");
}

/// User and system time of this process so far, in hundredths of a second (proc(5), fields 14 and 15).
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    behind_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}
