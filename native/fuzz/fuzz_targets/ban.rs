//! Bans against a list of all failures.
#![no_main]
#![allow(dead_code)] // The tests alone use a part of this module.

#[path = "../../penstock_core/tests/ban.rs"]
mod ban;

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let settings = input.settings(ban::settings());
    ban::compare(settings, input.calls(ban::act()));
});
