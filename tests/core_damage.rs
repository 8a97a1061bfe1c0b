//! Cores that were cut off anywhere or have wrong bytes anywhere: a clear error or a partial core, never a panic, a hang, or
//! memory beyond a bound.

mod core_support;

use core_support::{CODE, DATA, Directory, Numbers, Packing, linked_core};
use poolscope::addr::{Addr, AddrRange};
use poolscope::target::core::{Core, CoreError};
use poolscope::target::memory::Memory;
use std::path::Path;
use std::time::{Duration, Instant};

/// Asks for everything that a core can tell.
fn exercise(path: &Path) -> Result<Core, CoreError> {
    let core = Core::open(path)?;
    let maps = core.maps();
    let ranges: Vec<AddrRange> = maps.0.iter().map(|mapping| mapping.range).collect();
    let mut marked = maps.clone();
    marked.mark_brk_heap(Addr(DATA));
    for range in &ranges {
        let mut buffer = vec![0; range.len().min(0x2000) as usize];
        let _ = core.read(range.start, &mut buffer);
        let _ = core.read(range.end - 8, &mut [0; 16]);
    }
    let pairs: Vec<AddrRange> = ranges.iter().map(|range| AddrRange::sized(range.start, 8)).collect();
    let _ = core.read_ranges(&pairs, &mut vec![0; pairs.len() * 8]);
    let present = core.presence(&ranges);
    assert!(present.windows(2).all(|pair| pair[0].end <= pair[1].start));
    core.pagemap(&ranges).may_hold_data(Addr(DATA));
    core.modules();
    let completeness = core.completeness();
    assert!(completeness.problem.is_none_or(|problem| !problem.is_empty()));
    Ok(core)
}

#[test]
fn the_undamaged_core_holds_all_that_is_followed() {
    let directory = Directory::new();
    let core = exercise(&directory.write("core", &linked_core())).unwrap();
    let modules = core.modules();
    let nginx = modules.iter().find(|module| module.is_executable).unwrap();
    assert_eq!(nginx.path, Path::new("/usr/sbin/nginx"));
    assert_eq!(nginx.build_id, Some(vec![0xab; 20]));
    assert_eq!((nginx.link_map_bias, nginx.mappings()), (Some(CODE), vec![(Addr(CODE), 0)]));
    let library = modules.iter().find(|module| !module.is_executable).unwrap();
    assert_eq!((library.path.as_path(), library.link_map_bias), (Path::new("/lib/libexample.so"), Some(0x7000)));
}

#[test]
fn without_a_list_of_files_the_program_is_found_by_its_headers() {
    let mut bytes = linked_core();
    // NT_FILE becomes a note that nobody knows.
    let at = memchr::memmem::find(&bytes, b"ELIF").unwrap();
    bytes[at] = b'X';
    let directory = Directory::new();
    let modules = Core::open(&directory.write("core", &bytes)).unwrap().modules();
    let program = modules.iter().find(|module| module.is_executable).unwrap();
    assert_eq!((program.path.as_path(), program.link_map_bias), (Path::new("nginx"), Some(CODE)));
    assert_eq!(modules.len(), 2);
}

#[test]
fn a_core_cut_off_at_any_byte_is_an_error_or_partial() {
    let (bytes, directory) = (linked_core(), Directory::new());
    let path = directory.path().join("core");
    let mut opened = 0;
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        match exercise(&path) {
            Ok(core) => {
                opened += 1;
                let lacks = core.completeness();
                // Only the blanks at the end are of no importance.
                assert!(lacks.problem.is_some() || length >= bytes.len() - 16, "{length} of {} bytes", bytes.len());
            }
            Err(error) => assert!(error.to_string().contains(&path.display().to_string())),
        }
    }
    assert!(opened > 1000, "{opened}");
}

#[test]
fn a_packed_core_cut_off_at_any_byte_is_an_error_or_partial() {
    let (bytes, directory) = (linked_core(), Directory::new());
    let path = directory.path().join("core");
    for packing in Packing::ALL {
        for packed in [packing.pack(&bytes), packing.pack_in_frames(&bytes, 700)] {
            for length in 0..packed.len() {
                std::fs::write(&path, &packed[..length]).unwrap();
                if let Err(error) = exercise(&path) {
                    assert!(error.to_string().contains(&path.display().to_string()));
                }
            }
        }
    }
}

/// Damages some bytes: a wrong bit, a wrong byte, a word that is an extreme number, or a piece that moved.
fn damage(numbers: &mut Numbers, bytes: &mut [u8]) {
    for _ in 0..1 + numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(4) {
            0 => bytes[at] ^= 1 << numbers.below(8),
            1 => bytes[at] = numbers.next() as u8,
            2 => {
                let extreme = [0, 1, u64::MAX, i64::MAX as u64, 1 << 40, 0xffff][numbers.below(6)];
                let end = (at + 8).min(bytes.len());
                bytes[at..end].copy_from_slice(&extreme.to_le_bytes()[..end - at]);
            }
            _ => {
                let length = numbers.below(64).min(bytes.len() - at);
                let from = numbers.below(bytes.len() - length + 1);
                bytes.copy_within(from..from + length, at);
            }
        }
    }
}

/// Peak resident memory of this process in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn ten_thousand_corruptions_end_in_an_error_or_a_partial_core() {
    let (bytes, directory) = (linked_core(), Directory::new());
    let path = directory.path().join("core");
    let packed: Vec<Vec<u8>> = Packing::ALL.iter().map(|packing| packing.pack(&bytes)).collect();
    let mut numbers = Numbers(20_260_101);
    let (before, mut opened) = (peak(), 0);
    for round in 0..10_000usize {
        let mut damaged = match round % 8 {
            form @ 0..4 => packed[form].clone(),
            _ => bytes.clone(),
        };
        damage(&mut numbers, &mut damaged);
        std::fs::write(&path, &damaged).unwrap();
        let start = Instant::now();
        match exercise(&path) {
            Ok(_) => opened += 1,
            Err(error) => assert!(error.to_string().contains(&path.display().to_string())),
        }
        assert!(start.elapsed() < Duration::from_secs(30), "round {round} took {:?}", start.elapsed());
    }
    assert!(opened > 3000, "{opened}");
    let grown = peak() - before;
    assert!(grown < 512 << 20, "{grown}");
}

/// A core whose table of program headers lies at its end and names the same notes so many times more.
fn with_repeated_notes(times: u16) -> Vec<u8> {
    let mut bytes = linked_core();
    let table = bytes[64..64 + 4 * 56].to_vec();
    let notes = table[..56].to_vec();
    let at = bytes.len() as u64;
    bytes[32..40].copy_from_slice(&at.to_le_bytes());
    bytes[56..58].copy_from_slice(&(times + 4).to_le_bytes());
    bytes.extend(table);
    bytes.extend(notes.repeat(usize::from(times)));
    bytes
}

#[test]
fn the_same_notes_named_again_and_again_are_not_read_without_end() {
    const THREAD: usize = 112 + 34 * 8 + 8;
    let directory = Directory::new();
    let bytes = with_repeated_notes(20_000);
    let core = exercise(&directory.write("core", &bytes)).unwrap();
    assert!(core.threads().len() * THREAD <= bytes.len());
    assert!(core.completeness().problem.unwrap().contains("notes"));
    let sound = exercise(&directory.write("core", &with_repeated_notes(0))).unwrap();
    assert_eq!((sound.threads().len(), sound.completeness().problem), (1, None));
}
