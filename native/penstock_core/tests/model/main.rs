//! The pool against a plain model of it, by random sequences of calls.
//!
//! The model is a pool without concurrency and without any need for speed: a map of what each
//! process holds, and a list of the waiters. Each call must return what the model returns. After
//! each call, all figures of the pool must equal those of the model.
//!
//! | scenario | what it rules out |
//! |---|---|
//! | calls of 5 or 14 processes, some dying at any point | a permit lost by any order of calls |
//! | a scan finds dead holders among few | a refusal that missed one of them (I2) |
//! | a scan finds dead holders among many | a reaping that only monitors may do |
//! | children adopt, their spawner hands over, or neither | permits with two holders, or none |
//! | a process has several waits, and the host ends some | two answers to a wait, or none |
//! | restarts find dead holders, or pass the limit | an overdraft while a dead holder is left |
//! | calls of 60 or 700 processes | errors of scans and tables beyond one level |
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
use pair::Pair;

fn run(processes: usize, settings: Settings, ops: &[Op]) {
    let mut pair = Pair::new(processes, settings);
    for op in ops {
        pair.apply(op);
        pair.serve_deferred();
        pair.compare();
    }
    // At the end all processes die, and nothing is left.
    for who in 0..pair.cast.len() {
        pair.begin_exit(who);
        pair.finish_exit(who);
        pair.serve_deferred();
    }
    pair.compare();
    pair.stage.at_rest(&[]);
}

fn sequence(processes: usize, calls: usize) -> impl Strategy<Value = (Settings, Vec<Op>)> {
    (settings(processes), proptest::collection::vec(op(processes), 1..calls))
}

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

    // The table exceeds its first level, and a scan exceeds one call.
    #[test]
    fn a_pool_of_many_processes((settings, ops) in sequence(60, 200)) {
        run(60, settings, &ops);
    }
}

proptest! {
    #![proptest_config(cases(12))]

    // The table exceeds its second level.
    #[test]
    fn a_pool_of_very_many_processes((settings, ops) in sequence(700, 80)) {
        run(700, settings, &ops);
    }
}
