//! The pool against a plain model of it, by random sequences of calls on one thread.
//!
//! The model is a pool that is neither concurrent nor fast: a map of what each process holds, and
//! a list of the waiters. Each call must return what the model returns. After each call, all
//! figures that the pool reports must equal those of the model.
//!
//! | scenario | what it rules out |
//! |---|---|
//! | calls of 5 or 14 processes, which die at any point | a permit that an order of calls loses |
//! | a scan finds dead holders among few | a refusal although a dead holder has permits |
//! | a scan finds dead holders among many | a scan that reaps what it must leave to monitors |
//! | a child adopts, its spawner hands over, or neither | permits with two holders, or none |
//! | a process has several waits, and the host ends some | two answers to a wait, or none |
//! | restarts find dead holders, or pass the limit | an overdraft while a dead holder is left |
//! | calls of 60 or 700 processes | errors in deeper levels of the table, or in a long scan |
#![cfg(not(any(loom, shuttle)))]

mod calls;
mod op;
mod pair;
mod plain;
#[path = "../support/mod.rs"]
mod support;

use penstock_core::Settings;
use proptest::prelude::*;

use op::{Op, op, settings};
use pair::run;

/// Generates settings, and a sequence of at most `calls` calls.
fn sequence(processes: usize, calls: usize) -> impl Strategy<Value = (Settings, Vec<Op>)> {
    (settings(processes), proptest::collection::vec(op(processes), 1..calls))
}

/// Returns a configuration of `cases` cases, or of the number that `PROPTEST_CASES` gives.
fn cases(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_pool_of_few_processes((settings, ops) in sequence(5, 150)) {
        run(5, settings, &ops);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_pool_of_some_processes((settings, ops) in sequence(14, 300)) {
        run(14, settings, &ops);
    }
}

proptest! {
    #![proptest_config(cases(60))]

    // The table needs its second level. A scan stops early, because the holders are too many.
    #[test]
    fn a_pool_of_many_processes((settings, ops) in sequence(60, 200)) {
        run(60, settings, &ops);
    }
}

proptest! {
    #![proptest_config(cases(12))]

    // The table needs its third level.
    #[test]
    fn a_pool_of_very_many_processes((settings, ops) in sequence(700, 80)) {
        run(700, settings, &ops);
    }
}
