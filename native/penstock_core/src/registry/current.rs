//! What a name stands for: nothing, a pool, a limiter or a ban list.

use super::slab::{Handle, Slab};
use crate::ban::{Ban, BanSettings};
use crate::pool::Settings;
use crate::rate::{Limiter, LimiterSettings};
use crate::reuse::Reusable;
use crate::sync::{AtomicU64, Ordering};

/// What a name stands for: one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    None,
    /// The pool of that number among the pools of the node.
    Pool(u32),
    Limiter(Handle),
    Ban(Handle),
}

/// [`Current`] in one word, which a caller loads without a lock. The generation is above, then 30
/// bits of the number, and the kind in the two lowest bits.
///
/// A pool has no generation here, so the first pool of a node is one small constant. 30 bits
/// suffice, as each pool, limiter and ban list takes more than 1 KiB: 2^30 of them take 1 TiB.
#[derive(Debug)]
pub(super) struct CurrentWord(AtomicU64);

const KIND_BITS: u32 = 2;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const POOL: u64 = 1;
const LIMITER: u64 = 2;
const BAN: u64 = 3;
const FIRST_POOL: u64 = 1 << KIND_BITS | POOL;

impl CurrentWord {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline(always)]
    pub(super) fn load(&self) -> Current {
        // ORDERING: Acquire pairs with the Release in `store`: the thing is open, and the name is
        // written that it is open for.
        let word = self.0.load(Ordering::Acquire);
        // Nearly all pools: one comparison on the path of an acquire.
        if word == FIRST_POOL {
            return Current::Pool(1);
        }
        let id = word as u32 >> KIND_BITS;
        let handle = Handle { id, generation: (word >> 32) as u32 };
        match word & KIND_MASK {
            POOL => Current::Pool(id),
            LIMITER => Current::Limiter(handle),
            BAN => Current::Ban(handle),
            _ => Current::None,
        }
    }

    /// Under the lock of the ownership.
    pub(super) fn store(&self, current: Current) {
        let pack = |kind: u64, id: u32, generation: u32| {
            debug_assert!(id < 1 << (32 - KIND_BITS), "that many do not fit into memory");
            u64::from(generation) << 32 | u64::from(id << KIND_BITS) | kind
        };
        let word = match current {
            Current::None => 0,
            Current::Pool(id) => pack(POOL, id, 0),
            Current::Limiter(handle) => pack(LIMITER, handle.id, handle.generation),
            Current::Ban(handle) => pack(BAN, handle.id, handle.generation),
        };
        // ORDERING: Release pairs with the Acquire in `load`: publishes the thing that was
        // opened, and the name before it.
        self.0.store(word, Ordering::Release);
    }
}

/// What an owner started its name with, of the kind that the name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given {
    None,
    Pool(Settings),
    Limiter(LimiterSettings),
    Ban(BanSettings),
}

/// The slabs of a registry.
#[derive(Default)]
pub(super) struct Slabs {
    pub(super) limiters: Slab<Limiter>,
    pub(super) bans: Slab<Ban>,
}

/// A reusable thing that a name can stand for.
pub(super) trait Nameable: Reusable {
    fn slab(slabs: &Slabs) -> &Slab<Self>;
    fn current(handle: Handle) -> Current;
    fn handle(current: Current) -> Option<Handle>;
    fn given(config: Self::Config) -> Given;
    fn config(given: Given) -> Option<Self::Config>;
}

impl Nameable for Limiter {
    #[inline]
    fn slab(slabs: &Slabs) -> &Slab<Self> {
        &slabs.limiters
    }

    fn current(handle: Handle) -> Current {
        Current::Limiter(handle)
    }

    #[inline]
    fn handle(current: Current) -> Option<Handle> {
        if let Current::Limiter(handle) = current { Some(handle) } else { None }
    }

    fn given(config: LimiterSettings) -> Given {
        Given::Limiter(config)
    }

    fn config(given: Given) -> Option<LimiterSettings> {
        if let Given::Limiter(config) = given { Some(config) } else { None }
    }
}

impl Nameable for Ban {
    #[inline]
    fn slab(slabs: &Slabs) -> &Slab<Self> {
        &slabs.bans
    }

    fn current(handle: Handle) -> Current {
        Current::Ban(handle)
    }

    #[inline]
    fn handle(current: Current) -> Option<Handle> {
        if let Current::Ban(handle) = current { Some(handle) } else { None }
    }

    fn given(config: BanSettings) -> Given {
        Given::Ban(config)
    }

    fn config(given: Given) -> Option<BanSettings> {
        if let Given::Ban(config) = given { Some(config) } else { None }
    }
}
