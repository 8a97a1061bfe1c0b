//! The structures of nginx that finders need, as lists of members with the versions that have them.
//!
//! Only for builds with `--with-compat` on 64-bit machines: such a build reserves the fields of all optional features, so
//! that offsets depend on nothing but the version. The members are those of every release from 1.11.5 (the first with
//! `--with-compat`) to 1.31.4.

mod core;
mod http;

use super::version::Version;
use crate::debug::{BitField, Layout};

/// The first version that the tables describe.
pub const FIRST: Version = Version(1_011_005);

/// One member: its name, its size and alignment, and the versions that have it.
#[derive(Debug, Clone, Copy)]
struct Member {
    name: &'static str,
    /// In bits.
    size: u64,
    /// In bytes.
    align: u64,
    is_bits: bool,
    since: u32,
    /// The first version without it.
    until: u32,
}

impl Member {
    /// `size` is in bytes.
    const fn new(name: &'static str, size: u64, align: u64) -> Member {
        Member { name, size: size * 8, align, is_bits: false, since: 0, until: u32::MAX }
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

/// A number of two bytes.
const fn short(name: &'static str) -> Member {
    Member::new(name, 2, 2)
}

/// Bit-fields of an `unsigned`: one with a name, or several without.
const fn bits(name: &'static str, width: u64) -> Member {
    Member { size: width, is_bits: true, ..Member::new(name, 0, 4) }
}

/// An `int`, or a group of bit-fields that fits one.
const fn int(name: &'static str) -> Member {
    Member::new(name, 4, 4)
}

/// Something of several words: a string, an array, an embedded structure.
const fn words(name: &'static str, count: u64) -> Member {
    Member::new(name, 8 * count, 8)
}

/// Every structure by its tag, or by its typedef where it has no tag.
const STRUCTURES: &[(&str, &[Member])] = &[
    ("ngx_log_s", core::LOG),
    ("ngx_module_s", core::MODULE),
    ("ngx_array_t", core::ARRAY),
    ("ngx_queue_s", core::QUEUE),
    ("ngx_rbtree_s", core::TREE),
    ("ngx_rbtree_node_s", core::NODE),
    ("ngx_event_s", core::EVENT),
    ("ngx_connection_s", core::CONNECTION),
    ("ngx_listening_s", core::LISTENING),
    ("ngx_cycle_s", core::CYCLE),
    ("ngx_time_t", core::TIME),
    ("ngx_str_t", core::STRING),
    ("ngx_http_request_s", http::REQUEST),
    ("ngx_http_upstream_s", http::UPSTREAM),
    ("ngx_http_conf_ctx_t", http::CONTEXT),
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
        let start = start(member, end);
        end = start + member.size;
        if !member.name.is_empty() {
            let place = BitField { offset: (start % UNIT) as u32, size: member.size as u32, unit: (UNIT / 8) as u32 };
            let bits = member.is_bits.then_some(place);
            let unit = if member.is_bits { UNIT } else { 8 };
            places.push((member.name, start / unit * unit / 8, bits));
        }
    }
    Layout::of_places(name, end.div_ceil(8).next_multiple_of(8), places)
}

/// Width of what bit-fields lie in, in bits.
const UNIT: u64 = 32;

/// Where a member starts behind what ends at `end`, both in bits. Bit-fields follow what is before them, but none lies across
/// two units.
fn start(member: &Member, end: u64) -> u64 {
    let fits = member.is_bits && end % UNIT + member.size <= UNIT;
    if fits { end } else { end.next_multiple_of(member.align * 8) }
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

    /// As above.
    #[test]
    fn offsets_in_requests_are_those_of_real_builds() {
        let builds = [
            (1_011_005, [528, 856, 888, 952, 1008, 1152, 9432, 9441]),
            (1_013_002, [528, 912, 944, 1008, 1064, 1208, 9880, 9889]),
            (1_013_009, [528, 952, 984, 1048, 1104, 1248, 10200, 10209]),
            (1_013_010, [536, 960, 992, 1056, 1112, 1256, 10264, 10273]),
            (1_015_001, [536, 960, 992, 1056, 1128, 1272, 10392, 10401]),
            (1_017_006, [536, 960, 992, 1056, 1128, 1272, 10392, 10401]),
            (1_022_001, [536, 960, 992, 1056, 1128, 1272, 10392, 10401]),
            (1_023_000, [472, 832, 864, 928, 1000, 1144, 9368, 9377]),
            (1_025_000, [472, 832, 864, 928, 1000, 1144, 9432, 9441]),
            (1_029_003, [472, 832, 864, 928, 1000, 1144, 9448, 9457]),
            (1_029_007, [480, 848, 880, 944, 1016, 1160, 9576, 9585]),
            (1_029_008, [488, 856, 888, 952, 1024, 1168, 9640, 9649]),
            (1_031_004, [488, 856, 888, 952, 1024, 1168, 9640, 9649]),
        ];
        for (version, built) in builds {
            let of = |wanted: &str| layouts(Version(version)).find(|(name, _)| *name == wanted).unwrap().1;
            let request = of("ngx_http_request_s");
            let at = |field: &str| request.offset(field).unwrap();
            let bit = |field: &str| {
                let field = request.field_at(field).unwrap();
                field.offset * 8 + u64::from(field.bits.unwrap().offset)
            };
            let facts = [
                at("headers_out.headers.pool") - 48,
                at("start_sec"),
                at("request_line.len"),
                at("unparsed_uri.len"),
                at("main"),
                at("stream"),
                bit("blocked"),
                bit("http_state"),
            ];
            assert_eq!(facts, built, "{}", Version(version));
        }
    }

    #[test]
    fn a_request_s_pool_is_where_it_has_always_been() {
        let (_, request) = layouts(FIRST).find(|(name, _)| *name == "ngx_http_request_s").unwrap();
        assert_eq!((request.offset("upstream"), request.offset("pool")), (Ok(72), Ok(88)));
    }
}
