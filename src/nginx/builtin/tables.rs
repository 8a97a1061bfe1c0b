//! The structures of nginx that finders need, as lists of members with the versions that have them.
//!
//! Only for builds with `--with-compat` on 64-bit machines: such a build reserves the fields of all optional features, so
//! that offsets depend on nothing but the version. The members are those of nginx `src/core/ngx_cycle.h`,
//! `ngx_connection.h`, `ngx_log.h`, `ngx_module.h`, `ngx_array.h`, `ngx_rbtree.h`, `src/event/ngx_event.h` and
//! `src/http/ngx_http_request.h`, of every release from 1.11.5 (the first with `--with-compat`) to 1.31.4.

use super::version::Version;
use crate::debug::Layout;

/// The first version that the tables describe.
pub const FIRST: Version = Version(1_011_005);

/// One member: its name, its size and alignment in bytes, and the versions that have it.
#[derive(Debug, Clone, Copy)]
struct Member {
    name: &'static str,
    size: u64,
    align: u64,
    since: u32,
    /// The first version without it.
    until: u32,
}

impl Member {
    const fn new(name: &'static str, size: u64, align: u64) -> Member {
        Member { name, size, align, since: 0, until: u32::MAX }
    }

    const fn since(self, version: u32) -> Member {
        Member { since: version, ..self }
    }

    const fn until(self, version: u32) -> Member {
        Member { until: version, ..self }
    }
}

/// A pointer, or a number as wide as one.
const fn word(name: &'static str) -> Member {
    Member::new(name, 8, 8)
}

/// An `int`, or a group of bit-fields that fits one.
const fn int(name: &'static str) -> Member {
    Member::new(name, 4, 4)
}

/// Something of several words: a string, an array, an embedded structure.
const fn words(name: &'static str, count: u64) -> Member {
    Member::new(name, 8 * count, 8)
}

const LOG: &[Member] = &[
    word("log_level"),
    word("file"),
    word("connection"),
    word("disk_full_time"),
    word("handler"),
    word("data"),
    word("writer"),
    word("wdata"),
    word("action"),
    word("next"),
    words("", 5).since(1_029_007),
];

const MODULE: &[Member] = &[
    word("ctx_index"),
    word("index"),
    word("name"),
    words("", 2),
    word("version"),
    word("signature"),
    word("ctx"),
    word("commands"),
    word("type"),
    words("", 15),
];

const ARRAY: &[Member] = &[word("elts"), word("nelts"), word("size"), word("nalloc"), word("pool")];

const QUEUE: &[Member] = &[word("prev"), word("next")];

const TREE: &[Member] = &[word("root"), word("sentinel"), word("insert")];

const NODE: &[Member] =
    &[word("key"), word("left"), word("right"), word("parent"), Member::new("color", 1, 1), Member::new("data", 1, 1)];

const EVENT: &[Member] = &[
    word("data"),
    // Bit-fields, and `available`, which was one of them until 1.17.5.
    words("", 1),
    word("handler"),
    word("index"),
    word("log"),
    word("timer.key"),
    word("timer.left"),
    word("timer.right"),
    word("timer.parent"),
    word("timer.color"),
    word("queue.prev"),
    word("queue.next"),
];

const CONNECTION: &[Member] = &[
    word("data"),
    word("read"),
    word("write"),
    int("fd"),
    words("", 4),
    word("listening"),
    word("sent"),
    word("log"),
    word("pool"),
    int("type"),
    word("sockaddr"),
    int("socklen"),
    word("addr_text.len"),
    word("addr_text.data"),
    words("", 3).until(1_017_006),
    word("proxy_protocol").since(1_017_006),
    word("quic").since(1_025_000),
    word("ssl"),
    word("udp").since(1_015_000),
    word("local_sockaddr"),
    int("local_socklen"),
    word("buffer"),
    word("queue.prev"),
    word("queue.next"),
    word("number"),
    word("start_time").since(1_019_010),
    word("requests"),
    int(""),
    word("sendfile_task"),
];

/// Up to its last field; the log that it embeds has grown.
const LISTENING: &[Member] = &[
    int("fd"),
    word("sockaddr"),
    int("socklen"),
    word("addr_text_max_len"),
    word("addr_text.len"),
    word("addr_text.data"),
    int("type"),
    int("protocol").since(1_029_007),
    int("backlog"),
    int("rcvbuf"),
    int("sndbuf"),
    int("keepidle"),
    int("keepintvl"),
    int("keepcnt"),
    word("handler"),
    word("servers"),
    words("log", 10).until(1_029_007),
    words("log", 15).since(1_029_007),
    word("logp"),
    word("pool_size"),
    word("post_accept_buffer_size"),
    word("post_accept_timeout").until(1_019_007),
    word("previous"),
    word("connection"),
    words("rbtree", 3).since(1_015_000),
    words("sentinel", 5).since(1_015_000),
    word("worker"),
    int(""),
    int("fastopen"),
];

const CYCLE: &[Member] = &[
    word("conf_ctx"),
    word("pool"),
    word("log"),
    words("new_log", 10).until(1_029_007),
    words("new_log", 15).since(1_029_007),
    word("log_use_stderr"),
    word("files"),
    word("free_connections"),
    word("free_connection_n"),
    word("modules"),
    word("modules_n"),
    word("modules_used"),
    words("reusable_connections_queue", 2),
    word("reusable_connections_n").since(1_011_009),
    word("connections_reuse_time").since(1_019_002),
    word("listening.elts"),
    word("listening.nelts"),
    word("listening.size"),
    word("listening.nalloc"),
    word("listening.pool"),
    word("paths.elts"),
    word("paths.nelts"),
    word("paths.size"),
    word("paths.nalloc"),
    word("paths.pool"),
    words("config_dump", 5),
    words("config_dump_rbtree", 8).since(1_011_006),
    words("open_files", 7),
    words("shared_memory", 7),
    word("connection_n"),
    word("files_n"),
    word("connections"),
    word("read_events"),
    word("write_events"),
    word("old_cycle"),
    words("", 12),
    words("", 2).since(1_019_005),
];

/// The start of a request: what follows depends on optional modules.
const REQUEST: &[Member] = &[
    int("signature"),
    word("connection"),
    word("ctx"),
    word("main_conf"),
    word("srv_conf"),
    word("loc_conf"),
    word("read_event_handler"),
    word("write_event_handler"),
    word("cache"),
    word("upstream"),
    word("upstream_states"),
    word("pool"),
    word("header_in"),
];

/// The start of an upstream: its two handlers, and the peer, which begins with its connection.
const UPSTREAM: &[Member] = &[word("read_event_handler"), word("write_event_handler"), word("peer.connection")];

const CONTEXT: &[Member] = &[word("main_conf"), word("srv_conf"), word("loc_conf")];

/// Every structure by its tag, or by its typedef where it has no tag.
const STRUCTURES: &[(&str, &[Member])] = &[
    ("ngx_log_s", LOG),
    ("ngx_module_s", MODULE),
    ("ngx_array_t", ARRAY),
    ("ngx_queue_s", QUEUE),
    ("ngx_rbtree_s", TREE),
    ("ngx_rbtree_node_s", NODE),
    ("ngx_event_s", EVENT),
    ("ngx_connection_s", CONNECTION),
    ("ngx_listening_s", LISTENING),
    ("ngx_cycle_s", CYCLE),
    ("ngx_http_request_s", REQUEST),
    ("ngx_http_upstream_s", UPSTREAM),
    ("ngx_http_conf_ctx_t", CONTEXT),
];

/// Every structure as that version has it. Of requests and upstreams only the start is known: their sizes are those of what
/// is known.
pub fn layouts(version: Version) -> impl Iterator<Item = (&'static str, Layout)> {
    STRUCTURES.iter().map(move |(name, members)| (*name, layout(name, members, version)))
}

/// Puts members one after the other as a C compiler does.
fn layout(name: &str, members: &[Member], version: Version) -> Layout {
    let mut places = Vec::new();
    let mut end = 0u64;
    for member in members.iter().filter(|member| (member.since..member.until).contains(&version.0)) {
        let offset = end.next_multiple_of(member.align);
        end = offset + member.size;
        if !member.name.is_empty() {
            places.push((member.name, offset));
        }
    }
    Layout::of_places(name, end.next_multiple_of(8), places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: u32) -> [u64; 12] {
        let of = |wanted: &str| layouts(Version(version)).find(|(name, _)| *name == wanted).unwrap().1;
        let (cycle, connection, listening) = (of("ngx_cycle_s"), of("ngx_connection_s"), of("ngx_listening_s"));
        let event = of("ngx_event_s");
        [
            cycle.size,
            cycle.offset("free_connections").unwrap(),
            cycle.offset("listening.elts").unwrap(),
            cycle.offset("connection_n").unwrap(),
            cycle.offset("connections").unwrap(),
            connection.size,
            connection.offset("pool").unwrap(),
            connection.offset("number").unwrap(),
            listening.size,
            listening.offset("connection").unwrap(),
            event.size,
            event.offset("timer.left").unwrap(),
        ]
    }

    /// Of builds of the releases, by their debug info.
    #[test]
    fn sizes_and_offsets_are_those_of_real_builds() {
        let builds = [
            (1_011_005, [552, 120, 176, 408, 424, 240, 88, 208, 240, 216, 96, 48]),
            (1_011_006, [616, 120, 176, 472, 488, 240, 88, 208, 240, 216, 96, 48]),
            (1_011_009, [624, 120, 184, 480, 496, 240, 88, 208, 240, 216, 96, 48]),
            (1_014_002, [624, 120, 184, 480, 496, 240, 88, 208, 240, 216, 96, 48]),
            (1_016_001, [624, 120, 184, 480, 496, 248, 88, 216, 304, 216, 96, 48]),
            (1_018_000, [624, 120, 184, 480, 496, 232, 88, 200, 304, 216, 96, 48]),
            (1_019_002, [632, 120, 192, 488, 504, 232, 88, 200, 304, 216, 96, 48]),
            (1_020_002, [648, 120, 192, 488, 504, 240, 88, 200, 296, 208, 96, 48]),
            (1_022_001, [648, 120, 192, 488, 504, 240, 88, 200, 296, 208, 96, 48]),
            (1_026_003, [648, 120, 192, 488, 504, 248, 88, 208, 296, 208, 96, 48]),
            (1_028_003, [648, 120, 192, 488, 504, 248, 88, 208, 296, 208, 96, 48]),
            (1_029_007, [688, 160, 232, 528, 544, 248, 88, 208, 336, 248, 96, 48]),
            (1_031_004, [688, 160, 232, 528, 544, 248, 88, 208, 336, 248, 96, 48]),
        ];
        for (version, built) in builds {
            assert_eq!(facts(version), built, "{}", Version(version));
        }
    }

    #[test]
    fn a_request_s_pool_is_where_it_has_always_been() {
        let (_, request) = layouts(FIRST).find(|(name, _)| *name == "ngx_http_request_s").unwrap();
        assert_eq!((request.offset("upstream"), request.offset("pool")), (Ok(72), Ok(88)));
    }
}
