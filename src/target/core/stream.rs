//! Reading a stream once, as far as a core reaches in it.

use super::blocks::{BLOCK, Blocks};
use super::storage::Storage;
use std::io::{self, Read};

/// A stream of a core's bytes, and what has been read of it.
pub(super) struct Stream {
    reader: Box<dyn Read>,
    /// What has been read: always blocks.
    pub(super) storage: Storage,
    /// Why nothing more comes; `None` while it does and after a proper end.
    pub(super) failure: Option<io::Error>,
    is_over: bool,
    buffer: Vec<u8>,
}

impl Stream {
    pub(super) fn new(reader: Box<dyn Read>) -> Stream {
        let storage = Storage::Blocks(Box::new(Blocks::new()));
        Stream { reader, storage, failure: None, is_over: false, buffer: vec![0; BLOCK] }
    }

    /// Reads on until `end` bytes are there, or no more come. What came before damage is kept.
    pub(super) fn fill_to(&mut self, end: u64) {
        let Storage::Blocks(blocks) = &mut self.storage else { return };
        while !self.is_over && blocks.len() < end {
            match self.reader.read(&mut self.buffer) {
                Ok(0) => self.is_over = true,
                Ok(count) => blocks.append(self.buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_over = true;
                    self.failure = Some(error);
                }
            }
        }
    }

    /// What was read, with what only reading needed let go, and why it ended early if it did.
    pub(super) fn finish(mut self) -> (Storage, Option<io::Error>) {
        if let Storage::Blocks(blocks) = &mut self.storage {
            blocks.finish();
        }
        (self.storage, self.failure)
    }
}
