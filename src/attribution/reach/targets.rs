//! What pointers are looked for, and how a word is told to be one.
//!
//! A word leads to a chunk if it is an address within it. LuaJIT keeps pointers in 64-bit words whose upper bits are a type
//! tag (LuaJIT `lj_obj.h`, `LJ_GC64`): there the lower 47 bits count; of light userdata the lower 39, whose upper bits are
//! in a table of its own.

use super::nodes::Span;

/// Bits of an address in the lower half of the address space of x86_64.
const LOW_47: u64 = (1 << 47) - 1;
/// On aarch64 the lower half has one more.
const LOW_48: u64 = (1 << 48) - 1;
/// Words from here on are tagged (LuaJIT): the sign and all bits of the exponent are set, and the highest of the fraction.
const TAGGED: u64 = 0xfff8 << 48;
/// The tag of light userdata (LuaJIT `LJ_TLIGHTUD`).
const LIGHT_USERDATA: u64 = 0x1_fffc;
/// Bits of an address that light userdata has itself (LuaJIT `LJ_LIGHTUD_BITS_LO`).
const LIGHT_LOW: u64 = (1 << 39) - 1;

/// Wanted chunks further apart than this lie in zones of their own: the brk heap and what comes from mmap.
const APART: u64 = 1 << 40;
/// A zone's map of pages has at most so many bits; in a larger zone a bit stands for more than a page.
const MOST_BITS: u64 = 1 << 24;

/// Chunks that are looked for, ready for many look-ups.
#[derive(Debug)]
pub struct Targets {
    spans: Vec<Span>,
    zones: [Zone; 2],
    mask: u64,
    /// Upper bits of addresses of wanted chunks, for light userdata, which has the lower [`LIGHT_LOW`] only.
    segments: Vec<u64>,
}

/// A stretch of address space with wanted chunks, and on which of its pages they lie.
#[derive(Debug, Default)]
struct Zone {
    low: u64,
    length: u64,
    /// The bits that no offset in it has set.
    outside: u64,
    shift: u32,
    pages: Vec<u64>,
}

impl Zone {
    fn of(spans: &[Span]) -> Zone {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return Zone::default() };
        let low = first.start;
        let length = last.end.saturating_sub(low);
        let mut shift = 12;
        while length >> shift >= MOST_BITS {
            shift += 1;
        }
        let outside = u64::MAX.checked_shl(u64::BITS - length.leading_zeros()).unwrap_or(0);
        let pages = vec![0; ((length >> shift) / 64 + 1) as usize];
        let mut zone = Zone { low, length, outside, shift, pages };
        for span in spans {
            let last = (span.end - 1).saturating_sub(low) >> shift;
            for page in (span.start - low) >> shift..=last {
                if let Some(bits) = zone.pages.get_mut((page / 64) as usize) {
                    *bits |= 1 << (page % 64);
                }
            }
        }
        zone
    }

    /// True if something wanted lies on the page of `address`.
    fn has(&self, address: u64) -> bool {
        let offset = address.wrapping_sub(self.low);
        let page = offset >> self.shift;
        offset < self.length && self.pages.get((page / 64) as usize).is_some_and(|bits| bits >> (page % 64) & 1 == 1)
    }
}

/// Bytes that are dismissed at once, if none of their words can lead anywhere.
const GROUP: usize = 64;

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

impl Targets {
    /// Looks for `spans`, which are in address order, do not overlap, and hold at least one byte each.
    pub fn new(spans: Vec<Span>) -> Targets {
        let gap = spans.windows(2).position(|pair| pair[1].start.saturating_sub(pair[0].end) > APART);
        let (lower, upper) = spans.split_at(gap.map_or(spans.len(), |last| last + 1));
        let zones = [Zone::of(lower), Zone::of(upper)];
        let mask = if spans.last().is_some_and(|last| last.end > LOW_47) { LOW_48 } else { LOW_47 };
        let mut segments: Vec<u64> =
            spans.iter().flat_map(|span| (span.start & !LIGHT_LOW..span.end).step_by(LIGHT_LOW as usize + 1)).collect();
        segments.dedup();
        Targets { spans, zones, mask, segments }
    }

    /// True if nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The node whose memory holds `address`.
    pub fn at(&self, address: u64) -> Option<u32> {
        let after = self.spans.partition_point(|span| span.start <= address);
        let span = self.spans.get(after.checked_sub(1)?)?;
        (address < span.end).then_some(span.node)
    }

    /// Calls `found` with the offset in bytes of each aligned word of `bytes` that leads to a wanted chunk, and its node.
    pub fn search(&self, bytes: &[u8], mut found: impl FnMut(usize, u32)) {
        if self.is_empty() {
            return;
        }
        for (group, bytes) in bytes.chunks(GROUP).enumerate() {
            // Most groups hold nothing: one branch for all words.
            let any = <&[u8; GROUP]>::try_from(bytes).map_or(true, |whole| self.any_may_lead(whole));
            if !any {
                continue;
            }
            for (index, word) in words(bytes).enumerate() {
                if let Some(node) = self.led_to(word) {
                    found(group * GROUP + index * 8, node);
                }
            }
        }
    }

    /// False only if no word of a group leads anywhere. It compares in a way that the processor can do for several words side
    /// by side: whether bits are all zero.
    #[inline]
    fn any_may_lead(&self, group: &[u8; GROUP]) -> bool {
        let [lower, upper] = &self.zones;
        // Where there is one zone only, it is looked at twice.
        let upper = if upper.length == 0 { lower } else { upper };
        let any = words(group).fold(0, |any, word| {
            let address = word & self.mask;
            let below = address.wrapping_sub(lower.low) & lower.outside;
            let above = address.wrapping_sub(upper.low) & upper.outside;
            let light = (word ^ LIGHT_USERDATA << 47) & !LOW_47;
            any | u64::from(below == 0) | u64::from(above == 0) | u64::from(light == 0)
        });
        any != 0
    }

    /// The node that a word leads to.
    pub fn led_to(&self, word: u64) -> Option<u32> {
        let address = match word {
            0..=LOW_48 => word,
            TAGGED.. => word & self.mask,
            _ => return None,
        };
        let direct = self.on_wanted_page(address).then(|| self.at(address)).flatten();
        if direct.is_some() || word >> 47 != LIGHT_USERDATA {
            return direct;
        }
        self.segments.iter().find_map(|segment| self.at(segment | word & LIGHT_LOW))
    }

    fn on_wanted_page(&self, address: u64) -> bool {
        self.zones.iter().any(|zone| zone.has(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Targets {
        let span = |start, end, node| Span { start, end, node };
        Targets::new(vec![
            span(0x5555_0000_1010, 0x5555_0000_1028, 0),
            span(0x5555_0000_9000, 0x5555_0000_b000, 1),
            span(0x7fff_0000_0010, 0x7fff_0000_1000, 2),
        ])
    }

    fn led_to(word: u64) -> Option<u32> {
        targets().led_to(word)
    }

    #[test]
    fn a_pointer_anywhere_into_a_chunk_counts() {
        assert_eq!(led_to(0x5555_0000_1010), Some(0));
        assert_eq!(led_to(0x5555_0000_1027), Some(0));
        assert_eq!(led_to(0x5555_0000_1028), None);
        assert_eq!(led_to(0x5555_0000_a123), Some(1));
        assert_eq!(led_to(0x7fff_0000_0010), Some(2));
        assert_eq!(led_to(0), None);
        assert_eq!(led_to(u64::MAX), None);
    }

    #[test]
    fn tagged_pointers_of_luajit_count() {
        assert_eq!(led_to(0xfffa_8000_0000_0000 | 0x5555_0000_a000), Some(1));
        // Not a tag: the words of a text.
        assert_eq!(led_to(0x2020_5555_0000_a000), None);
        let light = |address: u64| LIGHT_USERDATA << 47 | 1 << 39 | address & LIGHT_LOW;
        assert_eq!(led_to(light(0x7fff_0000_0020)), Some(2));
        assert_eq!(led_to(light(0x5555_0000_1010)), Some(0));
    }

    #[test]
    fn light_userdata_is_found_in_every_part_of_the_address_space() {
        let starts = [0x4000_0010u64, 0x5555_0000_1010, 0x6000_0000_0010, 0x6123_4567_8010, 0x7fff_0000_0010];
        let span = |(node, start): (u32, &u64)| Span { start: *start, end: start + 0x40, node };
        let targets = Targets::new((0..).zip(&starts).map(span).collect());
        for (node, start) in (0u32..).zip(starts) {
            let light = LIGHT_USERDATA << 47 | 3 << 39 | start & LIGHT_LOW;
            let expected = starts.iter().position(|other| other & LIGHT_LOW == start & LIGHT_LOW).unwrap() as u32;
            assert_eq!(targets.led_to(light + 8), Some(expected), "{start:x}");
            assert_eq!(targets.led_to(start + 8), Some(node));
            let mut found = Vec::new();
            targets
                .search(&[[0; 8], light.to_le_bytes()].concat().repeat(4), |offset, node| found.push((offset, node)));
            assert_eq!(found, [8, 24, 40, 56].map(|offset| (offset, expected)), "{start:x}");
        }
    }

    #[test]
    fn a_search_tells_where_each_pointer_stands() {
        let words = [7u64, 0x5555_0000_9000, 0, 0, 0, 0, 0, 0, 0, 0x7fff_0000_0ff8, 3];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut found = Vec::new();
        targets().search(&bytes, |offset, node| found.push((offset, node)));
        assert_eq!(found, [(8, 1), (72, 2)]);
        Targets::new(Vec::new()).search(&bytes, |_, _| panic!("nothing is looked for"));
    }
}
