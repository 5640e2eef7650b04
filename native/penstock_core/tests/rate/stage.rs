//! Limiters with a rate, and their keys.

use penstock_core::{Changed, Charge, Key, Limiter, Limits, Rate};

pub(crate) const MS: u64 = 1_000_000;

pub(crate) fn limits(limit: u32, per_ms: u64, burst: u32) -> Limits {
    Limits { limit, per_ms, rate: Rate::new(limit, per_ms, burst).unwrap() }
}

/// Opens a limiter. Returns it with its global key, to which it charges all hits without a key.
pub(crate) fn open(max_keys: u32, limits: Limits) -> (Limiter, Key) {
    let limiter = Limiter::new(max_keys).unwrap();
    let generation = limiter.open(limits, false, 0);
    (limiter, Key::Global(generation))
}

/// Returns a key that looks like the hash of `n`.
pub(crate) fn key(n: u64) -> Key {
    let mut word = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    // The first generation is 1.
    Key::Tag(1, (word ^ (word >> 31)).max(1))
}

/// Changes the rate: calls `Limiter::update` until the change is in force. Returns the number of
/// calls before the last one.
pub(crate) fn update(limiter: &Limiter, limits: Limits, now: u64) -> usize {
    let (mut from, mut steps) = (None, 0);
    while let Changed::NotYet(progress) = limiter.update(1, |_| Some(limits), now, from) {
        (from, steps) = (Some(progress), steps + 1);
    }
    steps
}

/// Returns the number of keys that owe something. Reads the table in pieces.
pub(crate) fn keys(limiter: &Limiter, now: u64) -> u64 {
    let (mut sum, mut at) = (0, Some(0));
    while let Some(from) = at {
        let (some, next) = limiter.keys(from, now);
        (sum, at) = (sum + some, next);
    }
    sum
}

pub(crate) fn charge(limiter: &Limiter, key: Key, cost: u32) -> Charge<'_> {
    Charge { limiter, key, cost: Some(cost) }
}
