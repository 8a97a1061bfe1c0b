//! Telling what a file is, and saying what to do with one that is no snapshot or a newer one.

use super::samples::random;
use super::{packed, read_all, unpacked, written};
use poolscope::snapshot::file::{Look, ReadError, Wanted, load, look};
use std::io::Write;
use std::path::Path;

/// The first bytes of an ELF file of that type (System V ABI).
fn elf(kind: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([kind, 0, 62, 0]);
    bytes.resize(4096, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_file_is_told_by_what_is_in_it_compressed_or_not() {
    let snapshot = random(1, 3, None);
    for (bytes, expected) in [
        (unpacked(&written(&snapshot)), Look::Snapshot),
        (serde_json::to_vec(&snapshot).unwrap(), Look::Json),
        (elf(4), Look::Core),
        (elf(3), Look::Elf),
        (b"BZh9more".to_vec(), Look::Compressed),
        (b"owner,bytes\n".to_vec(), Look::Text),
        (b"\0\x01\x02".to_vec(), Look::Unknown),
        (Vec::new(), Look::Empty),
    ] {
        for form in [bytes.clone(), packed(&bytes), gzip(&bytes), xz(&bytes), lz4(&bytes)] {
            assert_eq!(look(&form[..]).unwrap(), expected);
            assert_eq!(expected.is_snapshot(), read_all(&form).is_ok());
        }
    }
    assert_eq!(look(&written(&snapshot)[..]).unwrap(), Look::Snapshot);
    // A hundred bytes are enough of a file that poolscope saved.
    assert_eq!(look(&written(&snapshot)[..100.min(written(&snapshot).len())]).unwrap(), Look::Snapshot);
    assert_eq!(look(&b"\x28\xb5\x2f\xfd broken"[..]).unwrap(), Look::Unknown);
}

#[test]
fn what_is_no_snapshot_is_named_with_a_way_out() {
    let mut said = String::new();
    for bytes in [
        elf(4),
        packed(&elf(4)),
        elf(2),
        b"BZh9".to_vec(),
        b"#!/bin/sh\n".to_vec(),
        br#"[{"address":"0x10"}]"#.to_vec(),
        br#"{"address":"0x10","owner":"request"}"#.to_vec(),
        Vec::new(),
        vec![0; 100],
    ] {
        let error = read_all(&bytes).unwrap_err();
        assert!(matches!(error, ReadError::NotASnapshot { .. }), "{error}");
        said += &format!("{error}\n");
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_newer_file_says_which_version_reads_it() {
    let snapshot = random(2, 3, Some(4));
    let lines = String::from_utf8(unpacked(&written(&snapshot))).unwrap();
    let own = format!("\"poolscope_version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let newer = lines.replacen("\"schema_version\":3", "\"schema_version\":7", 1);
    let newer = newer.replacen(&own, "\"poolscope_version\":\"3.1.4\"", 1);
    let document = r#"{"schema_version":7,"poolscope_version":"3.1.4","pools":"not as they were"}"#;
    let anonymous = r#"{"schema_version":7,"process":[]}"#;
    let mut said = String::new();
    for bytes in [packed(newer.as_bytes()), packed(document.as_bytes()), anonymous.as_bytes().to_vec()] {
        let error = read_all(&bytes).unwrap_err();
        assert!(matches!(error, ReadError::Newer { schema: 7, .. }), "{error}");
        said += &format!("{error}\n");
    }
    insta::with_settings!({filters => vec![(env!("CARGO_PKG_VERSION"), "[OWN]")]}, {
        insta::assert_snapshot!(said);
    });
}

#[test]
fn several_snapshots_in_one_file_are_counted() {
    let snapshot = random(3, 3, Some(5));
    let file = written(&snapshot);
    let document = format!("{}\n", serde_json::to_string(&snapshot).unwrap()).into_bytes();
    for (bytes, count) in [
        (file.repeat(3), 3),
        (document.repeat(2), 2),
        (gzip(&document).repeat(4), 4),
        ([document.clone(), unpacked(&file)].concat(), 2),
    ] {
        let error = read_all(&bytes).unwrap_err();
        assert!(matches!(error, ReadError::Several(found) if found == count), "{error}");
        assert!(error.to_string().contains("split -l 1"), "{error}");
    }
    let error = read_all(&[&document[..], b"and more\n"].concat()).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
}

#[test]
fn an_error_names_the_file() {
    let error = load(Path::new("/nowhere/a.zst"), Wanted::ALL).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nowhere/a.zst: No such file or directory (os error 2)");
    let error = load(Path::new("/"), Wanted::ALL).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /: Is a directory (os error 21)");
}
