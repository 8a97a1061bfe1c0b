//! glibc's malloc, seen from outside: arenas, heaps, chunks, bins, thread caches, mmapped chunks, and its own books.
//!
//! [`read::read_heap`] takes what must be read while the target stands still; [`heap::Heap::settle`] makes of it, after
//! the target runs again, the state of every chunk and the reconciliation.

pub mod allocator;
mod anonymous;
pub mod arena;
mod bins;
pub mod bookless;
pub mod books;
mod catch_up;
pub mod chunk;
pub mod functions;
mod header;
pub mod heap;
pub mod layout;
pub mod lists;
mod mend;
pub mod mmapped;
mod patch;
pub mod read;
pub mod reader;
pub mod region;
pub mod rehearsal;
pub mod seam;
mod stretches;
pub mod sweep;
pub mod tls;
pub mod walk;
mod walked;
