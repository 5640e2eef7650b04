//! The holders of a pool. A process has an entry from the first time that it tries to take free
//! permits, parks, restarts a child, drains the pool, or is credited permits, until it dies.
//!
//! An entry lies at a place of the table, with the pid of its process as the key of that place. A
//! process looks up its own entry without a lock: the entry is removed only when the process
//! dies, so a matching key cannot be stale. An entry is inserted once and removed once, each time
//! under the lock of the pid's shard. A shard is a group of pids, by their hash. Entries lie in
//! segments that never move, and that live as long as the pool. So any process can read any entry
//! at any time.
//!
//! The writers of each word of an entry:
//!
//! - `own`: the process of the entry alone, by plain stores. So an acquire needs only one locked
//!   instruction.
//! - `inbound`: another process, for a grant, a transfer or a handoff, under the shard lock. The
//!   process of the entry folds it into `own`, under the same lock.
//! - `handoff`: the process of the entry, when it begins a handoff; and the call that completes
//!   the handoff, by one CAS.
//! - `acquired`: the process of the entry.
//! - `since`: the process of the entry; and another process that credits permits to the entry,
//!   under the shard lock.
//! - `waiter`: a call that has the queue lock.
//! - `active`: a call that has the shard lock.
//!
//! The call that removes the entry of a dead process clears all words except `since` and
//! `handoff`. The call that clears a dropped pool clears `own`, `inbound` and `active`. Both
//! calls also complete a pending handoff, and hold the shard lock.
//!
//! # The active set
//!
//! A process that holds nothing keeps its entry. Without the entry, the next acquire would need a
//! new monitor, which costs far more. A scan for dead holders must not visit the entries of all
//! these processes. So the *active set* has a bit for each entry, set if the entry may hold
//! permits. An acquire sets the bit if it is not set, and a release leaves it set. A scan clears
//! the bit if the entry holds nothing. So a process that acquires and releases all day writes no
//! shared word of the table.

mod active;
mod cursor;
mod entry;
mod report;
mod table;

pub use cursor::Cursor;
pub(crate) use cursor::Slot;
pub(crate) use entry::Entry;
pub use entry::Kind;
pub(crate) use report::{Age, Reason, elapsed_ms};
pub use report::{HolderInfo, Refusals, Report};
pub(crate) use table::{SHARDS, Table};
