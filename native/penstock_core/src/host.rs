//! The runtime as the core sees it: the BEAM in production, a fake in the tests.

use std::fmt;
use std::num::NonZeroU64;

/// A process, named by a non-zero word of the runtime. Two living processes never share a word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroU64);

impl Pid {
    /// Returns the process of a word; `None` for 0, which is the word of no process.
    pub fn new(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Self)
    }

    /// Returns the word of the process.
    #[inline]
    pub fn word(self) -> u64 {
        self.0.get()
    }

    /// Returns a hash that spreads pids, which are nearly consecutive, over the whole word.
    #[inline]
    pub(crate) fn hash(self) -> u64 {
        // Fibonacci hashing mixes the high half well. Callers of this function take low bits, so
        // the high half is folded into the low half.
        let mixed = self.word().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({:#x})", self.word())
    }
}

/// The answer to a parked process: how its wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The permits are granted.
    Granted,
    /// The pool's limit fell below the request.
    Full,
    /// The pool closed.
    Closed,
    /// The timeout of the wait has passed, and [`Pool::expire`](crate::Pool::expire) ended the
    /// wait.
    TimedOut,
    /// For a drainer: no permit is held any more.
    Drained,
    /// For a drainer: the pool was reopened or closed, and this number of permits is still held.
    /// The number is never 0.
    Undrained(u64),
}

impl Answer {
    /// Returns the answer to a drainer whose wait ends while `in_use` permits are held.
    pub(crate) fn to_drainer(in_use: u64) -> Self {
        if in_use == 0 { Self::Drained } else { Self::Undrained(in_use) }
    }
}

/// The runtime. The caller makes a value of this type for each call of the core. The core calls
/// no method of the host inside a lock.
pub trait Host: Sized + 'static {
    /// Reaches one parked process: on the BEAM, by the reference that the process waits for.
    type Ticket: Send;

    /// Returns `true` while the process runs, and `false` once it has begun to exit. The runtime
    /// tells other processes of the exit only after this returns `false`. A return of `false`
    /// synchronizes with the last action of the process.
    fn alive(&self, pid: Pid) -> bool;

    /// Tells a parked process how its wait ended.
    fn wake(&self, pid: Pid, ticket: Self::Ticket, answer: Answer);

    /// Returns the time of a coarse monotonic clock in ms, which wraps after 49 days.
    fn now_ms(&self) -> u32;

    /// Returns the time of [`Host::now_ms`], exact to 1 ms. This is never behind the coarse time,
    /// and slower to read.
    fn exact_ms(&self) -> u32 {
        self.now_ms()
    }

    /// Reports work for the runtime's accounting: the present call of the core visited this
    /// number of entries, in addition to its calls of the host.
    fn worked(&self, entries: usize);
}
