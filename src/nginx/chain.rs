//! Chains of nodes in the target's memory, which may not end.

use crate::addr::Addr;

/// Nodes from the first on, each given by the one before; ends at a null pointer, where a node cannot be read, where the
/// chain leads in a circle, and after `limit` nodes.
pub fn nodes(first: Addr, limit: usize, next: impl Fn(Addr) -> Option<Addr>) -> impl Iterator<Item = Addr> {
    let mut at = first;
    let mut count = 0;
    // A circle comes by the same node again before twice as many steps are taken as led to it (Brent).
    let mut mark = Addr::NULL;
    std::iter::from_fn(move || {
        if at.is_null() || at == mark || count >= limit {
            return None;
        }
        count += 1;
        if count.is_power_of_two() {
            mark = at;
        }
        let node = at;
        at = next(node).unwrap_or(Addr::NULL);
        Some(node)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(limit: usize, next: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
        nodes(Addr(1), limit, |node| next(node.0).map(Addr)).map(|node| node.0).collect()
    }

    #[test]
    fn a_chain_ends_at_a_null_pointer_at_what_cannot_be_read_and_at_its_limit() {
        assert_eq!(walked(9, |node| Some((node + 1) % 4)), [1, 2, 3]);
        assert_eq!(walked(9, |node| (node < 2).then_some(node + 1)), [1, 2]);
        assert_eq!(walked(2, |node| Some(node + 1)), [1, 2]);
        assert_eq!(nodes(Addr::NULL, 9, Some).count(), 0);
    }

    #[test]
    fn a_circle_is_left_soon() {
        assert_eq!(walked(100, Some), [1]);
        let round = walked(1000, |node| Some(if node == 7 { 5 } else { node + 1 }));
        assert!(round.len() < 20 && round.starts_with(&[1, 2, 3, 4, 5, 6, 7]), "{round:?}");
    }
}
