//! The holders of a pool: an entry for each process that ever asked the pool for permits or got
//! some, until the process dies.
//!
//! An entry lies at a place of the table, with the pid of its process as the key of that place. A
//! process looks up its own entry without a lock: the entry is removed only when the process
//! dies, so a matching key cannot be stale. An entry is inserted once and removed once, each time
//! under the lock of the pid's shard, a group of pids by hash. Entries lie in segments that never
//! move, and that are not freed before the pool. So any process can read any entry at any time.
//!
//! The writers of each word of an entry:
//!
//! - `own`: the process of the entry alone, by plain stores. That keeps an acquire at one locked
//!   instruction.
//! - `inbound`: another process, for a grant, a transfer or a handoff, under the shard lock. The
//!   process of the entry folds it into `own`, under the same lock.
//! - `handoff`: the process of the entry, when it begins a handoff; and the call that completes
//!   the handoff, by one CAS.
//! - `acquired`: the process of the entry.
//! - `since`: the process of the entry; and a process that credits permits to it, under the shard
//!   lock.
//! - `waiter`: a call that has the queue lock.
//! - `active`: a call that has the shard lock.
//!
//! The call that removes the entry of a dead process clears all words, except `since` and the
//! number of the last handoff. The call that clears a dropped pool clears `own`, `inbound` and
//! `active`, and completes a pending handoff. Both do so under the shard lock.
//!
//! # The active set
//!
//! A process that holds nothing keeps its entry. If the entry were removed, the next acquire
//! would need a new monitor, which costs far more than the entry. A scan of all *holders* must
//! not visit all entries, so the *active set* has a bit for each entry. The bit is sticky: an
//! acquire sets it if it is not set, a release leaves it, and a scan that finds no permits held
//! clears it. So a process that acquires and releases all day writes no shared word of the table.

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
