//! What is written comes back the same.

use super::samples::random;
use super::{assert_same, packed, read_all, unpacked, written};
use poolscope::snapshot::file::{Wanted, read};
use poolscope::snapshot::model::{SCHEMA_VERSION, Snapshot};
use proptest::prelude::*;
use std::sync::Arc;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_snapshot_comes_back_as_it_was(seed: u64, pools in 0u64..40, chunks in proptest::option::of(0u64..200)) {
        let snapshot = random(seed, pools, chunks);
        let file = written(&snapshot);
        assert_same(&read_all(&file).unwrap(), &snapshot);
        assert_same(&read_all(&unpacked(&file)).unwrap(), &snapshot);
        assert_same(&read_all(&packed(&unpacked(&file))).unwrap(), &snapshot);
    }
}

#[test]
fn several_blocks_of_pools_and_chunks_come_back_as_they_were() {
    let snapshot = random(7, 20_000, Some(200_000));
    assert_same(&read_all(&written(&snapshot)).unwrap(), &snapshot);
}

#[test]
fn an_empty_snapshot_and_one_without_any_chunk_come_back_as_they_were() {
    let empty = Snapshot { schema_version: SCHEMA_VERSION, ..Snapshot::default() };
    assert_same(&read_all(&written(&empty)).unwrap(), &empty);
    let no_chunk = random(1, 5, Some(0));
    assert_same(&read_all(&written(&no_chunk)).unwrap(), &no_chunk);
}

#[test]
fn pools_that_share_an_owner_share_it_again() {
    let snapshot = random(3, 300, None);
    let back = read_all(&written(&snapshot)).unwrap();
    let owners = |snapshot: &Snapshot| {
        let mut owners: Vec<_> = snapshot.pools.iter().map(|pool| Arc::as_ptr(&pool.owner)).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.len()
    };
    assert!(owners(&back) <= owners(&snapshot), "{} owners of {}", owners(&back), owners(&snapshot));
}

#[test]
fn what_is_not_wanted_is_not_read() {
    let snapshot = random(5, 50, Some(300_000));
    let file = written(&snapshot);
    let without_chunks = read(&file[..], Wanted::POOLS).unwrap();
    assert_eq!(without_chunks.pools, snapshot.pools);
    assert_eq!(without_chunks.chunks, None);
    let neither = read(&file[..], Wanted { pools: false, chunks: false }).unwrap();
    assert!(neither.pools.is_empty() && neither.owners == snapshot.owners);
    let chunks_only = read(&file[..], Wanted { pools: false, chunks: true }).unwrap();
    assert_eq!(chunks_only.chunks, snapshot.chunks);

    // Chunks that are not wanted may be damaged: the file is not looked at that far.
    let mut damaged = file.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(read_all(&damaged).is_err());
    assert_eq!(read(&damaged[..], Wanted::POOLS).unwrap().pools, snapshot.pools);
    let mut consumed = &file[..];
    read(&mut consumed, Wanted::POOLS).unwrap();
    assert!(consumed.len() > file.len() / 2, "{} of {} bytes were left", consumed.len(), file.len());
}

#[test]
fn one_json_document_is_read_as_well() {
    let mut snapshot = random(11, 30, Some(50));
    snapshot.chunks = snapshot.chunks.map(|table| table.iter().collect());
    let document = serde_json::to_vec(&snapshot).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &document).unwrap();
    for form in [document.clone(), packed(&document), gzip.finish().unwrap()] {
        let back = read_all(&form).unwrap();
        assert_eq!(serde_json::to_vec(&back).unwrap(), document);
        assert_eq!(back.chunks, snapshot.chunks);
        let few = read(&form[..], Wanted { pools: false, chunks: false }).unwrap();
        assert!(few.pools.is_empty() && few.chunks.is_none() && few.owners == snapshot.owners);
    }
    // Fields in any order, as tools that sort them leave them.
    let sorted = serde_json::to_vec_pretty(&serde_json::to_value(&snapshot).unwrap()).unwrap();
    assert_eq!(serde_json::to_vec(&read_all(&sorted).unwrap()).unwrap(), document);
}

#[test]
fn lines_and_columns_that_only_a_newer_version_knows_are_passed_over() {
    let snapshot = random(13, 4, Some(9));
    let text = String::from_utf8(unpacked(&written(&snapshot))).unwrap();
    let text = text.replacen("\n{\"pools\":{", "\n{\"pool_colours\":[\"red\"]}\n{\"pools\":{\"colour\":[0,0,0,0],", 1);
    assert!(text.contains("colour"));
    assert_same(&read_all(text.as_bytes()).unwrap(), &snapshot);
}

#[test]
fn columns_that_no_pool_has_anything_for_are_not_written() {
    let mut snapshot = random(17, 6, None);
    let text = |snapshot: &Snapshot| String::from_utf8(unpacked(&written(snapshot))).unwrap();
    for pool in &mut snapshot.pools {
        pool.hide_client();
        pool.age_ms = None;
    }
    let without = text(&snapshot);
    assert!(!["age_ms", "client", "uri"].iter().any(|name| without.contains(&format!("\"{name}\":["))), "{without}");
    snapshot.pools[2].age_ms = Some(5);
    snapshot.pools[4].uri = Some("/ws".into());
    let with = text(&snapshot);
    assert!(with.contains(r#""age_ms":[null,null,5,null,null,null]"#) && !with.contains(r#""client":["#), "{with}");
    assert_same(&read_all(with.as_bytes()).unwrap(), &snapshot);
    // A column that is there must have an entry for each pool.
    let short = with.replacen(r#""age_ms":[null,"#, r#""age_ms":["#, 1);
    assert!(read_all(short.as_bytes()).unwrap_err().to_string().contains("lacks an entry"));
}
