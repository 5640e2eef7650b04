//! Bans: keys that fail too often are kept out for a while, longer each time.
//!
//! To ask is one thing and to tell of a failure another: so only what failed counts. What counts is in [`failures`], who is banned in [`list`].

mod failures;
mod list;

use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{AtomicU32, Mutex, Ordering, lock};
use crate::time::{Clock, NS_PER_MS};

use failures::Failures;
use list::List;

pub use list::Listed;

/// How long a ban lasts that never ends.
pub const FOREVER: u64 = u64::MAX;

/// What bans are started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanSettings {
    /// So many failures ban.
    pub failures: u32,
    /// If they come within so many ms.
    pub within_ms: u32,
    /// For so many ms the first time; 0 is for ever.
    pub ban_ms: u32,
    /// And each time for so many times as long.
    pub escalate: u32,
    /// But not longer than so many ms, unless it is for ever.
    pub max_ban_ms: u32,
    /// A level is forgotten so many ms after the end of the last ban.
    pub forget_ms: u32,
    /// Keys whose failures are counted at a time.
    pub max_keys: u32,
    /// Keys that are banned, or whose level is remembered, at a time.
    pub max_bans: u32,
    /// Whether the clock is set by hand.
    pub manual: bool,
}

impl BanSettings {
    /// How long a level is remembered after the end of a ban, in ns.
    fn memory(self) -> u64 {
        u64::from(self.forget_ms) * NS_PER_MS
    }

    /// In ns, or [`FOREVER`].
    fn duration(self, level: u32) -> u64 {
        if self.ban_ms == 0 {
            return FOREVER;
        }
        let longest = u64::from(self.max_ban_ms);
        let ms = u64::from(self.escalate)
            .checked_pow(level.saturating_sub(1))
            .and_then(|times| times.checked_mul(u64::from(self.ban_ms)))
            .map_or(longest, |ms| ms.min(longest));
        ms * NS_PER_MS
    }
}

/// What came of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// So many more would ban.
    Left(u32),
    /// It is banned for so many ns, or [`FOREVER`].
    Banned(u64),
}

/// Whether a key is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banned {
    /// It is not.
    No,
    /// For so many ns, or [`FOREVER`].
    For(u64),
}

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BansInfo {
    /// As they are now.
    pub settings: BanSettings,
    /// Bytes of the places for failures, and of those for bans.
    pub memory: usize,
    /// Bans that were dropped because there were too many.
    pub dropped: u64,
}

/// Bans of one name. Made closed.
#[derive(Debug)]
pub struct Ban {
    failures: Failures,
    list: List,
    clock: Clock,
    /// Each is read for itself: while an owner that takes over changes them, some may be of before.
    given: [AtomicU32; GIVEN],
    setting: Mutex<()>,
    generation: AtomicU32,
    max_keys: u32,
    max_bans: u32,
}

const GIVEN: usize = 6;

impl Ban {
    /// What its clock says: `real`, unless it is set by hand.
    #[inline]
    pub fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        self.clock.now(real)
    }

    /// Sets the clock forward. False if it is not set by hand, or of another generation.
    pub fn advance(&self, generation: Generation, ms: u64) -> bool {
        let _no_other_opens_meanwhile = lock(&self.setting);
        self.is(generation) && self.clock.advance(ms)
    }

    /// Whether that is the generation that is open. What is looked at before may be another's if not.
    pub fn is(&self, generation: Generation) -> bool {
        // ORDERING: Acquire pairs with the Release in `open`.
        self.generation.load(Ordering::Acquire) == generation
    }

    fn settings(&self) -> BanSettings {
        let [failures, within_ms, ban_ms, escalate, max_ban_ms, forget_ms] =
            std::array::from_fn(|at| self.given[at].load(Ordering::Relaxed));
        let (max_keys, max_bans, manual) = (self.max_keys, self.max_bans, false);
        BanSettings { failures, within_ms, ban_ms, escalate, max_ban_ms, forget_ms, max_keys, max_bans, manual }
    }

    fn set(&self, given: BanSettings) {
        let words = [given.failures, given.within_ms, given.ban_ms, given.escalate, given.max_ban_ms, given.forget_ms];
        for (word, value) in self.given.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Whether the key is banned at `now`.
    #[inline]
    pub fn check(&self, tag: u64, now: u64) -> Banned {
        self.list.check(tag, now).map_or(Banned::No, Banned::For)
    }

    /// Counts a failure of the key, which `key` gives as it is to be listed, with the reason, if it is to be banned for it.
    ///
    /// One that comes from who was told that the key was not banned, and is by now, does not count.
    pub fn record_failure(
        &self,
        generation: Generation,
        tag: u64,
        now: u64,
        key: impl FnOnce() -> (Box<[u8]>, Box<[u8]>),
    ) -> Failure {
        if let Banned::For(left) = self.check(tag, now) {
            return Failure::Banned(left);
        }
        let settings = self.settings();
        let count = self.failures.add(tag, now / NS_PER_MS, settings.within_ms);
        let left = if count < settings.failures {
            // Others may have banned it in between: then this one came too late.
            match self.check(tag, now) {
                Banned::No => Err(count),
                Banned::For(_) => self.list.excuse(tag, now, &self.failures).ok_or(count),
            }
        } else {
            let kept = key();
            // What is left there, of who is late, is nobody's.
            self.list.offend(tag, now, settings, &self.failures, kept, || self.is(generation))
        };
        match left {
            Ok(left) => Failure::Banned(left),
            Err(count) => Failure::Left(settings.failures - count),
        }
    }

    /// Bans the key for so many ms, or for ever if that is 0, whatever it did.
    pub fn ban(&self, generation: Generation, tag: u64, now: u64, ms: u32, key: Box<[u8]>, reason: Box<[u8]>) {
        let left = if ms == 0 { FOREVER } else { u64::from(ms) * NS_PER_MS };
        self.list.ban(tag, now, left, self.settings(), (key, reason), || self.is(generation));
    }

    /// Forgets all about the key.
    pub fn unban(&self, tag: u64) {
        self.list.unban(tag, &self.failures);
    }

    /// The bans that are in force, by tags from `from` on, after a look at `most`; and where to go on.
    pub fn list(&self, from: u64, now: u64, most: usize) -> (Vec<Listed>, Option<u64>) {
        self.list.list(from, now, most)
    }

    /// How many are in force, counted as [`Ban::list`] lists them.
    pub fn count(&self, from: u64, now: u64, most: usize) -> (u64, Option<u64>) {
        self.list.count(from, now, most)
    }

    /// How many are kept, in force or not.
    pub fn kept(&self) -> usize {
        self.list.kept()
    }

    /// What there is to say.
    pub fn info(&self) -> BansInfo {
        BansInfo {
            settings: self.settings(),
            memory: self.failures.memory() + self.list.memory(),
            dropped: self.list.dropped(),
        }
    }
}

impl Reusable for Ban {
    type Config = BanSettings;

    fn make(given: BanSettings) -> Result<Self, OutOfMemory> {
        Ok(Self {
            failures: Failures::new(given.max_keys as usize)?,
            list: List::new(given.max_bans as usize)?,
            clock: Clock::real(),
            given: std::array::from_fn(|_| AtomicU32::new(0)),
            setting: Mutex::default(),
            generation: AtomicU32::new(0),
            max_keys: given.max_keys,
            max_bans: given.max_bans,
        })
    }

    fn fits(&self, given: BanSettings) -> bool {
        (self.max_keys, self.max_bans) == (given.max_keys, given.max_bans)
    }

    fn open(&self, given: BanSettings, now: u64) -> Generation {
        // Whoever has it alone is the only one who writes this.
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1).max(1);
        {
            let _nobody_advances_or_sets_what_is_another_s = lock(&self.setting);
            // ORDERING: Release pairs with the Acquire in `is`.
            self.generation.store(generation, Ordering::Release);
            self.clock.start(given.manual, now);
            self.set(given);
        }
        self.failures.clear();
        self.list.clear();
        generation
    }

    fn is_compatible(old: BanSettings, new: BanSettings) -> bool {
        // The sizes, and the clock, are for life.
        (old.max_keys, old.max_bans, old.manual) == (new.max_keys, new.max_bans, new.manual)
    }

    fn resume(
        &self,
        _generation: Generation,
        _old: BanSettings,
        new: BanSettings,
        _clock: fn() -> u64,
        still: &dyn Fn() -> bool,
    ) {
        // Who takes over after it was asked sets it after this.
        let _one_after_the_other = lock(&self.setting);
        if still() {
            self.set(new);
        }
    }
}
