//! Connections, and through them requests and upstream peers.
//!
//! The array `ngx_cycle->connections` holds used and free ones alike. A free one keeps what it last had: its pool pointer
//! is stale, and its descriptor is no test (modules make connections without one). Only the list of free connections
//! tells, which runs through their `data` fields (nginx `src/core/ngx_connection.c`, `ngx_free_connection`).

use super::owner::{NamedPool, NginxModule, OwnerError, OwnerFinder, OwnerKind, Stopped};
use super::request::{RequestLayout, RequestOwner};
use crate::addr::Addr;
use crate::malloc::arena::word_at;
use crate::target::memory::{Fault, Memory};

const CLIENT: OwnerKind = OwnerKind { key: "connection", label: "connection", unit: None };
const OTHER: OwnerKind = OwnerKind { key: "connection_other", label: "connection, not from a client", unit: None };
const REQUEST: OwnerKind = OwnerKind { key: "request", label: "request", unit: None };
const UPSTREAM: OwnerKind = OwnerKind { key: "upstream_connection", label: "upstream connection", unit: None };

/// More connections than this are not believed.
const MAX_CONNECTIONS: u64 = 64 << 20;

/// Bytes of the array that are read at once.
const WINDOW: u64 = 256 * 1024;

struct ConnectionFinder {
    /// The variable `ngx_cycle`, a pointer.
    cycle: Addr,
    connections: u64,
    count: u64,
    free: u64,
    layout: ConnectionLayout,
    /// `None` in a build without http.
    request: Option<RequestLayout>,
}

/// Offsets in `ngx_connection_t`.
struct ConnectionLayout {
    size: u64,
    data: u64,
    pool: u64,
    listening: u64,
}

/// What matters of a connection.
#[derive(Debug, Clone, Copy)]
struct Connection {
    data: Addr,
    pool: Addr,
    is_client: bool,
}

/// Looks for the pools of connections, requests and upstream peers.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let Some(cycle) = nginx.variable("ngx_cycle") else { return Ok(None) };
    let (cycle_layout, connection) = (nginx.debug.layout("ngx_cycle_s")?, nginx.debug.layout("ngx_connection_s")?);
    Ok(Some(Box::new(ConnectionFinder {
        cycle,
        connections: cycle_layout.offset("connections")?,
        count: cycle_layout.offset("connection_n")?,
        free: cycle_layout.offset("free_connections")?,
        layout: ConnectionLayout {
            size: connection.size,
            data: connection.offset("data")?,
            pool: connection.offset("pool")?,
            listening: connection.offset("listening")?,
        },
        request: RequestLayout::from_debug(nginx)?,
    })))
}

impl OwnerFinder for ConnectionFinder {
    fn what(&self) -> &'static str {
        "connections"
    }

    fn find(&self, target: &Stopped<'_>, found: &mut Vec<NamedPool>) -> Result<(), OwnerError> {
        let cycle = target.chase.read_pointer(self.cycle)?;
        let first = target.chase.read_pointer(cycle + self.connections)?;
        let count = target.chase.read_u64(cycle + self.count)?;
        if first.is_null() {
            // A master knows how many its workers are to have, and has none itself.
            return Ok(());
        }
        if count > MAX_CONNECTIONS {
            return Err(OwnerError::Implausible(format!("ngx_cycle->connections holds {count} connections")));
        }
        let connections = self.layout.read_all(target.bulk, first, count)?;
        let free_list = target.chase.read_pointer(cycle + self.free)?;
        let is_free = self.layout.free_ones(&connections, first, free_list);
        for (index, connection) in connections.iter().enumerate().filter(|(index, _)| !is_free[*index]) {
            if !connection.pool.is_null() {
                let address = first + index as u64 * self.layout.size;
                self.name(target.chase, index, address, *connection, found);
            }
        }
        Ok(())
    }
}

impl ConnectionFinder {
    fn name(
        &self,
        memory: &dyn Memory,
        index: usize,
        address: Addr,
        connection: Connection,
        found: &mut Vec<NamedPool>,
    ) {
        let path = format!("ngx_cycle->connections[{index}]");
        let request = self.request.as_ref();
        let request = request.and_then(|layout| layout.owner_of(memory, address, connection.data));
        let kind = match (&request, connection.is_client) {
            (Some(RequestOwner::Upstream), _) => &UPSTREAM,
            (_, true) => &CLIENT,
            (_, false) => &OTHER,
        };
        if let Some(RequestOwner::Client { pool }) = request {
            let path = format!("((ngx_http_request_t *) {path}.data)->pool");
            found.push(NamedPool::plain(pool, &REQUEST, path));
        }
        found.push(NamedPool::plain(connection.pool, kind, format!("{path}.pool")));
    }
}

impl ConnectionLayout {
    fn read_all(&self, memory: &dyn Memory, first: Addr, count: u64) -> Result<Vec<Connection>, Fault> {
        let in_window = (WINDOW / self.size.max(1)).max(1);
        let mut connections = Vec::with_capacity(count as usize);
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
        Connection {
            data: Addr(word_at(bytes, self.data)),
            pool: Addr(word_at(bytes, self.pool)),
            is_client: word_at(bytes, self.listening) != 0,
        }
    }

    /// Which connections are on the list of free ones.
    fn free_ones(&self, connections: &[Connection], first: Addr, list: Addr) -> Vec<bool> {
        let mut is_free = vec![false; connections.len()];
        let mut at = list;
        while let Some(index) = self.index_of(first, at) {
            match is_free.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                // Beyond the array, or round in a circle.
                _ => break,
            }
            at = connections[index].data;
        }
        is_free
    }

    fn index_of(&self, first: Addr, connection: Addr) -> Option<usize> {
        let offset = connection.checked_offset_from(first)?;
        offset.is_multiple_of(self.size).then_some((offset / self.size) as usize)
    }
}
