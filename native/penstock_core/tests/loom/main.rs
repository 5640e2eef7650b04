//! Every interleaving of two or three calls that race, and every memory order that their
//! orderings allow.
//!
//! There is one file for each family of races, and one test for each race, named after its two
//! sides. Results are asserted exactly: what each process holds, which answers it got, and that
//! nothing is lost ([`Stage::at_rest`](support::Stage::at_rest)).
//!
//!     RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 \
//!       cargo test -p penstock_core --release --test loom
//!
//! The hard ones:
//!
//! | file | scenario | what it rules out |
//! |---|---|---|
//! | `acquire` | two processes work in turn at a limit of 1 | a data race between their work |
//! | `wait` | the last permit comes back as a waiter parks | a lost wake-up |
//! | `wait` | the head of the queue leaves or is oversize | followers that no call wakes |
//! | `wait` | a process with several waits dies | a grant that stays with the dead |
//! | `handoff` | spawner, child and supervisor race | an offer with two takers, or none |
//! | `transfer` | the receiver dies, or acquires at first | a permit in an entry that is gone |
//! | `reap` | a scan meets an acquire or a transfer | a holder that no later scan finds |
//! | `many_holders` | a scan counts while a holder leaves | a stale hint (store buffering) |
//! | `restart` | restarts, monitor and a reused pid race | a permit that is taken over twice |
//! | `limiter` | a hit or pause meets the next opening | a charge to the next generation |
//! | `rate_change` | a slow hit or update spans a change | a charge counted by the wrong rate |
//! | `hit_all` | a denied charge meets a reset or refund | a charge that is undone twice |
//! | `keyed` | first hits see different free places | a key in two places |
//! | `names` | a name loses its node during a call | an act on another name |
//! | `registry` | two processes start or adopt one name | two owners, or the loser's settings |
//! | `unnamed` | a holder dies while its pool is cleared | a permit that comes back twice |
//! | `ban` | an offence meets an unban or a close | a listed ban that is not in force |
//! | `deadlines` | the reaper sleeps as a deadline is set | a deadline that no reaper watches |
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

/// Runs an act of a process on a thread of its own, while other processes act.
pub(crate) fn spawn<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> JoinHandle<T> {
    let process = process.clone();
    thread::spawn(move || act(process))
}

/// Runs the act of a third process on a thread of its own, and waits for it. So starting the act
/// takes no preemption.
pub(crate) fn meanwhile<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> T {
    spawn(process, act).join().unwrap()
}

/// The number of permits by which work goes on. Work that has begun to end does not count.
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

/// Returns `true` if a caller has the permits that it asked for, after a wait if it had to.
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
