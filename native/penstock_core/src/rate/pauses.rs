//! Paused keys: until its pause ends, no hit of such a key is allowed, even if the key owes
//! nothing.
//!
//! A pause is stored apart from the TAT, and adds nothing to what the key owes. A change of the
//! rate and a refund lower what a key owes, and neither must end a pause.
//!
//! Pauses are rare. They are in shards, by the tags of their keys. While no key of a shard is
//! paused, a hit loads one word of its shard. While a key of the shard is paused, each hit in the
//! shard takes the shard's lock for one look-up.
//!
//! # Races
//!
//! If the return of `pause` happens-before a hit, the hit observes the `latest` of its shard that
//! the pause stored, or a later one: `latest` never falls while the limiter is open. Every other
//! hit may miss the pause, and is then linearized before it.
//!
//! A reset can end the last pause of a shard before `latest`. Until `latest`, hits then take a
//! lock that they do not need.

use std::collections::BTreeMap;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The number of shards, with a lock each.
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 16 };

/// The number of keys that each shard has room for, in a limiter of few keys.
const FEW: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

/// The number of keys that each shard has room for, in the largest limiter. When a shard has no
/// room, the next pause visits all its keys under the lock. So this number bounds the time that
/// the lock is held.
const MANY: usize = 1_024;

#[derive(Debug)]
pub(super) struct Pauses {
    shards: [CachePadded<Shard>; SHARDS],
    /// The number of keys that each shard has room for.
    most: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// The instant at which the last pause of the shard ends, or a later one.
    latest: AtomicU64,
    ends: Mutex<Ends>,
}

/// The instants at which pauses end.
#[derive(Debug, Default)]
struct Ends {
    /// The end of each key's pause by the tag of the key, which is 0 for hits without a key.
    until: BTreeMap<u64, u64>,
    /// The latest end of the pauses that found no room. These hold for all keys of the shard.
    all: u64,
}

impl Pauses {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| CachePadded::default()),
            most: (max_keys / 64 / SHARDS).clamp(FEW, MANY),
        }
    }

    fn shard(&self, tag: u64) -> &Shard {
        &self.shards[tag as usize % self.shards.len()]
    }

    /// Returns when the pause of the key ends, if that is after `now`.
    #[inline]
    pub(super) fn until(&self, tag: u64, now: u64) -> Option<u64> {
        let shard = self.shard(tag);
        // Most hits load no other word of the shard.
        if shard.latest.load(Ordering::Relaxed) <= now { None } else { shard.look_up(tag, now) }
    }

    /// Pauses the key until the instant `until`; a longer pause of the key stays. If there is no
    /// room for the key, all keys of the shard are paused, so that no pause is lost.
    ///
    /// Returns `false`, and pauses nothing, if `is_current` returns `false` under the lock.
    pub(super) fn pause(&self, tag: u64, now: u64, until: u64, is_current: impl FnOnce() -> bool) -> bool {
        let shard = self.shard(tag);
        let mut ends = lock(&shard.ends);
        if !is_current() {
            return false;
        }
        if ends.until.len() >= self.most && !ends.until.contains_key(&tag) {
            ends.until.retain(|_, &mut end| end > now);
        }
        if ends.until.len() >= self.most && !ends.until.contains_key(&tag) {
            ends.all = ends.all.max(until);
        } else {
            let end = ends.until.entry(tag).or_insert(0);
            *end = until.max(*end);
        }
        let latest = shard.latest.load(Ordering::Relaxed);
        shard.latest.store(latest.max(until), Ordering::Relaxed);
        true
    }

    /// Ends the pause of the key. A pause of all keys of its shard stays.
    pub(super) fn end(&self, tag: u64) {
        let shard = self.shard(tag);
        if shard.latest.load(Ordering::Relaxed) == 0 {
            return;
        }
        lock(&shard.ends).until.remove(&tag);
    }

    /// Ends all pauses.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut ends = lock(&shard.ends);
            *ends = Ends::default();
            shard.latest.store(0, Ordering::Relaxed);
        }
    }
}

impl Shard {
    /// Returns when the pause of the key ends, if that is after `now`.
    #[cold]
    fn look_up(&self, tag: u64, now: u64) -> Option<u64> {
        let ends = lock(&self.ends);
        let until = ends.until.get(&tag).copied().unwrap_or(0).max(ends.all);
        (until > now).then_some(until)
    }
}
