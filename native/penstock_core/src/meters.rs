//! Histograms of times, in buckets whose edges all gates share.
//!
//! A [`Histogram`] is plain numbers, which a lock guards. [`Holds`] is a histogram that many threads
//! add to without a lock.

use std::ops::AddAssign;

use crate::per_thread::{PerThread, Slot, add_alone};
use crate::sync::{AtomicU64, Ordering};

/// The number of buckets: one for each edge, and one for the times beyond the last edge.
pub const METER_BUCKETS: usize = METER_EDGES_MS.len() + 1;

/// The upper edges of the buckets in ms. A bucket counts the times that are at most its edge, and
/// above the edge before.
pub const METER_EDGES_MS: [u32; 14] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000];

/// A histogram of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The number of times in each bucket. The last bucket counts the times beyond the last edge.
    pub counts: [u64; METER_BUCKETS],
    /// The sum of all times, in ms.
    pub sum_ms: u64,
}

/// Returns the bucket of a time.
fn bucket_of(ms: u32) -> usize {
    // Most times are short, so the search from the first edge on is quick.
    METER_EDGES_MS.iter().position(|&edge| ms <= edge).unwrap_or(METER_BUCKETS - 1)
}

impl Histogram {
    /// Counts a time.
    pub(crate) fn observe(&mut self, ms: u32) {
        self.counts[bucket_of(ms)] += 1;
        self.sum_ms += u64::from(ms);
    }
}

impl AddAssign for Histogram {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_ms += other.sum_ms;
    }
}

/// The times that one thread observed, or several.
#[repr(align(64))]
#[derive(Debug)]
struct Times {
    counts: [AtomicU64; METER_BUCKETS],
    sum_ms: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum_ms: AtomicU64::new(0) }
    }
}

impl Times {
    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        self.counts.iter().chain([&self.sum_ms])
    }

    /// Counts a time. No other thread calls this.
    fn observe_alone(&self, ms: u32) {
        add_alone(&self.counts[bucket_of(ms)], 1);
        add_alone(&self.sum_ms, ms.into());
    }

    /// Counts a time. Any thread can call this.
    fn observe_shared(&self, ms: u32) {
        self.counts[bucket_of(ms)].fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(ms.into(), Ordering::Relaxed);
    }
}

/// A histogram of the holds of one pool, which many threads add to.
///
/// A reader may run at the same time as an observation, and miss a part of it. A reset may not: the
/// pool opens again only when no permit is held. Each observation happens before its permits are
/// given back, so it happens before the reset. The next observation of the thread follows an acquire
/// of the new opening, and finds the words that the reset stored.
#[derive(Debug)]
pub(crate) struct Holds(PerThread<Times>);

impl Holds {
    pub(crate) fn new() -> Self {
        Self(PerThread::new())
    }

    /// Counts a hold.
    #[inline(always)]
    pub(crate) fn observe(&self, ms: u32) {
        // Most holds end within the tick of the coarse clock in which they began.
        match self.0.made() {
            Some(times) if ms == 0 => add_alone(&times.counts[0], 1),
            _ => self.observe_other(ms),
        }
    }

    #[cold]
    fn observe_other(&self, ms: u32) {
        match self.0.get() {
            Slot::Own(times) => times.observe_alone(ms),
            Slot::Shared(times) => times.observe_shared(ms),
        }
    }

    /// Forgets all holds. No process holds a permit of the pool.
    pub(crate) fn reset(&self) {
        self.0.all().flat_map(Times::words).for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Returns the sum of all threads.
    pub(crate) fn sum(&self) -> Histogram {
        let mut sum = Histogram::default();
        for times in self.0.all() {
            sum += Histogram {
                counts: std::array::from_fn(|at| times.counts[at].load(Ordering::Relaxed)),
                sum_ms: times.sum_ms.load(Ordering::Relaxed),
            };
        }
        sum
    }
}
