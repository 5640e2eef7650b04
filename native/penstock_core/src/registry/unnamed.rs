//! Pools without a name. A pool that no caller can reach any more is reused for the next caller
//! that asks for one.
//!
//! No pool is ever freed: the host's monitors refer to pools, and the memory of a pool of many
//! holders takes too long to free in one call. A pool that no caller can reach is
//! [cleared](Pool::clear) in bounded pieces, and then becomes spare. So there are as many pools
//! as were open or being cleared at the same time.
//!
//! The holder entry and the monitor of a living process stay in a spare pool, as they stay in a
//! named pool that is reopened. So a process that acquires in one unnamed pool after another may
//! have an entry in each of them.

use super::slab::{Counts, Id, Rows};
use crate::pool::{Pool, PoolHost, Settings};
use crate::sync::{Mutex, lock};

/// The number of an unnamed pool, from 1.
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
    /// Opens a spare pool; returns `None` if there is none.
    pub(super) fn reuse(&self, settings: Settings) -> Option<(UnnamedId, &Pool<H>)> {
        loop {
            // The pool that became spare last is reused first: its memory is most likely cached,
            // and most likely has an entry of the caller.
            let id = lock(&self.counts).spare.pop()?;
            // A spare pool is closed and cleared, and no caller can reach it. So `open` succeeds.
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

    /// Makes a cleared pool spare.
    pub(super) fn give_back(&self, id: UnnamedId) {
        lock(&self.counts).spare.push(id);
    }

    /// Returns the number of pools that were made, and the number of spare ones.
    pub(super) fn count(&self) -> (usize, usize) {
        let counts = lock(&self.counts);
        (counts.made as usize, counts.spare.len())
    }
}
