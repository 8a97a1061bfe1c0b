//! Snapshot files: what is saved comes back the same, privately and in one step, and no file does harm to its reader.

mod damage;
mod gauge;
mod kept;
mod looks;
mod round_trip;
mod samples;
mod saving;

use poolscope::snapshot::file::{ReadError, Wanted, read, write};
use poolscope::snapshot::model::Snapshot;

/// The bytes of a snapshot's file.
fn written(snapshot: &Snapshot) -> Vec<u8> {
    let mut file = Vec::new();
    write(snapshot, &mut file).unwrap();
    file
}

/// What reading everything of a file says.
fn read_all(file: &[u8]) -> Result<Snapshot, ReadError> {
    read(file, Wanted::ALL)
}

/// A file's lines.
fn unpacked(file: &[u8]) -> Vec<u8> {
    zstd::decode_all(file).unwrap()
}

/// Lines as somebody else's zstd would compress them: in one frame with a checksum of its own.
fn packed(lines: &[u8]) -> Vec<u8> {
    zstd::encode_all(lines, 1).unwrap()
}

/// Asserts that two snapshots say the same.
fn assert_same(left: &Snapshot, right: &Snapshot) {
    assert_eq!(serde_json::to_value(left).unwrap(), serde_json::to_value(right).unwrap());
    assert_eq!(left.pools, right.pools);
    assert_eq!(left.chunks, right.chunks);
}
