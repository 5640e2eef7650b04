//! A name, its owners and its pools against the model of its tests.
#![no_main]
#![allow(dead_code, unused_imports)] // The tests alone use a part of these modules.

#[path = "../../penstock_core/tests/registry/model.rs"]
mod model;
#[path = "../../penstock_core/tests/registry/stage.rs"]
mod stage;
#[path = "../../penstock_core/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::Input;

fuzz_target!(|data: &[u8]| model::run(Input::new(data).calls(model::op())));
