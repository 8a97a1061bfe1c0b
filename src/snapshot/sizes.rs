//! Chunk sizes by power of two.

use serde::{Deserialize, Serialize};

/// Chunks whose size is at least `from` and below `to` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeBucket {
    /// Smallest size, a power of two.
    pub from: u64,
    /// First size that no longer belongs to it, twice `from`.
    pub to: u64,
    /// How many chunks.
    pub chunks: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
}

/// A histogram of chunk sizes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SizeHistogram {
    /// Buckets that hold anything, smallest first.
    pub buckets: Vec<SizeBucket>,
}

impl SizeHistogram {
    /// Counts a chunk of `size` bytes.
    pub fn add(&mut self, size: u64) {
        let from = bucket_of(size);
        // They are few, and ten million chunks come by: to look from the small end on is quicker than to halve.
        let index = self.buckets.iter().position(|bucket| bucket.from >= from).unwrap_or(self.buckets.len());
        if self.buckets.get(index).is_none_or(|bucket| bucket.from != from) {
            let to = from.saturating_mul(2);
            self.buckets.insert(index, SizeBucket { from, to, chunks: 0, bytes: 0 });
        }
        let bucket = &mut self.buckets[index];
        bucket.chunks += 1;
        bucket.bytes += size;
    }

    /// The bucket that starts at `from`, if it holds anything.
    pub fn bucket(&self, from: u64) -> Option<&SizeBucket> {
        self.buckets.iter().find(|bucket| bucket.from == from)
    }
}

/// The start of the bucket that `size` belongs to: the largest power of two not above it.
pub fn bucket_of(size: u64) -> u64 {
    1 << (63 - size.max(1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_two_begins_its_bucket() {
        assert_eq!(bucket_of(0x40000), 0x40000);
        assert_eq!(bucket_of(0x3fff0), 0x20000);
        assert_eq!(bucket_of(0), 1);
        assert_eq!(bucket_of(u64::MAX), 1 << 63);
    }

    #[test]
    fn buckets_stay_sorted_and_add_up() {
        let mut histogram = SizeHistogram::default();
        for size in [0x210, 0x20, 0x3ff, 0x400] {
            histogram.add(size);
        }
        let starts: Vec<u64> = histogram.buckets.iter().map(|bucket| bucket.from).collect();
        assert_eq!(starts, [0x20, 0x200, 0x400]);
        assert_eq!(histogram.bucket(0x200).map(|bucket| (bucket.chunks, bucket.bytes)), Some((2, 0x210 + 0x3ff)));
    }
}
