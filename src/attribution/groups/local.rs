//! Groups in the making.

use super::index::GroupIndex;
use super::paths::example;
use crate::attribution::Group;
use crate::nginx::owner::{OwnerKind, Trust};
use rustc_hash::FxHashMap;

/// A snapshot has at most so many groups; small ones become one for each kind.
const MOST_GROUPS: usize = 4096;

/// A group in the making.
#[derive(Debug)]
pub struct LocalGroup {
    group: Group,
    /// True if the path is that of the first chunk and need not be so of others.
    is_example: bool,
    bytes: u64,
    chunks: u64,
}

impl LocalGroup {
    /// A group of which nothing is counted yet. `is_example` is true if `path` is that of its first chunk and need not be so
    /// of others.
    pub fn new(kind: &'static OwnerKind, name: String, trust: Trust, path: String, is_example: bool) -> LocalGroup {
        LocalGroup { group: Group { kind, name, trust, path }, is_example, bytes: 0, chunks: 0 }
    }

    fn finish(self) -> Group {
        match self.is_example && self.chunks > 1 {
            true => Group { path: example(&self.group.path), ..self.group },
            false => self.group,
        }
    }
}

/// All of them, each name of a kind once.
#[derive(Debug, Default)]
pub struct LocalGroups {
    list: Vec<LocalGroup>,
    by_name: FxHashMap<&'static str, FxHashMap<String, u32>>,
    reached: FxHashMap<u32, u32>,
}

impl LocalGroups {
    /// The group of that name, by its number.
    pub fn find(&self, kind: &OwnerKind, name: &str) -> Option<u32> {
        self.by_name.get(kind.key)?.get(name).copied()
    }

    /// The number of a group, which is added if there is none of its name yet.
    pub fn number(&mut self, group: LocalGroup) -> u32 {
        let names = self.by_name.entry(group.group.kind.key).or_default();
        if let Some(known) = names.get(&group.group.name) {
            return *known;
        }
        let number = self.list.len() as u32;
        names.insert(group.group.name.clone(), number);
        self.list.push(group);
        number
    }

    /// The group of what only a chunk of that group leads to. How many steps away it is makes no difference.
    pub fn reached_from(&mut self, group: u32) -> u32 {
        const PREFIX: &str = "reached from ";
        if let Some(known) = self.reached.get(&group) {
            return *known;
        }
        let Some(LocalGroup { group: from, .. }) = self.list.get(group as usize) else { return group };
        // What a library's or a variable's chunks lead to is the same owner's.
        if from.trust == Trust::Referenced || from.name.starts_with(PREFIX) {
            self.reached.insert(group, group);
            return group;
        }
        let name = format!("{PREFIX}{}", from.name);
        let path = format!("pointed to by {}", from.name);
        let new = LocalGroup::new(from.kind, name, Trust::Referenced, path, false);
        let number = self.number(new);
        self.reached.insert(group, number);
        number
    }

    /// Counts a chunk of a group.
    pub fn count(&mut self, group: u32, bytes: u64) {
        if let Some(group) = self.list.get_mut(group as usize) {
            group.bytes += bytes;
            group.chunks += 1;
        }
    }

    /// Adds the groups to `groups`, those with most bytes first, small ones as one for each kind. Where there is one of that
    /// kind and name already, they become one. Gives back for each its place.
    pub fn merge_small(self, groups: &mut Vec<Group>) -> Vec<u32> {
        let mut index = GroupIndex::of(groups);
        let mut order: Vec<(usize, LocalGroup)> = self.list.into_iter().enumerate().collect();
        order.sort_by_key(|(_, group)| std::cmp::Reverse(group.bytes));
        let mut numbers = vec![0; order.len()];
        for (place, group) in order {
            let group = match groups.len() < MOST_GROUPS {
                true => group.finish(),
                false => Group { name: "other".to_owned(), path: String::new(), ..group.group },
            };
            if let Some(number) = numbers.get_mut(place) {
                *number = index.add(groups, group);
            }
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::groups::kinds::{LIBC, OPENSSL};

    fn group(name: &str, trust: Trust) -> LocalGroup {
        LocalGroup::new(&OPENSSL, name.to_owned(), trust, String::new(), false)
    }

    #[test]
    fn what_a_recognised_chunk_leads_to_is_named_after_it_however_far_away() {
        let mut groups = LocalGroups::default();
        let session = groups.number(group("SSL_SESSION", Trust::Signature));
        let library = groups.number(group("libcrypto.so.3", Trust::Referenced));
        let reached = groups.reached_from(session);
        assert_eq!((groups.reached_from(reached), groups.reached_from(session)), (reached, reached));
        assert_eq!(groups.reached_from(library), library);
        assert_eq!(groups.find(&OPENSSL, "reached from SSL_SESSION"), Some(reached));
        assert_eq!(groups.find(&LIBC, "SSL_SESSION"), None);
    }

    #[test]
    fn small_groups_become_one_of_their_kind() {
        let mut groups = LocalGroups::default();
        for number in 0..MOST_GROUPS as u32 + 2 {
            let number = groups.number(group(&number.to_string(), Trust::Signature));
            groups.count(number, 10 + u64::from(number));
        }
        let mut merged = Vec::new();
        let numbers = groups.merge_small(&mut merged);
        assert_eq!(merged.len(), MOST_GROUPS + 1);
        assert_eq!((numbers[0], numbers[1]), (MOST_GROUPS as u32, MOST_GROUPS as u32));
        assert_eq!(merged[numbers[7] as usize].name, "7");
        assert_eq!(merged.last().map(|group| group.name.as_str()), Some("other"));
    }

    #[test]
    fn a_group_that_is_there_already_takes_in_one_of_its_name() {
        let there =
            Group { kind: &LIBC, name: "FILE".to_owned(), trust: Trust::TypedPath, path: "ngx_foo.file".to_owned() };
        let mut merged = vec![there.clone()];
        let mut groups = LocalGroups::default();
        let new = |kind, path: &str, is_example| {
            LocalGroup::new(kind, "FILE".to_owned(), Trust::Signature, path.to_owned(), is_example)
        };
        let of_openssl = groups.number(new(&OPENSSL, "pointed to by a", true));
        let of_libc = groups.number(new(&LIBC, "pointed to by b", true));
        for group in [of_openssl, of_openssl, of_libc] {
            groups.count(group, 32);
        }
        assert_eq!(groups.merge_small(&mut merged), [1, 0]);
        let path = "ngx_foo.file, for example".to_owned();
        assert_eq!(merged[0], Group { trust: Trust::Signature, path, ..there });
        assert_eq!(merged[1].path, "pointed to by a, for example");
        assert_eq!(merged.len(), 2);
    }
}
