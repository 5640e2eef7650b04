//! Bounds of instants and spans, and the clock that limiters and bans read.

use crate::sync::{AtomicU64, Ordering};

/// ns in a ms. Instants and spans are in ns inside the core, and in ms in the public API.
pub const NS_PER_MS: u64 = 1_000_000;

/// All instants are below this, in ns. It is 283 years.
pub(crate) const END: u64 = (1 << 63) - (1 << 58);

/// A manual clock stops at this instant, in ns: after 183 years. No clock reads a later instant.
/// So the sum of a reading and a century stays below `END`.
pub const LATEST: u64 = END - CENTURY - CENTURY / 1_000;

/// A hundred years of 365.25 days, in ns: the longest time that a burst may be worth.
pub const CENTURY: u64 = 100 * 31_557_600 * 1_000_000_000;

/// Returns the least number of whole ms that is not less than `ns`.
pub fn whole_ms(ns: u64) -> u64 {
    ns.div_ceil(NS_PER_MS)
}

/// What a [`Clock`] stores if it is the host's. A manual clock never reaches this value, because
/// it stops at [`LATEST`].
const REAL: u64 = u64::MAX;

/// A clock in ns: the host's, or a manual one, which only [`Clock::advance`] moves.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn real() -> Self {
        Self(AtomicU64::new(REAL))
    }

    /// Makes the clock manual, from 0 on, or the host's. Returns its first reading, given the
    /// host's reading `real`.
    pub(crate) fn start(&self, manual: bool, real: u64) -> u64 {
        self.0.store(if manual { 0 } else { REAL }, Ordering::Relaxed);
        if manual { 0 } else { real }
    }

    /// Returns the time of a manual clock, or of the host's clock, which `real` reads.
    #[inline]
    pub(crate) fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            REAL => real(),
            set => set,
        }
    }

    /// Moves a manual clock forward. Returns `false` if the clock is the host's.
    pub(crate) fn advance(&self, ms: u64) -> bool {
        let ns = ms.saturating_mul(NS_PER_MS);
        let later = |set: u64| (set != REAL).then(|| set.saturating_add(ns).min(LATEST));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok()
    }
}
