//! Mailboxes against the model of their tests.
#![no_main]
#![allow(dead_code, unused_imports)] // The tests alone use a part of these modules.

#[path = "../../penstock_core/tests/mailbox/model.rs"]
mod model;
#[path = "../../penstock_core/tests/mailbox/stage.rs"]
mod stage;
#[path = "../../penstock_core/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::Input;

fuzz_target!(|data: &[u8]| model::run(Input::new(data).calls(model::op())));
