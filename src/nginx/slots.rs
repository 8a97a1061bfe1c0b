//! The array of all connections, used and free ones alike.
//!
//! A free one keeps what it last had: its pool pointer is stale, and its descriptor is no test (modules make connections
//! without one). Only the list of free connections tells, which runs through their `data` fields (nginx
//! `src/core/ngx_connection.c`, `ngx_free_connection`).

use super::event_handlers::handlers_of;
use super::fields::{Bits, Fields, Text, checked_size};
use super::owner::{NginxModule, OwnerError};
use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Fault, Memory, word_at};

/// More connections than this are not believed.
const MAX_CONNECTIONS: u64 = 64 << 20;

/// Bytes of the array that are read at once.
const WINDOW: u64 = 256 * 1024;

/// The array, and what leads to it.
pub struct ConnectionArray {
    /// The variable `ngx_cycle`, a pointer.
    cycle: Addr,
    connections: u64,
    count: u64,
    free: u64,
    /// What lies in it.
    pub layout: ConnectionLayout,
}

/// All connections.
#[derive(Debug)]
pub struct Slots {
    /// Where the first one lies.
    pub first: Addr,
    /// Every one, used or free.
    pub all: Vec<Connection>,
    /// Which of them are on the list of free ones.
    pub is_free: Vec<bool>,
    /// Why that list could not be followed to its end, if it could not: some free ones then pass for used.
    pub problem: Option<String>,
}

/// Offsets in `ngx_connection_t`.
pub struct ConnectionLayout {
    size: u64,
    data: u64,
    pool: u64,
    listening: u64,
    read: Option<u64>,
    write: Option<u64>,
    descriptor: Option<u64>,
    log: Option<u64>,
    ssl: Option<u64>,
    /// `handler` in `ngx_event_t`.
    handler: Option<u64>,
    /// Serial number, and how many requests there were; absent in versions that do not keep them.
    number: Option<u64>,
    requests: Option<u64>,
    start_time: Option<u64>,
    quic: Option<u64>,
    idle: Option<Bits>,
    /// The link by which it is in the queue of those that may be closed when there are too few.
    queue: Option<u64>,
    /// The client's address.
    pub address: Option<Text>,
}

/// What matters of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// What it is for: a union by stage and protocol.
    pub data: Addr,
    /// Its pool.
    pub pool: Addr,
    /// Where a client's came in; null of others.
    pub listening: Addr,
    /// Its event for reading.
    read: Addr,
    /// Its event for writing.
    write: Addr,
    /// What is called when there is something to read; only of those in use.
    pub read_handler: Option<Addr>,
    /// What is called when something can be written; likewise.
    pub write_handler: Option<Addr>,
    /// The stream that it is of a QUIC connection; null of others.
    pub quic: Addr,
    /// Its log.
    pub log: Addr,
    /// When it began, on the clock of `ngx_current_msec`; 0 if that is not known.
    pub start_time: u64,
    /// True if it may be closed at any time.
    pub is_idle: bool,
    /// False of one without a descriptor, as modules make them to have something to run on.
    pub has_descriptor: bool,
    /// True if it speaks TLS.
    pub has_ssl: bool,
    /// nginx's number of the connection.
    pub number: Option<u64>,
    /// How many requests there were, with the one that it handles.
    requests: Option<u64>,
}

impl Connection {
    /// nginx's number of the connection, and of the request that it handles.
    pub fn identity(&self) -> Option<(u64, u64)> {
        // A request that is being read is counted already (nginx `ngx_http_create_request`).
        self.number.zip(self.requests)
    }
}

impl ConnectionArray {
    /// `None` in a binary that is not nginx.
    ///
    /// # Errors
    /// [`OwnerError`] if the debug info lacks something that every nginx has.
    pub fn of(nginx: NginxModule<'_>) -> Result<Option<ConnectionArray>, OwnerError> {
        let Some(cycle) = nginx.variable("ngx_cycle") else { return Ok(None) };
        let layout = nginx.layout("ngx_cycle_s")?;
        Ok(Some(ConnectionArray {
            cycle,
            connections: layout.offset("connections")?,
            count: layout.offset("connection_n")?,
            free: layout.offset("free_connections")?,
            layout: ConnectionLayout::of(nginx)?,
        }))
    }

    /// That of a test: the variable `ngx_cycle` at `cycle`, and three words of the cycle after its first one.
    #[cfg(test)]
    pub fn of_test(cycle: Addr) -> ConnectionArray {
        ConnectionArray { cycle, connections: 8, count: 16, free: 24, layout: ConnectionLayout::of_test() }
    }

    /// Where the array lies; empty where there is none, as in a master: it knows how many its workers are to have.
    ///
    /// # Errors
    /// A [`Fault`] if the cycle cannot be read.
    pub fn range(&self, memory: &dyn Memory) -> Result<AddrRange, Fault> {
        let cycle = memory.read_pointer(self.cycle)?;
        let first = memory.read_pointer(cycle + self.connections)?;
        let count = memory.read_u64(cycle + self.count)?;
        let length = if first.is_null() { 0 } else { count.saturating_mul(self.layout.size) };
        Ok(AddrRange::sized(first, length))
    }

    /// All connections; `None` where there is no array. `chase` is for following pointers, and `bulk` for reading arrays.
    ///
    /// # Errors
    /// [`OwnerError`] if the array cannot be read, or cannot be one.
    pub fn read(&self, chase: &dyn Memory, bulk: &dyn Memory) -> Result<Option<Slots>, OwnerError> {
        let cycle = chase.read_pointer(self.cycle)?;
        let first = chase.read_pointer(cycle + self.connections)?;
        let count = chase.read_u64(cycle + self.count)?;
        if first.is_null() {
            return Ok(None);
        }
        if count > MAX_CONNECTIONS {
            return Err(OwnerError::Implausible(format!("ngx_cycle->connections holds {count} connections")));
        }
        let mut all = self.layout.read_all(bulk, first, count)?;
        let (is_free, problem) = self.layout.free_ones(&all, first, chase.read_pointer(cycle + self.free)?);
        self.layout.read_handlers(chase, bulk, &mut all, &is_free);
        Ok(Some(Slots { first, all, is_free, problem }))
    }
}

impl Slots {
    /// Those that are in use and have a pool, with their places.
    pub fn used(&self) -> impl Iterator<Item = (usize, &Connection)> {
        let used = self.all.iter().zip(&self.is_free).enumerate();
        used.filter(|(_, (slot, is_free))| !**is_free && !slot.pool.is_null()).map(|(index, (slot, _))| (index, slot))
    }
}

impl ConnectionLayout {
    /// Takes the offsets that there are.
    ///
    /// # Errors
    /// [`OwnerError`] if one is missing without which nothing can be told.
    pub fn of(nginx: NginxModule<'_>) -> Result<ConnectionLayout, OwnerError> {
        let layout = nginx.layout("ngx_connection_s")?;
        let optional = Fields::of(nginx, "ngx_connection_s");
        Ok(ConnectionLayout {
            size: checked_size("ngx_connection_t", layout.size)?,
            data: layout.offset("data")?,
            pool: layout.offset("pool")?,
            listening: layout.offset("listening")?,
            read: optional.offset("read"),
            write: optional.offset("write"),
            descriptor: optional.offset("fd"),
            log: optional.offset("log"),
            ssl: optional.offset("ssl"),
            handler: Fields::of(nginx, "ngx_event_s").offset("handler"),
            number: optional.offset("number"),
            requests: optional.offset("requests"),
            start_time: optional.offset("start_time"),
            quic: optional.offset("quic"),
            idle: optional.bits("idle"),
            queue: optional.offset("queue.prev").filter(|_| optional.offset("queue.next").is_some()),
            address: optional.text("addr_text").filter(|_| nginx.show_clients),
        })
    }

    /// That of a test: the offsets of a build of 2024.
    #[cfg(test)]
    pub fn of_test() -> ConnectionLayout {
        ConnectionLayout {
            size: 0xe8,
            data: 0,
            pool: 0x58,
            listening: 0x40,
            read: Some(8),
            write: Some(16),
            descriptor: Some(24),
            log: None,
            ssl: None,
            handler: Some(16),
            number: Some(0xc8),
            requests: None,
            start_time: None,
            quic: None,
            idle: None,
            queue: None,
            address: None,
        }
    }

    /// Where the connection of that index lies, the first one lying at `first`.
    pub fn place(&self, first: Addr, index: usize) -> Addr {
        first + (index as u64).wrapping_mul(self.size)
    }

    /// Which connection lies at that address, if one does.
    pub fn index_of(&self, first: Addr, connection: Addr) -> Option<usize> {
        let offset = connection.checked_offset_from(first)?;
        offset.is_multiple_of(self.size).then_some((offset / self.size) as usize)
    }

    /// All `count` connections from `first` on, without the handlers of their events.
    ///
    /// # Errors
    /// A [`Fault`] if not all are there.
    pub fn read_all(&self, memory: &dyn Memory, first: Addr, count: u64) -> Result<Vec<Connection>, Fault> {
        let in_window = (WINDOW / self.size).max(1);
        // The count is the target's word: room is made as its memory proves it.
        let mut connections = Vec::new();
        let mut bytes = Vec::new();
        for start in (0..count).step_by(in_window as usize) {
            let length = in_window.min(count - start) * self.size;
            bytes.resize(length as usize, 0);
            memory.read(first + start * self.size, &mut bytes)?;
            connections.extend(bytes.chunks_exact(self.size as usize).map(|bytes| self.parse(bytes)));
        }
        Ok(connections)
    }

    fn parse(&self, bytes: &[u8]) -> Connection {
        let word = |offset: Option<u64>| offset.map(|offset| word_at(bytes, offset));
        let pointer = |offset: Option<u64>| Addr(word(offset).unwrap_or(0));
        Connection {
            data: pointer(Some(self.data)),
            pool: pointer(Some(self.pool)),
            listening: pointer(Some(self.listening)),
            read: pointer(self.read),
            write: pointer(self.write),
            read_handler: None,
            write_handler: None,
            quic: pointer(self.quic),
            log: pointer(self.log),
            start_time: word(self.start_time).unwrap_or(0),
            is_idle: self.idle.is_some_and(|idle| idle.of(bytes) != 0),
            has_descriptor: word(self.descriptor).is_none_or(|descriptor| descriptor as u32 != u32::MAX),
            has_ssl: !pointer(self.ssl).is_null(),
            number: word(self.number),
            requests: word(self.requests),
        }
    }

    /// True if the connection at that address is in a queue, which is that of those that may be closed: both neighbours lead
    /// back to it. One that has left the queue keeps its links, and they do not (nginx `ngx_queue_remove`).
    pub fn is_reusable(&self, memory: &dyn Memory, connection: Addr) -> bool {
        let Some(link) = self.queue.map(|queue| connection + queue) else { return false };
        let leads_back = |to: u64, back: u64| {
            let neighbour = memory.read_pointer(link + to).ok().filter(|neighbour| !neighbour.is_null());
            neighbour.and_then(|neighbour| memory.read_pointer(neighbour + back).ok()) == Some(link)
        };
        leads_back(0, 8) && leads_back(8, 0)
    }

    /// Which connections are on the list of free ones. The second value says why the list could not be followed to its
    /// end, if it could not.
    fn free_ones(&self, connections: &[Connection], first: Addr, list: Addr) -> (Vec<bool>, Option<String>) {
        let mut is_free = vec![false; connections.len()];
        let mut at = list;
        while !at.is_null() {
            let index = self.index_of(first, at);
            let found = index.and_then(|index| Some((connections.get(index)?, is_free.get_mut(index)?)));
            let problem = match found {
                Some((connection, seen)) if !*seen => {
                    *seen = true;
                    at = connection.data;
                    continue;
                }
                Some(_) => format!("the list of free connections leads in a circle, back to {at}"),
                None => format!("the list of free connections leads to {at}, which is no connection"),
            };
            return (is_free, Some(problem));
        }
        (is_free, None)
    }

    /// Reads what the events of connections in use call.
    fn read_handlers(&self, chase: &dyn Memory, bulk: &dyn Memory, all: &mut [Connection], is_free: &[bool]) {
        let mut used: Vec<&mut Connection> = Vec::with_capacity(all.len());
        let is_used = |(slot, is_free): &(&mut Connection, &bool)| !**is_free && !slot.pool.is_null();
        used.extend(all.iter_mut().zip(is_free).filter(is_used).map(|(slot, _)| slot));
        let mut events: Vec<Addr> = used.iter().map(|slot| slot.read).collect();
        let read = handlers_of(self.handler, chase, bulk, &events);
        events.clear();
        events.extend(used.iter().map(|slot| slot.write));
        let write = handlers_of(self.handler, chase, bulk, &events);
        for (slot, (read, write)) in used.into_iter().zip(read.into_iter().zip(write)) {
            (slot.read_handler, slot.write_handler) = (read, write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    const EVENTS: u64 = 0x10000;

    fn image() -> Image {
        let mut image = Image::new();
        image.map(Addr(EVENTS), vec![0; 0x8000]);
        for event in 0..0x150 {
            assert!(image.write_u64(Addr(EVENTS + event * 96 + 16), 0x7000 + event));
        }
        image
    }

    #[test]
    fn an_array_that_cannot_be_is_no_array() {
        let mut image = image();
        assert!(image.write_u64(Addr(EVENTS), EVENTS));
        assert!(image.write_u64(Addr(EVENTS + 8), EVENTS));
        let array = ConnectionArray::of_test(Addr(EVENTS));
        for count in [MAX_CONNECTIONS + 1, u64::MAX, 0x1000] {
            assert!(image.write_u64(Addr(EVENTS + 16), count));
            assert!(array.read(&image, &image).is_err(), "{count}");
        }
        assert!(image.write_u64(Addr(EVENTS + 8), 0));
        assert!(array.read(&image, &image).is_ok_and(|slots| slots.is_none()));
        assert!(array.range(&image).is_ok_and(AddrRange::is_empty));
    }
}
