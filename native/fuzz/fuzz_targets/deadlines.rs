//! Deadlines of processes against a map that each step searches from end to end.
#![no_main]
#![allow(dead_code, unused_imports)] // The tests alone use a part of this module.

#[path = "../../penstock_core/tests/deadlines.rs"]
mod deadlines;

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::Input;

fuzz_target!(|data: &[u8]| deadlines::compare(Input::new(data).calls(deadlines::step())));
