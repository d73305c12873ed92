//! The listening sockets: UDP and TCP on one port.

use super::*;

fn relay(listen: Listen) -> Config {
    Config { listen: vec![listen], ..config() }
}

fn heard(news: &[Event]) -> Vec<(SocketAddr, Transport)> {
    let heard = news.iter().map(|event| match event {
        Event::Listening { local, transport, .. } => (*local, *transport),
        other => panic!("{other:?}"),
    });
    heard.collect()
}

#[test]
fn an_address_is_served_by_udp_and_tcp_or_by_one_of_them() {
    let at = addr("192.0.2.1:3478");
    let both = [(at, Transport::Udp), (at, Transport::Tcp)];
    assert_eq!(heard(&Bench::new(relay(at.into())).news), both);
    assert_eq!(heard(&Bench::new(relay("192.0.2.1:3478".parse().unwrap())).news), both);
    assert_eq!(heard(&Bench::new(relay(Listen::udp(at))).news), both[..1]);
    assert_eq!(heard(&Bench::new(relay(Listen::tcp(at))).news), both[1..]);
}

/// A port that is free for UDP may be taken for TCP; then there is another one.
#[test]
fn any_free_port_is_one_for_both() {
    let now = crate::time::start();
    let mut relay = Relay::new(relay(addr("192.0.2.1:0").into()), Clock::new(now, UNIX), now, [7; 32]);
    let (mut port, mut bound, mut closed) = (5000, Vec::new(), 0);
    while let Some(event) = relay.poll_event() {
        let (socket, result) = match event {
            Event::Effect(Effect::Bind { socket, addr: wish, .. }) => {
                assert_eq!(wish.port(), 0);
                port += 1;
                (socket, Ok(SocketAddr::new(wish.ip(), port)))
            }
            Event::Effect(Effect::Listen { listener, addr, .. }) => {
                assert_eq!(addr.port(), port);
                (listener, if port < 5003 { Err(ErrorKind::AddrInUse) } else { Ok(addr) })
            }
            Event::Effect(Effect::Unbind { .. }) => {
                closed += 1;
                continue;
            }
            news => {
                bound.push(news);
                continue;
            }
        };
        relay.handle_completion(now, Completion::Bound { socket, result });
    }
    let at = addr("192.0.2.1:5003");
    assert_eq!((heard(&bound), closed), (vec![(at, Transport::Udp), (at, Transport::Tcp)], 2));
    assert_eq!(relay.holdings().sockets, 2);
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_by_tcp_is_told() {
    let now = crate::time::start();
    let at = addr("192.0.2.1:3478");
    let mut relay = Relay::new(relay(at.into()), Clock::new(now, UNIX), now, [7; 32]);
    let mut failed = None;
    while let Some(event) = relay.poll_event() {
        let (socket, result) = match event {
            Event::Effect(Effect::Bind { socket, addr, .. }) => (socket, Ok(addr)),
            Event::Effect(Effect::Listen { listener, .. }) => (listener, Err(ErrorKind::AddrInUse)),
            other => {
                failed = Some(other);
                continue;
            }
        };
        relay.handle_completion(now, Completion::Bound { socket, result });
    }
    let kind = ErrorKind::AddrInUse;
    assert_eq!(failed, Some(Event::ListenFailed { addr: at, transport: Transport::Tcp, kind }));
}
