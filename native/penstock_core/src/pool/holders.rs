//! Who holds what: an entry for each process that ever held, kept until that process dies.
//!
//! Finding one's own entry takes no lock: a key equal to my pid is proof, for only my own death removes it.
//! Inserting and removing happen under the lock of the pid's shard, once in a holder's life each. Entries lie in
//! segments that never move and are never freed before the pool, so an entry can be read at any time by anybody.
//!
//! Who writes an entry:
//! - `own` — its process alone, by plain stores. That is what keeps an acquire at one locked instruction.
//! - `inbound` — others (a grant, a transfer, a hand-over), under the shard lock; the process folds it into `own`.
//! - `offer` — its process; and whoever settles the offer, by one compare-and-swap.
//! - everything, when the process is dead — whoever removes the entry, under the shard lock.
//!
//! A process that holds nothing keeps its entry, since monitoring it anew would cost far more than the entry does.
//! So that looking at all *holders* does not mean looking at all entries, those that hold are *listed*, in one bit
//! each. The bit is sticky: an acquire sets it if it is not set, a release leaves it, a look that finds nothing
//! held clears it. A process that acquires and releases all day therefore writes nothing shared.

use std::ops::AddAssign;

use once_cell::race::OnceBox;

use super::state::{State, Word};
use crate::host::Pid;
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, fence, lock};

/// Keys that share a cache line, probed together.
const LANES: usize = if cfg!(loom) { 4 } else { 8 };
/// Entries in a segment; one bit each in its `listed`.
const SEGMENT: usize = if cfg!(loom) { 8 } else { 32 };
const BUCKETS: usize = SEGMENT / LANES;
/// Locks; also the number of resources that watch the holders of a pool.
pub(crate) const SHARDS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 32 };

/// Segments of each level. The first is small, since most pools are; the later ones only double, so that
/// little is allocated that nobody uses. The sum is beyond what a VM can have of processes.
const LEVELS: usize = if cfg!(loom) { 2 } else { 17 };
const fn segments(level: usize) -> usize {
    match level {
        0 => 1,
        1..=5 => 8 << (2 * (level - 1)),
        _ => 2048 << (level - 5),
    }
}

/// Returns the bucket of a process in a level. A division by a number that is not known in
/// advance costs more than the rest of a look.
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

/// What a permit is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Got by acquire or transfer: the process may release or transfer it.
    Free = 0,
    /// Held by a piece of work for as long as that runs: only its end gives it back.
    Bound = 1,
}

/// One process' part in one pool: a cache line.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Entry {
    own: [AtomicU64; 2],
    inbound: [AtomicU64; 2],
    offer: AtomicU64,
    acquired: AtomicU64,
    waiter: AtomicU64,
    since: AtomicU32,
    listed: AtomicU32,
}

// Loom's atomics are larger, as they know their history.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Entry>() == 64, "an entry is a cache line");

/// An offer word: a sequence number, how many permits, and whether it is still open.
#[derive(Clone, Copy)]
struct OfferWord(u64);

impl OfferWord {
    const OPEN: u64 = 1;
    /// 27 bits: with a slot's 32 they make a token that is a small integer on the BEAM.
    const SEQ_MASK: u32 = (1 << 27) - 1;

    fn open(seq: u32, n: u32) -> Self {
        Self(u64::from(seq) << 32 | u64::from(n) << 1 | Self::OPEN)
    }
    fn seq(self) -> u32 {
        (self.0 >> 32) as u32
    }
    fn permits(self) -> u64 {
        (self.0 >> 1) & 0x7FFF_FFFF
    }
    fn is_open(self) -> bool {
        self.0 & Self::OPEN != 0
    }
    fn settled(self) -> Self {
        Self(self.0 & !Self::OPEN)
    }
}

/// `acquired` counts admissions of one opening of the pool: the opening's number above, the count below.
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl Entry {
    fn new() -> Self {
        Self {
            own: [AtomicU64::new(0), AtomicU64::new(0)],
            inbound: [AtomicU64::new(0), AtomicU64::new(0)],
            offer: AtomicU64::new(0),
            acquired: AtomicU64::new(0),
            waiter: AtomicU64::new(0),
            since: AtomicU32::new(0),
            listed: AtomicU32::new(0),
        }
    }

    /// What the process got by its own hand of this kind. By the process itself.
    #[inline]
    pub(crate) fn own(&self, kind: Kind) -> u64 {
        self.own[kind as usize].load(Ordering::Relaxed)
    }

    /// By the process itself.
    #[inline]
    pub(crate) fn set_own(&self, kind: Kind, permits: u64) {
        self.own[kind as usize].store(permits, Ordering::Relaxed);
    }

    fn of(&self, kind: Kind) -> u64 {
        // ORDERING: see `held`.
        let inbound = self.inbound[kind as usize].load(Ordering::Acquire);
        // ORDERING: see `held`.
        inbound + self.own[kind as usize].load(Ordering::Acquire)
    }

    /// All that is held, an open offer included.
    ///
    /// Permits move from `inbound` to `own` to `offer`, and are written there before they are taken away here. Read in the
    /// same order they are never missed, at worst seen twice.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        // ORDERING: each Acquire in `of` pairs with the Release that took permits away there: who finds them gone sees
        // where they went.
        let held = self.of(Kind::Free) + self.of(Kind::Bound);
        let offer = OfferWord(self.offer.load(Ordering::Relaxed));
        held + if offer.is_open() { offer.permits() } else { 0 }
    }

    /// Whether all that is held is what the process got by its own hand of this kind.
    #[inline(always)]
    pub(crate) fn holds_only_own(&self, kind: Kind) -> bool {
        let other = self.own[1 - kind as usize].load(Ordering::Relaxed);
        let inbound = self.inbound[0].load(Ordering::Relaxed) | self.inbound[1].load(Ordering::Relaxed);
        let offered = self.offer.load(Ordering::Relaxed) & OfferWord::OPEN;
        other | inbound | offered == 0
    }

    #[inline]
    pub(crate) fn is_listed(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Table::list`: a process that finds itself listed is so for
        // everybody who learns of it through that process.
        self.listed.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_since(&self, now_ms: u32) {
        self.since.store(now_ms, Ordering::Relaxed);
    }

    /// One more admission. By the process itself.
    #[inline]
    pub(crate) fn count_admission(&self, epoch: u32) {
        let seen = self.acquired.load(Ordering::Relaxed);
        let base = u64::from(epoch) << COUNT_BITS;
        // It stays at the most it can be, which takes a process days of nothing else.
        let one = u64::from(seen & COUNT_MASK != COUNT_MASK);
        let next = if seen >> COUNT_BITS == u64::from(epoch) { seen + one } else { base + 1 };
        self.acquired.store(next, Ordering::Relaxed);
    }

    fn admissions(&self, epoch: u32) -> u64 {
        let seen = self.acquired.load(Ordering::Relaxed);
        if seen >> COUNT_BITS == u64::from(epoch) { seen & COUNT_MASK } else { 0 }
    }

    /// Whether a piece of work holds permits here. A guess if it is another process' entry and its lock is not held.
    pub(crate) fn has_bound(&self) -> bool {
        self.of(Kind::Bound) > 0
    }

    /// Names a wait of the process, which may be over; 0 if it has never waited.
    pub(crate) fn waiter(&self) -> u64 {
        self.waiter.load(Ordering::Relaxed)
    }

    /// Remembers where the process waits, for its death. Under the desk lock.
    pub(crate) fn set_waiter(&self, id: u64) {
        self.waiter.store(id, Ordering::Relaxed);
    }

    /// Names another wait, if it named that one. Under the desk lock, though not alone: the entry
    /// of a dead process is wiped without it.
    pub(crate) fn replace_waiter(&self, from: u64, to: u64) {
        let _ = self.waiter.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Puts `n` bound permits of the process on offer; the offer's number. `None` if its last
    /// offer is not settled yet: an entry has room for one. By the process itself.
    pub(crate) fn open_offer(&self, n: u32) -> Option<u32> {
        let last = OfferWord(self.offer.load(Ordering::Relaxed));
        // Others only settle offers: none but the process opens one after this look.
        if last.is_open() {
            return None;
        }
        let seq = last.seq().wrapping_add(1) & OfferWord::SEQ_MASK;
        // The offer first: at no instant may the entry look as if it held nothing.
        self.offer.store(OfferWord::open(seq, n).0, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `of`.
        self.own[Kind::Bound as usize].store(self.own(Kind::Bound) - u64::from(n), Ordering::Release);
        Some(seq)
    }

    /// Takes all that is held out of the entry of a process that does not write it. Under its
    /// lock.
    fn take_all(&self) -> u64 {
        let offer = OfferWord(self.offer.load(Ordering::Relaxed));
        let mut permits = self.of(Kind::Free) + self.of(Kind::Bound);
        permits += self.close_offer(offer.seq()).unwrap_or(0);
        for word in self.own.iter().chain(&self.inbound) {
            word.store(0, Ordering::Relaxed);
        }
        permits
    }

    /// Closes the offer, for whoever is first: the permits offered, which are now the caller's to place.
    pub(crate) fn close_offer(&self, seq: u32) -> Option<u64> {
        let seen = OfferWord(self.offer.load(Ordering::Relaxed));
        if !seen.is_open() || seen.seq() != seq {
            return None;
        }
        // ORDERING: AcqRel makes who loses see what the winner did before; the exchange alone decides who that is.
        self.offer
            .compare_exchange(seen.0, seen.settled().0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| seen.permits())
    }
}

#[repr(align(64))]
#[derive(Debug)]
struct Segment {
    keys: [[AtomicU64; LANES]; BUCKETS],
    entries: [Entry; SEGMENT],
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
        // ORDERING: Acquire pairs with the Release that freed the place or claimed it, so that the entry is read
        // as its last occupant left it: clean.
        (0..LANES).find(|&lane| keys[lane].load(Ordering::Acquire) == pid.word()).map(|lane| bucket * LANES + lane)
    }

    fn key(&self, place: usize) -> &AtomicU64 {
        &self.keys[place / LANES][place % LANES]
    }
}

#[derive(Debug)]
struct Level {
    row: OnceBox<Row>,
    /// Listed entries of the level; never below the number of its bits.
    listed: AtomicU32,
}

/// The segments of a level, and which of their entries are listed: side by side, so that a look passes sixteen segments
/// in one cache line.
#[derive(Debug)]
struct Row {
    segments: Vec<OnceBox<Segment>>,
    bits: Vec<AtomicU32>,
}

impl Row {
    fn new(segments: usize) -> Self {
        Self {
            segments: (0..segments).map(|_| OnceBox::new()).collect(),
            bits: (0..segments).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

/// Words of bits in a cache line.
const BITS_IN_LINE: usize = 16;
/// Cache lines that are looked at under one hold of a shard's lock: some 5 µs.
const LINES_IN_HOLD: usize = 256;

/// Counters of a shard's dead holders.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    admissions: u64,
    released_by_exit: u64,
}

/// A lock of the table, with the totals of the pids that fall to it: a cache line.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Shard {
    retired: Mutex<Retired>,
    pub(crate) rejected: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) killed: AtomicU64,
}

/// What a dead holder left.
#[derive(Debug)]
pub(crate) struct Estate {
    /// What it held.
    pub(crate) permits: u64,
    /// What was not given back of that, and is the caller's.
    pub(crate) kept: u64,
    /// The state word as it was before that.
    pub(crate) was: Word,
}

/// One holder, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Who.
    pub pid: Pid,
    /// How many.
    pub permits: u64,
    /// By the host's coarse clock, when it last began to hold.
    pub since_ms: u32,
}

impl Holding {
    /// How long it has held by now, by the same clock.
    pub fn held_ms(&self, now_ms: u32) -> u32 {
        elapsed_ms(self.since_ms, now_ms)
    }
}

fn elapsed_ms(since_ms: u32, now_ms: u32) -> u32 {
    let elapsed = now_ms.wrapping_sub(since_ms);
    // What began after the look at the clock is not 49 days old.
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

/// The sums of one shard, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Processes that hold something.
    pub holders: u64,
    /// Admissions since the pool was opened.
    pub acquired: u64,
    /// Refusals since then.
    pub rejected: u64,
    /// Waits that ran out since then.
    pub timed_out: u64,
    /// Permits that came back by the death of who held them.
    pub released_by_exit: u64,
    /// Processes found to run longer than they may.
    pub killed: u64,
    /// Holders that have held for longer than the pool's settings say.
    pub held_longer: u64,
    /// Cache lines looked at to say so, of places and of entries.
    pub looked_at: usize,
}

/// Who counts as having held for long.
#[derive(Clone, Copy)]
pub(crate) struct Age {
    /// The host's clock.
    pub(crate) now_ms: u32,
    /// In ms; 0 for nobody.
    pub(crate) longer_than: u32,
}

impl Age {
    fn is_of(self, entry: &Entry) -> bool {
        self.longer_than > 0 && elapsed_ms(entry.since.load(Ordering::Relaxed), self.now_ms) > self.longer_than
    }
}

impl AddAssign for Census {
    fn add_assign(&mut self, other: Self) {
        self.holders += other.holders;
        self.acquired += other.acquired;
        self.rejected += other.rejected;
        self.timed_out += other.timed_out;
        self.released_by_exit += other.released_by_exit;
        self.killed += other.killed;
        self.held_longer += other.held_longer;
        self.looked_at += other.looked_at;
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    first: Segment,
    first_bits: AtomicU32,
    first_listed: AtomicU32,
    deeper: [Level; LEVELS - 1],
    /// How many of the deeper levels are in use. Never falls: what is allocated once serves the next rush.
    used: AtomicU32,
    shards: [Shard; SHARDS],
}

/// A place in the table: the level above, the index below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    const INDEX_BITS: u32 = 27;

    fn new(level: usize, index: usize) -> Self {
        Self((level as u32) << Self::INDEX_BITS | index as u32)
    }
    fn level(self) -> usize {
        (self.0 >> Self::INDEX_BITS) as usize
    }
    fn index(self) -> usize {
        (self.0 & ((1 << Self::INDEX_BITS) - 1)) as usize
    }
    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// How far a walk through all entries has come: the shard above, the level and its how-manieth bucket of the shard below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(u64);

impl Position {
    fn shard(self) -> usize {
        (self.0 >> 32) as usize
    }
    fn slot(self) -> Slot {
        Slot(self.0 as u32)
    }
    fn is_start_of_shard(self) -> bool {
        self.0 as u32 == 0
    }
    /// Where to go on: with the rest of this shard, or the next.
    fn after(self, rest: Option<Slot>) -> Option<Self> {
        match rest {
            Some(slot) => Some(Self((self.shard() as u64) << 32 | u64::from(slot.to_bits()))),
            None => (self.shard() + 1 < SHARDS).then_some(Self((self.shard() as u64 + 1) << 32)),
        }
    }
    /// As a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// From a word that may be anything; 0 is the start.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            first: Segment::new(),
            first_bits: AtomicU32::new(0),
            first_listed: AtomicU32::new(0),
            deeper: std::array::from_fn(|_| Level { row: OnceBox::new(), listed: AtomicU32::new(0) }),
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

    /// Locks out insertion and removal of this pid, and of others.
    pub(crate) fn lock(&self, pid: Pid) -> MutexGuard<'_, Retired> {
        lock(&self.shard(pid).retired)
    }

    /// The entry of a process, by the process itself or under its lock. By others, a guess.
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

    /// Where the entry of a process is; see [`Table::find`].
    pub(crate) fn locate(&self, pid: Pid) -> Option<Slot> {
        match self.first.find(pid.hash() as usize % BUCKETS, pid) {
            Some(place) => Some(Slot::new(0, place)),
            None => self.locate_deeper(pid),
        }
    }

    fn locate_deeper(&self, pid: Pid) -> Option<Slot> {
        // ORDERING: Acquire pairs with the Release in `claim`. A process looking for itself may still miss an entry
        // that another is making for it; whoever must be sure looks again under the lock.
        let used = self.used.load(Ordering::Acquire) as usize;
        // From the largest down: of many holders, it has most.
        (1..=used).rev().find_map(|level| {
            let bucket = bucket_in(level, pid);
            let segment = self.segment(level, bucket / BUCKETS)?;
            let place = segment.find(bucket % BUCKETS, pid)?;
            Some(Slot::new(level, bucket / BUCKETS * SEGMENT + place))
        })
    }

    fn segment(&self, level: usize, index: usize) -> Option<&Segment> {
        if level == 0 {
            return (index == 0).then_some(&self.first);
        }
        self.deeper.get(level - 1)?.row.get()?.segments.get(index)?.get()
    }

    /// Which entries of each segment of a level are listed.
    fn bits(&self, level: usize) -> &[AtomicU32] {
        match level {
            0 => std::slice::from_ref(&self.first_bits),
            _ => self.deeper[level - 1].row.get().map_or(&[], |row| &row.bits),
        }
    }

    fn listed(&self, level: usize) -> &AtomicU32 {
        if level == 0 { &self.first_listed } else { &self.deeper[level - 1].listed }
    }

    /// The entry at a place, if there is such a place.
    pub(crate) fn entry(&self, slot: Slot) -> Option<&Entry> {
        let segment = self.segment(slot.level(), slot.index() / SEGMENT)?;
        segment.entries.get(slot.index() % SEGMENT)
    }

    /// Who has the place now.
    pub(crate) fn occupant(&self, slot: Slot) -> Option<Pid> {
        let segment = self.segment(slot.level(), slot.index() / SEGMENT)?;
        // ORDERING: as in `Segment::find`.
        Pid::new(segment.key(slot.index() % SEGMENT).load(Ordering::Acquire))
    }

    /// An entry for `pid`, made if there is none; true if it was made and so must be watched. Under the pid's lock.
    pub(crate) fn claim(&self, pid: Pid) -> (&Entry, Slot, bool) {
        if let Some(slot) = self.locate(pid) {
            return (self.entry(slot).expect("just located"), slot, false);
        }
        for level in 0..LEVELS {
            let bucket = bucket_in(level, pid);
            let segment = match level {
                0 => &self.first,
                _ => {
                    // ORDERING: Release pairs with the Acquire in `locate_deeper`.
                    self.used.fetch_max(level as u32, Ordering::AcqRel);
                    let row = self.deeper[level - 1].row.get_or_init(|| Box::new(Row::new(segments(level))));
                    row.segments[bucket / BUCKETS].get_or_init(|| Box::new(Segment::new()))
                }
            };
            for (lane, key) in segment.keys[bucket % BUCKETS].iter().enumerate() {
                // ORDERING: Acquire pairs with the Release in `remove`: a place is free only when it is clean.
                // Release publishes the entry as ours; others of our shard are locked out.
                if key.load(Ordering::Relaxed) == 0
                    && key.compare_exchange(0, pid.word(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
                {
                    let place = bucket % BUCKETS * LANES + lane;
                    let slot = Slot::new(level, bucket / BUCKETS * SEGMENT + place);
                    return (&segment.entries[place], slot, true);
                }
            }
        }
        // Each process has 8 places in each of 17 levels, and the last level alone has as many as a VM can have processes. For
        // these to be taken, 136 living processes must share 24 bits of a hash that spreads them over all buckets.
        unreachable!("136 processes share a bucket of the largest level")
    }

    /// Adds permits to the entry of another process. Under that pid's lock.
    pub(crate) fn credit(&self, entry: &Entry, slot: Slot, kind: Kind, n: u64, now_ms: u32) {
        if entry.held() == 0 {
            entry.set_since(now_ms);
        }
        let inbound = &entry.inbound[kind as usize];
        inbound.store(inbound.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        self.list(entry, slot);
    }

    /// Makes what others gave the process its own. Under its lock, by the process itself.
    pub(crate) fn fold(&self, entry: &Entry, kind: Kind) {
        let inbound = entry.inbound[kind as usize].load(Ordering::Relaxed);
        // In this order the entry never looks as if it held less than it does.
        entry.set_own(kind, entry.own(kind) + inbound);
        // ORDERING: Release pairs with the Acquire in `Entry::of`.
        entry.inbound[kind as usize].store(0, Ordering::Release);
    }

    /// Under the pid's lock.
    pub(crate) fn list(&self, entry: &Entry, slot: Slot) {
        if entry.is_listed() {
            return;
        }
        self.listed(slot.level()).fetch_add(1, Ordering::Relaxed);
        let bits = &self.bits(slot.level())[slot.index() / SEGMENT];
        bits.fetch_or(1 << (slot.index() % SEGMENT), Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `Entry::is_listed`.
        entry.listed.store(1, Ordering::Release);
    }

    /// Takes an entry that holds nothing off the list, unless it begins to hold meanwhile.
    pub(crate) fn unlist_idle(&self, pid: Pid, slot: Slot) {
        let _locked = self.lock(pid);
        let Some(entry) = self.entry(slot) else { return };
        if self.occupant(slot) != Some(pid) || !entry.is_listed() {
            return;
        }
        entry.listed.store(0, Ordering::Relaxed);
        // ORDERING: pairs with the fence in `Pool::take_as`: the process announces and then looks at `listed`,
        // we clear `listed` and then look for an announcement; one of us sees the other.
        fence(Ordering::SeqCst);
        if entry.held() > 0 {
            // ORDERING: as in `list`.
            entry.listed.store(1, Ordering::Release);
        } else {
            self.strike(slot);
        }
    }

    fn strike(&self, slot: Slot) {
        let bits = &self.bits(slot.level())[slot.index() / SEGMENT];
        // ORDERING: Release, here and below, pairs with the Acquire in `each_listed`.
        bits.fetch_and(!(1 << (slot.index() % SEGMENT)), Ordering::Release);
        // ORDERING: see above.
        self.listed(slot.level()).fetch_sub(1, Ordering::Release);
    }

    /// Removes a dead process and gives back all it held but `keep`, if it held so much; `None` if that was done before.
    pub(crate) fn remove(&self, state: &State, epoch: u32, pid: Pid, keep: u64) -> Option<Estate> {
        let mut retired = self.lock(pid);
        let slot = self.locate(pid)?;
        let entry = self.entry(slot)?;
        let mut permits = entry.of(Kind::Free) + entry.of(Kind::Bound);
        let offer = OfferWord(entry.offer.load(Ordering::Relaxed));
        // A child may settle the offer at this instant: one exchange decides whose the permits are.
        permits += entry.close_offer(offer.seq()).unwrap_or(0);
        retired.admissions += entry.admissions(epoch);
        retired.released_by_exit += permits;
        // Before the entry disappears: whoever finds the process gone must find its permits free.
        let kept = if permits >= keep { keep } else { 0 };
        let was = if permits > kept { state.give(permits - kept) } else { state.load() };
        for word in entry.own.iter().chain(&entry.inbound).chain([&entry.acquired, &entry.waiter]) {
            word.store(0, Ordering::Relaxed);
        }
        if entry.is_listed() {
            entry.listed.store(0, Ordering::Relaxed);
            self.strike(slot);
        }
        if let Some(segment) = self.segment(slot.level(), slot.index() / SEGMENT) {
            // ORDERING: Release pairs with the Acquire in `claim`: the next occupant finds the entry clean.
            segment.key(slot.index() % SEGMENT).store(0, Ordering::Release);
        }
        Some(Estate { permits, kept, was })
    }

    /// Calls `see` with every listed entry, until it says false; how many cache lines were looked at to find them.
    #[inline]
    pub(crate) fn each_listed(&self, mut see: impl FnMut(Slot, Pid, &Entry) -> bool) -> usize {
        let mut lines = 0;
        let used = self.used.load(Ordering::Relaxed) as usize;
        for level in 0..=used {
            // ORDERING: Acquire, here and below, pairs with the Release in `strike`: who finds a dead holder taken off the
            // list also finds its permits given back.
            if self.listed(level).load(Ordering::Acquire) == 0 {
                continue;
            }
            for (at, bits) in self.bits(level).iter().enumerate() {
                lines += usize::from(at % BITS_IN_LINE == BITS_IN_LINE - 1);
                // ORDERING: see above.
                let mut bits = bits.load(Ordering::Acquire);
                if bits == 0 {
                    continue;
                }
                let Some(segment) = self.segment(level, at) else { continue };
                while bits != 0 {
                    let place = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    // ORDERING: as in `Segment::find`.
                    if let Some(pid) = Pid::new(segment.key(place).load(Ordering::Acquire))
                        && !see(Slot::new(level, at * SEGMENT + place), pid, &segment.entries[place])
                    {
                        return lines;
                    }
                }
            }
        }
        lines
    }

    /// Calls `see` with the entries of a shard from a bucket on, until `most` cache lines were looked at: how many were, and
    /// the bucket to go on with. Under the shard's lock, so that none comes or goes meanwhile.
    fn walk(&self, shard: usize, from: Slot, most: usize, mut see: impl FnMut(Pid, &Entry)) -> (usize, Option<Slot>) {
        let mut looked_at = 0;
        let used = self.used.load(Ordering::Relaxed) as usize;
        for level in from.level()..=used {
            let buckets = segments(level) * BUCKETS;
            // A pid's shard and its bucket are the low bits of one hash: only every so many buckets can hold it.
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
                    // ORDERING: as in `Segment::find`.
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

    /// The sums from a position on, until `most` cache lines were looked at, and where to go on. What is said of entries that
    /// were looked at under one hold of the lock is exact at one instant.
    pub(crate) fn census(&self, from: Position, epoch: u32, most: usize, age: Age) -> (Census, Option<Position>) {
        let mut sums = Census::default();
        let mut next = Some(from);
        while let Some(at) = next.filter(|_| sums.looked_at < most) {
            let Some(shard) = self.shards.get(at.shard()) else { return (sums, None) };
            let retired = lock(&shard.retired);
            if at.is_start_of_shard() {
                sums.acquired += retired.admissions;
                sums.released_by_exit += retired.released_by_exit;
                sums.rejected += shard.rejected.load(Ordering::Relaxed);
                sums.timed_out += shard.timed_out.load(Ordering::Relaxed);
                sums.killed += shard.killed.load(Ordering::Relaxed);
            }
            let (looked_at, rest) =
                self.walk(at.shard(), at.slot(), LINES_IN_HOLD.min(most - sums.looked_at), |_, entry| {
                    let holds = entry.held() > 0;
                    sums.holders += u64::from(holds);
                    sums.held_longer += u64::from(holds && age.is_of(entry));
                    sums.acquired += entry.admissions(epoch);
                });
            sums.looked_at += looked_at;
            next = at.after(rest);
        }
        (sums, next)
    }

    /// How long a process with bound permits has held without a pause, in ms by the clock of `now_ms`.
    pub(crate) fn work_ms(&self, pid: Pid, now_ms: u32) -> Option<u32> {
        let _locked = self.lock(pid);
        let entry = self.find(pid)?;
        entry.has_bound().then(|| elapsed_ms(entry.since.load(Ordering::Relaxed), now_ms))
    }

    /// The holders from a position on of which `wanted` is true, until `most` cache lines were
    /// looked at, and where to go on.
    pub(crate) fn holders(
        &self,
        from: Position,
        most: usize,
        wanted: impl Fn(&Holding) -> bool,
    ) -> (Vec<Holding>, Option<Position>) {
        // All the places that will be needed, now: nothing is allocated inside a lock.
        let mut found = Vec::with_capacity(most + LANES);
        let mut looked_at = 0;
        let mut next = Some(from);
        while let Some(at) = next.filter(|_| looked_at < most) {
            let Some(shard) = self.shards.get(at.shard()) else { return (found, None) };
            let _locked = lock(&shard.retired);
            let (lines, rest) = self.walk(at.shard(), at.slot(), LINES_IN_HOLD.min(most - looked_at), |pid, entry| {
                let permits = entry.held();
                let holding = Holding { pid, permits, since_ms: entry.since.load(Ordering::Relaxed) };
                if permits > 0 && wanted(&holding) {
                    found.push(holding);
                }
            });
            looked_at += lines;
            next = at.after(rest);
        }
        (found, next)
    }

    /// Gives back all that entries hold, from a position on, until `most` entries and lines of
    /// bits were looked at.
    ///
    /// Returns how many were looked at, and the position to go on from. No process may write its
    /// entry meanwhile: each must have lost the pool, and the loss must happen before this call.
    /// Entries stay, as their monitors do.
    pub(crate) fn clear(&self, state: &State, from: Position, most: usize) -> (usize, Option<Position>) {
        let from = from.slot();
        let mut looked_at = 0;
        // ORDERING: Acquire pairs with the Release in `claim`.
        let used = self.used.load(Ordering::Acquire) as usize;
        for level in from.level()..=used {
            let first = if level == from.level() { from.index() / SEGMENT } else { 0 };
            for (at, bits) in self.bits(level).iter().enumerate().skip(first) {
                if looked_at >= most {
                    return (looked_at, Some(Position(u64::from(Slot::new(level, at * SEGMENT).to_bits()))));
                }
                looked_at += usize::from(at % BITS_IN_LINE == 0);
                let mut bits = bits.load(Ordering::Relaxed);
                while bits != 0 {
                    let place = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    looked_at += 1;
                    self.clear_entry(state, Slot::new(level, at * SEGMENT + place));
                }
            }
        }
        (looked_at, None)
    }

    fn clear_entry(&self, state: &State, slot: Slot) {
        let Some(pid) = self.occupant(slot) else { return };
        // The process may die meanwhile: its lock decides whether `remove` gives back what it
        // holds, or we do.
        let _locked = self.lock(pid);
        if self.occupant(slot) != Some(pid) {
            return;
        }
        let Some(entry) = self.entry(slot) else { return };
        let permits = entry.take_all();
        if permits > 0 {
            state.give(permits);
        }
        if entry.is_listed() {
            entry.listed.store(0, Ordering::Relaxed);
            self.strike(slot);
        }
    }

    /// Starts the totals anew. The pool is closed and nothing is held.
    pub(crate) fn reset_totals(&self) {
        for shard in &self.shards {
            *lock(&shard.retired) = Retired::default();
            shard.rejected.store(0, Ordering::Relaxed);
            shard.timed_out.store(0, Ordering::Relaxed);
            shard.killed.store(0, Ordering::Relaxed);
        }
    }
}
