//! Histograms by powers of two, in place of the crate of the same name that openraft depends on.
//!
//! That crate makes lookup tables for sixteen resolutions as soon as one histogram is made, and openraft makes histograms
//! of its batches for every node. The tables are 25 MiB of memory for the life of the process and 20 ms of every start:
//! more than all the rest of an agent at rest. This has the part of the interface that openraft uses, at one resolution
//! (the number of significant bits), and no tables. Remove it, with the `[patch]` in the workspace's manifest, when the
//! crate makes only the tables it is asked for. Pure.

use std::{fmt, marker::PhantomData};

/// Counts values by their number of significant bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Zero, then one bucket for each bit length.
    buckets: [u64; 65],
    slots: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// A histogram without values.
    pub fn new() -> Self {
        Self { buckets: [0; 65], slots: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value as often as `count` says.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bits = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get_mut(bits) {
            *bucket = bucket.saturating_add(count);
        }
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.buckets.iter().fold(0, |total, bucket| total.saturating_add(*bucket))
    }

    /// Where the values lie. A percentile is the largest value its bucket may hold.
    pub fn percentile_stats(&self) -> PercentileStats {
        let at = |permille| self.percentile(permille);
        PercentileStats {
            samples: self.total(),
            p0_1: at(1),
            p1: at(10),
            p5: at(50),
            p10: at(100),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
        }
    }

    fn percentile(&self, permille: u128) -> u64 {
        let wanted = (u128::from(self.total()) * permille).div_ceil(1000);
        let mut seen = 0;
        for (bits, bucket) in self.buckets.iter().enumerate() {
            seen += u128::from(*bucket);
            if seen > 0 && seen >= wanted {
                return largest(bits);
            }
        }
        0
    }
}

/// The largest value of so many bits.
fn largest(bits: usize) -> u64 {
    match bits {
        0 => 0,
        bits => u64::MAX >> (64 - bits),
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the values of a histogram lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many there are.
    pub samples: u64,
    /// One in a thousand is not larger.
    pub p0_1: u64,
    /// One in a hundred is not larger.
    pub p1: u64,
    /// One in twenty is not larger.
    pub p5: u64,
    /// One in ten is not larger.
    pub p10: u64,
    /// Half of them are not larger.
    pub p50: u64,
    /// Nine in ten are not larger.
    pub p90: u64,
    /// All but one in a hundred are not larger.
    pub p99: u64,
    /// All but one in a thousand are not larger.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p90, p99, p99_9, .. } = self;
        write!(f, "{samples} samples, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}")
    }
}

/// Histograms one below the other, as text.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    rows: Vec<(String, Histogram)>,
}

impl AsciiChart {
    /// A chart without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.rows.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.rows {
            write!(f, "{name}:")?;
            for (bits, count) in histogram.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
                write!(f, " <={}: {count}", largest(bits))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_ends_of_their_buckets() {
        assert_eq!(Histogram::<()>::new().percentile_stats(), PercentileStats::default());
        let mut histogram = Histogram::<()>::new();
        histogram.record(0);
        histogram.record_n(5, 98);
        histogram.record(u64::MAX);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p0_1, stats.p1), (100, 0, 0));
        assert_eq!((stats.p5, stats.p50, stats.p99, stats.p99_9), (7, 7, 7, u64::MAX));
        let chart = AsciiChart::new().add("values", histogram).to_string();
        assert_eq!(chart, format!("values: <=0: 1 <=7: 98 <={}: 1\n", u64::MAX));
    }
}
