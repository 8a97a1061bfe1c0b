//! Groups of chunks outside pools: by what they are, by who points to them, or by nothing doing so.

pub mod kinds;
mod local;
mod lost;
mod names;
mod told;
mod typed;

pub use names::{Names, Place};
pub use typed::TypedChunk;

use super::reach::{Holder, Mark, Node, Rank, Reach};
use super::{Attribution, Claim, Held};
use crate::addr::Addr;
use crate::malloc::heap::{ChunkId, Heap};
use crate::nginx::owner::{OwnerKind, Trust};
use kinds::{
    CXX, HELD_BY_POOL, LIBC, LOADER, LUAJIT, MAPPED, NGINX, OPENSSL, THREAD, THREAD_LOCAL, UNREFERENCED, family,
};
use local::{LocalGroup, LocalGroups};
use rustc_hash::FxHashMap;

impl Attribution {
    /// Gives chunks outside pools to groups by what `reach` has found, and notes how pools without a name are held.
    pub fn add_reach(&mut self, heap: &Heap, reach: &Reach, names: &dyn Names) {
        let mut grouper = Grouper::new(heap, self, reach, names);
        let held = grouper.run();
        let (groups, of_node) = (grouper.groups, grouper.of_node);
        for (pool, held) in held {
            if let Some(owned) = self.pools.get_mut(pool as usize) {
                owned.held = held;
            }
        }
        self.take_groups(heap, reach, groups, &of_node);
    }

    fn take_groups(&mut self, heap: &Heap, reach: &Reach, mut groups: LocalGroups, of_node: &[Option<u32>]) {
        let chunks = || {
            let grouped = reach.nodes.list.iter().zip(of_node);
            grouped.filter_map(|(node, group)| match node {
                Node::Chunk(chunk) => Some((*chunk, (*group)?)),
                Node::Pool(_) => None,
            })
        };
        for (chunk, group) in chunks() {
            groups.count(group, heap.chunk(chunk).size());
        }
        let first = self.groups.len() as u32;
        let numbers = groups.merge_small(&mut self.groups);
        for (chunk, group) in chunks() {
            if let Some(number) = numbers.get(group as usize) {
                self.claim_for_group(chunk, first + number);
            }
        }
    }
}

struct Grouper<'a> {
    heap: &'a Heap,
    attribution: &'a Attribution,
    reach: &'a Reach,
    names: &'a dyn Names,
    groups: LocalGroups,
    /// For each node its group.
    of_node: Vec<Option<u32>>,
    /// What first words say.
    words: FxHashMap<Addr, Option<(&'static OwnerKind, String)>>,
    places: FxHashMap<Addr, Option<Place>>,
}

/// How a pool is held, by its number.
type HeldPools = Vec<(u32, Held)>;

impl<'a> Grouper<'a> {
    fn new(heap: &'a Heap, attribution: &'a Attribution, reach: &'a Reach, names: &'a dyn Names) -> Grouper<'a> {
        Grouper {
            heap,
            attribution,
            reach,
            names,
            groups: LocalGroups::default(),
            of_node: vec![None; reach.holders.len()],
            words: FxHashMap::default(),
            places: FxHashMap::default(),
        }
    }
}

impl Grouper<'_> {
    fn run(&mut self) -> HeldPools {
        self.group_lost();
        let mut held = Vec::new();
        for (number, node) in self.reach.nodes.list.iter().enumerate() {
            let number = number as u32;
            match (node, self.holder(number)) {
                (Node::Pool(pool), Some(Holder::Nothing)) => held.push((*pool, Held::ByNothing)),
                (Node::Pool(pool), Some(holder)) => held.push((*pool, Held::By(self.holder_text(holder)))),
                (Node::Chunk(_), Some(Holder::Nothing)) | (_, None) => {}
                (Node::Chunk(_), Some(_)) => self.group_with_parents(number),
            }
        }
        held
    }

    fn holder(&self, node: u32) -> Option<Holder> {
        self.reach.holders.get(node as usize).copied().flatten()
    }

    fn chunk(&self, node: u32) -> Option<ChunkId> {
        match self.reach.nodes.get(node) {
            Some(Node::Chunk(chunk)) => Some(chunk),
            _ => None,
        }
    }

    fn set(&mut self, node: u32, group: u32) {
        if let Some(place) = self.of_node.get_mut(node as usize) {
            *place = Some(group);
        }
    }

    fn group_of(&self, node: u32) -> Option<u32> {
        self.of_node.get(node as usize).copied().flatten()
    }

    /// Groups a chunk after those that hold it: a list can be long, so this does not call itself.
    fn group_with_parents(&mut self, node: u32) {
        let mut path = vec![node];
        while let Some(last) = path.last().copied() {
            match self.holder(last) {
                Some(Holder::Node(parent)) if self.chunk(parent).is_some() && self.group_of(parent).is_none() => {
                    // Holders lead away from what they hold: no circle.
                    path.push(parent);
                }
                _ => break,
            }
        }
        while let Some(node) = path.pop() {
            if self.group_of(node).is_none()
                && let Some(group) = self.group_one(node)
            {
                self.set(node, group);
            }
        }
    }

    fn group_one(&mut self, node: u32) -> Option<u32> {
        let holder = self.holder(node)?;
        if let Some((kind, name)) = self.mark_name(node) {
            let path = || String::new();
            let known = self.groups.find(kind, &name);
            let text = if known.is_none() { self.holder_text(holder) } else { path() };
            return Some(self.groups.number(LocalGroup::new(kind, name, Trust::Signature, text)));
        }
        match holder {
            Holder::Direct(rank, at) => self.group_held_directly(rank, at),
            Holder::Node(parent) => match self.group_of(parent) {
                Some(group) => Some(self.groups.reached_from(group)),
                None => match self.reach.nodes.get(parent) {
                    Some(Node::Pool(_)) => {
                        let name = "pool without a known owner".to_owned();
                        let text = self.holder_text(holder);
                        Some(self.groups.number(LocalGroup::new(&HELD_BY_POOL, name, Trust::Referenced, text)))
                    }
                    _ => None,
                },
            },
            Holder::Nothing => None,
        }
    }

    fn group_held_directly(&mut self, rank: Rank, at: Addr) -> Option<u32> {
        let (kind, name): (&'static OwnerKind, String) = match rank {
            Rank::Variable => self.variable_group(at),
            Rank::Claimed => match self.claim_at(at)? {
                Claim::Group(group) => {
                    let group = self.attribution.groups.get(group as usize)?;
                    (group.kind, format!("reached from {}", group.name))
                }
                Claim::Pool(_) => return None,
            },
            Rank::Anonymous if self.names.is_thread_local(at) => (&THREAD_LOCAL, "thread-local variables".to_owned()),
            Rank::Anonymous if self.names.has_luajit() => {
                (&LUAJIT, "malloc'ed through LuaJIT (FFI) or held by Lua".to_owned())
            }
            Rank::Anonymous => (&MAPPED, "held by memory that the program has mapped".to_owned()),
            Rank::NamedPool => match self.claim_at(at)? {
                Claim::Pool(pool) => {
                    (&HELD_BY_POOL, self.attribution.pools.get(pool as usize)?.kind().label.to_owned())
                }
                Claim::Group(_) => return None,
            },
            Rank::Possible => return None,
            Rank::Stack if self.names.environment().is_some_and(|range| range.contains(at)) => {
                (&NGINX, "environment".to_owned())
            }
            Rank::Stack => (&THREAD, "stack".to_owned()),
            Rank::Register => (&THREAD, "register".to_owned()),
        };
        let text = match self.groups.find(kind, &name) {
            Some(number) => return Some(number),
            None => self.holder_text(Holder::Direct(rank, at)),
        };
        Some(self.groups.number(LocalGroup::new(kind, name, Trust::Referenced, text)))
    }

    fn variable_group(&mut self, at: Addr) -> (&'static OwnerKind, String) {
        let Some(place) = self.place(at) else { return (&MAPPED, "variables of an unknown file".to_owned()) };
        let symbol = place.symbol.as_ref().map(|(name, _)| name.as_str());
        let kind = family(&place.file, symbol, place.is_nginx);
        let name = match symbol {
            Some("environ" | "__environ" | "_environ") => return (&NGINX, "environment".to_owned()),
            Some("event_list") if place.is_nginx => return (&NGINX, "epoll event list".to_owned()),
            Some(name) if kind == &NGINX => name.to_owned(),
            _ => place.file.clone(),
        };
        (kind, name)
    }

    fn place(&mut self, at: Addr) -> Option<Place> {
        let names = self.names;
        self.places.entry(at).or_insert_with(|| names.place(at)).clone()
    }

    /// The claim on the chunk that holds `at`.
    fn claim_at(&self, at: Addr) -> Option<Claim> {
        self.attribution.claim(self.heap.containing(at)?)
    }

    /// What a chunk is by its first bytes.
    fn mark_name(&mut self, node: u32) -> Option<(&'static OwnerKind, String)> {
        let index = self.reach.marks.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        match self.reach.marks.get(index)?.1 {
            Mark::SslSession => Some((&OPENSSL, "SSL_SESSION".to_owned())),
            Mark::Stream => Some((&LIBC, "FILE".to_owned())),
            Mark::Word(word) => {
                let names = self.names;
                self.words.entry(word).or_insert_with(|| word_name(names, word)).clone()
            }
        }
    }

    /// Who holds something, in words.
    fn holder_text(&mut self, holder: Holder) -> String {
        match holder {
            Holder::Nothing => String::new(),
            Holder::Node(node) => match (self.reach.nodes.get(node), self.mark_name(node)) {
                (Some(Node::Pool(pool)), _) => {
                    let pool = self.attribution.pools.get(pool as usize).map(|owned| owned.pool.address);
                    format!("pointed to from the pool at {}", pool.unwrap_or_default())
                }
                (_, Some((kind, name))) => format!("pointed to by a chunk of {} ({name})", kind.label),
                (_, None) => {
                    let chunk = self.chunk(node).map(|chunk| self.heap.chunk(chunk).memory());
                    format!("pointed to by the chunk at {}", chunk.unwrap_or_default())
                }
            },
            Holder::Direct(Rank::Variable, at) => match self.place(at) {
                Some(place) => format!("pointed to by {}", place.text()),
                None => format!("pointed to by a variable at {at}"),
            },
            Holder::Direct(Rank::Claimed, at) => match self.claim_at(at) {
                Some(Claim::Group(group)) => {
                    let group = self.attribution.groups.get(group as usize);
                    format!("pointed to by {}", group.map_or("a chunk", |group| group.path.as_str()))
                }
                _ => format!("pointed to by a chunk at {at}"),
            },
            Holder::Direct(Rank::NamedPool, at) => match self.claim_at(at) {
                Some(Claim::Pool(pool)) => {
                    let named = self.attribution.pools.get(pool as usize).and_then(|owned| owned.named.as_ref());
                    format!("pointed to from the pool {}", named.map_or("", |named| named.path.as_str()))
                }
                _ => format!("pointed to from a pool at {at}"),
            },
            Holder::Direct(Rank::Anonymous, at) if self.names.is_thread_local(at) => {
                "pointed to by a thread-local variable".to_owned()
            }
            Holder::Direct(Rank::Anonymous, _) if self.names.has_luajit() => {
                "pointed to from LuaJIT's memory".to_owned()
            }
            Holder::Direct(Rank::Anonymous, at) => format!("pointed to from mapped memory at {at}"),
            Holder::Direct(Rank::Possible, _) => String::new(),
            Holder::Direct(Rank::Stack, _) => "pointed to from a stack".to_owned(),
            Holder::Direct(Rank::Register, _) => "pointed to by a register".to_owned(),
        }
    }

    /// What nothing points to is called by what it looks like, or by its size; what only that leads to, after it.
    fn group_lost(&mut self) {
        let heads = lost::heads(self.reach);
        for number in 0..self.reach.holders.len() as u32 {
            if self.holder(number) != Some(Holder::Nothing) {
                continue;
            }
            let Some(own) = self.lost_name(number) else { continue };
            let head = heads.get(&number).map(|head| self.lost_name(*head));
            let name = match head {
                None => own,
                // A lost list of equal things is that many lost things.
                Some(Some(head)) if head == own => own,
                Some(Some(head)) => format!("held by an unreferenced {head}"),
                Some(None) => "held by an unreachable pool".to_owned(),
            };
            let text = "nothing points to it".to_owned();
            let group = self.groups.number(LocalGroup::new(&UNREFERENCED, name, Trust::Signature, text));
            self.set(number, group);
        }
    }

    /// `None` for a pool.
    fn lost_name(&mut self, node: u32) -> Option<String> {
        let size = self.heap.chunk(self.chunk(node)?).size();
        Some(match self.mark_name(node) {
            Some((_, name)) => name,
            None => format!("chunk of {size} bytes"),
        })
    }
}

/// What a first word says: it is the address of a virtual table, or of a function or variable.
fn word_name(names: &dyn Names, word: Addr) -> Option<(&'static OwnerKind, String)> {
    let place = names.place(word)?;
    if place.is_base {
        // It begins with where the file was loaded (glibc `include/link.h`, `struct link_map`).
        return Some((&LOADER, "link_map".to_owned()));
    }
    let (symbol, offset) = place.symbol.as_ref()?;
    // The address point of a virtual table lies behind the offset to the top and the type (Itanium C++ ABI, 2.5.2).
    if symbol.starts_with("_ZTV") && *offset == 16 {
        return Some((&CXX, class_name(symbol)));
    }
    let kind = family(&place.file, Some(symbol), place.is_nginx);
    (*offset == 0).then(|| (kind, symbol.clone()))
}

fn class_name(symbol: &str) -> String {
    let demangled = cpp_demangle::Symbol::new(symbol).ok().and_then(|symbol| symbol.demangle().ok());
    let text = demangled.unwrap_or_else(|| symbol.to_owned());
    let class = text.strip_prefix("{vtable(").and_then(|text| text.strip_suffix(")}"));
    class.or(text.strip_prefix("vtable for ")).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_named_by_its_virtual_table() {
        assert_eq!(class_name("_ZTVN5boost10filesystem16filesystem_errorE"), "boost::filesystem::filesystem_error");
        assert_eq!(class_name("_ZTV3Foo"), "Foo");
    }
}
