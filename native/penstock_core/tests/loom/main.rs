//! Explores races of two or three calls: each interleaving within a bound on preemptions, and
//! each result that the memory orderings allow.
//!
//! There is one file for each family of races, and one test for each race, named after its two
//! sides. The models assert what each process holds, which answers it got, and that nothing is
//! lost ([`Stage::at_rest`](support::Stage::at_rest)).
//!
//! Tables and limits are smaller under `cfg(loom)`, so that a model of three processes reaches
//! their bounds. Holders are in two shards, two living holders count as many, and a row of keys
//! has two places.
//!
//!     RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 \
//!       cargo test -p penstock_core --release --test loom
//!
//! The hardest races:
//!
//! | file | scenario | what it rules out |
//! |---|---|---|
//! | `acquire` | two processes work in turn, at a limit of 1 | a data race of their work |
//! | `wait` | the last permit comes back while a waiter parks | a lost wake-up |
//! | `wait` | the head of the queue leaves, or is refused | followers that no call wakes |
//! | `many_waits` | a process with several waits dies | a grant that a dead process keeps |
//! | `handoff` | spawner, child and supervisor race | an offer with two takers, or none |
//! | `transfer` | the receiver dies, or first acquires a permit | a permit in a removed entry |
//! | `reap` | a scan meets an acquire or a transfer | a holder that no later scan finds |
//! | `many_holders` | a holder leaves while a scan counts | a stale hint of many holders |
//! | `restart` | restarts, a monitor and a reused pid race | a permit that is taken over twice |
//! | `limiter` | a late hit meets the next opening of its limiter | an effect on that opening |
//! | `rate_change` | a slow hit or update spans a change | a TAT cut twice, or not at all |
//! | `hit_all` | a charge is taken back during a reset or refund | a hit that is not paid for |
//! | `keyed` | first hits of a key see different free places | a key in two places |
//! | `keyed_pool` | a holder of two keys has three reapers | a permit that comes back twice |
//! | `mailbox` | a place goes to the next server under a sender | room that is counted for another |
//! | `gate` | a gate gives a permit back while a process parks | a permit that two limits lose |
//! | `names` | a name loses its registry node during a call | an effect on another name |
//! | `registry` | two processes start or adopt one name | two owners, or the loser's settings |
//! | `unnamed` | a holder dies while its pool is cleared | a permit that comes back twice |
//! | `ban` | a failure that bans meets an unban | a ban that is listed, but not in force |
//! | `deadlines` | a deadline is set as the reaper falls asleep | a deadline that is missed |
#![cfg(loom)]

mod acquire;
mod ban;
mod deadlines;
mod explore;
mod gate;
mod handoff;
mod hit_all;
mod keyed;
mod keyed_pool;
#[path = "../keyed/stage.rs"]
mod keyed_stage;
mod lifecycle;
mod limit;
mod limiter;
mod mailbox;
#[path = "../mailbox/stage.rs"]
mod mailbox_stage;
mod many_holders;
mod many_waits;
mod names;
mod rate_change;
mod reap;
mod registry;
mod restart;
#[path = "../support/mod.rs"]
mod support;
mod tick_clock;
mod transfer;
mod unnamed;
mod wait;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering};

use loom::thread::{self, JoinHandle};
use penstock_core::Pid;

use support::{Acquired, Process, Stage};

/// Runs an act of a process on a thread of its own, so that it races with the calls that follow
/// in the model.
pub(crate) fn spawn<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> JoinHandle<T> {
    let process = process.clone();
    thread::spawn(move || act(process))
}

/// Runs the act of a third process on a thread of its own, and waits until that thread ends.
///
/// loom allows few preemptions. If the main thread ran the act itself, another thread could run
/// before the end of the act only by a preemption. While the main thread waits, other threads run
/// without one.
pub(crate) fn meanwhile<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> T {
    spawn(process, act).join().unwrap()
}

/// Counts the permits by which processes work at present. Work that has ended does not count,
/// even before its permit is released.
#[derive(Clone, Default)]
pub(crate) struct Work(Arc<PlainU64>);

impl Work {
    /// Begins work by one permit. Panics if more permits than `limit` are then at work.
    pub(crate) fn begin(&self, limit: u64) {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) < limit, "more work than the limit");
    }

    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns `true` if a caller has the permits that it asked for, at once or by a grant.
pub(crate) fn has(process: &Process, acquired: Acquired) -> bool {
    match acquired {
        Acquired::Yes => process.answers().is_empty(),
        Acquired::Waiting(_) => process.was_granted(),
        Acquired::No(no) => panic!("neither admitted nor parked: {no:?}"),
    }
}

/// Lets `holder` die, and asserts that `asker`, which asks after the death, gets `n` permits.
///
/// A pool scans for dead holders before it refuses. A stale hint of many holders would skip that
/// scan. If the bit of `holder` were missing in the active set, the scan would not find `holder`.
#[track_caller]
pub(crate) fn assert_death_is_found(stage: &Stage, holder: &Process, asker: &Process, n: u32) {
    holder.begin_exit();
    assert_eq!(asker.try_acquire(n), Ok(()), "the scan missed the dead holder");
    holder.finish_exit();
    stage.at_rest(&[(asker, n.into())]);
}

pub(crate) fn pids<const N: usize>() -> [Pid; N] {
    std::array::from_fn(|at| Pid::new(at as u64 + 1).unwrap())
}
