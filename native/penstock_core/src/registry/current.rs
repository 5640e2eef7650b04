//! The gate that a name stands for: none, a pool, a keyed pool, a limiter or a ban list.

use super::slab::{Handle, Slab};
use crate::ban::{Ban, BanSettings};
use crate::gate::{Gate, GateSettings};
use crate::keyed_pool::{KeyedHost, KeyedPool, KeyedSettings};
use crate::pool::Settings;
use crate::rate::{Limiter, LimiterSettings};
use crate::reuse::Reusable;
use crate::sync::{AtomicU64, Ordering};

/// The gate that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    None,
    /// The pool of this number among the pools of the name's node.
    Pool(u32),
    Limiter(Handle),
    Ban(Handle),
    Keyed(Handle),
    Gate(Handle),
}

/// [`Current`] in one word, which a caller loads without a lock: 32 bits of the generation above
/// 29 bits of the number above 3 bits of the kind.
///
/// A pool has no generation here, so the word of the first pool of a node is a constant. 29 bits
/// of the number suffice: each gate takes more than 1 KiB, and 2^29 of them take 512 GiB.
#[derive(Debug)]
pub(super) struct CurrentWord(AtomicU64);

const KIND_BITS: u32 = 3;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const POOL: u64 = 1;
const LIMITER: u64 = 2;
const BAN: u64 = 3;
const KEYED: u64 = 4;
const GATE: u64 = 5;
const FIRST_POOL: u64 = 1 << KIND_BITS | POOL;

impl CurrentWord {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline(always)]
    pub(super) fn load(&self) -> Current {
        // ORDERING: Acquire pairs with the Release in `store`: the caller observes that the gate
        // is open, and the name that it is open for.
        let word = self.0.load(Ordering::Acquire);
        // Nearly every pool is the first of its node, so an acquire needs only this one
        // comparison.
        if word == FIRST_POOL {
            return Current::Pool(1);
        }
        let id = word as u32 >> KIND_BITS;
        let handle = Handle { id, generation: (word >> 32) as u32 };
        match word & KIND_MASK {
            POOL => Current::Pool(id),
            LIMITER => Current::Limiter(handle),
            BAN => Current::Ban(handle),
            KEYED => Current::Keyed(handle),
            GATE => Current::Gate(handle),
            _ => Current::None,
        }
    }

    /// Stores the gate that the name stands for. The caller holds the lock of the ownership.
    pub(super) fn store(&self, current: Current) {
        let pack = |kind: u64, id: u32, generation: u32| {
            debug_assert!(id < 1 << (32 - KIND_BITS), "more gates than fit into memory");
            u64::from(generation) << 32 | u64::from(id << KIND_BITS) | kind
        };
        let word = match current {
            Current::None => 0,
            Current::Pool(id) => pack(POOL, id, 0),
            Current::Limiter(handle) => pack(LIMITER, handle.id, handle.generation),
            Current::Ban(handle) => pack(BAN, handle.id, handle.generation),
            Current::Keyed(handle) => pack(KEYED, handle.id, handle.generation),
            Current::Gate(handle) => pack(GATE, handle.id, handle.generation),
        };
        // ORDERING: Release pairs with the Acquire in `load`; publishes the open gate, and the
        // name that was written before.
        self.0.store(word, Ordering::Release);
    }
}

/// The settings with which an owner started the gate of its name, by the kind of the gate.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartConfig {
    None,
    Pool(Settings),
    Limiter(LimiterSettings),
    Ban(BanSettings),
    Keyed(KeyedSettings),
    Gate(GateSettings),
}

/// The slabs from which a registry takes its limiters, ban lists, keyed pools and gates.
pub(super) struct Slabs<H: KeyedHost> {
    pub(super) limiters: Slab<Limiter>,
    pub(super) bans: Slab<Ban>,
    pub(super) keyed: Slab<KeyedPool<H>>,
    pub(super) gates: Slab<Gate>,
    /// The number of the last opening of a gate, over all names.
    openings: AtomicU64,
}

impl<H: KeyedHost> Default for Slabs<H> {
    fn default() -> Self {
        Self {
            limiters: Slab::default(),
            bans: Slab::default(),
            keyed: Slab::default(),
            gates: Slab::default(),
            openings: AtomicU64::new(0),
        }
    }
}

impl<H: KeyedHost> Slabs<H> {
    /// Returns a number that no opening of a gate has had before.
    pub(super) fn next_opening(&self) -> u64 {
        self.openings.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A gate that comes from a slab: a limiter, a ban list or a keyed pool.
pub(super) trait Nameable<H: KeyedHost>: Reusable {
    fn slab(slabs: &Slabs<H>) -> &Slab<Self>;
    fn current(handle: Handle) -> Current;
    fn handle(current: Current) -> Option<Handle>;
    fn to_start_config(config: Self::Config) -> StartConfig;
    fn from_start_config(config: StartConfig) -> Option<Self::Config>;
}

/// Implements [`Nameable`] for the type of a gate: by its field in [`Slabs`], and by the name of
/// its variant in [`Current`] and [`StartConfig`].
macro_rules! nameable {
    ($gate:ty, $slab:ident, $variant:ident) => {
        impl<H: KeyedHost> Nameable<H> for $gate {
            #[inline]
            fn slab(slabs: &Slabs<H>) -> &Slab<Self> {
                &slabs.$slab
            }
            fn current(handle: Handle) -> Current {
                Current::$variant(handle)
            }
            #[inline]
            fn handle(current: Current) -> Option<Handle> {
                if let Current::$variant(handle) = current { Some(handle) } else { None }
            }
            fn to_start_config(config: Self::Config) -> StartConfig {
                StartConfig::$variant(config)
            }
            fn from_start_config(config: StartConfig) -> Option<Self::Config> {
                if let StartConfig::$variant(config) = config { Some(config) } else { None }
            }
        }
    };
}

nameable!(Limiter, limiters, Limiter);
nameable!(Ban, bans, Ban);
nameable!(KeyedPool<H>, keyed, Keyed);
nameable!(Gate, gates, Gate);
