//! A pool of permits, a counting semaphore: no acquire makes more than `limit` held at once, and
//! the permits of a holder come back when it dies. More can be held only after the limit fell, or
//! by an overdraft of [restarts](restart).
//!
//! A pool bounds work of one node. It bounds no rate, hands out no objects and knows no
//! priorities.
//!
//! A pool has four parts, and each file argues the races of its part:
//!
//! - The [state word](state) counts the free permits. An acquire is one CAS on it.
//! - The [holders](crate::holders) record the permits of each process, in one entry a process.
//! - The [wait queue](wait_queue) holds the parked processes.
//! - The [many-holders hint](many_holders) keeps refusals cheap in a pool of many holders.
//!
//! # Locks
//!
//! | lock         | guards                                                                      |
//! |--------------|-----------------------------------------------------------------------------|
//! | queue lock   | [`Guarded`], and all writes to the limit and to the flags of the state word |
//! | shard lock   | the entries of the pids of one shard: insertion, removal and credits        |
//! | restart lock | the memory that the [restarts](restart) of the pool share                   |
//!
//! A call may take a shard lock inside the queue lock, never the reverse. The restart lock is
//! taken inside no other lock, and no lock is taken inside it. No method of the host is called
//! inside any lock.
//!
//! # Which fact is held where
//!
//! Some facts have several copies, since no single copy serves all readers:
//!
//! | fact     | where                        | why there                                      |
//! |----------|------------------------------|------------------------------------------------|
//! | limit    | `state`, as `limit - in use` | An acquire compares it: no limit is stale.     |
//! |          | `front.limit`, versioned     | For the peak and oversize requests, lock-free. |
//! |          | `guarded.settings.limit`     | As the owner asked for it, for `info`.         |
//! |          | the registry's `StartConfig` | As it was started; a new owner compares it.    |
//! | status   | `CLOSED` in `state`          | An acquire compares this word.                 |
//! |          | `guarded.status`             | Tells draining from closed, which CLOSED hides.|
//! |          | the registry's current word  | A name loses its pool before the pool closes.  |
//! | acquired | [`Entry`], of the living     | The process counts by a plain store.           |
//! |          | shard totals, of the dead    | The entry of a dead process is reused.         |
//! |          | `guarded.granted`            | Another process admits a waiter.               |
//!
//! [`Entry`]: crate::holders::Entry
//!
//! The queue lock orders the writes to all copies in the pool. The copies in the registry are
//! written under the lock of the gate's ownership.

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
use restart::Restarts;
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

/// The number of shards of a pool's holders. The host may watch the holders of each shard by a
/// resource of its own.
pub const SHARD_COUNT: usize = SHARDS;

/// The limit of a pool that only counts. It is out of reach: half a billion requests of the
/// largest size would have to be held at once.
pub const UNLIMITED: u64 = 1 << 60;

/// A `max_overdraft` that equals the limit, and follows its changes.
pub const AS_LIMIT: u64 = u64::MAX;

/// A runtime that has pools.
pub trait PoolHost: Host {
    /// The data that the runtime keeps with each pool.
    type PoolData: Default + Send + Sync;

    /// Watches `pid`: the host calls [`Pool::down`] after its death. Returns `false`, and watches
    /// nothing, if the process is dead.
    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool;

    /// Has [`Pool::serve`] called again soon: more answers are due than one call may give.
    fn defer(&self, pool: &Pool<Self>);
}

/// A pool. It is closed until [`Pool::open`].
pub struct Pool<H: PoolHost> {
    state: CachePadded<State>,
    front: CachePadded<Front>,
    table: Table,
    guarded: CachePadded<Mutex<Guarded<H>>>,
    restarts: Restarts,
    /// The data of the host.
    pub data: H::PoolData,
}

/// The words that every call reads and few calls write.
struct Front {
    limit: LimitWord,
    peak: AtomicU64,
    many_holders: ManyHolders,
    /// The low 24 bits of the number of openings. An entry stores them with its total of
    /// admissions, which counts for that opening only.
    generation: AtomicU32,
}

/// The data that the queue lock guards.
struct Guarded<H: PoolHost> {
    queue: WaitQueue<H>,
    /// `true` while the host must call [`Pool::expire`] again and again: from the [`Pool::ask`]
    /// that told it to begin, to the `expire` that found no wait left to end.
    timed: bool,
    settings: Settings,
    status: Status,
    /// The number of times that the pool was opened.
    opening: u64,
    /// The number of parked waiters that were admitted since the pool was opened.
    granted: u64,
    /// How many permits restarts may bring into use while the pool is overdrawn because its limit
    /// fell: as many as were in use at that change. The largest such number, if several changes
    /// have overdrawn it without a pause. 0 once a restart has begun an overdraft itself.
    shrunk_from: u64,
}

impl<H: PoolHost> Pool<H> {
    /// Returns a closed pool.
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
            restarts: Restarts::new(),
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
