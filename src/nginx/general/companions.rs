//! Which number counts the elements that a pointer leads to: nginx writes `connections` beside `connection_n`, other code
//! `n_items`, `item_count`, or in a structure with only one array just `nelts`.

use super::shape::{Count, Member, What};
use rustc_hash::FxHashMap;

/// Names of counts that do not say what they count.
const PLAIN: [&str; 6] = ["nelts", "n", "num", "count", "number", "len"];

/// Shapes with more members than this are tables.
const MANY: usize = 512;

/// A member's name without and with the structures that it is in.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// Gives each pointer its count, and takes the numbers away.
pub(super) fn find_counts(members: &mut Vec<Member>) {
    // The elements of long arrays have no counts of their own that mattered.
    if members.len() > MANY {
        return members.retain(|member| !matches!(member.what, What::Number(_)));
    }
    let all = std::mem::take(members);
    let mut numbers: FxHashMap<&str, Vec<(&str, u64, u64)>> = FxHashMap::default();
    for member in &all {
        if let What::Number(size) = member.what {
            let (folder, last) = split(&member.name);
            numbers.entry(folder).or_default().push((last, member.offset, size));
        }
    }
    *members = all.iter().filter(|member| !matches!(member.what, What::Number(_))).cloned().collect();
    let is_pointer = |member: &&Member| matches!(member.what, What::Structure(..) | What::Table(..));
    let pointers = members.iter().filter(is_pointer).count();
    for member in members.iter_mut().filter(|member| is_pointer(&&**member)) {
        let (folder, last) = split(&member.name);
        let beside = numbers.get(folder).map(Vec::as_slice).unwrap_or_default();
        let of = |wanted: &dyn Fn(&str) -> bool, certain: bool| {
            let found = beside.iter().find(|(name, ..)| wanted(name));
            found.map(|(_, offset, size)| Count { offset: *offset, size: *size, certain })
        };
        let certain = of(&|number| counts(number, last), true);
        let plain = || if pointers == 1 { of(&|number| PLAIN.contains(&number), false) } else { None };
        match &mut member.what {
            What::Table(_, count) | What::Structure(_, count) => *count = certain.or_else(plain),
            _ => {}
        }
    }
}

/// True if a number of that name counts what a pointer of the other name leads to.
fn counts(number: &str, pointer: &str) -> bool {
    let singular = pointer.strip_suffix("ies").map(|stem| format!("{stem}y"));
    let singular = singular.or_else(|| pointer.strip_suffix('s').map(str::to_owned));
    let named = |stem: &str| {
        let rest = number.strip_prefix(stem).or_else(|| number.strip_suffix(stem));
        !stem.is_empty()
            && rest.is_some_and(|rest| {
                matches!(rest, "_n" | "_count" | "_num" | "_nelts" | "n" | "n_" | "num_" | "nr_" | "count_" | "num")
            })
    };
    named(pointer) || singular.is_some_and(|singular| named(&singular))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_known_by_its_name() {
        assert!(counts("connection_n", "connections"));
        assert!(counts("table_n", "table"));
        assert!(counts("nentries", "entries"));
        assert!(counts("entry_count", "entries"));
        assert!(counts("n_slots", "slots"));
        assert!(!counts("nginx", "gin"));
        assert!(!counts("free_connection_n", "connections"));
    }

    #[test]
    fn a_plain_count_serves_the_only_pointer_there_is() {
        let table =
            || What::Table(super::super::shape::TypeRef { module: 0, structure: crate::debug::StructureId(0) }, None);
        let member = |name: &str, offset, what| Member { name: name.into(), offset, what, in_union: false };
        let mut one = vec![member("d.elts", 0, table()), member("d.n", 8, What::Number(8))];
        find_counts(&mut one);
        let count = Count { offset: 8, size: 8, certain: false };
        assert!(matches!(&one[..], [Member { what: What::Table(_, Some(found)), .. }] if *found == count));
        let mut two = vec![member("a", 0, table()), member("b", 8, table()), member("n", 16, What::Number(8))];
        find_counts(&mut two);
        assert!(two.iter().all(|member| matches!(member.what, What::Table(_, None))));
    }
}
