//! Deadlines of processes that must not run without end.
//!
//! The *reaper* asks which processes are due, and kills them. Two rules hold, no matter which
//! process is killed or when:
//!
//! - A process either ends its work in time ([`Deadlines::end_work`]) or expires
//!   ([`Deadlines::due`]). Under the shard lock, the first of two calls decides, once: the
//!   `end_work`, or the `due` that expires the process. A process that learns that it has expired
//!   must not go on: it was counted as killed, so it must give no answer.
//! - If the reaper dies, the next reaper gets all expired processes that are not dead. So a
//!   process is killed even if the reaper that got it dies before the kill. No reaper gets the
//!   same process twice, however long the process takes to die.
//!
//! The table has only living processes: when one dies, the host calls [`Deadlines::remove`].
//! The reaper sleeps while the table is empty and the reaper has no other task. The caller that
//! sets the first deadline wakes the reaper by one message. Later callers send none.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_utils::CachePadded;

use crate::host::Pid;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The number of shards. A shard is a part of the table that has its own lock.
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 32 };

/// How the work of a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In time, or without a deadline.
    InTime,
    /// The process had expired before it ended, and was counted as killed.
    Overdue,
}

/// The duties of a caller that has set a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Todo {
    /// Watch the process, which had no deadline before. Call [`Deadlines::remove`] when it dies.
    pub watch: bool,
    /// Wake the reaper.
    pub wake: bool,
}

struct Deadline<V> {
    /// The instant of the deadline, in ms of the clock of the caller that set the deadline.
    at: u64,
    /// Whether the deadline has passed, and the process was counted as killed. The process may
    /// still live.
    expired: bool,
    value: V,
}

struct Shard<V> {
    by_pid: BTreeMap<Pid, Deadline<V>>,
    /// Deadlines that must be reported to the present reaper, once they are due.
    by_time: BTreeSet<(u64, Pid)>,
    /// Deadlines that were reported to the reaper of `reported_to`.
    reported: BTreeSet<(u64, Pid)>,
    /// The number of the reaper that got the deadlines in `reported`.
    reported_to: u64,
}

/// The deadlines of processes, each with a value that the caller attaches.
pub struct Deadlines<V> {
    shards: [CachePadded<Mutex<Shard<V>>>; SHARDS],
    /// The number of processes in all shards, plus the number of other tasks of the reaper. The
    /// reaper can sleep only if the sum is 0.
    count: AtomicU64,
    /// 0 while the reaper sleeps and no caller has begun to wake it.
    awake: AtomicU64,
    /// The number of the present reaper; each new reaper adds 1.
    reaper: AtomicU64,
}

impl<V> Deadlines<V> {
    /// Returns a table without deadlines. Its reaper counts as asleep.
    pub fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| {
                CachePadded::new(Mutex::new(Shard {
                    by_pid: BTreeMap::new(),
                    by_time: BTreeSet::new(),
                    reported: BTreeSet::new(),
                    reported_to: 0,
                }))
            }),
            count: AtomicU64::new(0),
            awake: AtomicU64::new(0),
            reaper: AtomicU64::new(0),
        }
    }

    fn shard(&self, pid: Pid) -> &Mutex<Shard<V>> {
        &self.shards[pid.hash() as usize % self.shards.len()]
    }

    /// Sets the deadline of a living process to `at`, in ms of the caller's clock. Does nothing
    /// if the process has expired.
    pub fn set(&self, pid: Pid, at: u64, value: V) -> Todo {
        let mut shard = lock(self.shard(pid));
        if let Some(last) = shard.by_pid.get(&pid) {
            if last.expired {
                return Todo { watch: false, wake: false };
            }
            let last = (last.at, pid);
            shard.by_time.remove(&last);
        }
        shard.by_time.insert((at, pid));
        let replaced = shard.by_pid.insert(pid, Deadline { at, expired: false, value });
        if replaced.is_none() {
            // ORDERING: SeqCst pairs with `rest` (store buffering). The reaper stores that it
            // sleeps and then loads the count. This call adds to the count and then loads, in
            // `begin_wake`, whether the reaper sleeps. At least one observes the other. So either
            // the reaper stays awake, or the caller wakes it.
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        drop(shard);
        Todo { watch: replaced.is_none(), wake: replaced.is_none() && self.begin_wake() }
    }

    /// Begins a task of the reaper other than a deadline. The reaper does not sleep before
    /// [`Deadlines::end_other`]. Returns `true` if the caller must wake the reaper.
    pub fn begin_other(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_add(1, Ordering::SeqCst);
        self.begin_wake()
    }

    /// Ends a task that [`Deadlines::begin_other`] began.
    pub fn end_other(&self) {
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns `true` if the caller must wake the reaper. Only one of several concurrent callers
    /// gets `true`.
    fn begin_wake(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.awake.load(Ordering::SeqCst) == 0 && self.awake.swap(1, Ordering::SeqCst) == 0
    }

    /// Ends the work of a process. Removes the deadline of the process, unless the process has
    /// expired. A process without a deadline ends in time.
    pub fn end_work(&self, pid: Pid) -> Ending {
        // The value is dropped after the lock is released.
        let _removed = {
            let mut shard = lock(self.shard(pid));
            if shard.by_pid.get(&pid).is_some_and(|deadline| deadline.expired) {
                return Ending::Overdue;
            }
            self.remove_from(&mut shard, pid)
        };
        Ending::InTime
    }

    /// Removes a dead process. Does nothing if it is not in the table.
    pub fn remove(&self, pid: Pid) {
        let _removed = self.remove_from(&mut lock(self.shard(pid)), pid);
    }

    fn remove_from(&self, shard: &mut Shard<V>, pid: Pid) -> Option<Deadline<V>> {
        let removed = shard.by_pid.remove(&pid)?;
        let list = if removed.expired { &mut shard.reported } else { &mut shard.by_time };
        if !list.remove(&(removed.at, pid)) {
            // The process has expired, but `due` moved its deadline back to `by_time`, so that a
            // new reaper gets the process.
            shard.by_time.remove(&(removed.at, pid));
        }
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_sub(1, Ordering::SeqCst);
        Some(removed)
    }

    /// Reports at most `most` processes that are due at `now` and were not reported to this
    /// reaper yet. Calls `on_expiry` with each process that expires by this call, and with its
    /// value, under the lock of its shard.
    pub fn due(&self, now: u64, most: usize, mut on_expiry: impl FnMut(Pid, &V)) -> Vec<Pid> {
        // The largest allocation of the call comes before the first lock, so that no lock is held
        // meanwhile.
        let mut due = Vec::with_capacity(most);
        let reaper = self.reaper.load(Ordering::Relaxed);
        for shard in &self.shards {
            if due.len() == most {
                break;
            }
            let mut shard = lock(shard);
            let Shard { by_pid, by_time, reported, reported_to } = &mut *shard;
            if *reported_to != reaper {
                // A new reaper asks for the first time. It must kill the processes that the last
                // reaper got and that still live. These are few: a dead process leaves the shard.
                *reported_to = reaper;
                by_time.append(reported);
            }
            while due.len() < most
                && let Some(&(at, pid)) = by_time.first()
                && at <= now
                && let Some(deadline) = by_pid.get_mut(&pid)
            {
                if !deadline.expired {
                    deadline.expired = true;
                    on_expiry(pid, &deadline.value);
                }
                by_time.remove(&(at, pid));
                reported.insert((at, pid));
                due.push(pid);
            }
        }
        due
    }

    /// Makes [`Deadlines::due`] report all expired processes again. A new reaper calls this
    /// before its first `due`.
    pub fn report_again(&self) {
        self.reaper.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets the reaper sleep. Returns `false` if the reaper must not sleep, because there are
    /// deadlines or other tasks. In that case the reaper must ask again soon.
    pub fn rest(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.awake.store(0, Ordering::SeqCst);
        // ORDERING: SeqCst, as in `set`. If another caller has just begun to wake the reaper, the
        // reaper can sleep: the message of that caller will wake it.
        self.count.load(Ordering::SeqCst) == 0 || !self.begin_wake()
    }
}

impl<V> Default for Deadlines<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> std::fmt::Debug for Deadlines<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deadlines").field("count", &self.count.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}
