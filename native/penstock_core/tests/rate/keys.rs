//! Compares many keys with a plain model: a map of what each key owes.

use std::collections::HashMap;

use penstock_core::{Hit, Rate, Reserved};
use proptest::prelude::*;

use crate::{MS, key, keys, limits, open, update};

#[derive(Clone, Debug)]
enum Act {
    /// A key and a cost.
    Hit(u64, u32),
    Reset(u64),
    /// A limit in 100 ms, and a burst.
    Update(u32, u32),
    /// A key, and the patience in ns.
    Reserve(u64, u64),
    Charge(u64, u32),
    Refund(u64, u32),
    /// A key, and the ns for which it is paused.
    Pause(u64, u64),
}

/// Generates acts, each with the ns that pass before it.
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

    // The model is a map of what each key owes, in ns. Number 0 stands for the global key.
    #[test]
    fn each_key_owes_what_the_model_says(acts in acts()) {
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
                    // An update to the rate in force changes nothing. It does not even cut a
                    // charge beyond the burst.
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
