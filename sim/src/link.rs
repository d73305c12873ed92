//! What a packet suffers on its way between two hosts.

use std::time::Duration;

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

/// `5.percent()`.
pub trait Percent {
    /// This many in a hundred; at most all.
    fn percent(self) -> Odds;
}

impl Percent for u32 {
    fn percent(self) -> Odds {
        Odds(self.min(100) * (Odds::ALL / 100))
    }
}

/// The way between two hosts. It is the same in both directions unless set otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The time that every packet takes.
    pub latency: Duration,
    /// What is added to it at most, evenly distributed. Packets overtake each other within it.
    pub jitter: Duration,
    /// How many packets are lost.
    pub loss: Odds,
    /// How many packets arrive twice.
    pub duplication: Odds,
    /// How many packets are held back for another latency or two, so that later ones overtake them.
    pub reordering: Odds,
    /// Bytes per second, for packets queued one behind the other; `None`: unlimited.
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

    /// How long the copies of one packet travel: none when it is lost, two when it is doubled.
    pub(crate) fn crossings(&self, rng: &mut Rng) -> [Option<Duration>; 2] {
        let first = (!self.loss.hit(rng)).then(|| self.crossing(rng));
        let second = self.duplication.hit(rng).then(|| self.crossing(rng));
        [first, second]
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
        let link = Link::default().losing(5.percent()).duplicating(10.percent());
        let crossings: Vec<_> = (0..10_000).map(|_| link.crossings(&mut rng)).collect();
        let lost = crossings.iter().filter(|[first, _]| first.is_none()).count();
        let doubled = crossings.iter().filter(|[_, second]| second.is_some()).count();
        assert!((400..600).contains(&lost), "{lost}");
        assert!((900..1100).contains(&doubled), "{doubled}");
    }

    #[test]
    fn a_part_is_rounded_down() {
        assert_eq!(50.percent().of(3), 1);
        assert_eq!(200.percent().of(usize::MAX >> 20), usize::MAX >> 20);
    }
}
