//! The keys of one shard: those for which a permit is held, or a process waits.
//!
//! A key has a *place*, from its first permit or waiter to the end of its last. The places are
//! allocated when the pool is made, and no place moves. A place is found by a bucket: a list of
//! the places whose tags hash to it. There is a bucket for two places. With more buckets,
//! the lists of a full shard would be shorter. But most pools have few keys at once, and a call
//! waits longest for the memory of its bucket, so the buckets must fit into a cache.

use crate::keyed::scale;
use crate::reuse::OutOfMemory;

use super::slab::NIL;

/// The tag of a key: 128 bits of a salted hash. The pool knows a key by its tag alone.
///
/// Two keys of equal tags would share one limit, and no permit would be lost. Among a million
/// keys that are held at once, the probability of two equal tags is below 2^-88.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyTag(pub u64, pub u64);

/// One key.
#[derive(Debug)]
pub(super) struct Place {
    tag: KeyTag,
    /// The next place of the bucket, or the next unused place.
    next: u32,
    /// The permits that are held for the key, those of pending handoffs included.
    pub(super) in_use: u32,
    /// The first lease of the key: each process that holds permits or waits has one.
    pub(super) leases: u32,
    /// The queue of the key's waiters; `NIL` while no process waits.
    pub(super) queue: u32,
    /// The permits that were in use when the limit fell: the most, if it fell several times. It
    /// is 0 if the key was within its limit since. It is up to date for the limit of this
    /// version.
    pub(super) shrunk_from: u32,
    pub(super) limit_version: u32,
    /// How people are shown the key.
    pub(super) shown: Option<Box<[u8]>>,
}

impl Place {
    fn new(tag: KeyTag, next: u32, shown: Option<Box<[u8]>>) -> Self {
        Self { tag, next, in_use: 0, leases: NIL, queue: NIL, shrunk_from: 0, limit_version: 0, shown }
    }
}

/// The number of places for each bucket.
const PLACES_PER_BUCKET: usize = 2;

/// The most bytes of a place and its part of a bucket.
pub(super) const PLACE_MEMORY: usize = size_of::<Place>() + size_of::<u32>();

fn bucket_count(capacity: usize) -> usize {
    // A table of no places has a bucket, in which no key is found.
    capacity.div_ceil(PLACES_PER_BUCKET).max(1)
}

/// Returns the bytes of a table of `capacity` places.
pub(super) fn memory(capacity: usize) -> usize {
    capacity * size_of::<Place>() + bucket_count(capacity) * size_of::<u32>()
}

#[derive(Debug)]
pub(super) struct Keys {
    buckets: Box<[u32]>,
    places: Box<[Place]>,
    vacant: u32,
    used: usize,
}

impl Keys {
    /// Returns a table of as many keys as `capacity`.
    pub(super) fn new(capacity: usize) -> Result<Self, OutOfMemory> {
        let count = bucket_count(capacity);
        let mut buckets = Vec::new();
        buckets.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        buckets.resize(count, NIL);
        let mut places = Vec::new();
        places.try_reserve_exact(capacity).map_err(|_| OutOfMemory)?;
        let next = |at: usize| if at + 1 == capacity { NIL } else { at as u32 + 1 };
        places.extend((0..capacity).map(|at| Place::new(KeyTag(0, 0), next(at), None)));
        let vacant = if capacity == 0 { NIL } else { 0 };
        Ok(Self { buckets: buckets.into_boxed_slice(), places: places.into_boxed_slice(), vacant, used: 0 })
    }

    fn bucket(&self, tag: KeyTag) -> usize {
        scale(tag.1, self.buckets.len())
    }

    /// Returns the place of a key.
    pub(super) fn find(&self, tag: KeyTag) -> Option<u32> {
        let mut at = self.buckets[self.bucket(tag)];
        while at != NIL {
            let place = self.get(at);
            if place.tag == tag {
                return Some(at);
            }
            at = place.next;
        }
        None
    }

    /// Gives a place to a key that has none. Returns `None` if all places are in use.
    pub(super) fn insert(&mut self, tag: KeyTag, shown: Box<[u8]>) -> Option<u32> {
        let at = self.vacant;
        if at == NIL {
            return None;
        }
        let bucket = self.bucket(tag);
        let head = std::mem::replace(&mut self.buckets[bucket], at);
        let place = &mut self.places[at as usize];
        self.vacant = place.next;
        self.used += 1;
        *place = Place::new(tag, head, Some(shown));
        Some(at)
    }

    /// Takes the place from a key that has no permit and no waiter.
    pub(super) fn remove(&mut self, at: u32) {
        let (tag, next) = (self.get(at).tag, self.get(at).next);
        let bucket = self.bucket(tag);
        if self.buckets[bucket] == at {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket];
            while self.get(before).next != at {
                before = self.get(before).next;
            }
            self.places[before as usize].next = next;
        }
        let place = &mut self.places[at as usize];
        place.shown = None;
        place.next = self.vacant;
        self.vacant = at;
        self.used -= 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.vacant == NIL
    }

    pub(super) fn get(&self, at: u32) -> &Place {
        &self.places[at as usize]
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Place {
        &mut self.places[at as usize]
    }

    /// Returns the number of places in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

impl Place {
    pub(super) fn tag(&self) -> KeyTag {
        self.tag
    }
}
