//! Bans: a key that fails too often is kept out for a time, longer each time.
//!
//! One call checks whether a key is banned. Another call reports a failure of the key. Only
//! failures count, not checks. [`failures`] counts the failures of each key. [`list`] has the
//! banned keys.

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
    /// The time in ms that a failure counts for.
    pub within_ms: u32,
    /// The duration of the first ban in ms; 0 for bans that never end.
    pub ban_ms: u32,
    /// The factor by which each ban of a key is longer than the last one.
    pub escalate: u32,
    /// The longest duration of a ban that ends, in ms.
    pub max_ban_ms: u32,
    /// The time in ms for which the level of a key is remembered after its last ban ended.
    pub forget_ms: u32,
    /// The number of keys whose failures are counted at a time.
    pub max_keys: u32,
    /// The number of keys that are banned, or whose level is remembered, at a time.
    pub max_bans: u32,
    /// Whether the clock is manual: only [`Ban::advance`] moves it.
    pub manual: bool,
}

impl BanSettings {
    /// Returns the time for which a level is remembered after a ban ended, in ns.
    fn level_memory(self) -> u64 {
        u64::from(self.forget_ms) * NS_PER_MS
    }

    /// Returns the duration of a ban of this level in ns, or [`FOREVER`]. The first ban has level
    /// 1.
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

/// The result of a reported failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The key is not banned; this many more failures would ban it.
    Left(u32),
    /// The key is banned for this many ns, or [`FOREVER`].
    Banned(u64),
}

/// Whether a key is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banned {
    /// The key is not banned.
    No,
    /// The key is banned for this many ns, or [`FOREVER`].
    For(u64),
}

/// Statistics of a ban list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BansInfo {
    /// The settings in force, except `manual`, which is always `false` here: only the clock knows
    /// whether it is a manual clock.
    pub settings: BanSettings,
    /// The size in bytes of the places for failures, and of those for bans.
    pub memory: usize,
    /// The number of bans that were dropped while in force, to make room for others.
    pub dropped: u64,
}

/// A ban list. It is closed until [`Reusable::open`].
#[derive(Debug)]
pub struct Ban {
    failures: Failures,
    list: List,
    clock: Clock,
    /// The settings that can change, a word each. While a new owner changes them, a caller may
    /// load some old and some new words.
    settings: [AtomicU32; CHANGEABLE],
    /// Held while the settings, the clock or the generation change.
    changing: Mutex<()>,
    /// The generation that was opened last, or 0 before the first. It stays after a close.
    generation: AtomicU32,
    max_keys: u32,
    max_bans: u32,
}

/// The number of settings that can change.
const CHANGEABLE: usize = 6;

impl Ban {
    /// The bytes that are reserved for each of `max_keys`.
    pub const KEY_MEMORY: usize = Failures::KEY_MEMORY;
    /// The bytes that are reserved for each of `max_bans`.
    pub const BAN_MEMORY: usize = List::BAN_MEMORY;

    /// Returns the time of the list's clock in ns: of a manual clock, or else of the host's
    /// clock, which `real` reads.
    #[inline]
    pub fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        self.clock.now(real)
    }

    /// Moves a manual clock forward. Returns `false` if the clock is the host's, or the
    /// generation is over.
    pub fn advance(&self, generation: Generation, ms: u64) -> bool {
        // Under this lock no other generation opens.
        let _guard = lock(&self.changing);
        self.is_current(generation) && self.clock.advance(ms)
    }

    /// Returns `true` until a later generation is opened. Once this returns `false`, all that the
    /// caller has loaded from the list may belong to the later generation.
    pub fn is_current(&self, generation: Generation) -> bool {
        // ORDERING: Acquire pairs with the Release in `open`, but no caller relies on this pair.
        // `open` stores the generation first, and then clears the list. A call that bans a key
        // loads the generation inside the lock of the list, under which `open` clears the bans. A
        // check loads the generation after a word of the list, and finds the new generation if
        // `clear` or a later call stored that word.
        self.generation.load(Ordering::Acquire) == generation
    }

    fn settings(&self) -> BanSettings {
        let [failures, within_ms, ban_ms, escalate, max_ban_ms, forget_ms] =
            std::array::from_fn(|at| self.settings[at].load(Ordering::Relaxed));
        // `manual` is always `false` here: only the clock stores it, and no reader of these
        // settings asks for it.
        let (max_keys, max_bans, manual) = (self.max_keys, self.max_bans, false);
        BanSettings { failures, within_ms, ban_ms, escalate, max_ban_ms, forget_ms, max_keys, max_bans, manual }
    }

    /// Changes the settings. The caller holds the lock of `changing`.
    fn set(&self, new: BanSettings) {
        let words = [new.failures, new.within_ms, new.ban_ms, new.escalate, new.max_ban_ms, new.forget_ms];
        for (word, value) in self.settings.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Returns whether the key is banned at `now`, and for how long.
    #[inline]
    pub fn check(&self, tag: u64, now: u64) -> Banned {
        self.list.check(tag, now).map_or(Banned::No, Banned::For)
    }

    /// Counts a failure of the key, and bans the key if it has too many. In that case calls
    /// `key`, which returns the key and the reason that a listing shows.
    ///
    /// A failure of a banned key does not count. Such failures occur, because another caller can
    /// ban the key between a caller's check and its report.
    pub fn record_failure(
        &self,
        generation: Generation,
        tag: u64,
        now: u64,
        key: impl FnOnce() -> (Box<[u8]>, Box<[u8]>),
    ) -> Failure {
        self.record(generation, tag, now, key).0
    }

    /// Counts a failure as [`Ban::record_failure`] does. Also returns the level of the key if it was
    /// this failure that banned the key: of concurrent failures, one at most.
    pub fn record(
        &self,
        generation: Generation,
        tag: u64,
        now: u64,
        key: impl FnOnce() -> (Box<[u8]>, Box<[u8]>),
    ) -> (Failure, Option<u32>) {
        if let Banned::For(left) = self.check(tag, now) {
            return (Failure::Banned(left), None);
        }
        let settings = self.settings();
        let count = self.failures.add(tag, now / NS_PER_MS, settings.within_ms);
        let banned = if count < settings.failures {
            // If another caller has banned the key since the check above, this failure must not
            // count for the next ban.
            match self.check(tag, now) {
                Banned::No => Err(count),
                Banned::For(_) => {
                    self.list.forgive_if_banned(tag, now, &self.failures).map(|left| (left, None)).ok_or(count)
                }
            }
        } else {
            let listed = key();
            // `is_current` stops a stale caller: it must not ban keys of the present generation,
            // nor forgive their failures.
            self.list.ban_for_failures(tag, now, settings, &self.failures, listed, || self.is_current(generation))
        };
        match banned {
            Ok((left, level)) => (Failure::Banned(left), level),
            Err(count) => (Failure::Left(settings.failures - count), None),
        }
    }

    /// Bans the key for `ms`, or without end if `ms` is 0, whether it has failures or not.
    pub fn ban(&self, generation: Generation, tag: u64, now: u64, ms: u32, key: Box<[u8]>, reason: Box<[u8]>) {
        let left = if ms == 0 { FOREVER } else { u64::from(ms) * NS_PER_MS };
        self.list.ban(tag, now, left, self.settings(), (key, reason), || self.is_current(generation));
    }

    /// Removes the ban, the level and the failures of the key.
    pub fn unban(&self, tag: u64) {
        self.list.unban(tag, &self.failures);
    }

    /// Lists the bans in force, in the order of their tags, from the tag `from` on. Visits at
    /// most `most` bans, in force or not. Returns the tag to go on from; `None` after the last
    /// ban.
    pub fn list(&self, from: u64, now: u64, most: usize) -> (Vec<Listed>, Option<u64>) {
        self.list.list(from, now, most)
    }

    /// Counts the bans in force that [`Ban::list`] would list. Returns the tag to go on from;
    /// `None` after the last ban.
    pub fn count(&self, from: u64, now: u64, most: usize) -> (u64, Option<u64>) {
        self.list.count(from, now, most)
    }

    /// Returns the number of bans in the list, in force or over.
    pub fn kept(&self) -> usize {
        self.list.kept()
    }

    /// Returns the number of bans that were put since the list was opened, by failures or by hand.
    pub fn put(&self) -> u64 {
        self.list.put()
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

    fn make(settings: BanSettings) -> Result<Self, OutOfMemory> {
        Ok(Self {
            failures: Failures::new(settings.max_keys as usize)?,
            list: List::new(settings.max_bans as usize)?,
            clock: Clock::real(),
            settings: std::array::from_fn(|_| AtomicU32::new(0)),
            changing: Mutex::default(),
            generation: AtomicU32::new(0),
            max_keys: settings.max_keys,
            max_bans: settings.max_bans,
        })
    }

    fn fits(&self, settings: BanSettings) -> bool {
        (self.max_keys, self.max_bans) == (settings.max_keys, settings.max_bans)
    }

    fn open(&self, settings: BanSettings, now: u64) -> Generation {
        // A load and a store are enough: only `open` writes the generation, and the thread that
        // calls it owns the list exclusively.
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1).max(1);
        {
            // The generation changes under the lock, so that a stale caller changes neither the
            // clock nor the settings of the new generation.
            let _guard = lock(&self.changing);
            // ORDERING: Release pairs with the Acquire in `is_current`.
            self.generation.store(generation, Ordering::Release);
            self.clock.start(settings.manual, now);
            self.set(settings);
        }
        self.failures.clear();
        self.list.clear();
        generation
    }

    fn is_compatible(old: BanSettings, new: BanSettings) -> bool {
        // The sizes and the kind of clock never change.
        (old.max_keys, old.max_bans, old.manual) == (new.max_keys, new.max_bans, new.manual)
    }

    fn resume(
        &self,
        _generation: Generation,
        _old: BanSettings,
        new: BanSettings,
        _clock: fn() -> u64,
        is_owner: &dyn Fn() -> bool,
    ) {
        // An owner that takes over after `is_owner` returned `true` waits for this lock, so its
        // settings replace those of this call.
        let _guard = lock(&self.changing);
        if is_owner() {
            self.set(new);
        }
    }
}
