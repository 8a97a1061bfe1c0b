//! Cores of real programs, by gcore and by the kernel: what they say is what the stopped process says itself.

mod core_support;

use core_support::{Directory, Packing};
use nix::sys::signal::Signal;
use poolscope::addr::{Addr, AddrRange};
use poolscope::target::core::Core;
use poolscope::target::maps::{Backing, Maps};
use poolscope::target::memory::{Fault, Memory};
use poolscope_fixtures::{HeapProgram, Kind, gcore, kernel_core, stop_at_rest};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a stopped process says of itself.
struct Live {
    maps: Maps,
    /// All private writable memory, as `/proc/PID/mem` gives it.
    memory: Vec<(AddrRange, Vec<u8>)>,
    threads: Vec<i32>,
}

fn stop(pid: u32) -> Live {
    stop_at_rest(pid).unwrap();
    let maps = Maps::read_ranges(pid as i32).unwrap();
    let mem = File::open(format!("/proc/{pid}/mem")).unwrap();
    let private = maps.0.iter().filter(|mapping| mapping.readable && mapping.writable);
    let private = private.filter(|mapping| mapping.backing != Backing::SharedMemory);
    let read = |range: AddrRange| {
        let mut bytes = vec![0; range.len() as usize];
        mem.read_exact_at(&mut bytes, range.start.0).unwrap();
        (range, bytes)
    };
    let memory = private.map(|mapping| read(mapping.range)).collect();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut threads: Vec<i32> =
        tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    threads.sort_unstable();
    Live { maps, memory, threads }
}

/// Compares all private writable memory, page by page.
fn compare(core: &Core, live: &Live) {
    for (range, bytes) in &live.memory {
        for (index, page) in bytes.chunks(4096).enumerate() {
            let address = range.start + index as u64 * 4096;
            let mut read = [0xee; 4096];
            match core.read(address, &mut read) {
                Ok(()) if read[..] == *page => {}
                Ok(()) => assert!(differs_by_rseq(core, address, &read, page), "the page at {address} differs"),
                Err(Fault::NotSaved(_)) => {
                    // Linux leaves out a mapping of which no page was ever touched: it reads as zero in the process.
                    assert!(page.iter().all(|byte| *byte == 0), "{address} holds something and is not saved");
                }
                Err(fault) => panic!("{fault}"),
            }
        }
    }
}

/// True if all that differs is a thread's `struct rseq` (Linux include/uapi/linux/rseq.h: 32 bytes, as aligned), which glibc keeps
/// beside the thread control block: the kernel writes there on which processor the thread runs, also when a stop moves it.
fn differs_by_rseq(core: &Core, address: Addr, read: &[u8], page: &[u8]) -> bool {
    const RSEQ: usize = 32;
    let places = (0..page.len()).filter(|place| read[*place] != page[*place]);
    let mut windows: Vec<usize> = places.map(|place| place / RSEQ).collect();
    windows.dedup();
    let is_near = |pointer: Addr| pointer.0.abs_diff(address.0) < 8192;
    windows.len() <= 1 && core.threads().iter().filter_map(|thread| thread.thread_pointer).any(is_near)
}

fn heap_start(maps: &Maps) -> Option<Addr> {
    maps.heap_ranges().first().map(|range| range.start)
}

/// What `/proc/PID/maps` and a core agree on: where each range of a backing lies, neighbours joined.
fn ranges(maps: &Maps, of: impl Fn(&Backing) -> bool) -> Vec<AddrRange> {
    let mut joined: Vec<AddrRange> = Vec::new();
    for mapping in maps.0.iter().filter(|mapping| of(&mapping.backing)) {
        match joined.last_mut() {
            Some(last) if last.end == mapping.range.start => last.end = mapping.range.end,
            _ => joined.push(mapping.range),
        }
    }
    joined
}

fn check(core: &Core, live: &Live, pid: u32) {
    assert_eq!(core.process().pid, pid as i32);
    assert_eq!(core.completeness().problem, None);
    let mut threads: Vec<i32> = core.threads().iter().map(|thread| thread.tid).collect();
    threads.sort_unstable();
    assert_eq!(threads, live.threads);
    assert_eq!(core.threads().iter().filter(|thread| thread.is_main).count(), 1);
    for thread in core.threads() {
        // glibc's thread control block starts with its own address (x86_64: `tcb`), or the pointer to the vector.
        let pointer = thread.thread_pointer.unwrap();
        let word = core.read_pointer(pointer).unwrap();
        assert!(if cfg!(target_arch = "x86_64") { word == pointer } else { core.read_u64(word).is_ok() });
        assert!(core.read_u64(thread.sp).is_ok());
    }
    compare(core, live);
    check_maps(core, live);
    check_modules(core, live);
}

fn check_maps(core: &Core, live: &Live) {
    let mut maps = core.maps();
    if let Some(start) = heap_start(&live.maps) {
        maps.mark_brk_heap(start + 16);
    }
    assert_eq!(maps.heap_ranges(), live.maps.heap_ranges());
    assert_eq!(maps.anonymous_ranges(), live.maps.anonymous_ranges());
    let is_stack = |backing: &Backing| *backing == Backing::Stack;
    assert_eq!(ranges(&maps, is_stack), ranges(&live.maps, is_stack));
    let is_file = |backing: &Backing| matches!(backing, Backing::File { .. });
    assert_eq!(ranges(&maps, is_file), ranges(&live.maps, is_file));
    // gcore leaves out what nobody may read and what the kernel alone writes (vvar).
    let vdso = maps.0.iter().find(|mapping| mapping.backing == Backing::Kernel).unwrap();
    assert_eq!(live.maps.at(vdso.range.start).unwrap().backing, Backing::Kernel);
}

fn check_modules(core: &Core, live: &Live) {
    let modules = core.modules();
    let program = modules.iter().find(|module| module.is_executable).unwrap();
    let libc = modules.iter().find(|module| module.path.ends_with("libc.so.6")).unwrap();
    for module in [program, libc] {
        let is_of = |backing: &Backing| matches!(backing, Backing::File { path, .. } if *path == module.path);
        let expected = live.maps.0.iter().filter(|mapping| is_of(&mapping.backing));
        let expected: Vec<(Addr, u64)> = expected.map(|mapping| (mapping.range.start, mapping.file_offset)).collect();
        assert_eq!(module.mappings(), expected);
        assert_eq!(module.link_map_bias, Some(expected[0].0.0));
        assert_eq!(module.build_id.as_ref().map(Vec::len), Some(20));
    }
}

#[test]
fn gcore_and_the_kernel_save_what_the_process_holds() {
    for (kind, seed) in
        Kind::ALL.into_iter().map(|kind| (kind, 1)).chain([(Kind::Noncontiguous, 0), (Kind::Noncontiguous, 2)])
    {
        let directory = Directory::new();
        let program = HeapProgram::start(kind, seed).unwrap();
        let live = stop(program.pid());
        let of_gdb = Core::open(&gcore(program.pid(), directory.path()).unwrap()).unwrap();
        assert_eq!(of_gdb.process().signal, None);
        check(&of_gdb, &live, program.pid());
        let of_kernel = Core::open(&kernel_core(program.pid(), directory.path()).unwrap()).unwrap();
        assert_eq!(of_kernel.process().signal, Some(Signal::SIGABRT as i32));
        assert!(of_kernel.process().title.ends_with(&format!(" {seed}")));
        check(&of_kernel, &live, program.pid());
    }
}

#[test]
fn packed_and_piped_cores_hold_the_same() {
    let directory = Directory::new();
    let program = HeapProgram::start(Kind::Threads, 3).unwrap();
    let live = stop(program.pid());
    let path = gcore(program.pid(), directory.path()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for packing in Packing::ALL {
        let core = Core::open(&directory.write("packed", &packing.pack(&bytes))).unwrap();
        check(&core, &live, program.pid());
    }
}

/// Text that a core lacks is answered by the binary.
#[test]
fn binaries_answer_for_the_text_that_is_not_saved() {
    let directory = Directory::new();
    let program = HeapProgram::start(Kind::Single, 2).unwrap();
    let pid = program.pid();
    let live = stop(pid);
    let mem = File::open(format!("/proc/{pid}/mem")).unwrap();
    let text: Vec<(AddrRange, Vec<u8>)> = live
        .maps
        .0
        .iter()
        .filter(|mapping| is_text(&mapping.backing))
        .filter(|mapping| !mapping.writable)
        .map(|mapping| {
            let mut bytes = vec![0; mapping.range.len() as usize];
            mem.read_exact_at(&mut bytes, mapping.range.start.0).unwrap();
            (mapping.range, bytes)
        })
        .collect();
    let cores: [PathBuf; 2] = [gcore(pid, directory.path()).unwrap(), kernel_core(pid, directory.path()).unwrap()];
    for path in cores {
        let mut core = Core::open(&path).unwrap();
        assert!(text.iter().any(|(range, _)| core.read(range.start + range.len() / 2, &mut [0]).is_err()));
        for module in core.modules() {
            core.add_file(File::open(&module.path).unwrap(), &module.ranges).unwrap();
        }
        let completeness = core.completeness();
        assert!(completeness.from_files > 1 << 20 && completeness.from_files <= completeness.not_saved);
        for (range, bytes) in &text {
            let mut read = vec![0; bytes.len()];
            core.read(range.start, &mut read).unwrap();
            assert!(read == *bytes, "{range}");
        }
    }
}

fn is_text(backing: &Backing) -> bool {
    matches!(backing, Backing::File { path, .. } if path.starts_with("/") && path != Path::new("/dev/zero"))
}
