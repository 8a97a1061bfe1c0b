//! Sessions of the stream proxy: TCP and UDP that nginx passes on (nginx `src/stream/`).
//!
//! A session and what it needs lie in the pool of the client's connection, and the connection to the server shares it.

use super::fields::{Bits, Fields, Text, is_set, pointer};
use super::owner::{NginxModule, OwnerKind};
use super::scene::Scene;
use super::text::TextRef;
use super::upstream::string;
use crate::addr::Addr;
use crate::target::memory::Memory;

/// The pool of a connection to a server, where it has one of its own.
pub const UPSTREAM: OwnerKind = OwnerKind { key: "stream_upstream", label: "stream upstream connection", unit: None };

/// `NGX_STREAM_MODULE`, with which every session begins: "STRM" (nginx `src/stream/ngx_stream.h`).
const SIGNATURE: u32 = 0x4d52_5453;

/// Offsets in `ngx_stream_session_t`, and on to its server's side.
pub struct StreamLayout {
    signature: u64,
    connection: u64,
    upstream: Option<u64>,
    peer_connection: Option<u64>,
    peer_name: Option<u64>,
    connected: Option<Bits>,
    resolved: Option<u64>,
    /// Whether what clients ask for is to be shown: a server that was resolved for one request can be that.
    shows_clients: bool,
    resolving: Option<u64>,
    configuration: Option<u64>,
    host: Option<Text>,
    text: Option<Text>,
}

impl StreamLayout {
    /// `None` in a build without stream, and if it is not described.
    pub fn of(nginx: NginxModule<'_>) -> Option<StreamLayout> {
        let session = Fields::of(nginx, "ngx_stream_session_s");
        let upstream = Fields::of(nginx, "ngx_stream_upstream_t");
        Some(StreamLayout {
            signature: session.offset("signature")?,
            connection: session.offset("connection")?,
            upstream: session.offset("upstream"),
            peer_connection: upstream.offset("peer.connection"),
            peer_name: upstream.offset("peer.name"),
            connected: upstream.bits("connected"),
            resolved: upstream.offset("resolved"),
            shows_clients: nginx.show_clients,
            resolving: Fields::of(nginx, "ngx_stream_upstream_resolved_t").offset("ctx"),
            configuration: upstream.offset("upstream"),
            host: Fields::of(nginx, "ngx_stream_upstream_srv_conf_s").text("host"),
            text: string(nginx),
        })
    }

    /// That of a test.
    #[cfg(test)]
    pub fn of_test() -> StreamLayout {
        StreamLayout {
            signature: 0,
            connection: 8,
            upstream: Some(16),
            peer_connection: Some(0),
            peer_name: None,
            connected: None,
            resolved: None,
            shows_clients: false,
            resolving: None,
            configuration: None,
            host: None,
            text: None,
        }
    }

    /// The client's connection of the session at `at`, if there is one.
    pub fn client(&self, memory: &dyn Memory, at: Addr) -> Option<Addr> {
        if at.is_null() || memory.read_u32(at + self.signature).ok()? != SIGNATURE {
            return None;
        }
        pointer(memory, at, Some(self.connection))
    }

    /// The session's connection to its server, if it has one.
    pub fn peer(&self, memory: &dyn Memory, session: Addr) -> Option<Addr> {
        pointer(memory, pointer(memory, session, self.upstream)?, self.peer_connection)
    }

    /// What the session is doing, once it has to do with a server.
    pub fn state(&self, memory: &dyn Memory, session: Addr) -> Option<&'static str> {
        let upstream = pointer(memory, session, self.upstream)?;
        if is_set(memory, upstream, self.connected) {
            return Some("proxying");
        }
        if pointer(memory, upstream, self.peer_connection).is_some() {
            return Some("connecting to upstream");
        }
        let resolved = pointer(memory, upstream, self.resolved)?;
        pointer(memory, resolved, self.resolving).map(|_| "resolving upstream")
    }

    /// The upstream's name by its configuration, or else the server's address.
    pub fn upstream_name(&self, scene: &Scene<'_>, session: Addr) -> Option<TextRef> {
        let memory = scene.memory;
        let upstream = pointer(memory, session, self.upstream)?;
        let configured = pointer(memory, upstream, self.configuration).and_then(|configuration| {
            scene.upstreams.get(configuration, || scene.text(self.host?.read(memory, configuration)?))
        });
        configured.or_else(|| {
            if !self.shows_clients && pointer(memory, upstream, self.resolved).is_some() {
                return None;
            }
            scene.text(self.text?.read(memory, pointer(memory, upstream, self.peer_name)?)?)
        })
    }
}
