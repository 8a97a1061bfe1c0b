//! Files that earlier versions wrote are read for good: one of each version of the schema is kept in `tests/saved`.

use poolscope::snapshot::file::{Wanted, load};
use poolscope::snapshot::model::{SCHEMA_VERSION, Snapshot};
use std::path::{Path, PathBuf};

fn kept() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/saved");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    files
}

/// The exact figures of a file.
fn figures(snapshot: &Snapshot) -> String {
    let table = snapshot.chunks.as_ref().unwrap();
    let chunk_bytes: u64 = table.iter().map(|chunk| chunk.size).sum();
    let in_pools = table.iter().filter(|chunk| chunk.pool.is_some()).count();
    let pool_bytes: u64 = snapshot.pools.iter().map(|pool| pool.bytes()).sum();
    let mut text = format!(
        "{} {} {} taken at {} by {}\n{} pools with {pool_bytes} bytes, {} chunks with {chunk_bytes} bytes, {in_pools} in pools\n",
        snapshot.process.server.as_deref().unwrap_or("?"),
        snapshot.process.role,
        snapshot.process.pid,
        snapshot.taken_at,
        snapshot.poolscope_version,
        snapshot.pools.len(),
        table.len(),
    );
    for owner in &snapshot.owners {
        text += &format!("{}: {} pools, {} chunks, {} bytes\n", owner.owner, owner.pools, owner.chunks, owner.bytes);
    }
    for pool in &snapshot.pools {
        text += &format!("{} {} {} bytes, {}\n", pool.address, pool.owner.kind, pool.bytes(), pool.path());
    }
    text
}

#[test]
fn a_file_of_every_schema_version_is_kept_and_read() {
    let mut versions = Vec::new();
    for path in kept() {
        let snapshot = load(&path, Wanted::ALL).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(snapshot.schema_version, SCHEMA_VERSION);
        assert!(snapshot.is_complete() && snapshot.coverage == Some(1.0));
        let name = path.file_name().unwrap().to_str().unwrap();
        let version = name.strip_prefix("schema-").and_then(|rest| rest.split('.').next()).unwrap();
        versions.push(version.parse::<u32>().unwrap());
        insta::assert_snapshot!(format!("kept_{version}"), figures(&snapshot));
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=SCHEMA_VERSION).collect::<Vec<u32>>());
}

#[test]
fn chunks_of_kept_files_add_up_to_their_owners() {
    for path in kept() {
        let snapshot = load(&path, Wanted::ALL).unwrap();
        for (index, owner) in snapshot.owners.iter().enumerate() {
            let table = snapshot.chunks.as_ref().unwrap();
            let own = table.iter().filter(|chunk| chunk.owner == Some(index as u32));
            let (chunks, bytes) = own.fold((0, 0), |(chunks, bytes), chunk| (chunks + 1, bytes + chunk.size));
            assert_eq!((chunks, bytes), (owner.chunks, owner.bytes), "{} of {}", owner.owner, path.display());
        }
    }
}

#[test]
fn chunks_of_kept_files_add_up_to_their_groups() {
    for path in kept() {
        let snapshot = load(&path, Wanted::ALL).unwrap();
        let (table, groups) = (snapshot.chunks.as_ref().unwrap(), &snapshot.groups);
        assert!(!groups.is_empty(), "{}", path.display());
        for (index, group) in groups.iter().enumerate() {
            let own: Vec<_> = table.iter().filter(|chunk| chunk.group == Some(index as u32)).collect();
            let bytes: u64 = own.iter().map(|chunk| chunk.size).sum();
            assert_eq!((own.len() as u64, bytes), (group.chunks, group.bytes), "{} of {}", group.owner, path.display());
            let owners = own.iter().map(|chunk| &snapshot.owners[chunk.owner.unwrap() as usize].owner);
            assert!(owners.into_iter().all(|owner| *owner == group.owner));
        }
        let unheld = table.iter().filter(|chunk| chunk.owner.is_some() && chunk.pool.is_none());
        assert!(unheld.into_iter().all(|chunk| chunk.group.is_some()));
    }
}
