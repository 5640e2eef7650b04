//! Statistics of a pool, and of its holders.

use crate::holders::{Age, Cursor, HolderInfo, Report, Table};
use crate::host::Pid;
use crate::sync::{Ordering, lock};

use super::wait_queue::Queue;
use super::{Pool, PoolHost, Settings, Status};

/// A pool at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Whether the pool admits callers.
    pub status: Status,
    /// The settings in force.
    pub settings: Settings,
    /// Permits held.
    pub in_use: u64,
    /// Processes parked.
    pub waiting: usize,
    /// The most permits that were held at once since the pool was opened.
    pub peak: u64,
    /// Waiters admitted since the pool was opened; not in any [`Report`].
    pub granted: u64,
}

/// Numbers the openings of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening(u64);

impl<H: PoolHost> Pool<H> {
    /// Returns the pool as it is now.
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

    /// Returns the totals from a cursor on, until `most` cache lines were looked at, and the next
    /// cursor.
    pub fn report(&self, host: &H, from: Cursor, most: usize) -> (Report, Option<Cursor>) {
        let longer_than = lock(&self.guarded).settings.held_longer_than;
        self.table.report(from, self.generation(), most, Age { now_ms: host.now_ms(), longer_than })
    }

    /// Returns the holders from a cursor on, until `most` cache lines were looked at, and the
    /// next cursor.
    pub fn holders(&self, from: Cursor, most: usize) -> (Vec<HolderInfo>, Option<Cursor>) {
        self.table.holders(from, most, |_| true)
    }

    /// Returns only those holders that have held for `at_least` ms at `now_ms` of the host's
    /// coarse clock.
    pub fn holders_since(
        &self,
        from: Cursor,
        most: usize,
        now_ms: u32,
        at_least: u32,
    ) -> (Vec<HolderInfo>, Option<Cursor>) {
        self.table.holders(from, most, |holding| holding.held_ms(now_ms) >= at_least)
    }

    /// Returns which opening of the pool this is.
    pub fn opening(&self) -> Opening {
        Opening(lock(&self.guarded).opening)
    }

    /// Counts a process that runs longer than it may, if the pool has not been opened again since
    /// it admitted the process.
    pub fn count_killed(&self, opening: Opening, pid: Pid) {
        // The lock keeps the pool from being opened between the two.
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

    /// Returns the shard that a process falls to.
    pub fn shard_of(pid: Pid) -> usize {
        Table::shard_of(pid)
    }
}
