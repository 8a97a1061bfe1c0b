//! A target of which everything is known but what its memory holds.

use super::modules::LoadedModule;
use crate::addr::Addr;
use crate::debug::Symbol;
use crate::malloc::allocator::{Allocator, recognise};
use crate::malloc::layout::{LayoutError, MallocLayout};
use crate::malloc::read::MallocRoots;
use crate::nginx::builtin::BuiltIn;
use crate::nginx::layout::PoolLayout;
use crate::nginx::lua::LuaCode;
use crate::nginx::owner::{DynamicModule, FINDERS, NginxModule, OwnerFinder};
use crate::snapshot::model::{LayoutSource, Limits, ProcessInfo, SourceInfo};
use crate::target::maps::Maps;
use crate::target::memory::Memory;
use std::time::SystemTime;

/// glibc's side: what is needed to walk its heap.
pub struct Glibc {
    /// Structure layouts.
    pub layout: MallocLayout,
    /// Where its variables are.
    pub roots: MallocRoots,
}

/// nginx's side: what is needed to find pools.
pub struct Nginx {
    /// Layout of pools.
    pub pools: PoolLayout,
    /// One for each kind of owner that the binary can have.
    pub finders: Vec<Box<dyn OwnerFinder>>,
    /// The layouts that the finders go by, if they are not from debug info: what is read must agree with them.
    pub built_in: Option<BuiltIn>,
    /// Where the Lua module's code is, if there is one.
    pub lua: Option<LuaCode>,
}

/// A target that is ready to be read.
pub struct Prepared {
    /// Where its memory is read.
    pub source: SourceInfo,
    /// Who it is.
    pub process: ProcessInfo,
    /// How much memory it can get.
    pub limits: Option<Limits>,
    /// When what is shown of it was so, if that is known.
    pub taken_at: Option<SystemTime>,
    /// Its mappings; of a live process with what was resident before the stop.
    pub maps: Maps,
    /// Page size in bytes.
    pub page_size: u64,
    /// Its binary.
    pub binary: LoadedModule,
    /// Its C library, unless that is linked statically.
    pub library: Option<LoadedModule>,
    /// Its other libraries, and modules that nginx has loaded.
    pub others: Vec<LoadedModule>,
    /// Its allocator.
    pub allocator: Allocator,
    /// Where glibc's layouts come from.
    pub glibc_source: LayoutSource,
    /// `None` if the heap cannot be walked.
    pub glibc: Option<Glibc>,
    /// `None` if the target is not nginx.
    pub nginx: Option<Nginx>,
    /// What cannot be told of this target, and why.
    pub notes: Vec<String>,
    /// Whether clients' addresses and what they asked for are to be read at all.
    pub show_clients: bool,
    /// Kinds of owners that are not to be looked for.
    pub without: Vec<String>,
}

/// What is known of a target before its files are.
pub struct About {
    /// Where its memory is read.
    pub source: SourceInfo,
    /// Who it is; what its files tell is added.
    pub process: ProcessInfo,
    /// How much memory it can get.
    pub limits: Option<Limits>,
    /// When what is shown of it was so, if that is known.
    pub taken_at: Option<SystemTime>,
    /// Its mappings.
    pub maps: Maps,
    /// Page size in bytes.
    pub page_size: u64,
    /// What is known to be missing.
    pub notes: Vec<String>,
    /// Whether clients' addresses and what they asked for are to be read.
    pub show_clients: bool,
    /// Kinds of owners that are not to be looked for.
    pub without: Vec<String>,
}

impl Prepared {
    /// A target that runs `binary`, and `library` if its glibc is a library of its own. `memory` is that of the target, which
    /// may be running.
    pub fn new(
        about: About,
        memory: &dyn Memory,
        binary: LoadedModule,
        library: Option<LoadedModule>,
        others: Vec<LoadedModule>,
    ) -> Prepared {
        let About { source, mut process, limits, taken_at, maps, page_size, notes, show_clients, without } = about;
        let allocator = recognise(&maps, |name| binary.debug.symbol(name).is_some());
        process.build_id = binary.debug.build_id().map(|id| id.to_string());
        process.allocator = allocator.name().to_owned();
        if allocator == Allocator::Glibc {
            process.allocator_version = library.as_ref().and_then(|library| library.version.clone());
        }
        let mut prepared = Prepared {
            source,
            process,
            limits,
            taken_at,
            maps,
            page_size,
            binary,
            library,
            others,
            allocator,
            glibc_source: LayoutSource::none(),
            glibc: None,
            nginx: None,
            notes,
            show_clients,
            without,
        };
        prepared.add_glibc();
        prepared.add_nginx(memory);
        prepared
    }

    /// Every file with code that it runs: its binary first, then its C library.
    pub fn modules(&self) -> impl Iterator<Item = &LoadedModule> {
        [Some(&self.binary), self.library.as_ref()].into_iter().flatten().chain(&self.others)
    }

    /// The function or variable that covers an address, how far into it that lies, and the file that has it.
    pub fn symbol_at(&self, address: Addr) -> Option<(Symbol, u64, &LoadedModule)> {
        let module = self.modules().find(|module| module.span.contains(address))?;
        let (symbol, offset) = module.debug.symbol_at(module.bias.to_file(address))?;
        Some((symbol, offset, module))
    }

    fn add_glibc(&mut self) {
        if self.allocator != Allocator::Glibc {
            let name = self.allocator.name();
            self.notes.push(format!(
                "the allocator is {name}, and only glibc's heap can be walked: chunks and pools are not shown"
            ));
            return;
        }
        // Linked statically, glibc's variables are the binary's own.
        let library = self.library.as_ref().unwrap_or(&self.binary);
        match glibc_of(library) {
            Ok(glibc) => {
                self.glibc_source = library.source.clone();
                self.glibc = Some(glibc);
            }
            Err(error) => {
                self.notes.push(format!("the heap cannot be walked: {error}"));
                self.glibc_source = library.source.clone().with_problem("none", error.to_string());
            }
        }
    }

    fn add_nginx(&mut self, memory: &dyn Memory) {
        let is_nginx =
            self.binary.debug.symbol("ngx_create_pool").is_some() || self.process.title.starts_with("nginx:");
        if !is_nginx {
            let name = &self.process.executable;
            self.notes.push(format!("{name} is not nginx: it has no pools"));
            self.binary.source = LayoutSource::none();
            return;
        }
        self.process.server = self.binary.version.clone();
        let (pools, built_in) = match PoolLayout::from_debug(&self.binary.debug) {
            Ok(layout) => (layout, None),
            Err(error) => (PoolLayout::SINCE_0_8_1, Some(self.built_in(memory, &error.to_string()))),
        };
        let (finders, lua) = match &built_in {
            Some(None) => (Vec::new(), None),
            _ => self.make_finders(built_in.as_ref().and_then(Option::as_ref)),
        };
        self.nginx = Some(Nginx { pools, finders, built_in: built_in.flatten(), lua });
    }

    /// Built-in layouts, if the target's memory agrees with them; `error` says why there are none from debug info. Either way
    /// it is said what they are.
    fn built_in(&mut self, memory: &dyn Memory, error: &str) -> Option<BuiltIn> {
        let found = self.with_module(None, |module| BuiltIn::of(memory, |name| module.variable(name)));
        let source = std::mem::take(&mut self.binary.source);
        match found {
            Ok(built_in) => {
                let version = built_in.version();
                let what = format!("layouts are those of nginx {version}, checked against the memory of the process");
                self.notes.push(format!(
                    "only some owners are looked for, those that built-in layouts lead to ({what}): {error}"
                ));
                self.binary.source = source.checked(error.to_owned());
                Some(built_in)
            }
            Err(problem) => {
                self.notes.push(format!(
                    "whose the pools are is not known, and they are found by the layout that they have had since nginx 0.8.1: \
                     {error}; built-in layouts do not help: {problem}"
                ));
                self.binary.source = source.with_problem("built_in", error.to_owned());
                None
            }
        }
    }

    /// What `ask` tells of the binary and of what it has loaded.
    fn with_module<T>(&self, built_in: Option<&BuiltIn>, ask: impl FnOnce(NginxModule<'_>) -> T) -> T {
        let dynamic: Vec<DynamicModule<'_>> = self
            .others
            .iter()
            .map(|other| DynamicModule { debug: &other.debug, bias: other.bias, span: other.span })
            .collect();
        ask(NginxModule {
            debug: &self.binary.debug,
            bias: self.binary.bias,
            dynamic: &dynamic,
            show_clients: self.show_clients,
            runs: self.source.kind == "process",
            built_in,
        })
    }

    fn make_finders(&mut self, built_in: Option<&BuiltIn>) -> (Vec<Box<dyn OwnerFinder>>, Option<LuaCode>) {
        let mut finders: Vec<Box<dyn OwnerFinder>> = Vec::new();
        let mut problems = Vec::new();
        let lua = self.with_module(built_in, |module| {
            for make in FINDERS {
                match make(module) {
                    Ok(finder) => finders.extend(finder),
                    Err(error) => problems.push(format!("one kind of owner is not looked for: {error}")),
                }
            }
            LuaCode::of(module)
        });
        self.notes.extend(problems);
        finders.retain(|finder| self.without.iter().all(|left_out| left_out != finder.what()));
        (finders, lua)
    }
}

fn glibc_of(library: &LoadedModule) -> Result<Glibc, LayoutError> {
    let layout = MallocLayout::from_debug(&library.debug)?;
    let variable = |name: &'static str| {
        let address = library.debug.symbol_address(name);
        let missing = || LayoutError::Variable(name, library.debug.path().display().to_string());
        address.map(|address| library.bias.to_running(address)).ok_or_else(missing)
    };
    let roots = MallocRoots {
        main_arena: variable("main_arena")?,
        par: variable("mp_")?,
        tcache_offset: library.debug.tls_offset("tcache"),
    };
    Ok(Glibc { layout, roots })
}
