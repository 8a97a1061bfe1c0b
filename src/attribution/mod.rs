//! Who owns each chunk in use: every byte is claimed once, and what nobody claims stays visible.

use crate::addr::Addr;
use crate::malloc::heap::{ChunkId, Heap};
use crate::nginx::owner::{NO_KNOWN_OWNER, NamedPool, OwnerKind, Trust};
use crate::nginx::pool::Pool;
use rustc_hash::FxHashMap;

/// glibc's own thread caches, which lie on its heap like anybody's chunks.
pub const TCACHE: OwnerKind = OwnerKind { key: "glibc.tcache", label: "glibc's thread caches", unit: None };
/// Chunks in use that nobody claims.
pub const OUTSIDE_POOLS: OwnerKind = OwnerKind { key: "outside_pools", label: "outside any pool", unit: None };

/// How many groups can be told apart; a claim has sixteen bits for them.
pub const MOST_GROUPS: u32 = 0xffff;

/// A pool with its owner.
#[derive(Debug)]
pub struct OwnedPool {
    /// The pool as it was found by signature.
    pub pool: Pool,
    /// The name a root has for it, if any does.
    pub named: Option<NamedPool>,
}

impl OwnedPool {
    /// What kind of owner it has.
    pub fn kind(&self) -> &'static OwnerKind {
        self.named.as_ref().map_or(&NO_KNOWN_OWNER, |named| named.kind)
    }
}

/// Who a chunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The pool of this number.
    Pool(u32),
    /// The group of this number: [`Attribution::groups`].
    Group(u32),
}

/// Chunks outside pools that belong together: what each is, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What owns them.
    pub kind: &'static OwnerKind,
    /// What they are called within that kind; empty if there is nothing to tell them apart by.
    pub name: String,
    /// How it is known.
    pub trust: Trust,
    /// The path to one of them, or who points to it; empty if that is not known.
    pub path: String,
}

/// Every pool with its owner, and every chunk with its claim.
#[derive(Debug)]
pub struct Attribution {
    /// Pools in address order.
    pub pools: Vec<OwnedPool>,
    /// Named by a root, but without a valid signature.
    pub only_by_name: Vec<NamedPool>,
    /// How many pools the roots named.
    pub named: u64,
    /// One sentence for each contradiction.
    pub problems: Vec<String>,
    /// Owners of chunks outside pools.
    pub groups: Vec<Group>,
    claims: Claims,
}

/// The claim on each chunk, by its number, as [`Packed`] has it: a heap can have millions, so that each takes four bytes.
/// Plain numbers, because zeroes of these come from the kernel as they are, and take no memory where nobody claims anything.
#[derive(Debug)]
struct Claims {
    arena: Vec<u32>,
    mmapped: Vec<u32>,
}

/// A claim, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(u32);

impl Packed {
    const NONE: Packed = Packed(0);
    /// Groups are few; they count down from the top.
    const FIRST_GROUP: u32 = u32::MAX - 0xffff;

    fn new(claim: Claim) -> Packed {
        match claim {
            Claim::Group(index) => Packed(u32::MAX - index.min(0xffff)),
            Claim::Pool(index) => Packed(index + 1),
        }
    }

    fn get(self) -> Option<Claim> {
        match self {
            Packed::NONE => None,
            Packed(number @ Packed::FIRST_GROUP..) => Some(Claim::Group(u32::MAX - number)),
            Packed(number) => Some(Claim::Pool(number - 1)),
        }
    }
}

impl Claims {
    fn none(heap: &Heap) -> Claims {
        Claims { arena: vec![Packed::NONE.0; heap.chunks.len()], mmapped: vec![Packed::NONE.0; heap.mmapped.len()] }
    }

    fn place(&mut self, chunk: ChunkId) -> Option<&mut u32> {
        match chunk {
            ChunkId::Arena(index) => self.arena.get_mut(index as usize),
            ChunkId::Mmapped(index) => self.mmapped.get_mut(index as usize),
        }
    }

    /// Claims a chunk; gives back who had claimed it before.
    fn set(&mut self, chunk: ChunkId, claim: Claim) -> Option<Claim> {
        Packed(std::mem::replace(self.place(chunk)?, Packed::new(claim).0)).get()
    }

    fn get(&self, chunk: ChunkId) -> Option<Claim> {
        let packed = match chunk {
            ChunkId::Arena(index) => self.arena.get(index as usize)?,
            ChunkId::Mmapped(index) => self.mmapped.get(index as usize)?,
        };
        Packed(*packed).get()
    }
}

impl Attribution {
    /// Joins pools found by signature with those found by name, and gives out the chunks.
    pub fn new(heap: &Heap, mut pools: Vec<Pool>, named: Vec<NamedPool>) -> Attribution {
        pools.sort_by_key(|pool| pool.address);
        let mut names: FxHashMap<Addr, NamedPool> = FxHashMap::default();
        let mut problems = Vec::new();
        let (within, exact): (Vec<NamedPool>, Vec<NamedPool>) = named.into_iter().partition(|named| named.within);
        for named in exact {
            // Finders are in order of precedence; several paths to one pool are the rule, not a contradiction.
            names.entry(named.pool).or_insert(named);
        }
        // A name by what is in a pool is no second way to find it.
        let count = names.values().filter(|named| named.trust != Trust::Signature).count() as u64;
        for pool in &mut pools {
            let found = std::mem::take(&mut pool.problems);
            problems.extend(found.into_iter().map(|problem| format!("the pool at {}: {problem}", pool.address)));
        }
        let pools: Vec<OwnedPool> =
            pools.into_iter().map(|pool| OwnedPool { named: names.remove(&pool.address), pool }).collect();
        let mut only_by_name: Vec<NamedPool> = names.into_values().collect();
        only_by_name.sort_by_key(|named| named.pool);
        let mut attribution =
            Attribution { pools, only_by_name, named: count, problems, groups: Vec::new(), claims: Claims::none(heap) };
        attribution.claim_all(heap);
        attribution.name_by_members(heap, within);
        attribution
    }

    /// Names pools by what lies in them, where nothing else names them. The first name has it, as it does among names by
    /// address.
    fn name_by_members(&mut self, heap: &Heap, within: Vec<NamedPool>) {
        for named in within {
            let claim = heap.containing(named.pool).and_then(|chunk| self.claims.get(chunk));
            let Some(Claim::Pool(index)) = claim else { continue };
            let owned = self.pools.get_mut(index as usize).filter(|owned| owned.named.is_none());
            if let Some(owned) = owned {
                owned.named = Some(NamedPool { pool: owned.pool.address, within: false, ..named });
                self.named += 1;
            }
        }
    }

    /// Who owns a chunk; `None` if nobody is known to.
    pub fn claim(&self, chunk: ChunkId) -> Option<Claim> {
        self.claims.get(chunk)
    }

    /// Gives a chunk to a group, if nobody has claimed it. [`MOST_GROUPS`] can be told apart.
    pub fn claim_for_group(&mut self, chunk: ChunkId, group: u32) {
        if self.claims.get(chunk).is_none() && group < MOST_GROUPS {
            self.claims.set(chunk, Claim::Group(group));
        }
    }

    fn claim_all(&mut self, heap: &Heap) {
        let of_glibc = Group {
            kind: &TCACHE,
            name: "tcache_perthread_struct".to_owned(),
            trust: Trust::TypedPath,
            path: "tcache".to_owned(),
        };
        if !heap.tcaches.is_empty() {
            self.groups.push(of_glibc);
        }
        for cache in &heap.tcaches {
            if let Some(chunk) = heap.find(cache.address) {
                self.claims.set(chunk, Claim::Group(0));
            }
        }
        for (index, owned) in self.pools.iter().enumerate() {
            let chunks = owned.pool.blocks.iter().chain(&owned.pool.large);
            for chunk in chunks {
                let claim = Claim::Pool(index as u32);
                if let Some(other) = self.claims.set(*chunk, claim) {
                    let memory = heap.chunk(*chunk).memory();
                    let holder = match other {
                        Claim::Pool(other) => self.pools.get(other as usize).map(|other| other.pool.address),
                        Claim::Group(_) => None,
                    };
                    let holder = holder.map_or("glibc".to_owned(), |address| format!("the pool at {address}"));
                    self.problems.push(format!(
                        "the chunk {memory} is claimed by {holder} and by the pool at {}",
                        owned.pool.address
                    ));
                }
            }
        }
    }
}
