//! Connections of the Lua module: cosockets, and those without a descriptor that timers run on.

use super::{LuaCode, SmallPools, function};
use crate::addr::Addr;
use crate::nginx::owner::{NamedPool, NginxModule, OwnerError, OwnerFacts, OwnerFinder, OwnerKind, Stopped, Trust};
use crate::target::memory::{Fault, Memory, word_at};

const RUNNING: OwnerKind = OwnerKind { key: "lua.timer_running", label: "Lua timer, running", unit: Some("lua_timer") };
const FAKE: OwnerKind =
    OwnerKind { key: "lua.fake_connection", label: "Lua phase without a client's connection", unit: Some("lua_util") };
const COSOCKET: OwnerKind = OwnerKind { key: "lua.cosocket", label: "Lua cosocket", unit: Some("lua_socket_tcp") };

/// More connections than this are not believed.
const MAX_CONNECTIONS: u64 = 64 << 20;

/// Bytes of the array of connections that are read at once.
const WINDOW: u64 = 256 * 1024;

/// Words of what a cosocket's `data` points to that are looked at.
const DATA_WORDS: usize = 32;

/// In `ngx_http_lua_socket_tcp_upstream_t`: its third and fourth words are the handlers of what the socket waits for, and the
/// connection comes after five more pointers (lua-nginx-module `ngx_http_lua_socket_tcp.h`).
const HANDLER_WORDS: std::ops::Range<usize> = 2..4;
const CONNECTION_WORDS: std::ops::Range<usize> = 5..DATA_WORDS;

/// In `ngx_http_lua_socket_pool_item_t`: the connection comes after the pool of sockets and the links of a queue.
const IDLE_WORDS: std::ops::Range<usize> = 1..6;

struct SocketFinder {
    code: LuaCode,
    pools: SmallPools,
    /// `ngx_http_lua_log_timer_error`, if there is a symbol for it.
    timer_log: Option<Addr>,
    /// The variable `ngx_cycle`, a pointer.
    cycle: Addr,
    connections: u64,
    count: u64,
    free: u64,
    layout: ConnectionLayout,
}

/// Offsets in `ngx_connection_t`, `ngx_event_t` and `ngx_log_t`.
struct ConnectionLayout {
    size: u64,
    data: u64,
    read: u64,
    fd: u64,
    listening: u64,
    log: u64,
    pool: u64,
    ssl: Option<u64>,
    number: Option<u64>,
    event_handler: u64,
    log_handler: u64,
    log_data: u64,
}

/// What matters of a connection.
#[derive(Debug, Clone, Copy)]
struct Connection {
    data: Addr,
    read: Addr,
    has_descriptor: bool,
    listens: bool,
    log: Addr,
    pool: Addr,
    has_ssl: bool,
    number: Option<u64>,
}

/// Looks for the module's connections.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let (Some(code), Some(cycle)) = (LuaCode::of(nginx), nginx.variable("ngx_cycle")) else { return Ok(None) };
    let layout = nginx.layout("ngx_cycle_s")?;
    Ok(Some(Box::new(SocketFinder {
        code,
        pools: SmallPools::of(nginx),
        timer_log: function(nginx, "ngx_http_lua_log_timer_error"),
        cycle,
        connections: layout.offset("connections")?,
        count: layout.offset("connection_n")?,
        free: layout.offset("free_connections")?,
        layout: ConnectionLayout::new(nginx)?,
    })))
}

impl OwnerFinder for SocketFinder {
    fn what(&self) -> &'static str {
        "connections of Lua"
    }

    fn find(&self, target: &Stopped<'_>, found: &mut Vec<NamedPool>) -> Result<(), OwnerError> {
        let cycle = target.chase.read_pointer(self.cycle)?;
        let first = target.chase.read_pointer(cycle + self.connections)?;
        let count = target.chase.read_u64(cycle + self.count)?;
        if first.is_null() {
            return Ok(());
        }
        if count > MAX_CONNECTIONS {
            return Err(OwnerError::Implausible(format!("ngx_cycle->connections holds {count} connections")));
        }
        let connections = self.layout.read_all(target.bulk, first, count)?;
        let is_free = self.free_ones(&connections, first, target.chase.read_pointer(cycle + self.free)?);
        let used = connections.iter().enumerate().filter(|(index, _)| is_free.get(*index) == Some(&false));
        for (index, connection) in used.filter(|(_, connection)| !connection.pool.is_null()) {
            let address = first + index as u64 * self.layout.size;
            if let Some(named) = self.name(target.chase, address, connection) {
                let path = format!("ngx_cycle->connections[{index}].pool");
                let identity = connection.number.map(|number| (number, 0));
                found.push(NamedPool { path, identity, ..named });
            }
        }
        Ok(())
    }
}

impl SocketFinder {
    /// Which connections are free. Where their list leads astray, that is told by whoever names connections in general.
    fn free_ones(&self, connections: &[Connection], first: Addr, list: Addr) -> Vec<bool> {
        let mut is_free = vec![false; connections.len()];
        let mut at = list;
        while let Some(offset) = at.checked_offset_from(first).filter(|offset| offset.is_multiple_of(self.layout.size))
        {
            let index = (offset / self.layout.size) as usize;
            match (connections.get(index), is_free.get_mut(index)) {
                (Some(connection), Some(seen @ false)) => {
                    *seen = true;
                    at = connection.data;
                }
                _ => break,
            }
        }
        is_free
    }

    fn name(&self, memory: &dyn Memory, address: Addr, connection: &Connection) -> Option<NamedPool> {
        if connection.has_descriptor {
            self.cosocket(memory, address, connection)
        } else {
            self.fake(memory, address, connection)
        }
    }

    /// A connection without a descriptor that is in use. Its request is a fake one too, in the same pool. Timers have no TLS;
    /// what runs while a client's TLS connection is made shares that one's.
    ///
    /// The slot of `init_worker_by_lua` stays taken for ever after its pool was destroyed, whose memory can be another pool's
    /// by now (lua-nginx-module `ngx_http_lua_initworkerby.c`): the log, which the module allocates from the connection's pool,
    /// must still be in it, and lead back.
    fn fake(&self, memory: &dyn Memory, address: Addr, connection: &Connection) -> Option<NamedPool> {
        let handler = memory.read_pointer(connection.log + self.layout.log_handler).ok()?;
        let leads_back = memory.read_pointer(connection.log + self.layout.log_data).ok()? == address;
        if !leads_back || !self.code.contains(handler) || !self.pools.is_one(memory, connection.pool) {
            return None;
        }
        if !self.pools.holds(memory, connection.pool, connection.log) {
            return None;
        }
        let is_timer = self.timer_log.map_or(!connection.has_ssl, |known| known == handler);
        let kind = if is_timer { &RUNNING } else { &FAKE };
        let facts = OwnerFacts { handler: Some(handler), ..OwnerFacts::default() };
        Some(NamedPool { facts, ..NamedPool::plain(connection.pool, kind, String::new()) })
    }

    /// A connection that the module made. One over UDP uses its request's pool, which is larger.
    fn cosocket(&self, memory: &dyn Memory, address: Addr, connection: &Connection) -> Option<NamedPool> {
        if connection.listens || !self.pools.is_one(memory, connection.pool) {
            return None;
        }
        let handler = memory.read_pointer(connection.read + self.layout.event_handler).ok()?;
        let state = self.state(memory, address, connection.data);
        // While TLS is set up the handlers are nginx's own, and only what the connection belongs to tells.
        let (state, trust) = match (self.code.contains(handler), state) {
            (true, Some(state)) => (Some(state), Trust::TypedPath),
            (true, None) => (None, Trust::InferredPath),
            (false, Some(IN_USE)) => (Some(IN_USE), Trust::InferredPath),
            (false, _) => return None,
        };
        let facts = OwnerFacts { handler: Some(handler), ..OwnerFacts::default() };
        Some(NamedPool { state, trust, facts, ..NamedPool::plain(connection.pool, &COSOCKET, String::new()) })
    }

    /// What a cosocket is at, by what its `data` points to, which must point back.
    fn state(&self, memory: &dyn Memory, connection: Addr, data: Addr) -> Option<&'static str> {
        let mut bytes = [0; DATA_WORDS * 8];
        // What is at the end of its mapping is read in part: the pool's item is small.
        let read = [DATA_WORDS * 8, IDLE_WORDS.end * 8];
        read.iter().find(|length| bytes.get_mut(..**length).is_some_and(|part| memory.read(data, part).is_ok()))?;
        let words: Vec<Addr> = (0..DATA_WORDS as u64).map(|word| Addr(word_at(&bytes, word * 8))).collect();
        let has = |range: std::ops::Range<usize>| words.get(range).is_some_and(|words| words.contains(&connection));
        let is_upstream =
            words.get(HANDLER_WORDS).is_some_and(|words| words.iter().all(|word| self.code.contains(*word)));
        match is_upstream {
            true => has(CONNECTION_WORDS).then_some(IN_USE),
            false => has(IDLE_WORDS).then_some(IDLE),
        }
    }
}

const IN_USE: &str = "in use";
const IDLE: &str = "idle";

impl ConnectionLayout {
    fn new(nginx: NginxModule<'_>) -> Result<ConnectionLayout, OwnerError> {
        let (connection, log) = (nginx.layout("ngx_connection_s")?, nginx.layout("ngx_log_s")?);
        if connection.size == 0 {
            return Err(OwnerError::Implausible("ngx_connection_t has no size by the debug info".to_owned()));
        }
        Ok(ConnectionLayout {
            size: connection.size,
            data: connection.offset("data")?,
            read: connection.offset("read")?,
            fd: connection.offset("fd")?,
            listening: connection.offset("listening")?,
            log: connection.offset("log")?,
            pool: connection.offset("pool")?,
            ssl: connection.offset("ssl").ok(),
            number: connection.offset("number").ok(),
            event_handler: nginx.layout("ngx_event_s")?.offset("handler")?,
            log_handler: log.offset("handler")?,
            log_data: log.offset("data")?,
        })
    }

    fn read_all(&self, memory: &dyn Memory, first: Addr, count: u64) -> Result<Vec<Connection>, Fault> {
        let in_window = (WINDOW / self.size.max(1)).max(1);
        // The count is the target's word: room is made as its memory proves it.
        let mut connections = Vec::new();
        let mut bytes = Vec::new();
        for start in (0..count).step_by(in_window as usize) {
            bytes.resize((in_window.min(count - start) * self.size) as usize, 0);
            memory.read(first + start * self.size, &mut bytes)?;
            connections.extend(bytes.chunks_exact(self.size as usize).map(|bytes| self.parse(bytes)));
        }
        Ok(connections)
    }

    fn parse(&self, bytes: &[u8]) -> Connection {
        let word = |offset| Addr(word_at(bytes, offset));
        Connection {
            data: word(self.data),
            read: word(self.read),
            has_descriptor: word_at(bytes, self.fd) as u32 != u32::MAX,
            listens: !word(self.listening).is_null(),
            log: word(self.log),
            pool: word(self.pool),
            has_ssl: self.ssl.is_some_and(|ssl| !word(ssl).is_null()),
            number: self.number.map(|number| word_at(bytes, number)),
        }
    }
}
