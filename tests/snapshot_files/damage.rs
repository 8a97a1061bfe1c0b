//! Files that are cut off, damaged, or made to harm: an error or a sound snapshot, in bounded time and memory.

use super::gauge::peak;
use super::samples::{Random, random};
use super::{packed, read_all, unpacked, written};
use poolscope::snapshot::chunks::ChunkTable;
use poolscope::snapshot::file::limits::MAX_UNPACKED;
use poolscope::snapshot::file::{ReadError, Wanted, read};
use poolscope::snapshot::model::Snapshot;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// What a file of some kilobytes may make its reader allocate and take. Reading a sound one takes a millisecond.
const MEMORY: u64 = 64 << 20;
const TIME: Duration = Duration::from_secs(60);

/// Uses a snapshot as a report does: follows every index, adds everything up.
fn use_it(snapshot: &Snapshot, all: bool) {
    let _ = (snapshot.in_use_bytes(), snapshot.in_use_chunks(), snapshot.is_complete());
    let _ = snapshot.books.as_ref().map(|books| (books.coverage(), books.mallinfo()));
    let _: u64 = snapshot.pools.iter().map(|pool| pool.bytes()).sum();
    for chunk in snapshot.chunks.iter().flat_map(ChunkTable::iter) {
        assert!(chunk.owner.is_none_or(|owner| snapshot.owners.get(owner as usize).is_some()));
        assert!(chunk.group.is_none_or(|group| snapshot.groups.get(group as usize).is_some()));
        assert!(!all || chunk.pool.is_none_or(|pool| snapshot.pools.get(pool as usize).is_some()));
    }
    serde_json::to_writer(io::sink(), snapshot).unwrap();
}

/// Reads bytes of unknown worth.
fn try_to_read(file: &[u8], wanted: Wanted) -> Result<Snapshot, ReadError> {
    let start = Instant::now();
    let (result, memory) = peak(|| read(file, wanted));
    assert!(memory < MEMORY, "{memory} bytes for a file of {}", file.len());
    assert!(start.elapsed() < TIME, "{:?} for a file of {}", start.elapsed(), file.len());
    match &result {
        Ok(snapshot) => use_it(snapshot, wanted == Wanted::ALL),
        Err(error) => assert!(error.to_string().len() < 1000 && !error.to_string().is_empty()),
    }
    result
}

/// A small file and a document, each as it is compressed and not.
fn small() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let snapshot = random(21, 12, Some(60));
    let file = written(&snapshot);
    (unpacked(&file), file, serde_json::to_vec(&snapshot).unwrap())
}

#[test]
fn a_file_that_ends_anywhere_is_not_taken_for_a_whole_one() {
    let (lines, file, document) = small();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&document).unwrap();
    for whole in [lines, file, packed(&document), gzip.finish().unwrap(), document] {
        assert!(try_to_read(&whole, Wanted::ALL).is_ok());
        for length in 0..whole.len() {
            let error = try_to_read(&whole[..length], Wanted::ALL).unwrap_err();
            let known = matches!(error, ReadError::CutOff { .. } | ReadError::NotASnapshot { .. });
            assert!(known, "{length} of {}: {error}", whole.len());
        }
    }
}

#[test]
fn a_cut_off_file_says_how_much_there_is() {
    let lines = unpacked(&written(&random(22, 20_000, Some(70_000))));
    let start_of_line = |number: usize| {
        let ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        ends.clone().nth(number - 2).unwrap()
    };
    // Two lines, then owners, cleanups and pools three times over, the owners of pools and of groups, chunks twice, the end.
    for (line, held) in
        [(8, "8192 of 20000 pools and 0 of 70000 chunks"), (15, "20000 of 20000 pools and 65536 of 70000 chunks")]
    {
        let (result, _) = peak(|| read_all(&lines[..start_of_line(line) + 5]));
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with(&format!("it is cut off: it ends in line {line}, after {held}; ")), "{text}");
    }
}

/// Changes some bytes, or takes some out, or puts some in twice.
fn corrupt(bytes: &mut Vec<u8>, r: &mut Random) {
    for _ in 0..=r.below(3) {
        let at = r.below(bytes.len() as u64) as usize;
        let end = bytes.len().min(at + 1 + r.below(20) as usize);
        match r.below(6) {
            0 => bytes[at] ^= 1 << r.below(8),
            1 => bytes[at] = r.bits() as u8,
            // Digits stay digits: numbers change, and all stays JSON.
            2 => bytes
                .iter_mut()
                .skip(at)
                .find(|byte| byte.is_ascii_digit())
                .map_or((), |b| *b = b'0' + r.below(10) as u8),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, b"99999999999999999999"[..r.below(20) as usize].to_vec())),
            _ => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

#[test]
fn damaged_files_are_refused_or_sound() {
    let (lines, file, document) = small();
    let mut r = Random::new(1);
    let mut sound = [0; 3];
    for round in 0..10_000 {
        let wanted = Wanted { pools: round % 5 != 0, chunks: round % 7 != 0 };
        let mut compressed = file.clone();
        corrupt(&mut compressed, &mut r);
        sound[0] += u32::from(try_to_read(&compressed, wanted).is_ok());
        // Compressed again: the checksum is that of the damaged lines.
        for (kind, original) in [(1, &lines), (2, &document)] {
            let mut bytes = original.clone();
            corrupt(&mut bytes, &mut r);
            sound[kind] += u32::from(try_to_read(&packed(&bytes), wanted).is_ok());
        }
    }
    // The checksum finds all damage in the part that is read; without it, a changed digit is just another digit.
    assert!(sound[0] < 3_000, "{sound:?}");
    assert!((500..9_000).contains(&sound[1]) && (500..9_000).contains(&sound[2]), "{sound:?}");
}

#[test]
fn damage_that_the_checksum_sees_is_never_taken_for_a_snapshot() {
    let (_, file, _) = small();
    let mut r = Random::new(2);
    for _ in 0..2_000 {
        let mut damaged = file.clone();
        let at = r.below(damaged.len() as u64) as usize;
        damaged[at] ^= 1 << r.below(8);
        if let Ok(snapshot) = try_to_read(&damaged, Wanted::ALL) {
            // A bit that means nothing, such as an unused one of a frame's header.
            super::assert_same(&snapshot, &read_all(&file).unwrap());
        }
    }
}

/// Compresses `start`, then `part` as often as it takes to unpack to more than `length` bytes.
fn bomb(start: &[u8], part: &[u8], length: u64) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(start).unwrap();
    let part = part.repeat((1 << 20) / part.len() + 1);
    for _ in 0..length / part.len() as u64 + 1 {
        encoder.write_all(&part).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn what_unpacks_without_end_is_refused_at_a_bound() {
    let (lines, _, document) = small();
    let mut ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let header = &lines[..ends.next().unwrap()];
    let model = &lines[..ends.next().unwrap()];
    let long = 300 << 20;
    let model_start = [header, b"{\"notes\":["].concat();
    let pools_start = br#"{"schema_version":2,"pools":["#;
    let chunks_start = br#"{"schema_version":2,"chunks":["#;
    let chunk: &[u8] = br#"["0x10",16,"free","main",null,null],"#;
    let cleanups: &[u8] = br#"{"cleanups":[{},{},{},{},{},{},{},{}]},"#;
    for (name, start, part, length) in [
        ("a first line of blanks", &b"{\"format\":\"poolscope snapshot\""[..], &b" "[..], long),
        ("a model of empty notes", &model_start, b"\"\",", long),
        ("a line that never ends", model, b"[", long),
        ("lines without end", model, b"{\"other\":0}\n", MAX_UNPACKED),
        ("owners without end", model, b"{\"pool_owners\":[{},{},{},{}]}\n", long),
        ("owners in one line", &[model, b"{\"pool_owners\":["].concat(), b"{},", long),
        ("notes without end", br#"{"schema_version":2,"notes":["#, b"\"\",", long),
        ("owners of a document", br#"{"schema_version":2,"owners":["#, b"{},", long),
        ("deep arrays", br#"{"schema_version":2,"notes":"#, b"[", long),
        ("pools of a document", pools_start, b"{},", long),
        ("cleanups of a document", pools_start, cleanups, MAX_UNPACKED),
        ("chunks of a document", chunks_start, chunk, MAX_UNPACKED),
        ("blanks behind a document", &document, b" ", MAX_UNPACKED),
        ("blanks behind a file", &lines, b" \n", MAX_UNPACKED),
    ] {
        let file = bomb(start, part, length);
        let clock = Instant::now();
        let (result, memory) = peak(|| read_all(&file));
        let error = result.unwrap_err();
        println!("{name}: {} bytes, {:?}, {} MiB at most: {error}", file.len(), clock.elapsed(), memory >> 20);
        assert!(!matches!(error, ReadError::CutOff { .. }), "{name}: {error}");
        // Most take lists of what is shortest when written: pools, chunks that do not lie side by side.
        assert!(memory < 2 << 30, "{name}: {} MiB", memory >> 20);
        assert!(clock.elapsed() < Duration::from_secs(600), "{name}: {:?}", clock.elapsed());
    }
}

#[test]
fn counts_that_are_only_claimed_cost_nothing() {
    let (lines, ..) = small();
    let text = String::from_utf8(lines).unwrap();
    for (from, to) in [
        ("\"pools\":12", "\"pools\":8000000"),
        ("\"chunks\":60", "\"chunks\":130000000"),
        ("\"pools\":12", "\"pools\":99999999999"),
        ("\"chunks\":60", "\"chunks\":99999999999"),
    ] {
        let claimed = text.replace(from, to);
        assert_ne!(claimed, text);
        let (result, memory) = peak(|| read_all(claimed.as_bytes()));
        assert!(result.is_err() && memory < 1 << 20, "{memory} bytes");
    }
    let document = br#"{"schema_version":2,"owners":[{}],"chunks":[["0x10",16,"free","main",0,4294967295]]}"#;
    let (result, memory) = peak(|| read_all(document));
    assert!(memory < 1 << 20, "{memory} bytes");
    assert!(result.is_ok() || matches!(result, Err(ReadError::Damaged { .. })));
}

#[test]
fn a_window_larger_than_allowed_is_refused() {
    // RFC 8878, 3.1.1.1: a frame with a window of 2^31 bytes, and one empty block.
    let frame = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
    let (result, memory) = peak(|| read_all(frame));
    let error = result.unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }) && memory < 1 << 20, "{error}");
    assert!(error.to_string().contains("memory"), "{error}");
}
