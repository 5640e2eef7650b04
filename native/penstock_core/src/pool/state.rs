//! The state word: how many permits are free, and whether a caller can take them at once.
//!
//! ```text
//!  63                                                    2   1        0
//! +-----------------------------------------------------+--------+---------+
//! | free permits, signed: limit - in use                | CLOSED | WAITERS |
//! +-----------------------------------------------------+--------+---------+
//!
//! CLOSED WAITERS free  | try_acquire | park              | release of n permits
//! ---------------------+-------------+-------------------+--------------------------------
//!   0      0     >= n  | takes n     | takes n           | free += n
//!   0      0     <  n  | full        | joins [^2]        | free += n
//!   0      1     any   | full [^1]   | joins [^2]        | free += n, then serves waiters
//!   1      any   any   | closed      | closed            | free += n, then serves drainers
//! ```
//!
//! [^1]: If `n` permits are free, `Pool::try_acquire` serves the waiters and tries again before
//! it refuses.
//!
//! [^2]: A caller that parks has the queue lock, so it consults the queue instead of the flag.
//! If the queue is empty already, the caller takes permits that are free. If the queue is full,
//! the caller is refused.
//!
//! CLOSED is set while the pool is closed or draining. WAITERS is set while a process waits for
//! permits. A drainer, a process that waits until no permit is held, does not set it. Both flags
//! change only under the queue lock.
//!
//! The word counts free permits, not used ones. So a change of the limit is one addition to this
//! word. Every acquire compares this word, so none succeeds by a limit that is no longer in
//! force. A negative count is an overdraft.

use crate::sync::{AtomicU64, Ordering};

const WAITERS: u64 = 1;
const CLOSED: u64 = 2;
const SHIFT: u32 = 2;

/// One value of the state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    #[inline]
    pub(crate) fn free(self) -> i64 {
        // An arithmetic shift drops the flags and keeps the sign.
        (self.0 as i64) >> SHIFT
    }

    #[inline]
    pub(crate) fn closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Returns `true` if a call that gave permits back must serve waiters or drainers.
    #[inline]
    pub(crate) fn flagged(self) -> bool {
        self.0 & (CLOSED | WAITERS) != 0
    }

    /// Returns `true` if a caller that has not waited can take `n` permits.
    #[inline]
    pub(crate) fn admits(self, n: u32) -> bool {
        !self.flagged() && self.free() >= i64::from(n)
    }
}

#[derive(Debug)]
pub(crate) struct State(AtomicU64);

impl State {
    /// Returns the state of a pool before it is opened: closed, with no free permits.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(CLOSED))
    }

    #[inline]
    pub(crate) fn load(&self) -> Word {
        // ORDERING: Acquire pairs with the Release in `give`. A caller that observes free permits
        // also observes the end of the work that held them. A refusal needs no ordering.
        Word(self.0.load(Ordering::Acquire))
    }

    /// Takes `n` permits for a caller that has not waited. Returns the word after the change, or
    /// the word that refused the caller.
    #[inline]
    pub(crate) fn take(&self, n: u32) -> Result<Word, Word> {
        self.take_if(n, |word| word.admits(n))
    }

    /// Takes `n` permits for the waiter at the head of the queue, or for a caller that parks
    /// while the queue is empty. WAITERS refuses neither.
    pub(crate) fn take_for_waiter(&self, n: u32) -> Result<Word, Word> {
        self.take_if(n, |word| !word.closed() && word.free() >= i64::from(n))
    }

    /// Takes `n` permits for a restart, even if other processes wait.
    ///
    /// At least `least` permits must be free afterwards; a negative number is an overdraft. If
    /// the pool is overdrawn already, `least_if_overdrawn` replaces `least`. Neither bound is
    /// positive.
    pub(crate) fn overdraw(&self, n: u32, least: i64, least_if_overdrawn: i64) -> Result<Word, Word> {
        self.take_if(n, |word| {
            let least = if word.free() < 0 { least_if_overdrawn } else { least };
            !word.closed() && word.free() - i64::from(n) >= least
        })
    }

    #[inline]
    fn take_if(&self, n: u32, admits: impl Fn(Word) -> bool) -> Result<Word, Word> {
        // Relaxed: an old value makes the CAS fail, and a refusal needs no ordering.
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if !admits(Word(seen)) {
                return Err(Word(seen));
            }
            let left = seen.wrapping_sub(u64::from(n) << SHIFT);
            // LINEARIZATION POINT of an acquire.
            // ORDERING: Acquire pairs with the Release in `give`: the work that held the permits
            // happens before the work of this caller. Release orders the store that announces the
            // permits in the caller's entry before the CAS; see `Pool::acquire_into`.
            match self.0.compare_exchange_weak(seen, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(Word(left)),
                Err(now) => seen = now,
            }
        }
    }

    /// Gives `n` permits back. Returns the word before the change.
    #[inline]
    pub(crate) fn give(&self, n: u64) -> Word {
        // LINEARIZATION POINT of a release.
        // ORDERING: Release pairs with the Acquire in `take_if`. Acquire pairs with the Release
        // of the other writes: a caller that finds a flag observes what was done before the flag
        // was set. The many-holders hint needs a full fence, which `Pool::give_back` adds.
        Word(self.0.fetch_add(n << SHIFT, Ordering::AcqRel))
    }

    /// Adds `delta` to the limit. Returns the word before the change. Called under the queue
    /// lock.
    pub(crate) fn shift(&self, delta: i64) -> Word {
        // ORDERING: Release pairs with the Acquire in `take_if`; publishes that the limit is
        // marked as changing. Acquire pairs with the Release in `take_if`: no acquire that took
        // permits before this addition has read the new limit, which is stored after it.
        // `Pool::raise_peak` needs both.
        Word(self.0.fetch_add((delta << SHIFT) as u64, Ordering::AcqRel))
    }

    /// Sets WAITERS. Called under the queue lock.
    pub(crate) fn set_waiters(&self) {
        // No wake-up is lost, since the flag and the permits are in one word. If a release comes
        // before this write in the word's modification order, the parking process finds the
        // permits. If the release comes later, the releasing process finds the flag.
        // ORDERING: AcqRel, which no caller relies on. The parking process takes permits by a CAS
        // of its own, which pairs with `give`: any read-modify-write between them continues the
        // release sequence of `give`. All writes of the word are AcqRel, so no argument has to
        // distinguish them.
        self.0.fetch_or(WAITERS, Ordering::AcqRel);
    }

    /// Clears WAITERS. Called under the queue lock.
    pub(crate) fn clear_waiters(&self) {
        // ORDERING: AcqRel, which no caller relies on, as in `set_waiters`.
        self.0.fetch_and(!WAITERS, Ordering::AcqRel);
    }

    /// Sets CLOSED. Called under the queue lock.
    pub(crate) fn close(&self) {
        // ORDERING: AcqRel, which no caller relies on, as in `set_waiters`.
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Clears CLOSED. Called under the queue lock.
    pub(crate) fn open(&self) {
        // ORDERING: Release pairs with the Acquire in `take_if`; publishes the stores of
        // `Pool::open`.
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }
}
