//! Two machines that are one relay: what one gives out serves at the other, and clients are handed over between them.

use std::num::NonZeroU8;

use super::*;
use crate::stun::EvenPort;

const HOME: &str = "198.51.100.1:4000";
pub(super) const AWAY: &str = "198.51.100.2:5000";
const OTHER_PEER: &str = "203.0.113.8:6000";

/// Two shards with the same configuration, and what they have been told to hand over.
pub(super) struct Pair {
    pub(super) shards: [Bench; 2],
    /// The connections that were handed over: what they were called before, and what they are called now.
    pub(super) moved: Vec<(LinkId, LinkId)>,
}

impl Pair {
    pub(super) fn new(config: impl Fn() -> Config) -> Self {
        let parts = Shard::split(NonZeroU8::new(2).unwrap(), crate::time::start(), [9; 32]);
        let mut parts = parts
            .into_iter()
            .zip(1..)
            .map(|(shard, seed)| Bench::seeded(Config { shard, ..config() }, [seed; 32]));
        Self { shards: [parts.next().unwrap(), parts.next().unwrap()], moved: Vec::new() }
    }

    /// Sends a datagram from a client to the shard that the kernel would give it to: the one that has an ear for it, or
    /// else `shard`. What both shards then send.
    fn send(&mut self, shard: usize, from: SocketAddr, datagram: &[u8]) -> Vec<Sent> {
        let ear = |bench: &Bench| bench.ears.iter().find(|&&(_, to)| to == from).map(|&(socket, _)| socket);
        let heard = (0..2).find_map(|index| Some((index, ear(&self.shards[index])?)));
        let (shard, socket) = heard.unwrap_or_else(|| (shard, self.shards[shard].listening(from)));
        let mut sent = self.shards[shard].deliver(socket, from, datagram, datagram.len().max(1));
        sent.extend(self.exchange());
        sent
    }

    /// Hands over what is to be handed over, until nothing is.
    pub(super) fn exchange(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for from in [0, 1, 0, 1] {
            while let Some((guest, link)) = self.next_guest(from) {
                let to = &mut self.shards[1 - from];
                let now_called = to.relay.take_in(to.now, guest);
                assert_eq!(link.is_some(), now_called.is_some());
                self.moved.extend(link.zip(now_called));
                sent.extend(to.settle());
                to.relay.check();
            }
        }
        sent
    }

    fn next_guest(&mut self, from: usize) -> Option<(Guest, Option<LinkId>)> {
        let bench = &mut self.shards[from];
        let at = bench.news.iter().position(|event| matches!(event, Event::HandOver(_)))?;
        let Event::HandOver(handed) = bench.news.remove(at) else { return None };
        assert_eq!(usize::from(handed.shard()), 1 - from);
        Some((bench.relay.hand_over(handed).expect("it waits"), handed.link()))
    }

    fn client(&mut self, shard: usize, address: &str, name: &str) -> Client {
        let password = if name == "alice" { "wonder" } else { "builder" };
        let credentials = Credentials { username: name.to_owned(), password: password.to_owned() };
        self.shards[shard].client_as(address, credentials)
    }

    fn call(
        &mut self,
        shard: usize,
        client: &Client,
        method: Method,
        fill: impl FnOnce(Builder) -> Builder,
    ) -> Reply {
        let request = client.sign(fill(self.shards[shard].builder(method)));
        let mut sent = self.send(shard, client.address, &request);
        assert_eq!(sent.len(), 1, "one reply");
        let (_, to, reply) = sent.remove(0);
        assert_eq!(to, client.address);
        client.check(&request, &reply);
        Reply(reply)
    }

    /// A client with an allocation in the first shard, a channel to [`PEER`] and a ticket.
    pub(super) fn at_home(&mut self) -> (Client, SocketAddr, Vec<u8>) {
        let home = self.client(0, HOME, "alice");
        let bare = |builder: Builder| builder.requested_transport(17).mobility_ticket(&[]);
        let granted = self.call(0, &home, Method::ALLOCATE, bare);
        self.shards[0].bind_channel(&home, 0x4000, PEER);
        (home, granted.relayed(), ticket(&granted))
    }

    fn resume(&mut self, shard: usize, client: &Client, ticket: &[u8]) -> Reply {
        self.call(shard, client, Method::REFRESH, |builder| builder.mobility_ticket(ticket))
    }

    /// Whether data flows both ways between a client of the first shard and its peer, whose datagrams come to `shard` if
    /// there is no ear for them.
    fn flows(&mut self, shard: usize, client: &Client, relayed: SocketAddr) -> bool {
        let there = self.send(shard, client.address, b"\x40\0\0\x01x");
        let back = self.shards[0].send_to_relayed(PEER, relayed, b"y");
        matches!(&there[..], [(_, to, bytes)] if *to == addr(PEER) && bytes == b"x")
            && matches!(&back[..], [(_, to, _)] if *to == client.address)
    }
}

fn ticket(reply: &Reply) -> Vec<u8> {
    assert_eq!(reply.code(), 0);
    reply.message().mobility_ticket().expect("there is a ticket").to_vec()
}

#[test]
fn a_nonce_of_one_shard_serves_at_the_other_and_ports_are_their_own() {
    let mut pair = Pair::new(config);
    let here = pair.client(0, HOME, "alice");
    let there = pair.client(1, AWAY, "alice");
    let allocate = |builder: Builder| builder.requested_transport(17);
    let first = pair.call(1, &here, Method::ALLOCATE, allocate).relayed();
    let second = pair.call(0, &there, Method::ALLOCATE, allocate).relayed();
    assert!(first.port() >= 57344 && second.port() < 57344, "{first} {second}");
}

#[test]
fn a_client_that_moves_to_the_other_shard_stays_with_its_own() {
    let mut pair = Pair::new(config);
    let (home, relayed, first) = pair.at_home();
    let away = pair.client(1, AWAY, "alice");
    let reply = pair.resume(1, &away, &first);
    let counters = pair.shards.each_ref().map(|shard| {
        let counters = shard.relay.counters();
        (counters.handed_over, counters.taken_in)
    });
    assert_eq!(counters, [(0, 1), (1, 0)]);
    assert!(pair.flows(1, &away, relayed));
    assert_eq!(pair.shards.each_ref().map(|shard| shard.relay.allocations()), [1, 0]);
    let moved = Event::Moved { from: home.address, to: away.address, username: "alice".into() };
    assert!(pair.shards[0].news.contains(&moved));
    // From now on it is heard there like any other.
    let permit = |builder: Builder| builder.peer_address(addr(OTHER_PEER));
    assert_eq!(pair.call(1, &away, Method::CREATE_PERMISSION, permit).code(), 0);
    assert_eq!(pair.shards[1].relay.counters().handed_over, 1);
    // And back home, where it needs no ear any more.
    pair.resume(0, &home, &ticket(&reply));
    assert!(pair.flows(0, &home, relayed) && pair.shards[0].ears.is_empty());
    assert_eq!(pair.shards[0].bound.len(), 3);
}

#[test]
fn an_ear_ends_with_its_allocation() {
    let mut pair = Pair::new(config);
    let (_, _, first) = pair.at_home();
    let away = pair.client(1, AWAY, "alice");
    let reply = pair.resume(1, &away, &first);
    assert_eq!((pair.shards[0].ears.len(), reply.lifetime()), (1, 600));
    pair.shards[0].advance(600);
    assert!(pair.shards[0].ears.is_empty() && pair.shards[0].bound.len() == 2);
    assert_eq!(pair.resume(1, &away, &ticket(&reply)).code(), 437, "the owner says that it is gone");
    assert!(pair.shards[0].ears.is_empty());
}

/// RFC 8489 §6.3.1: the answer was lost, and the kernel gave the repetition to the wrong shard, since there was no ear yet.
#[test]
fn what_came_to_the_wrong_shard_before_there_was_an_ear_follows() {
    let mut pair = Pair::new(config);
    let (_, relayed, first) = pair.at_home();
    let away = pair.client(1, AWAY, "alice");
    let refresh = away.sign(pair.shards[1].builder(Method::REFRESH).mobility_ticket(&first));
    let permit = away.sign(pair.shards[1].builder(Method::CREATE_PERMISSION).peer_address(addr(OTHER_PEER)));
    let socket = pair.shards[1].listening(away.address);
    for datagram in [&refresh[..], &refresh, &permit, b"\x40\0\0\x01x"] {
        assert_eq!(pair.shards[1].deliver(socket, away.address, datagram, datagram.len()), []);
    }
    let sent = pair.exchange();
    let [first, again, permitted, (_, peer, data)] = &sent[..] else { panic!("{}", sent.len()) };
    assert_eq!(first, again);
    away.check(&permit, &permitted.2);
    assert_eq!((*peer, &data[..], Reply(permitted.2.clone()).code()), (addr(PEER), &b"x"[..], 0));
    assert!(pair.flows(1, &away, relayed));
    // After a while nobody looks after it any more.
    let counted = pair.shards[1].dropped(Drop::NoAllocation);
    pair.shards[1].advance(6);
    pair.shards[1].deliver(socket, away.address, b"\x40\0\0\x01x", 5);
    assert_eq!(pair.shards[1].dropped(Drop::NoAllocation), counted + 1);
}

#[test]
fn who_asks_for_a_new_allocation_is_followed_no_more() {
    let mut pair = Pair::new(config);
    let (_, _, first) = pair.at_home();
    let bob = pair.client(1, AWAY, "bob");
    assert_eq!(pair.resume(1, &bob, &first).code(), 441, "a ticket is good in its owner's hands only");
    assert!(pair.shards[0].ears.is_empty());
    let allocate = |builder: Builder| builder.requested_transport(17);
    assert_eq!(pair.call(1, &bob, Method::ALLOCATE, allocate).code(), 0);
    assert_eq!(pair.shards[1].relay.allocations(), 1);
    assert_eq!(pair.shards[1].refresh(&bob, 600).code(), 0);
}

/// A client that a shard has sent away comes back to it with a ticket of that very shard, before it is forgotten there.
#[test]
fn two_shards_do_not_send_a_client_to_and_fro() {
    let mut pair = Pair::new(config);
    let (_, _, theirs) = pair.at_home();
    let between = pair.client(1, AWAY, "alice");
    let moved = pair.resume(1, &between, &theirs);
    let gone = pair.call(1, &between, Method::REFRESH, |builder| builder.lifetime(Duration::ZERO));
    assert_eq!((moved.code(), gone.code()), (0, 0));
    let other = pair.client(1, "198.51.100.3:6000", "alice");
    let bare = |builder: Builder| builder.requested_transport(17).mobility_ticket(&[]);
    let ours = ticket(&pair.call(1, &other, Method::ALLOCATE, bare));
    let counts = |pair: &Pair| pair.shards.each_ref().map(|shard| shard.relay.counters().handed_over);
    let before = counts(&pair);
    assert_eq!(pair.resume(1, &between, &ours).code(), 0);
    assert_eq!(counts(&pair), before, "it is where it belongs");
    // And to the first one once more, from which it has its ear.
    let (_, _, theirs) = pair.at_home();
    assert_eq!(pair.call(1, &between, Method::REFRESH, |builder| builder.lifetime(Duration::ZERO)).code(), 0);
    assert_eq!(pair.resume(1, &between, &theirs).code(), 0);
    assert_eq!(counts(&pair), [before[0], before[1] + 1]);
}

#[test]
fn where_there_is_no_ear_the_client_makes_another_allocation() {
    let mut pair = Pair::new(config);
    let (home, relayed, first) = pair.at_home();
    let away = pair.client(1, AWAY, "alice");
    pair.shards[0].deaf = true;
    assert_eq!(pair.resume(1, &away, &first).code(), 437);
    let allocate = |builder: Builder| builder.requested_transport(17);
    assert_eq!(pair.call(1, &away, Method::ALLOCATE, allocate).code(), 0);
    assert!(pair.flows(0, &home, relayed), "nothing has changed there");
}

/// RFC 8656 §7.2: the port is that of one shard, and who has the token may come by the other.
#[test]
fn a_reserved_port_is_had_by_a_client_of_the_other_shard() {
    let mut pair = Pair::new(|| Config { user_quota: Some(2), ..config() });
    let first = pair.client(0, HOME, "alice");
    let pair_of_ports =
        |builder: Builder| builder.requested_transport(17).even_port(EvenPort { reserve: true });
    let granted = pair.call(0, &first, Method::ALLOCATE, pair_of_ports);
    let token = granted.message().reservation_token().unwrap().unwrap();
    let bob = pair.client(1, "198.51.100.9:9", "bob");
    let claim = |builder: Builder| builder.requested_transport(17).reservation_token(token);
    assert_eq!(pair.call(1, &bob, Method::ALLOCATE, claim).code(), 508, "it is alice's");
    let second = pair.client(1, AWAY, "alice");
    let claimed = pair.call(1, &second, Method::ALLOCATE, claim);
    assert_eq!(claimed.relayed().port(), granted.relayed().port() + 1);
    assert_eq!(pair.shards.each_ref().map(|shard| shard.relay.allocations()), [2, 0]);
    assert_eq!(pair.call(1, &second, Method::REFRESH, |builder| builder).code(), 0);
    assert_eq!(pair.shards[0].ears.len(), 1);
    let third = pair.client(1, "198.51.100.3:1", "alice");
    let allocate = |builder: Builder| builder.requested_transport(17);
    assert_eq!(pair.call(1, &third, Method::ALLOCATE, allocate).code(), 486, "one quota for both shards");
    let close = |builder: Builder| builder.lifetime(Duration::ZERO);
    assert_eq!(pair.call(1, &second, Method::REFRESH, close).code(), 0);
    assert_eq!(pair.call(1, &third, Method::ALLOCATE, allocate).code(), 0);
    assert!(pair.shards[0].ears.is_empty());
}

#[test]
fn a_token_that_nobody_has_made_is_refused_wherever_it_leads() {
    let mut pair = Pair::new(config);
    let client = pair.client(1, AWAY, "alice");
    for last in 0..=255u8 {
        let claim =
            |builder: Builder| builder.requested_transport(17).reservation_token([1, 2, 3, 4, 5, 6, 7, last]);
        assert_eq!(pair.call(1, &client, Method::ALLOCATE, claim).code(), 508);
    }
    let seemed = pair.shards[1].relay.counters().handed_over;
    assert!((64..192).contains(&seemed), "half of them seem to be the other's: {seemed}");
    assert!(pair.shards[0].ears.is_empty());
}

#[test]
fn quotas_budgets_and_ports_of_others_are_those_of_one_relay() {
    let small =
        || Config { total_quota: Some(3), reply_budget: ReplyBudget { rate: 1, burst: 20 }, ..config() };
    let mut pair = Pair::new(small);
    let clients: Vec<Client> =
        (0..4).map(|index| pair.client(index % 2, &format!("198.51.100.{index}:1"), "alice")).collect();
    let allocate = |builder: Builder| builder.requested_transport(17);
    let replies: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(index, client)| pair.call(index % 2, client, Method::ALLOCATE, allocate))
        .collect();
    let codes: Vec<_> = replies.iter().map(Reply::code).collect();
    assert_eq!(codes, [0, 0, 0, 508]);
    // A client of the first reaches no relayed address of the second.
    let theirs = replies[1].relayed();
    pair.shards[0].permit(&clients[0], &theirs.to_string());
    let data =
        Builder::new(Class::Indication, Method::SEND, [0; 12]).peer_address(theirs).data(b"x").finish();
    assert_eq!(pair.send(0, clients[0].address, &data), []);
    assert_eq!(pair.shards[0].dropped(Drop::OwnPort), 1);
    // And a stranger has one budget.
    let stranger = Builder::new(Class::Request, Method::BINDING, [1; 12]).finish();
    let answered =
        (0..100).filter(|index| !pair.send(index % 2, addr("192.0.2.200:1"), &stranger).is_empty());
    assert_eq!(answered.count(), 20);
}

#[test]
fn a_shard_that_is_alone_gives_nobody_away() {
    let mut bench = Bench::new(config());
    let client = bench.client(HOME);
    for last in 0..=255u8 {
        let claim =
            |builder: Builder| builder.requested_transport(17).reservation_token([7, 2, 3, 4, 5, 6, 7, last]);
        assert_eq!(bench.call(&client, Method::ALLOCATE, claim).code(), 508);
    }
    let forged = |builder: Builder| builder.mobility_ticket(&[7; 41]);
    let away = bench.client(AWAY);
    assert_eq!(bench.call(&away, Method::REFRESH, forged).code(), 400);
    assert_eq!(bench.relay.counters().handed_over, 0);
}
