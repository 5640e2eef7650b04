//! Pools without a name. A pool whose caller dropped it serves the next caller that asks for one.
//!
//! No pool is ever freed. The host's monitors refer to pools, and the memory of a pool of many
//! holders takes too long to free in one call. A pool that no caller can reach is
//! [cleared](Pool::clear) in bounded pieces and becomes spare then. So there are as many pools as
//! were ever open or being cleared at once.
//!
//! The entry and the monitor of a living process stay in a spare pool, as they do in a pool of a
//! name that is reopened. A process that acquires in one unnamed pool after the other therefore
//! has as many entries as there are pools.

use super::slab::{Counts, Id, Rows};
use crate::pool::{Pool, PoolHost, Settings};
use crate::sync::{Mutex, lock};

/// Numbers an unnamed pool.
pub type UnnamedId = Id;

/// The unnamed pools of a VM.
pub(super) struct Unnamed<H: PoolHost> {
    pools: Rows<Pool<H>>,
    counts: Mutex<Counts>,
}

impl<H: PoolHost> Default for Unnamed<H> {
    fn default() -> Self {
        Self { pools: Rows::new(), counts: Mutex::default() }
    }
}

impl<H: PoolHost> Unnamed<H> {
    /// Opens a spare pool, if there is one.
    pub(super) fn reuse(&self, settings: Settings) -> Option<(UnnamedId, &Pool<H>)> {
        loop {
            // The last one that became spare: its memory is most likely cached, and callers'
            // entries are in it.
            let id = lock(&self.counts).spare.pop()?;
            // A spare pool is closed, cleared and reached by no caller, so it opens.
            if let Some(pool) = self.pools.get(id)
                && pool.open(settings)
            {
                return Some((id, pool));
            }
            debug_assert!(false, "a spare pool opens");
        }
    }

    /// Makes a pool, and opens it.
    pub(super) fn make(&self, settings: Settings) -> (UnnamedId, &Pool<H>) {
        let pool = Box::new(Pool::new());
        let id = {
            let mut counts = lock(&self.counts);
            counts.made += 1;
            counts.made
        };
        let pool = self.pools.get_or_make(id, || pool);
        pool.open(settings);
        (id, pool)
    }

    pub(super) fn get(&self, id: UnnamedId) -> Option<&Pool<H>> {
        self.pools.get(id)
    }

    /// Makes a pool spare that was cleared.
    pub(super) fn give_back(&self, id: UnnamedId) {
        lock(&self.counts).spare.push(id);
    }

    /// Returns how many pools were made, and how many of them are spare.
    pub(super) fn count(&self) -> (usize, usize) {
        let counts = lock(&self.counts);
        (counts.made as usize, counts.spare.len())
    }
}
