//! The traversal as a whole.

use super::blocks::Blocks;
use super::candidates::{Candidate, Memo};
use super::found::{ChunkEntry, Found, PoolEntry};
use super::graph::{Graph, How, Node, NodeId};
use super::layouts::Layouts;
use super::lookup::Lookup;
use super::modules::{FileId, NginxModuleInfo, VariablesByAddress, variables_by_address};
use super::shape::{Held, Shape, ShapeId, What};
use super::shapes::{Module, Shapes};
use super::steps::LARGEST;
use super::{Budget, Exploration, FoundChunk, FoundPool, Input, Place};
use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Memory, word_at};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;
use std::time::Instant;

/// Bytes of the target's memory that are kept.
const CACHE: usize = 8 << 20;

/// How many of those that wait are looked at in one round.
const LOOKS: usize = 1 << 16;

/// How far a chain is looked along, whose first links led to nothing.
const MAX_ROW: usize = 256;

/// Rounds of looking at what waits. Each finds something, or is the last.
const MAX_ROUNDS: usize = 16;

/// Objects between two looks at the clock.
const BETWEEN_CLOCKS: usize = 256;

/// Objects that are read at once.
const AHEAD: usize = 256;

/// Who an object belongs to: a module, or a source file whose variable leads to it.
pub(super) struct Owner {
    pub(super) name: Box<str>,
    /// Its source file.
    pub(super) unit: Option<FileId>,
}

/// An exploration under way.
pub(super) struct Explorer<'a> {
    pub(super) memory: Blocks<'a>,
    pub(super) places: Lookup<'a>,
    pub(super) shapes: Shapes<'a>,
    pub(super) layouts: Layouts,
    pub(super) variables: VariablesByAddress,
    pub(super) modules: Vec<NginxModuleInfo>,
    pub(super) owners: Vec<Owner>,
    /// Roots whose names mean something in one source file only, which is named.
    pub(super) file_statics: FxHashMap<ShapeId, Box<str>>,
    pub(super) graph: Graph,
    pub(super) found: Found,
    /// Queues, trees and hashes that were walked, queues with all their links.
    pub(super) walked: FxHashSet<Addr>,
    pub(super) free_connections: FxHashSet<Addr>,
    pub(super) memo: Memo,
    /// What a module's configurations of a kind can be.
    pub(super) configuration_memo: FxHashMap<(u32, Box<str>), Rc<[Candidate]>>,
    budget: Budget,
    started: Instant,
    problems: Vec<String>,
}

impl<'a> Explorer<'a> {
    /// Gets ready: catalogues of all modules that have debug info, and the layouts of containers.
    pub(super) fn new(input: &Input<'a>) -> Explorer<'a> {
        let started = Instant::now();
        let (mut modules, mut problems) = (Vec::new(), Vec::new());
        for module in input.modules {
            match module.debug.catalogue() {
                Ok(catalogue) => {
                    problems.extend(catalogue.problems().first().map(ToString::to_string));
                    modules.push(Module { debug: module.debug, bias: module.bias, catalogue });
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        let shapes = Shapes::new(modules);
        let layouts = Layouts::read(&shapes);
        Explorer {
            memory: Blocks::new(input.memory, CACHE),
            places: Lookup::new(input.places),
            variables: variables_by_address(&shapes),
            layouts,
            shapes,
            modules: Vec::new(),
            owners: Vec::new(),
            file_statics: FxHashMap::default(),
            graph: Graph::default(),
            found: Found::default(),
            walked: FxHashSet::default(),
            free_connections: FxHashSet::default(),
            memo: Memo::default(),
            configuration_memo: FxHashMap::default(),
            budget: input.budget,
            started,
            problems,
        }
    }

    /// Explores.
    pub(super) fn run(mut self) -> Exploration {
        let cycle = self.variable_address("ngx_cycle").and_then(|at| self.word(at)).map(Addr);
        self.read_modules(cycle);
        if let Some(cycle) = cycle {
            self.find_free_connections(cycle);
        }
        self.add_roots();
        for _ in 0..MAX_ROUNDS {
            if !self.visit_all() || !self.look_at_waiting() {
                break;
            }
        }
        self.finish()
    }

    /// Visits objects until none is left. False if the budget ends before.
    fn visit_all(&mut self) -> bool {
        let mut visited = 0usize;
        let mut ahead = 0;
        while let Some(id) = self.graph.next() {
            if ahead == 0 {
                ahead = self.read_ahead(self.graph.node(id).into_iter().chain(self.graph.upcoming(AHEAD)));
            }
            ahead = ahead.saturating_sub(1);
            self.visit(id);
            visited += 1;
            if visited.is_multiple_of(BETWEEN_CLOCKS) && self.is_used_up() {
                return false;
            }
        }
        true
    }

    /// Reads objects that will soon be looked at, in one go. Gives their number.
    fn read_ahead(&self, nodes: impl Iterator<Item = Node>) -> usize {
        let mut count = 0;
        self.memory.read_ahead(nodes.inspect(|_| count += 1).filter_map(|node| {
            let shape = self.shapes.get(node.shape).filter(|shape| shape.size <= LARGEST)?;
            Some(AddrRange::sized(node.address, shape.size))
        }));
        count
    }

    /// True, and a problem noted, if the budget is used up.
    fn is_used_up(&mut self) -> bool {
        let used = if self.graph.len() > self.budget.objects {
            Some(format!("{} objects", self.graph.len()))
        } else if self.memory.bytes() > self.budget.bytes {
            Some(format!("{} bytes of memory", self.memory.bytes()))
        } else if self.started.elapsed() > self.budget.time {
            Some(format!("{:.1} seconds", self.budget.time.as_secs_f64()))
        } else {
            None
        };
        if let Some(used) = &used {
            self.problems.push(format!("the search by types ended after {used}, before it had seen everything"));
        }
        used.is_some()
    }

    /// Looks at the objects whose like led to nothing, without going further than their own pointers. True if there is
    /// more to visit for it.
    fn look_at_waiting(&mut self) -> bool {
        let waiting = self.graph.take_waiting();
        // Where there are too many, all parts of a long array are looked at rather than its start.
        let stride = waiting.len().div_ceil(LOOKS).max(1);
        let mut admitted = false;
        for some in waiting.chunks(stride * BETWEEN_CLOCKS) {
            if self.is_used_up() {
                return admitted;
            }
            self.read_ahead(some.iter().step_by(stride).copied());
            for node in some.iter().step_by(stride) {
                if let Some(node) = self.worth_visiting(*node) {
                    self.graph.admit(node);
                    admitted = true;
                }
            }
        }
        if stride > 1 {
            self.problems.push(format!("of {} alike objects one in {stride} was looked at", waiting.len()));
        }
        admitted
    }

    /// The object, or one that is chained to it, if it has a pointer to something that was not found yet.
    fn worth_visiting(&self, node: Node) -> Option<Node> {
        let shape = self.shapes.get(node.shape).filter(|shape| shape.size <= LARGEST)?;
        let link = shape.members.get(node.step.member as usize).map(|member| member.offset);
        let is_chain = node.row > 1 && node.step.how == How::Pointer;
        let mut at = node.address;
        let mut bytes = vec![0; shape.size as usize];
        for _ in 0..MAX_ROW {
            self.memory.read(at, &mut bytes).ok()?;
            if self.has_news(&shape, &bytes) {
                return Some(node.moved_to(at));
            }
            at = Addr(word_at(&bytes, link.filter(|_| is_chain)?));
            if !self.is_followed(at) {
                break;
            }
        }
        None
    }

    /// True if a member leads straight to a pool or chunk that was not found yet.
    fn has_news(&self, shape: &Shape, bytes: &[u8]) -> bool {
        shape.members.iter().any(|member| {
            let value = Addr(word_at(bytes, member.offset));
            match &member.what {
                What::Pool => self.places.pool_at(value).is_some_and(|index| !self.found.pools.contains_key(&index)),
                What::Structure(..) | What::Table(..) | What::Opaque(_) | What::Void | What::Bytes => {
                    self.is_new_chunk(value)
                }
                What::Container(_, Held::Pointed) => self.is_new_chunk(value),
                _ => false,
            }
        })
    }

    fn is_new_chunk(&self, value: Addr) -> bool {
        !value.is_null()
            && matches!(self.places.at(value), Place::Chunk { start, .. } if start == value && !self.found.chunks.contains_key(&start))
    }

    fn finish(mut self) -> Exploration {
        let mut pools: Vec<PoolEntry> = self.found.pools.values().copied().collect();
        pools.sort_unstable_by_key(|entry| entry.pool);
        let found = std::mem::take(&mut self.found.chunks);
        let mut chunks: Vec<(Addr, ChunkEntry)> = found.into_iter().collect();
        chunks.sort_unstable_by_key(|(start, _)| *start);
        if self.graph.dropped > 0 {
            self.problems.push(format!("{} objects were left out because too many waited", self.graph.dropped));
        }
        self.problems.extend(self.shapes.trouble.as_ref().map(ToString::to_string));
        Exploration {
            pools: pools.iter().map(|entry| self.pool_row(entry)).collect(),
            chunks: chunks.iter().map(|(start, entry)| self.chunk_row(*start, entry)).collect(),
            objects: self.graph.len() as u64,
            problems: self.problems,
        }
    }

    fn pool_row(&self, entry: &PoolEntry) -> FoundPool {
        FoundPool {
            pool: entry.pool,
            path: self.path(&entry.pointer),
            inferred: entry.pointer.inferred,
            module: self.whose(entry.pointer.node),
            by_container: entry.by_container,
        }
    }

    fn chunk_row(&self, memory: Addr, entry: &ChunkEntry) -> FoundChunk {
        FoundChunk {
            memory,
            path: self.path(&entry.pointer),
            inferred: entry.pointer.inferred,
            type_name: entry.type_name.to_string(),
            module: self.whose(entry.pointer.node),
            interior: entry.interior,
        }
    }

    /// The module or source file that an object belongs to.
    fn whose(&self, node: NodeId) -> Option<String> {
        let owner = self.graph.node(node)?.owner;
        self.owners.get(owner as usize).map(|owner| owner.name.to_string())
    }
}
