//! A rate limiter: one rate, for all hits together and for each key.

use crossbeam_utils::CachePadded;

use crate::keyed::{CellState, Table};
use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{AtomicPair, AtomicU32, AtomicU64, Mutex, Ordering, lock, thread_number};
use crate::time::{Clock, NS_PER_MS};

use super::config::ConfigCell;
use super::decide::Obstacle;
use super::gcra::{Rate, Turn, Verdict};
use super::migrate::Changed;
use super::pauses::Pauses;

/// The number of places that one step visits, in about 20 µs. A change of the rate and a count of
/// keys consist of such steps.
pub(super) const STEP: usize = if cfg!(loom) { 2 } else { 4096 };

/// Below this tolerance, in ns, a timer of the host is too coarse to wait for a turn: the timer
/// may be about 2 ms late.
const FINE_TOLERANCE: u64 = 4 * NS_PER_MS;

/// The number of counters of resets. Keys share a counter if their tags are equal modulo this
/// number.
pub(super) const RESETS: usize = if cfg!(loom) { 16 } else { 256 };

/// Returns the number of shards of the totals, a power of two. The number of a thread chooses its
/// shard, and threads that are no schedulers have numbers too. There are at least twice as many
/// shards as processors, so schedulers rarely share a shard.
fn total_shards() -> usize {
    if cfg!(any(loom, shuttle)) {
        return 1;
    }
    2 * std::thread::available_parallelism().map_or(8, std::num::NonZero::get).next_power_of_two()
}

/// The index of the total of allowed hits.
pub(crate) const ALLOWED: usize = 0;
/// The index of the total of denied hits.
pub(crate) const DENIED: usize = 1;

/// The configuration of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of hits in `per_ms`, on average.
    pub limit: u32,
    /// The period in ms.
    pub per_ms: u64,
    /// The rate by which hits are decided: the interval and the burst.
    pub rate: Rate,
}

/// The configuration that a limiter is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterSettings {
    /// The rate.
    pub limits: Limits,
    /// The number of keys that the limiter has places for.
    pub max_keys: u32,
    /// Whether the limiter's clock is manual: only [`Limiter::advance`] moves it.
    pub manual: bool,
}

/// The state that a hit is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The one state of all hits without a key.
    Global(Generation),
    /// One key, by its tag: the hash of the generation and the key.
    Tag(Generation, u64),
}

impl Key {
    /// Returns the tag of the key; 0, which no key has, for hits without a key.
    #[inline]
    pub(super) fn tag(self) -> u64 {
        match self {
            Self::Global(_) => 0,
            Self::Tag(_, tag) => tag,
        }
    }

    /// Returns the generation of the limiter that the key belongs to.
    pub fn generation(self) -> Generation {
        match self {
            Self::Global(generation) | Self::Tag(generation, _) => generation,
        }
    }
}

/// The decision on a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The hit is allowed; this many hits of cost 1 could follow at once.
    Allow(u32),
    /// The hit is denied; it would be allowed after this many ns, at least 1.
    Deny(u64),
    /// The hit is denied, as it costs more than the burst.
    Never,
    /// The generation of the key is over: the limiter was closed, and was opened again since.
    Gone,
}

/// The decision on a hit whose caller is willing to wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The turn comes in this many ns, which may be 0.
    In(u64),
    /// The turn would come in this many ns. That is longer than the caller's patience, or the TAT
    /// would pass the last instant. Nothing is reserved.
    TooFar(u64),
    /// The key has no place. One may be free in this many ns, which is not longer than the
    /// caller's patience.
    NoPlace(u64),
    /// The hit is denied, as it costs more than the burst.
    Never,
    /// The generation of the key is over: the limiter was closed, and was opened again since.
    Gone,
}

/// A limiter. It is closed until [`Limiter::open`].
pub struct Limiter {
    pub(super) config: CachePadded<ConfigCell>,
    /// The state of hits without a key, and the generation that the state belongs to.
    pub(super) global: CachePadded<AtomicPair>,
    pub(super) table: Table,
    max_keys: u32,
    /// The generation that was opened last, or 0 before the first. It stays after a close.
    generation: AtomicU32,
    /// The numbers of resets that began and that ended, for keys that share a counter. A charge
    /// from before a reset is not taken back after it.
    pub(super) resets: [[AtomicU64; 2]; RESETS],
    /// The numbers of allowed and of denied hits, in shards.
    totals: Box<[CachePadded<[AtomicU64; 2]>]>,
    pub(super) pauses: Pauses,
    clock: Clock,
    pub(super) changes: Mutex<Changes>,
}

/// The configuration in force, and the changes of it that were requested.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The configuration in force.
    pub(super) in_force: Option<Limits>,
    /// The result of all requested changes, each applied to the result of the one before. It
    /// comes into force when all places are migrated.
    pub(super) wanted: Option<Limits>,
    /// The smallest tolerance, in ns, among the requested changes that are not in force yet. Each
    /// of these changes cuts what keys owe to its tolerance.
    pub(super) cut: Option<u64>,
    /// The number of changes that were requested.
    pub(super) requested: u64,
    /// The number of changes that are in force.
    pub(super) applied: u64,
    /// The version to which all places were last migrated. While it is in force, no TAT that is
    /// ahead of the clock has the parity of the version before.
    pub(super) migrated: u64,
}

/// Statistics of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterInfo {
    /// The configuration in force.
    pub limits: Limits,
    /// The number of keys that the limiter has places for.
    pub max_keys: u32,
    /// The size of the limiter's places in bytes.
    pub memory: usize,
    /// The number of hits allowed since the limiter was opened.
    pub allowed: u64,
    /// The number of hits denied since then.
    pub denied: u64,
}

impl Limiter {
    /// The bytes that are reserved for each of `max_keys`.
    pub const KEY_MEMORY: usize = Table::KEY_MEMORY;

    /// Returns a closed limiter for `max_keys` keys.
    pub fn new(max_keys: u32) -> Result<Self, OutOfMemory> {
        Ok(Self {
            config: CachePadded::default(),
            global: CachePadded::new(AtomicPair::new(0, CellState::NONE.to_bits())),
            table: Table::new(max_keys as usize)?,
            max_keys,
            generation: AtomicU32::new(0),
            resets: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            totals: (0..total_shards()).map(|_| CachePadded::default()).collect(),
            pauses: Pauses::new(max_keys as usize),
            clock: Clock::real(),
            changes: Mutex::default(),
        })
    }

    /// Resets and opens the limiter. The calling thread must own it exclusively; only stale
    /// callers of earlier generations may still access it.
    ///
    /// A stale caller does no harm. Its tag belongs to no key of this generation, and it vacates
    /// each place that it charges. The global state names its generation, so a stale caller finds
    /// that this state is of another one.
    pub fn open(&self, limits: Limits, manual: bool, now: u64) -> Generation {
        let (generation, now) = {
            // `advance` takes this lock too, so a stale caller cannot move the clock of this
            // generation.
            let _guard = lock(&self.changes);
            let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1).max(1);
            // ORDERING: SeqCst pairs with `is_current`. The places are cleared after this store:
            // a stale caller that charges a cleared place loads the new generation after its
            // charge.
            self.generation.store(generation, Ordering::SeqCst);
            (generation, self.clock.start(manual, now))
        };
        // The table is cleared outside the lock. To clear it takes long, and a stale caller would
        // wait for the lock.
        self.table.clear();
        self.pauses.clear();
        for total in self.totals.iter().flat_map(|shard| shard.iter()) {
            total.store(0, Ordering::Relaxed);
        }
        let mut changes = lock(&self.changes);
        self.config.publish(limits.rate, now, limits.rate.tolerance());
        self.global.store(u64::from(generation), CellState::NONE.to_bits());
        // The numbers of changes go on over generations. So a change of an earlier generation
        // counts as applied.
        let requested = changes.requested;
        *changes = Changes {
            in_force: Some(limits),
            wanted: Some(limits),
            cut: None,
            requested,
            applied: requested,
            migrated: self.config.version(),
        };
        generation
    }

    /// Returns `true` until a later generation is opened. After that, all that the caller has
    /// loaded may belong to the later one.
    #[inline]
    pub fn is_current(&self, generation: Generation) -> bool {
        // ORDERING: SeqCst pairs with the store in `open`.
        self.generation.load(Ordering::SeqCst) == generation
    }

    /// Returns the time of the limiter's clock in ns. `real` reads the host's clock, which serves
    /// unless the limiter's clock is manual.
    #[inline]
    pub fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        self.clock.now(real)
    }

    /// Moves a manual clock forward. Returns `false` if the clock is the host's, or the
    /// generation is over.
    pub fn advance(&self, generation: Generation, ms: u64) -> bool {
        // While this call has the lock, no other generation opens.
        let _guard = lock(&self.changes);
        self.is_current(generation) && self.clock.advance(ms)
    }

    /// Charges the key at `now`, if the rate allows it.
    #[inline]
    pub fn hit(&self, key: Key, now: u64, cost: u32) -> Hit {
        let hit = self.decide_hit(key, now, cost, Some);
        match hit {
            Hit::Allow(_) => self.count(ALLOWED),
            Hit::Deny(_) | Hit::Never => self.count(DENIED),
            Hit::Gone => {}
        }
        hit
    }

    /// Returns the decision on a hit, without a charge and without a count.
    pub fn peek(&self, key: Key, now: u64, cost: u32) -> Hit {
        self.decide_hit(key, now, cost, |_tat| None)
    }

    /// Decides on a hit by the pause of the key and by the rate. `charge` gets the TAT that an
    /// allowed hit leads to, and returns the TAT to store, if any.
    #[inline]
    fn decide_hit(&self, key: Key, now: u64, cost: u32, charge: impl Fn(u64) -> Option<u64>) -> Hit {
        match self.paused_until(key, now) {
            None => self.decide_by_rate(key, now, cost, charge),
            Some(until) => match self.decide_by_rate(key, now, cost, |_tat| None) {
                Hit::Allow(_) => Hit::Deny(until - now),
                Hit::Deny(wait) => Hit::Deny(wait.max(until - now)),
                other => other,
            },
        }
    }

    /// Returns when the pause of the key ends, if that is after `now`.
    #[inline]
    pub(super) fn paused_until(&self, key: Key, now: u64) -> Option<u64> {
        self.pauses.until(key.tag(), now)
    }

    #[inline]
    fn decide_by_rate(&self, key: Key, now: u64, cost: u32, charge: impl Fn(u64) -> Option<u64>) -> Hit {
        let outcome = self.decide(key, now, |rate, tat| match rate.hit(tat, now, cost) {
            Verdict::Allow { tat, remaining } => (charge(tat), Hit::Allow(remaining)),
            Verdict::Deny { wait } => (None, Hit::Deny(wait)),
            Verdict::Never => (None, Hit::Never),
        });
        outcome.unwrap_or_else(|obstacle| match obstacle {
            Obstacle::Full { burst, .. } if cost > burst => Hit::Never,
            Obstacle::Full { until, .. } => Hit::Deny(until.saturating_sub(now).max(1)),
            Obstacle::Gone => Hit::Gone,
        })
    }

    /// Reserves a turn for a hit: the caller makes the hit once the rate allows it. If that is
    /// within `patience` ns from `now`, this call charges the key. Otherwise it reserves nothing.
    ///
    /// The turns of a paused key begin when the pause ends, at the pace of the rate.
    pub fn reserve(&self, key: Key, now: u64, cost: u32, patience: u64) -> Reserved {
        let begin = self.paused_until(key, now).unwrap_or(now);
        let paused = begin - now;
        let outcome = self.decide(key, now, |rate, tat| match rate.reserve(tat, begin, cost, u64::MAX) {
            Turn::Reserve { tat, wait } if paused + wait <= patience => (Some(tat), Reserved::In(paused + wait)),
            Turn::Reserve { wait, .. } | Turn::TooFar { wait } => (None, Reserved::TooFar(paused + wait)),
            Turn::Never => (None, Reserved::Never),
        });
        let reserved = outcome.unwrap_or_else(|obstacle| match obstacle {
            Obstacle::Full { burst, .. } if cost > burst => Reserved::Never,
            Obstacle::Full { until, .. } => match until.saturating_sub(now).max(1) {
                wait if wait <= patience => Reserved::NoPlace(wait),
                wait => Reserved::TooFar(wait),
            },
            Obstacle::Gone => Reserved::Gone,
        });
        match reserved {
            Reserved::In(_) => self.count(ALLOWED),
            Reserved::TooFar(_) | Reserved::Never => self.count(DENIED),
            // Neither decides on the hit: the caller asks again, or the generation of the key is
            // over.
            Reserved::NoPlace(_) | Reserved::Gone => {}
        }
        reserved
    }

    /// Returns `true` if a timer of the host is too coarse for a caller that waits for its turn.
    /// A caller that is later than the tolerance loses a part of the rate, because a TAT in the
    /// past allows no more hits than a TAT of now.
    pub fn needs_fine_wait(&self) -> bool {
        self.config.read().rate.tolerance() < FINE_TOLERANCE
    }

    /// Adds a hit to a total: [`ALLOWED`] or [`DENIED`].
    #[inline]
    pub(crate) fn count(&self, total: usize) {
        self.totals[thread_number() & (self.totals.len() - 1)][total].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the keys whose TAT is ahead of the clock. Visits at most `STEP` places, from place
    /// number `at` on. Returns the count, and the number of the next place; `None` after the
    /// last.
    pub fn keys(&self, at: usize, now: u64) -> (u64, Option<usize>) {
        let context = self.config.read().context(now);
        let mut keys = 0;
        let next = self.table.each(at, STEP, |place| keys += u64::from(place.is_active(context)));
        (keys, next)
    }

    /// Returns the configuration in force; `None` if the generation is over.
    pub fn limits(&self, generation: Generation) -> Option<Limits> {
        lock(&self.changes).in_force.filter(|_| self.is_current(generation))
    }

    /// Returns the statistics; `None` if the generation is over.
    pub fn info(&self, generation: Generation) -> Option<LimiterInfo> {
        let changes = lock(&self.changes);
        let limits = changes.in_force.filter(|_| self.is_current(generation))?;
        let total = |index: usize| self.totals.iter().map(|shard| shard[index].load(Ordering::Relaxed)).sum();
        Some(LimiterInfo {
            limits,
            max_keys: self.max_keys,
            memory: self.table.memory(),
            allowed: total(ALLOWED),
            denied: total(DENIED),
        })
    }
}

impl Reusable for Limiter {
    type Config = LimiterSettings;

    fn make(settings: LimiterSettings) -> Result<Self, OutOfMemory> {
        Self::new(settings.max_keys)
    }

    fn fits(&self, settings: LimiterSettings) -> bool {
        self.max_keys == settings.max_keys
    }

    fn open(&self, settings: LimiterSettings, now: u64) -> Generation {
        Limiter::open(self, settings.limits, settings.manual, now)
    }

    fn is_compatible(old: LimiterSettings, new: LimiterSettings) -> bool {
        // The size of the table and the kind of clock never change.
        (old.max_keys, old.manual) == (new.max_keys, new.manual)
    }

    fn resume(
        &self,
        generation: Generation,
        old: LimiterSettings,
        new: LimiterSettings,
        clock: fn() -> u64,
        is_owner: &dyn Fn() -> bool,
    ) {
        let mut from = None;
        // `update` calls this closure inside the lock, and records the change inside the same
        // lock. So an owner that takes over after `is_owner` returned `true` records its own
        // change after this one.
        let change = |_| is_owner().then_some(new.limits);
        while new.limits != old.limits
            && let Changed::NotYet(progress) = self.update(generation, change, self.now(clock), from)
        {
            from = Some(progress);
        }
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("limits", &lock(&self.changes).in_force).finish_non_exhaustive()
    }
}
