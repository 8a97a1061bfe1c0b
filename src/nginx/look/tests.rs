use super::*;
use crate::target::image::Image;

const FIRST: Addr = Addr(0x10000);
const HTTP: u64 = 0x5054_5448;
const STREAM: u64 = 0x4d52_5453;
const LISTENING: u64 = 0x7000;

fn known() -> Known {
    Known {
        users: Users {
            request: Some(RequestLayout::of_test()),
            http2: Some(Http2Layout::of_test()),
            keepalive: Some(KeepaliveLayout::of_test()),
            stream: Some(StreamLayout::of_test()),
            ..Users::default()
        },
        ..Known::of_test()
    }
}

fn at(index: usize) -> Addr {
    ConnectionLayout::of_test().place(FIRST, index)
}

/// Connections with these values for `data`, `pool` and `listening`, and these words elsewhere.
fn image(connections: &[(u64, u64, u64)], words: &[(u64, u64)]) -> Image {
    let mut image = Image::new();
    image.map(FIRST, vec![0; 0x2000]);
    image.map(Addr(0x20000), vec![0; 0x4000]);
    let mut put = |address: Addr, value| assert!(image.write_u64(address, value), "{address}");
    for (index, (data, pool, listening)) in connections.iter().enumerate() {
        put(at(index), *data);
        put(at(index) + 0x58, *pool);
        put(at(index) + 0x40, *listening);
    }
    words.iter().for_each(|(address, value)| put(Addr(*address), *value));
    image
}

/// What a look at the first `count` connections finds: kinds with pools.
fn found(image: &Image, count: u64) -> Vec<(&'static str, u64)> {
    let (known, layout, texts) = (known(), ConnectionLayout::of_test(), Texts::default());
    let all = layout.read_all(image, FIRST, count).unwrap();
    let slots = Slots { first: FIRST, is_free: vec![false; all.len()], all, problem: None };
    let look = Look::new(&known, &layout, (image, &texts), &slots);
    let (mut found, mut late) = (Vec::new(), Vec::new());
    for (index, connection) in slots.used() {
        look.name(index, *connection, &mut found, &mut late);
    }
    found.append(&mut late);
    found.iter().map(|named| (named.kind.key, named.pool.0)).collect()
}

#[test]
fn a_request_is_believed_only_if_it_points_back() {
    let request = |connection: Addr| [(0x20000, HTTP), (0x20008, connection.0), (0x20010, 0x9000)];
    let client = [(0x20000, 0x5000, LISTENING)];
    assert_eq!(found(&image(&client, &request(at(0))), 1), [("request", 0x9000), ("connection", 0x5000)]);
    assert_eq!(found(&image(&client, &request(at(1))), 1), [("connection", 0x5000)]);
    let no_signature = &request(at(0))[1..];
    assert_eq!(found(&image(&client, no_signature), 1), [("connection", 0x5000)]);
}

#[test]
fn a_request_whose_client_does_other_things_is_known_to_its_server_s_connection() {
    let words = [(0x20000, HTTP), (0x20008, at(0).0), (0x20010, 0x9000), (0x20018, 0x21000), (0x21000, at(1).0)];
    let peer = (0x20000, 0x6000, 0);
    let led_to_by_client = image(&[(0x20000, 0x5000, LISTENING), peer], &words);
    assert_eq!(
        found(&led_to_by_client, 2),
        [("request", 0x9000), ("connection", 0x5000), ("upstream_connection", 0x6000)]
    );
    let alone = image(&[(0x22000, 0x5000, LISTENING), peer], &words);
    assert_eq!(found(&alone, 2), [("connection", 0x5000), ("upstream_connection", 0x6000), ("request", 0x9000)]);
}

#[test]
fn the_server_s_side_of_a_session_is_named_only_if_it_has_a_pool_of_its_own() {
    let words = [(0x20000, STREAM), (0x20008, at(0).0), (0x20010, 0x21000), (0x21000, at(1).0)];
    let with_pool = |pool| image(&[(0x20000, 0x5000, LISTENING), (0x20000, pool, 0)], &words);
    assert_eq!(found(&with_pool(0x5000), 2), [("connection", 0x5000)]);
    assert_eq!(found(&with_pool(0x6000), 2), [("connection", 0x5000), ("stream_upstream", 0x6000)]);
}

#[test]
fn a_cached_connection_is_told_from_others_that_are_no_client_s() {
    let connections = [(0x20000, 0x5000, 0), (0x21000, 0x6000, 0), (0, 0x7000, 0)];
    let image = image(&connections, &[(0x20010, at(0).0), (0x21010, at(0).0)]);
    assert_eq!(
        found(&image, 3),
        [("upstream_keepalive", 0x5000), ("connection_other", 0x6000), ("connection_other", 0x7000)]
    );
}

#[test]
fn an_http2_connection_leads_to_its_own_pool_and_to_its_streams() {
    let words = [
        (0x20000, at(0).0),
        (0x20008, 0x8000),
        (0x20010, 0xa000),
        (0x20020, 0x21000),
        (0x21008, 0x22000),
        (0x22010, 0x22800),
        (0x22800, 0x23000),
        (0x22808, 0xa000),
        (0x23000, HTTP),
        (0x23010, 0x9000),
    ];
    assert_eq!(
        found(&image(&[(0x20000, 0x5000, LISTENING)], &words), 1),
        [
            ("http2_connection", 0x8000),
            ("http2_header", 0xa000),
            ("request", 0x9000),
            ("http2_header", 0xa000),
            ("connection", 0x5000)
        ]
    );
}

#[test]
fn nonsense_ends() {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    for _ in 0..300 {
        let words: Vec<(u64, u64)> = (0..0x800)
            .map(|word| {
                let value = match random() % 8 {
                    0 => HTTP,
                    1 => STREAM,
                    2 => at((random() % 8) as usize).0,
                    3 => random() << 32,
                    _ => 0x20000 + random() % 0x4000,
                };
                (0x20000 + word * 8, value)
            })
            .collect();
        let connection = |_| (0x20000 + random() % 0x4000, 0x5000, random() % 2 * LISTENING);
        let connections: Vec<(u64, u64, u64)> = (0..8).map(connection).collect();
        let found = found(&image(&connections, &words), 8);
        assert!(found.len() < 100_000, "{}", found.len());
    }
}
