//! Histograms of times, in buckets whose edges all gates share.

use std::ops::AddAssign;

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
#[inline]
pub(crate) fn bucket_of(ms: u32) -> usize {
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
