//! A keyed pool: a pool of permits for each key, in memory that is allocated when it is made.
//!
//! A key takes a place from its first permit or waiter to the end of its last. So a key that
//! holds nothing leaves no trace. A new key that finds no place is refused, and no key is ever
//! evicted.
//!
//! A keyed pool has two parts:
//!
//! - The [keys](keys), in shards by their tags. All that the pool knows of a key is in its shard:
//!   the permits in use, the leases and the queue of the waiters. Each process that holds permits
//!   of the key or waits has a [lease](lease) of it.
//! - The [people](people): for each process, the list of its leases. The death of a process ends
//!   all of them.
//!
//! # Locks
//!
//! | lock         | guards                                                                      |
//! |--------------|-----------------------------------------------------------------------------|
//! | shard lock   | the keys of one shard, with their leases, waiters, limit, status and totals |
//! | group lock   | the lists of leases of the processes of one group                           |
//! | control lock | the settings and the drainers; held while they are copied to the shards     |
//!
//! A call can take a group lock while it has a shard lock, and a shard lock while it has the
//! control lock. It never does the reverse. It takes no two locks of one kind at once. The host
//! is called outside of all locks, since it takes locks of its own.
//!
//! A step that moves permits takes them from one lease, and puts them into another or into the
//! count of the key. It does both under the one shard lock. So no kill can come between, and no
//! permit is in two places or in none. That is the whole argument for acquires, releases, grants
//! and handoffs; the files argue only about deaths and lost wake-ups.

mod acquire;
mod handoff;
mod keys;
mod lease;
mod lifecycle;
mod people;
mod reap;
mod report;
mod restart;
mod serve;
mod shard;
mod slab;
mod wait;

use crossbeam_utils::CachePadded;

use crate::host::{Host, Pid};
use crate::sync::{AtomicU32, AtomicU64, Mutex};

use lifecycle::Control;
use people::People;
use shard::Shard;

pub use acquire::KeyRefusal;
pub use keys::KeyTag;
pub use lease::{KeyedOffer, LeaseId};
pub use lifecycle::{KeyedChanges, KeyedDrain, KeyedSettings};
pub use report::{KeyInfo, KeyRefusals, KeyedInfo, KeyedMeters, TopKey};
pub use restart::KeyRestart;
pub use wait::KeyParked;

/// The number of groups of a keyed pool: groups of processes, by the hash of the pid. The host
/// can watch the processes of each group by a separate resource.
pub const GROUP_COUNT: usize = people::GROUPS;

/// A runtime that has keyed pools.
pub trait KeyedHost: Host {
    /// The data that the runtime keeps with each keyed pool.
    type KeyedData: Default + Send + Sync;

    /// Watches `pid`: the host calls [`KeyedPool::down`] after its death. Returns `false`, and
    /// watches nothing, if the process is dead.
    fn watch_keyed(&self, pool: &KeyedPool<Self>, pid: Pid) -> bool;

    /// Makes the host call [`KeyedPool::serve`] again soon: one call has left work.
    fn defer_keyed(&self, pool: &KeyedPool<Self>);
}

/// How people are shown a key. The pool asks for it only if the key gets a place.
pub trait ShowKey: std::fmt::Debug {
    /// Makes the text, if that takes no call of the host. The pool calls this inside a lock.
    fn make_at_once(&self) -> Option<Box<[u8]>>;

    /// Makes the text. The pool calls this outside of its locks.
    fn make(&self) -> Box<[u8]>;
}

/// A key as a caller means it.
#[derive(Clone, Copy, Debug)]
pub struct PoolKey<'a> {
    /// The opening of the pool that the caller means; a caller of an earlier one is refused.
    pub generation: u32,
    /// The tag of the key.
    pub tag: KeyTag,
    /// How people are shown the key.
    pub show: &'a dyn ShowKey,
}

/// A keyed pool. It is closed until it is opened.
pub struct KeyedPool<H: KeyedHost> {
    shards: Box<[CachePadded<Mutex<Shard<H>>>]>,
    people: People,
    control: CachePadded<Mutex<Control<H>>>,
    /// The number of waiters over all keys, and the largest number.
    waiting: CachePadded<AtomicU32>,
    max_waiting: AtomicU32,
    /// The number of keys that have a place. Only a pool of several shards counts them here.
    used: CachePadded<AtomicU64>,
    max_keys: u32,
    /// The generation that is open or draining. A close and an opening count one each.
    generation: AtomicU32,
    /// The data of the host.
    pub data: H::KeyedData,
}

impl<H: KeyedHost> std::fmt::Debug for KeyedPool<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedPool").field("max_keys", &self.max_keys).finish_non_exhaustive()
    }
}
