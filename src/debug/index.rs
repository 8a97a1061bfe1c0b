//! Finding entries by name, parsing as few units as possible.
//!
//! Units of the source file that the caller hints at come first, with the partial units that they import. Then come all
//! units that refer to one of the names through a string section, then those that hold one inline (compilers do that
//! with names of up to three letters). The search ends as soon as every name is found.

use super::dwarf::{Dwarf, FIRST_SPLIT, MAIN, SUPPLEMENT};
use super::error::DebugError;
use super::file::DwarfFile;
use super::needles::{self, Needles, Offsets};
use super::types::{EntryId, Place};
use super::unit::{Entry, Unit, flag};
use gimli::{DwTag, SectionId, constants};
use memchr::memmem;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// What a name is looked up as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Class {
    /// A type: tag, typedef or base type. A typedef of a structure that is only declared leads to its definition.
    Type,
    /// A structure, union, class or enumeration, by tag.
    Tag,
    /// A variable at file scope, defined (not only declared).
    Variable,
    /// A variable at file scope, if only by its declaration.
    DeclaredVariable,
    /// A constant of an enumeration.
    Enumerator,
}

/// What a name was found to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hit {
    /// The entry that defines it.
    Entry(EntryId),
    /// The value of an enumeration constant.
    Value(i128),
}

/// Answers of earlier searches, by class, name and hint.
pub(crate) type Known = Mutex<FxHashMap<(Class, String, Option<String>), Option<Hit>>>;

/// Which units are looked at before all others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum First<'a> {
    /// None in particular.
    Any,
    /// Those of a source file, by its name or the end of its path.
    Source(&'a str),
    /// Those whose bytes hold this pattern, such as an address.
    Containing(&'a [u8]),
}

impl<'a> First<'a> {
    /// Those of a source file, if one is given.
    pub(crate) fn source(source: Option<&'a str>) -> First<'a> {
        source.map_or(First::Any, First::Source)
    }
}

/// Looks up one name.
pub(crate) fn find_one(dwarf: &Dwarf, class: Class, name: &str, first: First<'_>) -> Result<Option<Hit>, DebugError> {
    Ok(find(dwarf, class, &[name], first)?.first().copied().flatten())
}

/// Looks up several names of one class in one pass. The answers are in the order of the names.
pub(crate) fn find(
    dwarf: &Dwarf,
    class: Class,
    names: &[&str],
    first: First<'_>,
) -> Result<Vec<Option<Hit>>, DebugError> {
    let source = match first {
        First::Source(source) => Some(source.to_string()),
        First::Any | First::Containing(_) => None,
    };
    let key = |name: &str| (class, name.to_string(), source.clone());
    let known = || dwarf.names.lock().unwrap_or_else(PoisonError::into_inner);
    let unknown: Vec<&str> = {
        let known = known();
        let mut seen = FxHashSet::default();
        names.iter().copied().filter(|name| seen.insert(*name) && !known.contains_key(&key(name))).collect()
    };
    let mut trouble = None;
    if !unknown.is_empty() {
        let mut search = Search::new(dwarf, class, &unknown);
        search.run(first);
        trouble = search.trouble.take();
        let mut known = known();
        for (index, name) in unknown.iter().enumerate() {
            let hit = search.answer(index);
            // Where something could not be read, a name that was not found may be there after all.
            if hit.is_some() || trouble.is_none() {
                known.insert(key(name), hit);
            }
        }
    }
    let known = known();
    let answers: Vec<Option<Hit>> = names.iter().map(|name| known.get(&key(name)).copied().flatten()).collect();
    match trouble {
        Some(error) if answers.iter().any(Option::is_none) => Err(error),
        _ => Ok(answers),
    }
}

/// One name that is looked for.
struct Query {
    class: Class,
    name: String,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Open,
    /// A typedef of a structure that is only declared there; another query looks for its definition.
    Alias { of: usize, typedef: EntryId },
    Found(Hit),
}

struct Search<'d> {
    dwarf: &'d Dwarf,
    queries: Vec<Query>,
    by_name: FxHashMap<Vec<u8>, Vec<usize>>,
    open: usize,
    offsets: Offsets,
    /// Units that were parsed since the last query was added.
    seen: FxHashSet<(Place, usize)>,
    /// The first thing that could not be read. It matters only if a name stays unfound.
    trouble: Option<DebugError>,
}

impl<'d> Search<'d> {
    fn new(dwarf: &'d Dwarf, class: Class, names: &[&str]) -> Search<'d> {
        let mut search = Search {
            dwarf,
            queries: Vec::new(),
            by_name: FxHashMap::default(),
            open: 0,
            offsets: Offsets::default(),
            seen: FxHashSet::default(),
            trouble: None,
        };
        for name in names {
            search.ask(class, name);
        }
        search
    }

    /// Adds a query, or finds the same one that is there.
    fn ask(&mut self, class: Class, name: &str) -> usize {
        let same = self.by_name.entry(name.as_bytes().to_vec()).or_default();
        if let Some(&known) = same.iter().find(|&&index| self.queries.get(index).is_some_and(|q| q.class == class)) {
            return known;
        }
        let index = self.queries.len();
        same.push(index);
        self.queries.push(Query { class, name: name.to_string(), state: State::Open });
        self.open += 1;
        self.seen.clear();
        index
    }

    fn answer(&self, index: usize) -> Option<Hit> {
        match self.queries.get(index)?.state {
            State::Open => None,
            State::Found(hit) => Some(hit),
            State::Alias { of, typedef } => match self.queries.get(of)?.state {
                State::Found(hit) => Some(hit),
                _ => Some(Hit::Entry(typedef)),
            },
        }
    }

    /// Searches until every name is found or everything was looked at.
    fn run(&mut self, first: First<'_>) {
        loop {
            let asked = self.queries.len();
            self.round(first);
            // A typedef can lead to a structure whose definition lay in a unit that was already passed.
            if self.open == 0 || self.queries.len() == asked {
                break;
            }
        }
    }

    fn round(&mut self, first: First<'_>) {
        let main = Place { file: MAIN, type_units: false };
        self.note(Search::hinted, main, first);
        let linked = [MAIN, SUPPLEMENT].map(|file| [false, true].map(|type_units| Place { file, type_units }));
        for place in linked.into_iter().flatten() {
            self.note(Search::by_reference, place, ());
        }
        for place in linked.into_iter().flatten() {
            self.note(Search::inline, place, ());
        }
        let splits = match self.dwarf.splits() {
            Ok(splits) => splits.units.len() as u32,
            Err(error) => return self.remember(error),
        };
        for place in split_order(self.dwarf, splits, first) {
            self.note(Search::split, place, ());
        }
    }

    /// Runs one step, unless there is nothing left to find, and remembers what went wrong.
    fn note<A>(&mut self, step: fn(&mut Self, Place, A) -> Result<(), DebugError>, place: Place, argument: A) {
        if self.open > 0
            && let Err(error) = step(self, place, argument)
        {
            self.remember(error);
        }
    }

    fn remember(&mut self, error: DebugError) {
        self.trouble.get_or_insert(error);
    }

    /// The units to begin with, and what they import.
    fn hinted(&mut self, place: Place, first: First<'_>) -> Result<(), DebugError> {
        let units = match first {
            First::Any => return Ok(()),
            First::Source(source) => units_named(self.dwarf, place, source)?,
            First::Containing(pattern) => units_containing(self.dwarf, place, pattern)?,
        };
        for range in units {
            let mut queue = vec![(place, range)];
            while let Some((place, range)) = queue.pop() {
                for import in self.scan(place, range)? {
                    let around = self.dwarf.file(import.place)?.unit_around(import.place.type_units, import.offset)?;
                    if !self.seen.contains(&(import.place, around.start)) {
                        queue.push((import.place, around));
                    }
                }
            }
        }
        Ok(())
    }

    /// The units that refer to one of the names in a string section.
    fn by_reference(&mut self, place: Place, (): ()) -> Result<(), DebugError> {
        let Some(units) = self.units(place)? else { return Ok(()) };
        let mut needles = self.needles(place)?;
        let (mut open, mut asked) = (self.open, self.queries.len());
        for range in units {
            if (open, asked) != (self.open, self.queries.len()) {
                (open, asked) = (self.open, self.queries.len());
                needles = self.needles(place)?;
            }
            if self.open == 0 || needles.is_empty() {
                break;
            }
            if self.may_mention(&needles, place, range.clone()) {
                self.scan_or_remember(place, range.clone());
            }
        }
        Ok(())
    }

    fn may_mention(&mut self, needles: &Needles, place: Place, range: Range<usize>) -> bool {
        let dwarf = self.dwarf;
        let indexed = dwarf.file(place).is_ok_and(|file| file.has(SectionId::DebugStrOffsets));
        let mentioned = if indexed {
            dwarf.unit(place, range).and_then(|unit| needles.occur_in_unit(&unit))
        } else {
            dwarf.file(place).and_then(|file| file.unit_bytes(place.type_units, range)).map(|b| needles.occur_in(b))
        };
        mentioned.unwrap_or_else(|error| {
            self.remember(error);
            false
        })
    }

    /// The units that hold one of the names themselves.
    fn inline(&mut self, place: Place, (): ()) -> Result<(), DebugError> {
        let Some(_) = self.units(place)? else { return Ok(()) };
        let dwarf = self.dwarf;
        let file = dwarf.file(place)?;
        let section = file.section(DwarfFile::entries_section(place.type_units))?;
        for index in 0..self.queries.len() {
            let Some(name) = self.open_name(index) else { continue };
            let terminated = needles::terminated(name);
            let mut from = 0;
            while let Some(found) = section.get(from..).and_then(|rest| memmem::find(rest, &terminated)) {
                let unit = file.unit_around(place.type_units, from + found)?;
                from = unit.end;
                self.scan_or_remember(place, unit);
                if self.open_name(index).is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A split file. One whose strings hold none of the names is not parsed.
    fn split(&mut self, place: Place, (): ()) -> Result<(), DebugError> {
        self.dwarf.file(place)?;
        for place in [place, Place { type_units: true, ..place }] {
            self.by_reference(place, ())?;
            self.inline(place, ())?;
        }
        Ok(())
    }

    fn units(&self, place: Place) -> Result<Option<&'d [Range<usize>]>, DebugError> {
        if place.file == SUPPLEMENT && self.dwarf.supplement()?.is_none() {
            return Ok(None);
        }
        let file = self.dwarf.file(place)?;
        if !file.has(DwarfFile::entries_section(place.type_units)) {
            return Ok(None);
        }
        file.units(place.type_units).map(Some)
    }

    fn needles(&mut self, place: Place) -> Result<Needles, DebugError> {
        let open = self.queries.iter().filter(|query| matches!(query.state, State::Open));
        self.offsets.needles(self.dwarf, place, open.map(|query| query.name.as_str()))
    }

    fn open_name(&self, index: usize) -> Option<&str> {
        let query = self.queries.get(index)?;
        matches!(query.state, State::Open).then_some(query.name.as_str())
    }

    fn scan_or_remember(&mut self, place: Place, range: Range<usize>) {
        if !self.seen.contains(&(place, range.start))
            && let Err(error) = self.scan(place, range)
        {
            self.remember(error);
        }
    }

    /// Parses the entries at file scope of a unit. Gives what the unit imports.
    fn scan(&mut self, place: Place, range: Range<usize>) -> Result<Vec<EntryId>, DebugError> {
        self.seen.insert((place, range.start));
        let dwarf = self.dwarf;
        let unit = dwarf.unit(place, range)?;
        let mut imports = Vec::new();
        unit.file_scope(is_searched, |entry| {
            if entry.tag() == constants::DW_TAG_imported_unit {
                imports.extend(dwarf.reference(&unit, entry, constants::DW_AT_import)?);
            } else {
                self.visit(&unit, entry)?;
            }
            Ok(self.open > 0)
        })?;
        Ok(imports)
    }

    fn visit(&mut self, unit: &Unit<'d>, entry: &Entry<'d>) -> Result<(), DebugError> {
        if entry.tag() == constants::DW_TAG_enumeration_type && self.queries_of(Class::Enumerator) {
            self.visit_enumerators(unit, entry)?;
        }
        let named = match entry.attr_value(constants::DW_AT_name) {
            Some(name) => self.dwarf.string(unit, name)?.and_then(|name| self.by_name.get(name)),
            None => None,
        };
        let wanted = match named {
            Some(wanted) => wanted.clone(),
            None => return self.visit_specification(unit, entry),
        };
        for index in wanted {
            self.consider(index, unit, entry)?;
        }
        Ok(())
    }

    /// The definition of a variable that was declared before: it has no name, but refers to the declaration.
    fn visit_specification(&mut self, unit: &Unit<'d>, entry: &Entry<'d>) -> Result<(), DebugError> {
        if entry.tag() != constants::DW_TAG_variable || !self.queries_of(Class::Variable) {
            return Ok(());
        }
        let Some(declaration) = self.dwarf.reference(unit, entry, constants::DW_AT_specification)? else {
            return Ok(());
        };
        let (declared_in, declaration) = self.dwarf.entry(declaration)?;
        let name = self.dwarf.text(&declared_in, &declaration, constants::DW_AT_name)?;
        for index in self.by_name.get(name.as_bytes()).cloned().unwrap_or_default() {
            self.consider(index, unit, entry)?;
        }
        Ok(())
    }

    fn visit_enumerators(&mut self, unit: &Unit<'d>, entry: &Entry<'d>) -> Result<(), DebugError> {
        unit.children(entry, |child| {
            if let Some(name) = child.attr_value(constants::DW_AT_name)
                && let Some(name) = self.dwarf.string(unit, name)?
                && let Some(wanted) = self.by_name.get(name).cloned()
                && let Some(value) = super::reader::constant(child)
            {
                for index in wanted {
                    if self.queries.get(index).is_some_and(|query| query.class == Class::Enumerator) {
                        self.settle(index, State::Found(Hit::Value(value)));
                    }
                }
            }
            Ok(true)
        })
    }

    fn queries_of(&self, class: Class) -> bool {
        self.queries.iter().any(|query| query.class == class && matches!(query.state, State::Open))
    }

    /// Takes an entry of the right name as the answer if it is of the right kind.
    fn consider(&mut self, index: usize, unit: &Unit<'d>, entry: &Entry<'d>) -> Result<(), DebugError> {
        let Some(query) = self.queries.get(index).filter(|query| matches!(query.state, State::Open)) else {
            return Ok(());
        };
        let (declared, id, tag) = (flag(entry, constants::DW_AT_declaration), unit.id_of(entry), entry.tag());
        let accepted = match query.class {
            Class::Type if tag == constants::DW_TAG_typedef => return self.consider_typedef(index, id),
            Class::Type => is_type(tag) && !declared,
            Class::Tag => is_type(tag) && tag != constants::DW_TAG_base_type && tag != constants::DW_TAG_typedef && !declared,
            Class::Variable => tag == constants::DW_TAG_variable && !declared,
            Class::DeclaredVariable => tag == constants::DW_TAG_variable,
            Class::Enumerator => false,
        };
        if accepted {
            self.settle(index, State::Found(Hit::Entry(id)));
        }
        Ok(())
    }

    /// A typedef answers if what it names is all there. If that is only declared, its definition must be found first.
    fn consider_typedef(&mut self, index: usize, id: EntryId) -> Result<(), DebugError> {
        match self.dwarf.declared_tag(id.into())? {
            None => self.settle(index, State::Found(Hit::Entry(id))),
            Some(tag) => {
                let of = self.ask(Class::Tag, &tag);
                self.settle(index, State::Alias { of, typedef: id });
            }
        }
        Ok(())
    }

    fn settle(&mut self, index: usize, state: State) {
        if let Some(query) = self.queries.get_mut(index).filter(|query| matches!(query.state, State::Open)) {
            query.state = state;
            self.open = self.open.saturating_sub(1);
        }
    }
}

fn is_type(tag: DwTag) -> bool {
    matches!(
        tag,
        constants::DW_TAG_structure_type
            | constants::DW_TAG_union_type
            | constants::DW_TAG_class_type
            | constants::DW_TAG_enumeration_type
            | constants::DW_TAG_base_type
            | constants::DW_TAG_typedef
    )
}

fn is_searched(tag: DwTag) -> bool {
    is_type(tag) || tag == constants::DW_TAG_variable || tag == constants::DW_TAG_imported_unit
}

/// The units of a place that were compiled from the source file `hint` (its name, or the end of its path).
pub(crate) fn units_named(dwarf: &Dwarf, place: Place, hint: &str) -> Result<Vec<Range<usize>>, DebugError> {
    /// A unit's own entry lies at its start, and is seldom longer than this with its strings inline.
    const ROOT_REACH: usize = 512;
    let file = dwarf.file(place)?;
    let needles = needles::unit_name_needles(file, hint)?;
    let inline = needles::terminated(hint);
    let indexed = file.has(SectionId::DebugStrOffsets) || place.file == SUPPLEMENT;
    let shared = place.file == MAIN && dwarf.supplement().ok().flatten().is_some();
    let mut found = Vec::new();
    for range in file.units(place.type_units)? {
        let bytes = file.unit_bytes(place.type_units, range.clone())?;
        let start = bytes.get(..ROOT_REACH).unwrap_or(bytes);
        if indexed || shared || needles.occur_in(start) || memmem::find(start, &inline).is_some() {
            let unit = dwarf.unit(place, range.clone())?;
            let name = dwarf.text(&unit, &unit.root()?, constants::DW_AT_name)?;
            if name.strip_suffix(hint).is_some_and(|before| before.is_empty() || before.ends_with('/')) {
                found.push(range.clone());
            }
        }
    }
    Ok(found)
}

/// The units whose bytes hold a pattern.
fn units_containing(dwarf: &Dwarf, place: Place, pattern: &[u8]) -> Result<Vec<Range<usize>>, DebugError> {
    let file = dwarf.file(place)?;
    let section = file.section(DwarfFile::entries_section(place.type_units))?;
    let mut found: Vec<Range<usize>> = Vec::new();
    for offset in memmem::find_iter(section, pattern) {
        if found.last().is_none_or(|last| !last.contains(&offset)) {
            found.push(file.unit_around(place.type_units, offset)?);
        }
    }
    Ok(found)
}

/// The split files, those of the hinted source file first: `malloc.dwo` is made from `malloc.c`.
fn split_order(dwarf: &Dwarf, count: u32, first: First<'_>) -> Vec<Place> {
    let stem = match first {
        First::Source(source) => std::path::Path::new(source).file_stem(),
        First::Any | First::Containing(_) => None,
    };
    let names = dwarf.splits().map(|splits| splits.units.as_slice()).unwrap_or_default();
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_by_key(|&index| {
        let name = names.get(index as usize).and_then(|unit| unit.name.file_stem());
        // gcc names the file after the object file, which can end in `.o` or carry a prefix (`a-malloc.dwo`).
        stem.is_none() || !name.is_some_and(|name| name.to_string_lossy().contains(&*stem.unwrap_or_default().to_string_lossy()))
    });
    order.into_iter().map(|index| Place { file: FIRST_SPLIT + index, type_units: false }).collect()
}
