//! Where things lie in the file of a core, by its program headers.

use std::ops::Range;

/// A loadable segment.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub address: u64,
    pub offset: u64,
    pub saved: u64,
}

impl Load {
    /// Where in the file its bytes are.
    pub fn bytes(&self) -> Range<u64> {
        self.offset..self.offset + self.saved
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Where the program headers lie, and what they say of memory that is saved. `start` holds at least all of them.
pub fn loads(start: &[u8]) -> (Range<u64>, Vec<Load>) {
    let table = word(start, 32) as usize;
    let count = u16::from_le_bytes([start[56], start[57]]) as usize;
    let end = table + count * 56;
    let headers = start[table..end].chunks_exact(56).filter(|header| header[..4] == 1u32.to_le_bytes());
    let load = |header: &[u8]| Load { address: word(header, 16), offset: word(header, 8), saved: word(header, 32) };
    (table as u64..end as u64, headers.map(load).filter(|load| load.saved > 0).collect())
}
