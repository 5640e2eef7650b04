//! Places in the table, and walks through them in pieces.

use super::entry::Entry;
use super::table::{BUCKETS, LANES, SHARDS, Table, segments};
use crate::host::Pid;
use crate::sync::Ordering;

/// A place in the table: the level above, the index below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    const INDEX_BITS: u32 = 27;

    pub(super) fn new(level: usize, index: usize) -> Self {
        Self((level as u32) << Self::INDEX_BITS | index as u32)
    }
    pub(super) fn level(self) -> usize {
        (self.0 >> Self::INDEX_BITS) as usize
    }
    pub(super) fn index(self) -> usize {
        (self.0 & ((1 << Self::INDEX_BITS) - 1)) as usize
    }
    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// How far a walk through all entries has come. A walk by shards: the shard above; below it the
/// level, and the ordinal of its bucket among those of the shard. A walk by levels: only a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    pub(super) fn shard(self) -> usize {
        (self.0 >> 32) as usize
    }
    pub(super) fn slot(self) -> Slot {
        Slot(self.0 as u32)
    }
    pub(super) fn is_start_of_shard(self) -> bool {
        self.0 as u32 == 0
    }
    pub(super) fn at_slot(slot: Slot) -> Self {
        Self(u64::from(slot.to_bits()))
    }
    /// Returns the cursor of the rest of this shard, or of the next shard.
    pub(super) fn after(self, rest: Option<Slot>) -> Option<Self> {
        match rest {
            Some(slot) => Some(Self((self.shard() as u64) << 32 | u64::from(slot.to_bits()))),
            None => (self.shard() + 1 < SHARDS).then_some(Self((self.shard() as u64 + 1) << 32)),
        }
    }
    /// Returns it as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the cursor of any word; 0 is the start.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl Table {
    /// Calls `see` with the entries of a shard from a bucket on, until `most` cache lines were
    /// looked at. Returns how many were, and the next bucket. Under the shard's lock, so that no
    /// entry comes or goes meanwhile.
    pub(super) fn walk(
        &self,
        shard: usize,
        from: Slot,
        most: usize,
        mut see: impl FnMut(Pid, &Entry),
    ) -> (usize, Option<Slot>) {
        let mut looked_at = 0;
        // Relaxed: the shard lock orders this load after every insertion of the shard.
        let used = self.used.load(Ordering::Relaxed) as usize;
        for level in from.level()..=used {
            let buckets = segments(level) * BUCKETS;
            // A pid's shard and its bucket are low bits of one hash, so one bucket in `step` can
            // hold it.
            let step = SHARDS.min(buckets);
            let first = if level == from.level() { from.index() } else { 0 };
            for (nth, bucket) in (shard % step..buckets).step_by(step).enumerate().skip(first) {
                if looked_at >= most {
                    return (looked_at, Some(Slot::new(level, nth)));
                }
                looked_at += 1;
                let Some(segment) = self.segment(level, bucket / BUCKETS) else { continue };
                for lane in 0..LANES {
                    let place = bucket % BUCKETS * LANES + lane;
                    // ORDERING: Acquire, as in `Segment::find`.
                    let word = segment.key(place).load(Ordering::Acquire);
                    if let Some(pid) = Pid::new(word).filter(|&pid| Self::shard_of(pid) == shard) {
                        see(pid, &segment.entries[place]);
                        looked_at += 1;
                    }
                }
            }
        }
        (looked_at, None)
    }
}
