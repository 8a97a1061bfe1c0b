//! HTTP/2 connections and their streams (nginx `src/http/v2/ngx_http_v2.c`).
//!
//! The client's connection has for its `data` an `ngx_http_v2_connection_t`, which has a pool of its own while it has
//! streams. Each stream is a request with its own pool, on a made-up connection that is in no list of nginx's, and keeps
//! the pool that its header was decoded into.

use super::chain::nodes;
use super::fields::{Fields, pointer, word};
use super::owner::{NginxModule, OwnerKind};
use crate::addr::Addr;
use crate::target::memory::Memory;

/// The pool for frames.
pub const CONNECTION: OwnerKind = OwnerKind { key: "http2_connection", label: "HTTP/2 connection", unit: None };
/// The pool that a header is decoded into.
pub const HEADER: OwnerKind = OwnerKind { key: "http2_header", label: "HTTP/2 stream's header", unit: None };

/// Lists of streams are not believed to be more than this (`http2_streams_index_size`).
const MAX_LISTS: u64 = 1 << 16;
/// Nor are more streams on one connection, open and closed.
const MAX_STREAMS: usize = 1 << 16;
/// How many lists there are, if the configuration cannot be read: what nginx takes by default.
const USUAL_LISTS: u64 = 32;

/// Offsets in `ngx_http_v2_connection_t`, `ngx_http_v2_node_t` and `ngx_http_v2_stream_t`.
pub struct Http2Layout {
    connection: u64,
    pool: u64,
    state_pool: Option<u64>,
    processing: Option<u64>,
    streams_index: u64,
    next: u64,
    id: Option<u64>,
    stream: u64,
    request: u64,
    stream_pool: Option<u64>,
    lists: Lists,
}

/// The way to the number of lists.
struct Lists {
    http_connection: Option<u64>,
    conf_ctx: Option<u64>,
    srv_conf: Option<u64>,
    /// `ngx_http_v2_module.ctx_index`.
    index: Option<Addr>,
    mask: Option<u64>,
}

/// A stream that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Its number.
    pub id: Option<u64>,
    /// Its request.
    pub request: Addr,
    /// The pool of its header.
    pub header: Option<Addr>,
    /// The list that it is in, and how many nodes of the list come before its own.
    pub place: (u64, usize),
}

impl Http2Layout {
    /// `None` in a build without HTTP/2, and if it is not described.
    pub fn of(nginx: NginxModule<'_>) -> Option<Http2Layout> {
        let connection = Fields::of(nginx, "ngx_http_v2_connection_s");
        let (node, stream) = (Fields::of(nginx, "ngx_http_v2_node_s"), Fields::of(nginx, "ngx_http_v2_stream_s"));
        Some(Http2Layout {
            connection: connection.offset("connection")?,
            pool: connection.offset("pool")?,
            state_pool: connection.offset("state.pool"),
            processing: connection.offset("processing"),
            streams_index: connection.offset("streams_index")?,
            next: node.offset("index")?,
            id: node.offset("id"),
            stream: node.offset("stream")?,
            request: stream.offset("request")?,
            stream_pool: stream.offset("pool"),
            lists: Lists::of(nginx, &connection),
        })
    }

    /// That of a test.
    #[cfg(test)]
    pub fn of_test() -> Http2Layout {
        let nothing = Lists { http_connection: None, conf_ctx: None, srv_conf: None, index: None, mask: None };
        Http2Layout {
            connection: 0,
            pool: 8,
            state_pool: Some(16),
            processing: Some(24),
            streams_index: 32,
            next: 8,
            id: Some(0),
            stream: 16,
            request: 0,
            stream_pool: Some(8),
            lists: nothing,
        }
    }

    /// True if `data` is the HTTP/2 side of the connection at `connection`.
    pub fn is_of(&self, memory: &dyn Memory, data: Addr, connection: Addr) -> bool {
        pointer(memory, data, Some(self.connection)) == Some(connection)
    }

    /// Its pool; null while it is idle.
    pub fn pool(&self, memory: &dyn Memory, data: Addr) -> Option<Addr> {
        pointer(memory, data, Some(self.pool))
    }

    /// The pool of the header that is being read.
    pub fn header_pool(&self, memory: &dyn Memory, data: Addr) -> Option<Addr> {
        pointer(memory, data, self.state_pool)
    }

    /// How many streams it counts.
    pub fn open_streams(&self, memory: &dyn Memory, data: Addr) -> Option<u64> {
        word(memory, data, self.processing)
    }

    /// Calls `found` for each stream that is not closed.
    pub fn streams(&self, memory: &dyn Memory, data: Addr, mut found: impl FnMut(Stream)) {
        let Some(lists) = pointer(memory, data, Some(self.streams_index)) else { return };
        let mut left = MAX_STREAMS;
        for list in 0..self.lists.count(memory, data) {
            let Ok(first) = memory.read_pointer(lists + list * 8) else { return };
            let chain = nodes(first, left, |node| pointer(memory, node, Some(self.next)));
            for (depth, node) in chain.enumerate() {
                left -= 1;
                let stream = self.stream(memory, node, (list, depth));
                stream.into_iter().for_each(&mut found);
            }
        }
    }

    /// The stream of a node; one that was closed is kept for a while without.
    fn stream(&self, memory: &dyn Memory, node: Addr, place: (u64, usize)) -> Option<Stream> {
        let stream = pointer(memory, node, Some(self.stream))?;
        Some(Stream {
            id: word(memory, node, self.id),
            request: pointer(memory, stream, Some(self.request))?,
            header: pointer(memory, stream, self.stream_pool),
            place,
        })
    }
}

impl Lists {
    fn of(nginx: NginxModule<'_>, connection: &Fields) -> Lists {
        let context = Fields::of(nginx, "ngx_module_s").offset("ctx_index");
        let module = nginx.variable("ngx_http_v2_module");
        Lists {
            http_connection: connection.offset("http_connection"),
            conf_ctx: Fields::of(nginx, "ngx_http_connection_t").offset("conf_ctx"),
            srv_conf: Fields::of(nginx, "ngx_http_conf_ctx_t").offset("srv_conf"),
            index: module.zip(context).map(|(module, context)| module + context),
            mask: Fields::of(nginx, "ngx_http_v2_srv_conf_t").offset("streams_index_mask"),
        }
    }

    fn count(&self, memory: &dyn Memory, data: Addr) -> u64 {
        let mask = || {
            let http = pointer(memory, data, self.http_connection)?;
            let contexts = pointer(memory, http, self.conf_ctx)?;
            let configurations = pointer(memory, contexts, self.srv_conf)?;
            let index = memory.read_u64(self.index?).ok()?;
            let configuration = pointer(memory, configurations, index.checked_mul(8))?;
            word(memory, configuration, self.mask)
        };
        // A size that is a power of two, less one.
        mask().filter(|mask| *mask < MAX_LISTS && (mask + 1).is_power_of_two()).map_or(USUAL_LISTS, |mask| mask + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    const DATA: Addr = Addr(0x1000);
    const LISTS: u64 = 0x2000;

    /// Nodes 1, 3 and 5 in one list, of which 3 is closed; the last leads to `end`.
    fn image(end: u64) -> Image {
        let mut image = Image::new();
        image.map(DATA, vec![0; 0x100]);
        image.map(Addr(LISTS), vec![0; 0x1000]);
        let mut put = |at: u64, value: u64| assert!(image.write_u64(Addr(at), value));
        put(DATA.0, 0x7000);
        put(DATA.0 + 32, LISTS);
        put(LISTS + 8, 0x2400);
        for (node, id, next, stream) in [(0x2400, 1, 0x2440, 0x2800), (0x2440, 3, 0x2480, 0), (0x2480, 5, end, 0x2840)]
        {
            put(node, id);
            put(node + 8, next);
            put(node + 16, stream);
            if stream > 0 {
                put(stream, 0x9000 + id);
                put(stream + 8, 0xa000 + id);
            }
        }
        image
    }

    fn ids(image: &Image) -> Vec<(u64, u64, u64)> {
        let mut found = Vec::new();
        Http2Layout::of_test().streams(image, DATA, |stream| {
            found.push((stream.id.unwrap(), stream.request.0, stream.header.unwrap().0));
        });
        found
    }

    #[test]
    fn streams_are_found_in_their_lists_and_closed_ones_are_left_out() {
        assert_eq!(ids(&image(0)), [(1, 0x9001, 0xa001), (5, 0x9005, 0xa005)]);
        assert!(Http2Layout::of_test().is_of(&image(0), DATA, Addr(0x7000)));
        assert!(!Http2Layout::of_test().is_of(&image(0), DATA, Addr(0x7008)));
        assert_eq!(Http2Layout::of_test().pool(&image(0), DATA), None);
    }

    #[test]
    fn a_list_that_leads_in_a_circle_or_nowhere_ends() {
        assert!(ids(&image(0x2400)).len() <= 8);
        assert_eq!(ids(&image(0xdead_0000)).len(), 2);
    }
}
