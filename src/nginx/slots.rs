//! The array of all connections, used and free ones alike.
//!
//! A free one keeps what it last had: its pool pointer is stale, and its descriptor is no test (modules make connections
//! without one). Only the list of free connections tells, which runs through their `data` fields (nginx
//! `src/core/ngx_connection.c`, `ngx_free_connection`).

use super::fields::{Bits, Fields, Text};
use super::owner::{NginxModule, OwnerError};
use crate::addr::Addr;
use crate::target::memory::{Fault, Memory, word_at};

/// Bytes of the array that are read at once.
const WINDOW: u64 = 256 * 1024;

/// Offsets in `ngx_connection_t`.
pub struct ConnectionLayout {
    size: u64,
    data: u64,
    pool: u64,
    listening: u64,
    read: Option<u64>,
    write: Option<u64>,
    /// `handler` in `ngx_event_t`.
    pub handler: Option<u64>,
    /// Serial number, and how many requests there were; absent in versions that do not keep them.
    number: Option<u64>,
    requests: Option<u64>,
    start_time: Option<u64>,
    quic: Option<u64>,
    idle: Option<Bits>,
    fd: Option<u64>,
    /// Where it keeps what messages about it are written to.
    pub log: Option<u64>,
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
    pub read: Addr,
    /// Its event for writing.
    pub write: Addr,
    /// The stream that it is of a QUIC connection; null of others.
    pub quic: Addr,
    /// When it began, on the clock of `ngx_current_msec`; 0 if that is not known.
    pub start_time: u64,
    /// True if it may be closed at any time.
    pub is_idle: bool,
    /// False of one without a descriptor, as modules make them to have something to run on.
    pub has_descriptor: bool,
    /// nginx's number of the connection, and of the request that it handles.
    pub identity: Option<(u64, u64)>,
}

impl ConnectionLayout {
    /// Takes the offsets that there are.
    ///
    /// # Errors
    /// [`OwnerError`] if one is missing without which nothing can be told.
    pub fn of(nginx: NginxModule<'_>) -> Result<ConnectionLayout, OwnerError> {
        let layout = nginx.layout("ngx_connection_s")?;
        if layout.size == 0 {
            return Err(OwnerError::Implausible("ngx_connection_t has no size by the debug info".to_owned()));
        }
        let optional = Fields::of(nginx, "ngx_connection_s");
        Ok(ConnectionLayout {
            size: layout.size,
            data: layout.offset("data")?,
            pool: layout.offset("pool")?,
            listening: layout.offset("listening")?,
            read: optional.offset("read"),
            write: optional.offset("write"),
            handler: Fields::of(nginx, "ngx_event_s").offset("handler"),
            number: optional.offset("number"),
            requests: optional.offset("requests"),
            start_time: optional.offset("start_time"),
            quic: optional.offset("quic"),
            idle: optional.bits("idle"),
            queue: optional.offset("queue.prev").filter(|_| optional.offset("queue.next").is_some()),
            fd: optional.offset("fd"),
            log: optional.offset("log"),
            address: optional.text("addr_text").filter(|_| nginx.show_clients),
        })
    }

    /// That of a test: without events, and with the offsets of a build of 2024.
    #[cfg(test)]
    pub fn of_test() -> ConnectionLayout {
        ConnectionLayout {
            size: 0xe8,
            data: 0,
            pool: 0x58,
            listening: 0x40,
            read: Some(8),
            write: Some(16),
            handler: Some(16),
            number: Some(0xc8),
            requests: None,
            start_time: None,
            quic: None,
            idle: None,
            queue: None,
            fd: None,
            log: None,
            address: None,
        }
    }

    /// Where the connection of that index lies, the first one lying at `first`.
    pub fn place(&self, first: Addr, index: usize) -> Addr {
        first + (index as u64).wrapping_mul(self.size)
    }

    /// All `count` connections from `first` on.
    ///
    /// # Errors
    /// A [`Fault`] if not all are there.
    pub fn read_all(&self, memory: &dyn Memory, first: Addr, count: u64) -> Result<Vec<Connection>, Fault> {
        let in_window = (WINDOW / self.size.max(1)).max(1);
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
        let optional = |offset: Option<u64>| offset.map_or(0, |offset| word_at(bytes, offset));
        Connection {
            data: Addr(word_at(bytes, self.data)),
            pool: Addr(word_at(bytes, self.pool)),
            listening: Addr(word_at(bytes, self.listening)),
            read: Addr(optional(self.read)),
            write: Addr(optional(self.write)),
            quic: Addr(optional(self.quic)),
            start_time: optional(self.start_time),
            is_idle: self.idle.is_some_and(|idle| idle.of(bytes) != 0),
            has_descriptor: self.fd.is_none_or(|fd| word_at(bytes, fd) as u32 != u32::MAX),
            identity: self.number.zip(self.requests).map(|(number, requests)| {
                // A request that is being read is counted already (nginx `ngx_http_create_request`).
                (word_at(bytes, number), word_at(bytes, requests))
            }),
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
    /// end, if it could not: some free ones then pass for used.
    pub fn free_ones(&self, connections: &[Connection], first: Addr, list: Addr) -> (Vec<bool>, Option<String>) {
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

    /// Which connection lies at that address, if one does.
    pub fn index_of(&self, first: Addr, connection: Addr) -> Option<usize> {
        let offset = connection.checked_offset_from(first)?;
        offset.is_multiple_of(self.size).then_some((offset / self.size) as usize)
    }
}
