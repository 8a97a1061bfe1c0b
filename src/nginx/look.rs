//! One look at all connections: what each is used for, and what it leads to.

use super::clock::Clock;
use super::fields::pointer;
use super::handlers::{Handlers, READING_LINE, Role};
use super::http2::Http2Layout;
use super::keepalive::{KEEPALIVE, KeepaliveLayout};
use super::layout::PoolLayout;
use super::listening::ListeningLayout;
use super::mail::{self, MailLayout};
use super::ocsp::{OCSP, OcspLayout};
use super::owner::{NamedPool, NginxModule, OwnerError, OwnerFacts, OwnerKind};
use super::request::{REQUEST, Request, RequestLayout};
use super::scene::Scene;
use super::slots::{Connection, ConnectionLayout};
use super::stream::{self, StreamLayout};
use crate::addr::Addr;
use crate::target::memory::Memory;

const OTHER: OwnerKind = OwnerKind { key: "connection_other", label: "connection, not from a client", unit: None };
const UPSTREAM: OwnerKind = OwnerKind { key: "upstream_connection", label: "upstream connection", unit: None };

/// What is known of this nginx before it is looked at.
pub struct Known {
    /// Connections.
    pub layout: ConnectionLayout,
    /// Pools.
    pub pools: PoolLayout,
    /// Listening sockets.
    pub listening: ListeningLayout,
    /// The time.
    pub clock: Clock,
    /// Functions that tell what is being done.
    pub handlers: Handlers,
    /// What connections are used for.
    pub users: Users,
}

/// What a connection's `data` can point to. Each is `None` in a build without it.
#[derive(Default)]
pub struct Users {
    /// HTTP requests, of clients and to servers.
    pub request: Option<RequestLayout>,
    /// HTTP/2 connections.
    pub http2: Option<Http2Layout>,
    /// Caches of idle connections.
    pub keepalive: Option<KeepaliveLayout>,
    /// Stream sessions.
    pub stream: Option<StreamLayout>,
    /// Mail sessions.
    pub mail: Option<MailLayout>,
    /// Questions to OCSP servers.
    pub ocsp: Option<OcspLayout>,
}

impl Known {
    /// Takes what there is.
    ///
    /// # Errors
    /// [`OwnerError`] if connections or requests are not as every nginx has them.
    pub fn of(nginx: NginxModule<'_>) -> Result<Known, OwnerError> {
        Ok(Known {
            layout: ConnectionLayout::of(nginx)?,
            pools: PoolLayout::from_debug(nginx.debug).unwrap_or(PoolLayout::SINCE_0_8_1),
            listening: ListeningLayout::of(nginx),
            clock: Clock::of(nginx),
            handlers: Handlers::of(nginx),
            users: Users {
                request: RequestLayout::from_debug(nginx)?,
                http2: Http2Layout::of(nginx),
                keepalive: KeepaliveLayout::of(nginx),
                stream: StreamLayout::of(nginx),
                mail: MailLayout::of(nginx),
                ocsp: OcspLayout::of(nginx),
            },
        })
    }

    /// Connections alone.
    #[cfg(test)]
    pub fn of_test() -> Known {
        Known {
            layout: ConnectionLayout::of_test(),
            pools: PoolLayout::SINCE_0_8_1,
            listening: ListeningLayout::unknown(),
            clock: Clock::unknown(),
            handlers: Handlers::none(),
            users: Users::default(),
        }
    }
}

/// What `data` turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A client's request, or one of its sub-requests.
    Request(Request),
    /// The request that a server is to answer.
    Peer(Request),
    /// The HTTP/2 side.
    Http2,
    /// A place in a cache of idle connections.
    Cached,
    /// A stream session; true for its client's connection.
    Stream(bool),
    /// A mail session; likewise.
    Mail(bool),
    /// A question to an OCSP server.
    Ocsp,
    /// Something else.
    Other,
}

/// One look at all connections.
pub struct Look<'a> {
    /// What was known before.
    pub known: &'a Known,
    /// What is common to all.
    pub scene: Scene<'a>,
    first: Addr,
    connections: &'a [Connection],
}

impl<'a> Look<'a> {
    /// A look at the connections from `first` on.
    pub fn new(known: &'a Known, memory: &'a dyn Memory, first: Addr, connections: &'a [Connection]) -> Look<'a> {
        let location_index = known.users.request.as_ref().and_then(|request| request.location.index(memory));
        Look { known, scene: Scene::new(memory, known.clock.read(memory), location_index), first, connections }
    }

    /// Names what leads on from a connection, and then itself. What others may name better comes to `late`.
    pub fn name(&self, index: usize, connection: Connection, found: &mut Vec<NamedPool>, late: &mut Vec<NamedPool>) {
        let at = self.known.layout.place(self.first, index);
        let used_for = self.use_of(at, connection);
        let slot = Slot { path: format!("ngx_cycle->connections[{index}]"), at, connection };
        match connection.listening.is_null() {
            false => self.name_client(&slot, used_for, found),
            true => self.name_other(&slot, used_for, found, late),
        }
    }

    fn use_of(&self, at: Addr, connection: Connection) -> Use {
        let (memory, data, users) = (self.scene.memory, connection.data, &self.known.users);
        let is_client = !connection.listening.is_null();
        if data.is_null() {
            return Use::Other;
        }
        if let Some(layout) = &users.request
            && let Some(request) = layout.read(memory, data)
        {
            return match request.connection == at {
                true => Use::Request(request),
                false if layout.is_peer(memory, request, at) => Use::Peer(request),
                false => Use::Other,
            };
        }
        if is_client && users.http2.as_ref().is_some_and(|layout| layout.is_of(memory, data, at)) {
            return Use::Http2;
        }
        if let Some(client) = users.stream.as_ref().and_then(|layout| layout.client(memory, data)) {
            return Use::Stream(client == at);
        }
        if let Some(client) = users.mail.as_ref().and_then(|layout| layout.client(memory, data)) {
            return Use::Mail(client == at);
        }
        if is_client {
            return Use::Other;
        }
        if users.keepalive.as_ref().is_some_and(|layout| layout.holds(memory, data, at)) {
            return Use::Cached;
        }
        let asks = users.ocsp.as_ref().is_some_and(|layout| layout.is_of(memory, data, at, connection.pool));
        if asks { Use::Ocsp } else { Use::Other }
    }

    fn name_other(&self, slot: &Slot, used_for: Use, found: &mut Vec<NamedPool>, late: &mut Vec<NamedPool>) {
        let data = slot.connection.data;
        let (facts, _) = self.facts(slot.connection);
        let users = &self.known.users;
        let (kind, name, state) = match used_for {
            Use::Peer(request) => {
                let Some(layout) = &users.request else { return };
                self.name_from_peer(slot, request, late);
                let upstream = &layout.to_upstream;
                let stage = upstream.stage(self.scene.memory, request.upstream);
                (&UPSTREAM, upstream.name(&self.scene, request.upstream), stage.map(|stage| stage.of_connection()))
            }
            Use::Cached => {
                let name = users.keepalive.as_ref().zip(users.request.as_ref());
                let name = name.and_then(|(cache, request)| cache.name(&self.scene, &request.to_upstream, data));
                (&KEEPALIVE, name, Some("idle"))
            }
            // The pool is the session's, which its client's connection names.
            Use::Stream(false) | Use::Mail(false) if self.shares_pool(slot) => return,
            Use::Stream(false) => {
                let name = users.stream.as_ref().and_then(|layout| layout.upstream_name(&self.scene, data));
                (&stream::UPSTREAM, name, None)
            }
            Use::Mail(false) => (&mail::UPSTREAM, None, None),
            Use::Ocsp => (&OCSP, None, None),
            _ if !slot.connection.has_descriptor => {
                if self.has_log_in_pool(slot) {
                    late.push(NamedPool { facts, ..slot.named(&OTHER) });
                }
                return;
            }
            _ => (&OTHER, None, None),
        };
        found.push(NamedPool { name, state, facts, ..slot.named(kind) });
    }

    /// What is known of any connection, and what its handlers tell.
    pub fn facts(&self, connection: Connection) -> (OwnerFacts, Option<Role>) {
        let (memory, known) = (self.scene.memory, self.known);
        let handler = |event: Addr| pointer(memory, event, known.layout.handler).filter(|_| !event.is_null());
        let (read, write) = (handler(connection.read), handler(connection.write));
        let facts = OwnerFacts {
            handler: known.handlers.in_force(read, write),
            age_ms: self.scene.now.since(connection.start_time),
            ..OwnerFacts::default()
        };
        (facts, known.handlers.role(read))
    }

    /// The pool of a client's request. While its connection is being read or closed, that is what it is doing.
    pub fn request(&self, slot: &Slot, request: Request, by_role: Option<&'static str>, of: &OwnerFacts) -> NamedPool {
        let path = format!("((ngx_http_request_t *) {}.data)->pool", slot.path);
        let mut named = NamedPool { identity: slot.connection.identity, ..self.described(request, path) };
        named.state = by_role.or(named.state);
        if named.state == Some(READING_LINE) {
            // Until its first line has come, a request passes for one of HTTP/1.0 (nginx `ngx_http_create_request`).
            named.facts.protocol = of.protocol;
        }
        named.facts.client = of.client.clone();
        named
    }

    /// The pool of a request, with what can be told of it.
    pub fn described(&self, request: Request, path: String) -> NamedPool {
        let layout = self.known.users.request.as_ref();
        let words = layout.map(|layout| layout.describe(&self.scene, &self.known.handlers, request));
        let words = words.unwrap_or_default();
        let plain = NamedPool::plain(request.pool, &REQUEST, path);
        NamedPool { name: words.name, state: words.state, facts: words.facts, ..plain }
    }

    /// A request that goes on when its client has none any more, as sub-requests in the background can, is known only to
    /// the server's connection.
    fn name_from_peer(&self, slot: &Slot, request: Request, late: &mut Vec<NamedPool>) {
        let users = &self.known.users;
        let is_stream = || users.request.as_ref().is_some_and(|layout| layout.is_stream(self.scene.memory, request));
        if users.http2.is_some() && is_stream() {
            // The HTTP/2 connection knows its streams until they have ended.
            return;
        }
        let index = self.known.layout.index_of(self.first, request.connection);
        let client = index.and_then(|index| self.connections.get(index));
        let leads_there = client.is_some_and(|client| {
            let other = || self.known.users.request.as_ref()?.read(self.scene.memory, client.data);
            client.data == request.at || other().is_some_and(|other| other.pool == request.pool)
        });
        if !leads_there && !request.pool.is_null() {
            late.push(self.described(request, format!("((ngx_http_request_t *) {}.data)->pool", slot.path)));
        }
    }

    /// A connection without a descriptor is made by a module, with a log in the pool that it runs on. lua-nginx-module leaves
    /// the one of `init_worker_by_lua` taken after it has destroyed its pool: whatever pool lies there by now has another
    /// owner, and not this log (lua-nginx-module `ngx_http_lua_initworkerby.c`).
    fn has_log_in_pool(&self, slot: &Slot) -> bool {
        let Some(log) = pointer(self.scene.memory, slot.at, self.known.layout.log) else { return false };
        self.known.pools.holds(self.scene.memory, slot.connection.pool, log)
    }

    fn shares_pool(&self, slot: &Slot) -> bool {
        let (memory, data, users) = (self.scene.memory, slot.connection.data, &self.known.users);
        let stream = users.stream.as_ref().and_then(|layout| layout.client(memory, data));
        let client = stream.or_else(|| users.mail.as_ref()?.client(memory, data));
        let index = client.and_then(|client| self.known.layout.index_of(self.first, client));
        index.and_then(|index| self.connections.get(index)).is_some_and(|client| client.pool == slot.connection.pool)
    }
}

/// A connection and where it lies.
pub struct Slot {
    /// The path to it.
    pub path: String,
    /// Its address.
    pub at: Addr,
    /// What was read of it.
    pub connection: Connection,
}

impl Slot {
    /// Its pool, with what any connection has.
    pub fn named(&self, kind: &'static OwnerKind) -> NamedPool {
        let identity = self.connection.identity.map(|(number, _)| (number, 0));
        NamedPool { identity, ..NamedPool::plain(self.connection.pool, kind, format!("{}.pool", self.path)) }
    }
}

#[cfg(test)]
mod tests;
