//! A rate limiter: one rate, for all hits together and for each key.

use crossbeam_utils::CachePadded;

use crate::keyed::{CellState, Found, Table};
use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{AtomicPair, AtomicU32, AtomicU64, Mutex, Ordering, lock, thread_number};
use crate::time::{Clock, NS_PER_MS};

use super::config::ConfigCell;
use super::gcra::{Rate, Turn, Verdict};
use super::migrate::Changed;
use super::pauses::Pauses;

/// The number of places that one step of a change, or of a count, looks at: some 20 µs.
pub(super) const STEP: usize = if cfg!(loom) { 2 } else { 4096 };

/// A timer of the host may be late by some 2 ms.
const FINE: u64 = 4 * NS_PER_MS;

/// The number of counters of resets, each for some of the keys.
pub(super) const RESETS: usize = if cfg!(loom) { 16 } else { 256 };

/// Returns the number of parts that totals are counted in, a power of two, so that threads share
/// no counter. There is one for each thread that runs at a time, and as many again, as other
/// threads have numbers too.
fn parts() -> usize {
    if cfg!(any(loom, shuttle)) {
        return 1;
    }
    2 * std::thread::available_parallelism().map_or(8, std::num::NonZero::get).next_power_of_two()
}

/// The index of a total.
pub(crate) const ALLOWED: usize = 0;
pub(crate) const DENIED: usize = 1;

/// The configuration of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Hits per `per_ms`, on average.
    pub limit: u32,
    /// The period in ms.
    pub per_ms: u64,
    /// The rate that hits are decided by, with the burst.
    pub rate: Rate,
}

/// The configuration that a limiter is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterSettings {
    /// The rate.
    pub limits: Limits,
    /// The number of keys that it has places for.
    pub max_keys: u32,
    /// Whether its clock is set by hand.
    pub manual: bool,
}

/// What a hit is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// All hits without a key.
    Global(Generation),
    /// One key, by the hash of the generation and the key.
    Tag(Generation, u64),
}

impl Key {
    /// Returns 0 for all hits without a key: no key has that tag.
    #[inline]
    pub(super) fn tag(self) -> u64 {
        match self {
            Self::Global(_) => 0,
            Self::Tag(_, tag) => tag,
        }
    }

    pub(super) fn generation(self) -> Generation {
        match self {
            Self::Global(generation) | Self::Tag(generation, _) => generation,
        }
    }
}

/// The decision on a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Allowed; this many hits of cost 1 could follow at once.
    Allow(u32),
    /// Denied; it would be allowed after this many ns, at least 1.
    Deny(u64),
    /// Denied; it costs more than the burst.
    Never,
    /// The limiter is closed.
    Gone,
}

/// The decision on a hit that would wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Its turn comes in this many ns, perhaps 0.
    In(u64),
    /// Its turn would come in this many ns, beyond its patience; nothing is reserved.
    TooFar(u64),
    /// The key has no place; one may be free in this many ns, within its patience.
    NoPlace(u64),
    /// Denied; it costs more than the burst.
    Never,
    /// The limiter is closed.
    Gone,
}

/// A limiter. Made closed; see [`Limiter::open`].
pub struct Limiter {
    pub(super) config: CachePadded<ConfigCell>,
    /// The generation, and the state of hits without a key.
    pub(super) global: CachePadded<AtomicPair>,
    pub(super) table: Table,
    max_keys: u32,
    /// The number of times that it was opened.
    generation: AtomicU32,
    /// How many resets began and ended, of keys that share a counter: a charge from before a
    /// reset is not taken back after it.
    pub(super) resets: [[AtomicU64; 2]; RESETS],
    totals: Box<[CachePadded<[AtomicU64; 2]>]>,
    pub(super) pauses: Pauses,
    clock: Clock,
    pub(super) given: Mutex<Given>,
}

#[derive(Debug, Default)]
pub(super) struct Given {
    /// The configuration in force.
    pub(super) limits: Option<Limits>,
    /// The result of all requested changes, each applied to the one before. It comes into force
    /// when all places are migrated.
    pub(super) wanted: Option<Limits>,
    /// The least burst among those changes, in ns: each of them cuts.
    pub(super) cut: Option<u64>,
    /// The number of changes that were requested, and of those that are in force.
    pub(super) asked: u64,
    pub(super) done: u64,
    /// Since this version no TAT has the parity of the version before.
    pub(super) migrated: u64,
}

/// Statistics of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterInfo {
    /// The configuration in force.
    pub limits: Limits,
    /// The number of keys that it has places for.
    pub max_keys: u32,
    /// The size of its places in bytes.
    pub memory: usize,
    /// Hits allowed since it was opened.
    pub allowed: u64,
    /// Hits denied since then.
    pub denied: u64,
}

/// Why a key has no place to be charged in.
pub(super) enum Obstacle {
    Full { until: u64, burst: u32 },
    Gone,
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
            totals: (0..parts()).map(|_| CachePadded::default()).collect(),
            pauses: Pauses::new(max_keys as usize),
            clock: Clock::real(),
            given: Mutex::default(),
        })
    }

    /// Resets and reopens it. The caller must own it exclusively; only slow hits of the previous
    /// generation may still access it. Their tags belong to no key now, the global place is not
    /// theirs, and they vacate what they charge.
    pub fn open(&self, limits: Limits, manual: bool, now: u64) -> Generation {
        let (generation, now) = {
            // A late caller does not advance the clock of this generation.
            let _guard = lock(&self.given);
            let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1).max(1);
            // ORDERING: SeqCst, before the places are cleared: a slow hit that charges a place
            // after that sees, after its charge, the new generation.
            self.generation.store(generation, Ordering::SeqCst);
            (generation, self.clock.start(manual, now))
        };
        // Outside the lock, as it takes time and a slow caller would wait.
        self.table.clear();
        self.pauses.clear();
        for total in self.totals.iter().flat_map(|part| part.iter()) {
            total.store(0, Ordering::Relaxed);
        }
        let mut given = lock(&self.given);
        self.config.publish(limits.rate, now, limits.rate.tolerance());
        self.global.store(u64::from(generation), CellState::NONE.to_bits());
        // Numbers of changes go on, so that a change of the previous generation finds itself
        // over.
        let asked = given.asked;
        let migrated = self.config.version();
        *given = Given { limits: Some(limits), wanted: Some(limits), cut: None, asked, done: asked, migrated };
        generation
    }

    /// Returns `true` if that generation is open. If not, what the caller has loaded before may
    /// belong to another one.
    #[inline]
    pub fn is(&self, generation: Generation) -> bool {
        // ORDERING: SeqCst pairs with the store in `open`.
        self.generation.load(Ordering::SeqCst) == generation
    }

    /// Returns the time of its clock: `real`, unless it is set by hand.
    #[inline]
    pub fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        self.clock.now(real)
    }

    /// Sets the clock forward. Returns `false` if it is not set by hand, or the generation is
    /// over.
    pub fn advance(&self, generation: Generation, ms: u64) -> bool {
        // No other generation opens meanwhile.
        let _guard = lock(&self.given);
        self.is(generation) && self.clock.advance(ms)
    }

    /// Charges the key at `now`, if the rate allows it.
    #[inline]
    pub fn hit(&self, key: Key, now: u64, cost: u32) -> Hit {
        let hit = self.charge(key, now, cost);
        match hit {
            Hit::Allow(_) => self.count(ALLOWED),
            Hit::Deny(_) | Hit::Never => self.count(DENIED),
            Hit::Gone => {}
        }
        hit
    }

    #[inline]
    fn charge(&self, key: Key, now: u64, cost: u32) -> Hit {
        self.ask(key, now, cost, Some)
    }

    /// Returns what a hit would come to.
    pub fn peek(&self, key: Key, now: u64, cost: u32) -> Hit {
        self.ask(key, now, cost, |_tat| None)
    }

    /// `charge` returns the TAT to store if the hit is allowed.
    #[inline]
    fn ask(&self, key: Key, now: u64, cost: u32, charge: impl Fn(u64) -> Option<u64>) -> Hit {
        match self.paused_until(key, now) {
            None => self.ask_rate(key, now, cost, charge),
            Some(until) => match self.ask_rate(key, now, cost, |_tat| None) {
                Hit::Allow(_) => Hit::Deny(until - now),
                Hit::Deny(wait) => Hit::Deny(wait.max(until - now)),
                other => other,
            },
        }
    }

    #[inline]
    pub(super) fn paused_until(&self, key: Key, now: u64) -> Option<u64> {
        self.pauses.until(key.tag(), now)
    }

    #[inline]
    fn ask_rate(&self, key: Key, now: u64, cost: u32, charge: impl Fn(u64) -> Option<u64>) -> Hit {
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

    /// Charges the key for a turn that comes when the rate allows it, if that is within
    /// `patience` ns from `now`.
    ///
    /// The turns of a paused key begin after the pause, at the pace of the rate.
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
            // The caller asks again, or the limiter is gone.
            Reserved::NoPlace(_) | Reserved::Gone => {}
        }
        reserved
    }

    /// Returns `true` if a turn must be waited for more exactly than to the ms. A caller that
    /// takes its turn late by more than the tolerance loses the rest, as the TAT does not stay in
    /// the past.
    pub fn is_fine(&self) -> bool {
        self.config.read().rate.tolerance() < FINE
    }

    /// Moves the key's TAT, 0 if it has none, to what `rule` returns, if it has not changed
    /// since.
    ///
    /// The place is loaded before the version is checked again. So its state has no later parity
    /// than the rate that decides. Otherwise all is loaded again, as a TAT charged after a change
    /// would be cut by the rate before. A later change of the place fails the exchange.
    #[inline]
    pub(super) fn decide<T>(
        &self,
        key: Key,
        now: u64,
        rule: impl Fn(Rate, u64) -> (Option<u64>, T),
    ) -> Result<T, Obstacle> {
        loop {
            let in_force = self.config.read();
            let context = in_force.context(now);
            let is_in_force = || self.config.version() == in_force.version;
            let decided = match key {
                Key::Global(generation) => {
                    let (owner, bits) = self.global.load();
                    if !is_in_force() {
                        continue;
                    }
                    if owner != u64::from(generation) {
                        return Err(Obstacle::Gone);
                    }
                    let (next, outcome) = rule(in_force.rate, context.tat(CellState::from_bits(bits)).unwrap_or(0));
                    let Some(tat) = next else { return Ok(outcome) };
                    let moved = CellState::new(tat, context.parity);
                    let exchange = |from: u64, to: CellState| {
                        self.global.compare_exchange((owner, from), (owner, to.to_bits())).then_some(to)
                    };
                    let done = exchange(bits, moved);
                    if done.is_some() {
                        self.migrate_own(in_force, moved, |from, to| exchange(from.to_bits(), to));
                    }
                    done.map(|_| outcome)
                }
                Key::Tag(generation, tag) => {
                    let found = self.table.search(tag, context);
                    if !is_in_force() {
                        continue;
                    }
                    let decided = match &found {
                        Found::Charged(seen) => Ok(rule(in_force.rate, context.tat(seen.state).unwrap_or(0))),
                        Found::Free(_) => Ok(rule(in_force.rate, 0)),
                        Found::Full { until } => Err(Obstacle::Full { until: *until, burst: in_force.rate.burst() }),
                    };
                    let (tat, outcome) = match decided {
                        Ok((Some(tat), outcome)) => (tat, outcome),
                        // The rate and the places may belong to another generation by now.
                        _ if !self.is(generation) => return Err(Obstacle::Gone),
                        Ok((None, outcome)) => return Ok(outcome),
                        Err(full) => return Err(full),
                    };
                    let mine = match found {
                        Found::Charged(seen) => Some(seen),
                        Found::Free(place) => self.table.claim(tag, place),
                        Found::Full { .. } => None,
                    };
                    let charged = mine.and_then(|mine| mine.store(CellState::new(tat, context.parity)));
                    if let Some(seen) = charged {
                        if !self.is(generation) {
                            seen.vacate();
                            return Err(Obstacle::Gone);
                        }
                        let mut at = seen;
                        self.migrate_own(in_force, seen.state, |_, to| {
                            at = at.store(to)?;
                            Some(to)
                        });
                    }
                    charged.map(|_| outcome)
                }
            };
            if let Some(outcome) = decided {
                return Ok(outcome);
            }
        }
    }

    #[inline]
    pub(crate) fn count(&self, which: usize) {
        self.totals[thread_number() & (self.totals.len() - 1)][which].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the active keys of at most `STEP` places from `at` on; returns the next place.
    pub fn keys(&self, at: usize, now: u64) -> (u64, Option<usize>) {
        let context = self.config.read().context(now);
        let mut keys = 0;
        let next = self.table.each(at, STEP, |seen| keys += u64::from(seen.is_active(context)));
        (keys, next)
    }

    /// Returns the statistics; `None` if the generation is over.
    pub fn info(&self, generation: Generation) -> Option<LimiterInfo> {
        let given = lock(&self.given);
        let limits = given.limits.filter(|_| self.is(generation))?;
        let total = |which: usize| self.totals.iter().map(|part| part[which].load(Ordering::Relaxed)).sum();
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

    fn make(given: LimiterSettings) -> Result<Self, OutOfMemory> {
        Self::new(given.max_keys)
    }

    fn fits(&self, given: LimiterSettings) -> bool {
        self.max_keys == given.max_keys
    }

    fn open(&self, given: LimiterSettings, now: u64) -> Generation {
        Limiter::open(self, given.limits, given.manual, now)
    }

    fn is_compatible(old: LimiterSettings, new: LimiterSettings) -> bool {
        // The size of the table, and the clock, never change.
        (old.max_keys, old.manual) == (new.max_keys, new.manual)
    }

    fn resume(
        &self,
        generation: Generation,
        old: LimiterSettings,
        new: LimiterSettings,
        clock: fn() -> u64,
        still: &dyn Fn() -> bool,
    ) {
        let mut from = None;
        // Asked under the lock that the change is made under: an owner that takes over after that
        // changes the rate after that.
        let change = |_| still().then_some(new.limits);
        while new.limits != old.limits
            && let Changed::NotYet(progress) = self.update(generation, change, self.now(clock), from)
        {
            from = Some(progress);
        }
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("limits", &lock(&self.given).limits).finish_non_exhaustive()
    }
}
