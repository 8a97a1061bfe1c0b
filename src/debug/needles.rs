//! Telling which units can possibly mention a name without parsing them.
//!
//! A unit that names something holds the offset of that string in `.debug_str` as a 32-bit word, somewhere among its
//! bytes. One pass over the bytes finds the few units of which that is true (and now and then one too many, which is
//! then parsed in vain). Measured on the debug info of glibc 2.36, this costs a tenth of parsing all entries; where only a
//! few words are looked for it costs much less still, as each is then searched for with vector instructions.

use super::dwarf::{Dwarf, MAIN};
use super::error::DebugError;
use super::file::DwarfFile;
use super::types::Place;
use super::unit::Unit;
use gimli::SectionId;
use memchr::memmem::{self, Finder};
use rustc_hash::{FxHashMap, FxHashSet};

/// So few words are looked for one by one: a search for four bytes passes over many bytes at a time.
const FEW: usize = 6;

/// The offsets at which a set of strings stands in the string sections of one file.
pub(crate) struct Needles {
    words: FxHashSet<u32>,
    way: Way,
}

/// How words are looked for.
enum Way {
    /// One pass for each.
    Few(Vec<Finder<'static>>),
    /// One pass for all. A bit for the low half of each word: nearly all positions are dismissed by it.
    Many(Vec<u64>),
}

impl Needles {
    pub(crate) fn new(words: FxHashSet<u32>) -> Needles {
        if words.len() <= FEW {
            let finder = |word: &u32| Finder::new(&word.to_le_bytes()).into_owned();
            return Needles { way: Way::Few(words.iter().map(finder).collect()), words };
        }
        let mut filter = vec![0; 1 << 10];
        for word in &words {
            if let Some(bits) = filter.get_mut(usize::from(*word as u16 >> 6)) {
                *bits |= 1u64 << (word & 63);
            }
        }
        Needles { words, way: Way::Many(filter) }
    }

    /// True if none of the strings is in the file.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// True if one of the offsets stands anywhere in `bytes`, at any alignment.
    pub(crate) fn occur_in(&self, bytes: &[u8]) -> bool {
        let filter = match &self.way {
            Way::Few(finders) => return finders.iter().any(|finder| finder.find(bytes).is_some()),
            Way::Many(filter) => filter.as_slice(),
        };
        let Ok(filter) = <&[u64; 1 << 10]>::try_from(filter) else { return true };
        bytes.windows(4).any(|window| {
            let word = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
            filter[usize::from(word as u16 >> 6)] & (1 << (word & 63)) != 0 && self.words.contains(&word)
        })
    }

    /// True if the unit can mention one of the strings by reference.
    pub(crate) fn occur_in_unit(&self, unit: &Unit<'_>) -> Result<bool, DebugError> {
        Ok(self.occur_in(unit.bytes()?) || self.occur_in(unit.string_offsets()?))
    }
}

/// Where strings stand in the string sections of the files, looked up once for each.
#[derive(Default)]
pub(crate) struct Offsets {
    known: FxHashMap<(u32, String), Vec<u32>>,
}

impl Offsets {
    /// The needles for a set of names in the units of a place.
    pub(crate) fn needles<'n>(
        &mut self,
        dwarf: &Dwarf,
        place: Place,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Needles, DebugError> {
        let file = dwarf.file(place)?;
        // That a supplement is missing must not hide what the file itself names.
        let shared = if place.file == MAIN { dwarf.supplement().unwrap_or_default() } else { None };
        let mut words = FxHashSet::default();
        for name in names {
            let known = match self.known.get(&(place.file, name.to_string())) {
                Some(known) => known,
                None => {
                    let mut found = Vec::new();
                    for file in [Some(file), shared].into_iter().flatten() {
                        string_offsets(file.section(SectionId::DebugStr)?, name, &mut found);
                    }
                    self.known.entry((place.file, name.to_string())).or_insert(found)
                }
            };
            words.extend(known);
        }
        Ok(Needles::new(words))
    }
}

/// The offsets in a string section where a string ends that ends with `name`: linkers let one string be the tail of
/// another.
fn string_offsets(section: &[u8], name: &str, found: &mut Vec<u32>) {
    let terminated = terminated(name);
    found.extend(memmem::find_iter(section, &terminated).filter_map(|offset| u32::try_from(offset).ok()));
}

/// The name as it stands in a string section or inline in an entry.
pub(crate) fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The needles for units whose own name is the source file `hint` or a path that ends with it.
pub(crate) fn unit_name_needles(file: &DwarfFile, hint: &str) -> Result<Needles, DebugError> {
    let terminated = terminated(hint);
    let mut words = FxHashSet::default();
    for id in [SectionId::DebugStr, SectionId::DebugLineStr] {
        let section = file.section(id)?;
        for end in memmem::find_iter(section, &terminated) {
            let before = section.get(..end).unwrap_or_default();
            let start = memchr::memrchr(0, before).map_or(0, |nul| nul + 1);
            words.extend([start, end].into_iter().filter_map(|offset| u32::try_from(offset).ok()));
        }
    }
    Ok(Needles::new(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_found_at_any_alignment_and_no_other_is() {
        let more = (0..FEW as u32).map(|word| 0x00ab_cd00 + word);
        for words in [vec![0x0001_2345, 7], [0x0001_2345, 7].into_iter().chain(more).collect()] {
            let needles = Needles::new(words.into_iter().collect());
            assert!(needles.occur_in(&[9, 0x45, 0x23, 0x01, 0x00, 9]));
            assert!(!needles.occur_in(&[9, 0x45, 0x23, 0x02, 0x00, 9]));
            assert!(!needles.occur_in(&[7, 0, 0]));
        }
    }

    #[test]
    fn a_string_may_be_the_tail_of_another() {
        let mut found = Vec::new();
        string_offsets(b"\0my_pool\0pool\0pool_t\0", "pool", &mut found);
        assert_eq!(found, [4, 9]);
    }
}
