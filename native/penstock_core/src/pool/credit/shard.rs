//! The word of one scheduler.

use crate::per_thread::add_alone;
use crate::sync::{AtomicU64, Ordering};

/// One value of the word of a shard.
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    /// No credit, and none to collect.
    const RECALLED: Self = Self(0);
    const SHIFT: u32 = 32;

    fn new(credit: u64, most: u64) -> Self {
        Self(credit << Self::SHIFT | most)
    }

    #[inline]
    fn credit(self) -> u64 {
        self.0 >> Self::SHIFT
    }

    #[inline]
    fn most(self) -> u64 {
        self.0 & ((1 << Self::SHIFT) - 1)
    }

    #[inline]
    fn is_recalled(self) -> bool {
        self.most() == 0
    }

    /// Returns the word with `n` permits less. A recalled shard has no credit, and refuses.
    #[inline]
    fn less(self, n: u64) -> Option<Self> {
        (self.credit() >= n).then(|| Self(self.0 - (n << Self::SHIFT)))
    }

    /// Returns the word with `n` permits more. A recalled shard collects none, and refuses.
    #[inline]
    fn more(self, n: u64) -> Option<Self> {
        (n <= self.most().saturating_sub(self.credit())).then(|| Self(self.0 + (n << Self::SHIFT)))
    }
}

/// The credit of one scheduler. Its callers write it, and calls that have the lock.
#[derive(Debug)]
pub(super) struct Shard {
    word: AtomicU64,
    /// How often callers took permits from the central word while the shard was recalled. Two
    /// threads with one shard may lose a count, which delays a refill.
    central_takes: AtomicU64,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(Word::RECALLED.0), central_takes: AtomicU64::new(0) }
    }

    /// Takes `n` permits, of which there is at least one. Returns `false` if the credit is too
    /// low.
    #[inline]
    pub(super) fn take(&self, n: u32) -> bool {
        // LINEARIZATION POINT of a take on a shard.
        self.write(|word| word.less(n.into()))
    }

    /// Gives `n` permits back, of which there is at least one. Returns `false` if the shard is
    /// recalled, or has enough credit.
    #[inline]
    pub(super) fn give(&self, n: u64) -> bool {
        // LINEARIZATION POINT of a release to a shard.
        self.write(|word| word.more(n))
    }

    #[inline]
    fn write(&self, change: impl Fn(Word) -> Option<Word>) -> bool {
        // Relaxed: an old value makes the CAS fail, and a call that finds no credit goes on to
        // the central word.
        let mut seen = self.word.load(Ordering::Relaxed);
        while let Some(Word(next)) = change(Word(seen)) {
            // ORDERING: Acquire pairs with the Release of the give or refill before: the work
            // that held the permits happens before the work of this caller, and SPREAD is set
            // before this write. Release pairs with the Acquire of the next take or recall, and
            // orders the store that announces the permits in the caller's entry before the CAS.
            match self.word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Adds a batch, and lets the shard collect up to two of them. The caller has the lock.
    pub(super) fn add(&self, batch: u32) {
        self.central_takes.store(0, Ordering::Relaxed);
        let batch = u64::from(batch);
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            // The credit was at most two batches of the last refill, each below 2^30, so the sum
            // is below 2^32.
            let Word(next) = Word::new(Word(seen).credit() + batch, 2 * batch);
            // ORDERING: Release pairs with the Acquire in `write`: SPREAD was set before, and the
            // work that held the batch happens before the work of the taker.
            match self.word.compare_exchange_weak(seen, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes and returns all credit. Until the next refill, the shard collects none. The caller
    /// has the lock.
    pub(super) fn recall(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `write`: the work that held the credit
        // happens before the write of the central word that adds it. No call reads by this write
        // what was done before, so no Release.
        Word(self.word.swap(Word::RECALLED.0, Ordering::Acquire)).credit()
    }

    /// Returns `true` if a call that found too little credit should refill the shard: at once if
    /// the shard is in use, and after `patience` takes from the central word if it is recalled.
    pub(super) fn wants_refill(&self, patience: u32) -> bool {
        patience == 0 || !self.is_recalled() || self.central_takes.load(Ordering::Relaxed) >= patience.into()
    }

    /// Returns `true` if the shard has no credit and collects none.
    fn is_recalled(&self) -> bool {
        Word(self.word.load(Ordering::Relaxed)).is_recalled()
    }

    /// Counts a take from the central word. Only callers of this shard call this.
    pub(super) fn note_central_take(&self, patience: u32) {
        if patience > 0 && self.is_recalled() {
            add_alone(&self.central_takes, 1);
        }
    }
}
