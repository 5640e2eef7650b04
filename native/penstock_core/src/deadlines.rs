//! Deadlines of processes that may not run without end.
//!
//! The *reaper* is told which processes are due, and kills them. Both of these hold, no
//! matter which process is killed or when:
//!
//! - Under one lock it is decided, once, whether the work of a process ended in time or the
//!   process has expired. A process that has expired and finds that out must not go on: no answer
//!   of it comes after it was counted.
//! - An expired process is reported to each reaper there is, until it is dead. A reaper that dies
//!   between the report and the kill loses nothing, and no reaper gets a process twice, however
//!   long that takes to die.
//!
//! The table holds living processes only, since it is told of their deaths. While there are
//! none the reaper sleeps, and one message wakes it, not one for each process.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_utils::CachePadded;

use crate::host::Pid;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The number of locks of the table.
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 32 };

/// How the work of a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In time, or without a deadline.
    InTime,
    /// The process has expired, and was counted.
    Overdue,
}

/// What the caller that sets a deadline must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Todo {
    /// Have [`Deadlines::remove`] called when the process dies: it had no deadline before.
    pub watch: bool,
    /// Wake the reaper.
    pub wake: bool,
}

struct Deadline<V> {
    at: u64,
    expired: bool,
    value: V,
}

struct Shard<V> {
    by_pid: BTreeMap<Pid, Deadline<V>>,
    /// Deadlines that must be reported.
    by_time: BTreeSet<(u64, Pid)>,
    /// Deadlines that were reported.
    reported: BTreeSet<(u64, Pid)>,
    /// The number of the reaper that they were reported to.
    reported_to: u64,
}

/// The deadlines of all processes that have one, each with a value of the caller's.
pub struct Deadlines<V> {
    shards: [CachePadded<Mutex<Shard<V>>>; SHARDS],
    /// The processes in all shards, and other work of the reaper.
    count: AtomicU64,
    awake: AtomicU64,
    /// The number of the present reaper.
    reaper: AtomicU64,
}

impl<V> Deadlines<V> {
    /// Returns a table without deadlines, whose reaper sleeps.
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
        &self.shards[pid.hash() as usize % SHARDS]
    }

    /// Gives a living process until `at`, in ms of the caller's clock. Does nothing if the
    /// process has expired.
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
            // ORDERING: SeqCst pairs with `rest` (store buffering): the reaper stores that it
            // sleeps and then loads the count. This call adds to the count and then loads whether
            // the reaper sleeps. At least one observes the other.
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        drop(shard);
        Todo { watch: replaced.is_none(), wake: replaced.is_none() && self.begin_wake() }
    }

    /// Begins other work of the reaper, which must not sleep before [`Deadlines::end_other`].
    /// Returns `true` if the caller must wake it.
    pub fn begin_other(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_add(1, Ordering::SeqCst);
        self.begin_wake()
    }

    /// Ends what [`Deadlines::begin_other`] began.
    pub fn end_other(&self) {
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns `true` if the caller must wake the reaper.
    fn begin_wake(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.awake.load(Ordering::SeqCst) == 0 && self.awake.swap(1, Ordering::SeqCst) == 0
    }

    /// Ends the work of a process. A process without a deadline is in time.
    pub fn end_work(&self, pid: Pid) -> Ending {
        // The value is dropped after the lock is released.
        let _out = {
            let mut shard = lock(self.shard(pid));
            if shard.by_pid.get(&pid).is_some_and(|deadline| deadline.expired) {
                return Ending::Overdue;
            }
            self.take_out(&mut shard, pid)
        };
        Ending::InTime
    }

    /// Removes a dead process. May be called once or many times.
    pub fn remove(&self, pid: Pid) {
        let _out = self.take_out(&mut lock(self.shard(pid)), pid);
    }

    fn take_out(&self, shard: &mut Shard<V>, pid: Pid) -> Option<Deadline<V>> {
        let out = shard.by_pid.remove(&pid)?;
        let list = if out.expired { &mut shard.reported } else { &mut shard.by_time };
        if !list.remove(&(out.at, pid)) {
            // Expired, and to be reported to the next reaper.
            shard.by_time.remove(&(out.at, pid));
        }
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_sub(1, Ordering::SeqCst);
        Some(out)
    }

    /// Returns at most `most` processes that are due at `now` and were not reported to this
    /// reaper yet. Calls `doom` with the value of each that has just expired, under the lock of
    /// its shard.
    pub fn due(&self, now: u64, most: usize, mut doom: impl FnMut(Pid, &V)) -> Vec<Pid> {
        // All the room that may be needed, now: little is allocated inside a lock.
        let mut due = Vec::with_capacity(most);
        let reaper = self.reaper.load(Ordering::Relaxed);
        for shard in &self.shards {
            if due.len() == most {
                break;
            }
            let mut shard = lock(shard);
            let Shard { by_pid, by_time, reported, reported_to } = &mut *shard;
            if *reported_to != reaper {
                // Shard by shard, when its turn comes: a shard holds no dead process, so this is
                // seldom much.
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
                    doom(pid, &deadline.value);
                }
                by_time.remove(&(at, pid));
                reported.insert((at, pid));
                due.push(pid);
            }
        }
        due
    }

    /// Reports all expired processes again, as there is another reaper. By that reaper, before it
    /// asks.
    pub fn tell_again(&self) {
        self.reaper.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets the reaper sleep. Returns `false` if there are deadlines: then it must look again
    /// soon.
    pub fn rest(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.awake.store(0, Ordering::SeqCst);
        // ORDERING: SeqCst, as in `set`. If another process has just seen it asleep, that one
        // wakes it.
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
