//! Makes ELF cores byte by byte, and packs them in all the ways that cores are kept.

#![allow(dead_code)]

mod linked;

#[allow(unused_imports)]
pub use linked::{CODE, DATA, linked_core};

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Rights in program headers.
pub const R: u32 = 4;
pub const RW: u32 = 6;
pub const RX: u32 = 5;

struct Segment {
    address: u64,
    flags: u32,
    bytes: Vec<u8>,
    memory_size: u64,
}

/// A core in the making.
pub struct CoreBuilder {
    segments: Vec<Segment>,
    notes: Vec<u8>,
    is_extended: bool,
    /// Overwrites of header bytes.
    pub machine: u16,
    pub kind: u16,
    pub class: u8,
    pub endian: u8,
}

#[cfg(target_arch = "x86_64")]
pub const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
pub const MACHINE: u16 = 183;

impl CoreBuilder {
    /// A core of process 100 with nothing in it.
    pub fn new() -> CoreBuilder {
        CoreBuilder {
            segments: Vec::new(),
            notes: Vec::new(),
            is_extended: false,
            machine: MACHINE,
            kind: 4,
            class: 2,
            endian: 1,
        }
    }

    /// Memory at `address`: `bytes` of it are saved, `memory_size` bytes were mapped.
    pub fn segment(mut self, address: u64, flags: u32, bytes: Vec<u8>, memory_size: u64) -> CoreBuilder {
        self.segments.push(Segment { address, flags, bytes, memory_size });
        self
    }

    /// A note of the kernel's, whose owner is `CORE`.
    pub fn note(self, kind: u32, contents: &[u8]) -> CoreBuilder {
        self.note_of("CORE", kind, contents)
    }

    /// A note.
    pub fn note_of(mut self, owner: &str, kind: u32, contents: &[u8]) -> CoreBuilder {
        let mut name = owner.as_bytes().to_vec();
        name.push(0);
        for word in [name.len() as u32, contents.len() as u32, kind] {
            self.notes.extend(word.to_le_bytes());
        }
        for part in [&name, contents] {
            self.notes.extend(part);
            self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        }
        self
    }

    /// `NT_PRPSINFO`.
    pub fn process(self, pid: u32, parent: u32, name: &str, title: &str) -> CoreBuilder {
        let mut info = vec![0; 136];
        info[24..28].copy_from_slice(&pid.to_le_bytes());
        info[28..32].copy_from_slice(&parent.to_le_bytes());
        info[40..40 + name.len()].copy_from_slice(name.as_bytes());
        info[56..56 + title.len()].copy_from_slice(title.as_bytes());
        self.note(3, &info)
    }

    /// `NT_PRSTATUS`, and where the thread pointer has a note of its own, that one.
    pub fn thread(self, tid: u32, pc: u64, sp: u64, thread_pointer: u64) -> CoreBuilder {
        let mut status = vec![0; 112 + 34 * 8 + 8];
        status[32..36].copy_from_slice(&tid.to_le_bytes());
        let mut register = |number: usize, value: u64| {
            status[112 + number * 8..120 + number * 8].copy_from_slice(&value.to_le_bytes());
        };
        if cfg!(target_arch = "x86_64") {
            register(16, pc);
            register(19, sp);
            register(21, thread_pointer);
            self.note(1, &status)
        } else {
            register(32, pc);
            register(31, sp);
            self.note(1, &status).note_of("LINUX", 0x401, &thread_pointer.to_le_bytes())
        }
    }

    /// `NT_AUXV`.
    pub fn auxiliary(self, values: &[(u64, u64)]) -> CoreBuilder {
        let words = values.iter().chain(&[(0, 0)]).flat_map(|(kind, value)| [*kind, *value]);
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        self.note(6, &bytes)
    }

    /// `NT_FILE`: start, end, offset in bytes, path.
    pub fn files(self, files: &[(u64, u64, u64, &str)]) -> CoreBuilder {
        let mut bytes: Vec<u8> = [files.len() as u64, 4096].into_iter().flat_map(u64::to_le_bytes).collect();
        for (start, end, offset, _) in files {
            bytes.extend([*start, *end, offset / 4096].into_iter().flat_map(u64::to_le_bytes));
        }
        for (_, _, _, path) in files {
            bytes.extend(path.as_bytes());
            bytes.push(0);
        }
        self.note(0x4649_4c45, &bytes)
    }

    /// Puts the number of program headers into the first section header, as for more than 65,534 of them.
    pub fn extended(mut self) -> CoreBuilder {
        self.is_extended = true;
        self
    }

    /// The file: header, program headers (notes first), notes, segments, and the section header if there is one.
    pub fn build(self) -> Vec<u8> {
        let count = self.segments.len() + 1;
        let notes_at = 64 + count * 56;
        let mut offset = (notes_at + self.notes.len()).next_multiple_of(16);
        let mut headers = program(4, 0, notes_at as u64, 0, self.notes.len() as u64, 0);
        let mut contents = Vec::new();
        for segment in &self.segments {
            let size = segment.bytes.len() as u64;
            headers.extend(program(1, segment.flags, offset as u64, segment.address, size, segment.memory_size));
            contents.extend(&segment.bytes);
            contents.resize(contents.len().next_multiple_of(16), 0);
            offset += segment.bytes.len().next_multiple_of(16);
        }
        let stated = if self.is_extended { 0xffff } else { count as u16 };
        let sections = if self.is_extended { offset as u64 } else { 0 };
        let mut file = vec![0x7f, b'E', b'L', b'F', self.class, self.endian, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend([0, 64, sections].into_iter().flat_map(u64::to_le_bytes));
        file.extend(0u32.to_le_bytes());
        file.extend([64, 56, stated, 64, u16::from(self.is_extended), 0].into_iter().flat_map(u16::to_le_bytes));
        file.extend(headers);
        file.extend(self.notes);
        file.resize(file.len().next_multiple_of(16), 0);
        file.extend(contents);
        if self.is_extended {
            let mut section = vec![0; 64];
            section[44..48].copy_from_slice(&(count as u32).to_le_bytes());
            file.extend(section);
        }
        file
    }
}

fn program(kind: u32, flags: u32, offset: u64, address: u64, file_size: u64, memory_size: u64) -> Vec<u8> {
    let words = [offset, address, 0, file_size, memory_size, 1];
    let words = words.into_iter().flat_map(u64::to_le_bytes);
    kind.to_le_bytes().into_iter().chain(flags.to_le_bytes()).chain(words).collect()
}

/// How a core is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Zstd,
    Lz4,
    Xz,
    Gzip,
}

impl Packing {
    pub const ALL: [Packing; 4] = [Packing::Zstd, Packing::Lz4, Packing::Xz, Packing::Gzip];

    /// Packs into one frame.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Packing::Zstd => zstd::encode_all(bytes, 3).unwrap(),
            Packing::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Xz => {
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    /// Packs into several frames, one after the other.
    pub fn pack_in_frames(self, bytes: &[u8], size: usize) -> Vec<u8> {
        bytes.chunks(size).flat_map(|chunk| self.pack(chunk)).collect()
    }
}

/// A directory that is removed with its contents.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("poolscope-cores-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file; its path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same in every run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
