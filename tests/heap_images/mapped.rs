//! Mapped chunks among whatever else lies in anonymous memory.

use super::glibcs::{glibc_2_36, glibc_2_43};
use super::lists::link_word;
use super::process::{HeapImage, PAGE};
use super::reading::{Counting, settle};
use super::spec::{Mapped, Spec, in_use};
use poolscope::addr::{Addr, AddrRange};
use poolscope::malloc::chunk::ChunkState;
use poolscope::malloc::mmapped::{AnonymousScan, MappingRule, MmappedFormat, scan};
use poolscope::malloc::rehearsal::Rehearsal;
use poolscope::target::image::Image;
use std::sync::atomic::Ordering;

const BASE: Addr = Addr(0x7d00_0000_0000);

/// Pages of user bytes, with words written over.
/// Every page may hold data.
fn every(page: Addr, end: Addr) -> Option<Addr> {
    (page < end).then_some(page)
}

fn pages(count: u64, words: &[(u64, u64)]) -> Image {
    let mut image = Image::new();
    image.map(BASE, vec![0xa5; (count * PAGE) as usize]);
    for (offset, word) in words {
        assert!(image.write_u64(BASE + *offset, *word));
    }
    image
}

fn format(rule: MappingRule) -> MmappedFormat {
    MmappedFormat { rule, page_size: PAGE }
}

fn look(image: &Image, rule: MappingRule, count: u64) -> AnonymousScan {
    scan(image, format(rule), &[AddrRange::sized(BASE, count * PAGE)], &every, None)
}

/// Offset of user memory and of the mapping's two ends.
fn places(scan: &AnonymousScan) -> Vec<(u64, u64, u64)> {
    let place = |address: Addr| address.0 - BASE.0;
    scan.mmapped.iter().map(|m| (place(m.chunk.memory()), place(m.mapping.start), place(m.mapping.end))).collect()
}

#[test]
fn chunks_side_by_side_in_one_mapping_are_told_apart() {
    let plain = pages(9, &[(0, 0), (8, 0x2002), (0x2000, 0), (0x2008, 0x1002), (0x4000, 0), (0x4008, 0x5002)]);
    let expected = [(0x10, 0, 0x2000), (0x2010, 0x2000, 0x3000), (0x4010, 0x4000, 0x9000)];
    assert_eq!(places(&look(&plain, MappingRule::SizeIncludesHeader, 9)), expected);
    let newer = pages(9, &[(0, 0), (8, 0x1ff2), (0x2000, 1), (0x2008, 0xff2), (0x4000, 0), (0x4008, 0x4ff2)]);
    let found = look(&newer, MappingRule::HeaderIsExtra, 9);
    // The second one is on huge pages, as bit 0 of its first word says.
    assert_eq!(places(&found), expected);
    assert_eq!(found.mmapped.iter().map(|m| m.usable).collect::<Vec<_>>(), [0x1ff0, 0xff0, 0x4ff0]);
    assert!(look(&newer, MappingRule::SizeIncludesHeader, 9).mmapped.is_empty());
}

#[test]
fn an_aligned_chunk_counts_and_the_stale_header_before_it_does_not() {
    for shift in [5u32, 6, 9, 12, 13, 16] {
        let alignment = 1u64 << shift;
        // As `_int_memalign` has it: at least a smallest chunk lies before the aligned one.
        let memory = if alignment < 48 { 64 } else { alignment };
        let total = 0x40000;
        let header = memory - 16;
        let words = [(0, 0), (8, total | 2), (header, header), (header + 8, (total - header) | 2)];
        let found = look(&pages(0x41, &words), MappingRule::SizeIncludesHeader, 0x41);
        assert_eq!(places(&found), [(memory, 0, total)], "alignment {alignment:#x}");
        assert_eq!(found.mmapped[0].usable, total - header - 16);
    }
}

#[test]
fn absent_pages_are_not_read_and_what_follows_them_is_found() {
    let image = pages(64, &[(0x8000, 0), (0x8008, 0x1002), (0x20000, 0), (0x20008, 0x3002)]);
    let counting = Counting::new(&image);
    let next_present = |page: Addr, end: Addr| {
        let page = page.max(BASE + 0x10000);
        (page < end.min(BASE + 0x22000)).then_some(page)
    };
    let found = scan(
        &counting,
        format(MappingRule::SizeIncludesHeader),
        &[AddrRange::sized(BASE, 64 * PAGE)],
        &next_present,
        None,
    );
    assert_eq!(places(&found), [(0x20010, 0x20000, 0x23000)]);
    assert!(counting.bytes.load(Ordering::Relaxed) < 18 * 16 * 4);
    let nothing = scan(
        &counting,
        format(MappingRule::SizeIncludesHeader),
        &[AddrRange::sized(BASE, 64 * PAGE)],
        &|_, _| None,
        None,
    );
    assert_eq!(nothing.mmapped.len(), 0);
}

#[test]
fn an_unreadable_page_does_not_hide_its_neighbours() {
    let mut image = pages(2, &[(0, 0), (8, 0x1002)]);
    image.map(BASE + 3 * PAGE, vec![0; PAGE as usize]);
    assert!(image.write_u64(BASE + 3 * PAGE + 8, 0x1002));
    assert_eq!(
        places(&look(&image, MappingRule::SizeIncludesHeader, 4)),
        [(0x10, 0, 0x1000), (0x3010, 0x3000, 0x4000)]
    );
}

#[test]
fn what_only_looks_like_a_header_is_left() {
    let candidates = [
        // Beyond the end of the mapping; not whole pages; with flags that a mapped chunk never has; too small.
        (0, 0x5002),
        (0, 0x1012),
        (0, 0x1003),
        (0, 0x1006),
        (0, 0x100a),
        (0, 0x2),
        // Something before it, so that it cannot begin a mapping; sums that wrap.
        (0x30, 0x1002),
        (u64::MAX, 0x1002),
        (0, !0xd),
        (0x1000, !0xfff | 2),
    ];
    for (first, second) in candidates {
        for rule in [MappingRule::SizeIncludesHeader, MappingRule::HeaderIsExtra] {
            let image = pages(4, &[(0, first), (8, second)]);
            assert!(look(&image, rule, 4).mmapped.is_empty(), "{first:#x} {second:#x} {rule:?}");
        }
    }
}

#[test]
fn pieces_of_the_main_arena_are_only_where_there_is_room() {
    let image = pages(8, &[(8, 0x21), (0x1008, 0x25), (0x2008, 0x7001), (0x4008, 0x4011), (0x6008, 0x41)]);
    let range = [AddrRange::sized(BASE, 8 * PAGE)];
    let found = scan(&image, format(MappingRule::SizeIncludesHeader), &range, &every, Some(4 * PAGE));
    assert_eq!(found.piece_candidates, [BASE]);
    let found = scan(&image, format(MappingRule::SizeIncludesHeader), &range, &every, Some(PAGE));
    assert_eq!(found.piece_candidates, [BASE, BASE + 0x6000]);
}

/// From glibc 2.43 on the thread cache takes mapped chunks too.
#[test]
fn a_mapped_chunk_in_a_thread_cache_is_freed() {
    let spec = Spec { mapped: vec![Mapped { pages: 40, alignment: None }; 2], ..Spec::plain(&[in_use(0x60)]) };
    let mut target = HeapImage::build(&glibc_2_43(), &spec);
    let freed = target.mapped[1].chunk.memory();
    let head = target.tcaches[0] + target.glibc.tcache().entries + 64 * 8;
    target.poke(head, freed.0);
    target.poke(freed, link_word(target.glibc.linking, freed, 0));
    let heap = settle(&target, &Rehearsal::default(), 1);
    assert_eq!(heap.books.problems, Vec::<String>::new());
    let states: Vec<_> = heap.mmapped.iter().map(|mapped| mapped.chunk.state()).collect();
    assert_eq!(states, [ChunkState::InUse, ChunkState::Tcache]);
    assert!(heap.in_use().all(|(_, chunk)| chunk.memory() != freed));
}

#[test]
fn what_a_rehearsal_has_found_is_looked_for_anew_once_it_is_gone() {
    let spec = |pages: &[u64]| Spec {
        mapped: pages.iter().map(|pages| Mapped { pages: *pages, alignment: None }).collect(),
        ..Spec::plain(&[in_use(0x60)])
    };
    for (before, after) in [([30, 40], [40, 30]), ([30, 40], [35, 35]), ([30, 30], [60, 30])] {
        let before = HeapImage::build(&glibc_2_36(), &spec(&before));
        let after = HeapImage::build(&glibc_2_36(), &spec(&after));
        let rehearsal = super::reading::rehearse(&before, 1);
        super::reading::assert_found(&after, &settle(&after, &rehearsal, 1));
    }
}
