//! A pool of permits: at most `limit` are held at once, and the death of a holder gives back what it held.
//!
//! Four parts: the [state word](state) that acquires compare and exchange, the [holders](crate::holders) with what each has,
//! the [desk](desk) where waiters are parked, and the [crowd hint](crowd) that keeps refusals cheap. Here is how they
//! play together; each part argues its own races.
//!
//! Locks: the desk's, one for each shard of the holders, and one of the [restarts](restart). A
//! shard's may be taken inside the desk's, never the other way round, and the last inside no
//! other nor another inside it. No method of the host is called inside any of them.

mod admit;
mod crowd;
mod desk;
mod hand_over;
mod life;
mod look;
mod restart;
mod state;
mod wait;

use crossbeam_utils::CachePadded;

use crate::holders::{SHARDS, Table};
use crate::host::{Host, Pid};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, fence};

use crowd::Crowd;
use desk::Line;
use restart::Finds;
use state::{State, Word};

pub use admit::{NotHeld, Refusal, TransferError};
pub use desk::WaiterId;
pub use hand_over::{Adoption, Offer};
pub use life::{Changes, Drain, Info, Opening, Settings, Status};
pub use restart::{Restart, Step};
pub use wait::{Cancelled, Expiry, Parked};

/// How many shards the holders are in, for whoever watches them.
pub const SHARD_COUNT: usize = SHARDS;

/// The limit of a pool that counts and does not refuse: one process would have to ask half a
/// billion times for the most that one call may ask for.
pub const UNLIMITED: u64 = 1 << 60;

/// A `max_overdraft` that is as large as the limit, whatever that is.
pub const AS_LIMIT: u64 = u64::MAX;

/// A runtime that has pools.
pub trait PoolHost: Host {
    /// The data that the runtime keeps with each pool.
    type Anchor: Default + Send + Sync;

    /// Makes sure that [`Pool::down`] is called once `pid` is gone; returns `false` if it is gone
    /// already.
    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool;

    /// Makes sure that [`Pool::settle`] is called again soon, as more is due than one call may do.
    fn defer(&self, pool: &Pool<Self>);
}

/// A pool. Made closed; see [`Pool::open`].
pub struct Pool<H: PoolHost> {
    state: CachePadded<State>,
    front: CachePadded<Front>,
    table: Table,
    desk: CachePadded<Mutex<Desk<H>>>,
    finds: Finds,
    /// The data of the host.
    pub anchor: H::Anchor,
}

/// Read by every call, written rarely.
struct Front {
    limit: LimitWord,
    peak: AtomicU64,
    crowd: Crowd,
    /// Which opening of the pool this is; entries tell by it which totals are of today.
    epoch: AtomicU32,
}

struct Desk<H: PoolHost> {
    line: Line<H>,
    /// The host was told that there are waits which it must end, and has not found since that
    /// there are none.
    timed: bool,
    settings: Settings,
    status: Status,
    /// How often the pool was opened.
    opening: u64,
    /// Waiters admitted by others since the pool was opened.
    granted: u64,
    /// The most that was in use when the limit changed, while the pool has been overdrawn ever since.
    shrunk_from: u64,
}

/// The limit as it can be read without a lock, to tell how much is in use: a version that each change raises, whether
/// one is under way, and the limit in the low half, where all ones is [`UNLIMITED`].
struct LimitWord(AtomicU64);

impl LimitWord {
    const CHANGING: u64 = 1 << 32;
    const NONE: u64 = 0xFFFF_FFFF;

    #[inline]
    fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn limit(word: u64) -> u64 {
        match word & Self::NONE {
            Self::NONE => UNLIMITED,
            limit => limit,
        }
    }

    /// Under the desk lock, before the state word is shifted.
    fn begin_change(&self) {
        self.0.fetch_or(Self::CHANGING, Ordering::Relaxed);
    }

    /// Under the desk lock, after it.
    fn end_change(&self, limit: u64) {
        let version = (self.load() >> 33).wrapping_add(1);
        self.0.store(version << 33 | limit.min(Self::NONE), Ordering::Relaxed);
    }
}

impl<H: PoolHost> Pool<H> {
    /// A pool that is closed.
    pub fn new() -> Self {
        Self {
            state: CachePadded::new(State::new()),
            front: CachePadded::new(Front {
                limit: LimitWord(AtomicU64::new(0)),
                peak: AtomicU64::new(0),
                crowd: Crowd::new(),
                epoch: AtomicU32::new(0),
            }),
            table: Table::new(),
            desk: CachePadded::new(Mutex::new(Desk {
                line: Line::new(),
                timed: false,
                settings: Settings::default(),
                status: Status::Closed,
                opening: 0,
                granted: 0,
                shrunk_from: 0,
            })),
            finds: Finds::new(),
            anchor: H::Anchor::default(),
        }
    }

    fn epoch(&self) -> u32 {
        self.front.epoch.load(Ordering::Relaxed)
    }

    /// Raises the peak to what was in use at `left`, if `limit` was in force at that instant.
    #[inline]
    fn note_peak(&self, limit: u64, left: Word) {
        let in_use = (LimitWord::limit(limit) as i64 - left.free()).max(0) as u64;
        if in_use > self.front.peak.load(Ordering::Relaxed) {
            self.raise_peak(limit, in_use);
        }
    }

    #[cold]
    fn raise_peak(&self, limit: u64, in_use: u64) {
        // A limit that was changing, or has changed since it was read, may not belong to the word it was taken with;
        // `Pool::update` notes the peak itself then. (A word that was shifted was marked before; to have taken from the
        // shifted word, by Acquire, is to see the mark.)
        if limit & LimitWord::CHANGING == 0 && self.front.limit.load() == limit {
            self.front.peak.fetch_max(in_use, Ordering::Relaxed);
        }
    }

    /// How much is in use. Under the desk lock.
    fn in_use(&self) -> u64 {
        (LimitWord::limit(self.front.limit.load()) as i64 - self.state.load().free()).max(0) as u64
    }

    /// The process is gone: all it had in the pool comes back, whatever it was doing. Once or many times.
    pub fn down(&self, host: &H, pid: Pid) {
        if self.bury(pid) {
            self.settle(host);
        }
    }

    /// As [`Pool::down`], for who has learnt of the death by other means than ours and would have what it held back now: who
    /// handed it over, or has heard from the process since. Does nothing if the process lives.
    pub fn ended(&self, host: &H, pid: Pid) {
        // Usually its monitor was first. An entry that was made, as the caller knows, and is not there any more, is gone for
        // good: no lock is needed to see that.
        if self.table.find(pid).is_some() && !host.alive(pid) {
            self.down(host, pid);
        }
    }

    /// Takes back all that a dead process had; whether something may be due at the desk now.
    fn bury(&self, pid: Pid) -> bool {
        self.inherit(pid, 0).1
    }

    /// As `bury`, but keeps so many of its permits for the caller, if it had them: whether it did.
    fn inherit(&self, pid: Pid, keep: u64) -> (bool, bool) {
        // First, as the entry leads to the waits. A grant that was made before is in the entry,
        // and comes back with it.
        let waited = self.leave_all(pid);
        let give_back = |permits| if permits > 0 { self.state.give(permits) } else { self.state.load() };
        let Some(estate) = self.table.remove(self.epoch(), pid, keep, give_back) else { return (false, waited) };
        if estate.permits > 0 {
            // ORDERING: pairs with the fence in `Crowd::suspect`: the entry is wiped before we look.
            fence(Ordering::SeqCst);
            if self.front.crowd.watched() {
                self.front.crowd.someone_left();
            }
        }
        // Who waited behind it may now be at the head; whoever waits for permits may have them.
        (estate.kept > 0, waited || estate.given_back.flagged())
    }
}

impl<H: PoolHost> Default for Pool<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: PoolHost> std::fmt::Debug for Pool<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("state", &self.state)
            .field("limit", &self.front.limit.load())
            .finish_non_exhaustive()
    }
}
