//! Where malloc's books disagree with what is found, one sentence names the arena and both figures.

use super::glibcs::{glibc_2_27, glibc_2_36};
use super::process::HeapImage;
use super::reading::settle;
use super::spec::{Mapped, Spec, cached, fast, free, in_use};
use poolscope::addr::Addr;
use poolscope::malloc::chunk::{Chunk, ChunkState};
use poolscope::malloc::rehearsal::Rehearsal;

fn target() -> HeapImage {
    let cells = [in_use(0x40), free(0x500), in_use(0x20), cached(0x60), fast(0x40), in_use(0x40), cached(0x60)];
    let spec = Spec {
        arenas: vec![vec![vec![in_use(0x90), free(0x600), in_use(0x40)]]],
        mapped: vec![Mapped { pages: 40, alignment: None }],
        ..Spec::plain(&cells)
    };
    HeapImage::build(&glibc_2_36(), &spec)
}

fn problems(target: &HeapImage) -> Vec<String> {
    let heap = settle(target, &Rehearsal::default(), 1);
    assert!(!heap.books.reconcile_exactly());
    heap.books.problems
}

/// One problem, with all of these in it.
fn assert_says(problems: &[String], parts: &[&str]) {
    let [problem] = problems else { panic!("{problems:#?}") };
    for part in parts {
        assert!(problem.contains(part), "no {part:?} in {problem:?}");
    }
}

fn first(target: &HeapImage, state: ChunkState) -> Chunk {
    *target.chunks.iter().find(|chunk| chunk.state() == state).unwrap()
}

#[test]
fn bytes_from_the_kernel() {
    for (index, name) in [(0, "main_arena".to_owned()), (1, format!("arena {}", target().arenas[1]))] {
        for difference in [-0x1000i64, 0x2000] {
            let mut target = target();
            let place = target.arenas[index] + target.glibc.layout.state.system_mem;
            let heap = settle(&target, &Rehearsal::default(), 1);
            let found = heap.books.arenas[index].accounted();
            let says = found.wrapping_add_signed(difference);
            target.poke(place, says);
            let by = format!("{:+}", -difference);
            assert_says(&problems(&target), &[&name, &found.to_string(), &says.to_string(), &by]);
        }
    }
}

#[test]
fn mapped_chunks_and_their_bytes() {
    let par = target().roots.par;
    let layout = target().glibc.layout.par;
    let mut fewer = target();
    assert!(fewer.image.write(par + layout.n_mmaps, &7u32.to_le_bytes()));
    assert_says(&problems(&fewer), &["1 mmapped chunks (163840 bytes)", "7 (163840 bytes)"]);
    let mut bytes = target();
    bytes.poke(par + layout.mmapped_mem, 999);
    assert_says(&problems(&bytes), &["1 mmapped chunks (163840 bytes)", "1 (999 bytes)"]);
}

#[test]
fn free_chunks_that_no_bin_holds() {
    for (index, size) in [(0, 0x500u64), (1, 0x600)] {
        let mut target = target();
        let bins = target.arenas[index] + target.glibc.layout.state.bins;
        for bin in 0..target.glibc.layout.state.bin_count {
            let pair = bins + bin * 16;
            target.poke(pair, pair.0 - 16);
            target.poke(pair + 8, pair.0 - 16);
        }
        let name = if index == 0 { "main_arena".to_owned() } else { format!("arena {}", target.arenas[1]) };
        assert_says(&problems(&target), &[&name, &format!("1 free chunks ({size} bytes)"), "hold 0 (0 bytes)"]);
    }
}

#[test]
fn a_bin_whose_last_chunk_is_another_than_it_says() {
    let mut target = target();
    let chunk = first(&target, ChunkState::Free);
    let bins = target.arenas[0] + target.glibc.layout.state.bins;
    let pair = (0..127).map(|bin| bins + bin * 16).find(|pair| {
        use poolscope::target::memory::Memory;
        target.image.read_u64(*pair + 8) == Ok(chunk.start().0)
    });
    target.poke(pair.unwrap() + 8, 0x4000);
    let arena = target.arenas[0].to_string();
    assert_says(&problems(&target), &["bin", &arena, "0x4000", &chunk.start().to_string()]);
}

#[test]
fn a_backward_link_that_leads_elsewhere() {
    let mut target = target();
    let chunk = first(&target, ChunkState::Free);
    target.poke(chunk.memory() + 8, 0x4000);
    let found = problems(&target);
    assert!(found.len() == 2, "{found:#?}");
    assert_says(&found[..1], &["bin", "backward link", &chunk.start().to_string(), "0x4000"]);
    assert_says(&found[1..], &["main_arena", "1 free chunks", "hold 0"]);
}

#[test]
fn a_count_of_a_thread_cache() {
    for glibc in [glibc_2_27(), glibc_2_36()] {
        let mut target = HeapImage::build(&glibc, &Spec::plain(&[cached(0x60), in_use(0x20), cached(0x60)]));
        let bytes = glibc.tcache().entries / glibc.tcache().lists;
        let count = target.tcaches[0] + 4 * bytes;
        assert!(target.image.write(count, &[5]));
        assert_says(&problems(&target), &["thread 100", "holds 2 chunks", "says 5"]);
    }
}

#[test]
fn members_of_freed_lists_that_are_no_chunks_in_use() {
    let entry = |target: &HeapImage, list: u64| target.tcaches[0] + target.glibc.tcache().entries + list * 8;
    let mut inside = target();
    // In the middle of what the program wrote: the word there leads nowhere.
    let middle = inside.chunks[1].memory() + 16;
    inside.poke(entry(&inside, 4), middle.0);
    let found = problems(&inside);
    assert!(found.iter().any(|problem| problem.contains(&middle.to_string())), "{found:#?}");

    let mut is_free = target();
    let chunk = first(&is_free, ChunkState::Free);
    is_free.poke(entry(&is_free, 4), chunk.memory().0);
    let found = problems(&is_free);
    let says = |problem: &String| problem.contains(&format!("{} is in a tcache list and is free", chunk.memory()));
    assert!(found.iter().any(says), "{found:#?}");

    let mut odd = target();
    odd.poke(odd.arenas[0] + 16, chunk.start().0 + 1);
    let found = problems(&odd);
    let says = |problem: &String| problem.contains("fastbin") && problem.contains("is not a chunk");
    assert!(found.iter().any(says), "{found:#?}");
}

#[test]
fn a_ring_of_arenas_that_leads_nowhere() {
    let mut target = target();
    target.poke(target.arenas[1] + target.glibc.layout.state.next, 0x10);
    assert_says(&problems(&target), &["ring of arenas", "0x10"]);
}

#[test]
fn a_heap_that_belongs_to_nobody() {
    let mut target = target();
    let base = target.arenas[1] - target.glibc.layout.heap_info.size;
    target.poke(base, 0x1234);
    let found = problems(&target);
    let arena = target.arenas[1].to_string();
    assert!(found.iter().any(|problem| problem.contains(&base.to_string()) && problem.contains(&arena)), "{found:#?}");
}

#[test]
fn a_damaged_header_is_named_with_what_is_wrong() {
    for (word, says) in
        [(0x19u64, "size 0x18"), (0x8001, "beyond the heap's end"), (0x43, "marked as mmapped"), (0x49, "multiple")]
    {
        let mut target = target();
        let at: Addr = target.chunks[1].start();
        target.poke(at + 8, word);
        let found = problems(&target);
        assert!(found.iter().any(|p| p.contains(&at.to_string()) && p.contains(says)), "{word:#x}: {found:#?}");
    }
}
