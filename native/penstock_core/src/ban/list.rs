//! The banned keys: the end of each ban, its reason, and the level of its key.
//!
//! One lock guards all bans. A caller takes it to ban a key, to end a ban, to list or count bans,
//! or to forget the failures of a banned key. A check takes no lock. It searches a table of the
//! kind that limiters have, which stores the end of a ban as the TAT of the banned key.

use std::collections::{BTreeMap, BTreeSet};

use crate::keyed::{Context, Found, Parity, Table};
use crate::reuse::OutOfMemory;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::time::{END, NS_PER_MS};

use super::failures::Failures;
use super::{BanSettings, FOREVER};

/// The stored end of a ban that never ends. It is later than each reading of a clock, and than
/// the end of each other ban.
const NEVER: u64 = END - 1;

/// The number of groups of keys, by their tags.
const GROUPS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

/// Returns the end of a ban that lasts for `left` ns from `now`; [`NEVER`] if `left` is
/// [`FOREVER`].
fn end(now: u64, left: u64) -> u64 {
    if left == FOREVER { NEVER } else { now + left }
}

/// Returns the time left of a ban at `now`, in ns or [`FOREVER`]; `None` if the ban is over.
fn left(until: u64, now: u64) -> Option<u64> {
    if until == NEVER { Some(FOREVER) } else { until.checked_sub(now).filter(|&left| left > 0) }
}

/// The key and the reason, as a listing shows them.
pub(super) type KeyAndReason = (Box<[u8]>, Box<[u8]>);

/// A ban. After its end, the entry stays only to tell the level of the key.
#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    reason: Box<[u8]>,
    level: u32,
    /// The end in ns, or [`NEVER`].
    until: u64,
}

#[derive(Debug, Default)]
struct Bans {
    /// The bans, by the tags of their keys.
    entries: BTreeMap<u64, Entry>,
    /// The end and the tag of each ban, the first end first.
    ends: BTreeSet<(u64, u64)>,
    /// The number of bans that were dropped while in force, to make room for others.
    dropped: u64,
    /// The number of bans that were put, by failures or by hand.
    put: u64,
}

#[derive(Debug)]
pub(super) struct List {
    bans: Mutex<Bans>,
    /// The ends of the bans, for checks.
    table: Table,
    /// For each group of keys, the instant at which its last ban ends, or a later one. Most lists
    /// have few bans, so most checks need no look at the table. An unban does not lower the word:
    /// after a ban without end, the checks of its group look at the table until the next opening.
    latest: [AtomicU64; GROUPS],
}

/// One ban in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The tag of the key.
    pub tag: u64,
    /// The key as the caller gave it; empty if it was too large to keep.
    pub key: Box<[u8]>,
    /// The time until the ban ends in ns, or [`FOREVER`].
    pub left: u64,
    /// The reason as the caller gave it.
    pub reason: Box<[u8]>,
    /// The level of the key: the number of its bans for failures since its level was last 0.
    pub level: u32,
}

impl Bans {
    /// Returns the time left of the key's ban, in ns or [`FOREVER`]; `None` if the key is not
    /// banned.
    fn left(&self, tag: u64, now: u64) -> Option<u64> {
        left(self.entries.get(&tag)?.until, now)
    }

    /// Returns the level of the key: the number of its bans for failures. It is 0 again `memory`
    /// ns after the last ban ended.
    fn level(&self, tag: u64, now: u64, memory: u64) -> u32 {
        let remembered = |entry: &&Entry| now < entry.until.saturating_add(memory);
        self.entries.get(&tag).filter(remembered).map_or(0, |entry| entry.level)
    }
}

/// Returns the context by which the table is read at `now`. The parity and the cap serve
/// limiters, whose rate can change. Here the parity never changes, so no end of a ban is cut.
fn context(now: u64) -> Context {
    Context { now, parity: Parity(false), cap: u64::MAX }
}

impl List {
    /// The most bytes that the table of the list takes for each of `max_bans`.
    pub(super) const BAN_MEMORY: usize = 2 * Table::KEY_MEMORY;

    pub(super) fn new(max_bans: usize) -> Result<Self, OutOfMemory> {
        // The table has nearly four places for each ban (two, if `max_bans` is at most four). So
        // a key rarely lacks a free place. If it does, `insert` drops another ban.
        let table = Table::new(max_bans.saturating_mul(2))?;
        Ok(Self { bans: Mutex::default(), table, latest: std::array::from_fn(|_| AtomicU64::new(0)) })
    }

    pub(super) fn memory(&self) -> usize {
        self.table.memory() + size_of_val(&self.latest)
    }

    /// Removes all bans. The calling thread must own the list exclusively; only stale callers of
    /// earlier generations may still access it. These ban no key, because they check their
    /// generation under the lock.
    pub(super) fn clear(&self) {
        let bans = std::mem::take(&mut *lock(&self.bans));
        // The bans are freed outside the lock. To free them takes long, and a stale caller would
        // wait for the lock meanwhile.
        drop(bans);
        self.table.clear();
        // ORDERING: Release pairs with the Acquire in `check`. The owner of the list has stored the
        // next generation before, so a stale caller that loads this 0 finds that generation.
        self.latest.iter().for_each(|latest| latest.store(0, Ordering::Release));
    }

    fn latest(&self, tag: u64) -> &AtomicU64 {
        &self.latest[tag as usize % GROUPS]
    }

    /// Returns the time left of the key's ban, in ns or [`FOREVER`]; `None` if the key is not
    /// banned.
    ///
    /// If the return of a ban happens-before this call, the call observes the `latest` that the
    /// ban stored, or a later one: `latest` never falls while the list is open. Any other ban may
    /// be missed, and is then linearized after this call.
    #[inline]
    pub(super) fn check(&self, tag: u64, now: u64) -> Option<u64> {
        // ORDERING: Acquire pairs with the Release in `clear` and in `insert`: a caller of an earlier
        // generation that is admitted by a word of a later one finds the later generation.
        if self.latest(tag).load(Ordering::Acquire) <= now {
            return None;
        }
        match self.table.search(tag, context(now)) {
            Found::Charged(place) => left(context(now).tat(place.state)?, now),
            _ => None,
        }
    }

    /// Bans a key that has too many failures, unless it is banned already. Forgives its failures,
    /// and returns the time left of its ban, and the level of the key if this call has banned it.
    ///
    /// Bans no key if another caller forgave failures of the key meanwhile, and too few are left.
    /// Then the error is the number of failures left. The error is 0 if `is_current` returns
    /// `false` under the lock.
    pub(super) fn ban_for_failures(
        &self,
        tag: u64,
        now: u64,
        settings: BanSettings,
        failures: &Failures,
        (key, reason): KeyAndReason,
        is_current: impl FnOnce() -> bool,
    ) -> Result<(u64, Option<u32>), u32> {
        let mut bans = lock(&self.bans);
        if !is_current() {
            return Err(0);
        }
        let banned = match bans.left(tag, now) {
            Some(left) => (left, None),
            None => {
                let count = failures.count(tag, now / NS_PER_MS, settings.within_ms);
                if count < settings.failures {
                    return Err(count);
                }
                let level = bans.level(tag, now, settings.level_memory()) + 1;
                let left = settings.duration(level);
                self.insert(&mut bans, tag, Entry { key, reason, level, until: end(now, left) }, now, settings);
                (left, Some(level))
            }
        };
        // Failures are forgotten only after the key is banned. So a caller that counts another
        // failure after this line finds the ban, and calls `forgive_if_banned`.
        failures.forget(tag);
        Ok(banned)
    }

    /// Forgives the failures of a banned key. Returns the time left of its ban; `None` if the key
    /// is not banned.
    pub(super) fn forgive_if_banned(&self, tag: u64, now: u64, failures: &Failures) -> Option<u64> {
        let bans = lock(&self.bans);
        let left = bans.left(tag, now)?;
        failures.forget(tag);
        Some(left)
    }

    /// Bans a key for `left` ns, or [`FOREVER`], whether it has failures or not. The level, which
    /// decides how long its next ban for failures lasts, stays.
    pub(super) fn ban(
        &self,
        tag: u64,
        now: u64,
        left: u64,
        settings: BanSettings,
        (key, reason): KeyAndReason,
        is_current: impl FnOnce() -> bool,
    ) {
        let mut bans = lock(&self.bans);
        if !is_current() {
            return;
        }
        let level = bans.level(tag, now, settings.level_memory());
        self.insert(&mut bans, tag, Entry { key, reason, level, until: end(now, left) }, now, settings);
    }

    /// Adds a ban in place of the key's last one. Drops other bans if there is no room.
    fn insert(&self, bans: &mut Bans, tag: u64, entry: Entry, now: u64, settings: BanSettings) {
        let until = entry.until;
        bans.put += 1;
        if let Some(old) = bans.entries.remove(&tag) {
            bans.ends.remove(&(old.until, tag));
        }
        // Each new ban drops up to two bans that are over and whose level is forgotten, so that
        // such bans do not pile up.
        let memory = settings.level_memory();
        for _ in 0..2 {
            match bans.ends.first() {
                Some(&(end, first)) if end <= now && bans.level(first, now, memory) == 0 => self.drop_first(bans, now),
                _ => break,
            }
        }
        while bans.entries.len() >= settings.max_bans as usize {
            self.drop_first(bans, now);
        }
        // Before the table: a caller that finds the ban there can tell another caller of it.
        let latest = self.latest(tag);
        // ORDERING: Release pairs with the Acquire in `check`, as in `clear`.
        latest.store(latest.load(Ordering::Relaxed).max(until), Ordering::Release);
        while !self.table.store(tag, until, context(now)) {
            self.drop_first(bans, now);
        }
        bans.ends.insert((until, tag));
        bans.entries.insert(tag, entry);
    }

    /// Drops the ban that ends first, which is over if any ban is.
    fn drop_first(&self, bans: &mut Bans, now: u64) {
        if let Some((until, tag)) = bans.ends.pop_first() {
            bans.entries.remove(&tag);
            while !self.table.remove(tag) {}
            bans.dropped += u64::from(until > now);
        }
    }

    /// Removes the ban, the level and the failures of a key.
    pub(super) fn unban(&self, tag: u64, failures: &Failures) {
        let mut bans = lock(&self.bans);
        failures.forget(tag);
        if let Some(old) = bans.entries.remove(&tag) {
            bans.ends.remove(&(old.until, tag));
        }
        while !self.table.remove(tag) {}
    }

    /// Lists the bans in force, in the order of their tags, from the tag `from` on. Visits at
    /// most `most` bans, in force or not. Returns the tag to go on from; `None` after the last
    /// ban.
    pub(super) fn list(&self, from: u64, now: u64, most: usize) -> (Vec<Listed>, Option<u64>) {
        let bans = lock(&self.bans);
        let mut rest = bans.entries.range(from..);
        let found = rest
            .by_ref()
            .take(most)
            .filter_map(|(&tag, entry)| {
                let left = left(entry.until, now)?;
                let (key, reason, level) = (entry.key.clone(), entry.reason.clone(), entry.level);
                Some(Listed { tag, key, left, reason, level })
            })
            .collect();
        let next = rest.next().map(|(&tag, _)| tag);
        (found, next)
    }

    /// Counts the bans in force that [`List::list`] would list. Returns the tag to go on from;
    /// `None` after the last ban.
    pub(super) fn count(&self, from: u64, now: u64, most: usize) -> (u64, Option<u64>) {
        let bans = lock(&self.bans);
        let mut rest = bans.entries.range(from..);
        let count = rest.by_ref().take(most).filter(|(_, entry)| entry.until > now).count() as u64;
        (count, rest.next().map(|(&tag, _)| tag))
    }

    /// Returns the number of bans in the list, in force or over.
    pub(super) fn kept(&self) -> usize {
        lock(&self.bans).entries.len()
    }

    /// Returns the number of bans that were put, by failures or by hand.
    pub(super) fn put(&self) -> u64 {
        lock(&self.bans).put
    }

    /// Returns the number of bans that were dropped while in force.
    pub(super) fn dropped(&self) -> u64 {
        lock(&self.bans).dropped
    }
}
