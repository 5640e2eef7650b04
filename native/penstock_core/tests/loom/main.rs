//! Every interleaving, and every order of memory that the orderings allow, of two or three calls that
//! race.
//!
//! One file for each family of races, one test for each race, named after its two sides. What must
//! come out is asserted exactly: who holds how much, who was told what, and that nothing is lost
//! ([`Stage::at_rest`](support::Stage::at_rest)).
//!
//!     RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test -p penstock_core --release --test loom
#![cfg(loom)]

mod acquire;
mod ban;
mod counter;
mod deadlines;
#[path = "../support/explore.rs"]
mod explore;
mod handoff;
mod hit_all;
mod keyed;
mod lifecycle;
mod limit;
mod limiter;
mod many_holders;
mod names;
mod rate_change;
mod reap;
mod registry;
mod restart;
#[path = "../support/mod.rs"]
mod support;
mod transfer;
mod unnamed;
mod wait;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering};

use loom::thread::{self, JoinHandle};
use penstock_core::Pid;

use support::{Acquired, Process};

/// Has a process do something while others do something else.
pub(crate) fn spawn<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> JoinHandle<T> {
    let process = process.clone();
    thread::spawn(move || act(process))
}

/// As a third party to what others do: on a thread of its own, so that to begin with it takes no preemption.
pub(crate) fn meanwhile<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> T {
    spawn(process, act).join().unwrap()
}

/// How much of the work that the pool admits is going on. Work that has begun to end is not.
#[derive(Clone, Default)]
pub(crate) struct Work(Arc<PlainU64>);

impl Work {
    pub(crate) fn begin(&self, limit: u64) {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) < limit, "more work than the limit");
    }
    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a caller that waited, if it had to, has what it asked for.
pub(crate) fn has(process: &Process, acquired: Acquired) -> bool {
    match acquired {
        Acquired::Yes => process.answers().is_empty(),
        Acquired::Waiting(_) => process.was_granted(),
        Acquired::No(no) => panic!("neither admitted nor parked: {no:?}"),
    }
}

pub(crate) fn pids<const N: usize>() -> [Pid; N] {
    std::array::from_fn(|at| Pid::new(at as u64 + 1).unwrap())
}
