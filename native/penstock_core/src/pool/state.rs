//! The state word: how much is free, and whether anything stands between a caller and it.
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
//!   0      1     any   | full       | parks at the end  | free += n, then settles waiters
//!   1      any   any   | closed     | closed            | free += n, then settles drainers
//! ```
//!
//! WAITERS is set while anybody is parked, and only changes under the pool's queue lock. Free permits, not used
//! ones, are counted, so that a change of the limit is one addition to the very word that acquires compare:
//! no acquire can succeed by a limit that is no longer in force. Negative is an overdraft.

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
        // An arithmetic shift: the flags fall off, the sign stays.
        (self.0 as i64) >> SHIFT
    }

    #[inline]
    pub(crate) fn closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Whether somebody must look at waiters or drainers after permits came back.
    #[inline]
    pub(crate) fn flagged(self) -> bool {
        self.0 & (CLOSED | WAITERS) != 0
    }

    /// Whether a newcomer that asks for `n` is let in.
    #[inline]
    pub(crate) fn admits(self, n: u32) -> bool {
        !self.flagged() && self.free() >= i64::from(n)
    }
}

#[derive(Debug)]
pub(crate) struct State(AtomicU64);

impl State {
    /// Closed, with nothing free: what a pool is before it is opened.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(CLOSED))
    }

    #[inline]
    pub(crate) fn load(&self) -> Word {
        // ORDERING: Acquire pairs with the Release in `give`, so that who sees permits free also sees the
        // end of the work they were held for; a refusal needs nothing.
        Word(self.0.load(Ordering::Acquire))
    }

    /// Takes `n` for a newcomer; the word as it was left, or the one that refused.
    #[inline]
    pub(crate) fn take(&self, n: u32) -> Result<Word, Word> {
        self.take_if(n, |word| word.admits(n))
    }

    /// Takes `n` for the waiter at the head: that others wait behind it does not matter.
    pub(crate) fn take_for_waiter(&self, n: u32) -> Result<Word, Word> {
        self.take_if(n, |word| !word.closed() && word.free() >= i64::from(n))
    }

    /// Takes `n` for a restart, as long as that leaves at least `least` free: below 0, beyond the limit. Another bound is that of
    /// a pool that is overdrawn already. That others wait does not matter.
    pub(crate) fn overdraw(&self, n: u32, least: i64, least_if_overdrawn: i64) -> Result<Word, Word> {
        self.take_if(n, |word| {
            let least = if word.free() < 0 { least_if_overdrawn } else { least };
            !word.closed() && word.free() - i64::from(n) >= least.min(0)
        })
    }

    #[inline]
    fn take_if(&self, n: u32, admits: impl Fn(Word) -> bool) -> Result<Word, Word> {
        // Relaxed is enough to decide what to try; the exchange decides.
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if !admits(Word(seen)) {
                return Err(Word(seen));
            }
            let left = seen.wrapping_sub(u64::from(n) << SHIFT);
            // LINEARIZATION POINT of an acquire.
            // ORDERING: Acquire pairs with the Release in `give`: the work that the permits were held for
            // happened before ours. Release keeps the announcement in the holder's entry before it (holders.rs).
            match self.0.compare_exchange_weak(seen, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(Word(left)),
                Err(now) => seen = now,
            }
        }
    }

    /// Gives `n` back; the word as it was before.
    #[inline]
    pub(crate) fn give(&self, n: u64) -> Word {
        // LINEARIZATION POINT of a release.
        // ORDERING: Release pairs with the Acquire in `take`; Acquire orders the look at what else is to do
        // (waiters, the crowd hint) after it.
        Word(self.0.fetch_add(n << SHIFT, Ordering::AcqRel))
    }

    /// Moves the limit by `delta`. Under the queue lock.
    pub(crate) fn shift(&self, delta: i64) -> Word {
        // ORDERING: as `give`; it also publishes the limit marked as changing before it (see `Pool::shift_limit`).
        Word(self.0.fetch_add((delta << SHIFT) as u64, Ordering::AcqRel))
    }

    /// Under the queue lock; the word as it was before.
    pub(crate) fn set_waiters(&self) -> Word {
        // No ordering is needed against lost wake-ups: the flag and the permits are one word, so a release
        // either comes before this in its order, and the parker sees the permits, or after, and sees the flag.
        // ORDERING: Acquire as in `take`, for the parker that finds permits after all.
        Word(self.0.fetch_or(WAITERS, Ordering::AcqRel))
    }

    /// Under the queue lock.
    pub(crate) fn clear_waiters(&self) {
        // ORDERING: AcqRel keeps the chain of releases whole for whoever reads the word after this.
        self.0.fetch_and(!WAITERS, Ordering::AcqRel);
    }

    /// Under the queue lock.
    pub(crate) fn close(&self) {
        // ORDERING: as `clear_waiters`.
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Under the queue lock.
    pub(crate) fn open(&self) {
        // ORDERING: as `clear_waiters`; Release publishes what `Pool::open` prepared.
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }
}
