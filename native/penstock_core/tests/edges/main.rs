//! Cases that no random sequence of calls reaches: thousands of processes, numbers at their
//! limits, words that the pool never issued, and the bounds on the work of one call.
//!
//! | scenario | what it rules out |
//! |---|---|
//! | a scan passes 10,000 idle entries | a refusal whose work is unbounded |
//! | 300 waiters can be granted at once | more than 64 messages by one call |
//! | a shrink refuses 500 of 1,000 waiters, some die | a walk of the queue that loses its place |
//! | updates follow each other without a pause | a walk that always begins again and never ends |
//! | a dead waiter gets a permit during a scan | a refusal although that permit comes back |
//! | nine holders, one of them dead | a scan by each refusal of a large pool |
//! | 500 of 1,000 holders are dead | a refusal that reaps them all |
//! | 30,000 processes hold, die, and hold again | entries that outlive their processes |
//! | words that the pool never issued | a forged offer or wait that has an effect |
//! | 500 of 5,000 holders die and restart | an overdraft while a dead holder is left |
//! | a pid that a restart remembers as dead lives again | a permit taken from a living process |
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

/// The largest number of messages that one call sends.
const MESSAGES: usize = 64;
/// The largest number of entries that one call visits.
const VISITS: usize = 1024;
/// The largest number of cache lines that one call reads to find the entries, in a table that has
/// held 20,000 processes.
const LINES: usize = 400;

/// Returns the processes of these numbers.
fn processes(stage: &Arc<Stage>, numbers: std::ops::RangeInclusive<usize>) -> Vec<Process> {
    numbers.map(|number| stage.process(number)).collect()
}

/// Runs the work that the pool deferred to the host, until there is none. Checks the number of
/// messages of each call, and returns the number of calls.
fn serve_in_parts(stage: &Stage) -> usize {
    let mut calls = 0;
    while stage.host.take_deferrals() > 0 {
        let before = stage.host.answers();
        stage.pool.serve(&stage.host);
        assert!(stage.host.answers() - before <= MESSAGES, "one call sent more than 64 messages");
        calls += 1;
    }
    calls
}
