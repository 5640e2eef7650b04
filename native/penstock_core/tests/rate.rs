//! Rate limiters against plain models of them, in exact arithmetic, and their edges.
#![cfg(not(any(loom, shuttle)))]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use penstock_core::{
    All, CENTURY, Changed, Charge, Hit, Key, LATEST, Limiter, Limits, OutOfBounds, Progress, Rate, Reserved, hit_all,
    whole_ms,
};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn limits(limit: u32, per_ms: u64, burst: u32) -> Limits {
    Limits { limit, per_ms, rate: Rate::new(limit, per_ms, burst).unwrap() }
}

/// Opens a limiter, and returns it with its global key.
fn open(max_keys: u32, limits: Limits) -> (Limiter, Key) {
    let limiter = Limiter::new(max_keys).unwrap();
    let incarnation = limiter.open(limits, false, 0);
    (limiter, Key::Global(incarnation))
}

/// Returns a key that looks like the hash of `n`.
fn key(n: u64) -> Key {
    let mut word = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    // The generation is that of the first opening.
    Key::Tag(1, (word ^ (word >> 31)).max(1))
}

fn update(limiter: &Limiter, limits: Limits, now: u64) -> usize {
    let (mut from, mut steps) = (None, 0);
    while let Changed::NotYet(progress) = limiter.update(1, |_| Some(limits), now, from) {
        (from, steps) = (Some(progress), steps + 1);
    }
    steps
}

fn keys(limiter: &Limiter, now: u64) -> u64 {
    let (mut sum, mut at) = (0, Some(0));
    while let Some(from) = at {
        let (some, next) = limiter.keys(from, now);
        (sum, at) = (sum + some, next);
    }
    sum
}

// The model is a bucket of tokens in exact fractions: it contains `level / per` tokens.

#[derive(Clone, Debug)]
struct Bucket {
    limit: u128,
    per: u128,
    burst: u128,
    level: u128,
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

/// Generates rates whose interval is a whole number of ns.
fn whole_rates() -> impl Strategy<Value = (u32, u64, u32)> {
    (0_u32..7, 0_u32..7, 1_u64..100_000, 1_u32..2_000).prop_map(|(twos, fives, per_ms, burst)| {
        let limit = 2_u32.pow(twos) * 5_u32.pow(fives).min(15_625);
        (limit, per_ms.max(u64::from(limit).div_ceil(1_000)), burst)
    })
}

/// Generates all rates within the bounds, of all orders of magnitude.
fn any_rates() -> impl Strategy<Value = (u32, u64, u32)> {
    (0_u32..31, any::<u32>(), 0_u32..42, any::<u64>(), 0_u32..31, any::<u32>())
        .prop_map(|(a, limit, b, per, c, burst)| {
            let limit = (limit & 0x7FFF_FFFF) >> a | 1;
            let per = (per & ((1 << 42) - 1)) >> b | 1;
            (limit, per, (burst & 0x7FFF_FFFF) >> c | 1)
        })
        .prop_filter("within bounds", |&(limit, per, burst)| Rate::new(limit, per, burst).is_ok())
}

/// Generates gaps between hits, in ns, and the costs of the hits.
fn hits() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let gap = prop_oneof![Just(0), 0..2_000_u64, 0..3 * MS, 0..20_000 * MS];
    let cost = prop_oneof![4 => Just(1_u32), 1 => 1..50_u32, 1 => 1..3_000_u32];
    prop::collection::vec((gap, cost), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn each_hit_is_what_an_exact_bucket_says((limit, per, burst) in whole_rates(), hits in hits(), keyed: bool) {
        let (limiter, global) = open(10, limits(limit, per, burst));
        let key = if keyed { key(1) } else { global };
        let mut bucket = Bucket::new(limit, per, burst);
        let mut now = 0;
        for (gap, cost) in hits {
            now += gap;
            let peeked = limiter.peek(key, now, 1);
            prop_assert_eq!(peeked, bucket.clone().hit(now, 1));
            prop_assert_eq!(limiter.hit(key, now, cost), bucket.hit(now, cost));
        }
    }

    #[test]
    fn what_is_denied_is_allowed_after_the_wait_and_not_before((limit, per, burst) in any_rates(), hits in hits()) {
        let (limiter, key) = open(1, limits(limit, per, burst));
        let mut now = 0;
        for (gap, cost) in hits {
            now += gap;
            match limiter.hit(key, now, cost) {
                // No clock goes further than `LATEST`.
                Hit::Deny(wait) if now + wait > LATEST => break,
                Hit::Deny(wait) => {
                    prop_assert!(wait > 0);
                    prop_assert_eq!(limiter.hit(key, now + wait - 1, cost), Hit::Deny(1));
                    now += wait;
                    prop_assert!(matches!(limiter.hit(key, now, cost), Hit::Allow(_)));
                }
                Hit::Never => prop_assert!(cost > burst),
                Hit::Allow(remaining) => prop_assert!(remaining <= burst - cost),
                Hit::Gone => prop_assert!(false),
            }
        }
    }

    // The callers read clocks that differ, in any order.
    #[test]
    fn no_order_of_clocks_allows_more_than_the_rate(
        (limit, per, burst) in any_rates(),
        hits in hits(),
        back in prop::collection::vec(0..5_000 * MS, 200),
    ) {
        let (limiter, key) = open(1, limits(limit, per, burst));
        let (mut now, mut allowed) = (0_u64, 0_u64);
        for ((gap, cost), back) in hits.into_iter().zip(back) {
            now += gap;
            let clock = if gap % 2 == 0 { now } else { now.saturating_sub(back) };
            if let Hit::Allow(_) = limiter.hit(key, clock, cost) {
                allowed += u64::from(cost);
            }
            // The bound is a fraction, plus the 0.05 % by which the interval may be rounded.
            let most = u128::from(burst) * u128::from(per) * u128::from(MS) + u128::from(now) * u128::from(limit);
            prop_assert!(u128::from(allowed) * u128::from(per) * u128::from(MS) <= most + most / 2_000);
        }
    }

    #[test]
    fn who_hits_all_the_time_gets_the_rate((limit, per, burst) in any_rates(), steps in 1_u64..2_000) {
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
        // A number of whole hits is exact, however the interval was rounded.
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
                // The turn would be later than the clock can count.
                Reserved::TooFar(wait) => prop_assert!(wait > CENTURY),
                Reserved::NoPlace(_) | Reserved::Gone => prop_assert!(false),
            }
        }
    }
}

// Many keys.

#[derive(Clone, Debug)]
enum Act {
    Hit(u64, u32),
    Reset(u64),
    Update(u32, u32),
    Reserve(u64, u64),
    Charge(u64, u32),
    Refund(u64, u32),
    Pause(u64, u64),
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let act = prop_oneof![
        20 => (0..12_u64, 1..6_u32).prop_map(|(key, cost)| Act::Hit(key, cost)),
        2 => (0..12_u64).prop_map(Act::Reset),
        2 => (1..50_u32, 1..30_u32).prop_map(|(limit, burst)| Act::Update(limit, burst)),
        4 => (0..12_u64, 0..30 * MS).prop_map(|(key, patience)| Act::Reserve(key, patience)),
        2 => (0..12_u64, 1..40_u32).prop_map(|(key, cost)| Act::Charge(key, cost)),
        2 => (0..12_u64, 1..10_u32).prop_map(|(key, cost)| Act::Refund(key, cost)),
        1 => (0..12_u64, 0..300 * MS).prop_map(|(key, ns)| Act::Pause(key, ns)),
    ];
    prop::collection::vec((prop_oneof![Just(0), 0..2 * MS, 0..200 * MS], act), 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    // The model is a map of what each key owes, in ns. Key 0 is the global one.
    #[test]
    fn each_key_is_counted_for_itself(acts in acts()) {
        let mut rate = Rate::new(10, 100, 5).unwrap();
        let (limiter, global) = open(100, limits(10, 100, 5));
        let name = |n: u64| if n == 0 { global } else { key(n) };
        let mut owed: HashMap<u64, u64> = HashMap::new();
        // The time at which the pause of each key ends.
        let mut paused: HashMap<u64, u64> = HashMap::new();
        let (mut now, mut allowed, mut denied) = (0, 0, 0);
        for (gap, act) in acts {
            now += gap;
            for debt in owed.values_mut() {
                *debt = debt.saturating_sub(gap);
            }
            let tolerance = |rate: Rate| rate.interval() * u64::from(rate.burst());
            let pause = |paused: &HashMap<u64, u64>, n| paused.get(&n).map_or(0, |until: &u64| until.saturating_sub(now));
            let next = |debt: u64, pause: u64| {
                let then = debt + rate.interval();
                match pause.max(then.saturating_sub(tolerance(rate))) {
                    0 => Hit::Allow(((tolerance(rate) - then) / rate.interval()) as u32),
                    wait => Hit::Deny(wait),
                }
            };
            match act {
                Act::Charge(n, cost) => {
                    let debt = owed.entry(n).or_default();
                    *debt += rate.interval() * u64::from(cost);
                    prop_assert_eq!(limiter.charge_anyway(name(n), now, cost), next(*debt, pause(&paused, n)));
                }
                Act::Refund(n, cost) => {
                    let debt = owed.entry(n).or_default();
                    *debt = debt.saturating_sub(rate.interval() * u64::from(cost));
                    prop_assert_eq!(limiter.give_back(name(n), now, cost), next(*debt, pause(&paused, n)));
                }
                Act::Pause(n, ns) => {
                    let until = paused.entry(n).or_default();
                    *until = (now + ns).max(*until);
                    prop_assert!(limiter.pause(name(n), now, ns));
                    let debt = owed.entry(n).or_default();
                    prop_assert_eq!(limiter.peek(name(n), now, 1), next(*debt, pause(&paused, n)));
                }
                Act::Hit(n, cost) => {
                    let paused = pause(&paused, n);
                    let debt = owed.entry(n).or_default();
                    let then = *debt + rate.interval() * u64::from(cost);
                    let expected = if cost > rate.burst() {
                        Hit::Never
                    } else if paused > 0 {
                        Hit::Deny(paused.max(then.saturating_sub(tolerance(rate))))
                    } else if then <= tolerance(rate) {
                        *debt = then;
                        Hit::Allow(((tolerance(rate) - then) / rate.interval()) as u32)
                    } else {
                        Hit::Deny(then - tolerance(rate))
                    };
                    if let Hit::Allow(_) = expected { allowed += 1 } else { denied += 1 }
                    prop_assert_eq!(limiter.hit(name(n), now, cost), expected);
                }
                Act::Reserve(n, patience) => {
                    // The turns of a paused key begin after the pause.
                    let paused = pause(&paused, n);
                    let debt = owed.entry(n).or_default();
                    let then = paused.max(*debt) + rate.interval();
                    let wait = paused + (then - paused).saturating_sub(tolerance(rate));
                    let expected = if wait <= patience {
                        *debt = then;
                        allowed += 1;
                        Reserved::In(wait)
                    } else {
                        denied += 1;
                        Reserved::TooFar(wait)
                    };
                    prop_assert_eq!(limiter.reserve(name(n), now, 1, patience), expected);
                }
                Act::Reset(n) => {
                    owed.insert(n, 0);
                    paused.remove(&n);
                    prop_assert!(limiter.reset(name(n)));
                }
                Act::Update(limit, burst) => {
                    let new = Rate::new(limit, 100, burst).unwrap();
                    update(&limiter, limits(limit, 100, burst), now);
                    // An update to the rate in force changes nothing, not even charges beyond the
                    // burst.
                    if new != rate {
                        for debt in owed.values_mut() {
                            *debt = (*debt).min(tolerance(new));
                        }
                    }
                    rate = new;
                }
            }
            let active = owed.iter().filter(|&(&n, &debt)| n != 0 && debt > 0).count();
            prop_assert_eq!(keys(&limiter, now), active as u64);
            let info = limiter.info(1).unwrap();
            prop_assert_eq!((info.allowed, info.denied), (allowed, denied));
        }
    }
}

// Edges.

/// An idle key keeps its place while there is an empty one. After that, the keys that have been
/// idle for longest lose theirs first.
#[test]
fn a_new_key_takes_an_empty_place_and_then_the_one_idle_for_longest() {
    let (limiter, _) = open(8, limits(1, 1_000, 2));
    for n in 0..4 {
        assert_eq!(limiter.hit(key(n), n * 100 * MS, 1), Hit::Allow(1));
    }
    // All four are idle. Four new keys take the empty places.
    for n in 4..8 {
        assert_eq!(limiter.hit(key(n), 1_400 * MS, 2), Hit::Allow(0));
    }
    assert!((4..8).all(|n| matches!(limiter.peek(key(n), 1_500 * MS, 1), Hit::Deny(_))));
    // A caller whose clock is behind still finds the four idle keys.
    for n in 0..4 {
        assert_eq!(limiter.peek(key(n), n * 100 * MS, 2), Hit::Deny(1_000 * MS), "{n}");
    }
    // Further keys take the places of those that have been idle for longest.
    for n in 8..10 {
        assert_eq!(limiter.hit(key(n), 1_400 * MS, 2), Hit::Allow(0));
    }
    for n in 2..4 {
        assert_eq!(limiter.peek(key(n), n * 100 * MS, 2), Hit::Deny(1_000 * MS), "{n}");
    }
}

#[test]
fn no_change_is_overtaken_without_end() {
    let (limiter, _) = open(10_000, limits(1, 1_000, 10));
    update(&limiter, limits(1, 1_000, 9), 0);
    // One caller makes a single step of its change while another makes a whole one, repeatedly.
    let mut from = None;
    for n in 1..4 {
        match limiter.update(1, |_| Some(limits(5, 1_000, 7)), 0, from) {
            Changed::Yes => return,
            Changed::NotYet(progress) => from = Some(progress),
            other => panic!("{other:?}"),
        }
        update(&limiter, limits(1, 1_000, n), 0);
    }
    panic!("it is not made after three others");
}

#[test]
fn a_pause_outlives_all_but_its_end_and_a_reset() {
    let (limiter, global) = open(100, limits(10, 1_000, 5));
    for paused in [global, key(1)] {
        assert!(limiter.pause(paused, 0, 1_000 * MS));
        // A shorter pause does not end the longer one, nor does any other call except a reset.
        assert!(limiter.pause(paused, 0, 10 * MS));
        assert_eq!(limiter.give_back(paused, 0, 5), Hit::Deny(1_000 * MS));
        update(&limiter, limits(10, 1_000, 4), 0);
        update(&limiter, limits(10, 1_000, 5), 0);
        assert_eq!(limiter.hit(paused, 0, 1), Hit::Deny(1_000 * MS));
        assert_eq!(limiter.hit(key(2), 0, 1), Hit::Allow(4));
        assert!(limiter.reset(key(2)));
        let all = [charge(&limiter, key(2), 1), charge(&limiter, paused, 1)];
        assert_eq!(hit_all(&all, || 999 * MS), All::Denied(1, Some(MS)));
        assert_eq!(limiter.hit(paused, 1_000 * MS - 1, 1), Hit::Deny(1));
        assert_eq!(limiter.hit(paused, 1_000 * MS, 1), Hit::Allow(4));
        assert!(limiter.pause(paused, 1_000 * MS, 1_000 * MS));
        assert!(limiter.reset(paused));
        assert_eq!(limiter.hit(paused, 1_000 * MS, 1), Hit::Allow(4));
        assert!(limiter.reset(paused));
    }
}

#[test]
fn no_pause_is_lost_where_there_are_too_many() {
    let (limiter, _) = open(100_000, limits(10, 1_000, 5));
    for n in 0..10_000 {
        assert!(limiter.pause(key(n), 0, (1 + n) * MS));
    }
    for n in 0..10_000 {
        let Hit::Deny(wait) = limiter.peek(key(n), 0, 1) else { panic!("{n} is not paused") };
        assert!(wait >= (1 + n) * MS);
    }
    // All pauses are over when the last one is, and then as many again fit.
    assert!((0..20_000).all(|n| limiter.peek(key(n), 10_000 * MS, 1) == Hit::Allow(4)));
    for n in 0..500 {
        assert!(limiter.pause(key(n), 10_000 * MS, MS));
    }
    assert!((500..20_000).all(|n| limiter.peek(key(n), 10_000 * MS, 1) == Hit::Allow(4)));
    assert!((0..500).all(|n| limiter.peek(key(n), 10_000 * MS, 1) == Hit::Deny(MS)));
}

#[test]
fn a_pause_of_an_incarnation_before_is_of_no_effect() {
    let (limiter, old) = open(100, limits(10, 1_000, 5));
    assert!(limiter.pause(old, 0, 1_000 * MS));
    let new = Key::Global(limiter.open(limits(10, 1_000, 5), false, 0));
    assert_eq!(limiter.peek(new, 0, 1), Hit::Allow(4));
    assert!(!limiter.pause(old, 0, 1_000 * MS));
    assert_eq!(limiter.peek(new, 0, 1), Hit::Allow(4));
}

#[test]
fn a_charge_has_bounds() {
    let century_ms = CENTURY / MS;
    for (limit, per, burst) in [(1, century_ms, 1), (1, 1, 1), (2, century_ms, 2), (1_000, 1, i32::MAX as u32)] {
        for now in [0, LATEST] {
            let (limiter, global) = open(1, limits(limit, per, burst));
            for key in [global, key(1)] {
                for _ in 0..3 {
                    let hit = limiter.charge_anyway(key, now, i32::MAX as u32);
                    assert!(matches!(hit, Hit::Deny(wait) if wait <= CENTURY), "{hit:?}");
                }
                assert!(matches!(limiter.hit(key, now, 1), Hit::Deny(_)));
                while let Hit::Deny(_) = limiter.give_back(key, now, i32::MAX as u32) {}
                assert_eq!(limiter.give_back(key, now, i32::MAX as u32), Hit::Allow(burst - 1));
            }
        }
    }
    // A key without a place cannot be charged, and its hits are denied anyway.
    let (limiter, _) = open(1, limits(1, 1_000, 1));
    assert_eq!(limiter.hit(key(1), 0, 1), Hit::Allow(0));
    assert_eq!(limiter.charge_anyway(key(2), 0, 1), Hit::Deny(1_000 * MS));
    assert_eq!(limiter.give_back(key(2), 0, 1), Hit::Deny(1_000 * MS));
    assert_eq!(limiter.hit(key(2), 1_000 * MS, 1), Hit::Allow(0));
}

#[test]
fn rates_have_bounds() {
    assert_eq!(Rate::new(0, 1, 1), Err(OutOfBounds::Nothing));
    assert_eq!(Rate::new(1, 0, 1), Err(OutOfBounds::Nothing));
    assert_eq!(Rate::new(1, 1, 0), Err(OutOfBounds::Nothing));
    assert_eq!(Rate::new(1_001, 1, 1), Err(OutOfBounds::TooFast));
    assert_eq!(Rate::new(1_000, 1, 1).unwrap().interval(), 1_000);
    assert_eq!(Rate::new(1_000_000, 1_000, 1).unwrap().interval(), 1_000);
    assert_eq!(Rate::new(1_000_001, 1_000, 1), Err(OutOfBounds::TooFast));
    let century_ms = CENTURY / MS;
    assert_eq!(Rate::new(1, century_ms, 1).unwrap().interval(), CENTURY);
    assert_eq!(Rate::new(1, century_ms + 1, 1), Err(OutOfBounds::TooLong));
    assert_eq!(Rate::new(1, century_ms, 2), Err(OutOfBounds::TooLong));
    assert!(Rate::new(2, century_ms, 2).is_ok());
    assert_eq!(Rate::new(1, u64::MAX, u32::MAX), Err(OutOfBounds::TooLong));
    assert_eq!(Rate::new(u32::MAX, u64::MAX, u32::MAX), Err(OutOfBounds::TooLong));
}

#[test]
fn a_burst_worth_a_century_at_the_end_of_time_does_not_overflow() {
    let burst = i32::MAX as u32;
    // The burst is worth a century, to within one ms per hit.
    let per = CENTURY / MS / u64::from(burst);
    let (limiter, key) = open(1, limits(1, per, burst));
    assert_eq!(limiter.hit(key, LATEST, burst), Hit::Allow(0));
    assert_eq!(limiter.hit(key, LATEST, 1), Hit::Deny(per * MS));
    assert_eq!(limiter.hit(key, 0, burst), Hit::Deny(LATEST + per * MS * u64::from(burst)));
    assert!(matches!(limiter.reserve(key, LATEST, burst, u64::MAX), Reserved::TooFar(_)));
    assert_eq!(limiter.hit(key, LATEST, burst + 1), Hit::Never);
}

#[test]
fn a_clock_set_by_hand_moves_forward_alone() {
    let limiter = Limiter::new(1).unwrap();
    let key = Key::Global(limiter.open(limits(1, 86_400_000, 1), true, 77));
    let now = || limiter.now(|| panic!("not asked"));
    assert_eq!(limiter.hit(key, now(), 1), Hit::Allow(0));
    assert!(limiter.advance(1, 86_399_999));
    assert_eq!(limiter.hit(key, now(), 1), Hit::Deny(MS));
    assert!(limiter.advance(1, 1));
    assert_eq!(limiter.hit(key, now(), 1), Hit::Allow(0));
    assert!(limiter.advance(1, u64::MAX) && limiter.advance(1, u64::MAX));
    assert!(!limiter.advance(2, 1));
    assert_eq!(now(), LATEST);
    assert_eq!(limiter.hit(key, now(), 1), Hit::Allow(0));

    limiter.open(limits(1, 1, 1), false, 0);
    assert_eq!(limiter.now(|| 5), 5);
    assert!(!limiter.advance(2, 1));
}

#[test]
fn few_keys_have_just_their_places() {
    for max_keys in 1..=8 {
        let (limiter, _) = open(max_keys, limits(1, 100, 1));
        assert_eq!(limiter.info(1).unwrap().memory, max_keys as usize * 16);
        for n in 0..u64::from(max_keys) {
            assert_eq!(limiter.hit(key(n), n * MS, 1), Hit::Allow(0));
        }
        let now = u64::from(max_keys) * MS;
        assert_eq!(keys(&limiter, now), u64::from(max_keys));
        // The new key waits until the first key has paid back everything and can be evicted.
        assert_eq!(limiter.hit(key(99), now, 1), Hit::Deny(100 * MS - now));
        assert_eq!(limiter.peek(key(99), now, 1), Hit::Deny(100 * MS - now));
        assert_eq!(limiter.reserve(key(99), now, 1, 50 * MS), Reserved::TooFar(100 * MS - now));
        assert_eq!(limiter.hit(key(99), 100 * MS, 1), Hit::Allow(0));
    }
}

#[test]
fn many_keys_find_a_place_each_and_never_lose_it() {
    let max_keys = 10_000_u32;
    let (limiter, _) = open(max_keys, limits(1, 1_000_000, 1));
    assert_eq!(limiter.info(1).unwrap().memory, (2 * 10_000 - 156) * 16);
    let known = u64::from(max_keys);
    for n in 0..known {
        assert_eq!(limiter.hit(key(n), 0, 1), Hit::Allow(0), "key {n}");
    }
    assert_eq!(keys(&limiter, 0), known);
    // Nearly as many further keys may find a place. Each other one is denied, and evicts no key.
    let more = (0..100_000).filter(|&n| limiter.hit(key(100_000 + n), 1, 1) == Hit::Allow(0)).count() as u64;
    assert!(more > 9_000 && more <= 10_000, "{more}");
    for n in 0..known {
        assert_eq!(limiter.hit(key(n), 2, 1), Hit::Deny(1_000_000 * MS - 2));
    }
    assert_eq!(keys(&limiter, 2), known + more);
    assert_eq!(keys(&limiter, 1_000_000 * MS + 1), 0);
    assert!((0..100_000).all(|n| limiter.hit(key(200_000 + n), 2_000_000 * MS * (1 + n), 1) == Hit::Allow(0)));
}

#[test]
fn as_many_keys_as_there_may_be_find_a_place() {
    for (max_keys, times) in
        [(9, 10_000), (10, 10_000), (16, 5_000), (17, 5_000), (64, 1_000), (1_000, 100), (100_000, 2)]
    {
        for time in 0..times {
            let (limiter, _) = open(max_keys, limits(1, 1_000, 1));
            for n in 0..u64::from(max_keys) {
                let hit = limiter.hit(key(time << 32 | n), 0, 1);
                assert_eq!(hit, Hit::Allow(0), "key {n} of {max_keys}, time {time}");
            }
        }
    }
}

#[test]
fn a_change_is_made_in_steps_that_others_may_cut_across() {
    let (limiter, global) = open(10_000, limits(1, 1_000, 10));
    for n in 0..10_000 {
        assert_eq!(limiter.hit(key(n), 0, 8), Hit::Allow(2));
    }
    assert_eq!(limiter.hit(global, 0, 8), Hit::Allow(2));
    // The first change takes one call, as no place has the parity of an earlier rate.
    assert_eq!(update(&limiter, limits(1, 1_000, 4), 0), 0);
    assert_eq!(limiter.hit(key(0), 0, 1), Hit::Deny(1_000 * MS));
    let mut from = None;
    let mut at = 0;
    for _ in 0..2 {
        match limiter.update(1, |_| Some(limits(1, 1_000, 2)), 1_000 * MS, from) {
            Changed::NotYet(progress) => {
                assert!(progress.at > at);
                (from, at) = (Some(progress), progress.at);
            }
            other => panic!("{other:?}"),
        }
    }
    // Another caller overtakes this change. It began later, so its rate replaces this one, which
    // is over at the same time.
    assert!(update(&limiter, limits(1, 1_000, 3), 1_000 * MS) >= 5);
    assert_eq!(limiter.update(1, |_| Some(limits(1, 1_000, 2)), 1_000 * MS, from), Changed::Yes);
    assert_eq!(limiter.info(1).unwrap().limits, limits(1, 1_000, 3));
    // A change whose caller was killed halfway comes into force with the next, which begins at a
    // valid place.
    assert!(matches!(limiter.update(1, |_| Some(limits(1, 1_000, 1)), 1_000 * MS, None), Changed::NotYet(_)));
    let from = Some(Progress { asked: u64::MAX, version: 77, at: 19_000 });
    assert!(matches!(limiter.update(1, |_| None, 1_000 * MS, from), Changed::NotYet(Progress { at: 4096, .. })));
    assert!(update(&limiter, limits(1, 1_000, 2), 1_000 * MS) >= 4);
    assert_eq!(limiter.info(1).unwrap().limits, limits(1, 1_000, 2));
    // What is owed was cut to 4 at 0 ms, and to 1 at 1,000 ms by the change that was dropped.
    for n in 1..10_000 {
        assert_eq!(limiter.hit(key(n), 2_000 * MS, 1), Hit::Allow(1));
    }
    assert_eq!(limiter.hit(global, 2_000 * MS, 1), Hit::Allow(1));
}

#[test]
fn hits_of_an_incarnation_before_count_for_nobody() {
    let (limiter, old) = open(2, limits(1, 1_000, 5));
    assert_eq!(limiter.hit(old, 0, 5), Hit::Allow(0));
    let new = Key::Global(limiter.open(limits(1, 1_000, 5), false, 0));
    assert_ne!(old, new);
    assert_eq!(limiter.hit(old, 0, 1), Hit::Gone);
    assert_eq!(limiter.peek(old, 0, 1), Hit::Gone);
    assert_eq!(limiter.reserve(old, 0, 1, 0), Reserved::Gone);
    assert!(!limiter.reset(old));
    assert_eq!(limiter.hit(new, 0, 1), Hit::Allow(4));
    assert_eq!((limiter.info(1), limiter.info(2).unwrap().allowed), (None, 1));
    assert_eq!(limiter.update(1, Some, 0, None), Changed::Gone);
    // A late hit of a key leaves nothing behind that occupies a place.
    let (one, _) = open(1, limits(1, 1_000, 1));
    one.open(limits(1, 1_000, 1), false, 0);
    assert_eq!(one.hit(key(1), 0, 1), Hit::Gone);
    assert_eq!(one.hit(Key::Tag(2, 7), 0, 1), Hit::Allow(0));
}

#[test]
fn ms_are_rounded_up() {
    assert_eq!([0, 1, MS - 1, MS, MS + 1].map(whole_ms), [0, 1, 1, 1, 2]);
}

// Several at once.

fn charge(limiter: &Limiter, key: Key, cost: u32) -> Charge<'_> {
    Charge { limiter, key, cost: Some(cost) }
}

#[test]
fn several_are_charged_all_or_none() {
    let (a, all) = open(10, limits(1, 100, 3));
    let (b, _) = open(10, limits(1, 1_000, 2));
    let both = |n| [charge(&a, all, n), charge(&b, key(1), 1)];
    assert_eq!(hit_all(&both(1), || 0), All::Allowed);
    assert_eq!(hit_all(&both(1), || 0), All::Allowed);
    // The second limiter denies, the first one is not charged, and the longest wait is returned.
    assert_eq!(hit_all(&both(1), || 0), All::Denied(1, Some(1_000 * MS)));
    assert_eq!(hit_all(&both(2), || 0), All::Denied(1, Some(1_000 * MS)));
    assert_eq!(a.peek(all, 0, 1), Hit::Allow(0));
    assert_eq!(hit_all(&both(4), || 0), All::Denied(0, None));
    assert_eq!(
        hit_all(&[charge(&a, all, 1), Charge { limiter: &b, key: key(2), cost: None }], || 0),
        All::Denied(1, None)
    );
    assert_eq!(hit_all(&both(1), || 1_000 * MS), All::Allowed);
    let totals = |limiter: &Limiter| (limiter.info(1).unwrap().allowed, limiter.info(1).unwrap().denied);
    assert_eq!((totals(&a), totals(&b)), ((3, 1), (3, 3)));
    a.open(limits(1, 100, 3), false, 0);
    assert_eq!(hit_all(&both(1), || 2_000 * MS), All::Gone(0));
    assert_eq!(hit_all(&[], || 0), All::Allowed);
    // Charges of the same limiter and key are added up.
    let mut charges = Vec::new();
    for cost in [1, 1, 2] {
        charge(&b, key(7), cost).add_to(&mut charges);
        charge(&b, key(8), 1).add_to(&mut charges);
    }
    assert_eq!(charges.iter().map(|charge| charge.cost).collect::<Vec<_>>(), [Some(4), Some(3)]);
    charge(&b, key(7), u32::MAX).add_to(&mut charges);
    assert_eq!(charges[0].cost, None);
}

#[test]
fn a_caller_that_hits_as_often_as_is_allowed_is_never_denied() {
    for per in [1_u64, 7, 1_000, 60_000, 700_000] {
        for limit in 1..=(per * 1_000).min(1_000) as u32 {
            let (limiter, key) = open(1, limits(limit, per, limit));
            for window in 0..3 {
                let now = window * per * MS;
                for n in 0..limit {
                    let hit = limiter.hit(key, now, 1);
                    assert!(
                        matches!(hit, Hit::Allow(_)),
                        "{hit:?} at hit {n} of {limit} in window {window} of {per} ms"
                    );
                }
                assert!(matches!(limiter.hit(key, now, 1), Hit::Deny(_)), "{limit} per {per} ms, in window {window}");
            }
        }
    }
}

/// Runs a `hit_all` on a limiter of 1 per ms with a burst of 10, and on one that denies it. The
/// second limiter is exhausted after the charge of the first; `meanwhile` runs at that point.
fn denied_in_the_middle(cost: u32, mut meanwhile: impl FnMut(&Limiter, Key) -> u64) -> (Limiter, Key) {
    let (first, all) = open(8, limits(1, 1, 10));
    let (second, key) = open(1, limits(1, 1_000, 1));
    let (calls, now) = (Cell::new(0), Cell::new(0));
    let meanwhile = RefCell::new(&mut meanwhile);
    let charges =
        [Charge { limiter: &first, key: all, cost: Some(cost) }, Charge { limiter: &second, key, cost: Some(1) }];
    let outcome = hit_all(&charges, || {
        calls.set(calls.get() + 1);
        // The clock is read for two checks, the first charge, and then the second.
        if calls.get() == 4 {
            now.set((meanwhile.borrow_mut())(&first, all));
            assert_eq!(second.hit(key, now.get(), 1), Hit::Allow(0));
        }
        now.get()
    });
    assert!(matches!(outcome, All::Denied(1, Some(_))), "{outcome:?}");
    (first, all)
}

#[test]
fn what_has_run_out_of_a_charge_is_not_taken_back() {
    let mut allowed = 0;
    let mut hit_all_there_is = |limiter: &Limiter, key| {
        while let Hit::Allow(_) = limiter.hit(key, 4 * MS, 1) {
            allowed += 1;
        }
        4 * MS
    };
    let (first, key) = denied_in_the_middle(5, &mut hit_all_there_is);
    hit_all_there_is(&first, key);
    assert_eq!(allowed, 10, "at one time");
}

#[test]
fn a_charge_is_taken_back_whole_whatever_other_key_is_reset() {
    let (first, key) = denied_in_the_middle(5, |limiter, _| {
        assert!(limiter.reset(Key::Tag(1, 1)));
        0
    });
    assert_eq!(first.peek(key, 0, 1), Hit::Allow(9));
}

#[test]
fn one_that_cannot_be_taken_back_is_not_made_again() {
    let (first, key) = denied_in_the_middle(2, |limiter, key| {
        assert!(limiter.reset(key));
        assert_eq!(limiter.hit(key, 0, 2), Hit::Allow(8));
        0
    });
    assert_eq!(first.peek(key, 0, 1), Hit::Allow(7));
}

#[test]
fn a_new_key_of_a_full_table_is_told_when_to_come_again_or_never() {
    let (limiter, _) = open(1, limits(1, 100, 2));
    assert_eq!(limiter.hit(key(1), 0, 1), Hit::Allow(1));
    assert_eq!(limiter.hit(key(2), 0, 1), Hit::Deny(100 * MS));
    assert_eq!(limiter.hit(key(2), 0, 3), Hit::Never);
    assert_eq!(limiter.peek(key(2), 0, 3), Hit::Never);
    assert_eq!(limiter.reserve(key(2), 0, 1, 99 * MS), Reserved::TooFar(100 * MS));
    assert_eq!(limiter.reserve(key(2), 0, 1, 100 * MS), Reserved::NoPlace(100 * MS));
    assert_eq!(limiter.reserve(key(2), 0, 3, 100 * MS), Reserved::Never);
    // `NoPlace` asks the caller to come again, and so is not counted.
    let info = limiter.info(1).unwrap();
    assert_eq!((info.allowed, info.denied), (1, 4));
}

#[test]
fn an_update_that_changes_nothing_cuts_nothing() {
    let (limiter, key) = open(1, limits(1, 100, 1));
    for turn in 0..10 {
        assert_eq!(limiter.reserve(key, 0, 1, u64::MAX), Reserved::In(turn * 100 * MS));
    }
    update(&limiter, limits(1, 100, 1), 0);
    assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(1_000 * MS));
}
