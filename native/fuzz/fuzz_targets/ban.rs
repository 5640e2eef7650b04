//! Bans against a list of all failures.
#![no_main]
#![allow(dead_code, unused_imports)] // The tests alone use a part of this module.

#[path = "../../penstock_core/tests/ban.rs"]
mod ban;

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::Input;

/// The bits of a gap in ms between failures whose times are merged.
const GAP: u32 = 8;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    if input.settings(proptest::bool::weighted(0.2)) {
        let settings = input.settings(ban::many_failures());
        ban::fail_often(settings, input.calls_by(|input| input.number(GAP)));
    } else {
        let settings = input.settings(ban::settings());
        ban::compare(settings, input.calls(ban::act()));
    }
});
