//! What a packet suffers on its way between two hosts.

use std::time::{Duration, Instant};

use adit_core::rand::Rng;

/// A chance, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Odds(u32);

impl Odds {
    const ALL: u32 = 1_000_000;

    /// Throws the dice. Odds of nothing draw nothing, so that a world without faults has none of their chances.
    pub(crate) fn hit(self, rng: &mut Rng) -> bool {
        self.0 > 0 && rng.below(Self::ALL) < self.0
    }

    /// That part of `whole`, rounded down.
    pub fn of(self, whole: usize) -> usize {
        let part = whole as u64 * u64::from(self.0) / u64::from(Self::ALL);
        usize::try_from(part).expect("a part of a usize")
    }
}

impl std::fmt::Display for Odds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 10_000.0)
    }
}

/// `5.percent()`.
pub trait Percent {
    /// This many in a hundred; at most all.
    fn percent(self) -> Odds;
    /// This many in a thousand; at most all.
    fn per_mille(self) -> Odds;
}

impl Percent for u32 {
    fn percent(self) -> Odds {
        Odds(self.min(100) * (Odds::ALL / 100))
    }

    fn per_mille(self) -> Odds {
        Odds(self.min(1000) * (Odds::ALL / 1000))
    }
}

/// Losses that come together: the two states of Gilbert and Elliott, each direction of a link in its own. Before each
/// packet the link may change its state; in a burst it loses more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bursts {
    /// How many packets begin a burst, of those outside of one.
    pub begin: Odds,
    /// How many packets end it, of those within: a fifth means bursts of five packets on average.
    pub end: Odds,
    /// How many packets are lost within. Outside it is [`Link::losing`].
    pub loss: Odds,
    /// When a burst is over in any case. States change with packets alone: without this, whoever sends a packet every
    /// few seconds could be in one burst for a minute, which no cause of bursts is good for.
    pub longest: Duration,
}

impl Bursts {
    /// Bursts of `length` packets on average and 1 s at most, all of them lost, of which each packet outside begins one
    /// by `begin`.
    ///
    /// # Panics
    /// When `length` is 0.
    pub fn of(length: u32, begin: Odds) -> Self {
        Self { begin, end: Odds(Odds::ALL / length), loss: Odds(Odds::ALL), longest: Duration::from_secs(1) }
    }
}

/// The way between two hosts, in one direction or, by [`World::set_link`](crate::World::set_link), in both alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The time that every packet takes.
    pub latency: Duration,
    /// What is added to it at most, evenly distributed. Packets overtake each other within it.
    pub jitter: Duration,
    /// How many packets are lost.
    pub loss: Odds,
    /// When many are lost one after the other.
    pub bursts: Option<Bursts>,
    /// How many packets arrive twice, of those that arrive.
    pub duplication: Odds,
    /// How many packets are held back for another latency or two, so that later ones overtake them.
    pub reordering: Odds,
    /// Bytes per second with all headers, for packets queued one behind the other; `None`: unlimited. What would wait
    /// for longer than 100 ms is dropped.
    pub rate: Option<u64>,
    /// The largest IP packet that passes, in bytes. A larger one is dropped without a word (an ICMP black hole).
    pub mtu: usize,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: Odds::default(),
            bursts: None,
            duplication: Odds::default(),
            reordering: Odds::default(),
            rate: None,
            mtu: 1500,
        }
    }
}

impl Link {
    /// The longest queue in front of a link with a rate, in time.
    pub(crate) const QUEUE: Duration = Duration::from_millis(100);

    /// The link that takes `latency` and does no harm.
    pub fn of(latency: Duration) -> Self {
        Self { latency, ..Self::default() }
    }

    /// Loses that many packets.
    pub fn losing(self, loss: Odds) -> Self {
        Self { loss, ..self }
    }

    /// Loses packets in bursts, besides.
    pub fn bursting(self, bursts: Bursts) -> Self {
        Self { bursts: Some(bursts), ..self }
    }

    /// Doubles that many packets.
    pub fn duplicating(self, duplication: Odds) -> Self {
        Self { duplication, ..self }
    }

    /// Holds that many packets back.
    pub fn reordering(self, reordering: Odds) -> Self {
        Self { reordering, ..self }
    }

    /// Adds up to `jitter` to the latency of each packet.
    pub fn jittering(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// Carries at most that many bytes per second.
    pub fn at_rate(self, bytes_per_second: u64) -> Self {
        Self { rate: Some(bytes_per_second), ..self }
    }

    /// Carries IP packets of at most that many bytes.
    pub fn with_mtu(self, mtu: usize) -> Self {
        Self { mtu, ..self }
    }

    /// How long one packet travels, and its copy when it is doubled; nothing when it is lost.
    /// `burst` is the link's memory: since when there has been one.
    pub(crate) fn crossings(
        &self,
        now: Instant,
        burst: &mut Option<Instant>,
        rng: &mut Rng,
    ) -> Option<(Duration, Option<Duration>)> {
        if self.loss(now, burst, rng).hit(rng) {
            return None;
        }
        let first = self.crossing(rng);
        let second = self.duplication.hit(rng).then(|| self.crossing(rng));
        Some((first, second))
    }

    /// The odds of losing the next packet.
    fn loss(&self, now: Instant, burst: &mut Option<Instant>, rng: &mut Rng) -> Odds {
        let Some(bursts) = self.bursts else { return self.loss };
        *burst = burst.filter(|&began| now.duration_since(began) < bursts.longest);
        let turns = if burst.is_some() { bursts.end } else { bursts.begin };
        if turns.hit(rng) {
            *burst = if burst.is_some() { None } else { Some(now) };
        }
        if burst.is_some() { bursts.loss } else { self.loss }
    }

    fn crossing(&self, rng: &mut Rng) -> Duration {
        let jitter = u32::try_from(self.jitter.as_micros()).unwrap_or(u32::MAX);
        let mut time = self.latency + Duration::from_micros(u64::from(rng.below(jitter)));
        if self.reordering.hit(rng) {
            time += self.latency + self.latency.mul_f64(f64::from(rng.below(1000)) / 1000.0);
        }
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_about_what_they_say() {
        let mut rng = Rng::new([3; 32]);
        let now = Instant::now();
        let link = Link::default().losing(5.percent()).duplicating(10.percent());
        let crossings: Vec<_> = (0..10_000).map(|_| link.crossings(now, &mut None, &mut rng)).collect();
        let lost = crossings.iter().filter(|crossing| crossing.is_none()).count();
        let doubled = crossings.iter().flatten().filter(|(_, second)| second.is_some()).count();
        assert!((400..600).contains(&lost), "{lost}");
        assert!((850..1050).contains(&doubled), "{doubled}");
    }

    #[test]
    fn bursts_are_as_long_and_as_many_as_they_say() {
        let mut rng = Rng::new([3; 32]);
        let link = Link::default().bursting(Bursts::of(10, 1.percent()));
        let (now, mut burst) = (Instant::now(), None);
        let lost: Vec<bool> =
            (0..100_000).map(|_| link.crossings(now, &mut burst, &mut rng).is_none()).collect();
        let bursts = lost.windows(2).filter(|pair| *pair == [false, true]).count();
        let losses = lost.iter().filter(|&&lost| lost).count();
        // 1 / (100 + 10) of all packets begin one.
        assert!((800..1000).contains(&bursts), "{bursts}");
        assert!((9 * bursts..11 * bursts).contains(&losses), "{losses} in {bursts}");
    }

    #[test]
    fn a_burst_is_over_after_its_longest_time_however_few_packets_there_were() {
        let mut rng = Rng::new([3; 32]);
        let (now, mut burst) = (Instant::now(), None);
        let endless = Bursts { end: 0.percent(), ..Bursts::of(1, 100.percent()) };
        let link = Link::default().bursting(endless);
        assert!(link.crossings(now, &mut burst, &mut rng).is_none());
        let kind = Link::default().bursting(Bursts { begin: 0.percent(), ..endless });
        let after = |ms| now + Duration::from_millis(ms);
        assert!(kind.crossings(after(999), &mut burst, &mut rng).is_none());
        assert!(kind.crossings(after(1000), &mut burst, &mut rng).is_some());
    }

    #[test]
    fn a_part_is_rounded_down() {
        assert_eq!(50.percent().of(3), 1);
        assert_eq!(200.percent().of(usize::MAX >> 20), usize::MAX >> 20);
    }
}
