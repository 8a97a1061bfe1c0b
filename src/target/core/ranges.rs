//! Reading many small pieces with few reads.

use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Fault, Memory};

/// Pieces that lie no further apart are read together: copying the gap takes less than another system call.
const MAX_GAP: u64 = 4096;

/// Most bytes that are read together.
const MAX_SPAN: u64 = 256 * 1024;

/// Fills `buffer` with the ranges, one after the other.
pub(super) fn read(memory: &impl Memory, wanted: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
    let mut scratch = Vec::new();
    let (mut rest, mut left) = (buffer, wanted);
    while !left.is_empty() {
        let (group, others) = left.split_at(group_length(left));
        let bytes: u64 = group.iter().map(|range| range.len()).sum();
        let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len());
        let (head, tail) = rest.split_at_mut(length);
        read_group(memory, group, head, &mut scratch)?;
        (rest, left) = (tail, others);
    }
    Ok(())
}

/// How many ranges from the first on are read together: those that follow each other closely.
fn group_length(ranges: &[AddrRange]) -> usize {
    let Some(first) = ranges.first() else { return 0 };
    let is_near = |pair: &&[AddrRange]| match pair {
        [before, after] => {
            let gap = after.start.checked_offset_from(before.end);
            gap.is_some_and(|gap| gap <= MAX_GAP) && after.end.0.saturating_sub(first.start.0) <= MAX_SPAN
        }
        _ => false,
    };
    1 + ranges.windows(2).take_while(is_near).count()
}

fn read_group(
    memory: &impl Memory,
    group: &[AddrRange],
    buffer: &mut [u8],
    scratch: &mut Vec<u8>,
) -> Result<(), Fault> {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
    let span = AddrRange::new(first.start, last.end);
    if span.len() == buffer.len() as u64 {
        return memory.read(span.start, buffer);
    }
    scratch.resize(span.len() as usize, 0);
    // A gap may be unreadable where the ranges are not.
    let is_read = memory.read(span.start, scratch).is_ok();
    let mut rest = buffer;
    for range in group {
        let (head, tail) = rest.split_at_mut((range.len() as usize).min(rest.len()));
        match scratch.get(within(span, range.start)..).filter(|_| is_read) {
            Some(bytes) => head.copy_from_slice(bytes.get(..head.len()).unwrap_or_default()),
            None => memory.read(range.start, head)?,
        }
        rest = tail;
    }
    Ok(())
}

fn within(span: AddrRange, address: Addr) -> usize {
    (address.0 - span.start.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    #[test]
    fn near_and_far_ranges_come_in_their_order() {
        let mut image = Image::new();
        image.map(Addr(0x1000), (0..4096u32).map(|at| at as u8).collect());
        image.map(Addr(0x3000), vec![7; 0x1000]);
        let range = |start, length| AddrRange::sized(Addr(start), length);
        let wanted = [range(0x1010, 2), range(0x1020, 2), range(0x1ffe, 2), range(0x3000, 2), range(0x1001, 1)];
        let mut buffer = [0; 9];
        read(&image, &wanted, &mut buffer).unwrap();
        assert_eq!(buffer, [0x10, 0x11, 0x20, 0x21, 0xfe, 0xff, 7, 7, 1]);
        let mut buffer = [0; 4];
        let unmapped = read(&image, &[range(0x1000, 2), range(0x2000, 2)], &mut buffer);
        assert_eq!(unmapped, Err(Fault::Unmapped(Addr(0x2000))));
    }

    #[test]
    fn groups_end_at_wide_gaps_and_at_the_largest_span() {
        let range = |start, length| AddrRange::sized(Addr(start), length);
        assert_eq!(group_length(&[range(0, 8), range(8, 8), range(4112, 8), range(9000, 8)]), 3);
        assert_eq!(group_length(&[range(0, MAX_SPAN), range(MAX_SPAN, 8)]), 1);
        assert_eq!(group_length(&[range(64, 8), range(0, 8)]), 1);
    }
}
