//! The stage of the simulator, where a minute is nothing.

use std::time::Duration;

use adit_core::connector::{Connector, Event, Failure};
use adit_core::gateway::{self, Gateway};
use adit_core::io::{PipeId, Read, Write};
use adit_core::relay::Relay;
use adit_core::tunnel::RejectCode;
use adit_sim::{Handle, Party, Target, World};

use crate::stage::{End, FLOOD, Heard, SOURCE, Stage, What, pattern};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long everybody waits before trying again.
const MOMENT: Duration = Duration::from_millis(1);

pub(crate) struct Simulated {
    world: World,
    relay: Handle<Relay>,
    gateway: Handle<Gateway>,
    connector: Handle<Connector>,
}

/// A stream that is written, finished and read to its end.
struct Exchange {
    pipe: PipeId,
    bytes: Vec<u8>,
    written: usize,
    finished: bool,
    back: Vec<u8>,
    ended: bool,
}

impl Simulated {
    fn begin(&mut self, what: What) -> PipeId {
        self.world.await_gateway(self.gateway);
        let key = self.world.gateway_key(self.connector, self.gateway);
        let target = target(what).parse().unwrap();
        self.world.call(self.connector, |connector, now| connector.open(now, key, &target)).unwrap()
    }

    fn read(&mut self, pipe: PipeId, all: &mut Vec<u8>) -> Read {
        let mut buffer = [0; 16 * 1024];
        let read =
            self.world.call(self.connector, |connector, now| connector.pipe_read(now, pipe, &mut buffer));
        if let Read::Bytes(count) = read {
            all.extend_from_slice(&buffer[..count]);
        }
        read
    }

    /// Moves what can be moved now.
    fn advance(&mut self, exchange: &mut Exchange) {
        let pipe = exchange.pipe;
        while exchange.written < exchange.bytes.len() {
            let rest = &exchange.bytes[exchange.written..];
            match self.world.call(self.connector, |connector, now| connector.pipe_write(now, pipe, rest)) {
                Write::Accepted(count) => exchange.written += count,
                Write::Blocked => break,
                Write::Closed => panic!("nobody listens"),
            }
        }
        if exchange.written == exchange.bytes.len() && !exchange.finished {
            exchange.finished = true;
            self.world.call(self.connector, |connector, now| connector.pipe_finish(now, pipe));
        }
        while !exchange.ended {
            match self.read(pipe, &mut exchange.back) {
                Read::Bytes(_) => {}
                Read::Blocked => return,
                Read::Finished => exchange.ended = true,
                Read::Reset => panic!("reset"),
            }
        }
    }

    fn last(&self) -> &Party {
        self.world.connections(self.gateway).last().expect("a target was reached")
    }
}

impl Stage for Simulated {
    type Stream = PipeId;

    fn start() -> Self {
        let mut world = World::seeded(11);
        let relay = world.relay("a");
        world.target("source", 19, Target::Source(pattern(SOURCE)));
        world.target("flood", 20, Target::Source(pattern(FLOOD)));
        world.target("refuses", 1, Target::Refuses);
        world.target("nowhere", 2, Target::Unreachable);
        world.target("denied", 3, Target::Echo);
        let mut gateway = world.gateway("gw");
        for what in [What::Source, What::Flood, What::Refuses, What::Unreachable] {
            gateway = gateway.allowing(target(what));
        }
        let gateway = gateway.on([relay]);
        let connector = world.connector().start();
        Self { world, relay, gateway, connector }
    }

    fn open(&mut self, what: What) -> Result<PipeId, RejectCode> {
        let wish = self.begin(what);
        let answer = |event: &Event| match event {
            Event::Opened { pipe, .. } if *pipe == wish => Some(Ok(wish)),
            Event::Failed { pipe, failure: Failure::Rejected { code, .. } } if *pipe == wish => {
                Some(Err(*code))
            }
            Event::Failed { pipe, failure } if *pipe == wish => panic!("{failure}"),
            _ => None,
        };
        let connector = self.connector;
        let found = |world: &World| world.news(connector).iter().rev().find_map(answer);
        assert!(self.world.run_until(PATIENCE, |world| found(world).is_some()), "no answer came");
        found(&self.world).expect("it came")
    }

    fn wish(&mut self, what: What) {
        let pipe = self.begin(what);
        self.drop(pipe);
    }

    fn write(&mut self, &mut pipe: &mut PipeId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.world.call(self.connector, |connector, now| connector.pipe_write(now, pipe, bytes)) {
                Write::Accepted(count) => bytes = &bytes[count..],
                Write::Blocked => self.world.run_for(MOMENT),
                Write::Closed => panic!("nobody listens"),
            }
        }
    }

    fn finish(&mut self, &mut pipe: &mut PipeId) {
        self.world.call(self.connector, |connector, now| connector.pipe_finish(now, pipe));
    }

    fn read_to_end(&mut self, &mut pipe: &mut PipeId) -> Result<Vec<u8>, End> {
        let mut all = Vec::new();
        let end = self.world.now() + PATIENCE;
        loop {
            match self.read(pipe, &mut all) {
                Read::Bytes(_) => {}
                Read::Blocked => self.world.run_for(MOMENT),
                Read::Finished => return Ok(all),
                Read::Reset => return Err(End::Reset),
            }
            assert!(self.world.now() < end, "{PATIENCE:?} are over");
        }
    }

    fn drop(&mut self, pipe: PipeId) {
        self.world.call(self.connector, |connector, now| connector.pipe_close(now, pipe));
    }

    fn exchange(&mut self, streams: Vec<(PipeId, Vec<u8>)>) -> Vec<Vec<u8>> {
        let begin = |(pipe, bytes)| Exchange {
            pipe,
            bytes,
            written: 0,
            finished: false,
            back: Vec::new(),
            ended: false,
        };
        let mut all: Vec<_> = streams.into_iter().map(begin).collect();
        let end = self.world.now() + PATIENCE;
        while !all.iter().all(|exchange| exchange.ended) {
            assert!(self.world.now() < end, "{PATIENCE:?} are over");
            all.iter_mut().for_each(|exchange| self.advance(exchange));
            self.world.run_for(MOMENT);
        }
        all.iter().for_each(|exchange| self.drop(exchange.pipe));
        all.into_iter().map(|exchange| exchange.back).collect()
    }

    fn heard(&self) -> Heard {
        let party = self.last();
        let end = party.heard_end().map(|end| match end {
            adit_sim::End::Finished => End::Finished,
            adit_sim::End::Reset => End::Reset,
        });
        Heard { bytes: party.received().to_vec(), end }
    }

    fn said(&self) -> usize {
        self.last().said()
    }

    fn shut_down_gateway(&mut self) {
        let gateway = self.gateway;
        self.world.call(gateway, Gateway::close);
        let closed = |world: &World| world.news(gateway).contains(&gateway::Event::Closed);
        assert!(self.world.run_until(PATIENCE, closed), "it did not close");
    }

    fn restart_gateway(&mut self) {
        self.shut_down_gateway();
        self.world.restart(self.gateway);
        self.world.await_gateway(self.gateway);
    }

    fn restart_relay(&mut self) {
        let (gateway, old) = (self.gateway, self.world.addresses(self.gateway).to_vec());
        self.world.restart(self.relay);
        let fresh = |world: &World| {
            let new = world.addresses(gateway);
            !new.is_empty() && new != old
        };
        assert!(self.world.run_until(PATIENCE, fresh), "the gateway can't be reached");
    }

    fn streams(&self) -> (usize, usize) {
        (self.world.machine(self.connector).pipes(), self.world.machine(self.gateway).pipes())
    }

    fn allocations(&self) -> usize {
        self.world.machine(self.relay).allocations()
    }

    fn wait(&mut self, time: Duration) {
        self.world.run_for(time);
    }
}

fn target(what: What) -> &'static str {
    match what {
        What::Echo => "tcp://echo:7",
        What::Sink => "tcp://sink:9",
        What::Source => "tcp://source:19",
        What::Flood => "tcp://flood:20",
        What::Refuses => "tcp://refuses:1",
        What::Unreachable => "tcp://nowhere:2",
        What::Denied => "tcp://denied:3",
    }
}
