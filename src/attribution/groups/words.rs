//! Who holds something, in words.

use super::grouper::Grouper;
use crate::attribution::reach::{Holder, Node, Rank};
use crate::attribution::{Claim, Group};

impl Grouper<'_> {
    /// Who holds something, in words.
    pub(super) fn holder_text(&mut self, holder: Holder) -> String {
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
                    format!("pointed to by {}", group.map_or_else(|| "a chunk".to_owned(), Group::one_of))
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

    /// True if what [`Grouper::holder_text`] says of a chunk need not be so of others of its group.
    pub(super) fn is_of_one(&self, holder: Holder) -> bool {
        match holder {
            Holder::Direct(Rank::Variable | Rank::NamedPool, _) | Holder::Node(_) => true,
            Holder::Direct(Rank::Anonymous, at) => !self.names.is_thread_local(at) && !self.names.has_luajit(),
            Holder::Direct(..) | Holder::Nothing => false,
        }
    }
}
