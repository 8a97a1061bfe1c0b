//! Where what must agree is kept.

use crate::addr::Addr;
use crate::debug::{Layout, MissingField};
use crate::target::memory::word_at;

#[derive(Debug)]
pub(super) struct CycleLayout {
    pub(super) size: u64,
    pub(super) pool: u64,
    pub(super) modules: u64,
    pub(super) modules_n: u64,
    pub(super) listening: ArrayLayout,
    pub(super) paths: ArrayLayout,
    pub(super) listening_size: u64,
    pub(super) connections: u64,
    pub(super) connection_n: u64,
    pub(super) read_events: u64,
    pub(super) write_events: u64,
    pub(super) free: u64,
    pub(super) free_n: u64,
}

#[derive(Debug)]
pub(super) struct ArrayLayout {
    pub(super) elements: u64,
    pub(super) count: u64,
    pub(super) size: u64,
    pub(super) room: u64,
    pub(super) pool: u64,
}

#[derive(Debug)]
pub(super) struct ConnectionLayout {
    pub(super) size: u64,
    pub(super) data: u64,
    pub(super) read: u64,
    pub(super) write: u64,
    pub(super) listening: u64,
    pub(super) log: u64,
    pub(super) pool: u64,
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) struct EventLayout {
    pub(super) size: u64,
    pub(super) data: u64,
    pub(super) handler: u64,
    pub(super) index: u64,
}

/// The cycle's words that the array of connections is described by.
pub(super) struct Connections {
    pub(super) first: Addr,
    pub(super) count: u64,
    pub(super) read_events: Addr,
    pub(super) write_events: Addr,
    pub(super) listening: Addr,
    pub(super) listening_count: u64,
    pub(super) last_number: Option<u64>,
}

impl Connections {
    /// True if one of these connections, each of `size` bytes, lies at that address.
    pub(super) fn has(&self, connection: Addr, size: u64) -> bool {
        let offset = connection.checked_offset_from(self.first);
        offset.is_some_and(|offset| offset.is_multiple_of(size) && offset / size < self.count)
    }
}

impl CycleLayout {
    pub(super) fn new(cycle: &Layout, listening_size: u64) -> Result<CycleLayout, MissingField> {
        Ok(CycleLayout {
            size: cycle.size,
            pool: cycle.offset("pool")?,
            modules: cycle.offset("modules")?,
            modules_n: cycle.offset("modules_n")?,
            listening: ArrayLayout::new(cycle, "listening")?,
            paths: ArrayLayout::new(cycle, "paths")?,
            listening_size,
            connections: cycle.offset("connections")?,
            connection_n: cycle.offset("connection_n")?,
            read_events: cycle.offset("read_events")?,
            write_events: cycle.offset("write_events")?,
            free: cycle.offset("free_connections")?,
            free_n: cycle.offset("free_connection_n")?,
        })
    }

    pub(super) fn check_arrays(&self, cycle: &[u8]) -> Result<(), String> {
        let pool = word_at(cycle, self.pool);
        for (what, array, size) in [("listening", &self.listening, self.listening_size), ("paths", &self.paths, 8)] {
            let (stated, count) = (word_at(cycle, array.size), word_at(cycle, array.count));
            if stated != size {
                return Err(format!("the elements of ngx_cycle->{what} have {stated} bytes and not {size}"));
            }
            if count > word_at(cycle, array.room) || word_at(cycle, array.pool) != pool {
                return Err(format!("ngx_cycle->{what} is no array of the cycle's pool"));
            }
        }
        Ok(())
    }

    pub(super) fn connections(&self, cycle: &[u8], last_number: Option<u64>) -> Connections {
        let word = |offset| word_at(cycle, offset);
        Connections {
            first: Addr(word(self.connections)),
            count: word(self.connection_n),
            read_events: Addr(word(self.read_events)),
            write_events: Addr(word(self.write_events)),
            listening: Addr(word(self.listening.elements)),
            listening_count: word(self.listening.count),
            last_number,
        }
    }
}

impl ArrayLayout {
    pub(super) fn new(cycle: &Layout, array: &str) -> Result<ArrayLayout, MissingField> {
        let field = |name: &str| cycle.offset(&format!("{array}.{name}"));
        Ok(ArrayLayout {
            elements: field("elts")?,
            count: field("nelts")?,
            size: field("size")?,
            room: field("nalloc")?,
            pool: field("pool")?,
        })
    }
}

impl ConnectionLayout {
    pub(super) fn new(connection: &Layout) -> Result<ConnectionLayout, MissingField> {
        Ok(ConnectionLayout {
            size: connection.size,
            data: connection.offset("data")?,
            read: connection.offset("read")?,
            write: connection.offset("write")?,
            listening: connection.offset("listening")?,
            log: connection.offset("log")?,
            pool: connection.offset("pool")?,
            number: connection.offset("number")?,
        })
    }
}

impl EventLayout {
    pub(super) fn new(event: &Layout) -> Result<EventLayout, MissingField> {
        Ok(EventLayout {
            size: event.size,
            data: event.offset("data")?,
            handler: event.offset("handler")?,
            index: event.offset("index")?,
        })
    }
}
