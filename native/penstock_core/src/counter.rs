//! A clock by a counter of the processor: quicker than an exact clock, and kept in step with it.
//!
//! The pace of the counter is steady, but unknown. A reading of both clocks, a *base*, serves for
//! [`WINDOW`] ns; after that the next caller reads the exact clock and makes another base. The
//! pace is taken over [`SPAN`] ns and more.
//!
//! # Never ahead
//!
//! What a rate limiter may not be given is time that has not passed. A base takes the exact
//! clock's reading for that of the counter *after* it, and the pace is cut by [`MARGIN`]. The
//! pace is off by two brackets in a span, 20 in 10^6, which is less. So within its window a base
//! lags by some 0.3 µs at most. If the exact clock itself is slewed, by up to 500 in 10^6, a base
//! is ahead by up to 2 µs, until the next: errors do not add up, and the rate over any time is
//! that of the exact clock.
//!
//! A counter that jumps, in whatever direction, is out of its window: the exact clock is read. A
//! base that turns out to have been ahead by more than [`AHEAD`] ends all trust until the pace
//! has been taken anew.
//!
//! # Races
//!
//! The base is under a sequence lock. Readers do not wait: one that meets a writer reads the
//! exact clock. A writer that meets another leaves the work to it.

use crate::sync::{AtomicU64, Ordering, fence};

/// How long a base serves, in ns.
const WINDOW: u64 = 4_000_000;

/// Over how long the pace is taken at least, in ns.
const SPAN: u64 = 100_000_000;

/// Ticks between two readings of the counter with the exact clock read between: more, and the
/// caller was preempted.
const BRACKET: u64 = 4_000;

/// The pace is cut by one in so many.
const MARGIN: u64 = 16_384;

/// What a base may be ahead of the exact clock, in ns, before it is distrusted.
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
    /// ns per tick, as a fraction.
    pace: AtomicU64,
    /// In ticks; 0 while the pace is unknown.
    window: AtomicU64,
    /// Where the pace is taken from.
    first: [AtomicU64; 2],
}

impl Counter {
    /// One that knows nothing yet.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> Self {
        const fn zero() -> AtomicU64 {
            AtomicU64::new(0)
        }
        Self { version: zero(), ticks: zero(), ns: zero(), pace: zero(), window: zero(), first: [zero(), zero()] }
    }

    /// The time in ns. `ticks` reads the counter, `exact` the clock that it is kept in step with.
    #[inline]
    pub fn now(&self, ticks: impl Fn() -> u64, exact: impl Fn() -> u64) -> u64 {
        // ORDERING: Acquire pairs with the Release in `rebase`: the base is as that wrote it.
        let version = self.version.load(Ordering::Acquire);
        let from = self.ticks.load(Ordering::Relaxed);
        let ns = self.ns.load(Ordering::Relaxed);
        let pace = self.pace.load(Ordering::Relaxed);
        let window = self.window.load(Ordering::Relaxed);
        // ORDERING: pairs with the fence in `rebase`: a caller that read a word of the next base
        // sees that its version is another.
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
        // ORDERING: pairs with the fence in `now`: that a base is being written is seen before
        // what is written.
        fence(Ordering::Release);
        self.write(after, ns);
        // ORDERING: Release pairs with the Acquire in `now`, and with the one above.
        self.version.store(version + 2, Ordering::Release);
        ns
    }

    /// By one at a time.
    fn write(&self, ticks: u64, ns: u64) {
        let [first_ticks, first_ns] = &self.first;
        let pace = self.pace.load(Ordering::Relaxed);
        let since = ticks.wrapping_sub(self.ticks.load(Ordering::Relaxed));
        // A counter that jumped back has passed by nearly all there is.
        let trusted = pace > 0 && since < u64::from(u32::MAX);
        let predicted = if trusted { self.ns.load(Ordering::Relaxed) + scaled(since, pace) } else { 0 };
        let passed = ticks.wrapping_sub(first_ticks.load(Ordering::Relaxed));
        let elapsed = ns.wrapping_sub(first_ns.load(Ordering::Relaxed));
        if predicted > ns + AHEAD || first_ns.load(Ordering::Relaxed) == 0 || elapsed > u64::from(u32::MAX) {
            // From here on, anew: it ran ahead, or nothing is known, or it was not asked for so
            // long that the product would not fit.
            self.pace.store(0, Ordering::Relaxed);
            self.window.store(0, Ordering::Relaxed);
            first_ticks.store(ticks, Ordering::Relaxed);
            first_ns.store(ns, Ordering::Relaxed);
        } else if elapsed >= SPAN {
            // A pace of more than 1 ns per tick, or of hardly any, is no such counter's.
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

/// ns that so many ticks, below 2^32, are worth.
#[inline]
fn scaled(ticks: u64, pace: u64) -> u64 {
    (ticks * pace) >> FRACTION
}
