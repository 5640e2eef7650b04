//! Histograms of times, in buckets whose edges all gates share.

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
