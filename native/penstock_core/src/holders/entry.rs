//! The entry of one process in one pool.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// How a process holds a permit, and how the permit is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The process acquired the permit or got it by a transfer: it can release or transfer it.
    Manual = 0,
    /// The process holds the permit while a piece of work runs: only the end of the work gives
    /// the permit back.
    Bound = 1,
}

/// The entry of one process in one pool. It fills a cache line, so there is no room for another
/// word.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Entry {
    /// The own permits of each kind: the process itself counts them.
    pub(super) own: [AtomicU64; 2],
    /// The inbound permits of each kind: other processes added them, and the process has not yet
    /// moved them to `own`.
    pub(super) inbound: [AtomicU64; 2],
    /// A [`HandoffWord`].
    handoff: AtomicU64,
    /// The number of admissions of the process, and the pool's generation in which the process
    /// got them; see [`COUNT_BITS`].
    acquired: AtomicU64,
    /// The id of one wait of the process; 0 if the process has never waited. The wait may be
    /// over.
    waiter: AtomicU64,
    /// When the process last began to hold permits, in ms of the host's clock: of the exact one
    /// after a handoff, otherwise of the coarse one.
    pub(super) since: AtomicU32,
    /// 1 if the entry is in the active set.
    pub(super) active: AtomicU32,
}

// The atomics of loom and shuttle are larger, because they record their history.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Entry>() == 64, "an entry fills a cache line");

/// The last handoff that the process of an entry began. The number of the handoff is in the high
/// 32 bits, and the number of its permits is in bits 1 to 31. Bit 0 is set while the handoff is
/// pending.
#[derive(Clone, Copy)]
struct HandoffWord(u64);

impl HandoffWord {
    const PENDING: u64 = 1;
    /// The mask of a handoff's number, which has 27 bits. With the 32 bits of a slot, the number
    /// makes an offer of 59 bits, which is a small integer on the BEAM.
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

/// The number of bits of the count in `acquired`. The 24 bits above are the generation that the
/// count belongs to: the low bits of the number of the pool's opening.
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

    /// Returns the number of own permits of this kind. Only the process itself calls this.
    #[inline]
    pub(crate) fn own(&self, kind: Kind) -> u64 {
        self.own[kind as usize].load(Ordering::Relaxed)
    }

    /// Stores the number of own permits of this kind. Only the process itself calls this.
    #[inline]
    pub(crate) fn set_own(&self, kind: Kind, permits: u64) {
        self.own[kind as usize].store(permits, Ordering::Relaxed);
    }

    /// Returns the permits of this kind, without those of a pending handoff.
    pub(super) fn held_as(&self, kind: Kind) -> u64 {
        // ORDERING: Acquire, as argued in `held`.
        let inbound = self.inbound[kind as usize].load(Ordering::Acquire);
        // ORDERING: Acquire, as argued in `held`.
        inbound + self.own[kind as usize].load(Ordering::Acquire)
    }

    /// Returns all permits held, those of a pending handoff included.
    ///
    /// Permits move from `inbound` to `own`, and from `own` to `handoff`. The process that moves
    /// permits stores them in the new word before it removes them from the old one. So a reader
    /// that loads `inbound`, `own` and `handoff` in this order misses no permits. At worst it
    /// counts some permits twice.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        // ORDERING: each Acquire in `held_as` pairs with the Release that moved permits out of
        // that word. A reader that no longer finds the permits there observes them in the next
        // word.
        let held = self.held_as(Kind::Manual) + self.held_as(Kind::Bound);
        let handoff = HandoffWord(self.handoff.load(Ordering::Relaxed));
        held + if handoff.is_pending() { handoff.permits() } else { 0 }
    }

    /// Returns `true` if the process holds only own permits of this kind: none of the other kind,
    /// no inbound ones, and none in a pending handoff.
    #[inline(always)]
    pub(crate) fn holds_only_own(&self, kind: Kind) -> bool {
        let other = self.own[1 - kind as usize].load(Ordering::Relaxed);
        let inbound = self.inbound[0].load(Ordering::Relaxed) | self.inbound[1].load(Ordering::Relaxed);
        let handoff = self.handoff.load(Ordering::Relaxed) & HandoffWord::PENDING;
        other | inbound | handoff == 0
    }

    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Table::activate`, which sets the bit of
        // the entry first. Once a process has found its entry active, each thread that then
        // synchronizes with the process observes the bit.
        self.active.load(Ordering::Acquire) != 0
    }

    /// Returns the time when the process began to hold permits.
    #[inline]
    pub(crate) fn since(&self) -> u32 {
        self.since.load(Ordering::Relaxed)
    }

    /// Stores the time when the process began to hold permits.
    pub(crate) fn set_since(&self, now_ms: u32) {
        self.since.store(now_ms, Ordering::Relaxed);
    }

    /// Counts one more admission in this generation, the low 24 bits of the number of the pool's
    /// opening. Only the process itself calls this.
    #[inline]
    pub(crate) fn count_admission(&self, generation: u32) {
        let last = self.acquired.load(Ordering::Relaxed);
        let base = u64::from(generation) << COUNT_BITS;
        // The count stops at 2^40 - 1. To get there takes 15 hours with an admission every 50 ns.
        let one = u64::from(last & COUNT_MASK != COUNT_MASK);
        let next = if last >> COUNT_BITS == u64::from(generation) { last + one } else { base + 1 };
        self.acquired.store(next, Ordering::Relaxed);
    }

    /// Returns the number of admissions in this generation of the pool.
    pub(super) fn admissions(&self, generation: u32) -> u64 {
        let word = self.acquired.load(Ordering::Relaxed);
        if word >> COUNT_BITS == u64::from(generation) { word & COUNT_MASK } else { 0 }
    }

    /// Returns `true` if the process holds bound permits. The answer is a guess if the caller is
    /// another process and does not hold the shard lock.
    pub(crate) fn has_bound(&self) -> bool {
        self.held_as(Kind::Bound) > 0
    }

    /// Returns the id of one wait of the process; 0 if the process has never waited. The wait may
    /// be over.
    pub(crate) fn waiter(&self) -> u64 {
        self.waiter.load(Ordering::Relaxed)
    }

    /// Stores the id of a wait of the process. By this id, the reap of the dead process finds the
    /// wait. Called under the queue lock.
    pub(crate) fn set_waiter(&self, id: u64) {
        self.waiter.store(id, Ordering::Relaxed);
    }

    /// Replaces the id `from` of a wait by the id `to` of another, if `from` is stored. Called
    /// under the queue lock. The store is a CAS, because a reap wipes the entry of a dead process
    /// without that lock.
    pub(crate) fn replace_waiter(&self, from: u64, to: u64) {
        let _ = self.waiter.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Begins a handoff of `n` bound permits of the process. Returns the number of the handoff.
    /// Returns `None` if the last handoff is still pending, because an entry has room for one.
    /// Only the process itself calls this.
    pub(crate) fn begin_handoff(&self, n: u32) -> Option<u32> {
        let last = HandoffWord(self.handoff.load(Ordering::Relaxed));
        // Other processes only complete handoffs, so no handoff becomes pending after this load.
        if last.is_pending() {
            return None;
        }
        let seq = last.seq().wrapping_add(1) & HandoffWord::SEQ_MASK;
        // The handoff is stored before the permits leave `own`. In the other order the entry
        // would seem, for an instant, to hold fewer permits than it does.
        self.handoff.store(HandoffWord::pending(seq, n).0, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `held_as`; publishes the handoff.
        self.own[Kind::Bound as usize].store(self.own(Kind::Bound) - u64::from(n), Ordering::Release);
        Some(seq)
    }

    /// Returns all permits held, and completes a pending handoff. The process must not write the
    /// entry any more. Called under the pid's shard lock.
    pub(super) fn close_balance(&self) -> u64 {
        let permits = self.held_as(Kind::Manual) + self.held_as(Kind::Bound);
        let handoff = HandoffWord(self.handoff.load(Ordering::Relaxed));
        // The child may complete the handoff at the same instant. The CAS in `complete_handoff`
        // decides which call gets the permits.
        permits + self.complete_handoff(handoff.seq()).unwrap_or(0)
    }

    /// Removes all permits from the entry. The caller must have got them from
    /// [`Entry::close_balance`] before.
    pub(super) fn clear_balance(&self) {
        for word in self.own.iter().chain(&self.inbound) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Wipes the entry for the next process, after [`Entry::close_balance`]. The number of the
    /// last handoff stays: an old offer must never match a handoff of the next process.
    pub(super) fn wipe(&self) {
        self.clear_balance();
        self.acquired.store(0, Ordering::Relaxed);
        self.waiter.store(0, Ordering::Relaxed);
    }

    /// Completes the handoff of this number if it is pending, and returns its permits. Only one
    /// call gets the permits, and that call must credit them to an entry or give them back.
    pub(crate) fn complete_handoff(&self, seq: u32) -> Option<u64> {
        let word = HandoffWord(self.handoff.load(Ordering::Relaxed));
        if !word.is_pending() || word.seq() != seq {
            return None;
        }
        // ORDERING: AcqRel, which no caller relies on: the CAS alone decides which call wins. A
        // child whose call loses observes the credit of the winner by its own shard lock.
        self.handoff
            .compare_exchange(word.0, word.completed().0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| word.permits())
    }
}
