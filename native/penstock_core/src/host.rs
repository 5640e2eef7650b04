//! What the core needs from a runtime: the BEAM in production, a fake in the tests.

use std::fmt;
use std::num::NonZeroU64;

use crate::pool::Pool;

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

/// The runtime. Made anew for each call; no method is called with a lock held.
pub trait Host: Sized + 'static {
    /// How to reach one parked process: on the BEAM, the reference it waits for.
    type Ticket: Send;
    /// What the runtime keeps beside each pool.
    type Anchor: Default + Send + Sync;

    /// Whether the process runs; false as soon as it has begun to exit, before anybody is told of it. Who is told false sees
    /// what the process did.
    fn alive(&self, pid: Pid) -> bool;

    /// Sees to it that [`Pool::down`] is called once `pid` is gone; false if it is gone already.
    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool;

    /// Tells a parked process how its wait ended.
    fn wake(&self, pid: Pid, ticket: Self::Ticket, answer: Answer);

    /// Has [`Pool::settle`] called again soon: there was more to do than one call may take.
    fn defer(&self, pool: &Pool<Self>);

    /// A coarse monotonic clock in ms; wraps after 49 days.
    fn now_ms(&self) -> u32;

    /// The same clock, exact to 1 ms: never behind the coarse one, and dearer to ask.
    fn exact_ms(&self) -> u32 {
        self.now_ms()
    }

    /// The call looked at so many entries, on top of what the host was asked.
    fn worked(&self, entries: usize);
}
