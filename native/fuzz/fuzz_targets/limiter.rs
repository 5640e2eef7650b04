//! The limiter against a bucket of tokens in exact fractions.
#![no_main]
#![allow(dead_code)] // The tests alone use a part of these modules.

#[path = "../../penstock_core/tests/rate/bucket.rs"]
mod bucket;
#[path = "../../penstock_core/tests/rate/stage.rs"]
mod stage;

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::Input;
use proptest::prelude::*;

use stage::{MS, key, limits, open};

#[derive(Clone, Copy, Debug)]
enum Property {
    Exact { keyed: bool },
    Waits,
    LateClocks,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let property = prop_oneof![
        any::<bool>().prop_map(|keyed| Property::Exact { keyed }),
        Just(Property::Waits),
        Just(Property::LateClocks),
    ];
    match input.settings(property) {
        Property::Exact { keyed } => {
            let rate = input.settings(bucket::whole_rates());
            bucket::compare(rate, input.calls(bucket::hit()), keyed);
        }
        Property::Waits => {
            let rate = input.settings(bucket::any_rates());
            bucket::obey_waits(rate, input.calls(bucket::hit()));
        }
        Property::LateClocks => {
            let rate = input.settings(bucket::any_rates());
            let (hits, back) = input.calls((bucket::hit(), bucket::back())).into_iter().unzip();
            bucket::hit_by_late_clocks(rate, hits, back);
        }
    }
});
