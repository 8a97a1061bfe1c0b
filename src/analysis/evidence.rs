//! What an explanation needs to know besides the snapshot, and what a snapshot has no room for: what single chunks are.

use crate::addr::Addr;
use crate::attribution::groups::TypedChunk;
use crate::nginx::zones::Zone;
use crate::snapshot::holder::Holder;
use crate::target::maps::{Backing, Mapping};
use crate::target::registers::ThreadRegisters;

/// What to keep besides the ordinary.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// A row for every chunk.
    pub chunks: bool,
    /// Evidence for these addresses.
    pub addresses: &'a [u64],
}

/// What was found out on the way to a snapshot.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Chunks outside pools that typed paths lead to, in address order, each once.
    pub typed: Vec<TypedChunk>,
    /// Who holds the chunks of the wanted addresses.
    pub held: Vec<(Addr, String)>,
    /// Who holds the references of each pool that counts them, in address order.
    pub kept: Vec<(Addr, Vec<Holder>)>,
    /// Registers of all threads as they stood still.
    pub threads: Vec<ThreadRegisters>,
    /// nginx's shared memory.
    pub zones: Vec<Zone>,
}

/// A place on a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackPlace {
    /// The thread whose stack it is.
    pub thread: i32,
    /// Its stack pointer, as it stood still.
    pub pointer: Addr,
    /// How far above the stack pointer; negative below it, where nothing is in use.
    pub above: i64,
}

impl Evidence {
    /// Sorts chunks for [`Evidence::typed_at`]. Of several paths to one chunk the first counts.
    pub fn sort(&mut self) {
        self.typed.sort_by_key(|typed| typed.memory);
        self.typed.dedup_by_key(|typed| typed.memory);
    }

    /// The chunk that malloc returned `memory` for.
    pub fn typed_at(&self, memory: Addr) -> Option<&TypedChunk> {
        let index = self.typed.binary_search_by_key(&memory, |typed| typed.memory).ok()?;
        self.typed.get(index)
    }

    /// Who holds the chunk that malloc returned `memory` for.
    pub fn held_at(&self, memory: Addr) -> Option<&str> {
        self.held.iter().find(|(chunk, _)| *chunk == memory).map(|(_, text)| text.as_str())
    }

    /// Who holds the references of the pool at `pool`.
    pub fn kept_by(&self, pool: Addr) -> &[Holder] {
        let index = self.kept.binary_search_by_key(&pool, |(pool, _)| *pool).ok();
        index.and_then(|index| self.kept.get(index)).map_or(&[], |(_, holders)| holders)
    }

    /// The thread whose stack `mapping` is, if its stack pointer lies there. Of several in one mapping it is the one whose
    /// stack pointer is next below the address, or else the next above.
    pub fn stack_place(&self, mapping: &Mapping, address: Addr) -> Option<StackPlace> {
        if !matches!(mapping.backing, Backing::Stack | Backing::Anonymous) {
            return None;
        }
        let pointers = self.threads.iter().filter_map(|thread| Some((thread.tid, thread.stack_pointer()?)));
        let places = pointers.filter(|(_, pointer)| mapping.range.contains(*pointer)).map(|(thread, pointer)| {
            StackPlace { thread, pointer, above: address.0.wrapping_sub(pointer.0).cast_signed() }
        });
        places.min_by_key(|place| (place.above < 0, place.above.unsigned_abs()))
    }

    /// The zone that holds an address.
    pub fn zone_at(&self, address: Addr) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.memory.contains(address))
    }
}

impl StackPlace {
    /// Below the stack pointer a function may still keep something (System V ABI of x86_64, the red zone).
    const RED_ZONE: i64 = 128;

    /// False for what calls that have returned have left.
    pub fn is_in_use(self) -> bool {
        self.above >= -StackPlace::RED_ZONE
    }
}
