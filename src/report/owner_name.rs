//! Who owns a pool, in as many columns as there are.

use super::style::Style;
use super::text::{keep_start, printable, width};
use super::trust::mark;
use crate::snapshot::human::{name_in_text, with_name};
use crate::snapshot::model::{NOBODY, UNREACHABLE_POOL};
use crate::snapshot::pool::{PoolOwner, PoolRow};

/// The kind of owner, its name, its state where the kind does not say it, and a mark for how it is known, in at most `limit`
/// columns. The name tells one pool from another, so that the kind is shortened before it: `dyups.deleting "svc"`,
/// `dyups "svc"`, `"svc"`.
pub(super) fn owner_name(pool: &PoolRow, limit: usize, style: Style) -> String {
    let mark = pool_mark(&pool.owner);
    let room = limit.saturating_sub(mark.len());
    let forms: Vec<String> = forms(&pool.owner).iter().map(|form| printable(form, style.unicode)).collect();
    match forms.iter().find(|form| width(form) <= room).or(forms.last()) {
        Some(form) => keep_start(form, room, style.ellipsis()) + mark,
        None => String::new(),
    }
}

/// How the owner is known; of a pool without one, nothing.
pub(super) fn pool_mark(owner: &PoolOwner) -> &'static str {
    if says_itself(&owner.kind) { "" } else { mark(owner.trust) }
}

/// True for kinds whose label says how little is known of them: a mark would add nothing.
pub(super) fn says_itself(kind: &str) -> bool {
    kind == UNREACHABLE_POOL || NOBODY.contains(&kind)
}

/// The state, if the kind does not say it already.
pub(super) fn state_beside<'a>(kind: &str, state: Option<&'a str>) -> Option<&'a str> {
    state.filter(|state| !kind.contains(*state))
}

/// From the longest to the shortest.
fn forms(owner: &PoolOwner) -> Vec<String> {
    let kind = owner.kind.as_str();
    let named: Vec<String> = match &owner.name {
        None => vec![kind.to_owned()],
        Some(name) => {
            let family = kind.split('.').next().unwrap_or(kind);
            vec![with_name(kind, name), with_name(family, name), name_in_text(name)]
        }
    };
    let with_state = state_beside(kind, owner.state.as_deref());
    let with_state = with_state.zip(named.first()).map(|(state, named)| format!("{named} ({state})"));
    with_state.into_iter().chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::pool::Trust;

    fn pool(kind: &str, state: Option<&str>, name: Option<&str>) -> PoolRow {
        let (state, name) = (state.map(str::to_owned), name.map(str::to_owned));
        let owner = PoolOwner { kind: kind.into(), state, name, trust: Trust::TypedPath, ..PoolOwner::default() };
        PoolRow { owner: owner.into(), ..PoolRow::default() }
    }

    #[test]
    fn the_kind_is_shortened_before_the_name() {
        let pool = pool("dyups.unreferenced", Some("deleting"), Some("svc"));
        let shown = |limit| owner_name(&pool, limit, Style::PLAIN);
        assert_eq!(shown(40), "dyups.unreferenced \"svc\" (deleting)");
        assert_eq!(shown(32), "dyups.unreferenced \"svc\"");
        assert_eq!(shown(23), "dyups \"svc\"");
        assert_eq!(shown(10), "\"svc\"");
        assert_eq!(shown(4), "\"sv…");
    }

    #[test]
    fn names_that_say_what_they_are_have_no_quotes() {
        let shown = |name| owner_name(&pool("request", Some("upgraded"), Some(name)), 60, Style::PLAIN);
        assert_eq!(shown("location /ws"), "request, location /ws (upgraded)");
        assert_eq!(shown("127.0.0.1:8080"), "request, 127.0.0.1:8080 (upgraded)");
        assert_eq!(shown("svc"), "request \"svc\" (upgraded)");
    }

    #[test]
    fn a_kind_without_a_name_is_cut() {
        assert_eq!(owner_name(&pool("unknown_pool", None, None), 8, Style::PLAIN), "unknown…");
        assert_eq!(owner_name(&pool("dyups.live", Some("live"), None), 20, Style::PLAIN), "dyups.live");
    }

    #[test]
    fn what_is_not_known_by_a_typed_path_is_marked() {
        let mut pool = pool("module.thing", None, Some("svc"));
        std::sync::Arc::make_mut(&mut pool.owner).trust = Trust::InferredPath;
        assert_eq!(owner_name(&pool, 60, Style::PLAIN), "module.thing \"svc\"~");
        assert_eq!(owner_name(&pool, 6, Style::PLAIN), "\"svc\"~");
    }
}
