//! The table of entries: segments that never move, and locks by pid.

use once_cell::race::OnceBox;

use super::active::BITS_IN_LINE;
use super::cursor::{Cursor, Slot};
use super::entry::{Entry, Kind};
use crate::host::Pid;
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock};

/// The number of keys that share a cache line and are probed together.
pub(super) const LANES: usize = if cfg!(loom) { 4 } else { 8 };
/// The number of entries in a segment, each with one bit in the active set.
pub(super) const SEGMENT: usize = if cfg!(loom) { 8 } else { 32 };
pub(super) const BUCKETS: usize = SEGMENT / LANES;
/// The number of locks, and of resources that watch the holders of a pool.
pub(crate) const SHARDS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 32 };

const LEVELS: usize = if cfg!(loom) { 2 } else { 17 };

/// Returns the number of segments of a level. The first level is small, as most pools are; the
/// next five quadruple, and the later ones only double, so that little is allocated and not used.
/// The sum exceeds the processes that a VM can have.
pub(super) const fn segments(level: usize) -> usize {
    match level {
        0 => 1,
        1..=5 => 8 << (2 * (level - 1)),
        _ => 2048 << (level - 5),
    }
}

/// Returns the bucket of a process in a level. A mask, as a division by a number that is not a
/// constant costs more than the rest of a look-up.
#[inline]
fn bucket_in(level: usize, pid: Pid) -> usize {
    pid.hash() as usize & (segments(level) * BUCKETS - 1)
}

const _: () = {
    let mut level = 0;
    while level < LEVELS {
        assert!((segments(level) * BUCKETS).is_power_of_two(), "`bucket_in` masks");
        level += 1;
    }
};

#[repr(align(64))]
#[derive(Debug)]
pub(super) struct Segment {
    keys: [[AtomicU64; LANES]; BUCKETS],
    pub(super) entries: [Entry; SEGMENT],
}

impl Segment {
    fn new() -> Self {
        Self {
            keys: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            entries: std::array::from_fn(|_| Entry::new()),
        }
    }

    #[inline(always)]
    fn find(&self, bucket: usize, pid: Pid) -> Option<usize> {
        let keys = &self.keys[bucket];
        // ORDERING: Acquire pairs with the Release that freed the place or inserted the key, so
        // the entry is read as its last occupant left it: clean.
        (0..LANES).find(|&lane| keys[lane].load(Ordering::Acquire) == pid.word()).map(|lane| bucket * LANES + lane)
    }

    pub(super) fn key(&self, place: usize) -> &AtomicU64 {
        &self.keys[place / LANES][place % LANES]
    }
}

#[derive(Debug)]
pub(super) struct Level {
    pub(super) row: OnceBox<Row>,
    /// The number of active entries of the level; never below the number of its bits.
    pub(super) active: AtomicU32,
}

/// The segments of a level, and which of their entries are active: a scan passes sixteen segments
/// in one cache line of bits.
#[derive(Debug)]
pub(super) struct Row {
    segments: Vec<OnceBox<Segment>>,
    pub(super) bits: Vec<AtomicU32>,
}

impl Row {
    fn new(segments: usize) -> Self {
        Self {
            segments: (0..segments).map(|_| OnceBox::new()).collect(),
            bits: (0..segments).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

/// Totals of a shard's dead holders.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    pub(super) admissions: u64,
    pub(super) released_by_exit: u64,
}

/// A lock of the table, with totals of the pids that fall to it: a cache line.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Shard {
    pub(super) retired: Mutex<Retired>,
    pub(crate) rejected: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) killed: AtomicU64,
}

/// What a dead holder left; `R` is what giving it back returned.
#[derive(Debug)]
pub(crate) struct Reclaimed<R> {
    /// All permits it held.
    pub(crate) permits: u64,
    /// Those of them that were not given back: they are the caller's.
    pub(crate) retained: u64,
    /// What giving back the others returned.
    pub(crate) given_back: R,
}

#[derive(Debug)]
pub(crate) struct Table {
    first: Segment,
    pub(super) first_bits: AtomicU32,
    pub(super) first_active: AtomicU32,
    pub(super) deeper: [Level; LEVELS - 1],
    /// The number of the deeper levels in use. Never falls: allocated levels serve the next rush.
    pub(super) used: AtomicU32,
    pub(super) shards: [Shard; SHARDS],
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            first: Segment::new(),
            first_bits: AtomicU32::new(0),
            first_active: AtomicU32::new(0),
            deeper: std::array::from_fn(|_| Level { row: OnceBox::new(), active: AtomicU32::new(0) }),
            used: AtomicU32::new(0),
            shards: std::array::from_fn(|_| Shard {
                retired: Mutex::new(Retired::default()),
                rejected: AtomicU64::new(0),
                timed_out: AtomicU64::new(0),
                killed: AtomicU64::new(0),
            }),
        }
    }

    pub(crate) fn shard_of(pid: Pid) -> usize {
        pid.hash() as usize % SHARDS
    }

    pub(crate) fn shard(&self, pid: Pid) -> &Shard {
        &self.shards[Self::shard_of(pid)]
    }

    /// Locks out insertion and removal of this pid, and of the others of its shard.
    pub(crate) fn lock(&self, pid: Pid) -> MutexGuard<'_, Retired> {
        lock(&self.shard(pid).retired)
    }

    /// Returns the entry of a process. Exact under the shard lock of the pid. Without it, an entry
    /// that the process itself finds is its own, while none found may mean that another process
    /// is inserting it. For any other caller the answer is a guess.
    #[inline(always)]
    pub(crate) fn find(&self, pid: Pid) -> Option<&Entry> {
        let bucket = pid.hash() as usize % BUCKETS;
        match self.first.find(bucket, pid) {
            Some(place) => Some(&self.first.entries[place]),
            None => self.find_deeper(pid),
        }
    }

    #[inline(never)]
    fn find_deeper(&self, pid: Pid) -> Option<&Entry> {
        self.locate_deeper(pid).and_then(|slot| self.entry(slot))
    }

    /// Returns the place of the entry of a process; see [`Table::find`].
    pub(crate) fn locate(&self, pid: Pid) -> Option<Slot> {
        match self.first.find(pid.hash() as usize % BUCKETS, pid) {
            Some(place) => Some(Slot::new(0, place)),
            None => self.locate_deeper(pid),
        }
    }

    fn locate_deeper(&self, pid: Pid) -> Option<Slot> {
        // ORDERING: Acquire pairs with the AcqRel in `get_or_insert`. A process that looks for
        // itself may still miss an entry that another is inserting for it. A caller that must be
        // sure looks again under the lock.
        let used = self.used.load(Ordering::Acquire) as usize;
        // From the largest level down: of many holders it has the most.
        (1..=used).rev().find_map(|level| {
            let bucket = bucket_in(level, pid);
            let segment = self.segment(level, bucket / BUCKETS)?;
            let place = segment.find(bucket % BUCKETS, pid)?;
            Some(Slot::new(level, bucket / BUCKETS * SEGMENT + place))
        })
    }

    pub(super) fn segment(&self, level: usize, index: usize) -> Option<&Segment> {
        if level == 0 {
            return (index == 0).then_some(&self.first);
        }
        self.deeper.get(level - 1)?.row.get()?.segments.get(index)?.get()
    }

    /// Returns the entry at a place, if the table has that place.
    pub(crate) fn entry(&self, slot: Slot) -> Option<&Entry> {
        let segment = self.segment(slot.level(), slot.index() / SEGMENT)?;
        segment.entries.get(slot.index() % SEGMENT)
    }

    /// Returns the process that has the place now.
    pub(crate) fn occupant(&self, slot: Slot) -> Option<Pid> {
        let segment = self.segment(slot.level(), slot.index() / SEGMENT)?;
        // ORDERING: Acquire, as in `Segment::find`.
        Pid::new(segment.key(slot.index() % SEGMENT).load(Ordering::Acquire))
    }

    /// Returns the entry of a process, inserted if there is none; `true` if it was inserted, so
    /// that the caller must have the process watched. Under the pid's lock.
    pub(crate) fn get_or_insert(&self, pid: Pid) -> (&Entry, Slot, bool) {
        if let Some(slot) = self.locate(pid) {
            return (self.entry(slot).expect("just located"), slot, false);
        }
        for level in 0..LEVELS {
            let bucket = bucket_in(level, pid);
            let segment = match level {
                0 => &self.first,
                _ => {
                    // ORDERING: the Release pairs with the Acquire in `locate_deeper`; publishes
                    // the level.
                    self.used.fetch_max(level as u32, Ordering::AcqRel);
                    let row = self.deeper[level - 1].row.get_or_init(|| Box::new(Row::new(segments(level))));
                    row.segments[bucket / BUCKETS].get_or_init(|| Box::new(Segment::new()))
                }
            };
            for (lane, key) in segment.keys[bucket % BUCKETS].iter().enumerate() {
                // ORDERING: Acquire pairs with the Release in `remove`: a place is free only when
                // it is clean. Release publishes the key; other inserts of the shard are locked
                // out.
                if key.load(Ordering::Relaxed) == 0
                    && key.compare_exchange(0, pid.word(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
                {
                    let place = bucket % BUCKETS * LANES + lane;
                    let slot = Slot::new(level, bucket / BUCKETS * SEGMENT + place);
                    return (&segment.entries[place], slot, true);
                }
            }
        }
        // Each process has 8 places in each of 17 levels, and the last level alone has as many as
        // a VM can have processes. For all of them to be taken, 136 living processes must share
        // 24 bits of a hash that spreads them over all buckets.
        unreachable!("136 processes share a bucket of the largest level")
    }

    /// Adds permits to the entry of another process. Under that pid's lock.
    pub(crate) fn credit(&self, entry: &Entry, slot: Slot, kind: Kind, n: u64, now_ms: u32) {
        if entry.held() == 0 {
            entry.set_since(now_ms);
        }
        let inbound = &entry.inbound[kind as usize];
        inbound.store(inbound.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        self.activate(entry, slot);
    }

    /// Makes the inbound permits of a process its own. Under its lock, by the process itself.
    pub(crate) fn fold(&self, entry: &Entry, kind: Kind) {
        let inbound = entry.inbound[kind as usize].load(Ordering::Relaxed);
        // In this order the entry never looks as if it held fewer permits than it does.
        entry.set_own(kind, entry.own(kind) + inbound);
        // ORDERING: Release pairs with the Acquire in `Entry::of`.
        entry.inbound[kind as usize].store(0, Ordering::Release);
    }

    /// Removes a dead process and gives back all it held except for `keep` permits, if it held
    /// that many. Returns `None` if that was done before.
    ///
    /// `give_back` is called once, with the number of permits, perhaps 0, under the pid's lock.
    pub(crate) fn remove<R>(
        &self,
        generation: u32,
        pid: Pid,
        keep: u64,
        give_back: impl FnOnce(u64) -> R,
    ) -> Option<Reclaimed<R>> {
        let mut retired = self.lock(pid);
        let slot = self.locate(pid)?;
        let entry = self.entry(slot)?;
        let permits = entry.close_balance();
        retired.admissions += entry.admissions(generation);
        retired.released_by_exit += permits;
        // Before the entry disappears: a caller that finds the process gone must find its permits
        // free.
        let retained = if permits >= keep { keep } else { 0 };
        let given_back = give_back(permits - retained);
        entry.wipe();
        if entry.is_active() {
            entry.active.store(0, Ordering::Relaxed);
            self.deactivate(slot);
        }
        if let Some(segment) = self.segment(slot.level(), slot.index() / SEGMENT) {
            // ORDERING: Release pairs with the Acquire in `get_or_insert`: the next occupant
            // finds the entry clean.
            segment.key(slot.index() % SEGMENT).store(0, Ordering::Release);
        }
        Some(Reclaimed { permits, retained, given_back })
    }

    /// Gives back all that entries hold, from a cursor on, until `most` entries and lines of
    /// bits were looked at.
    ///
    /// Returns how many were looked at, and the next cursor. No process may write its
    /// entry meanwhile: each must have lost the pool, and the loss must happen before this call.
    /// Entries stay, as their monitors do.
    pub(crate) fn clear(&self, from: Cursor, most: usize, mut give_back: impl FnMut(u64)) -> (usize, Option<Cursor>) {
        let from = from.slot();
        let mut looked_at = 0;
        // ORDERING: Acquire pairs with the AcqRel in `get_or_insert`.
        let used = self.used.load(Ordering::Acquire) as usize;
        for level in from.level()..=used {
            let first = if level == from.level() { from.index() / SEGMENT } else { 0 };
            for (at, bits) in self.bits(level).iter().enumerate().skip(first) {
                if looked_at >= most {
                    return (looked_at, Some(Cursor::at_slot(Slot::new(level, at * SEGMENT))));
                }
                looked_at += usize::from(at % BITS_IN_LINE == 0);
                let mut bits = bits.load(Ordering::Relaxed);
                while bits != 0 {
                    let place = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    looked_at += 1;
                    self.clear_entry(Slot::new(level, at * SEGMENT + place), &mut give_back);
                }
            }
        }
        (looked_at, None)
    }

    fn clear_entry(&self, slot: Slot, give_back: impl FnOnce(u64)) {
        let Some(pid) = self.occupant(slot) else { return };
        // The process may die meanwhile: its lock decides whether `remove` gives back what it
        // holds, or this call does.
        let _locked = self.lock(pid);
        if self.occupant(slot) != Some(pid) {
            return;
        }
        let Some(entry) = self.entry(slot) else { return };
        let permits = entry.close_balance();
        entry.clear_balance();
        if permits > 0 {
            give_back(permits);
        }
        if entry.is_active() {
            entry.active.store(0, Ordering::Relaxed);
            self.deactivate(slot);
        }
    }

    /// Resets the totals. The pool is closed and nothing is held.
    pub(crate) fn reset_totals(&self) {
        for shard in &self.shards {
            *lock(&shard.retired) = Retired::default();
            shard.rejected.store(0, Ordering::Relaxed);
            shard.timed_out.store(0, Ordering::Relaxed);
            shard.killed.store(0, Ordering::Relaxed);
        }
    }
}
