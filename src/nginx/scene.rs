//! What a look at all connections has in common: the memory, the time, and names that were read already.

use super::clock::Now;
use super::found::Label;
use super::listening::Listener;
use super::memo::Memo;
use super::text::{TextRef, Texts};
use crate::addr::Addr;
use crate::target::memory::Memory;
use std::cell::OnceCell;

/// For one look at a target that stands still.
pub struct Scene<'a> {
    /// For following pointers.
    pub memory: &'a dyn Memory,
    /// Where strings come to.
    pub texts: &'a Texts,
    /// What time it is for nginx.
    pub now: Now,
    /// Listening sockets.
    pub listeners: Memo<Listener>,
    /// Names of locations, by their configuration.
    pub locations: Memo<Option<Label>>,
    /// Place of the configuration that has a location's name.
    pub location_index: Option<u64>,
    /// Names of upstreams, by their configuration.
    pub upstreams: Memo<Option<TextRef>>,
    /// The upstreams of keepalive caches, by the cache's configuration; looked up when the first one is asked for.
    pub caches: OnceCell<Vec<(Addr, Addr)>>,
}

impl<'a> Scene<'a> {
    /// Nothing was read yet.
    pub fn new(memory: &'a dyn Memory, texts: &'a Texts, now: Now, location_index: Option<u64>) -> Scene<'a> {
        Scene {
            memory,
            texts,
            now,
            listeners: Memo::default(),
            locations: Memo::default(),
            location_index,
            upstreams: Memo::default(),
            caches: OnceCell::new(),
        }
    }

    /// Reads a counted string, given by its length and where it lies.
    pub fn text(&self, string: (u64, Addr)) -> Option<TextRef> {
        self.texts.read(self.memory, string)
    }
}
