//! Debug info is untrusted: whatever its bytes are, it is read to an end, with an answer or an error.

#[allow(dead_code)]
mod debug_support;

use debug_support::Workshop;
use poolscope::addr::FileAddr;
use poolscope::debug::{Binary, DebugInfo, SearchOptions, TypeId, TypeKind};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::path::Path;

/// Asks everything that can be asked. Errors are fine, panics and endless loops are not.
fn ask_everything(program: &Path) {
    let Ok(binary) = Binary::open(program) else { return };
    let Ok(debug) = DebugInfo::load(&binary, &SearchOptions::default()) else { return };
    for name in ["pool_t", "pool_s", "hidden_t", "variant_t", "packed_flags_t", "state", "scalars_t", "no_such"] {
        let id = debug.type_named(name, Some("shapes.c"));
        if let Ok(Some(id)) = id {
            walk(&debug, id, 3);
        }
        if let Ok(layout) = debug.layout(name) {
            let _ = (layout.offset("d.where.y"), layout.embedded("d"));
        }
    }
    let _ = debug.layouts(&["flags_t", "data_t"], Some("hidden.c"));
    for name in ["same_name", "per_thread", "gp", "first_pool", "shared_counter"] {
        let _ = (debug.variable(name, None), debug.variable(name, Some("shapes.c")), debug.symbol(name));
    }
    let _ = (debug.enumerator("STATE_LOST"), debug.call_sites("make_hidden", None));
    let code = debug.symbol_address("make_hidden").unwrap_or(FileAddr(0x1100));
    for offset in 0..8 {
        let address = FileAddr(code.0.wrapping_add(offset * 5));
        let _ = (debug.line_at(address), debug.symbol_at(address));
    }
}

fn walk(debug: &DebugInfo, id: TypeId, depth: usize) {
    let _ = (debug.type_name(id), debug.type_size(id));
    match debug.type_kind(id) {
        Ok(TypeKind::Struct(layout)) if depth > 0 => {
            layout.fields.iter().for_each(|field| walk(debug, field.type_id, depth - 1));
        }
        Ok(TypeKind::Pointer(Some(target)) | TypeKind::Array { element: target, .. }) if depth > 0 => {
            walk(debug, target, depth - 1);
        }
        _ => {}
    }
}

/// Overwrites bytes of `file` at random, in front of it and among its debug sections, and asks `program` everything.
fn damage(workshop: &Workshop, program: &str, file: &str, cases: u32) {
    let (program, file) = (workshop.path(program), workshop.path(file));
    let whole = fs::read(&file).unwrap();
    // Executables start with pages of code and data; their debug sections fill the rest.
    let debug = if whole.len() > 0x4000 { 0x3000 } else { 0x40 };
    let place = prop_oneof![1 => 0..0x40usize, 8 => debug..whole.len()];
    let byte = prop_oneof![Just(0u8), Just(0xff), Just(0x7f), Just(0x80), any::<u8>()];
    let changes = prop::collection::vec((place, byte), 1..8);
    let cut = prop_oneof![9 => Just(None), 1 => (0..whole.len()).prop_map(Some)];
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&(changes, cut), |(changes, cut)| {
        let mut bytes = whole.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        // A new file each time: the old one may still be mapped.
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        ask_everything(&program);
        Ok(())
    });
    fs::remove_file(&file).unwrap();
    fs::write(&file, &whole).unwrap();
    result.unwrap();
}

#[test]
fn damaged_dwarf_5() {
    let workshop = Workshop::new();
    workshop.shapes(&["-gdwarf-5"]);
    damage(&workshop, "shapes", "shapes", 400);
}

#[test]
fn damaged_dwarf_4_with_type_units() {
    let workshop = Workshop::new();
    workshop.shapes(&["-gdwarf-4", "-fdebug-types-section"]);
    damage(&workshop, "shapes", "shapes", 300);
}

#[test]
fn damaged_compression() {
    let workshop = Workshop::new();
    workshop.shapes(&["-g", "-gz=zlib"]);
    damage(&workshop, "shapes", "shapes", 200);
    workshop.run("objcopy", &["--compress-debug-sections=zstd", "shapes", "packed"]);
    damage(&workshop, "packed", "packed", 100);
}

#[test]
fn damaged_supplement() {
    let workshop = Workshop::new();
    workshop.shapes(&["-g"]);
    workshop.compile("twin", &["-g", "-O1"]);
    workshop.run("dwz", &["-m", "shared.debug", "-M", "shared.debug", "shapes", "twin"]);
    damage(&workshop, "shapes", "shapes", 200);
    damage(&workshop, "shapes", "shared.debug", 200);
}

#[test]
fn damaged_split_files() {
    let workshop = Workshop::new();
    workshop.shapes(&["-gdwarf-4", "-gsplit-dwarf"]);
    damage(&workshop, "shapes", "shapes.dwo", 150);
    damage(&workshop, "shapes", "shapes", 100);
    workshop.run("dwp", &["-e", "shapes", "-o", "shapes.dwp"]);
    damage(&workshop, "shapes", "shapes.dwp", 150);
}
