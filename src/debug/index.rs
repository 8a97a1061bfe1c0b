//! Finding entries by name, with a memory of earlier answers.

use super::choose::First;
use super::dwarf::Dwarf;
use super::error::DebugError;
use super::reader::is_compound;
use super::search::Search;
use super::types::EntryId;
use gimli::{DwTag, constants};
use rustc_hash::{FxHashMap, FxHashSet};
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

impl Class {
    /// True if an entry with that tag can be the answer. One that is only a declaration says nothing of a type.
    pub(crate) fn accepts(self, tag: DwTag, declared: bool) -> bool {
        match self {
            Class::Type => is_type(tag) && !declared,
            Class::Tag => is_tagged(tag) && !declared,
            Class::Variable => tag == constants::DW_TAG_variable && !declared,
            Class::DeclaredVariable => tag == constants::DW_TAG_variable,
            Class::Enumerator => false,
        }
    }
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

/// True for entries that a search looks at.
pub(crate) fn is_searched(tag: DwTag) -> bool {
    is_type(tag) || tag == constants::DW_TAG_variable || tag == constants::DW_TAG_imported_unit
}

fn is_type(tag: DwTag) -> bool {
    is_tagged(tag) || tag == constants::DW_TAG_base_type || tag == constants::DW_TAG_typedef
}

fn is_tagged(tag: DwTag) -> bool {
    is_compound(tag) || tag == constants::DW_TAG_enumeration_type
}
