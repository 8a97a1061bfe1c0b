//! Cores that were cut off anywhere or have wrong bytes anywhere: a clear error or a partial core, never a panic, a hang, or
//! memory beyond a bound.

mod core_support;

use core_support::{CoreBuilder, Directory, Numbers, Packing, RW, RX};
use poolscope::addr::{Addr, AddrRange};
use poolscope::target::core::{Core, CoreError};
use poolscope::target::memory::Memory;
use std::path::Path;
use std::time::{Duration, Instant};

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x60_0000;
const LINKS: u64 = 0x70_0000;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A small core with everything that is followed: an ELF header in memory, a dynamic section, and a list of two modules.
fn sample() -> Vec<u8> {
    let mut code = vec![0; 0x180];
    code[..6].copy_from_slice(b"\x7fELF\x02\x01");
    code[32..40].copy_from_slice(&64u64.to_le_bytes());
    code[54..58].copy_from_slice(&[56, 0, 3, 0]);
    let program = |kind: u32, offset: u64, address: u64, size: u64| {
        [u64::from(kind) | 4 << 32, offset, address, 0, size, size, 8].map(u64::to_le_bytes).concat()
    };
    code[64..120].copy_from_slice(&program(6, 64, 64, 168));
    code[120..176].copy_from_slice(&program(2, 0, DATA - CODE, 64));
    code[176..232].copy_from_slice(&program(4, 0x100, 0x100, 36));
    code[0x100..0x110].copy_from_slice(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0");
    code[0x110..0x124].copy_from_slice(&[0xab; 20]);
    let data = words(&[21, LINKS, 0, 0, 0, 0, 0, 0]);
    let mut links = words(&[1, LINKS + 0x20, 0, 0]);
    links.extend(words(&[CODE, LINKS + 0x90, DATA, LINKS + 0x50, 0, 0]));
    links.extend(words(&[0x7000, LINKS + 0x98, 0x7123, LINKS + 0x20, 0, 0, 0, 0]));
    links.extend(b"\0\0\0\0\0\0\0\0/lib/libexample.so\0");
    CoreBuilder::new()
        .thread(100, CODE + 0x10, DATA, 0x1111)
        .process(100, 99, "nginx", "nginx: worker process")
        .auxiliary(&[(3, CODE + 64), (4, 56), (5, 3), (6, 4096), (9, CODE + 0x80), (33, 0x9000)])
        .files(&[(CODE, CODE + 0x1000, 0, "/usr/sbin/nginx")])
        .segment(CODE, RX, code, 0x1000)
        .segment(DATA, RW, data, 64)
        .segment(LINKS, RW, links, 0x1000)
        .build()
}

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
    let core = exercise(&directory.write("core", &sample())).unwrap();
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
    let mut bytes = sample();
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
    let (bytes, directory) = (sample(), Directory::new());
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
    let (bytes, directory) = (sample(), Directory::new());
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
    let (bytes, directory) = (sample(), Directory::new());
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
        assert!(start.elapsed() < Duration::from_secs(5), "round {round} took {:?}", start.elapsed());
    }
    assert!(opened > 3000, "{opened}");
    let grown = peak() - before;
    assert!(grown < 512 << 20, "{grown}");
}
