//! Compares many keys with a plain model: a map of what each key owes. Also in tables of fewer
//! places than keys, where a key gets the place of one that owes nothing, or none.

use std::collections::BTreeMap;

use penstock_core::{All, Hit, Rate, Reserved, hit_all};
use proptest::prelude::*;

use crate::stage::{MS, charge, key, keys, limits, open, update};

/// The number of keys, with the global key.
const KEYS: u64 = 12;
/// The time in which the limit comes, in ms.
const PER_MS: u64 = 100;

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A key and a cost.
    Hit(u64, u32),
    /// A key and a cost.
    Peek(u64, u32),
    /// Two keys and their costs.
    HitAll([(u64, u32); 2]),
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

/// Generates the number of places: less than there are keys, or enough for all.
pub(crate) fn max_keys() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..=4, 5_u32..=8, Just(100)]
}

/// Generates an act, and the ns that pass before it.
pub(crate) fn act() -> impl Strategy<Value = (u64, Act)> {
    let key = 0..KEYS;
    let hit = (key.clone(), 1..6_u32);
    let act = prop_oneof![
        20 => hit.clone().prop_map(|(key, cost)| Act::Hit(key, cost)),
        2 => hit.clone().prop_map(|(key, cost)| Act::Peek(key, cost)),
        4 => [hit.clone(), hit].prop_map(Act::HitAll),
        2 => key.clone().prop_map(Act::Reset),
        2 => (1..50_u32, 1..30_u32).prop_map(|(limit, burst)| Act::Update(limit, burst)),
        4 => (key.clone(), 0..30 * MS).prop_map(|(key, patience)| Act::Reserve(key, patience)),
        2 => (key.clone(), 1..40_u32).prop_map(|(key, cost)| Act::Charge(key, cost)),
        2 => (key.clone(), 1..10_u32).prop_map(|(key, cost)| Act::Refund(key, cost)),
        1 => (key, 0..300 * MS).prop_map(|(key, ns)| Act::Pause(key, ns)),
    ];
    (prop_oneof![Just(0), 0..2 * MS, 0..200 * MS], act)
}

/// The model: what each key owes, and the end of its pause, both in ns. Number 0 stands for the
/// global key.
struct Model {
    places: usize,
    rate: Rate,
    now: u64,
    owed: BTreeMap<u64, u64>,
    paused: BTreeMap<u64, u64>,
    allowed: u64,
    denied: u64,
}

impl Model {
    fn pass(&mut self, gap: u64) {
        self.now += gap;
        self.owed.retain(|_, debt| {
            *debt = debt.saturating_sub(gap);
            *debt > 0
        });
    }

    fn owed(&self, n: u64) -> u64 {
        self.owed.get(&n).copied().unwrap_or(0)
    }

    fn owe(&mut self, n: u64, debt: u64) {
        self.owed.insert(n, debt);
        self.owed.retain(|_, debt| *debt > 0);
    }

    fn worth(&self, cost: u32) -> u64 {
        self.rate.interval() * u64::from(cost)
    }

    fn tolerance(&self) -> u64 {
        self.worth(self.rate.burst())
    }

    /// Returns the time left of the pause of a key.
    fn pause(&self, n: u64) -> u64 {
        self.paused.get(&n).map_or(0, |until| until.saturating_sub(self.now))
    }

    /// Returns the number of keys in the table that owe something.
    fn active(&self) -> usize {
        self.owed.range(1..).count()
    }

    /// Returns the time until a place is free, if a key finds none. A key that owes nothing may
    /// still have a place, but then the other keys have not all places.
    fn no_place(&self, n: u64) -> Option<u64> {
        let full = n > 0 && self.owed(n) == 0 && self.active() >= self.places;
        full.then(|| self.owed.range(1..).map(|(_, &debt)| debt).min().expect("there is a place"))
    }

    fn decide(&self, n: u64, cost: u32) -> Hit {
        if cost > self.rate.burst() {
            return Hit::Never;
        }
        let then = self.owed(n) + self.worth(cost);
        let wait = self.no_place(n).unwrap_or_else(|| then.saturating_sub(self.tolerance()));
        match wait.max(self.pause(n)) {
            0 => Hit::Allow(((self.tolerance() - then) / self.rate.interval()) as u32),
            wait => Hit::Deny(wait),
        }
    }

    fn hit(&mut self, n: u64, cost: u32) -> Hit {
        let hit = self.decide(n, cost);
        if let Hit::Allow(_) = hit {
            self.owe(n, self.owed(n) + self.worth(cost));
            self.allowed += 1;
        } else {
            self.denied += 1;
        }
        hit
    }

    fn hit_all(&mut self, hits: [(u64, u32); 2]) -> All {
        let waits = hits.map(|(n, cost)| match self.decide(n, cost) {
            Hit::Allow(_) => 0,
            Hit::Deny(wait) => wait,
            _ => u64::MAX,
        });
        let worst = usize::from(waits[1] > waits[0]);
        if waits[worst] > 0 {
            self.denied += 1;
            return All::Denied(worst, Some(waits[worst]).filter(|&wait| wait < u64::MAX));
        }
        let [(first, cost), (second, _)] = hits;
        let before = self.owed(first);
        self.owe(first, before + self.worth(cost));
        if self.no_place(second).is_some() {
            // The first key took the last place.
            self.owe(first, before);
            self.denied += 1;
            return All::Denied(1, Some(1));
        }
        self.owe(second, self.owed(second) + self.worth(hits[1].1));
        self.allowed += 2;
        All::Allowed
    }

    fn reserve(&mut self, n: u64, patience: u64) -> Reserved {
        if let Some(wait) = self.no_place(n) {
            if wait <= patience {
                return Reserved::NoPlace(wait);
            }
            self.denied += 1;
            return Reserved::TooFar(wait);
        }
        // The turns of a paused key begin after the pause.
        let paused = self.pause(n);
        let then = paused.max(self.owed(n)) + self.rate.interval();
        let wait = paused + (then - paused).saturating_sub(self.tolerance());
        if wait > patience {
            self.denied += 1;
            return Reserved::TooFar(wait);
        }
        self.owe(n, then);
        self.allowed += 1;
        Reserved::In(wait)
    }

    /// Changes what a key owes, if it finds a place. Returns the decision on a next hit.
    fn correct(&mut self, n: u64, debt: u64) -> Hit {
        if self.no_place(n).is_none() {
            self.owe(n, debt);
        }
        self.decide(n, 1)
    }

    fn update(&mut self, rate: Rate) {
        // An update to the rate in force changes nothing. It does not even cut a charge beyond
        // the burst.
        if rate != self.rate {
            self.rate = rate;
            let most = self.tolerance();
            self.owed.values_mut().for_each(|debt| *debt = (*debt).min(most));
        }
    }
}

/// Makes the acts in a limiter of `max_keys` places, of which at most eight are fewer than the
/// keys. Compares each answer with the model.
pub(crate) fn compare(max_keys: u32, acts: Vec<(u64, Act)>) {
    let (limiter, global) = open(max_keys, limits(10, PER_MS, 5));
    let name = |n: u64| if n == 0 { global } else { key(n) };
    let mut model = Model {
        places: max_keys as usize,
        rate: Rate::new(10, PER_MS, 5).unwrap(),
        now: 0,
        owed: BTreeMap::new(),
        paused: BTreeMap::new(),
        allowed: 0,
        denied: 0,
    };
    for (gap, act) in acts {
        model.pass(gap);
        let now = model.now;
        match act {
            Act::Hit(n, cost) => assert_eq!(limiter.hit(name(n), now, cost), model.hit(n, cost)),
            Act::Peek(n, cost) => assert_eq!(limiter.peek(name(n), now, cost), model.decide(n, cost)),
            Act::HitAll(hits) => {
                if hits[0].0 != hits[1].0 {
                    let all = hits.map(|(n, cost)| charge(&limiter, name(n), cost));
                    assert_eq!(hit_all(&all, || now), model.hit_all(hits));
                }
            }
            Act::Charge(n, cost) => {
                let debt = model.owed(n) + model.worth(cost);
                assert_eq!(limiter.charge_anyway(name(n), now, cost), model.correct(n, debt));
            }
            Act::Refund(n, cost) => {
                let debt = model.owed(n).saturating_sub(model.worth(cost));
                assert_eq!(limiter.give_back(name(n), now, cost), model.correct(n, debt));
            }
            Act::Pause(n, ns) => {
                let until = model.paused.entry(n).or_default();
                *until = (now + ns).max(*until);
                assert!(limiter.pause(name(n), now, ns));
                assert_eq!(limiter.peek(name(n), now, 1), model.decide(n, 1));
            }
            Act::Reserve(n, patience) => {
                assert_eq!(limiter.reserve(name(n), now, 1, patience), model.reserve(n, patience));
            }
            Act::Reset(n) => {
                model.owe(n, 0);
                model.paused.remove(&n);
                assert!(limiter.reset(name(n)));
            }
            Act::Update(limit, burst) => {
                update(&limiter, limits(limit, PER_MS, burst), now);
                model.update(Rate::new(limit, PER_MS, burst).unwrap());
            }
        }
        assert_eq!(keys(&limiter, now), model.active() as u64);
        let info = limiter.info(1).unwrap();
        assert_eq!((info.allowed, info.denied), (model.allowed, model.denied));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn each_key_owes_what_the_model_says(max_keys in max_keys(), acts in prop::collection::vec(act(), 1..300)) {
        compare(max_keys, acts);
    }
}
