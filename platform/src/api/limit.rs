//! Bounds on what one source address may ask for without a token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::problem::{Code, Problem};
use crate::config::Rate;

/// Sources that are told apart at once; more are counted by their wider network.
const MAX_SOURCES: usize = 65_536;

/// After how many questions the sources that have been quiet are forgotten.
const SWEEP: u32 = 1024;

/// A budget for each source address.
#[derive(Debug)]
pub struct BySource {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl BySource {
    /// Every source may ask at this rate. A rate of 0 counts as 1.
    pub fn new(rate: Rate) -> Self {
        let (burst, per_minute) = (rate.burst.max(1), rate.per_minute.max(1));
        let quota = Quota::with_period(Duration::from_secs(60) / per_minute)
            .expect("a minute divided by a u32 is longer than nothing")
            .allow_burst(NonZeroU32::new(burst).expect("at least one"));
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default(), asked: AtomicU32::new(0) }
    }

    /// Takes one from the budget of `source`.
    ///
    /// # Errors
    /// [`Code::RateLimited`], with the seconds after which there is one again.
    pub fn take(&self, source: IpAddr) -> Result<(), Problem> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.limiter.retain_recent();
        }
        let wide = self.limiter.len() >= MAX_SOURCES;
        self.limiter.check_key(&network(source, wide)).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now()).as_secs() + 1;
            Problem::new(Code::RateLimited, format!("Too many requests from your address; wait {wait} s."))
                .retry_after(wait)
        })
    }
}

/// Who counts as one: an IPv4 address, or the /64 of an IPv6 one; where too many are known, the /16 and the /32.
fn network(source: IpAddr, wide: bool) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) if wide => Ipv4Addr::from(u32::from(v4) & 0xffff_0000).into(),
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << if wide { 96 } else { 64 })).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_asks_too_often_is_told_when_to_come_back() {
        let limit = BySource::new(Rate { burst: 2, per_minute: 1 });
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert!(limit.take(one).is_ok() && limit.take(one).is_ok());
        let refusal = limit.take(one).unwrap_err();
        assert!(
            refusal.code == Code::RateLimited
                && refusal.retry_after.is_some_and(|wait| (50..=61).contains(&wait))
        );
        assert!(limit.take(other).is_ok());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let limit = BySource::new(Rate { burst: 1, per_minute: 1 });
        assert!(limit.take("2001:db8::1".parse().unwrap()).is_ok());
        assert!(limit.take("2001:db8::ffff:2".parse().unwrap()).is_err());
        assert!(limit.take("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }
}
