//! What a binary's debug info says: structure layouts by name, global variables, function names and source lines.
//!
//! A [`DebugInfo`] stands for one module (the nginx binary, glibc). [`DebugInfo::load`] only finds and opens the files;
//! every section is inflated and every unit parsed when something is first asked of it. What it can answer without any
//! debug info at all (symbols that the binary exports) it answers; the rest is a [`DebugError::NoDebugInfo`] that says
//! where it looked.
//!
//! All addresses are [`FileAddr`]s: the module's load bias is the caller's business.

mod binaries;
mod bytes;
mod calls;
mod catalogue;
mod choose;
mod dwarf;
mod elf;
mod error;
mod expressions;
mod file;
mod index;
mod layouts;
mod lines;
mod locate;
mod needles;
mod open;
mod reader;
mod search;
mod split;
mod supplement;
mod symbols;
mod types;
mod unit;
mod unwind;
mod variables;

pub use binaries::{BinaryNotFound, BinaryPlaces, FoundBinary, Nowhere, WantedBinary, find_binary};
pub use catalogue::{
    Catalogue, Function, FunctionId, Pointee, PointerVariable, SourceUnit, StaticVariable, Structure, StructureId,
};
pub use elf::{BuildId, Segment};
pub use error::DebugError;
pub(crate) use locate::package_hint;
pub use locate::{Binary, Provenance, Refusal, SearchOptions, Tried, Verified};
pub use symbols::{Symbol, SymbolKind};
pub use types::{BitField, Encoding, Enumerator, Field, Layout, MissingField, TypeId, TypeKind};
pub use unwind::{Code, StackEnd, StackWalk, walk_stack};

use crate::addr::FileAddr;
use choose::First;
use dwarf::Dwarf;
use elf::ElfFile;
use index::{Class, Hit};
use lines::Lines;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use symbols::Symbols;

/// Where a variable lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Location {
    /// At one address in the module.
    Static(FileAddr),
    /// In each thread's copy of the module's TLS block, this many bytes from its start.
    ThreadLocal(u64),
}

/// A global or file-static variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub location: Location,
    /// Its type.
    pub type_id: TypeId,
}

impl Variable {
    /// Its address in the module, or `None` if it is thread-local.
    pub fn address(&self) -> Option<FileAddr> {
        match self.location {
            Location::Static(address) => Some(address),
            Location::ThreadLocal(_) => None,
        }
    }
}

/// A place in the source.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourceLine {
    /// The innermost function there, inlined ones included.
    pub function: Option<String>,
    /// The functions that it is inlined into, innermost first.
    pub inlined_into: Vec<String>,
    /// The source file as the compiler was given it, its directory joined.
    pub file: Option<PathBuf>,
    /// The line, counted from 1.
    pub line: Option<u32>,
}

/// A place in the source where a function is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallSite {
    /// An address within the call instruction.
    pub address: FileAddr,
    /// Where the call stands.
    pub source: SourceLine,
    /// For each integer argument, in order, its value where the compiler knew it to be constant. Arguments of which
    /// nothing is known at the end of the list are left out.
    pub arguments: Vec<Option<u64>>,
}

/// The debug info and symbols of one module. Everything can be asked from several threads.
#[derive(Debug)]
pub struct DebugInfo {
    path: PathBuf,
    binary: Arc<ElfFile>,
    /// The debug file, and where it came from.
    found: Option<(Arc<ElfFile>, Provenance)>,
    dwarf: Option<Dwarf>,
    tried: Vec<Tried>,
    inflated: OnceLock<()>,
    symbols: OnceLock<Symbols>,
    lines: OnceLock<Result<Lines, DebugError>>,
    catalogue: OnceLock<Result<Catalogue, DebugError>>,
}

impl DebugInfo {
    /// Opens a binary and looks for its debug info. A binary without any is not an error: its exported symbols are known.
    pub fn load(binary: &Binary, options: &SearchOptions) -> Result<DebugInfo, DebugError> {
        let elf = Arc::new(ElfFile::open(&binary.file, &binary.path)?);
        let located = locate::locate(&elf, &binary.path, options);
        let open = |(debug, provenance): &(Arc<ElfFile>, Provenance)| {
            Dwarf::open(debug.clone(), &provenance.path, &binary.path, options)
        };
        Ok(DebugInfo {
            path: binary.path.clone(),
            binary: elf,
            dwarf: located.debug.as_ref().map(open),
            found: located.debug,
            tried: located.tried,
            inflated: OnceLock::new(),
            symbols: OnceLock::new(),
            lines: OnceLock::new(),
            catalogue: OnceLock::new(),
        })
    }

    /// The binary's path, as the target knows it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The binary's build-id.
    pub fn build_id(&self) -> Option<&BuildId> {
        self.binary.build_id()
    }

    /// Which file the debug info came from and how it is known to be of this build; `None` if there is none.
    pub fn source(&self) -> Option<&Provenance> {
        self.found.as_ref().map(|(_, provenance)| provenance)
    }

    /// The places that were looked at and not taken, in order.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// The binary's loadable segments.
    pub fn segments(&self) -> &[Segment] {
        &self.binary.loads
    }

    /// The binary's thread-local segment: its size and alignment say where it lies in the static TLS area.
    pub fn tls_segment(&self) -> Option<&Segment> {
        self.binary.tls.as_ref()
    }

    /// The layouts of several structures in one pass: `None` for those that the debug info does not define. A name is a
    /// structure's tag or a typedef of one. `unit` is the source file (`malloc.c`) that is looked at first.
    pub fn layouts(&self, names: &[&str], unit: Option<&str>) -> Result<Vec<Option<Arc<Layout>>>, DebugError> {
        let dwarf = self.dwarf()?;
        let found = index::find(dwarf, Class::Type, names, First::source(unit))?;
        let layout = |hit: Option<Hit>| match hit {
            Some(Hit::Entry(id)) => Ok(match dwarf.kind(id.into())? {
                TypeKind::Struct(layout) => Some(layout),
                _ => None,
            }),
            _ => Ok(None),
        };
        found.into_iter().map(layout).collect()
    }

    /// The layout of a structure, by tag or typedef. That it is not defined is a [`DebugError::NoSuchType`].
    pub fn layout(&self, name: &str) -> Result<Arc<Layout>, DebugError> {
        let (name, module) = (name.to_string(), self.path.clone());
        match self.type_named(&name, None)?.map(|id| self.type_kind(id)).transpose()? {
            Some(TypeKind::Struct(layout)) => Ok(layout),
            None | Some(TypeKind::Declared { .. }) => Err(DebugError::NoSuchType { name, module }),
            Some(_) => Err(DebugError::NotAStructure { name, module }),
        }
    }

    /// The type of that name (structure tag, typedef, enumeration tag or base type), or `None` if there is none.
    pub fn type_named(&self, name: &str, unit: Option<&str>) -> Result<Option<TypeId>, DebugError> {
        match self.find(Class::Type, name, unit)? {
            Some(Hit::Entry(id)) => Ok(Some(id.into())),
            _ => Ok(None),
        }
    }

    /// What a type is, typedefs and qualifiers looked through. A structure that is only declared in its own unit is
    /// looked up in the others.
    pub fn type_kind(&self, id: TypeId) -> Result<TypeKind, DebugError> {
        self.dwarf()?.kind(id)
    }

    /// A type's name as C writes it: `ngx_pool_t *`, `u_char [16]`.
    pub fn type_name(&self, id: TypeId) -> Result<String, DebugError> {
        self.dwarf()?.type_name(Some(id))
    }

    /// Size in bytes of a value of that type; `None` for what has none (functions, `void`, flexible arrays).
    pub fn type_size(&self, id: TypeId) -> Result<Option<u64>, DebugError> {
        self.dwarf()?.size(id)
    }

    /// A global or file-static variable with its type. `unit` is the source file looked at first; it tells static
    /// variables of one name apart. `None` if there is no such variable, or if it was optimised away.
    pub fn variable(&self, name: &str, unit: Option<&str>) -> Result<Option<Variable>, DebugError> {
        variables::find(self.dwarf()?, || self.symbol(name), name, unit)
    }

    /// Several variables, looked for in one pass, in the order of the names.
    pub fn variables(&self, names: &[&str], unit: Option<&str>) -> Result<Vec<Option<Variable>>, DebugError> {
        let dwarf = self.dwarf()?;
        if let Some(unit) = unit {
            // The answers are remembered, so that each variable is at hand below.
            index::find(dwarf, Class::Variable, names, First::Source(unit))?;
        }
        names.iter().map(|name| self.variable(name, unit)).collect()
    }

    /// The value of an enumeration constant.
    pub fn enumerator(&self, name: &str) -> Result<Option<i128>, DebugError> {
        match self.find(Class::Enumerator, name, None)? {
            Some(Hit::Value(value)) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    /// The symbol of that name; a global one goes before local ones.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols().by_name(name)
    }

    /// The address of a function or variable by its symbol. `None` for thread-local variables.
    pub fn symbol_address(&self, name: &str) -> Option<FileAddr> {
        self.symbol(name).filter(|symbol| symbol.kind != SymbolKind::ThreadLocal).map(|symbol| symbol.address)
    }

    /// The offset of a thread-local variable in the module's TLS block.
    pub fn tls_offset(&self, name: &str) -> Option<u64> {
        self.symbol(name).filter(|symbol| symbol.kind == SymbolKind::ThreadLocal).map(|symbol| symbol.address.0)
    }

    /// The function or variable that covers an address, and how far into it the address lies.
    pub fn symbol_at(&self, address: FileAddr) -> Option<(Symbol, u64)> {
        self.symbols().at(address)
    }

    /// Where each function whose name begins with `prefix` lies, and how many bytes it has, as far as symbols tell.
    pub fn functions_with(&self, prefix: &str) -> Vec<(FileAddr, u64)> {
        self.functions_named(|name| name.starts_with(prefix))
    }

    /// The same of each function whose name is `wanted`. A part that the compiler has split off has a name of its own
    /// (`systrim.constprop.0`, `malloc.cold`).
    pub fn functions_named(&self, wanted: impl Fn(&str) -> bool) -> Vec<(FileAddr, u64)> {
        self.symbols().functions_named(wanted)
    }

    /// Has call frame information in memory, so that a walk of a stack need not wait for it.
    pub fn touch_frames(&self) {
        unwind::touch(&self.binary);
    }

    /// The function and source line of an instruction; `None` where the debug info has no code there.
    pub fn line_at(&self, address: FileAddr) -> Result<Option<SourceLine>, DebugError> {
        let dwarf = self.dwarf()?;
        let lines = self.lines.get_or_init(|| Lines::open(dwarf)).as_ref().map_err(Clone::clone)?;
        lines.at(dwarf, address)
    }

    /// Every place that calls the function `callee`, in address order, as far as the compiler recorded it (gcc does at
    /// `-O1` and above). `unit` restricts the search to one source file.
    pub fn call_sites(&self, callee: &str, unit: Option<&str>) -> Result<Vec<CallSite>, DebugError> {
        let calls = calls::find(self.dwarf()?, self.binary.machine(), callee, unit)?;
        let site = |call: calls::Call| {
            let source = self.line_at(call.address)?.unwrap_or_default();
            Ok(CallSite { address: call.address, source, arguments: call.arguments })
        };
        calls.into_iter().map(site).collect()
    }

    /// What the module's source files work with: their variables, functions and structures. Collected at the first call.
    pub fn catalogue(&self) -> Result<&Catalogue, DebugError> {
        let dwarf = self.dwarf()?;
        self.catalogue.get_or_init(|| Catalogue::read(dwarf)).as_ref().map_err(Clone::clone)
    }

    /// What a pointer leads to whose target has that type (`None` for `void *`), as [`TypeKind::Pointer`] states it. Unlike
    /// [`DebugInfo::type_kind`] this reads no layout, and searches no other unit for a structure that is only declared.
    pub fn pointee(&self, target: Option<TypeId>) -> Result<Pointee, DebugError> {
        self.catalogue()?.pointee(self.dwarf()?, target)
    }

    fn find(&self, class: Class, name: &str, unit: Option<&str>) -> Result<Option<Hit>, DebugError> {
        index::find_one(self.dwarf()?, class, name, First::source(unit))
    }

    /// The DWARF, with the sections that every question needs inflated side by side.
    fn dwarf(&self) -> Result<&Dwarf, DebugError> {
        let dwarf = self.dwarf.as_ref().ok_or_else(|| DebugError::NoDebugInfo {
            module: self.path.clone(),
            build_id: self.build_id().cloned(),
            tried: self.tried.clone(),
            hint: locate::package_hint(&self.path),
        })?;
        self.inflated.get_or_init(|| dwarf.main.prefetch(&file::TYPE_SECTIONS));
        Ok(dwarf)
    }

    fn symbols(&self) -> &Symbols {
        self.symbols.get_or_init(|| match &self.found {
            Some((debug, _)) if !Arc::ptr_eq(debug, &self.binary) => Symbols::read(&[debug, &self.binary]),
            _ => Symbols::read(&[&self.binary]),
        })
    }
}
