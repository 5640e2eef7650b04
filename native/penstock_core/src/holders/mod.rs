//! Who holds what: an entry for each process that ever held, retained until that process dies.
//!
//! Finding one's own entry takes no lock: a key equal to my pid is proof, for only my own death removes it.
//! Inserting and removing happen under the lock of the pid's shard, once in a holder's life each. Entries lie in
//! segments that never move and are never freed before the pool, so an entry can be read at any time by anybody.
//!
//! Who writes an entry:
//! - `own` — its process alone, by plain stores. That is what keeps an acquire at one locked instruction.
//! - `inbound` — others (a grant, a transfer, a hand-over), under the shard lock; the process folds it into `own`.
//! - `offer` — its process; and whoever settles the offer, by one compare-and-swap.
//! - everything, when the process is dead — whoever removes the entry, under the shard lock.
//!
//! A process that holds nothing keeps its entry, since monitoring it anew would cost far more than the entry does.
//! So that looking at all *holders* does not mean looking at all entries, those that hold are *listed*, in one bit
//! each. The bit is sticky: an acquire sets it if it is not set, a release leaves it, a look that finds nothing
//! held clears it. A process that acquires and releases all day therefore writes nothing shared.

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
