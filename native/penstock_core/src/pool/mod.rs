//! A pool of permits: at most `limit` are held at once, and the death of a holder gives back what it held.
//!
//! Four parts: the [state word](state) that acquires compare and exchange, the [holders](crate::holders) with what each has,
//! the [desk](wait_queue) where waiters are parked, and the [crowd hint](many_holders) that keeps refusals cheap. Here is how they
//! play together; each part argues its own races.
//!
//! Locks: the desk's, one for each shard of the holders, and one of the [restarts](restart). A
//! shard's may be taken inside the desk's, never the other way round, and the last inside no
//! other nor another inside it. No method of the host is called inside any of them.

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
use many_holders::Crowd;
use restart::Finds;
use state::State;
use wait_queue::Line;

pub use acquire::{NotHeld, Refusal};
pub use handoff::{Adoption, Offer};
pub use lifecycle::{Changes, Drain, Settings, Status};
pub use report::{Info, Opening};
pub use restart::{Restart, Step};
pub use transfer::TransferError;
pub use wait::{Cancelled, Expiry, Parked};
pub use wait_queue::WaiterId;

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

impl<H: PoolHost> Pool<H> {
    /// A pool that is closed.
    pub fn new() -> Self {
        Self {
            state: CachePadded::new(State::new()),
            front: CachePadded::new(Front {
                limit: LimitWord::new(),
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
