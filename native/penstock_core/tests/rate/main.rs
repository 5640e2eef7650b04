//! Compares rate limiters with plain models in exact arithmetic. Also tests cases that random
//! hits do not reach.
#![cfg(not(any(loom, shuttle)))]

mod bucket;
mod edges;
mod keys;
mod several;
mod stage;

use penstock_core::{Changed, Charge, Key, Limiter, Limits};

use stage::{MS, key, limits, open};

/// Changes the rate: calls `Limiter::update` until the change is in force. Returns the number of
/// calls before the last one.
fn update(limiter: &Limiter, limits: Limits, now: u64) -> usize {
    let (mut from, mut steps) = (None, 0);
    while let Changed::NotYet(progress) = limiter.update(1, |_| Some(limits), now, from) {
        (from, steps) = (Some(progress), steps + 1);
    }
    steps
}

/// Returns the number of keys that owe something. Reads the table in pieces.
fn keys(limiter: &Limiter, now: u64) -> u64 {
    let (mut sum, mut at) = (0, Some(0));
    while let Some(from) = at {
        let (some, next) = limiter.keys(from, now);
        (sum, at) = (sum + some, next);
    }
    sum
}

fn charge(limiter: &Limiter, key: Key, cost: u32) -> Charge<'_> {
    Charge { limiter, key, cost: Some(cost) }
}
