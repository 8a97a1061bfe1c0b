//! The rooms of the library lie in an order, and each uses only those before it: data flows one way.

use std::path::{Path, PathBuf};

/// Modules of the library, lowest first. `main.rs` stands above all.
const ORDER: &[&str] = &[
    "addr",
    "target",
    "debug",
    "view",
    "malloc",
    "nginx",
    "attribution",
    "snapshot",
    "diff",
    "analysis",
    "report",
    "cli",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The room that a source file belongs to; `None` for the crate's root and the program.
fn room_of(path: &Path) -> Option<usize> {
    let below = path.strip_prefix("src").unwrap().components().next().unwrap();
    let name = below.as_os_str().to_str().unwrap().trim_end_matches(".rs");
    ORDER.iter().position(|room| *room == name)
}

/// Rooms that a text names as `crate::room`, comments aside.
fn rooms_used(text: &str) -> Vec<usize> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let uses = code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>());
    let named = uses.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned());
    named.filter_map(|name| ORDER.iter().position(|room| *room == name)).collect()
}

#[test]
fn a_room_uses_only_rooms_before_it() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    assert!(files.len() > 50);
    let mut wrong = Vec::new();
    for file in files {
        let Some(room) = room_of(&file) else { continue };
        for used in rooms_used(&std::fs::read_to_string(&file).unwrap()) {
            if used > room {
                wrong.push(format!("{} uses {}", file.display(), ORDER[used]));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_room_is_in_the_order() {
    let text = std::fs::read_to_string("src/lib.rs").unwrap();
    let modules = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut modules: Vec<&str> = modules.collect();
    let mut order = ORDER.to_vec();
    modules.sort_unstable();
    order.sort_unstable();
    assert_eq!(modules, order);
}
