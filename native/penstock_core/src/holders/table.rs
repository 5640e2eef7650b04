//! The table of entries. Its segments never move, and the hash of a pid leads to its entry. The
//! pids are divided into shards by the same hash, and each shard has a lock.

use once_cell::race::OnceBox;

use super::active::BITS_IN_LINE;
use super::cursor::{Cursor, Slot};
use super::entry::{Entry, Kind};
use super::report::{REASONS, Reason};
use crate::host::Pid;
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock};

/// The number of keys in a bucket. The keys of a bucket share a cache line.
pub(super) const LANES: usize = if cfg!(loom) { 4 } else { 8 };
/// The number of entries in a segment, each with one bit in the active set.
pub(super) const SEGMENT: usize = if cfg!(loom) { 8 } else { 32 };
/// The number of buckets in a segment.
pub(super) const BUCKETS: usize = SEGMENT / LANES;
/// The number of shards. A shard has one lock, and the host can watch its holders by one
/// resource.
pub(crate) const SHARDS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 32 };

/// The number of levels, each an array of segments. Each level has one bucket that a pid may be
/// in.
const LEVELS: usize = if cfg!(loom) { 2 } else { 17 };

/// Returns the number of segments of a level. Level 0 is small, because most pools are small.
/// From level 1 to level 5 the number quadruples from level to level. After that it doubles, so
/// that less of a new level stays unused. The last level alone has as many entries as a VM can
/// have processes.
pub(super) const fn segments(level: usize) -> usize {
    match level {
        0 => 1,
        1..=5 => 8 << (2 * (level - 1)),
        _ => 2048 << (level - 5),
    }
}

/// Returns the bucket of a process in a level. The number of buckets of each level is a power of
/// two, so that a mask of the hash replaces a division. A division by a number that is not
/// constant would cost more than the rest of a look-up.
#[inline]
fn bucket_in(level: usize, pid: Pid) -> usize {
    pid.hash() as usize & (segments(level) * BUCKETS - 1)
}

const _: () = {
    let mut level = 0;
    while level < LEVELS {
        assert!((segments(level) * BUCKETS).is_power_of_two(), "`bucket_in` needs a power of two");
        level += 1;
    }
};

/// Some buckets of keys, and an entry for each key. A key is the pid of the entry, as a word; 0
/// marks a free place.
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

    /// Returns the place of a process in a bucket.
    #[inline(always)]
    fn find(&self, bucket: usize, pid: Pid) -> Option<usize> {
        let keys = &self.keys[bucket];
        // ORDERING: Acquire pairs with the Release that inserted the key. The insertion comes
        // after the Release that freed the place. So the caller reads no words of an earlier
        // occupant.
        (0..LANES).find(|&lane| keys[lane].load(Ordering::Acquire) == pid.word()).map(|lane| bucket * LANES + lane)
    }

    pub(super) fn key(&self, place: usize) -> &AtomicU64 {
        &self.keys[place / LANES][place % LANES]
    }
}

/// One of the deeper levels, allocated when it is first needed.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) row: OnceBox<Row>,
    /// The number of active entries of the level; never below the number of bits that are set.
    pub(super) active: AtomicU32,
}

/// The segments of a level, and the active set of their entries. The bits of sixteen segments
/// share a cache line.
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

/// The totals of a shard's dead holders.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    pub(super) admissions: u64,
    pub(super) released_by_exit: u64,
}

/// The lock and the totals of one shard, in a cache line. The mutex of `retired` is the shard
/// lock.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Shard {
    pub(super) retired: Mutex<Retired>,
    /// The refusals, by [`Reason`].
    pub(super) refused: [AtomicU64; REASONS],
    pub(crate) timed_out: AtomicU64,
    pub(crate) killed: AtomicU64,
}

// The atomics and locks of loom and shuttle are larger.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Shard>() == 64, "a shard fills a cache line");

impl Shard {
    /// Counts a refusal.
    pub(crate) fn count_refusal(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The permits that a dead holder left. `R` is the result of `give_back` in [`Table::remove`].
#[derive(Debug)]
pub(crate) struct Reclaimed<R> {
    /// The number of permits that the holder held.
    pub(crate) permits: u64,
    /// The number of those permits that were not given back, because the caller keeps them.
    pub(crate) retained: u64,
    /// The result of the call that gave back the other permits.
    pub(crate) given_back: R,
}

/// The entries of all holders of one pool.
#[derive(Debug)]
pub(crate) struct Table {
    /// Level 0, which is one segment, in the table itself.
    first: Segment,
    /// The active set of level 0.
    pub(super) first_bits: AtomicU32,
    /// The number of active entries of level 0.
    pub(super) first_active: AtomicU32,
    pub(super) deeper: [Level; LEVELS - 1],
    /// The number of deeper levels in use. It never falls, because the pool keeps an allocated
    /// level for the next time that it has many holders.
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
                refused: std::array::from_fn(|_| AtomicU64::new(0)),
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

    /// Locks the shard of a pid: no other call inserts or removes an entry of the shard
    /// meanwhile.
    pub(crate) fn lock(&self, pid: Pid) -> MutexGuard<'_, Retired> {
        lock(&self.shard(pid).retired)
    }

    /// Returns the entry of a process.
    ///
    /// - Under the pid's shard lock, the answer is exact.
    /// - Without the lock, a process can rely on its own entry if the look-up finds it. The
    ///   look-up may miss an entry that another process is inserting for the caller.
    /// - Without the lock, the answer about another process is a guess.
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
        // ORDERING: Acquire pairs with the AcqRel in `get_or_insert`. The caller may still miss
        // an entry that another process is inserting for it. So a caller that must be sure
        // searches again under the shard lock.
        let used = self.used.load(Ordering::Acquire) as usize;
        // The largest level comes first, because it has most of the holders if there are many.
        (1..=used).rev().find_map(|level| {
            let bucket = bucket_in(level, pid);
            let segment = self.segment(level, bucket / BUCKETS)?;
            let place = segment.find(bucket % BUCKETS, pid)?;
            Some(Slot::new(level, bucket / BUCKETS * SEGMENT + place))
        })
    }

    /// Returns a segment, if it is allocated.
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

    /// Returns the process that has this place now.
    pub(crate) fn occupant(&self, slot: Slot) -> Option<Pid> {
        let segment = self.segment(slot.level(), slot.index() / SEGMENT)?;
        // ORDERING: Acquire, as in `Segment::find`.
        Pid::new(segment.key(slot.index() % SEGMENT).load(Ordering::Acquire))
    }

    /// Returns the entry of a process, and inserts it if there is none. Also returns `true` if
    /// this call inserted the entry: then the caller must make the host watch the process. Called
    /// under the pid's shard lock.
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
                // A CAS, because a call that has the lock of another shard may insert in the same
                // bucket.
                // ORDERING: Acquire pairs with the Release in `remove`: the entry of a free place
                // is wiped. Release publishes the key.
                if key.load(Ordering::Relaxed) == 0
                    && key.compare_exchange(0, pid.word(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
                {
                    let place = bucket % BUCKETS * LANES + lane;
                    let slot = Slot::new(level, bucket / BUCKETS * SEGMENT + place);
                    return (&segment.entries[place], slot, true);
                }
            }
        }
        // A process can have any of 8 places in each of 17 levels, 136 in all. The last level
        // alone has a place for each process that a VM can have, and the hash spreads processes
        // over all its buckets. So 136 other processes in these places are not expected.
        unreachable!("136 other processes have all places that this one can have")
    }

    /// Adds `n` inbound permits to the entry of a process. Called under the pid's shard lock.
    pub(crate) fn credit(&self, entry: &Entry, slot: Slot, kind: Kind, n: u64, now_ms: u32) {
        if entry.held() == 0 {
            entry.set_since(now_ms);
        }
        let inbound = &entry.inbound[kind as usize];
        inbound.store(inbound.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        self.activate(entry, slot);
    }

    /// Makes the inbound permits of a process its own. Only the process itself calls this, under
    /// the lock of its shard.
    pub(crate) fn fold(&self, entry: &Entry, kind: Kind) {
        let inbound = entry.inbound[kind as usize].load(Ordering::Relaxed);
        // The own permits are stored first. In the other order the entry would seem, for an
        // instant, to hold fewer permits than it does.
        entry.set_own(kind, entry.own(kind) + inbound);
        // ORDERING: Release pairs with the Acquire in `Entry::held_as`; publishes the own
        // permits.
        entry.inbound[kind as usize].store(0, Ordering::Release);
    }

    /// Removes the entry of a dead process, and gives back its permits. If the process held at
    /// least `keep` permits, the caller keeps `keep` of them, which are not given back. Returns
    /// `None` if another call removed the entry before.
    ///
    /// Calls `give_back` once, under the pid's shard lock, with the number of permits to give
    /// back, which can be 0. If the process held permits, passes the time since when.
    pub(crate) fn remove<R>(
        &self,
        generation: u32,
        pid: Pid,
        keep: u64,
        give_back: impl FnOnce(u64, Option<u32>) -> R,
    ) -> Option<Reclaimed<R>> {
        let mut retired = self.lock(pid);
        let slot = self.locate(pid)?;
        let entry = self.entry(slot)?;
        let permits = entry.close_balance();
        retired.admissions += entry.admissions(generation);
        retired.released_by_exit += permits;
        // The permits are given back before the entry is removed, because a caller that finds no
        // entry must find the permits free.
        let retained = if permits >= keep { keep } else { 0 };
        let given_back = give_back(permits - retained, (permits > 0).then(|| entry.since()));
        entry.wipe();
        if entry.is_active() {
            entry.active.store(0, Ordering::Relaxed);
            self.deactivate(slot);
        }
        if let Some(segment) = self.segment(slot.level(), slot.index() / SEGMENT) {
            // ORDERING: Release pairs with the Acquire in `get_or_insert`; publishes that the
            // entry is wiped.
            segment.key(slot.index() % SEGMENT).store(0, Ordering::Release);
        }
        Some(Reclaimed { permits, retained, given_back })
    }

    /// Gives back all permits from a cursor on, until `most` entries and cache lines of the
    /// active set were read. Returns the number that was read, and the next cursor.
    ///
    /// No process must write its entry meanwhile. So each process must have lost its reference to
    /// the pool, and its last use of the pool must happen-before this call. The entries stay,
    /// because the host still watches their processes.
    pub(crate) fn clear(&self, from: Cursor, most: usize, mut give_back: impl FnMut(u64)) -> (usize, Option<Cursor>) {
        let from = from.slot();
        let mut visited = 0;
        // ORDERING: Acquire pairs with the AcqRel in `get_or_insert`.
        let used = self.used.load(Ordering::Acquire) as usize;
        for level in from.level()..=used {
            let first = if level == from.level() { from.index() / SEGMENT } else { 0 };
            for (at, bits) in self.bits(level).iter().enumerate().skip(first) {
                if visited >= most {
                    return (visited, Some(Cursor::at_slot(Slot::new(level, at * SEGMENT))));
                }
                visited += usize::from(at % BITS_IN_LINE == 0);
                let mut bits = bits.load(Ordering::Relaxed);
                while bits != 0 {
                    let place = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    visited += 1;
                    self.clear_entry(Slot::new(level, at * SEGMENT + place), &mut give_back);
                }
            }
        }
        (visited, None)
    }

    /// Gives back the permits of an entry, and leaves the entry in the table.
    fn clear_entry(&self, slot: Slot, give_back: impl FnOnce(u64)) {
        let Some(pid) = self.occupant(slot) else { return };
        // The process may die meanwhile. The call that locks the shard first, `remove` or this
        // one, gives back the permits.
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

    /// Resets the totals to 0. The pool must be closed, and no permit held in it.
    pub(crate) fn reset_totals(&self) {
        for shard in &self.shards {
            *lock(&shard.retired) = Retired::default();
            shard.refused.iter().for_each(|count| count.store(0, Ordering::Relaxed));
            shard.timed_out.store(0, Ordering::Relaxed);
            shard.killed.store(0, Ordering::Relaxed);
        }
    }
}
