//! A rate limiter: one rate, for all hits together and for each key.

use crossbeam_utils::CachePadded;

use crate::keyed::{Found, Stamp, Table};
use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{AtomicPair, AtomicU32, AtomicU64, Mutex, Ordering, fence, fence_after_rmw, lock, thread_number};
use crate::time::{Clock, LATEST, NS_PER_MS};

use super::gcra::{Rate, Turn, Verdict};
use super::pauses::Pauses;
use super::settings::{InForce, Published};

/// Places that one step of a change, or of a count, looks at: some 20 µs.
const STEP: usize = if cfg!(loom) { 2 } else { 4096 };

/// Timers of the host are late by up to 2 ms or so.
const FINE: u64 = 4 * NS_PER_MS;

/// Parts that resets are counted in, each for some of the keys.
const RESETS: usize = if cfg!(loom) { 16 } else { 256 };

/// Parts that totals are counted in, so that threads do not wait for each other's: one for each
/// that runs at a time, and as many again, as other threads have numbers as well. A power of two.
fn parts() -> usize {
    if cfg!(any(loom, shuttle)) {
        return 1;
    }
    2 * std::thread::available_parallelism().map_or(8, std::num::NonZero::get).next_power_of_two()
}

/// Totals.
pub(crate) const ALLOWED: usize = 0;
pub(crate) const DENIED: usize = 1;

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
    Global(Generation),
    /// Those of one key, by the hash of the generation and the key.
    Tag(Generation, u64),
}

impl Key {
    /// 0 for all hits together: no key has that tag.
    #[inline]
    fn tag(self) -> u64 {
        match self {
            Self::Global(_) => 0,
            Self::Tag(_, tag) => tag,
        }
    }

    fn generation(self) -> Generation {
        match self {
            Self::Global(generation) | Self::Tag(generation, _) => generation,
        }
    }
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
    /// There is no place for the key. There may be one in so many ns, which is not more than it would wait.
    NoPlace(u64),
    /// It costs more than the burst.
    Never,
    /// The limiter is closed.
    Gone,
}

/// A limiter. Made closed; see [`Limiter::open`].
pub struct Limiter {
    published: CachePadded<Published>,
    /// The generation, and the stamp.
    global: CachePadded<AtomicPair>,
    table: Table,
    max_keys: u32,
    /// Which opening it is.
    generation: AtomicU32,
    /// How many began and ended, of keys that share one, so that what was charged before one is not taken back after it.
    resets: [[AtomicU64; 2]; RESETS],
    totals: Box<[CachePadded<[AtomicU64; 2]>]>,
    pauses: Pauses,
    clock: Clock,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    /// In force.
    limits: Option<Limits>,
    /// What the changes up to now come to, each of them applied to the one before. It comes into
    /// force when all places are settled.
    wanted: Option<Limits>,
    /// The least burst among those changes, in ns: each of them cuts.
    cut: Option<u64>,
    /// How many changes were asked for, and how many of them are in force.
    asked: u64,
    done: u64,
    /// Since this version no TAT is of the era before that.
    settled: u64,
}

/// How far a change, or a count, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which change it is.
    pub asked: u64,
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
    /// There is no such rate.
    OutOfBounds,
    /// The limiter is closed.
    Gone,
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
    resets: Option<u64>,
}

/// Why there is no place to count by.
enum Obstacle {
    Full { until: u64, burst: u32 },
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
            generation: AtomicU32::new(0),
            resets: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            totals: (0..parts()).map(|_| CachePadded::default()).collect(),
            pauses: Pauses::new(max_keys as usize),
            clock: Clock::real(),
            given: Mutex::default(),
        })
    }

    /// Opens it anew, with nothing counted. For whoever has it alone, but for hits of its last generation that were slow: their
    /// tags are nobody's now, the global place is not theirs, and what they charge they give up.
    pub fn open(&self, limits: Limits, manual: bool, now: u64) -> Generation {
        let (generation, now) = {
            let _nobody_advances_another_clock = lock(&self.given);
            let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1).max(1);
            // ORDERING: SeqCst, before the places are cleared: who charges one after that sees, after that, that it is not its limiter
            // any more.
            self.generation.store(generation, Ordering::SeqCst);
            (generation, self.clock.start(manual, now))
        };
        // Outside the lock, for it takes time, and whoever is late would wait.
        self.table.clear();
        self.pauses.clear();
        for total in self.totals.iter().flat_map(|part| part.iter()) {
            total.store(0, Ordering::Relaxed);
        }
        let mut given = lock(&self.given);
        self.published.change(limits.rate, now, limits.rate.tolerance());
        self.global.store(u64::from(generation), Stamp::NONE.to_bits());
        // Numbers of changes go on, so that one of before finds itself over.
        let asked = given.asked;
        let settled = self.published.version();
        *given = Given { limits: Some(limits), wanted: Some(limits), cut: None, asked, done: asked, settled };
        generation
    }

    /// Whether that is the generation that is open. What is looked at before may be another's if not.
    #[inline]
    pub fn is(&self, generation: Generation) -> bool {
        // ORDERING: SeqCst pairs with the one in `open`.
        self.generation.load(Ordering::SeqCst) == generation
    }

    /// What its clock says: `real`, unless it is set by hand.
    #[inline]
    pub fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        self.clock.now(real)
    }

    /// Sets the clock forward. False if it is not set by hand, or of another generation.
    pub fn advance(&self, generation: Generation, ms: u64) -> bool {
        let _no_other_opens_meanwhile = lock(&self.given);
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

    /// What a hit would come to.
    pub fn peek(&self, key: Key, now: u64, cost: u32) -> Hit {
        self.ask(key, now, cost, |_tat| None)
    }

    /// `charge` says what becomes of the TAT if it is allowed.
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
    fn paused_until(&self, key: Key, now: u64) -> Option<u64> {
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

    /// Charges the key for a turn that comes when the rate allows it, if that is not more than `patience` ns from `now`.
    ///
    /// The turns of a key that is paused begin after the pause, at the pace of the rate.
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
            // To be asked again, or by nobody.
            Reserved::NoPlace(_) | Reserved::Gone => {}
        }
        reserved
    }

    /// Whether a turn must be waited for more exactly than to the ms: a caller that takes its
    /// turn late by more than the tolerance loses the rest, as the TAT does not stay in the past.
    pub fn is_fine(&self) -> bool {
        self.published.read().rate.tolerance() < FINE
    }

    /// Has `rule` say what becomes of the key's TAT, 0 if it has none, and moves it there if it is still that.
    ///
    /// What is seen of the places is from before the rate is asked for once more. So it is of no later era than the rate that it is seen by,
    /// or all is looked at again: a TAT that was charged after a change would be cut by the one before. What changes after that fails to
    /// be exchanged.
    #[inline]
    fn decide<T>(&self, key: Key, now: u64, rule: impl Fn(Rate, u64) -> (Option<u64>, T)) -> Result<T, Obstacle> {
        loop {
            let in_force = self.published.read();
            let view = in_force.view(now);
            let is_in_force = || self.published.version() == in_force.version;
            let decided = match key {
                Key::Global(generation) => {
                    let (owner, bits) = self.global.load();
                    if !is_in_force() {
                        continue;
                    }
                    if owner != u64::from(generation) {
                        return Err(Obstacle::Gone);
                    }
                    let (next, outcome) = rule(in_force.rate, view.tat(Stamp::from_bits(bits)).unwrap_or(0));
                    let Some(tat) = next else { return Ok(outcome) };
                    let moved = Stamp::new(tat, view.era);
                    let exchange = |from: u64, to: Stamp| {
                        self.global.compare_exchange((owner, from), (owner, to.to_bits())).then_some(to)
                    };
                    let done = exchange(bits, moved);
                    if done.is_some() {
                        self.keep_up(in_force, moved, |from, to| exchange(from.to_bits(), to));
                    }
                    done.map(|_| outcome)
                }
                Key::Tag(generation, tag) => {
                    let found = self.table.search(tag, view);
                    if !is_in_force() {
                        continue;
                    }
                    let decided = match &found {
                        Found::Charged(seen) => Ok(rule(in_force.rate, view.tat(seen.stamp).unwrap_or(0))),
                        Found::Free(_) => Ok(rule(in_force.rate, 0)),
                        Found::Full { until } => Err(Obstacle::Full { until: *until, burst: in_force.rate.burst() }),
                    };
                    let (tat, outcome) = match decided {
                        Ok((Some(tat), outcome)) => (tat, outcome),
                        // The rate and the places may be those of another's by now.
                        _ if !self.is(generation) => return Err(Obstacle::Gone),
                        Ok((None, outcome)) => return Ok(outcome),
                        Err(full) => return Err(full),
                    };
                    let mine = match found {
                        Found::Charged(seen) => Some(seen),
                        Found::Free(place) => self.table.claim(tag, place),
                        Found::Full { .. } => None,
                    };
                    let charged = mine.and_then(|mine| mine.put(Stamp::new(tat, view.era)));
                    if let Some(seen) = charged {
                        if !self.is(generation) {
                            seen.give_up();
                            return Err(Obstacle::Gone);
                        }
                        let mut at = seen;
                        self.keep_up(in_force, seen.stamp, |_, to| {
                            at = at.put(to)?;
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

    /// Whoever wrote a stamp by a rate that is in force no more may have come after all were brought to the era of the next: then it does
    /// that for its own. If somebody else was there meanwhile, it stays; what is owed is then what was allowed, uncut.
    #[inline]
    fn keep_up(&self, mut written: InForce, mut stamp: Stamp, mut exchange: impl FnMut(Stamp, Stamp) -> Option<Stamp>) {
        // ORDERING: pairs with the fence in `settle`. What was just written is seen there, or the version here.
        fence_after_rmw();
        while self.published.version() != written.version {
            written = self.published.read();
            let view = written.view(0);
            let Some(tat) = stamp.tat() else { return };
            let Some(moved) = exchange(stamp, Stamp::new(view.cut(tat), view.era)) else { return };
            stamp = moved;
        }
    }

    /// As a hit that is allowed, but to be taken back perhaps, and not counted yet. `None`: it is not allowed.
    pub(crate) fn try_charge(&self, key: Key, now: u64, cost: u32) -> Option<Tentative> {
        if self.paused_until(key, now).is_some() {
            return None;
        }
        let [began, ended] = self.resets_of(key);
        let (ended, version) = (ended.load(Ordering::Relaxed), self.published.version());
        // `None` while one is going on.
        let resets = Some(began.load(Ordering::Relaxed)).filter(|&began| began == ended);
        let outcome = self.decide(key, now, |rate, tat| match rate.hit(tat, now, cost) {
            Verdict::Allow { tat, .. } => (Some(tat), Some(Tentative { tat, cost, version, resets })),
            _ => (None, None),
        });
        outcome.unwrap_or(None)
    }

    /// Takes back a charge, but for what has run out of it by itself: that may have made room for others already. False if nothing of it is, as the
    /// rate was changed since, or a key reset: it may have been cut, or forgotten.
    pub(crate) fn take_back(&self, key: Key, now: u64, charge: Tentative) -> bool {
        let outcome = self.decide(key, now, |rate, tat| {
            let untouched = self.published.version() == charge.version
                && charge.resets == Some(self.resets_of(key)[0].load(Ordering::Relaxed));
            let left = charge.tat.saturating_sub(now);
            match rate.charge(charge.cost).filter(|_| untouched).map(|whole| whole.min(left)) {
                None => (None, false),
                Some(0) => (None, true),
                Some(refund) => (tat.checked_sub(refund), true),
            }
        });
        // Of one that is gone there is nothing to take back.
        outcome.unwrap_or(true)
    }

    /// Charges the key for work that is over, even beyond the burst, and says what the next hit
    /// would find. A key without a place, and without one that is free, is not charged: no hit of
    /// it is allowed either.
    pub fn charge_anyway(&self, key: Key, now: u64, cost: u32) -> Hit {
        self.settle_up(key, now, |rate, tat| Some(rate.charge_anyway(tat, now, cost)))
    }

    /// Gives back a part of what the key was charged, but never more than it owes, and says what
    /// the next hit would find.
    pub fn give_back(&self, key: Key, now: u64, cost: u32) -> Hit {
        let [began, ended] = self.resets_of(key);
        // As a reset: what `hit_all` charged meanwhile may be given back here, and must not be
        // taken back there as well.
        began.fetch_add(1, Ordering::Relaxed);
        // What is over is not given back.
        let hit = self.settle_up(key, now, |rate, tat| (tat > now).then(|| rate.give_back(tat, cost).max(now)));
        ended.fetch_add(1, Ordering::Relaxed);
        hit
    }

    fn settle_up(&self, key: Key, now: u64, change: impl Fn(Rate, u64) -> Option<u64>) -> Hit {
        let outcome = self.decide(key, now, |rate, tat| {
            let changed = change(rate, tat);
            let next = match rate.hit(changed.unwrap_or(tat), now, 1) {
                Verdict::Allow { remaining, .. } => Hit::Allow(remaining),
                Verdict::Deny { wait } => Hit::Deny(wait),
                Verdict::Never => Hit::Never,
            };
            (changed, next)
        });
        let hit = match outcome {
            Ok(hit) => hit,
            Err(Obstacle::Full { until, .. }) => Hit::Deny(until.saturating_sub(now).max(1)),
            Err(Obstacle::Gone) => return Hit::Gone,
        };
        match (self.paused_until(key, now), hit) {
            (Some(until), Hit::Allow(_)) => Hit::Deny(until - now),
            (Some(until), Hit::Deny(wait)) => Hit::Deny(wait.max(until - now)),
            _ => hit,
        }
    }

    /// Allows no hit of the key for so many ns from `now`, whatever it owes. False if the limiter
    /// is closed.
    pub fn pause(&self, key: Key, now: u64, ns: u64) -> bool {
        let until = now.saturating_add(ns).min(LATEST);
        self.pauses.pause(key.tag(), now, until, || self.is(key.generation()))
    }

    #[inline]
    pub(crate) fn count(&self, which: usize) {
        self.totals[thread_number() & (self.totals.len() - 1)][which].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets what the key owes. False if the limiter is closed.
    pub fn reset(&self, key: Key) -> bool {
        let [began, ended] = self.resets_of(key);
        // Before: who sees that it was forgotten sees that something was.
        began.fetch_add(1, Ordering::Relaxed);
        let reset = self.forget(key);
        if reset {
            self.pauses.end(key.tag());
        }
        // And after: what was charged in between was perhaps forgotten.
        ended.fetch_add(1, Ordering::Relaxed);
        reset
    }

    fn resets_of(&self, key: Key) -> &[AtomicU64; 2] {
        match key {
            Key::Global(_) => &self.resets[0],
            Key::Tag(_, tag) => &self.resets[tag as usize % RESETS],
        }
    }

    fn forget(&self, key: Key) -> bool {
        match key {
            Key::Global(generation) => loop {
                let (owner, bits) = self.global.load();
                if owner != u64::from(generation) {
                    return false;
                }
                if self.global.compare_exchange((owner, bits), (owner, Stamp::NONE.to_bits())) {
                    return true;
                }
            },
            Key::Tag(generation, tag) => {
                while !self.table.forget(tag) {}
                self.is(generation)
            }
        }
    }

    /// Changes the rate: each key keeps what it owes in time, cut to the new burst.
    ///
    /// A key is cut when it is next looked at, and its era tells whether it was. There are two
    /// eras, so before another change all places must be of the last. That is done in steps, each
    /// of which returns how far it has come. Begin with `None`.
    ///
    /// # Progress
    ///
    /// A change counts from its first step on: it is applied to what the changes before it come
    /// to, under the lock. The first caller that has settled all places brings all changes into
    /// force that were asked for by then, as if one after the other. So a caller starts over at
    /// most once: if others come into force while it settles, then so does its own. A change
    /// whose caller is killed comes into force with the next.
    pub fn update(
        &self,
        generation: Generation,
        change: impl Fn(Limits) -> Option<Limits>,
        now: u64,
        from: Option<Progress>,
    ) -> Changed {
        let mut given = lock(&self.given);
        let Some(wanted) = given.wanted.filter(|_| self.is(generation)) else { return Changed::Gone };
        let asked = match from {
            Some(progress) => progress.asked,
            None => {
                let Some(limits) = change(wanted) else { return Changed::OutOfBounds };
                if limits != wanted {
                    given.wanted = Some(limits);
                    let tolerance = limits.rate.tolerance();
                    given.cut = Some(given.cut.map_or(tolerance, |least| least.min(tolerance)));
                    given.asked += 1;
                }
                given.asked
            }
        };
        if given.done >= asked {
            return Changed::Yes;
        }
        let version = self.published.version();
        if given.settled == version {
            self.bring_into_force(&mut given, now);
            return Changed::Yes;
        }
        drop(given);
        // Changes that came into force in between had this one with them.
        let at = from.filter(|progress| progress.version == version).map_or(0, |progress| progress.at);
        if let Some(at) = self.settle(version, at, now) {
            return Changed::NotYet(Progress { asked, version, at });
        }
        let mut given = lock(&self.given);
        if !self.is(generation) {
            return Changed::Gone;
        }
        if given.done >= asked {
            return Changed::Yes;
        }
        // It comes into force in the next step, by a clock that is read then.
        if self.published.version() == version {
            given.settled = version;
        }
        Changed::NotYet(Progress { asked, version, at: 0 })
    }

    /// Brings all changes into force that were asked for. All places are settled.
    fn bring_into_force(&self, given: &mut Given, now: u64) {
        if let Some(wanted) = given.wanted {
            let cut = given.cut.take().unwrap_or(wanted.rate.tolerance());
            self.published.change(wanted.rate, now, cut);
            given.limits = Some(wanted);
        }
        given.done = given.asked;
    }

    /// Has the places from `at` on, some of them, and the global one, be of the era of that version, as long as it is in force.
    fn settle(&self, version: u64, at: usize, now: u64) -> Option<usize> {
        // ORDERING: pairs with the fence in `keep_up`. That version is in force since before; so whoever does not see it there has
        // written before this what is looked at after it.
        fence(Ordering::SeqCst);
        let in_force = self.published.read();
        let view = in_force.view(now);
        // As in `decide`, asked after a place was looked at. Also if what is left of it after the cut has passed: uncut, it would be
        // ahead again in the next era.
        let restamp = |stamp: Stamp| {
            let tat = view.tat(stamp).filter(|_| stamp.era() != view.era && stamp.tat() > Some(now))?;
            (self.published.version() == version && in_force.version == version).then(|| Stamp::new(tat, view.era))
        };
        if at == 0 {
            loop {
                let (owner, bits) = self.global.load();
                let Some(stamp) = restamp(Stamp::from_bits(bits)) else { break };
                if self.global.compare_exchange((owner, bits), (owner, stamp.to_bits())) {
                    break;
                }
            }
        }
        self.table.each(at, STEP, |mut seen| {
            // A place that is lost to another was charged, or claimed, in the era in force; or by one that was slow, and is
            // looked at again.
            while let Some(stamp) = restamp(seen.stamp) {
                if seen.put(stamp).is_some() {
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

    /// What there is to say; `None` if the generation is over.
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
        // The size of what it remembers, and the clock, are for life.
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
        // Asked under the lock that the change is made under: who takes over after that changes it after that.
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
