//! The state word: how many permits are free, and whether a caller may take them.
//!
//! ```text
//!  63                                                    2   1        0
//! +-----------------------------------------------------+--------+---------+
//! | free permits, signed: limit - in use                | CLOSED | WAITERS |
//! +-----------------------------------------------------+--------+---------+
//!
//! CLOSED WAITERS free  | try        | acquire           | release of n
//! ---------------------+------------+-------------------+--------------------------------
//!   0      0     >= n  | takes n    | takes n           | free += n
//!   0      0     <  n  | full       | parks             | free += n
//!   0      1     any   | full [^1]  | parks at the end  | free += n, then serves waiters
//!   1      any   any   | closed     | closed            | free += n, then serves drainers
//! ```
//!
//! [^1]: `Pool::try_acquire` then serves the waiters, and takes what they leave.
//!
//! WAITERS is set while any process is parked, and only changes under the pool's queue lock. The
//! word counts free permits and not used ones, so that a change of the limit is one addition to
//! the very word that acquires compare. No acquire can succeed by a limit that is no longer in
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

    /// Returns `true` if the caller must serve waiters or drainers after permits came back.
    #[inline]
    pub(crate) fn flagged(self) -> bool {
        self.0 & (CLOSED | WAITERS) != 0
    }

    /// Returns `true` if a newcomer may take `n` permits.
    #[inline]
    pub(crate) fn admits(self, n: u32) -> bool {
        !self.flagged() && self.free() >= i64::from(n)
    }
}

#[derive(Debug)]
pub(crate) struct State(AtomicU64);

impl State {
    /// Returns a closed word with no free permits: that of a pool before it is opened.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(CLOSED))
    }

    #[inline]
    pub(crate) fn load(&self) -> Word {
        // ORDERING: Acquire pairs with the Release in `give`: a caller that sees permits free
        // also sees the end of the work they were held for. A refusal needs no ordering.
        Word(self.0.load(Ordering::Acquire))
    }

    /// Takes `n` permits for a newcomer. Returns the word after it, or the word that refused.
    #[inline]
    pub(crate) fn take(&self, n: u32) -> Result<Word, Word> {
        self.take_if(n, |word| word.admits(n))
    }

    /// Takes `n` permits for the waiter at the head, whether other processes wait or not.
    pub(crate) fn take_for_waiter(&self, n: u32) -> Result<Word, Word> {
        self.take_if(n, |word| !word.closed() && word.free() >= i64::from(n))
    }

    /// Takes `n` permits for a restart, whether other processes wait or not, if at least `least`
    /// are free after it; a negative `least` goes beyond the limit. A pool that is overdrawn
    /// already has another bound.
    pub(crate) fn overdraw(&self, n: u32, least: i64, least_if_overdrawn: i64) -> Result<Word, Word> {
        self.take_if(n, |word| {
            let least = if word.free() < 0 { least_if_overdrawn } else { least };
            !word.closed() && word.free() - i64::from(n) >= least.min(0)
        })
    }

    #[inline]
    fn take_if(&self, n: u32, admits: impl Fn(Word) -> bool) -> Result<Word, Word> {
        // Relaxed is enough to decide what to try: the CAS decides the result.
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if !admits(Word(seen)) {
                return Err(Word(seen));
            }
            let left = seen.wrapping_sub(u64::from(n) << SHIFT);
            // LINEARIZATION POINT of an acquire.
            // ORDERING: Acquire pairs with the Release in `give`: the work that the permits were
            // held for happened before the caller's. Release keeps the announcement in the
            // holder's entry before the CAS (`Pool::acquire_into`).
            match self.0.compare_exchange_weak(seen, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(Word(left)),
                Err(now) => seen = now,
            }
        }
    }

    /// Gives `n` permits back. Returns the word before it.
    #[inline]
    pub(crate) fn give(&self, n: u64) -> Word {
        // LINEARIZATION POINT of a release.
        // ORDERING: Release pairs with the Acquire in `take_if`. Acquire orders the loads that
        // tell what else is due (waiters, the many-holders hint) after it.
        Word(self.0.fetch_add(n << SHIFT, Ordering::AcqRel))
    }

    /// Moves the limit by `delta`. Returns the word before it. Under the queue lock.
    pub(crate) fn shift(&self, delta: i64) -> Word {
        // ORDERING: AcqRel as in `give`; the Release also publishes the limit that was marked as
        // changing (see `Pool::shift_limit`).
        Word(self.0.fetch_add((delta << SHIFT) as u64, Ordering::AcqRel))
    }

    /// Sets WAITERS. Returns the word before it. Under the queue lock.
    pub(crate) fn set_waiters(&self) -> Word {
        // No ordering is needed against lost wake-ups, as the flag and the permits are one word.
        // A release comes before this in the word's modification order, and the parker sees the
        // permits; or after it, and sees the flag.
        // ORDERING: Acquire as in `take_if`, for the parker that finds permits after all.
        Word(self.0.fetch_or(WAITERS, Ordering::AcqRel))
    }

    /// Clears WAITERS. Under the queue lock.
    pub(crate) fn clear_waiters(&self) {
        // ORDERING: AcqRel keeps the release sequence whole for every later reader of the word.
        self.0.fetch_and(!WAITERS, Ordering::AcqRel);
    }

    /// Sets CLOSED. Under the queue lock.
    pub(crate) fn close(&self) {
        // ORDERING: AcqRel, as in `clear_waiters`.
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Clears CLOSED. Under the queue lock.
    pub(crate) fn open(&self) {
        // ORDERING: AcqRel, as in `clear_waiters`; the Release also publishes what `Pool::open`
        // prepared.
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }
}
