//! A rate limiter: one rate, for all hits together and for each key.

use crossbeam_utils::CachePadded;

use crate::clock::Clock;
use crate::registry::{Incarnation, Lend};
use crate::sync::{AtomicPair, AtomicU64, Mutex, Ordering, lock, thread_number};

use super::gcra::{Rate, Turn, Verdict};
use super::settings::Published;
use super::stamp::Stamp;
use super::table::{Found, OutOfMemory, Table};

/// Places that one step of a change, or of a count, looks at: some 20 µs.
const STEP: usize = if cfg!(loom) { 2 } else { 4096 };

/// Parts that totals are counted in, so that threads do not wait for each other's.
const PARTS: usize = if cfg!(loom) { 1 } else { 16 };

const NS_PER_MS: u64 = 1_000_000;

/// What a limiter allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Hits per `per_ms`, on average.
    pub limit: u32,
    /// In ms.
    pub per_ms: u64,
    /// The same, as it is counted by, with the burst.
    pub rate: Rate,
}

/// What a limiter is started with, beside its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterSettings {
    /// As it is to be.
    pub limits: Limits,
    /// How many keys it has places for.
    pub max_keys: u32,
    /// Whether its clock is set by hand.
    pub manual: bool,
}

/// What is counted for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// All hits that have no key.
    Global(Incarnation),
    /// Those of one key, by the hash of the incarnation and the key.
    Tag(u64),
}

/// What came of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// It is allowed, and so many of cost 1 could follow at once.
    Allow(u32),
    /// It would be allowed after so many ns, 1 at least.
    Deny(u64),
    /// It costs more than the burst.
    Never,
    /// The limiter is closed.
    Gone,
}

/// What came of a hit that would wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Its turn is in so many ns, perhaps 0.
    In(u64),
    /// It would be in so many ns, which is more than it would wait. Nothing is reserved.
    TooFar(u64),
    /// It costs more than the burst.
    Never,
    /// The limiter is closed.
    Gone,
}

/// A limiter. Made closed; see [`Limiter::open`].
pub struct Limiter {
    published: CachePadded<Published>,
    /// The incarnation, and the stamp.
    global: CachePadded<AtomicPair>,
    table: Table,
    max_keys: u32,
    totals: [CachePadded<[AtomicU64; 2]>; PARTS],
    clock: Clock,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    limits: Option<Limits>,
    incarnation: Incarnation,
    /// Since this version no TAT is of the era before that.
    settled: u64,
}

/// How far a change, or a count, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it began on.
    pub version: u64,
    /// The next place.
    pub at: usize,
}

/// What came of a step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is in force.
    Yes,
    /// There is more to do before that: go on from here.
    NotYet(Progress),
}

/// What there is to say of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterInfo {
    /// As they are now.
    pub limits: Limits,
    /// As it was opened with.
    pub max_keys: u32,
    /// Bytes of its places.
    pub memory: usize,
    /// Hits allowed since it was opened.
    pub allowed: u64,
    /// Hits denied since then.
    pub denied: u64,
}

/// A charge that may be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tentative {
    /// Where it moved the TAT to.
    tat: u64,
    cost: u32,
    version: u64,
}

/// Why there is no place to count by.
enum Obstacle {
    Full { until: u64 },
    Gone,
}

impl Limiter {
    /// A closed limiter for so many keys.
    pub fn new(max_keys: u32) -> Result<Self, OutOfMemory> {
        Ok(Self {
            published: CachePadded::default(),
            global: CachePadded::new(AtomicPair::new(0, Stamp::NONE.to_bits())),
            table: Table::new(max_keys as usize)?,
            max_keys,
            totals: std::array::from_fn(|_| CachePadded::default()),
            clock: Clock::real(),
            given: Mutex::default(),
        })
    }

    /// Opens it anew, with nothing counted. For whoever has it alone, but for hits of its last incarnation that were slow: their
    /// tags are nobody's now, and the global place is not theirs.
    pub fn open(&self, limits: Limits, manual: bool, now: u64) -> Incarnation {
        let mut given = lock(&self.given);
        let incarnation = given.incarnation.wrapping_add(1).max(1);
        let now = self.clock.start(manual, now);
        self.table.clear();
        for total in self.totals.iter().flat_map(|part| part.iter()) {
            total.store(0, Ordering::Relaxed);
        }
        self.published.change(limits.rate, now);
        self.global.store(u64::from(incarnation), Stamp::NONE.to_bits());
        *given = Given { limits: Some(limits), incarnation, settled: self.published.read().version };
        incarnation
    }

    /// What its clock says: `real`, unless it is set by hand.
    #[inline]
    pub fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        self.clock.now(real)
    }

    /// Sets the clock forward. False if it is not set by hand.
    pub fn advance(&self, ms: u64) -> bool {
        self.clock.advance(ms)
    }

    /// Charges the key at `now`, if the rate allows it.
    #[inline]
    pub fn hit(&self, key: Key, now: u64, cost: u32) -> Hit {
        let hit = self.charge(key, now, cost);
        match hit {
            Hit::Allow(_) => self.count(0),
            Hit::Deny(_) | Hit::Never => self.count(1),
            Hit::Gone => {}
        }
        hit
    }

    #[inline]
    fn charge(&self, key: Key, now: u64, cost: u32) -> Hit {
        let outcome = self.decide(key, now, |rate, tat| match rate.hit(tat, now, cost) {
            Verdict::Allow { tat, remaining } => (Some(tat), Hit::Allow(remaining)),
            Verdict::Deny { wait } => (None, Hit::Deny(wait)),
            Verdict::Never => (None, Hit::Never),
        });
        Self::or_denied(outcome, now)
    }

    /// What a hit would come to.
    pub fn peek(&self, key: Key, now: u64, cost: u32) -> Hit {
        let outcome = self.decide(key, now, |rate, tat| match rate.hit(tat, now, cost) {
            Verdict::Allow { remaining, .. } => (None, Hit::Allow(remaining)),
            Verdict::Deny { wait } => (None, Hit::Deny(wait)),
            Verdict::Never => (None, Hit::Never),
        });
        Self::or_denied(outcome, now)
    }

    fn or_denied(outcome: Result<Hit, Obstacle>, now: u64) -> Hit {
        outcome.unwrap_or_else(|obstacle| match obstacle {
            Obstacle::Full { until } => Hit::Deny(until.saturating_sub(now).max(1)),
            Obstacle::Gone => Hit::Gone,
        })
    }

    /// Charges the key for a turn that comes when the rate allows it, if that is not more than `patience` ns from `now`.
    pub fn reserve(&self, key: Key, now: u64, cost: u32, patience: u64) -> Reserved {
        let outcome = self.decide(key, now, |rate, tat| match rate.reserve(tat, now, cost, patience) {
            Turn::Reserve { tat, wait } => (Some(tat), Reserved::In(wait)),
            Turn::TooFar { wait } => (None, Reserved::TooFar(wait)),
            Turn::Never => (None, Reserved::Never),
        });
        let reserved = outcome.unwrap_or_else(|obstacle| match obstacle {
            Obstacle::Full { until } => Reserved::TooFar(until.saturating_sub(now).max(1)),
            Obstacle::Gone => Reserved::Gone,
        });
        match reserved {
            Reserved::In(_) => self.count(0),
            Reserved::TooFar(_) | Reserved::Never => self.count(1),
            Reserved::Gone => {}
        }
        reserved
    }

    /// Has `rule` say what becomes of the key's TAT, 0 if it has none, and moves it there if it is still that.
    #[inline]
    fn decide<T>(&self, key: Key, now: u64, rule: impl Fn(Rate, u64) -> (Option<u64>, T)) -> Result<T, Obstacle> {
        loop {
            let in_force = self.published.read();
            let view = in_force.view(now);
            let decided = match key {
                Key::Global(incarnation) => {
                    let (owner, bits) = self.global.load();
                    if owner != u64::from(incarnation) {
                        return Err(Obstacle::Gone);
                    }
                    let (next, outcome) = rule(in_force.rate, view.tat(Stamp::from_bits(bits)).unwrap_or(0));
                    let Some(tat) = next else { return Ok(outcome) };
                    let moved = (owner, Stamp::new(tat, view.era).to_bits());
                    self.global.compare_exchange((owner, bits), moved).then_some(outcome)
                }
                Key::Tag(tag) => match self.table.search(tag, view) {
                    Found::Charged(seen) => {
                        let (next, outcome) = rule(in_force.rate, view.tat(seen.stamp).unwrap_or(0));
                        let Some(tat) = next else { return Ok(outcome) };
                        seen.charge(tat, view.era).then_some(outcome)
                    }
                    Found::Free(place) => {
                        let (next, outcome) = rule(in_force.rate, 0);
                        let Some(tat) = next else { return Ok(outcome) };
                        let claimed = self.table.claim(tag, place);
                        claimed.is_some_and(|claim| claim.charge(tat, view.era)).then_some(outcome)
                    }
                    Found::Full { until } => return Err(Obstacle::Full { until }),
                },
            };
            if let Some(outcome) = decided {
                return Ok(outcome);
            }
        }
    }

    /// As a hit that is allowed, but to be taken back perhaps, and not counted yet. `None`: it is not allowed.
    pub(crate) fn try_charge(&self, key: Key, now: u64, cost: u32) -> Option<Tentative> {
        let version = self.version();
        let outcome = self.decide(key, now, |rate, tat| match rate.hit(tat, now, cost) {
            Verdict::Allow { tat, .. } => (Some(tat), Some(Tentative { tat, cost, version })),
            _ => (None, None),
        });
        outcome.unwrap_or(None)
    }

    /// Takes back a charge. Of one that would have run out by `now` by itself nothing is: it may have made room for others already. Nor of
    /// one that the rate was changed after: it may have been cut.
    pub(crate) fn refund(&self, key: Key, now: u64, charge: Tentative) {
        let _nothing_left_of_it = self.decide(key, now, |rate, tat| {
            let refund = rate.charge(charge.cost).filter(|_| now < charge.tat && self.version() == charge.version);
            (refund.and_then(|refund| tat.checked_sub(refund)), ())
        });
    }

    fn version(&self) -> u64 {
        self.published.read().version
    }

    pub(crate) fn count_allowed(&self) {
        self.count(0);
    }

    pub(crate) fn count_denied(&self) {
        self.count(1);
    }

    #[inline]
    fn count(&self, which: usize) {
        self.totals[thread_number() % PARTS][which].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets what the key owes. False if the limiter is closed.
    pub fn reset(&self, key: Key) -> bool {
        match key {
            Key::Global(incarnation) => loop {
                let (owner, bits) = self.global.load();
                if owner != u64::from(incarnation) {
                    return false;
                }
                if self.global.compare_exchange((owner, bits), (owner, Stamp::NONE.to_bits())) {
                    return true;
                }
            },
            Key::Tag(tag) => {
                while !self.table.forget(tag) {}
                true
            }
        }
    }

    /// Changes the rate: each key keeps what it owes in time, cut to the new burst.
    ///
    /// A key is cut when it is next looked at, and its era tells whether it was. There are two eras, so before another change all
    /// must be of the last: that is done in steps, each of which returns how far it has come. Begin with `None`.
    pub fn update(&self, limits: Limits, now: u64, from: Option<Progress>) -> Changed {
        let mut given = lock(&self.given);
        let version = self.published.read().version;
        if given.settled == version {
            self.published.change(limits.rate, now);
            given.limits = Some(limits);
            return Changed::Yes;
        }
        drop(given);
        // Another change may have come in between: then all begins anew.
        let at = from.filter(|progress| progress.version == version).map_or(0, |progress| progress.at);
        match self.settle(at, now) {
            Some(at) => Changed::NotYet(Progress { version, at }),
            None => {
                let mut given = lock(&self.given);
                if self.published.read().version == version {
                    given.settled = version;
                }
                Changed::NotYet(Progress { version, at: 0 })
            }
        }
    }

    /// Has the places from `at` on, some of them, and the global one, be of the era in force.
    fn settle(&self, at: usize, now: u64) -> Option<usize> {
        let view = self.published.read().view(now);
        // Also if what is left of it after the cut has passed: uncut, it would be ahead again in the next era.
        let restamp = |stamp: Stamp| view.tat(stamp).filter(|_| stamp.era() != view.era && stamp.tat() > Some(now));
        if at == 0 {
            loop {
                let (owner, bits) = self.global.load();
                let Some(tat) = restamp(Stamp::from_bits(bits)) else { break };
                if self.global.compare_exchange((owner, bits), (owner, Stamp::new(tat, view.era).to_bits())) {
                    break;
                }
            }
        }
        self.table.each(at, STEP, |mut seen| {
            // A place that is lost to another was charged, or claimed, in the era in force; or by one that was slow, and is
            // looked at again.
            while let Some(tat) = restamp(seen.stamp) {
                if seen.charge(tat, view.era) {
                    break;
                }
                seen = seen.again();
            }
        })
    }

    /// Counts the keys from `at` on, some of them, that are not as good as unknown; and returns where to go on.
    pub fn keys(&self, at: usize, now: u64) -> (u64, Option<usize>) {
        let view = self.published.read().view(now);
        let mut keys = 0;
        let next = self.table.each(at, STEP, |seen| keys += u64::from(seen.is_active(view)));
        (keys, next)
    }

    /// What there is to say; `None` before it was ever opened.
    pub fn info(&self) -> Option<LimiterInfo> {
        let total = |which: usize| self.totals.iter().map(|part| part[which].load(Ordering::Relaxed)).sum();
        Some(LimiterInfo {
            limits: lock(&self.given).limits?,
            max_keys: self.max_keys,
            memory: self.table.memory(),
            allowed: total(0),
            denied: total(1),
        })
    }
}

impl Lend for Limiter {
    type Given = LimiterSettings;

    fn make(given: LimiterSettings) -> Result<Self, OutOfMemory> {
        Self::new(given.max_keys)
    }

    fn fits(&self, given: LimiterSettings) -> bool {
        self.max_keys == given.max_keys
    }

    fn open(&self, given: LimiterSettings, now: u64) -> Incarnation {
        Limiter::open(self, given.limits, given.manual, now)
    }

    fn may_go_on(old: LimiterSettings, new: LimiterSettings) -> bool {
        // The size of what it remembers, and the clock, are for life.
        (old.max_keys, old.manual) == (new.max_keys, new.manual)
    }

    fn go_on(&self, old: LimiterSettings, new: LimiterSettings, now: u64) {
        let (now, mut from) = (self.now(|| now), None);
        while new.limits != old.limits
            && let Changed::NotYet(progress) = self.update(new.limits, now, from)
        {
            from = Some(progress);
        }
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("info", &self.info()).finish_non_exhaustive()
    }
}

/// Whole ms that are no less than so many ns.
pub fn whole_ms(ns: u64) -> u64 {
    ns.div_ceil(NS_PER_MS)
}
