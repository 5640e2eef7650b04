//! The keyed pool against the model of its tests.
#![no_main]
#![allow(dead_code, unused_imports)] // The tests alone use a part of these modules.

#[path = "../../penstock_core/tests/keyed/model.rs"]
mod model;
#[path = "../../penstock_core/tests/keyed/plain.rs"]
mod plain;
#[path = "../../penstock_core/tests/keyed/stage.rs"]
mod stage;
#[path = "../../penstock_core/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::Input;
use proptest::prelude::*;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let processes = input.settings(prop_oneof![2 => Just(model::FEW), 1 => Just(model::MANY)]);
    let settings = input.settings(model::settings(processes));
    let ops = input.calls(model::op(processes));
    model::run(processes, settings, &ops);
});
