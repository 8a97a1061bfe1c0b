//! Who owns each chunk in use: every byte is claimed once, and what nobody claims stays visible.

mod claims;
pub mod groups;
pub mod reach;

pub use claims::{Claim, MOST_GROUPS};

use crate::addr::Addr;
use crate::malloc::heap::{ChunkId, Heap};
use crate::nginx::owner::{NO_KNOWN_OWNER, NamedPool, OwnerKind, Trust};
use crate::nginx::pool::Pool;
use claims::Claims;
use rustc_hash::FxHashMap;

/// glibc's own thread caches, which lie on its heap like anybody's chunks.
pub const TCACHE: OwnerKind = OwnerKind { key: "glibc.tcache", label: "glibc's thread caches", unit: None };
/// Chunks in use that nobody claims.
pub const OUTSIDE_POOLS: OwnerKind = OwnerKind { key: "outside_pools", label: "outside any pool", unit: None };

/// Pools without a name to which nothing points.
pub const UNREACHABLE: OwnerKind =
    OwnerKind { key: "unreachable_pool", label: "unreachable pool: nothing points to it", unit: None };

/// How a pool without a name is held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Held {
    /// That was not looked for, or could not be told for certain.
    #[default]
    Unknown,
    /// By a pointer, which this describes.
    By(String),
    /// By nothing: no root, no pool with a name, and no chunk that one of these leads to points into any of its chunks.
    ByNothing,
}

/// A pool with its owner.
#[derive(Debug)]
pub struct OwnedPool {
    /// The pool as it was found by signature.
    pub pool: Pool,
    /// The name a root has for it, if any does.
    pub named: Option<NamedPool>,
    /// How it is held, if it has no name.
    pub held: Held,
}

impl OwnedPool {
    /// What kind of owner it has.
    pub fn kind(&self) -> &'static OwnerKind {
        match (&self.named, &self.held) {
            (Some(named), _) => named.kind,
            (None, Held::ByNothing) => &UNREACHABLE,
            (None, _) => &NO_KNOWN_OWNER,
        }
    }

    /// The typed path to it, or who points to it; empty if that is not known.
    pub fn path(&self) -> &str {
        match (&self.named, &self.held) {
            (Some(named), _) => &named.path,
            (None, Held::By(text)) => text,
            (None, _) => "",
        }
    }

    /// How its owner is known.
    pub fn trust(&self) -> Trust {
        match (&self.named, &self.held) {
            (Some(named), _) => named.trust,
            (None, Held::By(_)) => Trust::Referenced,
            (None, _) => Trust::Signature,
        }
    }
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
    /// The path to them, with `[*]` where indexes differ, or who points to them; that of one of them ends with `, for example`.
    /// Empty if that is not known.
    pub path: String,
}

impl Group {
    /// What one of its chunks is called: by the path, unless that is another one's.
    pub fn one_of(&self) -> String {
        match self.path.is_empty() || self.path.ends_with(groups::EXAMPLE) {
            true => format!("a chunk of {} ({})", self.kind.label, self.name),
            false => self.path.clone(),
        }
    }
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
        let pools: Vec<OwnedPool> = pools
            .into_iter()
            .map(|pool| OwnedPool { named: names.remove(&pool.address), pool, held: Held::Unknown })
            .collect();
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
