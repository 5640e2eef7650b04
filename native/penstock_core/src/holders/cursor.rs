//! Places in the table, and walks through the entries in pieces.

use super::entry::Entry;
use super::table::{BUCKETS, LANES, SHARDS, Table, segments};
use crate::host::Pid;
use crate::sync::Ordering;

/// A place in the table: the level in the high 5 bits, the index in the low 27.
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

/// The point that a walk through all entries has reached.
///
/// `Table::report` and `Table::holders` walk shard by shard. Their cursors have the shard in the
/// high 32 bits and a slot in the low 32. The index of that slot counts only the buckets of the
/// level that can have entries of the shard; see `Table::walk`. `Table::clear` walks level by
/// level, and its cursors have only a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    pub(super) fn shard(self) -> usize {
        (self.0 >> 32) as usize
    }
    pub(super) fn slot(self) -> Slot {
        Slot(self.0 as u32)
    }
    /// Returns `true` if no entry of the shard was visited yet.
    pub(super) fn is_start_of_shard(self) -> bool {
        self.0 as u32 == 0
    }
    pub(super) fn at_slot(slot: Slot) -> Self {
        Self(u64::from(slot.to_bits()))
    }
    /// Returns the cursor of the rest of this shard, or of the next shard if there is no rest;
    /// `None` after the last shard.
    pub(super) fn after(self, rest: Option<Slot>) -> Option<Self> {
        match rest {
            Some(slot) => Some(Self((self.shard() as u64) << 32 | u64::from(slot.to_bits()))),
            None => (self.shard() + 1 < SHARDS).then_some(Self((self.shard() as u64 + 1) << 32)),
        }
    }
    /// Returns the cursor as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the cursor of a word; 0 is the start. A word that no call returned ends the walk,
    /// or continues it at a valid point.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl Table {
    /// Calls `visit` with the entries of a shard, until `most` cache lines were read. Returns the
    /// number of lines, and the slot at which the next call goes on; `None` after the last entry.
    /// The caller holds the shard's lock, so no entry of the shard is inserted or removed
    /// meanwhile.
    ///
    /// The indices of `from` and of the returned slot count only the buckets of the level that
    /// can have entries of the shard.
    pub(super) fn walk(
        &self,
        shard: usize,
        from: Slot,
        most: usize,
        mut visit: impl FnMut(Pid, &Entry),
    ) -> (usize, Option<Slot>) {
        let mut visited = 0;
        // Relaxed: the shard lock orders this load after every insertion of the shard.
        let used = self.used.load(Ordering::Relaxed) as usize;
        for level in from.level()..=used {
            let buckets = segments(level) * BUCKETS;
            // The number of a pid's shard and that of its bucket are low bits of the same hash.
            // So only one of `step` adjacent buckets can have entries of the shard.
            let step = SHARDS.min(buckets);
            let first = if level == from.level() { from.index() } else { 0 };
            for (nth, bucket) in (shard % step..buckets).step_by(step).enumerate().skip(first) {
                if visited >= most {
                    return (visited, Some(Slot::new(level, nth)));
                }
                visited += 1;
                let Some(segment) = self.segment(level, bucket / BUCKETS) else { continue };
                for lane in 0..LANES {
                    let place = bucket % BUCKETS * LANES + lane;
                    // ORDERING: Acquire, as in `Segment::find`.
                    let word = segment.key(place).load(Ordering::Acquire);
                    if let Some(pid) = Pid::new(word).filter(|&pid| Self::shard_of(pid) == shard) {
                        visit(pid, &segment.entries[place]);
                        visited += 1;
                    }
                }
            }
        }
        (visited, None)
    }
}
