//! Each name of a kind once, whoever makes the group.

use super::paths::join;
use crate::attribution::Group;
use rustc_hash::FxHashMap;

/// Where each group of a list stands, by kind and name.
#[derive(Debug, Default)]
pub struct GroupIndex {
    numbers: FxHashMap<(&'static str, String), u32>,
}

impl GroupIndex {
    /// The index of groups that there are. Of two with the same name the first counts.
    pub fn of(groups: &[Group]) -> GroupIndex {
        let mut index = GroupIndex::default();
        for (number, group) in (0u32..).zip(groups) {
            index.numbers.entry((group.kind.key, group.name.clone())).or_insert(number);
        }
        index
    }

    /// The number of the group of that kind and name, which is added if there is none. One that was there already is known as
    /// well as the one of its chunks that is known worst, and its path becomes what both have in common.
    pub fn add(&mut self, groups: &mut Vec<Group>, group: Group) -> u32 {
        let next = groups.len() as u32;
        let number = *self.numbers.entry((group.kind.key, group.name.clone())).or_insert(next);
        match groups.get_mut(number as usize) {
            Some(known) => {
                known.trust = known.trust.max(group.trust);
                join(&mut known.path, &group.path);
            }
            None => groups.push(group),
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::groups::kinds::{NGINX, OPENSSL};
    use crate::nginx::owner::{OwnerKind, Trust};

    fn group(kind: &'static OwnerKind, name: &str, trust: Trust, path: &str) -> Group {
        Group { kind, name: name.to_owned(), trust, path: path.to_owned() }
    }

    #[test]
    fn a_name_of_a_kind_has_one_group() {
        let mut groups = vec![group(&NGINX, "table", Trust::TypedPath, "ngx_foo.tables[0]")];
        let mut index = GroupIndex::of(&groups);
        let mut add = |kind, name, trust, path| index.add(&mut groups, group(kind, name, trust, path));
        assert_eq!(add(&OPENSSL, "table", Trust::Signature, ""), 1);
        assert_eq!(add(&NGINX, "table", Trust::Referenced, "ngx_foo.tables[7]"), 0);
        assert_eq!(add(&OPENSSL, "table", Trust::Signature, ""), 1);
        assert_eq!(groups[0], group(&NGINX, "table", Trust::Referenced, "ngx_foo.tables[*]"));
        assert_eq!(groups.len(), 2);
    }
}
