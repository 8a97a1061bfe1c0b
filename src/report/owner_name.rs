//! Who owns a pool, in as many columns as there are.

use super::style::Style;
use super::text::{keep_start, printable, width};
use crate::snapshot::pool::{PoolOwner, PoolRow};

/// The kind of owner, its state where the kind does not say it, and its name, in at most `limit` columns. The name tells
/// one pool from another, so that the kind is shortened before it: `dyups.deleting "svc"`, `dyups "svc"`, `"svc"`.
pub(super) fn owner_name(pool: &PoolRow, limit: usize, style: Style) -> String {
    let forms: Vec<String> = forms(&pool.owner).iter().map(|form| printable(form, style.unicode)).collect();
    match forms.iter().find(|form| width(form) <= limit).or(forms.last()) {
        Some(form) => keep_start(form, limit, style.ellipsis()),
        None => String::new(),
    }
}

/// From the longest to the shortest.
fn forms(owner: &PoolOwner) -> Vec<String> {
    let kind = owner.kind.as_str();
    let state = owner.state.as_deref().filter(|state| !kind.contains(state));
    let with_state = state.map(|state| format!("{kind} {state}"));
    let kinds = with_state.as_deref().into_iter().chain([kind]);
    match &owner.name {
        None => kinds.map(str::to_owned).collect(),
        Some(name) => {
            let family = kind.split('.').next().unwrap_or(kind);
            let named = kinds.chain([family]).map(|kind| format!("{kind} \"{name}\""));
            named.chain([format!("\"{name}\"")]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(kind: &str, state: Option<&str>, name: Option<&str>) -> PoolRow {
        let (state, name) = (state.map(str::to_owned), name.map(str::to_owned));
        let owner = PoolOwner { kind: kind.into(), state, name, ..PoolOwner::default() };
        PoolRow { owner: owner.into(), ..PoolRow::default() }
    }

    #[test]
    fn the_kind_is_shortened_before_the_name() {
        let pool = pool("dyups.unreferenced", Some("deleting"), Some("svc"));
        let shown = |limit| owner_name(&pool, limit, Style::PLAIN);
        assert_eq!(shown(40), "dyups.unreferenced deleting \"svc\"");
        assert_eq!(shown(32), "dyups.unreferenced \"svc\"");
        assert_eq!(shown(23), "dyups \"svc\"");
        assert_eq!(shown(10), "\"svc\"");
        assert_eq!(shown(4), "\"sv…");
    }

    #[test]
    fn a_kind_without_a_name_is_cut() {
        assert_eq!(owner_name(&pool("unknown_pool", None, None), 8, Style::PLAIN), "unknown…");
        assert_eq!(owner_name(&pool("dyups.live", Some("live"), None), 20, Style::PLAIN), "dyups.live");
    }
}
