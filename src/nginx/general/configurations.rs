//! Tables of configurations: `void **` by declaration, with one entry for each module of a protocol.

use super::candidates::{Candidate, Fit, Question};
use super::evidence::LARGEST;
use super::explorer::Explorer;
use super::graph::{How, Step};
use super::modules::CORE;
use super::shape::{Shape, TypeRef};
use super::steps::Visit;
use crate::addr::Addr;
use std::rc::Rc;

/// Parameters and helpers of functions that make configurations.
const PASSING: [&str; 5] = ["ngx_conf_s", "ngx_cycle_s", "ngx_pool_s", "ngx_log_s", "ngx_command_s"];

impl Explorer<'_> {
    /// A member that is `void **` or has more stars: a table, if it bears the name of one.
    pub(super) fn table_of_modules(&mut self, visit: &Visit<'_>, member: u32, table: Addr) {
        let Some(name) = visit.shape.members.get(member as usize).map(|member| member.name.clone()) else { return };
        let kind = name.rsplit('.').next().unwrap_or_default();
        if &*visit.shape.name == "ngx_cycle_s" && kind == "conf_ctx" {
            return self.core_configurations(visit, member, table);
        }
        if kind != "ctx" && !kind.ends_with("conf") || !table.is_aligned(8) {
            return;
        }
        let Some(protocol) = self.protocol_of(&visit.shape.name) else { return };
        for index in 0..self.modules.len() {
            let Some(module) = self.modules.get(index).filter(|module| module.protocol == protocol) else { continue };
            let Some(entry) = self.word(table + module.context_index.wrapping_mul(8)) else { break };
            self.configuration(visit, member, index as u32, kind, Addr(entry));
        }
    }

    /// The protocol that a structure belongs to, by the start of its name.
    fn protocol_of(&self, structure: &str) -> Option<Box<str>> {
        let fits = |protocol: &str| {
            !protocol.is_empty() && structure.strip_prefix(protocol).is_some_and(|rest| rest.starts_with('_'))
        };
        let protocols = self.modules.iter().map(|module| &module.protocol).filter(|protocol| fits(protocol));
        protocols.max_by_key(|protocol| protocol.len()).cloned()
    }

    /// `ngx_cycle->conf_ctx`: an entry is the configuration of a core module, or holds the tables of a protocol.
    fn core_configurations(&mut self, visit: &Visit<'_>, member: u32, table: Addr) {
        for index in 0..self.modules.len() {
            let Some(module) = self.modules.get(index).cloned() else { continue };
            if &*module.protocol != CORE {
                continue;
            }
            let Some(entry) = self.word(table + module.index.wrapping_mul(8)).map(Addr) else { break };
            if entry.is_null() {
                continue;
            }
            let protocol = module.name.strip_suffix("_module").unwrap_or_default();
            let context = self.shapes.named(&format!("{protocol}_conf_ctx_t"));
            if let Some(shape) = context.and_then(|context| self.shapes.of(context)) {
                self.follow_module(visit, member, index as u32, entry, &shape, false);
            } else if self.modules.iter().any(|other| other.block.as_ref() == Some(&module.name)) {
                self.block_configurations(visit, member, &module.name, entry);
            } else {
                self.configuration(visit, member, index as u32, "conf", entry);
            }
        }
    }

    /// The table behind one more pointer.
    fn block_configurations(&mut self, visit: &Visit<'_>, member: u32, block: &str, entry: Addr) {
        let Some(table) = self.word(entry).map(Addr) else { return };
        for index in 0..self.modules.len() {
            let of_block = |block_of: &Option<Box<str>>| block_of.as_deref() == Some(block);
            let Some(module) = self.modules.get(index).filter(|module| of_block(&module.block)) else { continue };
            let Some(entry) = self.word(table + module.context_index.wrapping_mul(8)) else { break };
            self.configuration(visit, member, index as u32, "conf", Addr(entry));
        }
    }

    /// One module's entry of a table of that kind.
    fn configuration(&mut self, visit: &Visit<'_>, member: u32, module: u32, kind: &str, entry: Addr) {
        if entry.is_null() || !entry.is_aligned(8) || !self.is_followed(entry) {
            return;
        }
        let known = self.configuration_types(module, kind);
        let certain = match &known[..] {
            [only] if only.prior >= CERTAIN => self.shapes.of(only.to),
            [first, second, ..] if first.prior >= CERTAIN && second.prior < CERTAIN => self.shapes.of(first.to),
            _ => None,
        };
        if let Some(shape) = certain {
            let fits = self.evidence(&shape, entry).is_some() || shape.size > LARGEST;
            return self.follow_module(visit, member, module, entry, &shape, !fits);
        }
        let answer = match self.weigh(&known, Fit::Any, &[entry], visit.node.guesses) {
            Some(answer) => Some(answer),
            None => {
                let Some(info) = self.modules.get(module as usize) else { return };
                // Handlers of no address keep questions about different tables of one module apart.
                let (owner, handler) = (info.owner, Addr(u64::from(module) + 1));
                let guesses = visit.node.guesses;
                let question = Question { holder: visit.shape.id, member, owner, handler, guesses };
                self.infer(question, &[], Fit::Any, &[entry])
            }
        };
        if let Some(answer) = answer {
            self.follow_module(visit, member, module, entry, &answer.shape, true);
        }
    }

    fn follow_module(
        &mut self,
        visit: &Visit<'_>,
        member: u32,
        module: u32,
        entry: Addr,
        shape: &Rc<Shape>,
        inferred: bool,
    ) {
        let Some(info) = self.modules.get(module as usize) else { return };
        // The tables of a protocol belong to none of its modules.
        let owner = if shape.name.ends_with("_conf_ctx_t") { visit.node.owner } else { info.owner };
        let step = Step { member, index: module, how: How::Module, inferred };
        self.follow(visit, step, entry, shape, owner);
    }

    /// The structures that a module's entry of a kind of table can be, by its function that makes it and by the habit of
    /// names.
    fn configuration_types(&mut self, module: u32, kind: &str) -> Rc<[Candidate]> {
        if let Some(known) = self.configuration_memo.get(&(module, kind.into())) {
            return known.clone();
        }
        let mut found: Vec<Candidate> = Vec::new();
        if let Some(info) = self.modules.get(module as usize) {
            let creator = info.creators.iter().find(|(made, _)| &**made == kind);
            let made = creator.map(|(_, function)| self.made_by(*function)).unwrap_or_default();
            let only = made.len() == 1;
            found.extend(made.into_iter().map(|to| Candidate { to, prior: if only { CERTAIN } else { 3 } }));
            let prefix = info.name.strip_suffix("_module").unwrap_or(&info.name);
            for to in self.by_habit(prefix, kind) {
                match found.iter_mut().find(|candidate| candidate.to == to) {
                    Some(candidate) => candidate.prior += CERTAIN,
                    None => found.push(Candidate { to, prior: 5 }),
                }
            }
        }
        found.sort_by_key(|candidate| (-candidate.prior, candidate.to));
        let found: Rc<[Candidate]> = found.into();
        self.configuration_memo.insert((module, kind.into()), found.clone());
        found
    }

    /// The structures that a function which makes a configuration has pointers to.
    fn made_by(&self, function: Addr) -> Vec<TypeRef> {
        let Some((module, id)) = self.function_at(function) else { return Vec::new() };
        let Some(of) = self.shapes.module(module) else { return Vec::new() };
        let mut made = Vec::new();
        for pointer in of.catalogue.function(id).map(|function| &*function.pointers).unwrap_or_default() {
            let is_passing = |name: &str| PASSING.contains(&name);
            let structure = of.catalogue.structure(pointer.structure);
            if !pointer.parameter && !pointer.indirect && structure.is_some_and(|found| !is_passing(&found.name)) {
                let to = self.shapes.canonical(TypeRef { module, structure: pointer.structure });
                if !made.contains(&to) {
                    made.push(to);
                }
            }
        }
        made
    }

    fn by_habit(&self, prefix: &str, kind: &str) -> Vec<TypeRef> {
        let last = kind.rsplit('_').next().unwrap_or_default();
        let names = [format!("{prefix}_{kind}_t"), format!("{prefix}_{kind}_s"), format!("{prefix}_{last}_t")];
        let names = names.into_iter().chain([format!("{prefix}_{last}_s")]);
        let mut found: Vec<TypeRef> = names.filter_map(|name| self.shapes.named(&name)).collect();
        found.iter_mut().for_each(|to| *to = self.shapes.canonical(*to));
        found.dedup();
        found
    }
}

/// A candidate that the code leaves no doubt about.
const CERTAIN: i32 = 10;
