//! Several measurements of one thing.

/// Smallest, middle and largest of some values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    #[allow(dead_code, reason = "not every benchmark shows it")]
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without any value.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_unstable_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let (lower, upper) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Spread { least, median: (lower + upper) / 2.0, most })
    }
}
