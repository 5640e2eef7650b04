//! Bans: keys that fail too often are kept out for a while, longer each time.
//!
//! A check and a report of a failure are different calls: only failures count. [`failures`]
//! counts them, and [`list`] has the banned keys.

mod failures;
mod list;

use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{AtomicU32, Mutex, Ordering, lock};
use crate::time::{Clock, NS_PER_MS};

use failures::Failures;
use list::List;

pub use list::Listed;

/// The duration of a ban that never ends.
pub const FOREVER: u64 = u64::MAX;

/// The configuration of a ban list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanSettings {
    /// The number of failures that ban a key.
    pub failures: u32,
    /// The time in ms within which they must come.
    pub within_ms: u32,
    /// The duration of the first ban in ms; 0 never ends.
    pub ban_ms: u32,
    /// The factor by which each further ban is longer.
    pub escalate: u32,
    /// The longest duration in ms, of a ban that ends.
    pub max_ban_ms: u32,
    /// The time in ms after the end of the last ban for which a level is remembered.
    pub forget_ms: u32,
    /// The number of keys whose failures are counted at a time.
    pub max_keys: u32,
    /// The number of keys that are banned, or whose level is remembered, at a time.
    pub max_bans: u32,
    /// Whether the clock is set by hand.
    pub manual: bool,
}

impl BanSettings {
    /// Returns how long a level is remembered after the end of a ban, in ns.
    fn memory(self) -> u64 {
        u64::from(self.forget_ms) * NS_PER_MS
    }

    /// Returns the duration of a ban of that level in ns, or [`FOREVER`].
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

/// The result of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This many more failures would ban the key.
    Left(u32),
    /// The key is banned for this many ns, or [`FOREVER`].
    Banned(u64),
}

/// Whether a key is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banned {
    /// It is not banned.
    No,
    /// It is banned for this many ns, or [`FOREVER`].
    For(u64),
}

/// Statistics of a ban list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BansInfo {
    /// The configuration in force.
    pub settings: BanSettings,
    /// The size in bytes of the places for failures, and of those for bans.
    pub memory: usize,
    /// Bans that were dropped because there were too many.
    pub dropped: u64,
}

/// The bans of one name. Made closed.
#[derive(Debug)]
pub struct Ban {
    failures: Failures,
    list: List,
    clock: Clock,
    /// Each word is read alone: while an owner that takes over changes them, a reader may see
    /// some from before.
    given: [AtomicU32; GIVEN],
    setting: Mutex<()>,
    generation: AtomicU32,
    max_keys: u32,
    max_bans: u32,
}

const GIVEN: usize = 6;

impl Ban {
    /// The bytes that are reserved for each of `max_keys`.
    pub const KEY_MEMORY: usize = Failures::KEY_MEMORY;
    /// The bytes that are reserved for each of `max_bans`.
    pub const BAN_MEMORY: usize = List::BAN_MEMORY;

    /// Returns the time of its clock: `real`, unless it is set by hand.
    #[inline]
    pub fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        self.clock.now(real)
    }

    /// Sets the clock forward. Returns `false` if it is not set by hand, or the generation is
    /// over.
    pub fn advance(&self, generation: Generation, ms: u64) -> bool {
        // No other generation opens meanwhile.
        let _guard = lock(&self.setting);
        self.is(generation) && self.clock.advance(ms)
    }

    /// Returns `true` if that generation is open. If not, what the caller has read before may
    /// belong to another one.
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

    /// Returns whether the key is banned at `now`.
    #[inline]
    pub fn check(&self, tag: u64, now: u64) -> Banned {
        self.list.check(tag, now).map_or(Banned::No, Banned::For)
    }

    /// Counts a failure of the key. If it bans the key, `key` returns the key and the reason as
    /// they are listed.
    ///
    /// A failure does not count if its caller was told that the key was not banned, and it is by
    /// now.
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
            // Another caller may have banned it in between: then this failure came too late.
            match self.check(tag, now) {
                Banned::No => Err(count),
                Banned::For(_) => self.list.excuse(tag, now, &self.failures).ok_or(count),
            }
        } else {
            let kept = key();
            // A late caller of the previous generation forgives no failure of this one.
            self.list.offend(tag, now, settings, &self.failures, kept, || self.is(generation))
        };
        match left {
            Ok(left) => Failure::Banned(left),
            Err(count) => Failure::Left(settings.failures - count),
        }
    }

    /// Bans the key for `ms`, or without end if that is 0, with or without failures.
    pub fn ban(&self, generation: Generation, tag: u64, now: u64, ms: u32, key: Box<[u8]>, reason: Box<[u8]>) {
        let left = if ms == 0 { FOREVER } else { u64::from(ms) * NS_PER_MS };
        self.list.ban(tag, now, left, self.settings(), (key, reason), || self.is(generation));
    }

    /// Removes all that is known of the key.
    pub fn unban(&self, tag: u64) {
        self.list.unban(tag, &self.failures);
    }

    /// Lists the bans in force by tags, from `from` on, after it has looked at `most`; returns
    /// the next tag.
    pub fn list(&self, from: u64, now: u64, most: usize) -> (Vec<Listed>, Option<u64>) {
        self.list.list(from, now, most)
    }

    /// Counts the bans in force, as [`Ban::list`] lists them.
    pub fn count(&self, from: u64, now: u64, most: usize) -> (u64, Option<u64>) {
        self.list.count(from, now, most)
    }

    /// Returns how many bans are kept, in force or not.
    pub fn kept(&self) -> usize {
        self.list.kept()
    }

    /// Returns the statistics.
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
        // Only the call that owns it exclusively writes this.
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1).max(1);
        {
            // A late caller neither advances nor sets what belongs to this generation.
            let _guard = lock(&self.setting);
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
        // The sizes, and the kind of clock, never change.
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
        // An owner that takes over after `still` was asked changes the settings after this.
        let _guard = lock(&self.setting);
        if still() {
            self.set(new);
        }
    }
}
