//! Times of holds or waits, as a model notes them.

use penstock_core::{Histogram, METER_BUCKETS, METER_EDGES_MS};

/// The number of times up to each edge, the number of all times, and their sum in ms.
#[derive(Clone, Debug, Default)]
pub struct Times {
    up_to: [u64; METER_BUCKETS],
    sum_ms: u64,
}

impl Times {
    pub fn note(&mut self, ms: u32) {
        let edges = METER_EDGES_MS.iter().copied().chain([u32::MAX]);
        for (up_to, edge) in self.up_to.iter_mut().zip(edges) {
            *up_to += u64::from(ms <= edge);
        }
        self.sum_ms += u64::from(ms);
    }

    /// Returns the histogram of the times. Its buckets are not cumulative.
    pub fn histogram(&self) -> Histogram {
        let mut before = 0;
        let counts = self.up_to.map(|up_to| up_to - std::mem::replace(&mut before, up_to));
        Histogram { counts, sum_ms: self.sum_ms }
    }
}
