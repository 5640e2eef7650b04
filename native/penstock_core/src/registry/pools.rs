//! The pools of one node: a pool in which permits are held outlives a restart of its name.
//!
//! A start reopens a closed pool in which no permit is held. In each other closed pool a living
//! process still holds permits from before a restart. So there are at most as many such pools as
//! permits that were held over restarts. If the node has more than [`LOOKS`] pools, a start may
//! miss a pool that it could reopen.

use super::slab::Rows;
use crate::pool::{Pool, PoolHost, Settings};

/// The largest number of pools that a start tries to reopen after pool 1.
const LOOKS: u32 = 64;

pub(super) struct Pools<H: PoolHost> {
    /// Pool number 1, in the node itself: nearly all nodes have one pool.
    first: Pool<H>,
    /// The pools from number 2 on; pool 2 is item 1 of the rows.
    later: Rows<Pool<H>>,
}

/// The number of pools of a node, and the number of the last one that a start tried to reopen.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolCounts {
    pub(super) made: u32,
    last_tried: u32,
}

impl PoolCounts {
    pub(super) fn new() -> Self {
        Self { made: 1, last_tried: 1 }
    }
}

impl<H: PoolHost> Pools<H> {
    pub(super) fn new() -> Self {
        Self { first: Pool::new(), later: Rows::new() }
    }

    /// Returns a pool by its number, open or closed.
    #[inline(always)]
    pub(super) fn get(&self, id: u32) -> Option<&Pool<H>> {
        if id == 1 { Some(&self.first) } else { self.later.get(id.checked_sub(1)?) }
    }

    fn get_or_make(&self, id: u32) -> &Pool<H> {
        match id - 1 {
            0 => &self.first,
            later => self.later.get_or_make(later, || Box::new(Pool::new())),
        }
    }

    /// Opens a closed pool in which no permit is held. If up to [`LOOKS`] attempts fail, makes a
    /// pool and opens that. Returns the number of the opened pool.
    pub(super) fn open(&self, counts: &mut PoolCounts, settings: Settings) -> u32 {
        if self.first.open_metered(settings) {
            return 1;
        }
        for _ in 0..LOOKS.min(counts.made) {
            counts.last_tried = counts.last_tried % counts.made + 1;
            if self.get_or_make(counts.last_tried).open_metered(settings) {
                return counts.last_tried;
            }
        }
        counts.made += 1;
        self.get_or_make(counts.made).open_metered(settings);
        counts.made
    }

    /// Returns `true` if all pools are idle. Also returns `false` if there are more than
    /// [`LOOKS`] pools, which are too many to check.
    pub(super) fn are_idle(&self, counts: PoolCounts) -> bool {
        counts.made <= LOOKS && (1..=counts.made).all(|id| self.get(id).is_none_or(Pool::is_idle))
    }
}
