//! Cores made byte by byte: what they hold, what they do not, and what becomes of damaged ones.

mod core_support;

use core_support::{CoreBuilder, Directory, Packing, R, RW, RX};
use poolscope::addr::{Addr, AddrRange};
use poolscope::target::core::{Core, CoreError};
use poolscope::target::maps::Backing;
use poolscope::target::memory::{Fault, Memory};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x60_0000;
const STACK: u64 = 0x7fff_0000_0000;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// A process of two threads: code of which the first bytes are saved, two data segments that touch, and a stack.
fn sample() -> CoreBuilder {
    CoreBuilder::new()
        .thread(100, CODE + 0x10, STACK + 0x80, 0x1111)
        .process(100, 99, "nginx", "nginx: worker process   ")
        .auxiliary(&[(6, 4096), (9, CODE + 8), (25, STACK + 0x40)])
        .files(&[
            (CODE, CODE + 0x1000, 0, "/usr/sbin/nginx (deleted)"),
            (0x70_0000, 0x70_1000, 0, "/dev/zero (deleted)"),
        ])
        .thread(101, CODE + 0x20, STACK + 0x90, 0x2222)
        .segment(CODE, RX, pattern(64), 0x1000)
        .segment(DATA, RW, pattern(0x200), 0x1000)
        .segment(DATA + 0x1000, RW, vec![5; 0x100], 0x100)
        .segment(0x70_0000, RW, vec![6; 0x40], 0x1000)
        .segment(STACK, RW, pattern(0x100), 0x100)
}

fn open(bytes: &[u8]) -> Result<Core, CoreError> {
    let directory = Directory::new();
    Core::open(&directory.write("core", bytes))
}

fn read(core: &Core, address: u64, length: usize) -> Result<Vec<u8>, Fault> {
    let mut buffer = vec![0xee; length];
    core.read(Addr(address), &mut buffer).map(|()| buffer)
}

#[test]
fn process_and_threads_come_from_the_notes() {
    let core = open(&sample().build()).unwrap();
    let process = core.process();
    assert_eq!((process.pid, process.parent, process.signal), (100, 99, None));
    assert_eq!((process.name.as_str(), process.title.as_str()), ("nginx", "nginx: worker process"));
    let threads: Vec<_> = core.threads().iter().map(|t| (t.tid, t.is_main, t.thread_pointer, t.pc, t.sp)).collect();
    let expected = [
        (100, true, Some(Addr(0x1111)), Addr(CODE + 0x10), Addr(STACK + 0x80)),
        (101, false, Some(Addr(0x2222)), Addr(CODE + 0x20), Addr(STACK + 0x90)),
    ];
    assert_eq!(threads, expected);
    assert_eq!(core.page_size(), 4096);
    assert!(core.written_at().is_some());
}

#[test]
fn the_deadly_signal_is_known_and_those_of_debuggers_do_not_count() {
    let with = |number: u32| open(&sample().note(0x5349_4749, &number.to_le_bytes()).build()).unwrap().process().signal;
    assert_eq!([11, 6, 5, 19, 0].map(with), [Some(11), Some(6), None, None, None]);
}

#[test]
fn what_is_not_saved_is_not_zero_and_what_is_not_mapped_is_neither() {
    let core = open(&sample().build()).unwrap();
    assert_eq!(read(&core, CODE, 64).unwrap(), pattern(64));
    assert_eq!(read(&core, CODE + 60, 8), Err(Fault::NotSaved(Addr(CODE + 64))));
    assert_eq!(read(&core, CODE + 0x800, 1), Err(Fault::NotSaved(Addr(CODE + 0x800))));
    assert_eq!(read(&core, CODE + 0x1000, 1), Err(Fault::Unmapped(Addr(CODE + 0x1000))));
    assert_eq!(read(&core, 0, 1), Err(Fault::Unmapped(Addr(0))));
    assert_eq!(read(&core, u64::MAX - 3, 8), Err(Fault::Unmapped(Addr(u64::MAX - 3))));
    let completeness = core.completeness();
    assert_eq!((completeness.mapped, completeness.missing, completeness.problem), (0x3200, 0, None));
    assert_eq!(completeness.not_saved, 0x1000 - 64 + 0x1000 - 0x200 + 0x1000 - 0x40);
}

#[test]
fn reads_cross_segments_that_touch() {
    let full = CoreBuilder::new()
        .thread(1, 0, 0, 0)
        .segment(DATA + 0x1000, RW, vec![2; 0x1000], 0x1000)
        .segment(DATA, RW, vec![1; 0x1000], 0x1000)
        .segment(DATA + 0x2000, RW, vec![3; 0x10], 0x10);
    let core = open(&full.build()).unwrap();
    let bytes = read(&core, DATA + 0xff0, 0x1020).unwrap();
    let expected: Vec<u8> = [vec![1; 0x10], vec![2; 0x1000], vec![3; 0x10]].concat();
    assert_eq!(bytes, expected);
    assert_eq!(read(&core, DATA + 0xff0, 0x1021), Err(Fault::Unmapped(Addr(DATA + 0x2010))));
    let ranges = [AddrRange::sized(Addr(DATA + 4), 2), AddrRange::sized(Addr(DATA + 0xfff), 2)];
    let mut buffer = [0; 4];
    core.read_ranges(&ranges, &mut buffer).unwrap();
    assert_eq!(buffer, [1, 1, 1, 2]);
}

#[test]
fn mappings_have_their_backing() {
    let core = open(&sample().build()).unwrap();
    let maps = core.maps();
    let backing = |address| maps.at(Addr(address)).unwrap().backing.clone();
    assert_eq!(backing(CODE), Backing::File { path: "/usr/sbin/nginx".into(), deleted: true });
    assert_eq!(backing(DATA), Backing::Anonymous);
    assert_eq!(backing(0x70_0000), Backing::SharedMemory);
    assert_eq!(backing(STACK), Backing::Stack);
    assert!(maps.0.iter().all(|mapping| mapping.resident.is_none()));
    assert_eq!(maps.anonymous_ranges(), [AddrRange::sized(Addr(DATA), 0x1100)]);
}

#[test]
fn a_binary_answers_for_what_nobody_could_write() {
    let mut core = open(&sample().build()).unwrap();
    let directory = Directory::new();
    let binary = vec![0xc3; 0x900];
    let file = File::open(directory.write("nginx", &binary)).unwrap();
    let mappings = [(AddrRange::sized(Addr(CODE), 0x1000), 0), (AddrRange::sized(Addr(DATA), 0x1000), 0)];
    assert_eq!(core.add_file(file, &mappings).unwrap(), 0x1000 - 64);
    let code = read(&core, CODE + 32, 0xfe0).unwrap();
    assert_eq!(code[..32], pattern(64)[32..]);
    assert!(code[32..0x900 - 32].iter().all(|byte| *byte == 0xc3));
    assert!(code[0x900 - 32..].iter().all(|byte| *byte == 0), "the rest of the last page is zero");
    assert_eq!(read(&core, DATA + 0x200, 1), Err(Fault::NotSaved(Addr(DATA + 0x200))));
    assert_eq!(core.completeness().from_files, 0x1000 - 64);
}

#[test]
fn mapped_files_that_no_segment_describes_are_there_and_not_saved() {
    let builder = CoreBuilder::new()
        .thread(1, 0, 0, 0)
        .files(&[(0x1000, 0x4000, 0, "/lib/a.so"), (0x4000, 0x5000, 0x3000, "/lib/a.so")])
        .segment(0x2000, R, vec![1; 0x1000], 0x1000);
    let core = open(&builder.build()).unwrap();
    assert_eq!(read(&core, 0x1000, 1), Err(Fault::NotSaved(Addr(0x1000))));
    assert_eq!(read(&core, 0x2000, 0x1000).unwrap(), vec![1; 0x1000]);
    assert_eq!(read(&core, 0x4fff, 1), Err(Fault::NotSaved(Addr(0x4fff))));
    assert_eq!(core.maps().0.len(), 4);
    assert_eq!(core.completeness().not_saved, 0x3000);
}

#[test]
fn more_program_headers_than_fit_into_the_header_are_counted() {
    let many = (0..70_000u64).fold(CoreBuilder::new().thread(1, 0, 0, 0), |builder, index| {
        builder.segment(DATA + index * 0x2000, RW, index.to_le_bytes().to_vec(), 0x1000)
    });
    let bytes = many.extended().build();
    let core = open(&bytes).unwrap();
    assert_eq!(core.read_u64(Addr(DATA + 69_999 * 0x2000)), Ok(69_999));
    // The section header that holds the number is the last thing in the file, and is what is cut off first.
    let core = open(&bytes[..bytes.len() - 65]).unwrap();
    assert_eq!(core.read_u64(Addr(DATA + 69_998 * 0x2000)), Ok(69_998));
    let directory = Directory::new();
    let core = Core::open(&directory.write("core.zst", &Packing::Zstd.pack(&bytes))).unwrap();
    assert_eq!(core.read_u64(Addr(DATA + 69_999 * 0x2000)), Ok(69_999));
}

#[test]
fn files_of_other_kinds_are_refused_with_the_way_out() {
    let message = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
    assert!(message(b"").contains("it is empty"));
    assert!(message(b"{\"schema\": 1, \"tool\": \"poolscope\"}").contains("`poolscope report FILE`"));
    assert!(message(b"Hello.\n").contains("it is text"));
    assert!(message(&Packing::Gzip.pack(b"Hello.\n")).contains("it is text"));
    assert!(message(&[0xff; 100]).contains("does not start as ELF files do"));
    let with = |change: fn(&mut CoreBuilder)| {
        let mut builder = sample();
        change(&mut builder);
        message(&builder.build())
    };
    assert!(with(|core| core.kind = 3).contains("an executable or a shared library and not a core"));
    assert!(with(|core| core.class = 1).contains("32-bit"));
    assert!(with(|core| core.endian = 2).contains("big-endian"));
    let other = with(|core| core.machine = if cfg!(target_arch = "x86_64") { 183 } else { 62 });
    let (theirs, ours) = if cfg!(target_arch = "x86_64") { ("aarch64", "x86_64") } else { ("x86_64", "aarch64") };
    assert!(
        other.contains(&format!("for {theirs}, and this poolscope was built for {ours}: analyse it with")),
        "{other}"
    );
    assert!(message(&CoreBuilder::new().thread(1, 0, 0, 0).build()).contains("describes no memory"));
    assert!(message(&CoreBuilder::new().segment(DATA, RW, vec![1], 1).build()).contains("holds no readable notes"));
    let gone = Core::open(Path::new("/nowhere/core")).unwrap_err().to_string();
    assert!(gone.starts_with("cannot read the core /nowhere/core: "), "{gone}");
    let executable = Core::open(&std::env::current_exe().unwrap()).unwrap_err();
    assert!(matches!(executable, CoreError::NotCore { .. }));
    assert!(matches!(Core::open(Path::new("/tmp")), Err(CoreError::Unreadable { .. })));
}

/// A core of some blocks: zeroes, text and noise.
fn large() -> (Vec<u8>, Vec<u8>) {
    let mut numbers = core_support::Numbers(99);
    let noise = (0..200_000).map(|_| numbers.next() as u8);
    let memory: Vec<u8> =
        std::iter::repeat_n(0, 300_000).chain((0..400_000).map(|at| (at / 99) as u8)).chain(noise).collect();
    let size = memory.len() as u64;
    (sample().segment(0x9_0000_0000, RW, memory.clone(), size).build(), memory)
}

#[test]
fn all_compressions_hold_the_same_memory_also_in_several_frames() {
    let (bytes, memory) = large();
    for packing in Packing::ALL {
        for packed in [packing.pack(&bytes), packing.pack_in_frames(&bytes, 300_001)] {
            let core = open(&packed).unwrap();
            assert_eq!(core.completeness().problem, None, "{packing:?}");
            assert_eq!(read(&core, 0x9_0000_0000, memory.len()).unwrap(), memory, "{packing:?}");
            let whole = AddrRange::sized(Addr(0x9_0000_0000), memory.len() as u64);
            let present = core.presence(&[whole]);
            // The zeroes at the start share a block with the headers.
            let [first, second] = present[..] else { panic!("{present:?}") };
            assert!(first.start == whole.start && first.len() < 64 << 10);
            assert!((200_000..=300_000).contains(&(second.start.0 - whole.start.0)) && second.end == whole.end);
            let pagemap = core.pagemap(&[whole]);
            assert!(!pagemap.may_hold_data(whole.start + 150_000) && pagemap.may_hold_data(whole.end - 1));
        }
    }
}

#[test]
fn a_stream_that_is_cut_off_gives_what_came_before() {
    let (bytes, memory) = large();
    for packing in Packing::ALL {
        let packed = packing.pack_in_frames(&bytes, 300_001);
        let core = open(&packed[..packed.len() - 1000]).unwrap();
        let completeness = core.completeness();
        assert!(completeness.missing > 0 && completeness.problem.is_some(), "{packing:?} {completeness:?}");
        assert_eq!(read(&core, 0x9_0000_0000, 590_000).unwrap(), memory[..590_000], "{packing:?}");
        let last = Addr(0x9_0000_0000 + memory.len() as u64 - 1);
        assert_eq!(core.read(last, &mut [0]), Err(Fault::NotSaved(last)));
    }
}

#[test]
fn a_core_comes_through_a_pipe() {
    let (bytes, memory) = large();
    for packed in [bytes.clone(), Packing::Zstd.pack(&bytes), Packing::Lz4.pack(&bytes)] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let core = std::thread::scope(|scope| {
            scope.spawn(move || {
                // The first bytes come one by one, as from a slow program.
                packed[..10].iter().for_each(|byte| writer.write_all(&[*byte]).unwrap());
                writer.write_all(&packed[10..]).unwrap();
            });
            Core::open(Path::new(&format!("/proc/self/fd/{}", reader.as_raw_fd())))
        });
        let core = core.unwrap();
        assert_eq!(read(&core, 0x9_0000_0000, memory.len()).unwrap(), memory);
        assert_eq!(core.written_at(), None);
    }
}

#[test]
fn holes_of_a_sparse_core_are_zero_and_need_not_be_read() {
    let size = 64 << 20;
    let builder = sample().segment(0x9_0000_0000, RW, vec![1; 4096], size);
    let mut bytes = builder.build();
    // The header promises all of it, and the file has it as a hole.
    let header = 64 + 6 * 56;
    bytes[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
    let directory = Directory::new();
    let path = directory.write("core", &bytes);
    File::options().write(true).open(&path).unwrap().set_len(bytes.len() as u64 - 4096 + size).unwrap();
    let core = Core::open(&path).unwrap();
    assert_eq!(core.completeness().missing, 0);
    assert_eq!(read(&core, 0x9_0000_0000 + (32 << 20), 64).unwrap(), vec![0; 64]);
    let present = core.presence(&[AddrRange::sized(Addr(0x9_0000_0000), size)]);
    let data: u64 = present.iter().map(|range| range.len()).sum();
    assert!((4096..1 << 20).contains(&data), "{present:?}");
}
