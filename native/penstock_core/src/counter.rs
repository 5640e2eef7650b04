//! A clock by a counter of the processor: quicker than an exact clock, and kept in step with it.
//!
//! The pace of the counter is steady, but unknown. A reading of both clocks, a *base*, serves for
//! [`WINDOW`] ns; after that the next caller reads the exact clock and makes another base. The
//! pace is taken over [`SPAN`] ns and more.
//!
//! # Never ahead
//!
//! A rate limiter must not be given time that has not passed. A base takes the exact clock's
//! reading for that of the counter *after* it, and the pace is cut by [`MARGIN`]. The pace is off
//! by two brackets in a span, 20 in 10^6, which is less. So within its window a base lags by some
//! 0.3 µs at most. If the exact clock itself is slewed, by up to 500 in 10^6, a base is ahead by
//! up to 2 µs, until the next. Errors do not add up, and the rate over any time is that of the
//! exact clock.
//!
//! A counter that jumps, in either direction, is out of its window: the exact clock is read. A
//! base that was ahead by more than [`AHEAD`] ends all trust until the pace has been measured
//! again.
//!
//! # Races
//!
//! The base is under a sequence lock. Readers do not wait: a reader that meets a writer reads the
//! exact clock. A writer that meets another leaves the work to it.

use crate::sync::{AtomicU64, Ordering, fence};

/// How long a base serves, in ns.
const WINDOW: u64 = 4_000_000;

/// The least time that the pace is taken over, in ns.
const SPAN: u64 = 100_000_000;

/// Ticks between two readings of the counter with the exact clock read between: more, and the
/// caller was preempted.
const BRACKET: u64 = 4_000;

/// The divisor of the part that the pace is cut by.
const MARGIN: u64 = 16_384;

/// How far a base may be ahead of the exact clock, in ns, before it is distrusted.
const AHEAD: u64 = 20_000;

/// Bits of the fraction in a pace.
const FRACTION: u32 = 32;

/// A clock by a counter. It begins with the exact clock, and knows the pace of the counter after
/// 0.1 s of use.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counter {
    /// Odd while a base is written.
    version: AtomicU64,
    ticks: AtomicU64,
    ns: AtomicU64,
    /// ns per tick, as a fixed-point fraction.
    pace: AtomicU64,
    /// In ticks; 0 while the pace is unknown.
    window: AtomicU64,
    /// The reading that the pace is taken from.
    first: [AtomicU64; 2],
}

impl Counter {
    /// Returns a clock that knows no pace yet.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> Self {
        const fn zero() -> AtomicU64 {
            AtomicU64::new(0)
        }
        Self { version: zero(), ticks: zero(), ns: zero(), pace: zero(), window: zero(), first: [zero(), zero()] }
    }

    /// Returns the time in ns. `ticks` reads the counter, `exact` the clock that it is kept in
    /// step with.
    #[inline]
    pub fn now(&self, ticks: impl Fn() -> u64, exact: impl Fn() -> u64) -> u64 {
        // ORDERING: Acquire pairs with the Release in `rebase`: the base is complete.
        let version = self.version.load(Ordering::Acquire);
        let from = self.ticks.load(Ordering::Relaxed);
        let ns = self.ns.load(Ordering::Relaxed);
        let pace = self.pace.load(Ordering::Relaxed);
        let window = self.window.load(Ordering::Relaxed);
        // ORDERING: pairs with the fence in `rebase`: a caller that read a word of the next base
        // sees another version.
        fence(Ordering::Acquire);
        let is_whole = version & 1 == 0 && self.version.load(Ordering::Relaxed) == version;
        let passed = ticks().wrapping_sub(from);
        if is_whole && passed < window { ns + scaled(passed, pace) } else { self.rebase(ticks, exact) }
    }

    #[cold]
    fn rebase(&self, ticks: impl Fn() -> u64, exact: impl Fn() -> u64) -> u64 {
        let before = ticks();
        let ns = exact();
        let after = ticks();
        let version = self.version.load(Ordering::Relaxed);
        // ORDERING: Acquire pairs with the Release below: the next writer sees what the last one
        // wrote.
        let lock = || self.version.compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed);
        if after.wrapping_sub(before) > BRACKET || version & 1 != 0 || lock().is_err() {
            return ns;
        }
        // ORDERING: pairs with the fence in `now`: the odd version is visible before any word of
        // the base.
        fence(Ordering::Release);
        self.write(after, ns);
        // ORDERING: Release pairs with the Acquire in `now`, and with the one above.
        self.version.store(version + 2, Ordering::Release);
        ns
    }

    /// Writes a base. One caller at a time.
    fn write(&self, ticks: u64, ns: u64) {
        let [first_ticks, first_ns] = &self.first;
        let pace = self.pace.load(Ordering::Relaxed);
        let since = ticks.wrapping_sub(self.ticks.load(Ordering::Relaxed));
        // A counter that jumped back seems to have passed nearly all values.
        let trusted = pace > 0 && since < u64::from(u32::MAX);
        let predicted = if trusted { self.ns.load(Ordering::Relaxed) + scaled(since, pace) } else { 0 };
        let passed = ticks.wrapping_sub(first_ticks.load(Ordering::Relaxed));
        let elapsed = ns.wrapping_sub(first_ns.load(Ordering::Relaxed));
        if predicted > ns + AHEAD || first_ns.load(Ordering::Relaxed) == 0 || elapsed > u64::from(u32::MAX) {
            // The measurement starts over: the base ran ahead, or nothing is known, or the clock
            // was not read for longer than the product can hold.
            self.pace.store(0, Ordering::Relaxed);
            self.window.store(0, Ordering::Relaxed);
            first_ticks.store(ticks, Ordering::Relaxed);
            first_ns.store(ns, Ordering::Relaxed);
        } else if elapsed >= SPAN {
            // A pace of more than 1 ns per tick, or of nearly 0, is not that of such a counter.
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

/// Returns the ns that `ticks`, below 2^32, are worth.
#[inline]
fn scaled(ticks: u64, pace: u64) -> u64 {
    (ticks * pace) >> FRACTION
}
