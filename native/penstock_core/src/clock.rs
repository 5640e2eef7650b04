//! A clock of ns that is the host's, or that tests set by hand.

use crate::rate::LATEST;
use crate::sync::{AtomicU64, Ordering};

/// Times are ns, and those that users give and are given are ms.
pub const NS_PER_MS: u64 = 1_000_000;
const REAL: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn real() -> Self {
        Self(AtomicU64::new(REAL))
    }

    /// At 0, if it is to be set by hand. Returns what it says then, of `real`.
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

    /// False if it is not set by hand.
    pub(crate) fn advance(&self, ms: u64) -> bool {
        let ns = ms.saturating_mul(NS_PER_MS);
        let later = |set: u64| (set != REAL).then(|| set.saturating_add(ns).min(LATEST));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok()
    }
}
