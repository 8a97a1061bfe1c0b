//! The upstream side of an HTTP request: how far it has come, and what the upstream is called
//! (nginx `src/http/ngx_http_upstream.c`).

use super::fields::{Bits, Fields, Record, Text, pointer};
use super::handlers::UPGRADED;
use super::owner::NginxModule;
use super::scene::Scene;
use super::text::TextRef;
use crate::addr::Addr;
use crate::target::memory::Memory;

/// Offsets in `ngx_http_upstream_t`, and on to the name of the upstream.
pub struct UpstreamLayout {
    /// What is read at once.
    record: Record,
    peer_connection: Option<u64>,
    peer_name: Option<u64>,
    /// Set from the start of the upstream's work to its end.
    cleanup: Option<u64>,
    resolved: Option<u64>,
    /// Whether what clients ask for is to be shown: a server that was resolved for one request can be that.
    shows_clients: bool,
    resolving: Option<u64>,
    upgrade: Option<Bits>,
    request_sent: Option<Bits>,
    request_body_sent: Option<Bits>,
    header_sent: Option<Bits>,
    configuration: Option<u64>,
    /// `host` in `ngx_http_upstream_srv_conf_t`: the upstream's name, or the server's where it has none.
    host: Option<Text>,
    /// A string on its own.
    text: Option<Text>,
}

/// What matters of an `ngx_http_upstream_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// The connection to the server, if there is one.
    pub connection: Option<Addr>,
    peer_name: Option<Addr>,
    cleanup: Option<Addr>,
    resolved: Option<Addr>,
    configuration: Option<Addr>,
    upgrade: Option<bool>,
    request_sent: Option<bool>,
    request_body_sent: Option<bool>,
    header_sent: Option<bool>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The name of its server is being looked up.
    Resolving,
    /// The connection to its server is being made, with its TLS handshake if there is one.
    Connecting,
    /// The request is being sent.
    SendingRequest,
    /// The answer's header is awaited.
    ReadingHeader,
    /// The answer's body is awaited, or passed on.
    ReadingBody,
    /// Both ends send what they want.
    Upgraded,
}

impl Stage {
    /// What the request is doing meanwhile.
    pub fn of_request(self) -> &'static str {
        match self {
            Stage::Resolving => "resolving upstream",
            Stage::Connecting => "connecting to upstream",
            Stage::SendingRequest => "sending request to upstream",
            Stage::ReadingHeader => "waiting for upstream",
            Stage::ReadingBody => "sending response",
            Stage::Upgraded => UPGRADED,
        }
    }

    /// What the connection to the server is doing.
    pub fn of_connection(self) -> &'static str {
        match self {
            Stage::Resolving | Stage::Connecting => "connecting",
            Stage::SendingRequest => "sending request",
            Stage::ReadingHeader => "reading header",
            Stage::ReadingBody => "reading body",
            Stage::Upgraded => UPGRADED,
        }
    }
}

impl UpstreamLayout {
    /// Takes the offsets that there are.
    pub fn of(nginx: NginxModule<'_>) -> UpstreamLayout {
        let fields = Fields::of(nginx, "ngx_http_upstream_s");
        let words = ["peer.connection", "peer.name", "cleanup", "resolved", "upstream"];
        let words = words.map(|field| fields.offset(field));
        let bits = ["upgrade", "request_sent", "request_body_sent", "header_sent"];
        let bits = bits.map(|field| fields.bits(field).map(Bits::offset));
        UpstreamLayout {
            record: Record::of(words.into_iter().chain(bits)),
            peer_connection: fields.offset("peer.connection"),
            peer_name: fields.offset("peer.name"),
            cleanup: fields.offset("cleanup"),
            resolved: fields.offset("resolved"),
            shows_clients: nginx.show_clients,
            resolving: Fields::of(nginx, "ngx_http_upstream_resolved_t").offset("ctx"),
            upgrade: fields.bits("upgrade"),
            request_sent: fields.bits("request_sent"),
            request_body_sent: fields.bits("request_body_sent"),
            header_sent: fields.bits("header_sent"),
            configuration: fields.offset("upstream"),
            host: Fields::of(nginx, "ngx_http_upstream_srv_conf_s").text("host"),
            text: string(nginx),
        }
    }

    /// That of a test: the connection to the server comes first.
    #[cfg(test)]
    pub fn of_test() -> UpstreamLayout {
        UpstreamLayout {
            record: Record::of([Some(0), Some(8)]),
            peer_connection: Some(0),
            peer_name: None,
            cleanup: Some(8),
            resolved: None,
            shows_clients: false,
            resolving: None,
            upgrade: None,
            request_sent: None,
            request_body_sent: None,
            header_sent: None,
            configuration: None,
            host: None,
            text: None,
        }
    }

    /// The upstream side at `at`; `None` if that is null or cannot be read.
    pub fn read(&self, memory: &dyn Memory, at: Addr) -> Option<Upstream> {
        if at.is_null() {
            return None;
        }
        self.record.read(memory, at, |bytes| Upstream {
            connection: bytes.pointer(self.peer_connection),
            peer_name: bytes.pointer(self.peer_name),
            cleanup: bytes.pointer(self.cleanup),
            resolved: bytes.pointer(self.resolved),
            configuration: bytes.pointer(self.configuration),
            upgrade: bytes.bit(self.upgrade),
            request_sent: bytes.bit(self.request_sent),
            request_body_sent: bytes.bit(self.request_body_sent),
            header_sent: bytes.bit(self.header_sent),
        })
    }

    /// How far it has come; `None` before its start and after its end, and if that cannot be told.
    pub fn stage(&self, memory: &dyn Memory, upstream: Upstream) -> Option<Stage> {
        if upstream.upgrade == Some(true) {
            return Some(Stage::Upgraded);
        }
        upstream.cleanup?;
        if upstream.connection.is_none() {
            return pointer(memory, upstream.resolved?, self.resolving).map(|_| Stage::Resolving);
        }
        if !upstream.request_sent? {
            return Some(Stage::Connecting);
        }
        if upstream.request_body_sent == Some(false) {
            return Some(Stage::SendingRequest);
        }
        Some(if upstream.header_sent? { Stage::ReadingBody } else { Stage::ReadingHeader })
    }

    /// The upstream's name by its configuration, or else the server's address; not that of a server that was looked up for
    /// this request (`proxy_pass http://$http_host`), which the client may have chosen.
    pub fn name(&self, scene: &Scene<'_>, upstream: Upstream) -> Option<TextRef> {
        let configured = upstream.configuration.and_then(|configuration| self.configured_name(scene, configuration));
        configured.or_else(|| {
            if !self.shows_clients && upstream.resolved.is_some() {
                return None;
            }
            scene.text(self.text?.read(scene.memory, upstream.peer_name?)?)
        })
    }

    /// The name in the configuration at that address (`ngx_http_upstream_srv_conf_t`).
    pub fn configured_name(&self, scene: &Scene<'_>, configuration: Addr) -> Option<TextRef> {
        scene.upstreams.get(configuration, || scene.text(self.host?.read(scene.memory, configuration)?))
    }
}

/// Where a string on its own keeps length and data.
pub fn string(nginx: NginxModule<'_>) -> Option<Text> {
    Fields::of(nginx, "ngx_str_t").own_text()
}
