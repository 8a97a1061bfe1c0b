//! Snapshots on disk (docs/snapshot-files.md): lines of JSON, compressed with zstd.
//!
//! Pools and chunks are written in blocks, column by column. What is written or read holds one block at a time in memory,
//! next to the snapshot itself. Files are untrusted: what one may unpack to is bounded ([`limits`]), and what comes out is
//! checked before anybody relies on it.

mod chunk_columns;
mod document;
mod error;
pub mod limits;
mod line;
mod look;
mod older;
mod pool_columns;
mod read;
mod save;
mod sound;
mod unpack;
mod write;

pub use error::{LoadError, ReadError, SaveError};
pub use look::{Look, look, look_at};
pub use read::{Wanted, load, read};
pub use save::{can_save, can_save_in, save};
pub use write::write;
