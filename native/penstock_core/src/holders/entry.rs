//! One process' part in one pool.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

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
    pub(super) own: [AtomicU64; 2],
    pub(super) inbound: [AtomicU64; 2],
    offer: AtomicU64,
    acquired: AtomicU64,
    waiter: AtomicU64,
    pub(super) since: AtomicU32,
    pub(super) active: AtomicU32,
}

// Loom's atomics are larger, as they know their history.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Entry>() == 64, "an entry is a cache line");

/// An offer word: a sequence number, how many permits, and whether it is still open.
#[derive(Clone, Copy)]
struct HandoffWord(u64);

impl HandoffWord {
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
    pub(super) fn new() -> Self {
        Self {
            own: [AtomicU64::new(0), AtomicU64::new(0)],
            inbound: [AtomicU64::new(0), AtomicU64::new(0)],
            offer: AtomicU64::new(0),
            acquired: AtomicU64::new(0),
            waiter: AtomicU64::new(0),
            since: AtomicU32::new(0),
            active: AtomicU32::new(0),
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

    pub(super) fn of(&self, kind: Kind) -> u64 {
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
        let offer = HandoffWord(self.offer.load(Ordering::Relaxed));
        held + if offer.is_open() { offer.permits() } else { 0 }
    }

    /// Whether all that is held is what the process got by its own hand of this kind.
    #[inline(always)]
    pub(crate) fn holds_only_own(&self, kind: Kind) -> bool {
        let other = self.own[1 - kind as usize].load(Ordering::Relaxed);
        let inbound = self.inbound[0].load(Ordering::Relaxed) | self.inbound[1].load(Ordering::Relaxed);
        let offered = self.offer.load(Ordering::Relaxed) & HandoffWord::OPEN;
        other | inbound | offered == 0
    }

    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Table::list`: a process that finds itself listed is so for
        // everybody who learns of it through that process.
        self.active.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_since(&self, now_ms: u32) {
        self.since.store(now_ms, Ordering::Relaxed);
    }

    /// One more admission. By the process itself.
    #[inline]
    pub(crate) fn count_admission(&self, generation: u32) {
        let seen = self.acquired.load(Ordering::Relaxed);
        let base = u64::from(generation) << COUNT_BITS;
        // It stays at the most it can be, which takes a process days of nothing else.
        let one = u64::from(seen & COUNT_MASK != COUNT_MASK);
        let next = if seen >> COUNT_BITS == u64::from(generation) { seen + one } else { base + 1 };
        self.acquired.store(next, Ordering::Relaxed);
    }

    pub(super) fn admissions(&self, generation: u32) -> u64 {
        let seen = self.acquired.load(Ordering::Relaxed);
        if seen >> COUNT_BITS == u64::from(generation) { seen & COUNT_MASK } else { 0 }
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
    pub(crate) fn begin_handoff(&self, n: u32) -> Option<u32> {
        let last = HandoffWord(self.offer.load(Ordering::Relaxed));
        // Others only settle offers: none but the process opens one after this look.
        if last.is_open() {
            return None;
        }
        let seq = last.seq().wrapping_add(1) & HandoffWord::SEQ_MASK;
        // The offer first: at no instant may the entry look as if it held nothing.
        self.offer.store(HandoffWord::open(seq, n).0, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `of`.
        self.own[Kind::Bound as usize].store(self.own(Kind::Bound) - u64::from(n), Ordering::Release);
        Some(seq)
    }

    /// Returns all that is held, and completes the open offer. The process must not write its
    /// entry any more. Under its lock.
    pub(super) fn close_balance(&self) -> u64 {
        let permits = self.of(Kind::Free) + self.of(Kind::Bound);
        let offer = HandoffWord(self.offer.load(Ordering::Relaxed));
        // A child may complete the offer at this instant: one exchange decides who has the permits.
        permits + self.complete_handoff(offer.seq()).unwrap_or(0)
    }

    /// Empties the entry, after [`Entry::close_balance`].
    pub(super) fn clear_balance(&self) {
        for word in self.own.iter().chain(&self.inbound) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Makes the entry clean for the next process, after [`Entry::close_balance`].
    pub(super) fn wipe(&self) {
        self.clear_balance();
        self.acquired.store(0, Ordering::Relaxed);
        self.waiter.store(0, Ordering::Relaxed);
    }

    /// Closes the offer, for whoever is first: the permits offered, which are now the caller's to place.
    pub(crate) fn complete_handoff(&self, seq: u32) -> Option<u64> {
        let seen = HandoffWord(self.offer.load(Ordering::Relaxed));
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
