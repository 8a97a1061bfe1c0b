//! Latencies of several runs put together.

use std::collections::BTreeMap;

/// How often each latency came.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Counts by microseconds.
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Histogram {
    /// Adds `count` latencies of so many microseconds.
    pub(crate) fn add(&mut self, microseconds: u64, count: u64) {
        *self.counts.entry(microseconds).or_default() += count;
        self.total += count;
    }

    /// The latency in microseconds that `of_million` of a million do not exceed; `None` without any.
    pub(crate) fn quantile(&self, of_million: u64) -> Option<u64> {
        // In 128 bits: a count of some billions times a million is too large for 64.
        let rank = (u128::from(self.total) * u128::from(of_million)).div_ceil(1_000_000).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(&microseconds, &count)| {
            seen += u128::from(count);
            (seen >= rank).then_some(microseconds)
        })
    }

    /// The longest, in microseconds.
    pub(crate) fn longest(&self) -> Option<u64> {
        self.counts.last_key_value().map(|(&microseconds, _)| microseconds)
    }
}
