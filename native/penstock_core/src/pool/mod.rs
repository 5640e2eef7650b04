//! A pool of permits: at most `limit` are held at once, and the death of a holder gives back what
//! it held.
//!
//! A pool has four parts, each of which argues its own races. Acquires compare and exchange the
//! [state word](state). The [holders](crate::holders) have the permits of each process. The [wait
//! queue](wait_queue) has the parked processes. The [many-holders hint](many_holders) keeps
//! refusals cheap.
//!
//! # Locks
//!
//! The queue lock guards [`Guarded`]; each shard of the holders has a lock; the
//! [restarts](restart) of a pool share one. A shard's lock may be taken inside the queue lock,
//! never the other way round. The lock of the restarts is taken inside no other, and no other
//! inside it. No method of the host is called inside any of them.
//!
//! # Which fact is held where
//!
//! Some facts are held more than once, as no single copy serves all of its readers:
//!
//! | fact     | where                      | why there                                         |
//! |----------|----------------------------|---------------------------------------------------|
//! | limit    | `state`: `limit - in use`  | An acquire compares this word: no stale limit.    |
//! |          | `front.limit`, versioned   | Peak and size of requests, without a lock.        |
//! |          | `guarded.settings.limit`   | As the owner asked for it, told by `info`.        |
//! |          | registry's `StartConfig`   | As the owner *started* it: a restart compares it. |
//! | status   | `CLOSED` in `state`        | An acquire compares this word.                    |
//! |          | `guarded.status`           | Only a draining pool reopens with its holders.    |
//! |          | the registry's current word| A name loses its pool before that closes.         |
//! | acquired | [`Entry`], of the living   | Its process counts by a plain store.              |
//! |          | shard totals, of the dead  | The entry of a dead process is reused.            |
//! |          | `guarded.granted`          | A waiter is admitted by another process.          |
//!
//! [`Entry`]: crate::holders::Entry
//!
//! The queue lock orders all writes to the limit and the status in the pool; the lock of the
//! ownership orders those in the registry.

mod acquire;
mod handoff;
mod lifecycle;
mod limit;
mod many_holders;
mod reap;
mod report;
mod restart;
mod serve;
mod state;
mod transfer;
mod wait;
mod wait_queue;

use crossbeam_utils::CachePadded;

use crate::holders::{SHARDS, Table};
use crate::host::{Host, Pid};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};

use limit::LimitWord;
use many_holders::ManyHolders;
use restart::Finds;
use state::State;
use wait_queue::WaitQueue;

pub use acquire::{NotHeld, Refusal};
pub use handoff::{Adoption, Offer};
pub use lifecycle::{Changes, Drain, Settings, Status};
pub use report::{Info, Opening};
pub use restart::{Restart, Step};
pub use transfer::TransferError;
pub use wait::{Cancelled, Expiry, Parked};
pub use wait_queue::WaiterId;

/// The number of shards that the holders are in, for the host that watches them.
pub const SHARD_COUNT: usize = SHARDS;

/// The limit of a pool that counts and does not refuse. One process would have to ask half a
/// billion times for the most that one call may ask for.
pub const UNLIMITED: u64 = 1 << 60;

/// A `max_overdraft` that is as large as the limit.
pub const AS_LIMIT: u64 = u64::MAX;

/// A runtime that has pools.
pub trait PoolHost: Host {
    /// The data that the runtime keeps with each pool.
    type PoolData: Default + Send + Sync;

    /// Makes sure that [`Pool::down`] is called once `pid` is gone; returns `false` if it is gone
    /// already.
    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool;

    /// Makes sure that [`Pool::serve`] is called again soon, as more is due than one call may
    /// do.
    fn defer(&self, pool: &Pool<Self>);
}

/// A pool. Made closed; see [`Pool::open`].
pub struct Pool<H: PoolHost> {
    state: CachePadded<State>,
    front: CachePadded<Front>,
    table: Table,
    guarded: CachePadded<Mutex<Guarded<H>>>,
    finds: Finds,
    /// The data of the host.
    pub data: H::PoolData,
}

/// Read by every call, written rarely.
struct Front {
    limit: LimitWord,
    peak: AtomicU64,
    many_holders: ManyHolders,
    /// Counts the openings of the pool; an entry tells by it whether its total is of the present
    /// one.
    generation: AtomicU32,
}

/// What the queue lock guards.
struct Guarded<H: PoolHost> {
    queue: WaitQueue<H>,
    /// The host was told that there are waits which it must end, and has not found since that
    /// there are none.
    timed: bool,
    settings: Settings,
    status: Status,
    /// How often the pool was opened.
    opening: u64,
    /// Waiters that other processes admitted since the pool was opened.
    granted: u64,
    /// The most that was in use when the limit changed, while the pool has been overdrawn since.
    shrunk_from: u64,
}

impl<H: PoolHost> Pool<H> {
    /// Returns a pool that is closed.
    pub fn new() -> Self {
        Self {
            state: CachePadded::new(State::new()),
            front: CachePadded::new(Front {
                limit: LimitWord::new(),
                peak: AtomicU64::new(0),
                many_holders: ManyHolders::new(),
                generation: AtomicU32::new(0),
            }),
            table: Table::new(),
            guarded: CachePadded::new(Mutex::new(Guarded {
                queue: WaitQueue::new(),
                timed: false,
                settings: Settings::default(),
                status: Status::Closed,
                opening: 0,
                granted: 0,
                shrunk_from: 0,
            })),
            finds: Finds::new(),
            data: H::PoolData::default(),
        }
    }

    fn generation(&self) -> u32 {
        self.front.generation.load(Ordering::Relaxed)
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
