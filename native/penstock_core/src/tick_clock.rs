//! A clock by the tick counter of the processor: quicker than the exact clock, and kept in step
//! with it.
//!
//! The pace of the counter is steady, but unknown. The clock keeps a *base*: one reading of the
//! counter, and one of the exact clock at the same time. A base serves for [`WINDOW`] ns. The
//! first caller after that reads the exact clock and makes another base. The pace is measured
//! over [`SPAN`] ns or more.
//!
//! # Never ahead
//!
//! A rate limiter must not see time that has not passed. So both errors of the clock only make it
//! late:
//!
//! - The counter is read before and after the exact clock, at most [`BRACKET`] ticks apart. A
//!   base pairs the exact reading with the reading of the counter *after* it.
//! - The measured pace is off by at most one bracket in a span: 40 in 10^6 at 1 tick per ns. The
//!   clock cuts that pace by one part in [`MARGIN`], 61 in 10^6.
//!
//! So within its window a base lags by at most the time of its bracket plus about 0.4 µs. It is
//! never ahead, with one exception: the exact clock itself may be slewed, by up to 500 in 10^6.
//! Then a base may be ahead of the exact clock by up to 2 µs, until the next base. Errors do not
//! add up: the time between two bases is that of the exact clock.
//!
//! If the counter jumps by more than a window, in either direction, callers read the exact clock.
//! If a base was ahead by more than [`AHEAD`], callers read the exact clock until the pace has
//! been measured again.
//!
//! # Races
//!
//! A sequence lock guards the base. No reader waits: a reader that meets a writer reads the exact
//! clock. A writer that meets another writer leaves the base to that writer.

use crate::sync::{AtomicU64, Ordering, fence};

/// The time that a base serves for, in ns.
const WINDOW: u64 = 4_000_000;

/// The shortest time that the pace is measured over, in ns.
const SPAN: u64 = 100_000_000;

/// The most ticks between the two readings of the counter around a reading of the exact clock. If
/// there are more, the caller was preempted, and makes no base.
const BRACKET: u64 = 4_000;

/// The measured pace is cut by one part in this number, so that its error never makes the clock
/// early.
const MARGIN: u64 = 16_384;

/// The most ns that a base may be ahead of the exact clock before its pace is measured again.
const AHEAD: u64 = 20_000;

/// The number of fraction bits in a pace.
const FRACTION: u32 = 32;

/// A clock by a tick counter. It reads the exact clock until the pace of the counter is known,
/// after 0.1 s of use.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct TickClock {
    /// Odd while a base is written.
    version: AtomicU64,
    /// The reading of the counter in the base.
    ticks: AtomicU64,
    /// The reading of the exact clock in the base.
    ns: AtomicU64,
    /// ns per tick, as a fixed-point fraction.
    pace: AtomicU64,
    /// The ticks that the base serves for; 0 while the pace is unknown.
    window: AtomicU64,
    /// The base that the measurement of the pace began with: ticks and ns.
    first: [AtomicU64; 2],
}

impl TickClock {
    /// Returns a clock that knows no pace yet.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> Self {
        const fn zero() -> AtomicU64 {
            AtomicU64::new(0)
        }
        Self { version: zero(), ticks: zero(), ns: zero(), pace: zero(), window: zero(), first: [zero(), zero()] }
    }

    /// Returns the time in ns. `ticks` reads the counter, and `exact` the exact clock, in ns.
    #[inline]
    pub fn now(&self, ticks: impl Fn() -> u64, exact: impl Fn() -> u64) -> u64 {
        // ORDERING: Acquire pairs with the Release in `rebase`: the base of this version is
        // complete.
        let version = self.version.load(Ordering::Acquire);
        let from = self.ticks.load(Ordering::Relaxed);
        let ns = self.ns.load(Ordering::Relaxed);
        let pace = self.pace.load(Ordering::Relaxed);
        let window = self.window.load(Ordering::Relaxed);
        // ORDERING: pairs with the fence in `rebase`: a caller that loaded a word of the next
        // base also loads a later version below.
        fence(Ordering::Acquire);
        let is_whole = version & 1 == 0 && self.version.load(Ordering::Relaxed) == version;
        let passed = ticks().wrapping_sub(from);
        if is_whole && passed < window { ns + scaled(passed, pace) } else { self.rebase(ticks, exact) }
    }

    /// Reads the exact clock, and makes a base unless another caller does.
    #[cold]
    fn rebase(&self, ticks: impl Fn() -> u64, exact: impl Fn() -> u64) -> u64 {
        let before = ticks();
        let ns = exact();
        let after = ticks();
        let version = self.version.load(Ordering::Relaxed);
        // ORDERING: Acquire pairs with the Release below: a writer observes the base of the
        // writer before it.
        let lock = || self.version.compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed);
        if after.wrapping_sub(before) > BRACKET || version & 1 != 0 || lock().is_err() {
            return ns;
        }
        // ORDERING: pairs with the fence in `now`: the odd version is visible before any word of
        // the base.
        fence(Ordering::Release);
        self.write(after, ns);
        // ORDERING: Release pairs with the Acquire in `now`, and with that of the next writer;
        // publishes the base.
        self.version.store(version + 2, Ordering::Release);
        ns
    }

    /// Writes a base. The caller holds the sequence lock.
    fn write(&self, ticks: u64, ns: u64) {
        let [first_ticks, first_ns] = &self.first;
        let pace = self.pace.load(Ordering::Relaxed);
        let since = ticks.wrapping_sub(self.ticks.load(Ordering::Relaxed));
        // The difference wraps. So if the counter jumped back, it seems to have run through
        // nearly all values since the last base, and that base is not trusted.
        let trusted = pace > 0 && since < u64::from(u32::MAX);
        let predicted = if trusted { self.ns.load(Ordering::Relaxed) + scaled(since, pace) } else { 0 };
        let passed = ticks.wrapping_sub(first_ticks.load(Ordering::Relaxed));
        let elapsed = ns.wrapping_sub(first_ns.load(Ordering::Relaxed));
        if predicted > ns + AHEAD || first_ns.load(Ordering::Relaxed) == 0 || elapsed > u64::from(u32::MAX) {
            // The measurement starts over: the last base ran ahead, or this is the first base, or
            // the clock was not read for longer than 2^32 ns, about 4 s.
            self.pace.store(0, Ordering::Relaxed);
            self.window.store(0, Ordering::Relaxed);
            first_ticks.store(ticks, Ordering::Relaxed);
            first_ns.store(ns, Ordering::Relaxed);
        } else if elapsed >= SPAN {
            // The pace is known. A counter is not used if its pace is more than 1 ns per tick, or
            // nearly 0.
            let pace = (elapsed << FRACTION) / passed.max(1);
            let pace = pace - pace / MARGIN;
            let window = (WINDOW << FRACTION).checked_div(pace).filter(|_| pace <= 1 << FRACTION).unwrap_or(0);
            let usable = window < u64::from(u32::MAX);
            self.pace.store(if usable { pace } else { 0 }, Ordering::Relaxed);
            self.window.store(if usable { window } else { 0 }, Ordering::Relaxed);
            first_ticks.store(ticks, Ordering::Relaxed);
            first_ns.store(ns, Ordering::Relaxed);
        }
        self.ticks.store(ticks, Ordering::Relaxed);
        self.ns.store(ns, Ordering::Relaxed);
    }
}

/// Returns the ns that `ticks` last at `pace`. The product fits into 64 bits: `ticks` is below
/// 2^32, and `pace` is at most 2^32, which stands for 1 ns per tick.
#[inline]
fn scaled(ticks: u64, pace: u64) -> u64 {
    (ticks * pace) >> FRACTION
}
