//! Which structures something untyped can be, by the code that uses it; and which of them the bytes agree with.

use super::evidence::POOL;
use super::explorer::Explorer;
use super::shape::{Container, Held, Origin, Shape, ShapeId, TypeRef, What};
use crate::addr::Addr;
use crate::debug::{Function, FunctionId};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// A structure that has more users than this is in everybody's hands: that a function has it tells nothing.
const MAX_USERS: usize = 256;

/// A candidate that a handler, a function that makes it, or its name speaks for.
const KNOWN: i32 = 5;

/// Candidates that are tried for one question.
const MAX_CANDIDATES: usize = 32;

/// Elements that are looked at for one answer.
const SAMPLES: usize = 6;

/// Questions that were answered with nothing this often are not asked again.
const PATIENCE: u32 = 64;

/// Structures that code has in its hands while it works, and that nothing untyped is.
const PASSING: [&str; 10] = [
    "ngx_pool_s",
    "ngx_log_s",
    "ngx_conf_s",
    "ngx_queue_s",
    "ngx_rbtree_node_s",
    "ngx_rbtree_s",
    "ngx_array_t",
    "ngx_list_part_s",
    "ngx_list_t",
    "ngx_cycle_s",
];

/// What is asked: what a member of a shape holds, in code of an owner, with a handler beside it (or zero).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Question {
    pub(super) holder: ShapeId,
    pub(super) member: u32,
    pub(super) owner: u32,
    pub(super) handler: Addr,
    /// How many steps to the holder were themselves inferred.
    pub(super) guesses: u8,
}

/// A structure that may be the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) to: TypeRef,
    /// How much the code speaks for it.
    pub(super) prior: i32,
}

/// What the samples of a question look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// They are structures of that size, one after the other.
    Size(u64),
    /// They are structures of some size.
    Any,
    /// They are links of a queue, each in a structure.
    Link,
    /// They are nodes of a tree, each in a structure.
    TreeNode,
}

/// What something untyped was found to be.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) shape: Rc<Shape>,
    /// Bytes from the start of the structure to where the samples lie in it.
    pub(super) offset: u64,
}

/// What was asked and answered before.
#[derive(Default)]
pub(super) struct Memo {
    candidates: FxHashMap<Question, Rc<[Candidate]>>,
    answers: FxHashMap<(Question, bool, u64), (ShapeId, u64)>,
    failures: FxHashMap<(Question, u64), u32>,
}

impl Explorer<'_> {
    /// The structure that the samples are; `None` if no candidate fits them, or none more than by chance.
    pub(super) fn infer(
        &mut self,
        question: Question,
        handlers: &[Addr],
        fit: Fit,
        samples: &[Addr],
    ) -> Option<Answer> {
        let samples = samples.get(..samples.len().min(SAMPLES))?;
        let first = *samples.first()?;
        let size = if let Fit::Size(size) = fit { size } else { 0 };
        let key = (question, matches!(fit, Fit::Link | Fit::TreeNode), size);
        if let Some((shape, offset)) = self.memo.answers.get(&key).copied()
            && let Some(shape) = self.shapes.get(shape)
            && self.evidence(&shape, first - offset).is_some_and(|weight| weight * 2 >= least(fit, 0, question.guesses))
        {
            return Some(Answer { shape, offset });
        }
        if self.memo.failures.get(&(question, size)).is_some_and(|failures| *failures >= PATIENCE) {
            return None;
        }
        let candidates = self.candidates(question, handlers);
        let answer = self.weigh(&candidates, fit, samples, question.guesses);
        match &answer {
            Some(answer) => drop(self.memo.answers.insert(key, (answer.shape.id, answer.offset))),
            None => *self.memo.failures.entry((question, size)).or_default() += 1,
        }
        answer
    }

    /// The candidate that the samples speak for most.
    pub(super) fn weigh(
        &mut self,
        candidates: &[Candidate],
        fit: Fit,
        samples: &[Addr],
        guesses: u8,
    ) -> Option<Answer> {
        let mut best: Option<(i32, Answer)> = None;
        for candidate in candidates {
            let size = self.shapes.structure(candidate.to).and_then(|structure| structure.size);
            if matches!(fit, Fit::Size(wanted) if size != Some(wanted)) {
                continue;
            }
            let Some(shape) = self.shapes.of(candidate.to) else { continue };
            for offset in offsets(&shape, fit) {
                let Some(weight) = self.weight(&shape, offset, samples) else { continue };
                let total = candidate.prior + weight;
                let is_better = best.as_ref().is_none_or(|(most, _)| total > *most);
                if is_better && weight >= least(fit, candidate.prior, guesses) {
                    best = Some((total, Answer { shape: shape.clone(), offset }));
                }
            }
        }
        best.map(|(_, answer)| answer)
    }

    /// What the samples say together; `None` if one of them is no such structure.
    fn weight(&self, shape: &Shape, offset: u64, samples: &[Addr]) -> Option<i32> {
        let mut total = 0;
        for sample in samples {
            total += self.evidence(shape, *sample - offset)?;
        }
        Some(total * 2 / samples.len().max(1) as i32)
    }

    /// The candidates for a question, the likeliest first.
    fn candidates(&mut self, question: Question, handlers: &[Addr]) -> Rc<[Candidate]> {
        if let Some(known) = self.memo.candidates.get(&question) {
            return known.clone();
        }
        let mut votes = Votes { explorer: self, priors: FxHashMap::default() };
        votes.by_handlers(handlers);
        votes.by_holder(question);
        votes.by_owner(question.owner);
        let found: Rc<[Candidate]> = votes.count().into();
        self.memo.candidates.insert(question, found.clone());
        found
    }

    /// The function that starts at a running address, with its module.
    pub(super) fn function_at(&self, address: Addr) -> Option<(u16, FunctionId)> {
        let mut modules = (0u16..).zip(self.shapes.modules());
        modules.find_map(|(index, module)| Some((index, module.catalogue.function_at(module.bias.to_file(address))?)))
    }
}

/// Collects what speaks for each structure.
struct Votes<'e, 'a> {
    explorer: &'e Explorer<'a>,
    priors: FxHashMap<TypeRef, i32>,
}

impl Votes<'_, '_> {
    /// A handler takes what lies beside it into a variable of the right type.
    fn by_handlers(&mut self, handlers: &[Addr]) {
        for handler in handlers {
            let Some((module, id)) = self.explorer.function_at(*handler) else { continue };
            self.function(module, id, |parameter| if parameter { 1 } else { 6 }, "");
        }
    }

    /// A function that has the holder has what it holds, too.
    fn by_holder(&mut self, question: Question) {
        let Some(shape) = self.explorer.shapes.get(question.holder) else { return };
        let member = shape.members.get(question.member as usize).map(|member| member.name.to_string());
        let member = member.unwrap_or_default();
        match shape.origin {
            Origin::Variable { module, unit } => self.unit(module, unit, 2, &member),
            Origin::Structure(holder) => {
                for (module, id) in self.users(holder, &shape.name) {
                    self.function(module, id, |_| 2, &member);
                }
                let unit = self.explorer.shapes.structure(holder).and_then(|structure| structure.unit);
                if let Some(unit) = unit {
                    self.unit(holder.module, unit, 1, &member);
                }
            }
        }
    }

    fn users(&self, holder: TypeRef, name: &str) -> Vec<(u16, FunctionId)> {
        let mut users = Vec::new();
        for (index, module) in (0u16..).zip(self.explorer.shapes.modules()) {
            let same = match index == holder.module {
                true => Some(holder.structure),
                false => module.catalogue.definition(name),
            };
            let here = same.map(|same| module.catalogue.users(same)).unwrap_or_default();
            users.extend(here.iter().map(|id| (index, *id)));
        }
        if users.len() > MAX_USERS { Vec::new() } else { users }
    }

    /// The source file of the module at hand, and the structures named after the module.
    fn by_owner(&mut self, owner: u32) {
        let Some(owner) = self.explorer.owners.get(owner as usize) else { return };
        if let Some((module, unit)) = owner.unit {
            self.unit(module, unit, 1, "");
        }
    }

    fn unit(&mut self, module: u16, unit: u32, weight: i32, member: &str) {
        let Some(of) = self.explorer.shapes.module(module) else { return };
        let functions = of.catalogue.units().get(unit as usize).map_or(0, |unit| unit.functions.len());
        for function in 0..functions as u32 {
            self.function(module, FunctionId { unit, function }, |_| weight, member);
        }
    }

    /// Each structure that the function points to gets that weight, once; one whose variable bears the member's name gets
    /// more.
    fn function(&mut self, module: u16, id: FunctionId, weight: impl Fn(bool) -> i32, member: &str) {
        let Some(of) = self.explorer.shapes.module(module) else { return };
        let Some(function) = of.catalogue.function(id) else { return };
        let Function { pointers, .. } = function;
        for pointer in pointers {
            let Some(structure) = of.catalogue.structure(pointer.structure) else { continue };
            if structure.size.is_none() || PASSING.contains(&&*structure.name) {
                continue;
            }
            let to = self.explorer.shapes.canonical(TypeRef { module, structure: pointer.structure });
            let alike = if is_alike(of.catalogue.name(pointer), member) { 2 } else { 0 };
            let prior = self.priors.entry(to).or_default();
            *prior = (*prior).max(weight(pointer.parameter) + alike);
        }
    }

    fn count(self) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = self.priors.into_iter().map(|(to, prior)| Candidate { to, prior }).collect();
        all.sort_by_key(|candidate| (-candidate.prior, candidate.to));
        all.truncate(MAX_CANDIDATES);
        all
    }
}

/// How much the bytes must speak for a candidate. Where the code leaves little doubt, little. Guesses upon guesses must
/// end in exact pools: anything else is found in any memory, if one only looks long enough.
fn least(fit: Fit, prior: i32, guesses: u8) -> i32 {
    if prior >= KNOWN {
        return 2;
    }
    let alone = match fit {
        Fit::Size(_) => 2,
        Fit::Any => 6,
        // The link itself is one by the way that led there.
        Fit::Link | Fit::TreeNode => 10,
    };
    match guesses {
        0 => alone,
        1 => alone.max(12),
        _ => POOL,
    }
}

/// True if a variable is called as a member is, in the singular or plural.
fn is_alike(variable: &str, member: &str) -> bool {
    let last = member.rsplit('.').next().unwrap_or_default();
    let singular = |name: &str| match name.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => name.strip_suffix('s').unwrap_or(name).to_owned(),
    };
    !last.is_empty() && singular(variable) == singular(last)
}

/// Where in a structure samples can lie.
fn offsets(shape: &Shape, fit: Fit) -> Vec<u64> {
    let wanted = match fit {
        Fit::Any => return vec![0],
        Fit::Size(size) if shape.size == size => return vec![0],
        Fit::Size(_) => return Vec::new(),
        Fit::Link => What::Container(Container::Queue, Held::Embedded),
        Fit::TreeNode => What::TreeNode,
    };
    shape.members.iter().filter(|member| member.what == wanted).map(|member| member.offset).collect()
}

#[cfg(test)]
mod tests {
    use super::is_alike;

    #[test]
    fn a_variable_is_named_as_the_member_is() {
        assert!(is_alike("entry", "conf.entries"));
        assert!(is_alike("server", "servers"));
        assert!(is_alike("opaque", "opaque"));
        assert!(!is_alike("r", "servers"));
        assert!(!is_alike("", ""));
    }
}
