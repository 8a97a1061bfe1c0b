//! Connections, and through them requests and upstream peers.
//!
//! The array `ngx_cycle->connections` holds used and free ones alike. A free one keeps what it last had: its pool pointer
//! is stale, and its descriptor is no test (modules make connections without one). Only the list of free connections
//! tells, which runs through their `data` fields (nginx `src/core/ngx_connection.c`, `ngx_free_connection`).

use super::owner::{NamedPool, NginxModule, OwnerError, OwnerFinder, OwnerKind, Stopped};
use super::request::{RequestLayout, RequestOwner};
use crate::addr::Addr;
use crate::target::memory::{Fault, Memory, word_at};

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
    /// Serial number, and how many requests there were; absent in versions that do not keep them.
    number: Option<u64>,
    requests: Option<u64>,
}

/// What matters of a connection.
#[derive(Debug, Clone, Copy)]
struct Connection {
    data: Addr,
    pool: Addr,
    is_client: bool,
    /// nginx's number of the connection, and of the request that it handles.
    identity: Option<(u64, u64)>,
}

/// Looks for the pools of connections, requests and upstream peers.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let Some(cycle) = nginx.variable("ngx_cycle") else { return Ok(None) };
    let (cycle_layout, connection) = (nginx.layout("ngx_cycle_s")?, nginx.layout("ngx_connection_s")?);
    if connection.size == 0 {
        return Err(OwnerError::Implausible("ngx_connection_t has no size by the debug info".to_owned()));
    }
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
            number: connection.offset("number").ok(),
            requests: connection.offset("requests").ok(),
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
        let (is_free, problem) = self.layout.free_ones(&connections, first, free_list);
        for (index, connection) in connections.iter().enumerate().filter(|(index, _)| !is_free[*index]) {
            if !connection.pool.is_null() {
                let address = first + index as u64 * self.layout.size;
                self.name(target.chase, index, address, *connection, found);
            }
        }
        problem.map_or(Ok(()), |problem| Err(OwnerError::Implausible(problem)))
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
            let identity = connection.identity;
            found.push(NamedPool { identity, ..NamedPool::plain(pool, &REQUEST, path) });
        }
        let identity = connection.identity.map(|(number, _)| (number, 0));
        found.push(NamedPool { identity, ..NamedPool::plain(connection.pool, kind, format!("{path}.pool")) });
    }
}

impl ConnectionLayout {
    fn read_all(&self, memory: &dyn Memory, first: Addr, count: u64) -> Result<Vec<Connection>, Fault> {
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
        Connection {
            data: Addr(word_at(bytes, self.data)),
            pool: Addr(word_at(bytes, self.pool)),
            is_client: word_at(bytes, self.listening) != 0,
            identity: self.number.zip(self.requests).map(|(number, requests)| {
                // A request that is being read is counted already (nginx `ngx_http_create_request`).
                (word_at(bytes, number), word_at(bytes, requests))
            }),
        }
    }

    /// Which connections are on the list of free ones. The second value says why the list could not be followed to its
    /// end, if it could not: some free ones then pass for used.
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

    fn index_of(&self, first: Addr, connection: Addr) -> Option<usize> {
        let offset = connection.checked_offset_from(first)?;
        offset.is_multiple_of(self.size).then_some((offset / self.size) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    const CYCLE: Addr = Addr(0x1000);
    const FIRST: Addr = Addr(0x10000);
    const SIZE: u64 = 0xe8;

    fn connection(index: u64) -> Addr {
        FIRST + index * SIZE
    }

    fn finder() -> ConnectionFinder {
        ConnectionFinder {
            cycle: CYCLE,
            connections: 8,
            count: 16,
            free: 24,
            layout: ConnectionLayout {
                size: SIZE,
                data: 0,
                pool: 0x58,
                listening: 0x40,
                number: Some(0xc8),
                requests: None,
            },
            request: None,
        }
    }

    /// Eight connections, each with a pool; the free list has these, in their order, and then leads to `end`.
    fn image(free: &[u64], end: Addr) -> Image {
        let mut image = Image::new();
        image.map(CYCLE, vec![0; 0x100]);
        image.map(FIRST, vec![0; 8 * SIZE as usize]);
        let mut put = |at: Addr, value: u64| assert!(image.write_u64(at, value));
        put(CYCLE, CYCLE.0 + 0x40);
        let cycle = CYCLE + 0x40;
        put(cycle + 8, FIRST.0);
        put(cycle + 16, 8);
        put(cycle + 24, free.first().map_or(end, |first| connection(*first)).0);
        for index in 0..8 {
            put(connection(index) + 0x58, 0x50000 + index * 0x1000);
            put(connection(index) + 0x40, index % 2);
        }
        for (nth, index) in free.iter().enumerate() {
            put(connection(*index), free.get(nth + 1).map_or(end, |next| connection(*next)).0);
        }
        image
    }

    fn find(image: &Image) -> (Vec<u64>, Result<(), OwnerError>) {
        let mut found = Vec::new();
        let answer = finder().find(&Stopped { chase: image, bulk: image }, &mut found);
        assert!(found.iter().all(|named| named.path.ends_with("].pool")));
        (found.iter().map(|named| (named.pool.0 - 0x50000) / 0x1000).collect(), answer)
    }

    #[test]
    fn pools_that_free_connections_still_point_to_are_not_named() {
        let (found, answer) = find(&image(&[6, 1, 3], Addr::NULL));
        assert_eq!(found, [0, 2, 4, 5, 7]);
        assert!(answer.is_ok());
        assert_eq!(find(&image(&[], Addr::NULL)).0.len(), 8);
        assert!(find(&image(&[7, 6, 5, 4, 3, 2, 1, 0], Addr::NULL)).0.is_empty());
    }

    #[test]
    fn a_connection_that_listens_is_a_client_s() {
        let mut found = Vec::new();
        let image = image(&[], Addr::NULL);
        finder().find(&Stopped { chase: &image, bulk: &image }, &mut found).unwrap();
        let kinds: Vec<&str> = found.iter().map(|named| named.kind.key).collect();
        assert_eq!(kinds[..2], ["connection_other", "connection"]);
    }

    #[test]
    fn a_damaged_list_of_free_connections_is_reported_and_the_rest_is_named() {
        let cases = [
            (connection(6), "circle"),
            (connection(3), "circle"),
            (connection(8), "no connection"),
            (connection(2) + 8, "no connection"),
            (Addr(8), "no connection"),
            (Addr(u64::MAX), "no connection"),
        ];
        for (end, says) in cases {
            let (found, answer) = find(&image(&[6, 1, 3], end));
            assert_eq!(found, [0, 2, 4, 5, 7]);
            let error = answer.unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(&end.to_string()), "{error}");
        }
    }

    #[test]
    fn a_count_that_cannot_be_is_an_error_and_costs_no_memory() {
        for count in [9, 1 << 20, MAX_CONNECTIONS, MAX_CONNECTIONS + 1, u64::MAX] {
            let mut image = image(&[], Addr::NULL);
            assert!(image.write_u64(CYCLE + 0x50, count));
            assert!(find(&image).1.is_err(), "{count}");
        }
    }
}
