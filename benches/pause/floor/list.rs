//! Which pages hold chunk headers.

use std::fs;
use std::path::Path;

use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::SearchOptions;
use poolscope::malloc::chunk::HEADER;

use super::{WINDOW, page_size};
use crate::common::Failure;

/// A piece of memory that is read at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// The pages of a heap that hold chunk headers.
pub(super) struct Pieces {
    pub(super) chunks: u64,
    /// Addresses, in order.
    pages: Vec<u64>,
    page_size: u64,
}

impl Pieces {
    /// Asks poolscope, in one stop.
    pub(super) fn of(pid: i32) -> Result<Pieces, Failure> {
        let options = Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() };
        let snapshot = take(pid, &options, &Silent)?;
        let chunks = snapshot.chunks.ok_or("the snapshot has no chunks")?;
        let page_size = page_size();
        let mut pages = Vec::new();
        for row in chunks.iter() {
            let page = (row.address - HEADER) & !(page_size - 1);
            if pages.last() != Some(&page) {
                pages.push(page);
            }
        }
        pages.sort_unstable();
        pages.dedup();
        Ok(Pieces { chunks: chunks.len() as u64, pages, page_size })
    }

    /// Windows without the pages behind the last one of a header in each.
    pub(super) fn pages(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for &page in &self.pages {
            let length = pieces.last().map_or(u64::MAX, |last| page + self.page_size - last.start);
            match pieces.last_mut() {
                Some(last) if length <= WINDOW as u64 => last.length = length,
                _ => pieces.push(Piece { start: page, length: self.page_size }),
            }
        }
        pieces
    }

    /// Whole windows, but none into the next one or past the last page of a header.
    pub(super) fn windows(&self) -> Vec<Piece> {
        let mut pieces = self.pages();
        let nexts: Vec<u64> = pieces.iter().skip(1).map(|piece| piece.start).collect();
        for (piece, next) in pieces.iter_mut().zip(nexts) {
            piece.length = (WINDOW as u64).min(next - piece.start);
        }
        pieces
    }
}

/// Writes pieces as pairs of words.
pub(super) fn write(file: &Path, pieces: &[Piece]) -> Result<(), Failure> {
    let words = pieces.iter().flat_map(|piece| [piece.start, piece.length]);
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    fs::write(file, bytes).map_err(|cause| format!("writing {}: {cause}", file.display()).into())
}

/// Reads what [`write`] wrote.
pub(super) fn read(file: &Path) -> Result<Vec<Piece>, Failure> {
    let bytes = fs::read(file).map_err(|cause| format!("reading {}: {cause}", file.display()))?;
    let words = |pair: &[[u8; 8]]| match pair {
        [start, length] => Some(Piece { start: u64::from_le_bytes(*start), length: u64::from_le_bytes(*length) }),
        _ => None,
    };
    Ok(bytes.as_chunks::<8>().0.chunks(2).filter_map(words).collect())
}
