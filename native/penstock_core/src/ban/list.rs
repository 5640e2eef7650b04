//! The banned keys: until when each is banned, why, and how often it was before.
//!
//! All of that is under one lock, which is taken when a ban begins or is ended by a caller. Under
//! it a key's failures become a ban, or are forgiven. Whether a key is banned is asked without
//! the lock, of a table in which the TAT of a key is the end of its ban.

use std::collections::{BTreeMap, BTreeSet};

use crate::keyed::{Context, Found, Parity, Table};
use crate::reuse::OutOfMemory;
use crate::sync::{Mutex, lock};
use crate::time::{END, NS_PER_MS};

use super::failures::Failures;
use super::{BanSettings, FOREVER};

/// The end of a ban that never ends: no clock arrives there, and all other bans end before.
const NEVER: u64 = END - 1;

/// Returns when a ban ends that begins at `now`.
fn end(now: u64, left: u64) -> u64 {
    if left == FOREVER { NEVER } else { now + left }
}

/// Returns how long a ban lasts from `now`, if it is not over.
fn left(until: u64, now: u64) -> Option<u64> {
    if until == NEVER { Some(FOREVER) } else { until.checked_sub(now).filter(|&left| left > 0) }
}

/// The key, and the reason, as they are listed.
pub(super) type Kept = (Box<[u8]>, Box<[u8]>);

/// A ban. One that is over matters only for the level of the next.
#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    reason: Box<[u8]>,
    level: u32,
    until: u64,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<u64, Entry>,
    /// The tags by the ends of their bans.
    ends: BTreeSet<(u64, u64)>,
    dropped: u64,
}

#[derive(Debug)]
pub(super) struct List {
    inner: Mutex<Inner>,
    table: Table,
}

/// A ban as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The tag of the key.
    pub tag: u64,
    /// The key as it was given, or nothing if it was too large.
    pub key: Box<[u8]>,
    /// Time until it ends in ns, or [`FOREVER`].
    pub left: u64,
    /// The reason as it was given.
    pub reason: Box<[u8]>,
    /// How often the key was banned for its failures, in a row.
    pub level: u32,
}

impl Inner {
    /// Returns how long a ban lasts from `now`, in ns, if there is one.
    fn left(&self, tag: u64, now: u64) -> Option<u64> {
        left(self.entries.get(&tag)?.until, now)
    }

    /// Returns how often the key has been banned for its failures, as far as that is remembered:
    /// until `memory` ns after the end of its last ban.
    fn level(&self, tag: u64, now: u64, memory: u64) -> u32 {
        let remembered = |entry: &&Entry| now < entry.until.saturating_add(memory);
        self.entries.get(&tag).filter(remembered).map_or(0, |entry| entry.level)
    }
}

fn context(now: u64) -> Context {
    Context { now, parity: Parity(false), cap: u64::MAX }
}

impl List {
    /// The bytes that the table of the list has for each of `max_bans`, at most.
    pub(super) const BAN_MEMORY: usize = 2 * Table::KEY_MEMORY;

    pub(super) fn new(max_bans: usize) -> Result<Self, OutOfMemory> {
        // Four places for each ban, so that a key without one is rare enough to drop another ban
        // for it.
        Ok(Self { inner: Mutex::default(), table: Table::new(max_bans.saturating_mul(2))? })
    }

    pub(super) fn memory(&self) -> usize {
        self.table.memory()
    }

    /// Removes all bans. The caller must own the list exclusively. A late caller of the previous
    /// generation is rejected under the lock by its generation check.
    pub(super) fn clear(&self) {
        let inner = std::mem::take(&mut *lock(&self.inner));
        // Outside the lock, as it takes time and a late caller would wait.
        drop(inner);
        self.table.clear();
    }

    /// Returns how long a ban lasts from `now`, in ns, if there is one.
    #[inline]
    pub(super) fn check(&self, tag: u64, now: u64) -> Option<u64> {
        match self.table.search(tag, context(now)) {
            Found::Charged(seen) => left(context(now).tat(seen.state)?, now),
            _ => None,
        }
    }

    /// Bans a key that has too many failures, unless it is banned by now; returns for how long,
    /// in ns. If its failures were forgiven meanwhile, returns how many are left.
    pub(super) fn offend(
        &self,
        tag: u64,
        now: u64,
        settings: BanSettings,
        failures: &Failures,
        (key, reason): Kept,
        still: impl FnOnce() -> bool,
    ) -> Result<u64, u32> {
        let mut inner = lock(&self.inner);
        if !still() {
            return Err(0);
        }
        let left = match inner.left(tag, now) {
            Some(left) => left,
            None => {
                let count = failures.count(tag, now / NS_PER_MS, settings.within_ms);
                if count < settings.failures {
                    return Err(count);
                }
                let level = inner.level(tag, now, settings.memory()) + 1;
                let left = settings.duration(level);
                self.put(&mut inner, tag, Entry { key, reason, level, until: end(now, left) }, now, settings);
                left
            }
        };
        // After it is banned: a failure that is counted after this sees the ban, see `excuse`.
        failures.forget(tag);
        Ok(left)
    }

    /// Forgets the failures of a key that is banned; returns for how long it is, in ns.
    pub(super) fn excuse(&self, tag: u64, now: u64, failures: &Failures) -> Option<u64> {
        let inner = lock(&self.inner);
        let left = inner.left(tag, now)?;
        failures.forget(tag);
        Some(left)
    }

    /// Bans a key for `left` ns, with or without failures.
    pub(super) fn ban(
        &self,
        tag: u64,
        now: u64,
        left: u64,
        settings: BanSettings,
        (key, reason): Kept,
        still: impl FnOnce() -> bool,
    ) {
        let mut inner = lock(&self.inner);
        if !still() {
            return;
        }
        let level = inner.level(tag, now, settings.memory());
        self.put(&mut inner, tag, Entry { key, reason, level, until: end(now, left) }, now, settings);
    }

    fn put(&self, inner: &mut Inner, tag: u64, entry: Entry, now: u64, settings: BanSettings) {
        let until = entry.until;
        if let Some(old) = inner.entries.remove(&tag) {
            inner.ends.remove(&(old.until, tag));
        }
        // For each new ban, two that are over and not remembered are dropped: the bans that are
        // kept are recent.
        let memory = settings.memory();
        for _ in 0..2 {
            match inner.ends.first() {
                Some(&(end, first)) if end <= now && inner.level(first, now, memory) == 0 => {
                    self.drop_first(inner, now)
                }
                _ => break,
            }
        }
        while inner.entries.len() >= settings.max_bans as usize {
            self.drop_first(inner, now);
        }
        while !self.table.store(tag, until, context(now)) {
            self.drop_first(inner, now);
        }
        inner.ends.insert((until, tag));
        inner.entries.insert(tag, entry);
    }

    /// Drops the ban that ends first: one that is over, if there is any.
    fn drop_first(&self, inner: &mut Inner, now: u64) {
        if let Some((until, tag)) = inner.ends.pop_first() {
            inner.entries.remove(&tag);
            while !self.table.remove(tag) {}
            inner.dropped += u64::from(until > now);
        }
    }

    /// Removes all that is known of a key.
    pub(super) fn unban(&self, tag: u64, failures: &Failures) {
        let mut inner = lock(&self.inner);
        failures.forget(tag);
        if let Some(old) = inner.entries.remove(&tag) {
            inner.ends.remove(&(old.until, tag));
        }
        while !self.table.remove(tag) {}
    }

    /// Lists the bans in force by their tags, from `from` on, after it has looked at `most` of
    /// them; returns the next tag.
    pub(super) fn list(&self, from: u64, now: u64, most: usize) -> (Vec<Listed>, Option<u64>) {
        let inner = lock(&self.inner);
        let mut looked = inner.entries.range(from..);
        let found = looked
            .by_ref()
            .take(most)
            .filter_map(|(&tag, entry)| {
                let left = left(entry.until, now)?;
                let (key, reason, level) = (entry.key.clone(), entry.reason.clone(), entry.level);
                Some(Listed { tag, key, left, reason, level })
            })
            .collect();
        let next = looked.next().map(|(&tag, _)| tag);
        (found, next)
    }

    /// Counts the bans in force, as [`List::list`] lists them.
    pub(super) fn count(&self, from: u64, now: u64, most: usize) -> (u64, Option<u64>) {
        let inner = lock(&self.inner);
        let mut looked = inner.entries.range(from..);
        let count = looked.by_ref().take(most).filter(|(_, entry)| entry.until > now).count() as u64;
        (count, looked.next().map(|(&tag, _)| tag))
    }

    pub(super) fn kept(&self) -> usize {
        lock(&self.inner).entries.len()
    }

    /// Returns how many bans were in force when they were dropped.
    pub(super) fn dropped(&self) -> u64 {
        lock(&self.inner).dropped
    }
}
