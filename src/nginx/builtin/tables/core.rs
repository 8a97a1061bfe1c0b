//! Structures of nginx's core (`src/core/ngx_cycle.h`, `ngx_connection.h`, `ngx_log.h`, `ngx_module.h`, `ngx_array.h`,
//! `ngx_rbtree.h`, `ngx_times.h`, `ngx_string.h`, and `src/event/ngx_event.h`).

use super::{Member, int, word, words};

pub(super) const LOG: &[Member] = &[
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

pub(super) const MODULE: &[Member] = &[
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

pub(super) const ARRAY: &[Member] = &[word("elts"), word("nelts"), word("size"), word("nalloc"), word("pool")];

pub(super) const QUEUE: &[Member] = &[word("prev"), word("next")];

pub(super) const TREE: &[Member] = &[word("root"), word("sentinel"), word("insert")];

pub(super) const NODE: &[Member] =
    &[word("key"), word("left"), word("right"), word("parent"), Member::new("color", 1, 1), Member::new("data", 1, 1)];

pub(super) const EVENT: &[Member] = &[
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

pub(super) const CONNECTION: &[Member] = &[
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
    // Bit-fields. Distributions add to these within a release: what they tell is told by other things here.
    int(""),
    word("sendfile_task"),
];

/// Up to its last field; the log that it embeds has grown.
pub(super) const LISTENING: &[Member] = &[
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

pub(super) const CYCLE: &[Member] = &[
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

/// What nginx's cached time points to.
pub(super) const TIME: &[Member] = &[word("sec"), word("msec"), word("gmtoff")];

pub(super) const STRING: &[Member] = &[word("len"), word("data")];
