//! Keys that are paused: until an instant, no hit of them is allowed, even if they owe nothing.
//!
//! A pause is stored apart from the TAT: a change of the rate cuts what a key owes, and must not
//! end its pause. A refund must not either. A pause does not add to what is owed.
//!
//! Pauses are rare. While none is in force in the shard of a key, a hit of it loads one word.
//! While one is, it takes the lock of the shard for one look.
//!
//! # Races
//!
//! A hit that began before `pause` returned may miss it: it is linearized before the pause. A hit
//! that began after it sees `latest`, which was written before: either by the same thread, or by
//! one whose return happens-before the hit. `latest` never falls while the limiter is open; one
//! that is too late costs a look.

use std::collections::BTreeMap;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 16 };

/// The number of keys that may be paused at a time in a shard, of a limiter of few keys.
const FEW: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

/// The number of keys that may be paused at a time in a shard of any limiter. A pause looks at
/// all of them under the lock when there is no room.
const MANY: usize = 1_024;

#[derive(Debug)]
pub(super) struct Pauses {
    shards: [CachePadded<Shard>; SHARDS],
    /// The number of keys that may be paused at a time in each shard.
    most: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// When the last pause of the shard ends.
    latest: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the tag of the key; 0 is that of all hits without a key.
    until: BTreeMap<u64, u64>,
    /// When the pauses end that found no room, and so hold for all keys of the shard.
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
        &self.shards[tag as usize % SHARDS]
    }

    /// Returns when the pause of the key ends, if that is after `now`.
    #[inline]
    pub(super) fn until(&self, tag: u64, now: u64) -> Option<u64> {
        let shard = self.shard(tag);
        // Of the shard's words, this is the only one that most hits read.
        if shard.latest.load(Ordering::Relaxed) <= now { None } else { shard.look(tag, now) }
    }

    /// Pauses the key until then, or longer if it is paused for longer. `still` is asked under
    /// the lock. If there is no room for another key, all keys of the shard are paused: no pause
    /// is lost.
    pub(super) fn pause(&self, tag: u64, now: u64, until: u64, still: impl FnOnce() -> bool) -> bool {
        let shard = self.shard(tag);
        let mut inner = lock(&shard.inner);
        if !still() {
            return false;
        }
        if inner.until.len() >= self.most && !inner.until.contains_key(&tag) {
            inner.until.retain(|_, &mut end| end > now);
        }
        if inner.until.len() >= self.most && !inner.until.contains_key(&tag) {
            inner.all = inner.all.max(until);
        } else {
            let end = inner.until.entry(tag).or_insert(0);
            *end = until.max(*end);
        }
        let latest = shard.latest.load(Ordering::Relaxed);
        shard.latest.store(latest.max(until), Ordering::Relaxed);
        true
    }

    /// Ends the pause of the key.
    pub(super) fn end(&self, tag: u64) {
        let shard = self.shard(tag);
        if shard.latest.load(Ordering::Relaxed) == 0 {
            return;
        }
        lock(&shard.inner).until.remove(&tag);
    }

    /// Forgets all pauses.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut inner = lock(&shard.inner);
            *inner = Inner::default();
            shard.latest.store(0, Ordering::Relaxed);
        }
    }
}

impl Shard {
    #[cold]
    fn look(&self, tag: u64, now: u64) -> Option<u64> {
        let inner = lock(&self.inner);
        let until = inner.until.get(&tag).copied().unwrap_or(0).max(inner.all);
        (until > now).then_some(until)
    }
}
