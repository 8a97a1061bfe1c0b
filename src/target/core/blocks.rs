//! The contents of a stream, kept in memory: blocks that are packed again, and unpacked when they are read.
//!
//! LZ4 finds repetitions at most 64 KiB back, so that larger blocks would hardly pack better, while each read of a few bytes
//! would unpack more. A block of zeroes takes no memory but its entry.

use rustc_hash::FxHashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes in a block before packing.
pub(super) const BLOCK: usize = 64 * 1024;

/// The cache is in parts, so that threads seldom wait for each other.
const CACHE_PARTS: usize = 16;

/// Unpacked blocks that each part keeps: 32 MiB in all.
const BLOCKS_PER_PART: usize = 32;

/// A block of which less than this part of its size is saved is kept as it is: unpacking takes time.
const WORTH_PACKING: usize = BLOCK - BLOCK / 8;

#[derive(Debug)]
enum Block {
    Zeroes,
    Packed(Box<[u8]>),
    Raw(Box<[u8]>),
}

/// Blocks in the order of the stream. Bytes are only ever added at the end.
#[derive(Debug)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    /// The bytes after the last whole block.
    tail: Vec<u8>,
    /// Where a block is packed before its size is known.
    scratch: Vec<u8>,
    cache: [Mutex<Part>; CACHE_PARTS],
}

/// Some unpacked blocks, each with the time of its last use.
#[derive(Debug, Default)]
struct Part {
    blocks: FxHashMap<usize, (Arc<[u8]>, u64)>,
    clock: u64,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        Blocks { blocks: Vec::new(), tail: Vec::new(), scratch: Vec::new(), cache: Default::default() }
    }

    /// Bytes that there are.
    pub(super) fn len(&self) -> u64 {
        (self.blocks.len() * BLOCK + self.tail.len()) as u64
    }

    /// Adds bytes at the end.
    pub(super) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - self.tail.len()));
            self.tail.extend_from_slice(head);
            if self.tail.len() == BLOCK {
                self.blocks.push(pack(&self.tail, &mut self.scratch));
                self.tail.clear();
            }
            bytes = rest;
        }
    }

    /// Lets go of what only adding needs.
    pub(super) fn finish(&mut self) {
        self.scratch = Vec::new();
        self.blocks.shrink_to_fit();
        self.tail.shrink_to_fit();
    }

    /// Reads what is there from `offset` on; fewer bytes than asked for only at the end.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(done as u64).and_then(|at| usize::try_from(at).ok()) else { break };
            let count = self.copy(at / BLOCK, at % BLOCK, rest)?;
            if count == 0 {
                break;
            }
            done += count;
        }
        Ok(done)
    }

    fn copy(&self, index: usize, start: usize, buffer: &mut [u8]) -> io::Result<usize> {
        match self.blocks.get(index) {
            Some(Block::Zeroes) => {
                let count = buffer.len().min(BLOCK - start);
                buffer.iter_mut().take(count).for_each(|byte| *byte = 0);
                Ok(count)
            }
            Some(Block::Raw(bytes)) => Ok(copy_from(bytes, start, buffer)),
            Some(Block::Packed(packed)) => Ok(copy_from(&self.unpacked(index, packed)?, start, buffer)),
            None if index == self.blocks.len() => Ok(copy_from(&self.tail, start, buffer)),
            None => Ok(0),
        }
    }

    fn unpacked(&self, index: usize, packed: &[u8]) -> io::Result<Arc<[u8]>> {
        let [first, others @ ..] = &self.cache;
        let part = others.get((index % CACHE_PARTS).wrapping_sub(1)).unwrap_or(first);
        let locked = || part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = locked().get(index) {
            return Ok(block);
        }
        // Not under the lock: unpacking takes some 30 µs.
        let mut bytes = vec![0; BLOCK];
        lz4_flex::block::decompress_into(packed, &mut bytes).map_err(io::Error::other)?;
        let block: Arc<[u8]> = bytes.into();
        locked().insert(index, block.clone());
        Ok(block)
    }

    /// The stretches of `wanted` that are not in blocks of zeroes, in order.
    pub(super) fn data(&self, wanted: Range<u64>) -> Vec<Range<u64>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        let (mut at, last) = (wanted.start, wanted.end.min(self.len()));
        while at < last {
            let index = (at / BLOCK as u64) as usize;
            let end = ((index as u64 + 1) * BLOCK as u64).min(last);
            if !matches!(self.blocks.get(index), Some(Block::Zeroes)) {
                match found.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => found.push(at..end),
                }
            }
            at = end;
        }
        found
    }
}

impl Part {
    fn get(&mut self, index: usize) -> Option<Arc<[u8]>> {
        self.clock += 1;
        let (block, used) = self.blocks.get_mut(&index)?;
        *used = self.clock;
        Some(block.clone())
    }

    /// Keeps a block, in place of the one that was not used for longest.
    fn insert(&mut self, index: usize, block: Arc<[u8]>) {
        if self.blocks.len() >= BLOCKS_PER_PART
            && let Some(oldest) = self.blocks.iter().min_by_key(|(_, (_, used))| *used).map(|(index, _)| *index)
        {
            self.blocks.remove(&oldest);
        }
        self.blocks.insert(index, (block, self.clock));
    }
}

fn pack(block: &[u8], scratch: &mut Vec<u8>) -> Block {
    if is_zero(block) {
        return Block::Zeroes;
    }
    scratch.resize(lz4_flex::block::get_maximum_output_size(BLOCK), 0);
    match lz4_flex::block::compress_into(block, scratch) {
        Ok(size) if size < WORTH_PACKING => Block::Packed(scratch.get(..size).unwrap_or_default().into()),
        _ => Block::Raw(block.into()),
    }
}

fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}

fn copy_from(bytes: &[u8], start: usize, buffer: &mut [u8]) -> usize {
    let available = bytes.get(start..).unwrap_or_default();
    let count = available.len().min(buffer.len());
    if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zeroes, something that packs well, noise, and an incomplete block.
    fn contents() -> Vec<u8> {
        let mut seed = 7u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        };
        let mut bytes = vec![0; 3 * BLOCK];
        bytes.extend((0..2 * BLOCK).map(|at| (at / 64) as u8));
        bytes.extend((0..2 * BLOCK).map(|_| noise()));
        bytes.extend([9; 100]);
        bytes
    }

    fn filled(bytes: &[u8]) -> Blocks {
        let mut blocks = Blocks::new();
        bytes.chunks(10_007).for_each(|chunk| blocks.append(chunk));
        blocks.finish();
        blocks
    }

    #[test]
    fn every_byte_comes_back_wherever_a_read_starts() {
        let bytes = contents();
        let blocks = filled(&bytes);
        assert_eq!(blocks.len(), bytes.len() as u64);
        assert!(matches!(blocks.blocks[..], [Block::Zeroes, Block::Zeroes, Block::Zeroes, Block::Packed(_), ..]));
        assert!(matches!(blocks.blocks[5..], [Block::Raw(_), Block::Raw(_)]));
        for start in (0..bytes.len()).step_by(9_973) {
            let mut read = vec![1; 150_000];
            let count = blocks.read_at(start as u64, &mut read).unwrap();
            assert_eq!(count, read.len().min(bytes.len() - start));
            assert_eq!(read[..count], bytes[start..start + count]);
        }
        assert_eq!(blocks.read_at(bytes.len() as u64, &mut [0]).unwrap(), 0);
        assert_eq!(blocks.read_at(u64::MAX, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn blocks_of_zeroes_hold_no_data() {
        let bytes = contents();
        let (blocks, block) = (filled(&bytes), BLOCK as u64);
        assert_eq!(blocks.data(0..u64::MAX), vec![3 * block..bytes.len() as u64]);
        assert_eq!(blocks.data(block..2 * block), vec![]);
        assert_eq!(blocks.data(3 * block + 5..3 * block + 6), vec![3 * block + 5..3 * block + 6]);
    }

    #[test]
    fn threads_read_more_blocks_than_the_cache_holds() {
        let bytes: Vec<u8> = (0..2 * CACHE_PARTS * BLOCKS_PER_PART * BLOCK).map(|at| (at / BLOCK) as u8 | 1).collect();
        let blocks = filled(&bytes);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (blocks, bytes) = (&blocks, &bytes);
                scope.spawn(move || {
                    for at in (thread * 777..bytes.len()).step_by(BLOCK + 4096) {
                        let mut byte = [0];
                        blocks.read_at(at as u64, &mut byte).unwrap();
                        assert_eq!(byte[0], bytes[at]);
                    }
                });
            }
        });
        let kept: usize = blocks.cache.iter().map(|part| part.lock().unwrap().blocks.len()).sum();
        assert!(kept <= CACHE_PARTS * BLOCKS_PER_PART);
    }
}
