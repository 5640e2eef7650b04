//! The pools of one name: a pool whose permits are held outlives a restart of its name.
//!
//! A closed pool is opened again once nothing is held in it. Each other pool of a name was closed
//! over permits that a living process still holds. So there are never more of them than permits
//! that were not given back over a restart.

use super::slab::Rows;
use crate::pool::{Pool, PoolHost, Settings};

/// How many pools of a name a start looks at for one to reopen.
const LOOKS: u32 = 64;

pub(super) struct Pools<H: PoolHost> {
    /// In the node itself, as nearly all names have one pool.
    first: Pool<H>,
    /// The pools from number 2 on, which is number 1 here.
    later: Rows<Pool<H>>,
}

/// How many pools a name has, and the last one that a start looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolCounts {
    pub(super) made: u32,
    looked_at: u32,
}

impl PoolCounts {
    pub(super) fn new() -> Self {
        Self { made: 1, looked_at: 1 }
    }
}

impl<H: PoolHost> Pools<H> {
    pub(super) fn new() -> Self {
        Self { first: Pool::new(), later: Rows::new() }
    }

    /// Returns a pool by its number, open or not.
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

    /// Opens a pool in which nothing is held, a new one if none is found soon; returns its
    /// number.
    pub(super) fn open(&self, counts: &mut PoolCounts, settings: Settings) -> u32 {
        if self.first.open(settings) {
            return 1;
        }
        for _ in 0..LOOKS.min(counts.made) {
            counts.looked_at = counts.looked_at % counts.made + 1;
            if self.get_or_make(counts.looked_at).open(settings) {
                return counts.looked_at;
            }
        }
        counts.made += 1;
        self.get_or_make(counts.made).open(settings);
        counts.made
    }

    /// Returns `true` if all pools are idle, and `false` also if there are too many to look at.
    pub(super) fn are_idle(&self, counts: PoolCounts) -> bool {
        counts.made <= LOOKS && (1..=counts.made).all(|id| self.get(id).is_none_or(Pool::is_idle))
    }
}
