//! The count of refusals of one place, which never falls.

use once_cell::race::OnceBox;

use crate::per_thread::{PerThread, Slot, add_alone};
use crate::sync::{AtomicU64, Ordering};

/// The refusals on one thread.
#[repr(align(64))]
#[derive(Debug, Default)]
struct Count(AtomicU64);

/// The refusals of one place. Most mailboxes never refuse, and have no counts.
#[derive(Debug)]
pub(super) struct Refusals(OnceBox<PerThread<Count>>);

impl Default for Refusals {
    fn default() -> Self {
        let counts = OnceBox::new();
        // Models do not see which accesses `OnceBox` orders, so they get the counts at once.
        if cfg!(any(loom, shuttle)) {
            let _ = counts.set(Box::new(PerThread::new()));
        }
        Self(counts)
    }
}

impl Refusals {
    /// Counts a refusal.
    #[inline]
    pub(super) fn count(&self) {
        match self.0.get().and_then(PerThread::made) {
            Some(Count(own)) => add_alone(own, 1),
            None => self.count_first(),
        }
    }

    #[cold]
    fn count_first(&self) {
        match self.0.get_or_init(|| Box::new(PerThread::new())).get() {
            Slot::Own(Count(own)) => add_alone(own, 1),
            Slot::Shared(Count(shared)) => {
                shared.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns the number of refusals of all mailboxes that the place has served.
    pub(super) fn sum(&self) -> u64 {
        self.0.get().map_or(0, |counts| counts.all().map(|Count(count)| count.load(Ordering::Relaxed)).sum())
    }
}
