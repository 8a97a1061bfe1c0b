//! Layouts, types, variables and call sites of a program compiled in many ways, against what the program itself states.

#[allow(dead_code)]
mod debug_support;

use debug_support::{Statement, Workshop, load};
use poolscope::addr::{Addr, FileAddr};
use poolscope::debug::{CallSite, DebugInfo, Encoding, Location, SearchOptions, TypeKind};
use poolscope::target::image::Image;
use poolscope::view::View;
use std::path::Path;

fn check_all(workshop: &Workshop, program: &Path, debug: &DebugInfo) {
    let statement = Statement::of(workshop, program);
    check_layouts(debug, &statement);
    check_values(debug, &statement);
    check_types(debug);
    check_variables(debug);
    check_enumerators(debug);
}

fn check_layouts(debug: &DebugInfo, statement: &Statement) {
    let names: Vec<&str> = statement.sizes.iter().map(|(name, _)| name.as_str()).collect();
    for (layout, (name, size)) in debug.layouts(&names, None).unwrap().into_iter().zip(&statement.sizes) {
        assert_eq!(layout.unwrap_or_else(|| panic!("{name}")).size, *size, "{name}");
    }
    for (name, path, offset, size) in &statement.fields {
        let field = debug.layout(name).unwrap().field_at(path).unwrap();
        assert_eq!((field.offset, debug.type_size(field.type_id).unwrap()), (*offset, Some(*size)), "{name} {path}");
    }
    assert_eq!(
        debug.layout("pool_s").unwrap().offset("d.where.y"),
        debug.layout("pool_t").unwrap().offset("d.where.y")
    );
    let missing = debug.layout("pool_t").unwrap().offset("d.where.z").unwrap_err();
    assert_eq!(missing.to_string(), "structure point_s has no field z in the debug info of this build");
}

/// Every value is read through the debug info out of the bytes that the program printed.
fn check_values(debug: &DebugInfo, statement: &Statement) {
    for (name, path, value) in &statement.values {
        let mut image = Image::new();
        image.map(Addr(0x1000), statement.bytes[name].clone());
        let field = View::of(&image, debug, name, Addr(0x1000)).unwrap().field(path).unwrap();
        let read = if *value < 0 { field.signed().unwrap() } else { field.unsigned().unwrap() as i64 };
        assert_eq!(read, *value, "{name} {path}");
    }
}

fn check_types(debug: &DebugInfo) {
    let pool = debug.layout("pool_t").unwrap();
    let kind = |path: &str| debug.type_kind(pool.field_at(path).unwrap().type_id).unwrap();
    let name = |path: &str| debug.type_name(pool.field_at(path).unwrap().type_id).unwrap();
    assert_eq!(pool.name, "pool_s");
    assert_eq!(debug.layout("data_t").unwrap().name, "data_t");
    // shapes.c only declares the structure; hidden.c defines it.
    let TypeKind::Pointer(Some(hidden)) = kind("hidden") else { panic!("{:?}", kind("hidden")) };
    let TypeKind::Struct(hidden) = debug.type_kind(hidden).unwrap() else { panic!("hidden") };
    assert_eq!((hidden.name.as_str(), hidden.size, hidden.offset("depth").unwrap()), ("hidden", 16, 8));
    assert_eq!(debug.layout("hidden_t").unwrap().size, 16);
    assert!(matches!(kind("opaque"), TypeKind::Pointer(None)));
    let TypeKind::Pointer(Some(function)) = kind("handler") else { panic!("handler") };
    assert!(matches!(debug.type_kind(function).unwrap(), TypeKind::Function));
    let TypeKind::Array { element, count: Some(3) } = kind("grid") else { panic!("{:?}", kind("grid")) };
    let TypeKind::Array { element, count: Some(4) } = debug.type_kind(element).unwrap() else { panic!("grid[0]") };
    assert!(matches!(debug.type_kind(element).unwrap(), TypeKind::Base { size: 2, encoding: Encoding::Signed, .. }));
    assert!(matches!(kind("tail"), TypeKind::Array { count: None | Some(0), .. }), "{:?}", kind("tail"));
    assert_eq!(name("d.last"), "u_char *");
    assert_eq!(name("grid"), "short int [3][4]");
    assert_eq!(name("handler"), "void (*)()");
    assert_eq!(name("name"), "const char *");
    assert_eq!(name("current"), "struct pool_s *");
    assert!(
        debug
            .layout("no_such_structure")
            .unwrap_err()
            .to_string()
            .contains("no structure or typedef no_such_structure")
    );
    assert!(debug.layout("u_char").unwrap_err().to_string().contains("is not a structure"));
}

fn check_variables(debug: &DebugInfo) {
    let size = |name: &str, unit| {
        let variable = debug.variable(name, unit).unwrap().unwrap_or_else(|| panic!("{name} {unit:?}"));
        (variable.location, debug.type_size(variable.type_id).unwrap().unwrap())
    };
    let (first, int) = size("same_name", Some("shapes.c"));
    let (second, short) = size("same_name", Some("hidden.c"));
    assert_eq!((int, short), (4, 2));
    assert_ne!(first, second);
    let (Location::ThreadLocal(offset), 8) = size("per_thread", None) else { panic!("per_thread") };
    assert!(debug.tls_segment().is_some_and(|tls| offset < tls.memory_size));
    for (name, bytes) in [("gp", 4), ("shared_counter", 8), ("first_pool", debug.layout("pool_t").unwrap().size)] {
        let (location, read) = size(name, None);
        assert_eq!(read, bytes, "{name}");
        if let Some(address) = debug.symbol_address(name) {
            assert_eq!(location, Location::Static(address), "{name}");
        }
    }
    assert_eq!(debug.variable("no_such_variable", None).unwrap(), None);
}

fn check_enumerators(debug: &DebugInfo) {
    for (name, value) in
        [("STATE_IDLE", 0), ("STATE_BUSY", 7), ("STATE_LOST", -3), ("LARGE_VALUE", 0xfedc_ba98_7654_3210)]
    {
        assert_eq!(debug.enumerator(name).unwrap(), Some(value), "{name}");
    }
    assert_eq!(debug.enumerator("STATE_NONE").unwrap(), None);
}

/// shapes.c calls make_hidden twice: with 512, and with a size that is only known when it runs.
fn check_calls(debug: &DebugInfo) {
    let calls = check_call_lines(debug);
    let source = include_str!("debug_support/shapes.c");
    let line_of = |text: &str| source.lines().position(|line| line.contains(text)).unwrap() as u32 + 1;
    let size = |line: u32| {
        let call = calls.iter().find(|call| call.source.line == Some(line)).unwrap();
        call.arguments.first().copied().flatten()
    };
    assert_eq!(size(line_of("make_hidden(512,")), Some(512), "{calls:?}");
    assert_eq!(size(line_of("make_hidden(argc,")), None, "{calls:?}");
    assert_eq!(debug.call_sites("make_hidden", Some("shapes.c")).unwrap(), calls);
    assert_eq!(debug.call_sites("make_hidden", Some("hidden.c")).unwrap(), []);
}

fn check_call_lines(debug: &DebugInfo) -> Vec<CallSite> {
    let calls = debug.call_sites("make_hidden", None).unwrap();
    let source: Vec<&str> = include_str!("debug_support/shapes.c").lines().collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    for call in &calls {
        assert_eq!(call.source.function.as_deref(), Some("main"));
        assert!(call.source.file.as_ref().unwrap().ends_with("shapes.c"));
        let line = source[call.source.line.unwrap() as usize - 1];
        assert!(line.contains("first_pool.hidden = make_hidden("), "{line}");
    }
    assert_eq!(debug.call_sites("no_such_function", None).unwrap(), []);
    calls
}

fn check_lines(debug: &DebugInfo) {
    let function = debug.symbol_address("make_hidden").unwrap();
    let line = debug.line_at(function).unwrap().unwrap();
    assert_eq!(line.function.as_deref(), Some("make_hidden"));
    assert!(line.file.unwrap().ends_with("hidden.c"));
    let (symbol, offset) = debug.symbol_at(FileAddr(function.0 + 1)).unwrap();
    assert_eq!((symbol.name.as_str(), offset, symbol.global), ("make_hidden", 1, true));
    assert_eq!(debug.line_at(FileAddr(u64::MAX)).unwrap(), None);
}

fn check_built_with(flags: &[&str]) {
    let workshop = Workshop::new();
    let program = workshop.shapes(flags);
    let debug = load(&program, &SearchOptions::default());
    check_all(&workshop, &program, &debug);
    check_calls(&debug);
    check_lines(&debug);
}

#[test]
fn dwarf_5() {
    check_built_with(&["-gdwarf-5"]);
}

#[test]
fn dwarf_4() {
    check_built_with(&["-gdwarf-4"]);
}

/// Bit-fields counted from the top, field offsets as expressions, no call sites.
#[test]
fn dwarf_2() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-gdwarf-2", "-gstrict-dwarf"]);
    let debug = load(&program, &SearchOptions::default());
    check_all(&workshop, &program, &debug);
    check_lines(&debug);
}

#[test]
fn dwarf_64_bit_format() {
    check_built_with(&["-gdwarf-5", "-gdwarf64"]);
}

#[test]
fn position_dependent() {
    check_built_with(&["-g", "-no-pie", "-fno-pie"]);
}

#[test]
fn type_units() {
    check_built_with(&["-gdwarf-5", "-fdebug-types-section"]);
    check_built_with(&["-gdwarf-4", "-fdebug-types-section"]);
}

#[test]
fn compressed_with_zlib() {
    check_built_with(&["-g", "-gz=zlib"]);
}

#[test]
fn compressed_in_other_ways() {
    for way in ["zlib-gnu", "zstd"] {
        let workshop = Workshop::new();
        let program = workshop.shapes(&["-g"]);
        workshop.run("objcopy", &[&format!("--compress-debug-sections={way}"), "shapes", "packed"]);
        let debug = load(&workshop.path("packed"), &SearchOptions::default());
        check_all(&workshop, &program, &debug);
        check_calls(&debug);
        check_lines(&debug);
    }
}

#[test]
fn link_time_optimisation() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g", "-flto"]);
    let debug = load(&program, &SearchOptions::default());
    check_layouts(&debug, &Statement::of(&workshop, &program));
    check_types(&debug);
    check_call_lines(&debug);
}

#[test]
fn shrunk_by_dwz() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    workshop.run("dwz", &["shapes"]);
    let debug = load(&program, &SearchOptions::default());
    check_all(&workshop, &program, &debug);
    check_calls(&debug);
    check_lines(&debug);
}

#[test]
fn split_in_dwo_files() {
    for version in ["-gdwarf-5", "-gdwarf-4"] {
        check_built_with(&[version, "-gsplit-dwarf"]);
    }
}

/// In DWARF 4, because the dwp of binutils 2.40 crashes on DWARF 5.
#[test]
fn split_in_a_package() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-gdwarf-4", "-gsplit-dwarf"]);
    workshop.run("dwp", &["-e", "shapes", "-o", "shapes.dwp"]);
    for name in ["shapes.dwo", "hidden.dwo"] {
        std::fs::remove_file(workshop.path(name)).unwrap();
    }
    let debug = load(&program, &SearchOptions::default());
    check_all(&workshop, &program, &debug);
    check_calls(&debug);
    check_lines(&debug);
}
