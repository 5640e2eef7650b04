//! Times of holds or waits, as a model notes them.

use penstock_core::{Histogram, METER_EDGES_MS};

/// The times in ms.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u32>);

impl Times {
    pub fn note(&mut self, ms: u32) {
        self.0.push(ms);
    }

    /// Returns the histogram of the times. Computes each bucket from the number of times up to its
    /// edge, as a reader of cumulative buckets does.
    pub fn histogram(&self) -> Histogram {
        let up_to = |edge: u32| self.0.iter().filter(|&&ms| ms <= edge).count() as u64;
        let cumulative: Vec<u64> = METER_EDGES_MS.map(up_to).into_iter().chain([self.0.len() as u64]).collect();
        let mut histogram = Histogram { sum_ms: self.0.iter().map(|&ms| u64::from(ms)).sum(), ..Histogram::default() };
        let mut before = 0;
        for (count, up_to) in histogram.counts.iter_mut().zip(cumulative) {
            (*count, before) = (up_to - before, up_to);
        }
        histogram
    }
}
