//! Several measurements of one thing.

/// Middle and largest of some values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without any value.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_unstable_by(f64::total_cmp);
        let &most = values.last()?;
        let (lower, upper) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Spread { median: (lower + upper) / 2.0, most })
    }
}
