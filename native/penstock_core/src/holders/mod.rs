//! The holders of a pool: an entry for each process that ever held, kept until that process dies.
//!
//! A process looks up its own entry without a lock: the entry is removed only when the process
//! dies, so a matching key cannot be stale. Insertion and removal happen under the lock of the
//! pid's shard, once in a holder's life each. Entries lie in segments that never move and are
//! never freed before the pool, so any process can read an entry at any time.
//!
//! Writers of an entry:
//!
//! - `own`: its process alone, by plain stores. That keeps an acquire at one locked instruction.
//! - `inbound`: another process (a grant, a transfer, a handoff), under the shard lock; the
//!   process of the entry folds it into `own`.
//! - `handoff`: its process begins one; the call that completes it does so by one CAS.
//! - `acquired`, `since`: its process; `since` also a grant, under the shard lock.
//! - `waiter`: the caller that holds the queue lock.
//! - `active`: under the shard lock.
//! - all words of a dead process, but the number of its last handoff: the call that removes the
//!   entry, under the shard lock. `own` and `inbound` of all: the call that clears a dropped pool.
//!
//! A process that holds nothing keeps its entry, since another monitor costs far more than the
//! entry does. So that a scan of all *holders* does not visit all entries, those that hold are
//! *active*, in one bit each. The bit is sticky: an acquire sets it if it is not set, a release
//! leaves it, a scan that finds nothing held clears it. A process that acquires and releases all
//! day therefore writes nothing shared.

mod active;
mod cursor;
mod entry;
mod report;
mod table;

pub use cursor::Cursor;
pub(crate) use cursor::Slot;
pub(crate) use entry::Entry;
pub use entry::Kind;
pub(crate) use report::Age;
pub use report::{HolderInfo, Report};
pub(crate) use table::{SHARDS, Table};
