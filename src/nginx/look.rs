//! One look at all connections: what each is used for, and what it leads to.

use super::clock::Clock;
use super::found::{Facts, FoundPool, Label, Path};
use super::handlers::{Handlers, READING_LINE, Role};
use super::http2::Http2Layout;
use super::keepalive::{KEEPALIVE, KeepaliveLayout};
use super::layout::PoolLayout;
use super::listening::ListeningLayout;
use super::mail::{self, MailLayout};
use super::ocsp::{OCSP, OcspLayout};
use super::owner::{NginxModule, OwnerError, OwnerKind};
use super::request::{REQUEST, Request, RequestLayout};
use super::scene::Scene;
use super::slots::{Connection, ConnectionLayout, Slots};
use super::stream::{self, StreamLayout};
use super::text::Texts;
use super::upstream::Upstream;
use crate::addr::Addr;
use crate::target::memory::Memory;

const OTHER: OwnerKind = OwnerKind { key: "connection_other", label: "connection, not from a client", unit: None };
const UPSTREAM: OwnerKind = OwnerKind { key: "upstream_connection", label: "upstream connection", unit: None };

/// What is known of this nginx before it is looked at.
pub struct Known {
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
    Peer(Request, Upstream),
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
    /// Where what lies in a connection.
    pub layout: &'a ConnectionLayout,
    slots: &'a Slots,
}

impl<'a> Look<'a> {
    /// A look at connections. Strings that are read come to `texts`.
    pub fn new(
        known: &'a Known,
        layout: &'a ConnectionLayout,
        (memory, texts): (&'a dyn Memory, &'a Texts),
        slots: &'a Slots,
    ) -> Look<'a> {
        let location_index = known.users.request.as_ref().and_then(|request| request.location.index(memory));
        Look { known, scene: Scene::new(memory, texts, known.clock.read(memory), location_index), layout, slots }
    }

    /// Names what leads on from a connection, and then itself. What others may name better comes to `late`.
    pub fn name(&self, index: usize, connection: Connection, found: &mut Vec<FoundPool>, late: &mut Vec<FoundPool>) {
        let at = self.layout.place(self.slots.first, index);
        let used_for = self.use_of(at, connection);
        let slot = Slot { index: index as u64, at, connection };
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
            if request.connection == at {
                return Use::Request(request);
            }
            return layout.peer(memory, request, at).map_or(Use::Other, |upstream| Use::Peer(request, upstream));
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

    fn name_other(&self, slot: &Slot, used_for: Use, found: &mut Vec<FoundPool>, late: &mut Vec<FoundPool>) {
        let data = slot.connection.data;
        let (facts, _) = self.facts(slot.connection);
        let users = &self.known.users;
        let (kind, name, state) = match used_for {
            Use::Peer(request, upstream) => {
                let Some(layout) = &users.request else { return };
                self.name_from_peer(slot, request, late);
                let name = layout.to_upstream.name(&self.scene, upstream);
                let stage = layout.to_upstream.stage(self.scene.memory, upstream);
                (&UPSTREAM, name, stage.map(|stage| stage.of_connection()))
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
                    late.push(FoundPool { facts, ..slot.named(&OTHER) });
                }
                return;
            }
            _ => (&OTHER, None, None),
        };
        found.push(FoundPool { name: name.map(Label::plain), state, facts, ..slot.named(kind) });
    }

    /// What is known of any connection, and what its handlers tell.
    pub fn facts(&self, connection: Connection) -> (Facts, Option<Role>) {
        let handlers = [connection.read_handler, connection.write_handler];
        let [read, write] = handlers.map(|handler| handler.filter(|handler| !handler.is_null()));
        let facts = Facts {
            handler: self.known.handlers.in_force(read, write),
            age_ms: self.scene.now.since(connection.start_time),
            ..Facts::default()
        };
        (facts, self.known.handlers.role(read))
    }

    /// The pool of a client's request. While its connection is being read or closed, that is what it is doing.
    pub fn request(&self, slot: &Slot, request: Request, by_role: Option<&'static str>, of: &Facts) -> FoundPool {
        let described = self.described(request, slot.path_to_request());
        let mut named = FoundPool { identity: slot.connection.identity(), ..described };
        named.state = by_role.or(named.state);
        if named.state == Some(READING_LINE) {
            // Until its first line has come, a request passes for one of HTTP/1.0 (nginx `ngx_http_create_request`).
            named.facts.protocol = of.protocol;
        }
        named.facts.client = of.client;
        named
    }

    /// The pool of a request, with what can be told of it.
    pub fn described(&self, request: Request, path: Path) -> FoundPool {
        let layout = self.known.users.request.as_ref();
        let words = layout.map(|layout| layout.describe(&self.scene, &self.known.handlers, request));
        let words = words.unwrap_or_default();
        let plain = FoundPool::plain(request.pool, &REQUEST, path);
        FoundPool { name: words.name, state: words.state, facts: words.facts, ..plain }
    }

    /// A request that goes on when its client has none any more, as sub-requests in the background can, is known only to
    /// the server's connection.
    fn name_from_peer(&self, slot: &Slot, request: Request, late: &mut Vec<FoundPool>) {
        let users = &self.known.users;
        if users.http2.is_some() && request.is_stream() {
            // The HTTP/2 connection knows its streams until they have ended.
            return;
        }
        let index = self.layout.index_of(self.slots.first, request.connection);
        let client = index.and_then(|index| self.slots.all.get(index));
        let leads_there = client.is_some_and(|client| {
            let other = || users.request.as_ref()?.read(self.scene.memory, client.data);
            client.data == request.at || other().is_some_and(|other| other.pool == request.pool)
        });
        if !leads_there && !request.pool.is_null() {
            late.push(self.described(request, slot.path_to_request()));
        }
    }

    /// A connection without a descriptor is made by a module, with a log in the pool that it runs on. lua-nginx-module leaves
    /// the one of `init_worker_by_lua` taken after it has destroyed its pool: whatever pool lies there by now has another
    /// owner, and not this log (lua-nginx-module `ngx_http_lua_initworkerby.c`).
    fn has_log_in_pool(&self, slot: &Slot) -> bool {
        let Connection { log, pool, .. } = slot.connection;
        !log.is_null() && self.known.pools.holds(self.scene.memory, pool, log)
    }

    fn shares_pool(&self, slot: &Slot) -> bool {
        let (memory, data, users) = (self.scene.memory, slot.connection.data, &self.known.users);
        let stream = users.stream.as_ref().and_then(|layout| layout.client(memory, data));
        let client = stream.or_else(|| users.mail.as_ref()?.client(memory, data));
        let index = client.and_then(|client| self.layout.index_of(self.slots.first, client));
        index.and_then(|index| self.slots.all.get(index)).is_some_and(|client| client.pool == slot.connection.pool)
    }
}

/// A connection and where it lies.
pub struct Slot {
    /// Its place in the array.
    pub index: u64,
    /// Its address.
    pub at: Addr,
    /// What was read of it.
    pub connection: Connection,
}

impl Slot {
    /// The path to the pool of the request that its `data` points to.
    pub fn path_to_request(&self) -> Path {
        Path::through("((ngx_http_request_t *) ngx_cycle->connections[", self.index, "].data)->pool")
    }

    /// Its pool, with what any connection has.
    pub fn named(&self, kind: &'static OwnerKind) -> FoundPool {
        let identity = self.connection.identity().map(|(number, _)| (number, 0));
        let path = Path::through("ngx_cycle->connections[", self.index, "].pool");
        FoundPool { identity, ..FoundPool::plain(self.connection.pool, kind, path) }
    }
}

#[cfg(test)]
mod tests;
