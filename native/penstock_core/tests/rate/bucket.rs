//! One key against a plain model: a bucket of tokens in exact fractions.

use penstock_core::{CENTURY, Hit, LATEST, Rate, Reserved};
use proptest::prelude::*;

use crate::stage::{MS, key, limits, open};

/// The model: a bucket that holds `level / per` tokens. `limit` tokens come in `per` ns, until
/// the bucket holds `burst` tokens.
#[derive(Clone, Debug)]
struct Bucket {
    limit: u128,
    per: u128,
    burst: u128,
    level: u128,
    /// The time of `level`, in ns.
    at: u64,
}

impl Bucket {
    fn new(limit: u32, per_ms: u64, burst: u32) -> Self {
        let (limit, per, burst) = (u128::from(limit), u128::from(per_ms) * u128::from(MS), u128::from(burst));
        Self { limit, per, burst, level: burst * per, at: 0 }
    }

    fn fill(&mut self, now: u64) {
        self.level = (self.burst * self.per).min(self.level + u128::from(now - self.at) * self.limit);
        self.at = now;
    }

    fn hit(&mut self, now: u64, cost: u32) -> Hit {
        self.fill(now);
        let cost = u128::from(cost);
        if cost > self.burst {
            Hit::Never
        } else if cost * self.per <= self.level {
            self.level -= cost * self.per;
            Hit::Allow((self.level / self.per) as u32)
        } else {
            Hit::Deny((cost * self.per - self.level).div_ceil(self.limit) as u64)
        }
    }
}

/// Generates rates whose interval between hits is a whole number of ns, so that nothing is
/// rounded.
pub(crate) fn whole_rates() -> impl Strategy<Value = (u32, u64, u32)> {
    (0_u32..7, 0_u32..7, 1_u64..100_000, 1_u32..2_000).prop_map(|(twos, fives, per_ms, burst)| {
        let limit = 2_u32.pow(twos) * 5_u32.pow(fives).min(15_625);
        (limit, per_ms.max(u64::from(limit).div_ceil(1_000)), burst)
    })
}

/// Generates rates of all orders of magnitude within the bounds.
pub(crate) fn any_rates() -> impl Strategy<Value = (u32, u64, u32)> {
    (0_u32..31, any::<u32>(), 0_u32..42, any::<u64>(), 0_u32..31, any::<u32>())
        .prop_map(|(a, limit, b, per, c, burst)| {
            let limit = (limit & 0x7FFF_FFFF) >> a | 1;
            let per = (per & ((1 << 42) - 1)) >> b | 1;
            (limit, per, (burst & 0x7FFF_FFFF) >> c | 1)
        })
        .prop_filter("within bounds", |&(limit, per, burst)| Rate::new(limit, per, burst).is_ok())
}

/// Generates the gap before a hit, in ns, and the cost of the hit.
pub(crate) fn hit() -> impl Strategy<Value = (u64, u32)> {
    let gap = prop_oneof![Just(0), 0..2_000_u64, 0..3 * MS, 0..20_000 * MS];
    let cost = prop_oneof![4 => Just(1_u32), 1 => 1..50_u32, 1 => 1..3_000_u32];
    (gap, cost)
}

/// Generates by how much the clock of a caller is behind, in ns.
pub(crate) fn back() -> impl Strategy<Value = u64> {
    0..5_000 * MS
}

fn hits() -> impl Strategy<Value = Vec<(u64, u32)>> {
    prop::collection::vec(hit(), 1..200)
}

/// The limit, the time `per` in ms, and the burst.
type Given = (u32, u64, u32);

/// Compares each decision with that of the bucket. The interval of the rate must be a whole
/// number of ns. As each clock, this one stops at [`LATEST`].
pub(crate) fn compare((limit, per, burst): Given, hits: Vec<(u64, u32)>, keyed: bool) {
    let (limiter, global) = open(10, limits(limit, per, burst));
    let key = if keyed { key(1) } else { global };
    let mut bucket = Bucket::new(limit, per, burst);
    let mut now = 0;
    for (gap, cost) in hits {
        now += gap;
        if now > LATEST {
            break;
        }
        let peeked = limiter.peek(key, now, 1);
        assert_eq!(peeked, bucket.clone().hit(now, 1));
        assert_eq!(limiter.hit(key, now, cost), bucket.hit(now, cost));
    }
}

/// Waits as long as each refusal says. The hit must be allowed then, and not 1 ns earlier.
pub(crate) fn obey_waits((limit, per, burst): Given, hits: Vec<(u64, u32)>) {
    let (limiter, key) = open(1, limits(limit, per, burst));
    let mut now = 0;
    for (gap, cost) in hits {
        now += gap;
        if now > LATEST {
            break;
        }
        match limiter.hit(key, now, cost) {
            // No clock goes further than `LATEST`.
            Hit::Deny(wait) if now + wait > LATEST => break,
            Hit::Deny(wait) => {
                assert!(wait > 0);
                assert_eq!(limiter.hit(key, now + wait - 1, cost), Hit::Deny(1));
                now += wait;
                assert!(matches!(limiter.hit(key, now, cost), Hit::Allow(_)));
            }
            Hit::Never => assert!(cost > burst),
            Hit::Allow(remaining) => assert!(remaining <= burst - cost),
            Hit::Gone => panic!("the limiter is open"),
        }
    }
}

/// Hits by clocks that are behind by the times in `back`, and compares what is allowed with the
/// rate.
pub(crate) fn hit_by_late_clocks((limit, per, burst): Given, hits: Vec<(u64, u32)>, back: Vec<u64>) {
    let (limiter, key) = open(1, limits(limit, per, burst));
    let (mut now, mut allowed) = (0_u64, 0_u64);
    for ((gap, cost), back) in hits.into_iter().zip(back) {
        now += gap;
        if now > LATEST {
            break;
        }
        let clock = if gap % 2 == 0 { now } else { now.saturating_sub(back) };
        if let Hit::Allow(_) = limiter.hit(key, clock, cost) {
            allowed += u64::from(cost);
        }
        // `most` is the burst and the hits that came since, times `per` in ns. The interval
        // is rounded down to whole ns, so the limiter may allow up to 0.1 % more.
        let most = u128::from(burst) * u128::from(per) * u128::from(MS) + u128::from(now) * u128::from(limit);
        assert!(u128::from(allowed) * u128::from(per) * u128::from(MS) <= most + most / 1_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn each_hit_is_decided_as_by_an_exact_bucket(rate in whole_rates(), hits in hits(), keyed: bool) {
        compare(rate, hits, keyed);
    }

    #[test]
    fn a_denied_hit_is_allowed_after_its_wait_and_not_before(rate in any_rates(), hits in hits()) {
        obey_waits(rate, hits);
    }

    // Some callers read a clock that is behind by up to 5 s.
    #[test]
    fn no_order_of_clocks_allows_more_than_the_rate(
        rate in any_rates(),
        hits in hits(),
        back in prop::collection::vec(back(), 200),
    ) {
        hit_by_late_clocks(rate, hits, back);
    }

    #[test]
    fn a_caller_that_never_stops_hitting_gets_the_rate((limit, per, burst) in any_rates(), steps in 1_u64..2_000) {
        let rate = Rate::new(limit, per, burst).unwrap();
        let (limiter, key) = open(1, limits(limit, per, burst));
        let mut allowed = 0_u64;
        let mut now = 0;
        // The caller hits at the exact instants at which a token becomes available.
        for _ in 0..steps + u64::from(burst).min(2_000) {
            match limiter.hit(key, now, 1) {
                Hit::Allow(_) => allowed += 1,
                Hit::Deny(wait) if now + wait > LATEST => break,
                Hit::Deny(wait) => now += wait,
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let exact = u128::from(now) * u128::from(limit) / (u128::from(per) * u128::from(MS));
        if allowed >= u64::from(burst) {
            let above = u128::from(allowed - u64::from(burst));
            prop_assert!(above + 1 >= exact - exact / 1_000 && above <= exact + exact / 1_000 + 1);
        }
        // By the rounded interval, no hit beyond the rate is allowed.
        prop_assert!(allowed <= u64::from(burst) + now / rate.interval());
    }

    #[test]
    fn turns_come_at_the_rate_and_in_order((limit, per, burst) in any_rates(), costs in prop::collection::vec(1_u32..5, 1..50)) {
        let (limiter, key) = open(1, limits(limit, per, burst));
        let rate = Rate::new(limit, per, burst).unwrap();
        let (mut last, mut charged) = (0, 0_u64);
        for cost in costs {
            match limiter.reserve(key, 0, cost, u64::MAX) {
                Reserved::In(wait) => {
                    charged += u64::from(cost) * rate.interval();
                    prop_assert_eq!(wait, charged.saturating_sub(rate.interval() * u64::from(burst)));
                    prop_assert!(wait >= last);
                    last = wait;
                }
                Reserved::Never => prop_assert!(cost > burst),
                // A turn is refused only if its TAT would pass the last instant, 283 years.
                Reserved::TooFar(wait) => prop_assert!(wait > CENTURY),
                Reserved::NoPlace(_) | Reserved::Gone => prop_assert!(false),
            }
        }
    }
}
