//! Puts chunks outside pools into groups by what they are, and else by who holds them.

use super::first_word::word_name;
use super::kinds::{HELD_BY_POOL, LIBC, LUAJIT, MAPPED, NGINX, OPENSSL, THREAD, THREAD_LOCAL, family};
use super::local::{LocalGroup, LocalGroups};
use super::{Names, Place};
use crate::addr::Addr;
use crate::attribution::reach::{Holder, Mark, Node, Rank, Reach};
use crate::attribution::{Attribution, Claim, Held};
use crate::malloc::heap::{ChunkId, Heap};
use crate::nginx::owner::{OwnerKind, Trust};
use rustc_hash::FxHashMap;

/// Puts chunks into groups.
pub struct Grouper<'a> {
    pub(super) heap: &'a Heap,
    pub(super) attribution: &'a Attribution,
    pub(super) reach: &'a Reach,
    pub(super) names: &'a dyn Names,
    /// The groups so far.
    pub groups: LocalGroups,
    /// For each node its group.
    pub of_node: Vec<Option<u32>>,
    /// What first words say.
    words: FxHashMap<Addr, Option<(&'static OwnerKind, String)>>,
    places: FxHashMap<Addr, Option<Place>>,
}

/// How a pool is held, by its number.
pub type HeldPools = Vec<(u32, Held)>;

impl<'a> Grouper<'a> {
    /// Nothing is grouped yet.
    pub fn new(heap: &'a Heap, attribution: &'a Attribution, reach: &'a Reach, names: &'a dyn Names) -> Grouper<'a> {
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
    /// Groups all chunks that `reach` has looked for; gives back how pools are held.
    pub fn run(&mut self) -> HeldPools {
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

    pub(super) fn holder(&self, node: u32) -> Option<Holder> {
        self.reach.holders.get(node as usize).copied().flatten()
    }

    pub(super) fn chunk(&self, node: u32) -> Option<ChunkId> {
        match self.reach.nodes.get(node) {
            Some(Node::Chunk(chunk)) => Some(chunk),
            _ => None,
        }
    }

    pub(super) fn set(&mut self, node: u32, group: u32) {
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
            return Some(self.number(kind, name, Trust::Signature, holder));
        }
        match holder {
            Holder::Direct(rank, at) => {
                let (kind, name) = self.direct_name(rank, at)?;
                Some(self.number(kind, name, Trust::Referenced, holder))
            }
            Holder::Node(parent) => match (self.group_of(parent), self.reach.nodes.get(parent)) {
                (Some(group), _) => Some(self.groups.reached_from(group)),
                (None, Some(Node::Pool(_))) => {
                    let name = "a pool without a known owner".to_owned();
                    Some(self.number(&HELD_BY_POOL, name, Trust::Referenced, holder))
                }
                (None, _) => None,
            },
            Holder::Nothing => None,
        }
    }

    /// The number of a group. Who holds its first chunk is what is told of all; to put that into words takes time.
    fn number(&mut self, kind: &'static OwnerKind, name: String, trust: Trust, holder: Holder) -> u32 {
        match self.groups.find(kind, &name) {
            Some(number) => number,
            None => {
                let text = self.holder_text(holder);
                let is_example = trust == Trust::Signature || self.is_of_one(holder);
                self.groups.number(LocalGroup::new(kind, name, trust, text, is_example))
            }
        }
    }

    /// What a chunk is called that a pointer outside the nodes holds.
    fn direct_name(&mut self, rank: Rank, at: Addr) -> Option<(&'static OwnerKind, String)> {
        let of = |kind: &'static OwnerKind, name: &str| Some((kind, name.to_owned()));
        match rank {
            Rank::Variable => Some(self.variable_group(at)),
            Rank::Claimed => match self.claim_at(at)? {
                Claim::Group(group) => {
                    let group = self.attribution.groups.get(group as usize)?;
                    Some((group.kind, format!("reached from {}", group.name)))
                }
                Claim::Pool(_) => None,
            },
            Rank::Anonymous if self.names.is_thread_local(at) => of(&THREAD_LOCAL, ""),
            Rank::Anonymous if self.names.has_luajit() => {
                of(&LUAJIT, "pointers in Lua's objects, those of FFI above all")
            }
            Rank::Anonymous => of(&MAPPED, "pointers in memory that the program has mapped for itself"),
            Rank::NamedPool => match self.claim_at(at)? {
                Claim::Pool(pool) => {
                    let owner = self.attribution.pools.get(pool as usize)?.kind().label;
                    Some((&HELD_BY_POOL, format!("a pool of kind \"{owner}\"")))
                }
                Claim::Group(_) => None,
            },
            Rank::Possible => None,
            Rank::Stack if self.names.environment().is_some_and(|range| range.contains(at)) => {
                of(&NGINX, "environment")
            }
            Rank::Stack => of(&THREAD, "a pointer on its stack"),
            Rank::Register => of(&THREAD, "a pointer in a register"),
        }
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

    pub(super) fn place(&mut self, at: Addr) -> Option<Place> {
        let names = self.names;
        self.places.entry(at).or_insert_with(|| names.place(at)).clone()
    }

    /// The claim on the chunk that holds `at`.
    pub(super) fn claim_at(&self, at: Addr) -> Option<Claim> {
        self.attribution.claim(self.heap.containing(at)?)
    }

    /// What a chunk is by its first bytes.
    pub(super) fn mark_name(&mut self, node: u32) -> Option<(&'static OwnerKind, String)> {
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
}
