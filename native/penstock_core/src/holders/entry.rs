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
    /// The permits of each kind that the process wrote itself.
    pub(super) own: [AtomicU64; 2],
    /// The permits of each kind that other processes added.
    pub(super) inbound: [AtomicU64; 2],
    /// A [`HandoffWord`].
    handoff: AtomicU64,
    /// The number of admissions of the process, and their generation; see [`COUNT_BITS`].
    acquired: AtomicU64,
    /// The number of a wait of the process, which may be over; 0 if it has never waited.
    waiter: AtomicU64,
    /// When the process last began to hold permits, in ms of the host's coarse clock.
    pub(super) since: AtomicU32,
    /// 1 if the entry is in the active set.
    pub(super) active: AtomicU32,
}

// The atomics of the models are larger: they record their history.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Entry>() == 64, "an entry is a cache line");

/// The last handoff that the process of an entry began: its number, its permits, and whether it
/// is pending. The number is in the high 32 bits, the permits are in bits 1 to 31, and bit 0
/// tells whether the handoff is pending.
#[derive(Clone, Copy)]
struct HandoffWord(u64);

impl HandoffWord {
    const PENDING: u64 = 1;
    /// The mask of a number: 27 bits. With the 32 bits of a slot it makes an offer of 59 bits,
    /// which is a small integer on the BEAM.
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

/// The number of bits of the count in `acquired`. The bits above are the generation that the
/// count belongs to: the low 24 bits of the number of the pool's opening.
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

    /// Returns the permits of this kind that the process wrote itself. Only the process itself
    /// calls this.
    #[inline]
    pub(crate) fn own(&self, kind: Kind) -> u64 {
        self.own[kind as usize].load(Ordering::Relaxed)
    }

    /// Stores the permits of this kind that the process writes itself. Only the process itself
    /// calls this.
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
    /// them stores them in the new word before it removes them from the old one. So a reader that
    /// loads the words in this order never misses them; at worst it counts them twice.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        // ORDERING: each Acquire in `held_as` pairs with the Release that removed permits from
        // that word: a reader that finds them removed observes them in the next word.
        let held = self.held_as(Kind::Manual) + self.held_as(Kind::Bound);
        let handoff = HandoffWord(self.handoff.load(Ordering::Relaxed));
        held + if handoff.is_pending() { handoff.permits() } else { 0 }
    }

    /// Returns `true` if the process holds no permits except its own ones of this kind.
    #[inline(always)]
    pub(crate) fn holds_only_own(&self, kind: Kind) -> bool {
        let other = self.own[1 - kind as usize].load(Ordering::Relaxed);
        let inbound = self.inbound[0].load(Ordering::Relaxed) | self.inbound[1].load(Ordering::Relaxed);
        let handoff = self.handoff.load(Ordering::Relaxed) & HandoffWord::PENDING;
        other | inbound | handoff == 0
    }

    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Table::activate`. If a process finds its
        // entry active, the bit of the entry is set for each process that synchronizes with it
        // after that.
        self.active.load(Ordering::Acquire) != 0
    }

    /// Stores the time when the process began to hold permits.
    pub(crate) fn set_since(&self, now_ms: u32) {
        self.since.store(now_ms, Ordering::Relaxed);
    }

    /// Counts one more admission in this generation of the pool: the low 24 bits of the number of
    /// its opening. Only the process itself calls this.
    #[inline]
    pub(crate) fn count_admission(&self, generation: u32) {
        let last = self.acquired.load(Ordering::Relaxed);
        let base = u64::from(generation) << COUNT_BITS;
        // The count saturates at 2^40 - 1, which takes 15 hours with an admission every 50 ns.
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

    /// Returns the number of a wait of the process, which may be over; 0 if it has never waited.
    pub(crate) fn waiter(&self) -> u64 {
        self.waiter.load(Ordering::Relaxed)
    }

    /// Stores the number of a wait of the process, so that the reap of the dead process finds the
    /// wait. Called under the queue lock.
    pub(crate) fn set_waiter(&self, id: u64) {
        self.waiter.store(id, Ordering::Relaxed);
    }

    /// Replaces the number of a wait by that of another, if `from` is stored. Called under the
    /// queue lock. It is a CAS, since a reap wipes the entry of a dead process without that lock.
    pub(crate) fn replace_waiter(&self, from: u64, to: u64) {
        let _ = self.waiter.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Begins a handoff of `n` bound permits of the process. Returns the number of the handoff;
    /// `None` if the last handoff is still pending, as an entry has room for one. Only the
    /// process itself calls this.
    pub(crate) fn begin_handoff(&self, n: u32) -> Option<u32> {
        let last = HandoffWord(self.handoff.load(Ordering::Relaxed));
        // Other processes only complete handoffs, so no handoff becomes pending after this load.
        if last.is_pending() {
            return None;
        }
        let seq = last.seq().wrapping_add(1) & HandoffWord::SEQ_MASK;
        // The handoff is stored first: at no instant may the entry seem to hold fewer permits.
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
        // The child may complete the handoff at the same instant: one CAS decides which call gets
        // the permits.
        permits + self.complete_handoff(handoff.seq()).unwrap_or(0)
    }

    /// Removes all permits from the entry. The caller must have called [`Entry::close_balance`]
    /// before, which returns them.
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
    /// call gets them, and must credit them to an entry or give them back.
    pub(crate) fn complete_handoff(&self, seq: u32) -> Option<u64> {
        let word = HandoffWord(self.handoff.load(Ordering::Relaxed));
        if !word.is_pending() || word.seq() != seq {
            return None;
        }
        // ORDERING: AcqRel makes a losing call observe the writes of the winner before its CAS.
        // The CAS alone decides which call wins.
        self.handoff
            .compare_exchange(word.0, word.completed().0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| word.permits())
    }
}
