//! A gate: the names of its limits, the pressure from which it sheds, and its totals.

use crossbeam_utils::CachePadded;

use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{AtomicU32, AtomicU64, Ordering, thread_number};

use super::MOST_MEMBERS;

/// The configuration that a gate is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateSettings {
    /// The names of the limits; 0 from the end of the list on.
    pub members: [u64; MOST_MEMBERS],
    /// The pressure from which the gate refuses everything; 0 for never.
    pub shed_at: u32,
}

/// How a request at a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    #[allow(missing_docs)]
    Admitted,
    #[allow(missing_docs)]
    Overloaded,
    #[allow(missing_docs)]
    Banned,
    #[allow(missing_docs)]
    RateLimited,
    #[allow(missing_docs)]
    KeyFull,
    #[allow(missing_docs)]
    TableFull,
    #[allow(missing_docs)]
    Full,
    #[allow(missing_docs)]
    QueueFull,
    #[allow(missing_docs)]
    Timeout,
    #[allow(missing_docs)]
    Closed,
    #[allow(missing_docs)]
    Deadlock,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 11] = [
        Self::Admitted,
        Self::Overloaded,
        Self::Banned,
        Self::RateLimited,
        Self::KeyFull,
        Self::TableFull,
        Self::Full,
        Self::QueueFull,
        Self::Timeout,
        Self::Closed,
        Self::Deadlock,
    ];
}

/// The number of requests by their [`Outcome`].
pub type GateCounts = [u64; Outcome::ALL.len()];

/// The totals of one shard of the counting threads.
type Counters = [AtomicU64; Outcome::ALL.len()];

/// The number of shards of the totals: threads of different shards write no line in common.
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 16 };

/// A gate. It is closed until it is opened.
#[derive(Debug)]
pub struct Gate {
    members: [AtomicU64; MOST_MEMBERS],
    shed_at: AtomicU32,
    generation: AtomicU32,
    counts: Box<[CachePadded<Counters>]>,
}

impl Gate {
    /// Returns the settings, if `generation` is still that of the gate: otherwise the memory of the
    /// gate serves another one by now.
    #[inline]
    pub fn settings(&self, generation: Generation) -> Option<GateSettings> {
        let settings = GateSettings {
            members: std::array::from_fn(|at| self.members[at].load(Ordering::Relaxed)),
            shed_at: self.shed_at.load(Ordering::Relaxed),
        };
        self.is_current(generation).then_some(settings)
    }

    /// Copies the names of the limits into `names`, and returns their number. Returns `None` if
    /// the memory of the gate serves another one by now.
    #[inline]
    pub fn names(&self, generation: Generation, names: &mut [u64; MOST_MEMBERS]) -> Option<usize> {
        let mut count = 0;
        for (name, member) in names.iter_mut().zip(&self.members) {
            *name = member.load(Ordering::Relaxed);
            if *name == 0 {
                break;
            }
            count += 1;
        }
        self.is_current(generation).then_some(count)
    }

    /// Returns the pressure from which the gate of this generation refuses everything; 0 for never.
    pub fn shed_at(&self, generation: Generation) -> u32 {
        let shed_at = self.shed_at.load(Ordering::Relaxed);
        if self.is_current(generation) { shed_at } else { 0 }
    }

    /// Returns `true` if the gate of this generation refuses everything at this pressure of the VM.
    #[inline]
    pub fn sheds(&self, generation: Generation, pressure: u32) -> bool {
        let shed_at = self.shed_at.load(Ordering::Relaxed);
        shed_at > 0 && pressure >= shed_at && self.is_current(generation)
    }

    /// Returns `true` until a later generation is opened.
    #[inline]
    pub fn is_current(&self, generation: Generation) -> bool {
        // The members are read before the generation. `open` changes the generation first, so a
        // caller that has read a member of the later generation finds that generation here.
        // ORDERING: the fence keeps the loads of the members before this load, and pairs with the
        // fence in `open`.
        crate::sync::fence(Ordering::Acquire);
        self.generation.load(Ordering::Relaxed) == generation
    }

    /// Counts a request.
    #[inline]
    pub fn count(&self, outcome: Outcome) {
        self.counts[thread_number() % SHARDS][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the totals since the gate was opened.
    pub fn counts(&self) -> GateCounts {
        std::array::from_fn(|at| self.counts.iter().map(|shard| shard[at].load(Ordering::Relaxed)).sum())
    }
}

impl Reusable for Gate {
    type Config = GateSettings;

    fn make(_config: GateSettings) -> Result<Self, OutOfMemory> {
        Ok(Self {
            members: std::array::from_fn(|_| AtomicU64::new(0)),
            shed_at: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            counts: (0..SHARDS).map(|_| CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0)))).collect(),
        })
    }

    fn fits(&self, _config: GateSettings) -> bool {
        true
    }

    fn open(&self, config: GateSettings, _now: u64) -> Generation {
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        self.generation.store(generation, Ordering::Relaxed);
        // ORDERING: keeps the stores of the members after the store of the generation, and pairs
        // with the fence in `is_current`.
        crate::sync::fence(Ordering::Release);
        for (member, name) in self.members.iter().zip(config.members) {
            member.store(name, Ordering::Relaxed);
        }
        self.shed_at.store(config.shed_at, Ordering::Relaxed);
        for shard in &self.counts {
            shard.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
        generation
    }

    fn is_compatible(old: GateSettings, new: GateSettings) -> bool {
        old == new
    }

    fn resume(
        &self,
        _generation: Generation,
        _old: GateSettings,
        _new: GateSettings,
        _clock: fn() -> u64,
        _is_owner: &dyn Fn() -> bool,
    ) {
    }
}
