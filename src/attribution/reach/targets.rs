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
}

/// A stretch of address space with wanted chunks, and on which of its pages they lie.
#[derive(Debug, Default)]
struct Zone {
    low: u64,
    length: u64,
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
        let mut zone = Zone { low, length, shift, pages: vec![0; ((length >> shift) / 64 + 1) as usize] };
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

impl Targets {
    /// Looks for `spans`, which are in address order, do not overlap, and hold at least one byte each.
    pub fn new(spans: Vec<Span>) -> Targets {
        let gap = spans.windows(2).position(|pair| pair[1].start.saturating_sub(pair[0].end) > APART);
        let (lower, upper) = spans.split_at(gap.map_or(spans.len(), |last| last + 1));
        let zones = [Zone::of(lower), Zone::of(upper)];
        let mask = if spans.last().is_some_and(|last| last.end > LOW_47) { LOW_48 } else { LOW_47 };
        Targets { spans, zones, mask }
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
    /// `has_lua` is true for memory that may hold LuaJIT's light userdata.
    #[inline]
    pub fn search(&self, bytes: &[u8], has_lua: bool, mut found: impl FnMut(usize, u32)) {
        let words = bytes.as_chunks::<8>().0;
        for (group, words) in words.chunks(8).enumerate() {
            // Most groups hold nothing: one branch for all eight words.
            let any = words.iter().fold(false, |any, word| any | self.may_lead(u64::from_le_bytes(*word), has_lua));
            if !any {
                continue;
            }
            for (index, word) in words.iter().enumerate() {
                if let Some(node) = self.led_to(u64::from_le_bytes(*word), has_lua) {
                    found((group * 8 + index) * 8, node);
                }
            }
        }
    }

    #[inline]
    fn may_lead(&self, word: u64, has_lua: bool) -> bool {
        let address = word & self.mask;
        let [lower, upper] = &self.zones;
        (address.wrapping_sub(lower.low) < lower.length)
            | (address.wrapping_sub(upper.low) < upper.length)
            | (has_lua & (word >> 47 == LIGHT_USERDATA))
    }

    /// The node that a word leads to.
    pub fn led_to(&self, word: u64, has_lua: bool) -> Option<u32> {
        let address = match word {
            0..=LOW_48 => word,
            TAGGED.. => word & self.mask,
            _ => return None,
        };
        let direct = self.on_wanted_page(address).then(|| self.at(address)).flatten();
        if direct.is_some() || !has_lua || word >> 47 != LIGHT_USERDATA {
            return direct;
        }
        self.zones.iter().find_map(|zone| {
            let address = zone.low & !LIGHT_LOW | word & LIGHT_LOW;
            [address, address + LIGHT_LOW + 1].into_iter().find_map(|address| self.at(address))
        })
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
        targets().led_to(word, true)
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
        let light = LIGHT_USERDATA << 47 | 1 << 39 | 0x7fff_0000_0020 & LIGHT_LOW;
        assert_eq!(led_to(light), Some(2));
        assert_eq!(targets().led_to(light, false), None);
    }

    #[test]
    fn a_search_tells_where_each_pointer_stands() {
        let words = [7u64, 0x5555_0000_9000, 0, 0, 0, 0, 0, 0, 0, 0x7fff_0000_0ff8, 3];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut found = Vec::new();
        targets().search(&bytes, false, |offset, node| found.push((offset, node)));
        assert_eq!(found, [(8, 1), (72, 2)]);
        Targets::new(Vec::new()).search(&bytes, true, |_, _| panic!("nothing is looked for"));
    }
}
