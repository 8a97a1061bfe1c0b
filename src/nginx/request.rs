//! HTTP requests: what a connection's `data` points to while one is handled.
//!
//! `data` is a union by stage and protocol: a request, an idle client's `ngx_http_connection_t`, an HTTP/2 connection, a
//! stream session. A request is told by its signature, and believed only if something points back. Sub-requests have the
//! pool of their main request; `data` is the one whose turn it is to send.

use super::builtin::RequestProof;
use super::fields::{Bits, Fields, Record, RecordBytes, Text};
use super::found::{Facts, Label};
use super::handlers::{Handlers, READING_BODY, READING_HEADERS, READING_LINE};
use super::location::LocationLayout;
use super::owner::{NginxModule, OwnerError, OwnerKind};
use super::scene::Scene;
use super::upstream::{Upstream, UpstreamLayout};
use crate::addr::Addr;
use crate::target::memory::Memory;

/// A request's own pool.
pub const REQUEST: OwnerKind = OwnerKind { key: "request", label: "HTTP request", unit: None };

/// `NGX_HTTP_MODULE`, with which every request begins: "HTTP" (nginx `src/http/ngx_http_config.h`).
const SIGNATURE: u32 = 0x5054_5448;

/// The first bytes of a request hold what is always wanted. They are no more than this.
const LONGEST_HEAD: u64 = 256;

/// Offsets in `ngx_http_request_t`.
pub struct RequestLayout {
    /// What is read at once.
    record: Record,
    signature: u64,
    connection: u64,
    pool: u64,
    upstream: u64,
    main: Option<u64>,
    loc_conf: Option<u64>,
    read_handler: Option<u64>,
    write_handler: Option<u64>,
    start_sec: Option<u64>,
    start_msec: Option<u64>,
    version: Option<u64>,
    stream: Option<u64>,
    reading_body: Option<Bits>,
    blocked: Option<Bits>,
    /// What a request says that it is at, and how long its first line is; only used where handlers have no names.
    stated: Option<(Bits, u64)>,
    /// What each request must agree with before more than its start is believed, if the layout is a built-in one.
    proof: Option<RequestProof>,
    /// `None` unless what clients ask for is to be shown.
    uri: Option<Text>,
    /// The upstream side.
    pub to_upstream: UpstreamLayout,
    /// The name.
    pub location: LocationLayout,
}

/// A request, or a sub-request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Where it lies.
    pub at: Addr,
    /// The client's connection; of HTTP/2 streams a made-up one.
    pub connection: Addr,
    /// Its pool, which is that of the main request.
    pub pool: Addr,
    /// Its upstream side; null if there is none.
    pub upstream: Addr,
    /// The configurations of its location.
    loc_conf: Option<Addr>,
    /// What is called when there is something to read.
    read_handler: Option<Addr>,
    /// What is called when something can be written.
    write_handler: Option<Addr>,
    /// `None` if more than its start is not as the layout says.
    rest: Option<Rest>,
}

/// What lies further behind in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Rest {
    main: Option<Addr>,
    /// Seconds since 1970, and milliseconds of the last one.
    start: Option<(u64, u64)>,
    version: Option<u64>,
    stream: Option<Addr>,
    reads_body: bool,
    is_blocked: bool,
    /// What it says that it is at.
    stated: Option<&'static str>,
    /// Length and place of what was asked for.
    uri: Option<(u64, Addr)>,
}

/// What can be told of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestWords {
    /// The location that it is for.
    pub name: Option<Label>,
    /// What it is doing.
    pub state: Option<&'static str>,
    /// The rest.
    pub facts: Facts,
}

impl RequestLayout {
    /// `None` in a build without http.
    ///
    /// # Errors
    /// [`OwnerError`] if the debug info describes something else than nginx's requests.
    pub fn from_debug(nginx: NginxModule<'_>) -> Result<Option<RequestLayout>, OwnerError> {
        if nginx.variable("ngx_http_module").is_none() {
            return Ok(None);
        }
        let request = nginx.layout("ngx_http_request_s")?;
        let optional = Fields::of(nginx, "ngx_http_request_s");
        let (signature, connection) = (request.offset("signature")?, request.offset("connection")?);
        let (pool, upstream) = (request.offset("pool")?, request.offset("upstream")?);
        let last = [signature, connection, pool, upstream].into_iter().fold(0, u64::max);
        if last > LONGEST_HEAD - 8 {
            let problem = format!("ngx_http_request_t has its pool or upstream {last} bytes from its start");
            return Err(OwnerError::Implausible(problem));
        }
        let proof = nginx.built_in.map(|_| RequestProof::new(&request)).transpose()?;
        let stated = optional.bits("http_state").zip(optional.offset("request_line.len")).filter(|_| proof.is_some());
        let uri = optional.text("unparsed_uri").filter(|_| nginx.show_clients);
        let words = ["main", "loc_conf", "read_event_handler", "write_event_handler", "start_sec", "start_msec"];
        let words = words.into_iter().chain(["http_version", "stream"]).map(|field| optional.offset(field));
        let bits = ["reading_body", "blocked"].map(|field| optional.bits(field).map(Bits::offset));
        let bits = bits.into_iter().chain([stated.map(|(state, _)| state.offset()), stated.map(|(_, line)| line)]);
        let texts = uri.into_iter().flat_map(Text::offsets).map(Some);
        let always = [signature, connection, pool, upstream].map(Some);
        Ok(Some(RequestLayout {
            record: Record::of(always.into_iter().chain(words).chain(bits).chain(texts)),
            signature,
            connection,
            pool,
            upstream,
            main: optional.offset("main"),
            loc_conf: optional.offset("loc_conf"),
            read_handler: optional.offset("read_event_handler"),
            write_handler: optional.offset("write_event_handler"),
            start_sec: optional.offset("start_sec"),
            start_msec: optional.offset("start_msec"),
            version: optional.offset("http_version"),
            stream: optional.offset("stream"),
            reading_body: optional.bits("reading_body"),
            blocked: optional.bits("blocked"),
            stated,
            proof,
            uri,
            to_upstream: UpstreamLayout::of(nginx),
            location: LocationLayout::of(nginx),
        }))
    }

    /// That of a test: only what no nginx lacks.
    #[cfg(test)]
    pub fn of_test() -> RequestLayout {
        RequestLayout {
            record: Record::of([0, 8, 16, 24].map(Some)),
            signature: 0,
            connection: 8,
            pool: 16,
            upstream: 24,
            main: None,
            loc_conf: None,
            read_handler: None,
            write_handler: None,
            start_sec: None,
            start_msec: None,
            version: None,
            stream: None,
            reading_body: None,
            blocked: None,
            stated: None,
            proof: None,
            uri: None,
            to_upstream: UpstreamLayout::of_test(),
            location: LocationLayout::unknown(),
        }
    }

    /// The request at `at`, if there is one.
    pub fn read(&self, memory: &dyn Memory, at: Addr) -> Option<Request> {
        // What has something else in these four bytes need not be read any further.
        if at.is_null() || memory.read_u32(at + self.signature).ok()? != SIGNATURE {
            return None;
        }
        let is_proven = self.proof.as_ref().is_none_or(|proof| proof.agrees(memory, at));
        self.record.read(memory, at, |bytes| Request {
            at,
            connection: Addr(bytes.word(self.connection)),
            pool: Addr(bytes.word(self.pool)),
            upstream: Addr(bytes.word(self.upstream)),
            loc_conf: bytes.pointer(self.loc_conf),
            read_handler: bytes.pointer(self.read_handler),
            write_handler: bytes.pointer(self.write_handler),
            rest: is_proven.then(|| self.rest(bytes)),
        })
    }

    /// What lies further behind.
    fn rest(&self, bytes: &RecordBytes) -> Rest {
        Rest {
            main: bytes.pointer(self.main),
            start: self.start_sec.zip(self.start_msec).map(|(sec, msec)| (bytes.word(sec), bytes.word(msec))),
            version: self.version.map(|version| bytes.word(version)),
            stream: bytes.pointer(self.stream),
            reads_body: bytes.bit(self.reading_body) == Some(true),
            is_blocked: bytes.bit(self.blocked) == Some(true),
            stated: self.stated.and_then(|(state, line)| stated(bytes.bits(state), bytes.word(line))),
            uri: bytes.text(self.uri),
        }
    }

    /// The upstream side of a request, if the connection at `connection` is the one to its server.
    pub fn peer(&self, memory: &dyn Memory, request: Request, connection: Addr) -> Option<Upstream> {
        let upstream = self.to_upstream.read(memory, request.upstream)?;
        (upstream.connection == Some(connection)).then_some(upstream)
    }

    /// The main request of one; itself, if that cannot be told.
    pub fn main(&self, memory: &dyn Memory, request: Request) -> Request {
        let main = request.rest().main.filter(|main| *main != request.at);
        let main = main.and_then(|main| self.read(memory, main));
        main.filter(|main| main.pool == request.pool).unwrap_or(request)
    }

    /// What can be told of the request whose turn it is to send.
    pub fn describe(&self, scene: &Scene<'_>, handlers: &Handlers, active: Request) -> RequestWords {
        let memory = scene.memory;
        let main = self.main(memory, active);
        let (write, read) = (main.write_handler, main.read_handler);
        let state = match main == active {
            true => self.state(memory, main, handlers.state(write, read)),
            false => Some("waiting for subrequest"),
        };
        let names = main.loc_conf.zip(scene.location_index);
        let rest = main.rest();
        RequestWords {
            name: names.and_then(|(loc_conf, index)| self.location.name(scene, loc_conf, index)),
            state,
            facts: Facts {
                protocol: rest.version.and_then(protocol),
                handler: handlers.in_force(write, read),
                age_ms: rest.start.and_then(|(seconds, rest)| scene.now.since_wall(seconds, rest)),
                client: None,
                uri: rest.uri.and_then(|uri| scene.text(uri)),
            },
        }
    }

    fn state(&self, memory: &dyn Memory, request: Request, by_handler: Option<&'static str>) -> Option<&'static str> {
        let rest = request.rest();
        if by_handler == Some(READING_BODY) || rest.reads_body {
            return Some(READING_BODY);
        }
        let upstream = self.to_upstream.read(memory, request.upstream);
        let stage = upstream.and_then(|upstream| self.to_upstream.stage(memory, upstream));
        let blocked = || rest.is_blocked.then_some("waiting for a thread");
        stage.map(|stage| stage.of_request()).or_else(blocked).or(by_handler).or(rest.stated)
    }
}

impl Request {
    /// True if it came over HTTP/2.
    pub fn is_stream(&self) -> bool {
        self.rest().stream.is_some()
    }

    fn rest(&self) -> Rest {
        self.rest.unwrap_or_default()
    }
}

/// What a request says that it is at (nginx `src/http/ngx_http_request.h`, `ngx_http_state_e`). Of these states nginx
/// only sets reading, processing and writing while a request exists; its first line, which has that length, is noted when
/// it has come.
fn stated(state: u64, line: u64) -> Option<&'static str> {
    match (state, line) {
        (1, 0) => Some(READING_LINE),
        (1, _) => Some(READING_HEADERS),
        (2, _) => Some("processing"),
        (6, _) => Some("sending response"),
        _ => None,
    }
}

/// `NGX_HTTP_VERSION_…` of `src/http/ngx_http_request.h`. They are macros, so that no debug info tells them.
fn protocol(version: u64) -> Option<&'static str> {
    match version {
        9 => Some("http/0.9"),
        1000 => Some("http/1.0"),
        1001 => Some("http/1.1"),
        2000 => Some("http/2"),
        3000 => Some("http/3"),
        _ => None,
    }
}
