//! A copy of the limit for readers without the queue lock, and the peak of the permits in use.

use crate::holders::Entry;
use crate::sync::{AtomicU64, Ordering};

use super::state::Word;
use super::{Pool, PoolHost, UNLIMITED};

/// The limit, in one word. Calls compare requests with it, and compute the permits in use from
/// it.
///
/// ```text
///  63                              33      32     31                             0
/// +----------------------------------+----------+--------------------------------+
/// | version, raised by each change   | CHANGING | limit; all ones is `UNLIMITED` |
/// +----------------------------------+----------+--------------------------------+
/// ```
///
/// CHANGING is set while a call that has the queue lock changes this word and the state word. The
/// version lets a reader detect a change between two loads.
pub(super) struct LimitWord(AtomicU64);

impl LimitWord {
    const CHANGING: u64 = 1 << 32;
    const ALL_ONES: u64 = 0xFFFF_FFFF;

    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns the word, with version and flag.
    #[inline]
    pub(super) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns the limit in a word.
    #[inline]
    pub(super) fn limit_in(word: u64) -> u64 {
        match word & Self::ALL_ONES {
            Self::ALL_ONES => UNLIMITED,
            limit => limit,
        }
    }

    /// Returns the present limit.
    #[inline]
    pub(super) fn limit(&self) -> u64 {
        Self::limit_in(self.load())
    }

    /// Marks the limit as changing. Called under the queue lock, before the state word is
    /// shifted.
    fn begin_change(&self) {
        self.0.fetch_or(Self::CHANGING, Ordering::Relaxed);
    }

    /// Stores the new limit. Called under the queue lock, after the state word is shifted.
    fn end_change(&self, limit: u64) {
        let version = (self.load() >> 33).wrapping_add(1);
        self.0.store(version << 33 | limit.min(Self::ALL_ONES), Ordering::Relaxed);
    }
}

impl<H: PoolHost> Pool<H> {
    /// Raises the peak to the number of permits in use right after an acquire. `left` is the
    /// state word after that acquire. The acquire loaded `limit_word` before it took the permits,
    /// or inside the queue lock.
    #[inline]
    pub(super) fn note_peak(&self, limit_word: u64, left: Word) {
        let in_use = (LimitWord::limit_in(limit_word) as i64 - left.free()).max(0) as u64;
        if in_use > self.front.peak.load(Ordering::Relaxed) {
            self.raise_peak(limit_word, in_use);
        }
    }

    /// Raises the peak, unless the limit changed during the acquire. If it changed, `limit_word`
    /// and the state word may not belong together, and `Pool::update` raises the peak instead.
    ///
    /// No change is missed:
    ///
    /// - If an acquire took permits after the shift of the state word, this call loads CHANGING
    ///   or a new version. CHANGING was set before the shift, and the Release of the shift pairs
    ///   with the Acquire of the acquire's CAS.
    /// - If an acquire took permits before the shift, it cannot have loaded the new limit. The
    ///   Release of its CAS pairs with the Acquire of the shift, and the new limit is stored
    ///   after the shift.
    #[cold]
    fn raise_peak(&self, limit_word: u64, in_use: u64) {
        if limit_word & LimitWord::CHANGING == 0 && self.front.limit.load() == limit_word {
            self.front.peak.fetch_max(in_use, Ordering::Relaxed);
        }
    }

    /// Returns the number of permits in use. Called under the queue lock.
    pub(super) fn in_use(&self) -> u64 {
        (self.front.limit.limit() as i64 - self.state.load().free()).max(0) as u64
    }

    /// Returns `true` if a request for `n` permits exceeds the limit. No request exceeds a limit
    /// of 0, which pauses the pool.
    pub(super) fn oversize(&self, n: u32) -> bool {
        let limit = self.front.limit.limit();
        limit > 0 && u64::from(n) > limit
    }

    /// Returns `true` if the permits that the calling process holds, plus `n`, exceed the limit.
    /// In that case, a process that blocked for `n` more would wait for its own release.
    pub(super) fn waits_for_itself(&self, entry: &Entry, n: u32) -> bool {
        let limit = self.front.limit.limit();
        limit > 0 && entry.held() + u64::from(n) > limit
    }

    /// Changes the limit. Returns the number of permits in use, and `true` if these exceeded the
    /// old limit. Called under the queue lock.
    pub(super) fn shift_limit(&self, limit: u64) -> (u64, bool) {
        let old = self.front.limit.limit();
        self.front.limit.begin_change();
        let was = self.state.shift(limit as i64 - old as i64);
        self.front.limit.end_change(limit);
        ((old as i64 - was.free()).max(0) as u64, was.free() < 0)
    }
}
