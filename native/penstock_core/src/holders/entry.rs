//! The entry of one process in one pool.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The purpose that a permit is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Acquired by the process or transferred to it: it may release or transfer the permit.
    Manual = 0,
    /// Held by a piece of work while that runs: only its end gives the permit back.
    Bound = 1,
}

/// The entry of one process in one pool: a cache line, all of whose bytes are used.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) own: [AtomicU64; 2],
    pub(super) inbound: [AtomicU64; 2],
    handoff: AtomicU64,
    acquired: AtomicU64,
    waiter: AtomicU64,
    pub(super) since: AtomicU32,
    pub(super) active: AtomicU32,
}

// Loom's atomics are larger, as they record their history.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Entry>() == 64, "an entry is a cache line");

/// The handoff of an entry: a sequence number, the permits, and whether it is pending.
#[derive(Clone, Copy)]
struct HandoffWord(u64);

impl HandoffWord {
    const PENDING: u64 = 1;
    /// 27 bits: with the 32 of a slot they make a token that is a small integer on the BEAM.
    const SEQ_MASK: u32 = (1 << 27) - 1;

    fn pending(seq: u32, n: u32) -> Self {
        Self(u64::from(seq) << 32 | u64::from(n) << 1 | Self::PENDING)
    }
    fn seq(self) -> u32 {
        (self.0 >> 32) as u32
    }
    fn permits(self) -> u64 {
        (self.0 >> 1) & 0x7FFF_FFFF
    }
    fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }
    fn completed(self) -> Self {
        Self(self.0 & !Self::PENDING)
    }
}

/// Layout of `acquired`, which counts the admissions of one opening of the pool: the generation
/// of the pool above, the count below.
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            own: [AtomicU64::new(0), AtomicU64::new(0)],
            inbound: [AtomicU64::new(0), AtomicU64::new(0)],
            handoff: AtomicU64::new(0),
            acquired: AtomicU64::new(0),
            waiter: AtomicU64::new(0),
            since: AtomicU32::new(0),
            active: AtomicU32::new(0),
        }
    }

    /// Returns the permits of this kind that the process wrote itself. By the process itself.
    #[inline]
    pub(crate) fn own(&self, kind: Kind) -> u64 {
        self.own[kind as usize].load(Ordering::Relaxed)
    }

    /// Stores the permits of this kind that the process writes itself. By the process itself.
    #[inline]
    pub(crate) fn set_own(&self, kind: Kind, permits: u64) {
        self.own[kind as usize].store(permits, Ordering::Relaxed);
    }

    pub(super) fn of(&self, kind: Kind) -> u64 {
        // ORDERING: Acquire, as argued in `held`.
        let inbound = self.inbound[kind as usize].load(Ordering::Acquire);
        // ORDERING: Acquire, as argued in `held`.
        inbound + self.own[kind as usize].load(Ordering::Acquire)
    }

    /// Returns all permits held, those of a pending handoff included.
    ///
    /// Permits move from `inbound` to `own` to `handoff`, and are stored in the next word before
    /// they are removed from the last. A reader that loads in the same order never misses them;
    /// at worst it counts them twice.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        // ORDERING: each Acquire in `of` pairs with the Release that removed permits there: a
        // reader that finds them gone observes where they went.
        let held = self.of(Kind::Manual) + self.of(Kind::Bound);
        let handoff = HandoffWord(self.handoff.load(Ordering::Relaxed));
        held + if handoff.is_pending() { handoff.permits() } else { 0 }
    }

    /// Returns `true` if all permits held are the process' own ones of this kind.
    #[inline(always)]
    pub(crate) fn holds_only_own(&self, kind: Kind) -> bool {
        let other = self.own[1 - kind as usize].load(Ordering::Relaxed);
        let inbound = self.inbound[0].load(Ordering::Relaxed) | self.inbound[1].load(Ordering::Relaxed);
        let handoff = self.handoff.load(Ordering::Relaxed) & HandoffWord::PENDING;
        other | inbound | handoff == 0
    }

    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Table::activate`: if a process finds
        // itself active, so does every process that learns of it through that process.
        self.active.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_since(&self, now_ms: u32) {
        self.since.store(now_ms, Ordering::Relaxed);
    }

    /// Counts one more admission. By the process itself.
    #[inline]
    pub(crate) fn count_admission(&self, generation: u32) {
        let seen = self.acquired.load(Ordering::Relaxed);
        let base = u64::from(generation) << COUNT_BITS;
        // It saturates, which takes a process days of admissions without a pause.
        let one = u64::from(seen & COUNT_MASK != COUNT_MASK);
        let next = if seen >> COUNT_BITS == u64::from(generation) { seen + one } else { base + 1 };
        self.acquired.store(next, Ordering::Relaxed);
    }

    pub(super) fn admissions(&self, generation: u32) -> u64 {
        let seen = self.acquired.load(Ordering::Relaxed);
        if seen >> COUNT_BITS == u64::from(generation) { seen & COUNT_MASK } else { 0 }
    }

    /// Returns `true` if a piece of work holds permits here. Only a guess if the caller is
    /// another process without the lock.
    pub(crate) fn has_bound(&self) -> bool {
        self.of(Kind::Bound) > 0
    }

    /// Returns the name of a wait of the process, which may be over; 0 if it has never waited.
    pub(crate) fn waiter(&self) -> u64 {
        self.waiter.load(Ordering::Relaxed)
    }

    /// Stores where the process waits, for its death. Under the queue lock.
    pub(crate) fn set_waiter(&self, id: u64) {
        self.waiter.store(id, Ordering::Relaxed);
    }

    /// Names another wait, if the entry names `from`. Under the queue lock; a CAS all the same,
    /// as the entry of a dead process is wiped without that lock.
    pub(crate) fn replace_waiter(&self, from: u64, to: u64) {
        let _ = self.waiter.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Begins a handoff of `n` bound permits of the process; returns its number. Returns `None`
    /// if its last handoff is pending, as an entry has room for one. By the process itself.
    pub(crate) fn begin_handoff(&self, n: u32) -> Option<u32> {
        let last = HandoffWord(self.handoff.load(Ordering::Relaxed));
        // Other processes only complete handoffs, so none becomes pending after this load.
        if last.is_pending() {
            return None;
        }
        let seq = last.seq().wrapping_add(1) & HandoffWord::SEQ_MASK;
        // The handoff first: at no instant may the entry look as if it held nothing.
        self.handoff.store(HandoffWord::pending(seq, n).0, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `of`; publishes the handoff.
        self.own[Kind::Bound as usize].store(self.own(Kind::Bound) - u64::from(n), Ordering::Release);
        Some(seq)
    }

    /// Returns all permits held, and completes a pending handoff. The process must not write its
    /// entry any more. Under its lock.
    pub(super) fn close_balance(&self) -> u64 {
        let permits = self.of(Kind::Manual) + self.of(Kind::Bound);
        let handoff = HandoffWord(self.handoff.load(Ordering::Relaxed));
        // A child may complete the handoff at this instant: one CAS decides which call gets the
        // permits.
        permits + self.complete_handoff(handoff.seq()).unwrap_or(0)
    }

    /// Empties the entry, after [`Entry::close_balance`].
    pub(super) fn clear_balance(&self) {
        for word in self.own.iter().chain(&self.inbound) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Makes the entry clean for the next process, after [`Entry::close_balance`]. The number of
    /// the last handoff stays: an old offer must never match a handoff of the next process.
    pub(super) fn wipe(&self) {
        self.clear_balance();
        self.acquired.store(0, Ordering::Relaxed);
        self.waiter.store(0, Ordering::Relaxed);
    }

    /// Completes the handoff if it is pending; the first call to do so gets its permits, to place
    /// them.
    pub(crate) fn complete_handoff(&self, seq: u32) -> Option<u64> {
        let seen = HandoffWord(self.handoff.load(Ordering::Relaxed));
        if !seen.is_pending() || seen.seq() != seq {
            return None;
        }
        // ORDERING: AcqRel makes a losing call observe what the winner did before; the CAS alone
        // decides which call wins.
        self.handoff
            .compare_exchange(seen.0, seen.completed().0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| seen.permits())
    }
}
