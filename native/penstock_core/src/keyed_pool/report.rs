//! Statistics of a keyed pool, of its keys, and of their holders. Each call does bounded work.

use std::ops::AddAssign;

use crate::holders::{HolderInfo, elapsed_ms};
use crate::host::Pid;
use crate::meters::Histogram;
use crate::pool::Status;
use crate::sync::{Ordering, lock};

use super::keys::KeyTag;
use super::lease::Wait;
use super::lifecycle::KeyedSettings;
use super::people::People;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool};

/// The state of a keyed pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedInfo {
    /// Whether the pool admits callers.
    pub status: Status,
    /// The settings in force.
    pub settings: KeyedSettings,
    /// The number of keys that have a place.
    pub keys: u64,
    /// The number of permits held, over all keys.
    pub in_use: u64,
    /// The number of waiters, over all keys.
    pub waiting: u32,
    /// The bytes of the places of keys, of the leases and of the waiters.
    pub memory: usize,
    /// The number of admissions since the pool was opened.
    pub acquired: u64,
    /// The number of refusals since the pool was opened.
    pub rejected: u64,
    /// The number of waits that timed out since the pool was opened.
    pub timed_out: u64,
    /// The number of permits that came back by the death of their holder since the pool was
    /// opened.
    pub released_by_exit: u64,
}

/// The refusals of a keyed pool since it was opened, by their reason. They add up to
/// [`KeyedInfo::rejected`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRefusals {
    /// Too few permits of the key were free, or the request exceeded the limit.
    pub key_full: u64,
    /// Every place for a key was in use.
    pub table_full: u64,
    /// As many processes waited as the pool allows, or the caller waited for the key already.
    pub queue_full: u64,
    /// The pool was closed or draining.
    pub closed: u64,
}

impl KeyRefusals {
    fn sum(self) -> u64 {
        self.key_full + self.table_full + self.queue_full + self.closed
    }
}

impl AddAssign for KeyRefusals {
    fn add_assign(&mut self, other: Self) {
        self.key_full += other.key_full;
        self.table_full += other.table_full;
        self.queue_full += other.queue_full;
        self.closed += other.closed;
    }
}

/// The figures of a keyed pool for its metrics, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyedMeters {
    /// For how long processes held permits of a key: each time from the first permit of the key
    /// until none was left.
    pub hold: Histogram,
    /// For how long waiters waited until they got an answer.
    pub wait: Histogram,
    /// The refusals by their reason.
    pub refused: KeyRefusals,
    /// The number of restarts that were admitted beyond the limit.
    pub overdrawn: u64,
    /// The number of processes killed for running too long.
    pub killed: u64,
}

/// The state of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyInfo {
    /// The number of permits held.
    pub in_use: u32,
    /// The limit of each key.
    pub limit: u32,
    /// The number of waiters.
    pub waiting: u32,
}

/// One of the keys that hold most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopKey {
    /// The text that shows the key.
    pub shown: Box<[u8]>,
    /// The first word of the key's tag, which stands for a key without a text.
    pub tag: u64,
    /// The number of permits held.
    pub permits: u32,
    /// The number of waiters.
    pub waiting: u32,
}

/// The largest number of places, or of leases, that one call visits.
const MOST_VISITED: usize = 2_560;

impl<H: KeyedHost> KeyedPool<H> {
    /// Returns the state of the pool. The totals of the shards are read one after the other.
    pub fn info(&self, host: &H) -> KeyedInfo {
        let (status, settings) = {
            let control = lock(&self.control);
            (control.status, control.settings)
        };
        let mut info = KeyedInfo {
            status,
            settings,
            keys: 0,
            in_use: 0,
            waiting: self.waiting.load(Ordering::Relaxed),
            memory: self.reserved() + self.people.memory(),
            acquired: 0,
            rejected: 0,
            timed_out: 0,
            released_by_exit: 0,
        };
        for shard in &self.shards {
            let shard = lock(shard);
            info.keys += shard.keys.used() as u64;
            info.in_use += shard.in_use;
            info.memory += shard.leases.memory() + shard.queues.memory();
            info.acquired += shard.totals.acquired;
            info.rejected += shard.totals.refused.sum();
            info.timed_out += shard.totals.timed_out;
            info.released_by_exit += shard.totals.released_by_exit;
        }
        info.memory += info.waiting as usize * size_of::<Wait<H>>();
        host.worked(2 * self.shards.len());
        info
    }

    /// Returns the figures of the pool for its metrics. The shards are read one after the other.
    pub fn meters(&self, host: &H) -> KeyedMeters {
        let mut meters = KeyedMeters { killed: lock(&self.control).killed, ..KeyedMeters::default() };
        for shard in &self.shards {
            let totals = lock(shard).totals;
            meters.hold += totals.hold;
            meters.wait += totals.wait;
            meters.refused += totals.refused;
            meters.overdrawn += totals.overdrawn;
        }
        host.worked(2 * self.shards.len());
        meters
    }

    /// Returns the number of the group of a process, below [`GROUP_COUNT`](super::GROUP_COUNT).
    pub fn group_of(pid: Pid) -> usize {
        People::group_of(pid)
    }

    /// Returns for how many ms a process has held permits of a key without a pause. Returns `None`
    /// if it holds no bound permit. If it holds bound permits of several keys, one of them counts.
    pub fn work_ms(&self, host: &H, pid: Pid) -> Option<u32> {
        let now = host.exact_ms();
        let id = self.bound_lease(pid)?;
        let shard = lock(&self.shards[id.at().shard()]);
        let lease = shard.lease_by(id, pid)?;
        Some(elapsed_ms(shard.leases.get(lease).since, now))
    }

    /// Returns the state of a key.
    pub fn key_info(&self, tag: KeyTag) -> KeyInfo {
        let shard = self.lock_shard(tag);
        let Some(place) = shard.keys.find(tag) else { return KeyInfo { limit: shard.limit, ..KeyInfo::default() } };
        let of = shard.keys.get(place);
        let waiting = if of.queue == NIL { 0 } else { shard.queues.get(of.queue).len };
        KeyInfo { in_use: of.in_use, limit: shard.limit, waiting }
    }

    /// Returns those keys that hold most among some places, at most `most` of them, and the
    /// cursor of the next places; `None` after the last. The first cursor is 0.
    pub fn top(&self, host: &H, from: usize, most: usize) -> (Vec<TopKey>, Option<usize>) {
        let in_shard = self.places_in_shard();
        let most = most.min(MOST_VISITED);
        let all = self.shards.len() * in_shard;
        if from >= all {
            return (Vec::new(), None);
        }
        let of = &self.shards[from / in_shard];
        let first = from % in_shard;
        let places = first..in_shard.min(first + MOST_VISITED);
        let next = from + places.len();
        host.worked(places.len() / 8);
        let mut keys = Vec::with_capacity(places_most(most));
        {
            let of = lock(of);
            for at in places.start as u32..places.end as u32 {
                let place = of.keys.get(at);
                if place.leases == NIL {
                    continue;
                }
                let waiting = if place.queue == NIL { 0 } else { of.queues.get(place.queue).len };
                keys.push((place.in_use, waiting, at, place.tag()));
                if keys.len() == keys.capacity() {
                    cut(&mut keys, most);
                }
            }
        }
        cut(&mut keys, most);
        let mut found = Vec::with_capacity(keys.len());
        {
            let of = lock(of);
            for (permits, waiting, at, tag) in keys {
                let place = of.keys.get(at);
                // The place may serve another key since the first look.
                if let Some(text) = place.shown.as_ref().filter(|_| place.tag() == tag) {
                    found.push(TopKey { shown: text.clone(), tag: tag.0, permits, waiting });
                }
            }
        }
        (found, (next < all).then_some(next))
    }

    /// Returns holders of a key, from a lease on, and the number of the next lease to visit;
    /// `None` after the last. A call visits at most `most` leases of the shard.
    pub fn holders(&self, host: &H, tag: KeyTag, from: u32, most: u32) -> (Vec<HolderInfo>, Option<u32>) {
        let most = most.min(MOST_VISITED as u32);
        let mut found = Vec::with_capacity(most as usize);
        let shard = self.lock_shard(tag);
        let Some(place) = shard.keys.find(tag) else { return (found, None) };
        let made = shard.leases.made();
        let to = made.min(from.saturating_add(most));
        for at in from..to {
            let lease = shard.leases.get(at);
            if let Some(pid) = lease.pid
                && lease.place == place
                && lease.total() > 0
            {
                found.push(HolderInfo { pid, permits: u64::from(lease.total()), since_ms: lease.since });
            }
        }
        drop(shard);
        host.worked(found.len() + (to.saturating_sub(from)) as usize / 4);
        (found, (to < made).then_some(to))
    }
}

/// Returns the number of keys that are kept before they are cut to the `most` largest.
fn places_most(most: usize) -> usize {
    (2 * most).max(64)
}

/// Keeps the keys that hold most.
fn cut(keys: &mut Vec<(u32, u32, u32, KeyTag)>, most: usize) {
    keys.sort_unstable_by_key(|&(permits, waiting, ..)| std::cmp::Reverse((permits, waiting)));
    keys.truncate(most);
}
