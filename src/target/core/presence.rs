//! Which memory a core really holds data for: a scan need not look at the rest.

use super::Core;
use crate::addr::{Addr, AddrRange};
use crate::target::pagemap::Pagemap;

impl Core {
    /// The stretches of `ranges` (in address order) that may hold something other than zeroes, in address order. Left out is
    /// what is not saved, what was cut off, and what is known to be all zero: holes of a sparse file, and blocks of 64 KiB
    /// of zeroes in a stream.
    pub fn presence(&self, ranges: &[AddrRange]) -> Vec<AddrRange> {
        let mut found: Vec<AddrRange> = Vec::new();
        for range in ranges {
            let first = self.segments.list.partition_point(|segment| segment.range.end <= range.start);
            let touched = self.segments.list.iter().skip(first).take_while(|segment| segment.range.start < range.end);
            for segment in touched {
                let start = segment.range.start.max(range.start);
                let end = (segment.range.start + segment.saved).min(range.end);
                let Some(offset) = segment.offset.checked_add(start.0 - segment.range.start.0) else { continue };
                let wanted = offset..offset.saturating_add(AddrRange::new(start, end).len());
                for data in self.storage.data(wanted) {
                    add(&mut found, AddrRange::new(start + (data.start - offset), start + (data.end - offset)));
                }
            }
        }
        found
    }

    /// The same as a [`Pagemap`], for those who ask page by page.
    pub fn pagemap(&self, ranges: &[AddrRange]) -> Pagemap {
        Pagemap::of_presence(self.page_size, ranges, &self.presence(ranges))
    }
}

/// Adds a stretch, joined to the last one if they touch.
fn add(found: &mut Vec<AddrRange>, range: AddrRange) {
    let touches = |end: Addr| end >= range.start;
    match found.last_mut().filter(|last| touches(last.end)) {
        Some(last) => last.end = last.end.max(range.end),
        None => found.push(range),
    }
}
