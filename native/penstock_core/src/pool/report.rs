//! Statistics of a pool, and of its holders.

use crate::holders::{Age, Cursor, HolderInfo, Refusals, Report, Table};
use crate::host::Pid;
use crate::meters::{Histogram, Holds};
use crate::sync::{Ordering, lock};

use super::wait_queue::Queue;
use super::{Pool, PoolHost, SHARD_COUNT, Settings, Status};

/// The state of a pool. Other processes can acquire while a call reads it, so `in_use` may exceed
/// `peak` for an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Whether the pool admits callers.
    pub status: Status,
    /// The settings in force.
    pub settings: Settings,
    /// The number of permits held.
    pub in_use: u64,
    /// The number of waiters.
    pub waiting: usize,
    /// The largest number of permits held at once since the pool was opened.
    pub peak: u64,
    /// The number of parked waiters admitted since the pool was opened. The admissions in a
    /// [`Report`] do not include them.
    pub granted: u64,
}

/// The figures of a pool for its metrics, since the pool was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolMeters {
    /// For how long processes held permits: each time from the first permit until none was left.
    pub hold: Histogram,
    /// For how long waiters waited until they got an answer.
    pub wait: Histogram,
    /// The refusals by their reason.
    pub refused: Refusals,
    /// The number of restarts that were admitted beyond the limit.
    pub overdrawn: u64,
    /// The number of processes killed for running too long.
    pub killed: u64,
}

/// The number of one opening of a pool. A pool can be closed and opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening(u64);

impl<H: PoolHost> Pool<H> {
    /// Returns the state of the pool now.
    pub fn info(&self) -> Info {
        let guarded = lock(&self.guarded);
        Info {
            status: guarded.status,
            settings: guarded.settings,
            in_use: self.in_use(),
            waiting: guarded.queue.len(Queue::Waiters),
            peak: self.front.peak.load(Ordering::Relaxed),
            granted: guarded.granted,
        }
    }

    /// Returns the totals of one part of the table of holders, and the cursor of the next part.
    /// The part begins at the cursor `from`, and has about `most` cache lines.
    pub fn report(&self, host: &H, from: Cursor, most: usize) -> (Report, Option<Cursor>) {
        let longer_than = lock(&self.guarded).settings.held_longer_than;
        self.table.report(from, self.generation(), most, Age { now_ms: host.now_ms(), longer_than })
    }

    /// Returns the holders in one part of the table, and the cursor of the next part. The part
    /// begins at the cursor `from`, and has about `most` cache lines.
    pub fn holders(&self, from: Cursor, most: usize) -> (Vec<HolderInfo>, Option<Cursor>) {
        self.table.holders(from, most, |_| true)
    }

    /// Returns the holders as [`Pool::holders`] does, but only those that have held permits for
    /// at least `at_least` ms at the time `now_ms` of the host's coarse clock. With `not_before`,
    /// the holders that began to hold before that time of the clock are left out too.
    pub fn holders_since(
        &self,
        from: Cursor,
        most: usize,
        now_ms: u32,
        at_least: u32,
        not_before: Option<u32>,
    ) -> (Vec<HolderInfo>, Option<Cursor>) {
        self.table.holders(from, most, |holding| {
            holding.held_ms(now_ms) >= at_least && not_before.is_none_or(|time| !holding.began_before(time))
        })
    }

    /// Returns the figures of the pool for its metrics. Holds and waits are counted only if the pool
    /// is [metered](Pool::open_metered).
    pub fn meters(&self, host: &H) -> PoolMeters {
        host.worked(SHARD_COUNT);
        let (refused, killed) = self.table.refusals_and_killed();
        let hold = self.front.holds.get().map_or_else(Histogram::default, Holds::sum);
        let guarded = lock(&self.guarded);
        let wait = guarded.waits.as_deref().copied().unwrap_or_default();
        PoolMeters { hold, wait, refused, overdrawn: guarded.overdrawn, killed }
    }

    /// Returns the number of the present opening.
    pub fn opening(&self) -> Opening {
        Opening(lock(&self.guarded).opening)
    }

    /// Counts a process as killed for running too long. `opening` is the opening in which the
    /// pool admitted the process. Does nothing if the pool was opened again since.
    pub fn count_killed(&self, opening: Opening, pid: Pid) {
        // The queue lock keeps the pool from being opened between the comparison and the count.
        let guarded = lock(&self.guarded);
        if guarded.opening == opening.0 {
            self.table.shard(pid).killed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns for how many ms a process has held permits without a pause. Returns `None` if it
    /// holds no bound permit.
    pub fn work_ms(&self, host: &H, pid: Pid) -> Option<u32> {
        self.table.work_ms(pid, host.exact_ms())
    }

    /// Returns the number of the shard of a process, below [`SHARD_COUNT`](super::SHARD_COUNT).
    pub fn shard_of(pid: Pid) -> usize {
        Table::shard_of(pid)
    }
}
