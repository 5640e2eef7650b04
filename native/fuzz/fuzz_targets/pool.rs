//! The pool against the model of its tests.
#![no_main]
#![allow(dead_code)] // The tests alone use a part of these modules.

#[path = "../../penstock_core/tests/model/calls.rs"]
mod calls;
#[path = "../../penstock_core/tests/model/op.rs"]
mod op;
#[path = "../../penstock_core/tests/model/pair.rs"]
mod pair;
#[path = "../../penstock_core/tests/model/plain.rs"]
mod plain;
#[path = "../../penstock_core/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::Input;
use proptest::prelude::*;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    // Sixty processes need the second level of the table, and stop a scan early.
    let processes = input.settings(prop_oneof![6 => Just(5), 3 => Just(14), 1 => Just(60)]);
    let settings = input.settings(op::settings(processes));
    let ops = input.calls(op::op(processes));
    pair::run(processes, settings, &ops);
});
