//! What the core needs from a runtime: the BEAM in production, a fake in the tests.

use std::fmt;
use std::num::NonZeroU64;

/// A process, by the non-zero word that the runtime knows it by. Two live processes never share
/// one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroU64);

impl Pid {
    /// Returns `None` for 0, which no process has.
    pub fn new(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Self)
    }

    /// Returns the word that it was made of.
    #[inline]
    pub fn word(self) -> u64 {
        self.0.get()
    }

    /// Spreads pids, which are nearly consecutive, over the whole word.
    #[inline]
    pub(crate) fn hash(self) -> u64 {
        // Fibonacci hashing: the high half is the well-mixed one, so it is folded into the low
        // half.
        let mixed = self.word().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({:#x})", self.word())
    }
}

/// The answer to a parked process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The permits are granted.
    Granted,
    /// The pool's limit fell below the request.
    Full,
    /// The pool closed.
    Closed,
    /// The time of a wait that the host ends is over.
    TimedOut,
    /// To a drainer: no permit is held any more.
    Drained,
    /// To a drainer: the pool was reopened or closed while this many permits are held, never 0.
    Undrained(u64),
}

impl Answer {
    /// Returns the answer to a drainer whose wait ends while `in_use` permits are held.
    pub(crate) fn to_drainer(in_use: u64) -> Self {
        if in_use == 0 { Self::Drained } else { Self::Undrained(in_use) }
    }
}

/// The runtime. The caller makes one for each call; no method is called while a lock is held.
pub trait Host: Sized + 'static {
    /// How to reach one parked process: on the BEAM, the reference it waits for.
    type Ticket: Send;

    /// Returns `true` while the process runs, and `false` as soon as it has begun to exit, which
    /// is before any other process is told of that. A `false` synchronizes with the last action
    /// of the process.
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
