//! What the core needs from a runtime: the BEAM in production, a fake in the tests.

use std::fmt;
use std::num::NonZeroU64;

/// A process, by whatever non-zero word the runtime knows it by. Two live processes never share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroU64);

impl Pid {
    /// `None` for 0, which no process has.
    pub fn new(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Self)
    }

    /// The word it was made of.
    #[inline]
    pub fn word(self) -> u64 {
        self.0.get()
    }

    /// Spreads pids, which are nearly consecutive, over the whole word.
    #[inline]
    pub(crate) fn hash(self) -> u64 {
        // Fibonacci hashing; the high half is the well-mixed one, so it is brought down.
        let mixed = self.word().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({:#x})", self.word())
    }
}

/// What a parked process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The permits are yours.
    Granted,
    /// The pool's limit fell below what was asked.
    Full,
    /// The pool closed.
    Closed,
    /// The time of a wait that the host ends is over.
    TimedOut,
    /// For whoever drains: nothing is held any more.
    Drained,
    /// For whoever drains: the pool was reopened or closed before that; this much is held, never 0.
    Undrained(u64),
}

impl Answer {
    /// For whoever drains, when the wait ends with so much held.
    pub(crate) fn to_drainer(in_use: u64) -> Self {
        if in_use == 0 { Self::Drained } else { Self::Undrained(in_use) }
    }
}

/// The runtime. The caller makes one for each call; no method is called while a lock is held.
pub trait Host: Sized + 'static {
    /// How to reach one parked process: on the BEAM, the reference it waits for.
    type Ticket: Send;

    /// Returns `true` while the process runs, and `false` as soon as it has begun to exit, which is
    /// before any other process is told of that. A `false` synchronizes with the last action of the
    /// process.
    fn alive(&self, pid: Pid) -> bool;

    /// Tells a parked process how its wait ended.
    fn wake(&self, pid: Pid, ticket: Self::Ticket, answer: Answer);

    /// Returns a coarse monotonic clock in ms, which wraps after 49 days.
    fn now_ms(&self) -> u32;

    /// Returns the same clock, exact to 1 ms: never behind the coarse one, and slower to read.
    fn exact_ms(&self) -> u32 {
        self.now_ms()
    }

    /// Tells that the call looked at `entries` entries, in addition to its calls of the host.
    fn worked(&self, entries: usize);
}
