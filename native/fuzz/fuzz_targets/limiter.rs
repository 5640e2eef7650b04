//! The limiter against a bucket of tokens in exact fractions, and many keys against a model of
//! what each owes.
#![no_main]
#![allow(dead_code, unused_imports)] // The tests alone use a part of these modules.

#[path = "../../penstock_core/tests/rate/bucket.rs"]
mod bucket;
#[path = "../../penstock_core/tests/rate/keys.rs"]
mod keys;
#[path = "../../penstock_core/tests/rate/stage.rs"]
mod stage;

use libfuzzer_sys::fuzz_target;
use penstock_core::{OutOfBounds, Rate};
use penstock_fuzz::Input;
use proptest::prelude::*;

use stage::MS;

/// The bits of the largest limit, burst and cost.
const COUNT: u32 = 31;
/// The bits of a span in ms: a century has 42.
const PER_MS: u32 = 42;
/// The bits of a gap in ns: 292 hits as far apart as possible pass the end of each clock.
const GAP: u32 = 55;
/// The bits of a gap between acts on many keys: a quarter of a second.
const SHORT_GAP: u32 = 28;

#[derive(Clone, Copy, Debug)]
enum Property {
    Exact { keyed: bool },
    Waits,
    LateClocks,
    Keys,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let property = prop_oneof![
        1 => any::<bool>().prop_map(|keyed| Property::Exact { keyed }),
        1 => Just(Property::Waits),
        1 => Just(Property::LateClocks),
        3 => Just(Property::Keys),
    ];
    match input.settings(property) {
        Property::Exact { keyed } => bucket::compare(rate(&mut input, true), input.calls_by(hit), keyed),
        Property::Waits => bucket::obey_waits(rate(&mut input, false), input.calls_by(hit)),
        Property::LateClocks => {
            let rate = rate(&mut input, false);
            let (hits, back) = input.calls_by(|input| (hit(input), input.number(GAP))).into_iter().unzip();
            bucket::hit_by_late_clocks(rate, hits, back);
        }
        Property::Keys => {
            let max_keys = input.settings(keys::max_keys());
            let act = keys::act();
            keys::compare(
                max_keys,
                input.calls_by(|input| {
                    let (gap, act) = input.call(&act);
                    // The strategy often draws no gap, so that acts meet at one instant.
                    (if gap == 0 { 0 } else { input.number(SHORT_GAP) }, act)
                }),
            );
        }
    }
});

/// Reads the gap before a hit, in ns, and the cost of the hit.
fn hit(input: &mut Input<'_>) -> (u64, u32) {
    (input.number(GAP), count(input))
}

fn count(input: &mut Input<'_>) -> u32 {
    input.number(COUNT).max(1) as u32
}

/// Reads a limit, the ms in which it comes, and a burst. If the rate is out of bounds, takes a
/// lower one. If `exact`, the interval of the rate is a whole number of ns.
fn rate(input: &mut Input<'_>, exact: bool) -> (u32, u64, u32) {
    let (mut limit, mut per, mut burst) = (count(input), input.number(PER_MS).max(1), count(input));
    loop {
        if exact {
            limit = divisor(limit, per * MS);
        }
        match Rate::new(limit, per, burst) {
            Ok(_) => return (limit, per, burst),
            Err(OutOfBounds::TooLong) if burst > 1 => burst /= 2,
            Err(OutOfBounds::TooLong) => per /= 2,
            Err(_) => limit = (limit / 2).max(1),
        }
    }
}

/// Returns the greatest common divisor.
fn divisor(limit: u32, per: u64) -> u32 {
    let (mut a, mut b) = (per, u64::from(limit));
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a as u32
}
