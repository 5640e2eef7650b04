//! Processes that may not run for ever, and when each of them is to be ended.
//!
//! Whoever ends them, the *reaper*, is told who is due and acts on its own. Both of these hold, whoever is killed when:
//!
//! - Of a process it is settled once, under one lock, whether its work ended in time or it is to be killed. One that is
//!   to be killed and finds it out may not go on: no answer of its comes after it was counted.
//! - Who is to be killed is told to each reaper there is, until it is dead: one that dies between being told and acting loses
//!   nothing, and none is told twice, however long a process takes to die.
//!
//! The table holds living processes only, since their deaths are told to it. While there are none the reaper sleeps, and one
//! message wakes it, not one for each process.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_utils::CachePadded;

use crate::host::Pid;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// Locks of the table.
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 32 };

/// How the work of a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In time, or it had all the time there is.
    InTime,
    /// The process is to be killed, and was counted.
    Overdue,
}

/// What setting a deadline asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Todo {
    /// See to it that the process' death is told by [`Deadlines::remove`]: it has no deadline yet.
    pub watch: bool,
    /// Wake the reaper.
    pub wake: bool,
}

struct Deadline<V> {
    at: u64,
    doomed: bool,
    value: V,
}

struct Shard<V> {
    by_pid: BTreeMap<Pid, Deadline<V>>,
    /// Those that the reaper is to be told of.
    by_time: BTreeSet<(u64, Pid)>,
    /// Those that it has been told of.
    told: BTreeSet<(u64, Pid)>,
    /// Which reaper that was.
    to: u64,
}

/// The deadlines of all processes that have one, each with a value of the caller's.
pub struct Deadlines<V> {
    shards: [CachePadded<Mutex<Shard<V>>>; SHARDS],
    /// Processes in all shards, and what else the reaper looks at.
    count: AtomicU64,
    awake: AtomicU64,
    /// How many reapers there were.
    reaper: AtomicU64,
}

impl<V> Deadlines<V> {
    /// None, and the reaper sleeps.
    pub fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| {
                CachePadded::new(Mutex::new(Shard {
                    by_pid: BTreeMap::new(),
                    by_time: BTreeSet::new(),
                    told: BTreeSet::new(),
                    to: 0,
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

    /// Gives a living process until `at`, in ms by the caller's clock. Does nothing if it is to be killed already.
    pub fn set(&self, pid: Pid, at: u64, value: V) -> Todo {
        let mut shard = lock(self.shard(pid));
        if let Some(last) = shard.by_pid.get(&pid) {
            if last.doomed {
                return Todo { watch: false, wake: false };
            }
            let last = (last.at, pid);
            shard.by_time.remove(&last);
        }
        shard.by_time.insert((at, pid));
        let replaced = shard.by_pid.insert(pid, Deadline { at, doomed: false, value });
        if replaced.is_none() {
            // ORDERING: SeqCst pairs with `rest`: the reaper goes to sleep and then looks whether there are any, we count and
            // then look whether it sleeps; one of us sees the other.
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        drop(shard);
        Todo { watch: replaced.is_none(), wake: replaced.is_none() && self.begin_wake() }
    }

    /// The reaper has something else to look at, and must not sleep before
    /// [`Deadlines::end_other`]; whether the caller must wake it.
    pub fn begin_other(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_add(1, Ordering::SeqCst);
        self.begin_wake()
    }

    /// It has not any more.
    pub fn end_other(&self) {
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether it is the caller who must wake the reaper.
    fn begin_wake(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.awake.load(Ordering::SeqCst) == 0 && self.awake.swap(1, Ordering::SeqCst) == 0
    }

    /// The process' work has ended. Whoever has no deadline is in time.
    pub fn end_work(&self, pid: Pid) -> Ending {
        // What is taken out is dropped when the lock is open again.
        let _out = {
            let mut shard = lock(self.shard(pid));
            if shard.by_pid.get(&pid).is_some_and(|deadline| deadline.doomed) {
                return Ending::Overdue;
            }
            self.take_out(&mut shard, pid)
        };
        Ending::InTime
    }

    /// The process is dead. Once or many times.
    pub fn remove(&self, pid: Pid) {
        let _out = self.take_out(&mut lock(self.shard(pid)), pid);
    }

    fn take_out(&self, shard: &mut Shard<V>, pid: Pid) -> Option<Deadline<V>> {
        let out = shard.by_pid.remove(&pid)?;
        let list = if out.doomed { &mut shard.told } else { &mut shard.by_time };
        if !list.remove(&(out.at, pid)) {
            // Doomed, and to be told again.
            shard.by_time.remove(&(out.at, pid));
        }
        // ORDERING: SeqCst, as in `set`.
        self.count.fetch_sub(1, Ordering::SeqCst);
        Some(out)
    }

    /// Who is due by now, at most so many, and was not told to this reaper yet. `doom` is called with the value of each whose
    /// time has just run out, under a lock of ours.
    pub fn due(&self, now: u64, most: usize, mut doom: impl FnMut(Pid, &V)) -> Vec<Pid> {
        // All the places that may be needed, now: little is allocated inside a lock.
        let mut due = Vec::with_capacity(most);
        let reaper = self.reaper.load(Ordering::Relaxed);
        for shard in &self.shards {
            if due.len() == most {
                break;
            }
            let mut shard = lock(shard);
            let Shard { by_pid, by_time, told, to } = &mut *shard;
            if *to != reaper {
                // Shard by shard, when its turn comes: of the dead nothing is here, so it is seldom much.
                *to = reaper;
                by_time.append(told);
            }
            while due.len() < most
                && let Some(&(at, pid)) = by_time.first()
                && at <= now
                && let Some(deadline) = by_pid.get_mut(&pid)
            {
                if !deadline.doomed {
                    deadline.doomed = true;
                    doom(pid, &deadline.value);
                }
                by_time.remove(&(at, pid));
                told.insert((at, pid));
                due.push(pid);
            }
        }
        due
    }

    /// There is another reaper, which nobody was told to yet. By that, before it asks.
    pub fn tell_again(&self) {
        self.reaper.fetch_add(1, Ordering::Relaxed);
    }

    /// The reaper would sleep. False if there are deadlines: then it is to look again soon.
    pub fn rest(&self) -> bool {
        // ORDERING: SeqCst, as in `set`.
        self.awake.store(0, Ordering::SeqCst);
        // ORDERING: as above. If another process has just seen it asleep, that one wakes it.
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
