//! Connections of the Lua module: cosockets, and those without a descriptor that timers run on.

use super::{LuaCode, SmallPools, function};
use crate::addr::Addr;
use crate::nginx::found::{Facts, Found, FoundPool, Path};
use crate::nginx::owner::{NginxModule, OwnerError, OwnerFinder, OwnerKind, Stopped, Trust};
use crate::nginx::slots::{Connection, ConnectionArray};
use crate::target::memory::{Memory, word_at};

const RUNNING: OwnerKind = OwnerKind { key: "lua.timer_running", label: "Lua timer, running", unit: Some("lua_timer") };
const FAKE: OwnerKind =
    OwnerKind { key: "lua.fake_connection", label: "Lua phase without a client's connection", unit: Some("lua_util") };
const COSOCKET: OwnerKind = OwnerKind { key: "lua.cosocket", label: "Lua cosocket", unit: Some("lua_socket_tcp") };

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
    array: ConnectionArray,
    /// Offsets in `ngx_log_t`.
    log_handler: u64,
    log_data: u64,
}

/// Looks for the module's connections.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let (Some(code), Some(array)) = (LuaCode::of(nginx), ConnectionArray::of(nginx)?) else { return Ok(None) };
    let (connection, event) = (nginx.layout("ngx_connection_s")?, nginx.layout("ngx_event_s")?);
    // What others can do without, nothing of Lua's can be told without.
    ["read", "fd", "log"].iter().try_for_each(|field| connection.offset(field).map(drop))?;
    event.offset("handler")?;
    let log = nginx.layout("ngx_log_s")?;
    Ok(Some(Box::new(SocketFinder {
        code,
        pools: SmallPools::of(nginx),
        timer_log: function(nginx, "ngx_http_lua_log_timer_error"),
        array,
        log_handler: log.offset("handler")?,
        log_data: log.offset("data")?,
    })))
}

impl OwnerFinder for SocketFinder {
    fn what(&self) -> &'static str {
        "connections of Lua"
    }

    fn find(&self, target: &Stopped<'_>, found: &mut Found) -> Result<(), OwnerError> {
        // Where the list of free connections leads astray, that is told by whoever names connections in general.
        let Some(slots) = target.slots(&self.array)? else { return Ok(()) };
        for (index, connection) in slots.used() {
            let address = self.array.layout.place(slots.first, index);
            if let Some(named) = self.name(target.chase, address, connection) {
                let path = Path::through("ngx_cycle->connections[", index as u64, "].pool");
                let identity = connection.number.map(|number| (number, 0));
                found.pools.push(FoundPool { path, identity, ..named });
            }
        }
        Ok(())
    }
}

impl SocketFinder {
    fn name(&self, memory: &dyn Memory, address: Addr, connection: &Connection) -> Option<FoundPool> {
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
    fn fake(&self, memory: &dyn Memory, address: Addr, connection: &Connection) -> Option<FoundPool> {
        let handler = memory.read_pointer(connection.log + self.log_handler).ok()?;
        let leads_back = memory.read_pointer(connection.log + self.log_data).ok()? == address;
        if !leads_back || !self.code.contains(handler) || !self.pools.is_one(memory, connection.pool) {
            return None;
        }
        if !self.pools.holds(memory, connection.pool, connection.log) {
            return None;
        }
        let is_timer = self.timer_log.map_or(!connection.has_ssl, |known| known == handler);
        let kind = if is_timer { &RUNNING } else { &FAKE };
        let facts = Facts { handler: Some(handler), ..Facts::default() };
        Some(FoundPool { facts, ..FoundPool::plain(connection.pool, kind, Path::fixed("")) })
    }

    /// A connection that the module made. One over UDP uses its request's pool, which is larger.
    fn cosocket(&self, memory: &dyn Memory, address: Addr, connection: &Connection) -> Option<FoundPool> {
        if !connection.listening.is_null() || !self.pools.is_one(memory, connection.pool) {
            return None;
        }
        let handler = connection.read_handler?;
        let state = self.state(memory, address, connection.data);
        // While TLS is set up the handlers are nginx's own, and only what the connection belongs to tells.
        let (state, trust) = match (self.code.contains(handler), state) {
            (true, Some(state)) => (Some(state), Trust::TypedPath),
            (true, None) => (None, Trust::InferredPath),
            (false, Some(IN_USE)) => (Some(IN_USE), Trust::InferredPath),
            (false, _) => return None,
        };
        let facts = Facts { handler: Some(handler), ..Facts::default() };
        Some(FoundPool { state, trust, facts, ..FoundPool::plain(connection.pool, &COSOCKET, Path::fixed("")) })
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
