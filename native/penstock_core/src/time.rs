//! Instants and spans in ns: their bounds, and the clock that limiters and bans read.

use crate::sync::{AtomicU64, Ordering};

/// Instants and spans are in ns inside the core, and in ms at the API of users.
pub const NS_PER_MS: u64 = 1_000_000;

/// Every instant is below this: 282 years.
pub(crate) const END: u64 = (1 << 63) - (1 << 58);

/// A clock stops here, after 181 years: the sum of any instant and a century stays below `END`.
pub const LATEST: u64 = END - CENTURY - CENTURY / 1_000;

/// A hundred years of 365.25 days, in ns: the most that a burst may be worth.
pub const CENTURY: u64 = 100 * 31_557_600 * 1_000_000_000;

/// Returns the least number of whole ms that is not less than `ns`.
pub fn whole_ms(ns: u64) -> u64 {
    ns.div_ceil(NS_PER_MS)
}

const REAL: u64 = u64::MAX;

/// A clock in ns: the host's, or one that is set by hand.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn real() -> Self {
        Self(AtomicU64::new(REAL))
    }

    /// Sets the clock to 0 if it is manual. Returns the time it tells then, given `real`.
    pub(crate) fn start(&self, manual: bool, real: u64) -> u64 {
        self.0.store(if manual { 0 } else { REAL }, Ordering::Relaxed);
        if manual { 0 } else { real }
    }

    #[inline]
    pub(crate) fn now(&self, real: impl FnOnce() -> u64) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            REAL => real(),
            set => set,
        }
    }

    /// Sets the clock forward. Returns `false` if it is not set by hand.
    pub(crate) fn advance(&self, ms: u64) -> bool {
        let ns = ms.saturating_mul(NS_PER_MS);
        let later = |set: u64| (set != REAL).then(|| set.saturating_add(ns).min(LATEST));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok()
    }
}
