//! A real core with wrong bytes anywhere: an error or what can be told, in bounded time and memory.

use crate::core_support::{Directory, Numbers};
use crate::layout::{Load, loads};
use crate::process::{options, stop};
use poolscope::analysis::{CoreReader, Options, Silent};
use poolscope_fixtures::{HeapProgram, Kind, kernel_core};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROUNDS: usize = 10_000;

/// A core that is damaged in place and mended again.
struct Patient {
    directory: Directory,
    path: PathBuf,
    file: File,
    table: Range<u64>,
    loads: Vec<Load>,
    length: u64,
}

fn patient() -> Patient {
    let directory = Directory::new();
    // Its heap is the smallest, 1.5 MB, so that ten thousand readings take little time.
    let program = HeapProgram::start(Kind::Aligned, 1).unwrap();
    stop(program.pid());
    let path = kernel_core(program.pid(), directory.path()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (table, loads) = loads(&bytes);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    Patient { directory, path, file, table, loads, length: bytes.len() as u64 }
}

impl Patient {
    /// Another copy, for another thread.
    fn copy(&self, name: &str) -> Patient {
        let path = self.directory.path().join(name);
        std::fs::copy(&self.path, &path).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        Patient {
            directory: Directory::new(),
            path,
            file,
            table: self.table.clone(),
            loads: self.loads.clone(),
            ..*self
        }
    }

    /// Where to damage: headers, notes, variables and stacks, the heap, or anywhere.
    fn place(&self, numbers: &mut Numbers) -> u64 {
        let notes = self.table.end..self.loads[0].offset;
        let (small, large): (Vec<&Load>, Vec<&Load>) = self.loads.iter().partition(|load| load.saved < 1 << 20);
        let range = match numbers.below(8) {
            0 => self.table.clone(),
            1 => 0..self.table.end,
            2 => notes,
            3 | 4 => small[numbers.below(small.len())].bytes(),
            5 | 6 => large[numbers.below(large.len())].bytes(),
            _ => 0..self.length,
        };
        let at = range.start + numbers.next() % (range.end - range.start);
        // Pointers, sizes and fields of headers begin at such places.
        if numbers.below(4) > 0 { at & !7 } else { at }
    }

    /// Damages some places, reads the core, and mends it. True if something could be told.
    fn round(&self, readers: &Readers, numbers: &mut Numbers) -> bool {
        let mut saved = Vec::new();
        for _ in 0..1 + numbers.below(4) {
            let at = self.place(numbers).min(self.length - 8);
            let mut word = [0; 8];
            self.file.read_exact_at(&mut word, at).unwrap();
            saved.push((at, word));
            self.file.write_all_at(&damaged(u64::from_le_bytes(word), numbers).to_le_bytes(), at).unwrap();
        }
        let told = tell(&readers.0[usize::from(numbers.below(8) == 0)], &self.path);
        for (at, word) in saved.iter().rev() {
            self.file.write_all_at(word, *at).unwrap();
        }
        told
    }
}

/// Another word: an extreme one, one that differs in a bit, one that is near.
fn damaged(word: u64, numbers: &mut Numbers) -> u64 {
    match numbers.below(5) {
        0 => [0, 1, u64::MAX, i64::MAX as u64, 1 << 40, 1 << 47, 0xffff, 0x1000][numbers.below(8)],
        1 => word ^ 1 << numbers.below(64),
        2 => word.wrapping_add(numbers.next() % 256).wrapping_sub(128),
        3 => word.wrapping_add(16 << numbers.below(20)),
        _ => numbers.next(),
    }
}

fn tell(reader: &CoreReader, path: &Path) -> bool {
    let start = Instant::now();
    let told = match reader.read(path, &Silent) {
        Ok(snapshot) => {
            assert_eq!(snapshot.source.kind, "core");
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    };
    assert!(start.elapsed() < Duration::from_secs(90), "{:?}", start.elapsed());
    told
}

/// Peak resident memory of this process in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The readers with chunks and without: both use what they have read of the program and of glibc.
struct Readers([CoreReader; 2]);

impl Readers {
    fn new() -> Readers {
        Readers([false, true].map(|with_chunks| CoreReader::new(Options { with_chunks, ..options() })))
    }
}

#[test]
fn ten_thousand_damaged_cores_end_in_an_error_or_a_partial_snapshot() {
    let patient = patient();
    let readers = Readers::new();
    let before = peak();
    let patients = [patient.copy("first"), patient.copy("second")];
    let told: usize = std::thread::scope(|scope| {
        let threads = patients.iter().enumerate().map(|(index, patient)| {
            let readers = &readers;
            scope.spawn(move || {
                let mut numbers = Numbers(20_261_122 + index as u64);
                (0..ROUNDS / 2).filter(|_| patient.round(readers, &mut numbers)).count()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(told > ROUNDS / 2 && told < ROUNDS, "{told}");
    let grown = peak() - before;
    assert!(grown < 1 << 30, "{grown}");
}

/// A segment that claims terabytes, of which the file has none or only a hole, is stepped over and not through.
#[test]
fn claimed_terabytes_cost_nothing() {
    let patient = patient();
    let readers = Readers::new();
    let before = peak();
    patient.file.set_len(1 << 42).unwrap();
    let headers: Vec<u64> = (patient.table.start..patient.table.end).step_by(56).collect();
    // Size in memory alone; then what is saved as well (the hole that the file ends with); and where memory would go on at
    // address 0.
    let (size, last) = (1u64 << 41, 0xffff_ffff_ffff_8000);
    for fields in [&[(40, size)][..], &[(32, size), (40, size)], &[(16, last)]] {
        for header in &headers {
            let mut saved = [0; 56];
            patient.file.read_exact_at(&mut saved, *header).unwrap();
            for (field, value) in fields {
                patient.file.write_all_at(&value.to_le_bytes(), header + field).unwrap();
            }
            for reader in &readers.0 {
                tell(reader, &patient.path);
            }
            patient.file.write_all_at(&saved, *header).unwrap();
        }
    }
    let grown = peak() - before;
    assert!(grown < 1 << 30, "{grown}");
}
