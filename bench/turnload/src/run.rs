//! One run: packets are sent at a pace, and counted where they come out.

use std::time::{Duration, Instant};

use crate::field::{Arrival, Field, Way};
use crate::options::{Direction, Server, Traffic};
use crate::packet::Packet;
use crate::process;

/// When nothing has come out for so long, all that is under way is taken for lost.
const LOST: Duration = Duration::from_millis(20);
/// How long stragglers are waited for.
const STRAGGLERS: Duration = Duration::from_millis(200);
/// How long round trips go on before they are measured, in seconds.
const WARM_UP: f64 = 0.2;

/// How fast packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As many may be under way in each direction.
    Window(u32),
    /// So many a second in all.
    Rate(u64),
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) seconds: f64,
    /// What the server and the generator have used.
    pub(crate) server: Duration,
    pub(crate) generator: Duration,
}

impl Outcome {
    /// Packets that came out per second.
    pub(crate) fn rate(&self) -> f64 {
        self.received as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Packets that were sent per second.
    pub(crate) fn offered(&self) -> f64 {
        self.sent as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// The share that did not come out.
    pub(crate) fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 1.0 - self.received as f64 / self.sent as f64 }
    }
}

/// A run that has not begun.
pub(crate) struct Run<'a> {
    field: &'a mut Field,
    pids: &'a [u32],
    burst: usize,
    flows: Vec<Flow>,
}

/// Packets of one direction.
#[derive(Debug)]
struct Flow {
    way: Way,
    /// The number of the next packet.
    next: u64,
    sent: u64,
    received: u64,
    under_way: i64,
    /// When the last one came out.
    progress: Instant,
    /// Which allocation is next.
    turn: usize,
}

/// Milestones of a run.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: Instant,
    end: Instant,
}

impl<'a> Run<'a> {
    pub(crate) fn new(server: &'a Server, traffic: &Traffic, field: &'a mut Field) -> Self {
        field.run += 1;
        let ways: &[Way] = match traffic.direction {
            Direction::Up => &[Way::Up],
            Direction::Down => &[Way::Down],
            Direction::Both => &[Way::Up, Way::Down],
        };
        let flows = ways.iter().map(|&way| Flow::new(way, field.run)).collect();
        Self { field, pids: &server.pids, burst: traffic.burst.into(), flows }
    }

    /// Sends at `pace` for so many seconds.
    pub(crate) fn load(mut self, pace: Pace, seconds: f64) -> Outcome {
        let span = Span::new(seconds);
        let before = self.used();
        let mut outcome = Outcome { seconds, ..Outcome::default() };
        while Instant::now() < span.end {
            let was_idle = !self.send(pace, span);
            // At a rate nobody sleeps: the next packet may be due before anything arrives.
            self.receive(u64::from(was_idle && matches!(pace, Pace::Window(_))));
        }
        outcome.seconds = span.began.elapsed().as_secs_f64();
        while self.flows.iter().any(|flow| flow.under_way > 0) && span.end.elapsed() < STRAGGLERS {
            self.receive(1);
        }
        self.sum(&mut outcome, before);
        outcome
    }

    /// Sends single packets up at `rate` for so many seconds, sends back what comes out, and returns how long each
    /// was away, in microseconds.
    pub(crate) fn round_trips(mut self, rate: u64, seconds: f64) -> (Outcome, Vec<f64>) {
        let (span, warm) = (Span::new(seconds), Duration::from_secs_f64(WARM_UP));
        let before = self.used();
        let mut outcome = Outcome { seconds, ..Outcome::default() };
        let mut times = Vec::new();
        self.flows = vec![Flow::new(Way::Up, self.field.run)];
        let end = span.end + STRAGGLERS;
        while Instant::now() < end {
            let flow = &mut self.flows[0];
            if Instant::now() < span.end && flow.sent < span.due(rate) {
                flow.send(self.field, 1);
            }
            let mut arrived = Vec::new();
            self.field.receive(0, |arrival| arrived.push(arrival));
            for Arrival { way, packet, back } in arrived {
                match way {
                    Way::Up => self.field.send_back(back, packet),
                    Way::Down => {
                        flow.received += 1;
                        flow.under_way -= 1;
                        let away = self.field.time().saturating_sub(packet.sent);
                        times.extend((span.began.elapsed() > warm).then_some(away as f64 / 1e3));
                    }
                }
            }
            if Instant::now() >= span.end && flow.under_way <= 0 {
                break;
            }
        }
        self.sum(&mut outcome, before);
        (outcome, times)
    }

    /// Sends what `pace` allows. Whether that was anything.
    fn send(&mut self, pace: Pace, span: Span) -> bool {
        let directions = self.flows.len() as u64;
        let mut any = false;
        for flow in &mut self.flows {
            let mut wanted = match pace {
                Pace::Window(window) => flow.room(window),
                Pace::Rate(rate) => {
                    let missing = (span.due(rate) / directions).saturating_sub(flow.sent) as usize;
                    missing.min(4 * self.burst)
                }
            };
            // Whole bursts only, so that they stay bursts.
            while wanted >= self.burst {
                let taken = flow.send(self.field, self.burst);
                if taken == 0 {
                    break;
                }
                any = true;
                wanted -= taken.min(wanted);
            }
        }
        any
    }

    fn receive(&mut self, milliseconds: u64) {
        let (now, flows) = (Instant::now(), &mut self.flows);
        self.field.receive(milliseconds, |arrival| {
            if let Some(flow) = flows.iter_mut().find(|flow| flow.way == arrival.way) {
                flow.received += 1;
                flow.under_way -= 1;
                flow.progress = now;
            }
        });
    }

    fn used(&self) -> (Duration, Duration) {
        (process::cpu(self.pids), process::cpu(&[std::process::id()]))
    }

    fn sum(&self, outcome: &mut Outcome, before: (Duration, Duration)) {
        let after = self.used();
        outcome.server = after.0.saturating_sub(before.0);
        outcome.generator = after.1.saturating_sub(before.1);
        outcome.sent = self.flows.iter().map(|flow| flow.sent).sum();
        outcome.received = self.flows.iter().map(|flow| flow.received).sum();
    }
}

impl Flow {
    fn new(way: Way, run: u64) -> Self {
        let next = Packet::first_number(run);
        Self { way, next, sent: 0, received: 0, under_way: 0, progress: Instant::now(), turn: 0 }
    }

    /// How many packets may be sent.
    fn room(&mut self, window: u32) -> usize {
        let now = Instant::now();
        if now - self.progress > LOST {
            (self.under_way, self.progress) = (0, now);
        }
        usize::try_from(i64::from(window) - self.under_way).unwrap_or(0)
    }

    /// Sends up to `count` packets of the next allocation, and returns how many the kernel has taken.
    fn send(&mut self, field: &mut Field, count: usize) -> usize {
        let turn = self.turn;
        self.turn = (turn + 1) % field.flows();
        let taken = field.send(self.way, turn, self.next, count);
        self.next += taken as u64;
        self.sent += taken as u64;
        self.under_way += taken as i64;
        taken
    }
}

impl Span {
    fn new(seconds: f64) -> Self {
        let began = Instant::now();
        Self { began, end: began + Duration::from_secs_f64(seconds) }
    }

    /// How many packets should have been sent by now.
    fn due(self, rate: u64) -> u64 {
        (self.began.elapsed().as_secs_f64() * rate as f64) as u64
    }
}
