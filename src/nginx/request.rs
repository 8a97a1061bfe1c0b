//! HTTP requests: what a connection's `data` points to while one is handled.
//!
//! `data` is a union by stage and protocol: a request, an idle client's `ngx_http_connection_t`, an HTTP/2 connection, a
//! stream session. A request is told by its signature, and believed only if something points back. Sub-requests have the
//! pool of their main request; `data` is the one whose turn it is to send.

use super::builtin::RequestProof;
use super::fields::{Bits, Fields, Text, is_set, pointer, word};
use super::handlers::{Handlers, READING_BODY, READING_HEADERS, READING_LINE};
use super::location::LocationLayout;
use super::owner::{NginxModule, OwnerError, OwnerFacts, OwnerKind};
use super::scene::Scene;
use super::text::read_name;
use super::upstream::UpstreamLayout;
use crate::addr::Addr;
use crate::target::memory::{Memory, word_at};

/// A request's own pool.
pub const REQUEST: OwnerKind = OwnerKind { key: "request", label: "HTTP request", unit: None };

/// `NGX_HTTP_MODULE`, with which every request begins: "HTTP" (nginx `src/http/ngx_http_config.h`).
const SIGNATURE: u32 = 0x5054_5448;

/// The first bytes of a request hold what is always wanted, and are read in one go. They are no more than this.
const LONGEST_HEAD: u64 = 256;

/// Offsets in `ngx_http_request_t`.
pub struct RequestLayout {
    /// How many bytes from its start hold the four fields below.
    head: usize,
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
    /// True if more than its start is as the layout says.
    is_proven: bool,
    /// The configurations of its location.
    loc_conf: Option<Addr>,
    /// What is called when there is something to read.
    read_handler: Option<Addr>,
    /// What is called when something can be written.
    write_handler: Option<Addr>,
}

/// What can be told of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestWords {
    /// The location that it is for.
    pub name: Option<String>,
    /// What it is doing.
    pub state: Option<&'static str>,
    /// The rest.
    pub facts: OwnerFacts,
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
        let stated = optional.bits("http_state").zip(optional.offset("request_line.len"));
        // These lie before those in every known version; where they do not, they are left out.
        let near = |field| optional.offset(field).filter(|offset| *offset <= last);
        Ok(Some(RequestLayout {
            head: last as usize + 8,
            signature,
            connection,
            pool,
            upstream,
            main: optional.offset("main"),
            loc_conf: near("loc_conf"),
            read_handler: near("read_event_handler"),
            write_handler: near("write_event_handler"),
            start_sec: optional.offset("start_sec"),
            start_msec: optional.offset("start_msec"),
            version: optional.offset("http_version"),
            stream: optional.offset("stream"),
            reading_body: optional.bits("reading_body"),
            blocked: optional.bits("blocked"),
            stated: stated.filter(|_| proof.is_some()),
            proof,
            uri: optional.text("unparsed_uri").filter(|_| nginx.show_clients),
            to_upstream: UpstreamLayout::of(nginx),
            location: LocationLayout::of(nginx),
        }))
    }

    /// That of a test: only what no nginx lacks.
    #[cfg(test)]
    pub fn of_test() -> RequestLayout {
        RequestLayout {
            head: 32,
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
        let mut bytes = [0; LONGEST_HEAD as usize];
        let bytes = bytes.get_mut(..self.head)?;
        memory.read(at, bytes).ok()?;
        let word = |offset| Addr(word_at(bytes, offset));
        let optional = |offset: Option<u64>| offset.map(word).filter(|address| !address.is_null());
        Some(Request {
            at,
            connection: word(self.connection),
            pool: word(self.pool),
            upstream: word(self.upstream),
            is_proven: self.proof.as_ref().is_none_or(|proof| proof.agrees(memory, at)),
            loc_conf: optional(self.loc_conf),
            read_handler: optional(self.read_handler),
            write_handler: optional(self.write_handler),
        })
    }

    /// True if the connection at `connection` is the request's to a server.
    pub fn is_peer(&self, memory: &dyn Memory, request: Request, connection: Addr) -> bool {
        !request.upstream.is_null() && self.to_upstream.connection(memory, request.upstream) == Some(connection)
    }

    /// True if it came over HTTP/2.
    pub fn is_stream(&self, memory: &dyn Memory, request: Request) -> bool {
        request.is_proven && pointer(memory, request.at, self.stream).is_some()
    }

    /// The main request of one; itself, if that cannot be told.
    pub fn main(&self, memory: &dyn Memory, request: Request) -> Request {
        let main = self.main.filter(|_| request.is_proven);
        let main = pointer(memory, request.at, main).filter(|main| *main != request.at);
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
        let told = |offset: Option<u64>| word(memory, main.at, offset.filter(|_| main.is_proven));
        let start = told(self.start_sec).zip(told(self.start_msec));
        RequestWords {
            name: main
                .loc_conf
                .zip(scene.location_index)
                .and_then(|(loc_conf, index)| self.location.name(memory, &scene.locations, loc_conf, index)),
            state,
            facts: OwnerFacts {
                protocol: told(self.version).and_then(protocol),
                handler: handlers.in_force(write, read),
                age_ms: start.and_then(|(seconds, rest)| scene.now.since_wall(seconds, rest)),
                client: None,
                uri: self
                    .uri
                    .filter(|_| main.is_proven)
                    .and_then(|uri| uri.read(memory, main.at))
                    .and_then(|(length, data)| read_name(memory, data, length)),
            },
        }
    }

    fn state(&self, memory: &dyn Memory, request: Request, by_handler: Option<&'static str>) -> Option<&'static str> {
        let has_upstream = !request.upstream.is_null();
        let stage = has_upstream.then(|| self.to_upstream.stage(memory, request.upstream)).flatten();
        let is_set = |bits: Option<Bits>| is_set(memory, request.at, bits.filter(|_| request.is_proven));
        if by_handler == Some(READING_BODY) || is_set(self.reading_body) {
            return Some(READING_BODY);
        }
        let blocked = || is_set(self.blocked).then_some("waiting for a thread");
        let stated = || self.stated(memory, request);
        stage.map(|stage| stage.of_request()).or_else(blocked).or(by_handler).or_else(stated)
    }

    /// What a request says that it is at (nginx `src/http/ngx_http_request.h`, `ngx_http_state_e`). Of these states nginx
    /// only sets reading, processing and writing while a request exists; its first line is noted when it has come.
    fn stated(&self, memory: &dyn Memory, request: Request) -> Option<&'static str> {
        let (state, line) = self.stated.filter(|_| request.is_proven)?;
        match state.read(memory, request.at)? {
            1 if word(memory, request.at, Some(line))? == 0 => Some(READING_LINE),
            1 => Some(READING_HEADERS),
            2 => Some("processing"),
            6 => Some("sending response"),
            _ => None,
        }
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
