//! A pool of permits: a counting semaphore. No acquire raises the number of permits held above
//! `limit`. More than `limit` permits are held only after the limit fell, or after
//! [restarts](restart) of supervised children took an overdraft. When a holder dies, its permits
//! come back.
//!
//! A pool bounds the work of one Erlang node. It bounds no rate, hands out no objects and knows
//! no priorities.
//!
//! A pool has four parts. The file of each part argues its races:
//!
//! - The [state word](state) counts the free permits. An acquire is one CAS on it. The feature
//!   `sharded_credit` has a prototype with one word per scheduler, `credit`, which no pool uses.
//! - The [holders](crate::holders) record the permits of each process, in one entry for each
//!   process.
//! - The [wait queue](wait_queue) holds the processes that wait, for permits or for the end of a
//!   drain.
//! - The [many-holders hint](many_holders) tells that a pool has many holders. Then a refusal
//!   skips the scan for dead holders.
//!
//! # Locks
//!
//! A shard is a group of processes, by the hash of their pids.
//!
//! | lock         | guards                                                                      |
//! |--------------|-----------------------------------------------------------------------------|
//! | queue lock   | [`Guarded`], and all writes to the limit and to the flags of the state word |
//! | shard lock   | the entries of one shard's processes: insertion, removal and credits        |
//! | restart lock | the memory that the [restarts](restart) of the pool share                   |
//!
//! A call can take a shard lock while it has the queue lock, never the reverse. The restart lock
//! is taken inside no other lock, and no lock is taken inside it. No method of the host is called
//! inside any lock, because the host takes locks of its own.
//!
//! # Which fact is held where
//!
//! Some facts have several copies, because no single copy serves all readers:
//!
//! | fact       | where                        | why there                                    |
//! |------------|------------------------------|----------------------------------------------|
//! | limit      | `state`, as `limit - in use` | No acquire is admitted by an old limit.      |
//! |            | `front.limit`, versioned     | Any call reads it without a lock.            |
//! |            | `guarded.settings.limit`     | `info` returns it as the owner gave it.      |
//! |            | the registry's `StartConfig` | A new owner compares the limit at the start. |
//! | status     | `CLOSED` in `state`          | No acquire is admitted by an old status.     |
//! |            | `guarded.status`             | Only this copy tells draining from closed.   |
//! |            | the registry's current word  | A name loses its pool before the pool closes.|
//! | admissions | [`Entry`], of the living     | The process counts them by a plain store.    |
//! |            | shard totals, of the dead    | The entry of a dead process is reused.       |
//! |            | `guarded.granted`            | The process that serves waiters counts them. |
//!
//! [`Entry`]: crate::holders::Entry
//!
//! The queue lock orders the writes to the pool's copies of the limit and of the status, and to
//! `guarded.granted`. Only the process itself counts in its entry. A shard's totals of admissions
//! are written under the shard lock. The copies in the registry are written under the lock of the
//! gate's ownership.

mod acquire;
#[cfg(feature = "sharded_credit")]
mod credit;
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
use once_cell::race::OnceBox;

use crate::holders::{SHARDS, Table};
use crate::host::{Host, Pid};
use crate::meters::{Histogram, Holds};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};

use limit::LimitWord;
use many_holders::ManyHolders;
use restart::Restarts;
use state::State;
use wait_queue::WaitQueue;

pub use acquire::{NotHeld, Refusal};
#[cfg(feature = "sharded_credit")]
pub use credit::{Credit, OneWord, Seen, Spread};
pub use handoff::{Adoption, Offer};
pub use lifecycle::{Changes, Drain, Settings, Status};
pub use report::{Info, Opening, PoolMeters};
pub use restart::{Restart, Step};
pub use transfer::TransferError;
pub use wait::{Cancelled, Expiry, Parked};
pub use wait_queue::WaiterId;

/// The number of shards of a pool. A shard is a group of holders, by the hash of their pids. The
/// host can watch the holders of each shard by a separate resource.
pub const SHARD_COUNT: usize = SHARDS;

/// The limit of a pool that only counts its permits. No pool reaches this limit: it is as large
/// as half a billion requests of the largest size, 2^31 - 1 permits.
pub const UNLIMITED: u64 = 1 << 60;

/// The value of `max_overdraft` that stands for the present limit, even if the limit changes.
pub const AS_LIMIT: u64 = u64::MAX;

/// A runtime that has pools.
pub trait PoolHost: Host {
    /// The data that the runtime keeps with each pool.
    type PoolData: Default + Send + Sync;

    /// Watches `pid`: the host calls [`Pool::down`] after its death. Returns `false`, and watches
    /// nothing, if the process is dead.
    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool;

    /// Makes the host call [`Pool::serve`] again soon, because a call of `serve` has left work in
    /// the wait queue.
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

/// The words that nearly every call reads and few calls write.
struct Front {
    limit: LimitWord,
    peak: AtomicU64,
    many_holders: ManyHolders,
    /// The low 24 bits of the number of openings. An entry stores these bits with its total of
    /// admissions, because the total counts for that opening only.
    generation: AtomicU32,
    /// The holds that ended; none in a pool that is not metered.
    holds: OnceBox<Holds>,
}

/// The data that the queue lock guards.
struct Guarded<H: PoolHost> {
    queue: WaitQueue<H>,
    /// `true` while the host must call [`Pool::expire`] again and again. A [`Pool::ask`] sets
    /// this, and tells the host. The `expire` that finds no wait left for the host to end clears
    /// it.
    timed: bool,
    settings: Settings,
    status: Status,
    /// The number of times that the pool was opened.
    opening: u64,
    /// The number of parked waiters that were admitted since the pool was opened.
    granted: u64,
    /// The number of restarts that were admitted beyond the limit since the pool was opened.
    overdrawn: u64,
    /// The waits that got an answer since the pool was opened; none in a pool that is not metered.
    waits: Option<Box<Histogram>>,
    /// The number of permits in use when the limit last changed. If the limit changed several
    /// times while the pool was overdrawn, this is the largest of these numbers. While a smaller
    /// limit overdraws the pool, restarts can bring up to this number of permits into use. A
    /// restart that begins an overdraft itself sets this to 0.
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
                holds: OnceBox::new(),
            }),
            table: Table::new(),
            guarded: CachePadded::new(Mutex::new(Guarded {
                queue: WaitQueue::new(),
                timed: false,
                settings: Settings::default(),
                status: Status::Closed,
                opening: 0,
                granted: 0,
                overdrawn: 0,
                waits: None,
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
