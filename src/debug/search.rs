//! A search for several names at once, through as few units as possible.
//!
//! Units of the source file that the caller hints at come first, with the partial units that they import. Then come all
//! units that refer to one of the names through a string section, then those that hold one inline (compilers do that
//! with names of up to three letters). The search ends as soon as every name is found.

use super::choose::{self, First};
use super::dwarf::{Dwarf, MAIN, SUPPLEMENT};
use super::error::DebugError;
use super::file::DwarfFile;
use super::index::{self, Class, Hit};
use super::needles::{self, Needles, Offsets};
use super::reader;
use super::types::{EntryId, Place};
use super::unit::{Entry, Unit, flag};
use gimli::{SectionId, constants};
use memchr::memmem;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

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
    Alias {
        of: usize,
        typedef: EntryId,
    },
    Found(Hit),
}

/// The state of a search.
pub(crate) struct Search<'d> {
    dwarf: &'d Dwarf,
    queries: Vec<Query>,
    by_name: FxHashMap<Vec<u8>, Vec<usize>>,
    open: usize,
    offsets: Offsets,
    /// Units that were parsed since the last query was added.
    seen: FxHashSet<(Place, usize)>,
    /// The first thing that could not be read. It matters only if a name stays unfound.
    pub(crate) trouble: Option<DebugError>,
}

impl<'d> Search<'d> {
    /// A search for names of one class.
    pub(crate) fn new(dwarf: &'d Dwarf, class: Class, names: &[&str]) -> Search<'d> {
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

    /// What became of the name at an index of those asked for.
    pub(crate) fn answer(&self, index: usize) -> Option<Hit> {
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
    pub(crate) fn run(&mut self, first: First<'_>) {
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
        for place in choose::split_order(self.dwarf, splits, first) {
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
            First::Source(source) => choose::units_named(self.dwarf, place, source)?,
            First::Containing(pattern) => choose::units_containing(self.dwarf, place, pattern)?,
        };
        for range in units {
            let mut queue = vec![(place, range)];
            while let Some((place, range)) = queue.pop() {
                if self.seen.contains(&(place, range.start)) {
                    continue;
                }
                for import in self.scan(place, range)? {
                    let around = self.dwarf.file(import.place)?.unit_around(import.place.type_units, import.offset)?;
                    queue.push((import.place, around));
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
        unit.file_scope(index::is_searched, |entry| {
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
                && let Some(value) = reader::constant(child)
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
        if query.class == Class::Type && tag == constants::DW_TAG_typedef {
            return self.consider_typedef(index, id);
        }
        if query.class.accepts(tag, declared) {
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
