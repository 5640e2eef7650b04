//! The pool against the model of its tests.
#![no_main]
#![allow(dead_code, unused_imports)] // The tests alone use a part of these modules.

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

/// The number of processes that need the third level of the table, and more calls than one to
/// reap.
const VERY_MANY: usize = 700;
/// The calls of that many processes: each comparison takes a ms.
const FEW_CALLS: usize = 80;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    // Sixty processes need the second level of the table, and stop a scan early.
    let processes = input.settings(prop_oneof![24 => Just(5), 12 => Just(14), 4 => Just(60), 1 => Just(VERY_MANY)]);
    let settings = input.settings(op::settings(processes));
    let mut ops = input.calls(op::op(processes));
    if processes == VERY_MANY {
        ops.truncate(FEW_CALLS);
    }
    pair::run(processes, settings, &ops);
});
