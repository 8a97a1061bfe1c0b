//! The process under study: who it is, its memory, and how it is stopped.
//!
//! Everything above this room sees a target only as a [`memory::Memory`] and a list of [`maps::Mapping`]s, so that the
//! analysis cannot tell a live process from an image in a test.

pub mod access;
mod bring;
pub mod cache;
pub mod caught;
pub mod container;
pub mod core;
pub mod freeze;
pub mod image;
pub mod limits;
pub mod lines;
pub mod live;
pub mod maps;
pub mod memory;
pub mod modules;
pub mod nginx_processes;
pub mod nginx_role;
pub mod pagemap;
pub mod place;
pub mod probes;
pub mod process;
pub mod registers;
pub mod resident;
pub mod stacks;
pub mod stops;
mod threads;
mod tracees;
pub(crate) mod unpack;
pub mod urgency;

/// The size of a page in bytes on this machine, which is also the target's.
pub fn page_size() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |bytes| bytes as u64)
}
