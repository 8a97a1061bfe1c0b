//! A worker made of bytes, and everything in it that can contradict the tables.

use super::*;
use crate::nginx::builtin::{BuiltIn, Version};
use crate::target::image::Image;

const CYCLE_POINTER: Addr = Addr(0x1000);
const COUNTER_POINTER: Addr = Addr(0x1008);
const COUNTER: Addr = Addr(0x1010);
const TIME_POINTER: Addr = Addr(0x1018);
const TIME: Addr = Addr(0x1020);
const MODULE_LIST: Addr = Addr(0x1100);
const CORE: Addr = Addr(0x2000);
const SECOND: Addr = Addr(0x2100);
const SIGNATURE: Addr = Addr(0x2200);
const POOL: Addr = Addr(0x10000);
const CYCLE: Addr = Addr(0x10050);
const LISTENING: Addr = Addr(0x14000);
const CONNECTIONS: Addr = Addr(0x20000);
const READ: Addr = Addr(0x40000);
const WRITE: Addr = Addr(0x50000);
const COUNT: u64 = 300;

/// Sizes of 1.22.1.
const CONNECTION: u64 = 240;
const EVENT: u64 = 96;
const LISTENING_SIZE: u64 = 296;

fn variable(name: &str) -> Option<Addr> {
    match name {
        "ngx_cycle" => Some(CYCLE_POINTER),
        "ngx_core_module" => Some(CORE),
        "ngx_connection_counter" => Some(COUNTER_POINTER),
        "ngx_cached_time" => Some(TIME_POINTER),
        _ => None,
    }
}

/// A worker of nginx 1.22.1: connection 0 listens, connection 1 is a client's, the others are free.
fn worker() -> Image {
    let mut image = Image::new();
    for (at, size) in [(CYCLE_POINTER, 0x200), (CORE, 0x300), (POOL, 16384), (LISTENING, 0x1000)] {
        image.map(at, vec![0; size]);
    }
    for (at, size) in [(CONNECTIONS, CONNECTION), (READ, EVENT), (WRITE, EVENT)] {
        image.map(at, vec![0; (COUNT * size) as usize]);
    }
    assert!(image.write(SIGNATURE, b"8,4,8,0011111111010111001111111111111111"));
    let mut put = |at: Addr, value: u64| assert!(image.write_u64(at, value));
    put(CYCLE_POINTER, CYCLE.0);
    put(COUNTER_POINTER, COUNTER.0);
    put(COUNTER, 7);
    put(MODULE_LIST, CORE.0);
    put(MODULE_LIST + 8, SECOND.0);
    put(SECOND + 8, 1);
    put(CORE + 40, 1_022_001);
    put(CORE + 48, SIGNATURE.0);
    for (offset, value) in [(0, POOL.0 + 4096), (8, POOL.0 + 16384), (32, 4095), (40, POOL.0), (72, 0x99)] {
        put(POOL + offset, value);
    }
    let listening = [(192, LISTENING.0), (200, 1), (208, LISTENING_SIZE), (216, 10), (224, POOL.0)];
    let paths = [(232, LISTENING.0), (240, 1), (248, 8), (256, 10), (264, POOL.0)];
    let of_cycle = [
        (8, POOL.0),
        (120, CONNECTIONS.0 + 2 * CONNECTION),
        (128, COUNT - 2),
        (136, MODULE_LIST.0),
        (144, 2),
        (488, COUNT),
        (504, CONNECTIONS.0),
        (512, READ.0),
        (520, WRITE.0),
    ];
    for (offset, value) in of_cycle.into_iter().chain(listening).chain(paths) {
        put(CYCLE + offset, value);
    }
    // The client's connection is the one that may be closed.
    let (queue, link) = (CYCLE + 160, CONNECTIONS + CONNECTION + 184);
    for (at, value) in [(queue + 8, link.0), (link + 8, queue.0)] {
        put(at, value);
    }
    for (at, value) in [(TIME_POINTER, TIME.0), (TIME, 1_700_000_000), (TIME + 8, 999)] {
        put(at, value);
    }
    for slot in 0..COUNT {
        let (connection, read) = (CONNECTIONS + slot * CONNECTION, READ + slot * EVENT);
        put(connection + 8, read.0);
        put(connection + 16, WRITE.0 + slot * EVENT);
        if slot < 2 {
            for (offset, value) in [(0, connection.0), (8, ACTIVE), (16, 0x5555), (24, INVALID_INDEX)] {
                put(read + offset, value);
            }
            for (offset, value) in [(64, LISTENING.0), (80, 0x99), (88, POOL.0 * slot), (200, slot)] {
                put(connection + offset, value);
            }
        } else if slot + 1 < COUNT {
            put(connection, connection.0 + CONNECTION);
        }
    }
    image
}

#[test]
fn memory_that_agrees_is_believed() {
    let built_in = BuiltIn::of(&worker(), variable).unwrap();
    assert_eq!(built_in.version(), Version(1_022_001));
    assert_eq!(built_in.layout("ngx_connection_t").unwrap().size, CONNECTION);
    assert!(built_in.layout("ngx_http_v2_connection_s").is_none());
}

#[test]
fn anything_that_contradicts_is_found() {
    let client = CONNECTIONS + CONNECTION;
    let damage = [
        (CORE + 40, 1_018_000, "elements"),
        (CORE + 40, 1_010_000, "older"),
        (CYCLE_POINTER, 0, "ngx_cycle"),
        (CYCLE + 8, POOL.0 + 16, "pool"),
        (MODULE_LIST, SECOND.0, "first module"),
        (SECOND + 8, 5, "places"),
        (CYCLE + 208, 304, "304 bytes"),
        (CYCLE + 224, 1, "array"),
        (CYCLE + 488, u64::MAX, "connections"),
        (client + 8, READ.0, "connection 1: its events"),
        (READ + EVENT, CONNECTIONS.0, "connection 1: its event does not lead back"),
        (READ + EVENT + 16, 0, "handler"),
        (READ + EVENT + 24, u64::MAX, "index"),
        (client + 64, LISTENING.0 + 8, "listens"),
        (client + 64, LISTENING.0 + LISTENING_SIZE, "listens"),
        (client + 88, CONNECTIONS.0, "its pool is no pool"),
        (client + 80, 0, "log"),
        (client + 200, 8, "number"),
        (CYCLE + 120, READ.0, "no slot"),
        (CONNECTIONS + 5 * CONNECTION, CONNECTIONS.0 + 7, "no slot"),
        (CYCLE + 128, COUNT + 1, "free"),
        (CYCLE + 168, client.0, "reusable connection 0"),
        (client + 192, READ.0, "no slot"),
        (TIME + 8, 1000, "milliseconds"),
    ];
    for (at, value, says) in damage {
        let mut image = worker();
        assert!(image.write_u64(at, value));
        let problem = BuiltIn::of(&image, variable).unwrap_err();
        assert!(problem.contains(says), "{at}: {problem}");
    }
}

#[test]
fn a_master_has_no_connections() {
    let mut image = worker();
    assert!(image.write_u64(CYCLE + 504, 0));
    assert!(BuiltIn::of(&image, variable).is_ok());
}

#[test]
fn without_exports_there_is_nothing() {
    let only = |wanted: &'static str| move |name: &str| variable(name).filter(|_| name == wanted);
    assert!(BuiltIn::of(&worker(), only("ngx_cycle")).unwrap_err().contains("ngx_core_module"));
    assert!(BuiltIn::of(&worker(), only("ngx_core_module")).unwrap_err().contains("ngx_cycle"));
}
