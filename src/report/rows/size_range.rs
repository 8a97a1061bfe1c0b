//! Ranges of sizes as people type them.

use std::str::FromStr;
use thiserror::Error;

/// Sizes from `from` on, below `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// The smallest size that belongs to it, in bytes.
    pub from: u64,
    /// The first that no longer does; `None` if there is no upper end.
    pub to: Option<u64>,
}

impl SizeRange {
    /// True if `size` belongs to it.
    pub fn contains(&self, size: u64) -> bool {
        size >= self.from && self.to.is_none_or(|to| size < to)
    }
}

/// Chunks begin and end at multiples of this (glibc malloc.c, `MALLOC_ALIGNMENT` on 64-bit machines).
const CHUNK_UNIT: u64 = 16;

impl SizeRange {
    /// A range of chunk sizes, which are multiples of 16.
    ///
    /// # Errors
    /// [`BadSizeRange`], also if no chunk can have a size in that range.
    pub fn of_chunks(text: &str) -> Result<SizeRange, BadSizeRange> {
        let range: SizeRange = text.parse()?;
        let next = range.from.max(1).checked_next_multiple_of(CHUNK_UNIT);
        match next {
            Some(next) if range.contains(next) => Ok(range),
            next => Err(BadSizeRange::NoChunk { text: text.to_owned(), next: next.unwrap_or(range.from) }),
        }
    }
}

/// Why a text is no range of sizes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadSizeRange {
    /// One of its ends is no size.
    #[error(
        "\"{0}\" is not a size: write bytes, or a number with K, M or G (1K is 1024), such as 256K..512K, 1M.. or 528"
    )]
    NotASize(String),
    /// No size can be in it.
    #[error("no size is at least {from} and below {to}: write the smaller end first (the upper end is excluded)")]
    Empty {
        /// The lower end in bytes.
        from: u64,
        /// The upper end in bytes.
        to: u64,
    },
    /// No chunk has such a size.
    #[error(
        "no chunk can match {text}: sizes of chunks are multiples of 16, malloc's header included; the next one is {next}"
    )]
    NoChunk {
        /// What was written.
        text: String,
        /// The next larger size that a chunk can have.
        next: u64,
    },
}

impl FromStr for SizeRange {
    type Err = BadSizeRange;

    /// `256K..512K`, `1M..`, `..4096`, or a single size. The upper end is excluded, as in the buckets of the report.
    fn from_str(text: &str) -> Result<SizeRange, BadSizeRange> {
        let Some((from, to)) = text.split_once("..") else {
            let size = parse_size(text)?;
            return Ok(SizeRange { from: size, to: size.checked_add(1) });
        };
        let end = |text: &str| if text.trim().is_empty() { Ok(None) } else { parse_size(text).map(Some) };
        let range = SizeRange { from: end(from)?.unwrap_or(0), to: end(to)? };
        match range.to {
            Some(to) if to <= range.from => Err(BadSizeRange::Empty { from: range.from, to }),
            _ => Ok(range),
        }
    }
}

/// Bytes, or a number with a binary unit: `528`, `256K`, `256KiB`.
///
/// # Errors
/// [`BadSizeRange::NotASize`].
pub fn parse_size(text: &str) -> Result<u64, BadSizeRange> {
    let bad = || BadSizeRange::NotASize(text.to_owned());
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err(bad()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(from: u64, to: impl Into<Option<u64>>) -> Result<SizeRange, BadSizeRange> {
        Ok(SizeRange { from, to: to.into() })
    }

    #[test]
    fn ranges_are_written_as_in_the_report() {
        assert_eq!("256K..512K".parse(), range(262_144, 524_288));
        assert_eq!("1M..".parse(), range(1 << 20, None));
        assert_eq!("..4096".parse(), range(0, 4096));
        assert_eq!("528".parse(), range(528, 529));
        assert_eq!("1k .. 2KiB".parse(), range(1024, 2048));
        assert_eq!("..".parse(), range(0, None));
        assert_eq!("18446744073709551615".parse(), range(u64::MAX, None));
    }

    #[test]
    fn the_upper_end_is_excluded() {
        let bucket: SizeRange = "256K..512K".parse().unwrap();
        assert!(bucket.contains(262_144) && bucket.contains(524_287));
        assert!(!bucket.contains(262_143) && !bucket.contains(524_288));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<SizeRange>().unwrap_err();
        assert_eq!(error("big"), BadSizeRange::NotASize("big".into()));
        assert_eq!(error(""), BadSizeRange::NotASize(String::new()));
        assert_eq!(error("1T.."), BadSizeRange::NotASize("1T".into()));
        assert_eq!(error("-5"), BadSizeRange::NotASize("-5".into()));
        assert_eq!(error("17179869184G"), BadSizeRange::NotASize("17179869184G".into()));
        assert_eq!(error("512K..256K"), BadSizeRange::Empty { from: 524_288, to: 262_144 });
        assert_eq!(error("4K..4K"), BadSizeRange::Empty { from: 4096, to: 4096 });
    }

    #[test]
    fn a_size_that_no_chunk_has_is_refused() {
        let next = |text: &str| match SizeRange::of_chunks(text).unwrap_err() {
            BadSizeRange::NoChunk { next, .. } => next,
            other => panic!("{other}"),
        };
        assert_eq!((next("529"), next("530..540"), next("0"), next("..16")), (544, 544, 16, 16));
        assert_eq!(SizeRange::of_chunks("528"), range(528, 529));
        assert_eq!(SizeRange::of_chunks("529..545"), range(529, 545));
        assert_eq!(SizeRange::of_chunks("100.."), range(100, None));
        assert!(SizeRange::of_chunks("18446744073709551615..").is_err());
        assert_eq!(SizeRange::of_chunks("big"), Err(BadSizeRange::NotASize("big".into())));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = (text.parse::<SizeRange>(), SizeRange::of_chunks(&text));
        }

        #[test]
        fn what_is_written_is_what_is_meant(from in 0u64..1 << 40, length in 1u64..1 << 40) {
            prop_assert_eq!(format!("{from}..{}", from + length).parse(), range(from, from + length));
        }
    }
}
