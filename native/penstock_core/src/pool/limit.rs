//! The limit as calls read it without a lock, and the peak.

use crate::holders::Entry;
use crate::sync::{AtomicU64, Ordering};

use super::state::Word;
use super::{Pool, PoolHost, UNLIMITED};

/// The limit as it can be read without a lock: for how much is in use, and for requests above it.
///
/// The version above is raised by each change; a bit is set while a change is under way. The low
/// half is the limit, where all ones is [`UNLIMITED`].
pub(super) struct LimitWord(AtomicU64);

impl LimitWord {
    const CHANGING: u64 = 1 << 32;
    const NONE: u64 = 0xFFFF_FFFF;

    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    pub(super) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn limit(word: u64) -> u64 {
        match word & Self::NONE {
            Self::NONE => UNLIMITED,
            limit => limit,
        }
    }

    /// Marks the limit as changing. Under the queue lock, before the state word is shifted.
    fn begin_change(&self) {
        self.0.fetch_or(Self::CHANGING, Ordering::Relaxed);
    }

    /// Stores the new limit. Under the queue lock, after the state word is shifted.
    fn end_change(&self, limit: u64) {
        let version = (self.load() >> 33).wrapping_add(1);
        self.0.store(version << 33 | limit.min(Self::NONE), Ordering::Relaxed);
    }
}

impl<H: PoolHost> Pool<H> {
    /// Raises the peak to what was in use at `left`, if `limit` was in force at that instant.
    #[inline]
    pub(super) fn note_peak(&self, limit: u64, left: Word) {
        let in_use = (LimitWord::limit(limit) as i64 - left.free()).max(0) as u64;
        if in_use > self.front.peak.load(Ordering::Relaxed) {
            self.raise_peak(limit, in_use);
        }
    }

    #[cold]
    fn raise_peak(&self, limit: u64, in_use: u64) {
        // A limit that was changing, or has changed since it was read, may not belong to the
        // state word; `Pool::update` notes the peak itself then. The mark is set before the word
        // is shifted, so an acquire that takes from the shifted word, by Acquire, sees the mark.
        if limit & LimitWord::CHANGING == 0 && self.front.limit.load() == limit {
            self.front.peak.fetch_max(in_use, Ordering::Relaxed);
        }
    }

    /// Returns how much is in use. Under the queue lock.
    pub(super) fn in_use(&self) -> u64 {
        (LimitWord::limit(self.front.limit.load()) as i64 - self.state.load().free()).max(0) as u64
    }

    /// Returns `true` if the request exceeds the limit. A limit of 0 is a pause and refuses no
    /// request for its size.
    pub(super) fn oversize(&self, n: u32) -> bool {
        let limit = LimitWord::limit(self.front.limit.load());
        limit > 0 && u64::from(n) > limit
    }

    /// Returns `true` if the permits that the calling process holds and the request exceed the
    /// limit together: the process would wait for itself.
    pub(super) fn waits_for_itself(&self, entry: &Entry, n: u32) -> bool {
        let limit = LimitWord::limit(self.front.limit.load());
        limit > 0 && entry.held() + u64::from(n) > limit
    }

    /// Moves the limit. Returns how much was in use, and whether that was beyond the limit. Under
    /// the queue lock.
    pub(super) fn shift_limit(&self, limit: u64) -> (u64, bool) {
        let old = LimitWord::limit(self.front.limit.load());
        self.front.limit.begin_change();
        let was = self.state.shift(limit as i64 - old as i64);
        self.front.limit.end_change(limit);
        ((old as i64 - was.free()).max(0) as u64, was.free() < 0)
    }
}
