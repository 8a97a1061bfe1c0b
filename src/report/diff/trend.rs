//! How several snapshots go on from one to the next.

use super::header::taken;
use super::{bytes, grid_lines, rate};
use crate::diff::words::steadiness;
use crate::diff::{Series, Trend};
use crate::report::style::{Line, Look, Style};
use crate::report::table::grid::Grid;
use crate::report::text::wrap;
use crate::snapshot::human::human_bytes;

pub(super) fn lines(trend: &Trend<'_>, style: Style) -> Vec<Line> {
    let Some(in_use) = &trend.in_use else { return Vec::new() };
    let mut grid = Grid::new(&["Trend", "in use", "change", "per hour", "resident"]);
    let snapshots = trend.snapshots.iter().skip(trend.others);
    for (index, (snapshot, value)) in snapshots.zip(&in_use.values).enumerate() {
        let before = index.checked_sub(1).and_then(|before| in_use.values.get(before));
        let change = before.map(|before| i128::from(*value) - i128::from(*before));
        grid.row(vec![
            format!("  {}", taken(snapshot.taken_at)),
            human_bytes(*value),
            change.map(|change| bytes(change, style)).unwrap_or_default(),
            index.checked_sub(1).map(|at| rate(in_use.rates.get(at).copied().flatten(), style)).unwrap_or_default(),
            snapshot.process.resident.map_or("?".to_owned(), human_bytes),
        ]);
    }
    let mut lines = grid_lines(grid.render(style));
    // How steady the sum is stands among what changed.
    let all = pace(in_use, style).map(|pace| format!("all in use: {pace}"));
    let owners = trend.owners.iter().map(|owner| {
        let pace = pace(&owner.bytes, style).map(|pace| format!("{pace}; ")).unwrap_or_default();
        format!("{}: {pace}{}", owner.label, steadiness(&owner.bytes))
    });
    for sentence in all.into_iter().chain(owners) {
        let wrapped = wrap(&style.adapt(&sentence), style.width, "  ", "    ");
        lines.extend(wrapped.into_iter().map(|line| Line::new(Look::Plain, line)));
    }
    lines
}

/// The line through all.
fn pace(series: &Series, style: Style) -> Option<String> {
    series.pace.map(|pace| {
        let square = if style.unicode { "R²" } else { "R2" };
        // A blank inside would let a line break come between the two.
        let fit = pace.r_squared.map(|fit| format!(" ({square}={:.2})", (fit * 100.0).floor() / 100.0));
        format!("{} per hour over all{}", bytes(pace.per_hour as i128, style), fit.unwrap_or_default())
    })
}
