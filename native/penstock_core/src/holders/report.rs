//! Statistics of holders. Each call reads one piece of the table, so that it does bounded work.

use std::ops::AddAssign;

use super::cursor::Cursor;
use super::entry::Entry;
use super::table::{LANES, Shard, Table};
use crate::host::Pid;
use crate::sync::{AtomicU64, Ordering, lock};

/// The number of cache lines after which a call releases a shard's lock. To read that number
/// takes about 5 µs.
const LINES_IN_HOLD: usize = 256;

/// One holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderInfo {
    /// The process.
    pub pid: Pid,
    /// The number of permits that it holds.
    pub permits: u64,
    /// When it last began to hold permits, in ms of the host's clock.
    pub since_ms: u32,
}

impl HolderInfo {
    /// Returns for how many ms the process has held permits at the time `now_ms` of the host's
    /// clock.
    pub fn held_ms(&self, now_ms: u32) -> u32 {
        elapsed_ms(self.since_ms, now_ms)
    }

    /// Returns `true` if the process began to hold before a time of the host's clock, which wraps.
    /// Of two times that are less than 24 days apart, one is before the other.
    pub(crate) fn began_before(&self, time_ms: u32) -> bool {
        self.since_ms.wrapping_sub(time_ms) > u32::MAX / 2
    }
}

/// Returns the ms from one reading of the host's clock to another. The clock wraps after 49 days.
pub(crate) fn elapsed_ms(since_ms: u32, now_ms: u32) -> u32 {
    let elapsed = now_ms.wrapping_sub(since_ms);
    // A process may begin to hold permits after the caller has read `now_ms`. Then its hold must
    // not seem 49 days old.
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

/// The totals of one piece of the table, or the sum of several pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of processes that hold permits.
    pub holders: u64,
    /// The number of admissions since the pool was opened, without those of parked waiters.
    pub acquired: u64,
    /// The number of refusals since the pool was opened.
    pub rejected: u64,
    /// The number of waits that timed out since the pool was opened.
    pub timed_out: u64,
    /// The number of permits that came back because their holder died, since the pool was opened.
    pub released_by_exit: u64,
    /// The number of processes killed for running too long since the pool was opened.
    pub killed: u64,
    /// The number of holders that have held for longer than the pool's `held_longer_than`.
    pub held_longer: u64,
    /// The number of cache lines that were read for this report, of keys and of entries.
    pub visited: usize,
}

/// Why a pool refuses a caller, or a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Full = 0,
    QueueFull = 1,
    Closed = 2,
}

/// The number of reasons.
pub(super) const REASONS: usize = 3;

/// The refusals of a pool since it was opened, by their reason. They add up to
/// [`Report::rejected`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Too few permits were free, or the request exceeded the limit.
    pub full: u64,
    /// The queue had no room for another waiter.
    pub queue_full: u64,
    /// The pool was closed or draining.
    pub closed: u64,
}

/// The age beyond which a holder counts in [`Report::held_longer`], and the time at which its age
/// is computed.
#[derive(Clone, Copy)]
pub(crate) struct Age {
    /// The time, in ms of the host's coarse clock.
    pub(crate) now_ms: u32,
    /// The age in ms; 0 if no holder counts.
    pub(crate) longer_than: u32,
}

impl Age {
    fn is_of(self, entry: &Entry) -> bool {
        self.longer_than > 0 && elapsed_ms(entry.since(), self.now_ms) > self.longer_than
    }
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.holders += other.holders;
        self.acquired += other.acquired;
        self.rejected += other.rejected;
        self.timed_out += other.timed_out;
        self.released_by_exit += other.released_by_exit;
        self.killed += other.killed;
        self.held_longer += other.held_longer;
        self.visited += other.visited;
    }
}

impl Table {
    /// Returns the totals from a cursor on, until `most` cache lines were read, and the next
    /// cursor. A call holds the lock of a shard for about [`LINES_IN_HOLD`] lines at a time.
    ///
    /// No admission counts twice: it is in the entry of a living process, or in the totals of the
    /// shard's dead ones. If a process is reaped between two holds of the lock, its admissions
    /// may be missing.
    pub(crate) fn report(&self, from: Cursor, generation: u32, most: usize, age: Age) -> (Report, Option<Cursor>) {
        let mut sums = Report::default();
        let mut next = Some(from);
        while let Some(at) = next.filter(|_| sums.visited < most) {
            let Some(shard) = self.shards.get(at.shard()) else { return (sums, None) };
            let retired = lock(&shard.retired);
            if at.is_start_of_shard() {
                sums.acquired += retired.admissions;
                sums.released_by_exit += retired.released_by_exit;
                sums.rejected += shard.refused.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
                sums.timed_out += shard.timed_out.load(Ordering::Relaxed);
                sums.killed += shard.killed.load(Ordering::Relaxed);
            }
            let (visited, rest) =
                self.walk(at.shard(), at.slot(), LINES_IN_HOLD.min(most - sums.visited), |_, entry| {
                    let holds = entry.held() > 0;
                    sums.holders += u64::from(holds);
                    sums.held_longer += u64::from(holds && age.is_of(entry));
                    sums.acquired += entry.admissions(generation);
                });
            sums.visited += visited;
            next = at.after(rest);
        }
        (sums, next)
    }

    /// Returns the refusals by their reason, and the number of processes killed for running too
    /// long.
    pub(crate) fn refusals_and_killed(&self) -> (Refusals, u64) {
        let sum = |of: fn(&Shard) -> &AtomicU64| self.shards.iter().map(|it| of(it).load(Ordering::Relaxed)).sum();
        let refusals = Refusals {
            full: sum(|shard| &shard.refused[Reason::Full as usize]),
            queue_full: sum(|shard| &shard.refused[Reason::QueueFull as usize]),
            closed: sum(|shard| &shard.refused[Reason::Closed as usize]),
        };
        (refusals, sum(|shard| &shard.killed))
    }

    /// Returns for how many ms a process has held permits without a pause, at the time `now_ms`
    /// of the host's exact clock; `None` if it has no bound permits.
    pub(crate) fn work_ms(&self, pid: Pid, now_ms: u32) -> Option<u32> {
        let _locked = self.lock(pid);
        let entry = self.find(pid)?;
        entry.has_bound().then(|| elapsed_ms(entry.since(), now_ms))
    }

    /// Returns the holders, from a cursor on, for which `wanted` returns `true`. Stops after
    /// `most` cache lines, and also returns the next cursor.
    pub(crate) fn holders(
        &self,
        from: Cursor,
        most: usize,
        wanted: impl Fn(&HolderInfo) -> bool,
    ) -> (Vec<HolderInfo>, Option<Cursor>) {
        // The vector is allocated before a lock is taken, and does not grow under a lock.
        let mut found = Vec::with_capacity(most + LANES);
        let mut visited = 0;
        let mut next = Some(from);
        while let Some(at) = next.filter(|_| visited < most) {
            let Some(shard) = self.shards.get(at.shard()) else { return (found, None) };
            let _locked = lock(&shard.retired);
            let (lines, rest) = self.walk(at.shard(), at.slot(), LINES_IN_HOLD.min(most - visited), |pid, entry| {
                let permits = entry.held();
                let holding = HolderInfo { pid, permits, since_ms: entry.since() };
                if permits > 0 && wanted(&holding) {
                    found.push(holding);
                }
            });
            visited += lines;
            next = at.after(rest);
        }
        (found, next)
    }
}
