//! Which arena an address on the command line means.

use crate::malloc::books::ArenaBooks;
use crate::snapshot::chunks::ArenaName;
use crate::snapshot::model::Snapshot;

/// Arenas beyond these are counted only: each thread can have one.
const MOST: usize = 6;

/// The arena by the name that rows have: the main arena's address means `main`.
///
/// # Errors
/// A sentence that lists the arenas there are, if there is none at that address.
pub(super) fn find(snapshot: &Snapshot, wanted: ArenaName) -> Result<ArenaName, String> {
    let ArenaName::Other(address) = wanted else { return Ok(wanted) };
    let arenas = snapshot.books.as_ref().map_or(&[] as &[ArenaBooks], |books| &books.arenas);
    match arenas.iter().find(|arena| arena.address == address) {
        Some(arena) if arena.is_main => Ok(ArenaName::Main),
        Some(_) => Ok(wanted),
        None => Err(format!("process {} has no arena at {address:#x}; it has {}", snapshot.process.pid, list(arenas))),
    }
}

/// `main (0x7f601d7f6ac0), 0x7f5a2c000030 and 3 more`.
fn list(arenas: &[ArenaBooks]) -> String {
    let name = |arena: &ArenaBooks| match arena.is_main {
        true => format!("main ({:#x})", arena.address),
        false => format!("{:#x}", arena.address),
    };
    let shown = arenas.iter().take(MOST).map(name).collect::<Vec<_>>().join(", ");
    match arenas.len().saturating_sub(MOST) {
        0 => shown,
        left => format!("{shown} and {left} more (books.arenas in the JSON of a snapshot lists them)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_arenas_are_not_all_listed() {
        let arena = |index: u64| ArenaBooks { address: index << 12, is_main: index == 1, ..ArenaBooks::default() };
        let arenas: Vec<ArenaBooks> = (1..=9).map(arena).collect();
        assert_eq!(list(&arenas[..2]), "main (0x1000), 0x2000");
        assert!(list(&arenas).starts_with("main (0x1000), 0x2000, 0x3000, 0x4000, 0x5000, 0x6000 and 3 more"));
    }
}
