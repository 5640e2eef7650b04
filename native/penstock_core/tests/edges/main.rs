//! Cases that no random sequence reaches: numbers that are too large for it, words that
//! the pool never issued, and the bounds on the work of one call.
//!
//! | scenario | what it rules out |
//! |---|---|
//! | 10,000 idle entries lie before the holders | a refusal of unbounded work |
//! | 300 waiters become admissible at once | more than 64 messages by one call |
//! | a shrink refuses 1,000 waiters, some die meanwhile | a walk that loses its place |
//! | updates follow each other without a pause | a walk that begins again and never ends |
//! | a dead waiter is granted while a scan is under way | a permit that a refusal has missed |
//! | nine holders, one of them dead | a scan on each refusal of a large pool |
//! | 500 dead among 1,000 holders | one refusal that reaps them all |
//! | 30,000 processes hold, die, and hold again | entries that outlive their processes |
//! | words that the pool never issued | a forged offer or wait that has an effect |
//! | 500 dead children among 5,000 holders restart | an overdraft where a dead holder is left |
//! | a dead holder's pid lives again before a restart | a permit taken from a living process |
#![cfg(not(any(loom, shuttle)))]

mod bounds;
mod limits;
mod misuse;
mod restart;
mod scan;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::sync::Arc;

use support::{Process, Stage};

/// The number of messages that one call sends at most.
const MESSAGES: usize = 64;
/// The number of entries that one call visits at most.
const LOOKS: usize = 1024;
/// The number of cache lines that one call reads at most to find the entries, in a table that has
/// held 20,000 processes.
const LINES: usize = 400;

fn processes(stage: &Arc<Stage>, numbers: std::ops::RangeInclusive<usize>) -> Vec<Process> {
    numbers.map(|number| stage.process(number)).collect()
}

/// Runs the work that the pool deferred to the host, and returns the number of calls.
fn serve_deferred(stage: &Stage) -> usize {
    let mut times = 0;
    while stage.host.take_deferrals() > 0 {
        let before = stage.host.answers();
        stage.pool.serve(&stage.host);
        assert!(stage.host.answers() - before <= MESSAGES, "each time is one call");
        times += 1;
    }
    times
}
