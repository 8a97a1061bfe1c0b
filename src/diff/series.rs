//! How a number went over several snapshots, and how steady that was.

use super::change::{Change, Interval};
use serde::Serialize;

/// How much of the ups and downs a straight line must explain (R²) for a growth to be called steady.
const STEADY: f64 = 0.9;

/// How steady a growth is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Steadiness {
    /// It grew in each interval, at nearly one rate.
    Steady,
    /// It grew in each interval, at different rates.
    Uneven,
    /// It grew in some intervals and not in others.
    NotSteady,
    /// It grew in none.
    NotGrowing,
    /// There are not enough intervals to tell.
    Unknown,
}

/// The straight line that fits best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pace {
    /// Least-squares rate in units per hour.
    pub per_hour: f64,
    /// How much of the ups and downs it explains (R²), from 0 to 1; `None` if there are none.
    pub r_squared: Option<f64>,
}

/// A number in several snapshots of one process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// The number in each snapshot, oldest first.
    pub values: Vec<u64>,
    /// How fast it changed in each interval, in units per hour; `None` if no time passed.
    pub rates: Vec<Option<f64>>,
    /// In how many intervals it grew.
    pub grew_in: usize,
    /// The line through all.
    pub pace: Option<Pace>,
    /// How steady it is.
    pub steadiness: Steadiness,
}

impl Series {
    /// `values` at these times, in seconds, oldest first.
    pub(super) fn of(values: Vec<u64>, times: &[f64]) -> Series {
        let pairs = || values.windows(2).zip(times.windows(2));
        let rate = |(values, times): (&[u64], &[f64])| {
            let [old, new] = [values.first()?, values.last()?];
            Interval::between(*times.first()?, *times.last()?).per_hour(Change::new(*old, *new).by())
        };
        let rates: Vec<Option<f64>> = pairs().map(rate).collect();
        let grew_in = values.windows(2).filter(|pair| pair.first() < pair.last()).count();
        let pace = pace(&values, times);
        let steadiness = match (rates.len(), grew_in) {
            (_, 0) => Steadiness::NotGrowing,
            (0..=1, _) => Steadiness::Unknown,
            (intervals, grew) if grew < intervals => Steadiness::NotSteady,
            _ if pace.and_then(|pace| pace.r_squared).is_some_and(|fit| fit >= STEADY) => Steadiness::Steady,
            _ => Steadiness::Uneven,
        };
        Series { values, rates, grew_in, pace, steadiness }
    }

    /// From the first to the last.
    pub fn change(&self) -> Change {
        let [first, last] = [self.values.first(), self.values.last()].map(|value| value.copied().unwrap_or(0));
        Change::new(first, last)
    }

    /// The slowest and the fastest rate of the intervals.
    pub fn rate_range(&self) -> Option<(f64, f64)> {
        let known = || self.rates.iter().flatten().copied();
        let (least, most) = (known().reduce(f64::min)?, known().reduce(f64::max)?);
        Some((least, most))
    }
}

/// The least-squares line through the values.
fn pace(values: &[u64], times: &[f64]) -> Option<Pace> {
    let first_time = *times.first()?;
    let first = *values.first()?;
    // Counted from the first point: large numbers with small differences would lose these.
    let hours: Vec<f64> = times.iter().map(|time| (time - first_time) / 3600.0).collect();
    let heights: Vec<f64> = values.iter().map(|value| Change::new(first, *value).by() as f64).collect();
    let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
    let (mean_hour, mean_height) = (mean(&hours), mean(&heights));
    let products = hours.iter().zip(&heights).map(|(hour, height)| (hour - mean_hour) * (height - mean_height));
    let covariance: f64 = products.sum();
    let square = |numbers: &[f64], mean: f64| numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>();
    let (spread, rise) = (square(&hours, mean_hour), square(&heights, mean_height));
    let per_hour = covariance / spread;
    let r_squared = (rise > 0.0).then(|| (covariance * covariance / (spread * rise)).clamp(0.0, 1.0));
    per_hour.is_finite().then_some(Pace { per_hour, r_squared: r_squared.filter(|fit| fit.is_finite()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: [f64; 5] = [0.0, 3600.0, 7200.0, 10_800.0, 14_400.0];

    #[test]
    fn a_straight_line_is_steady() {
        let series = Series::of(vec![100, 200, 300, 400, 500], &HOURS);
        assert_eq!(series.pace, Some(Pace { per_hour: 100.0, r_squared: Some(1.0) }));
        assert_eq!((series.grew_in, series.steadiness), (4, Steadiness::Steady));
        assert_eq!(series.rate_range(), Some((100.0, 100.0)));
        assert_eq!(series.change(), Change::new(100, 500));
    }

    #[test]
    fn ups_and_downs_are_not() {
        let steadiness = |values: [u64; 5]| Series::of(values.to_vec(), &HOURS).steadiness;
        assert_eq!(steadiness([100, 90, 130, 80, 500]), Steadiness::NotSteady);
        assert_eq!(steadiness([100, 101, 102, 103, 900]), Steadiness::Uneven);
        assert_eq!(steadiness([5, 5, 4, 4, 4]), Steadiness::NotGrowing);
        assert_eq!(Series::of(vec![1, 2], &HOURS[..2]).steadiness, Steadiness::Unknown);
    }

    #[test]
    fn without_time_or_change_there_is_no_line() {
        assert_eq!(Series::of(vec![1, 2, 3], &[5.0, 5.0, 5.0]).pace, None);
        assert_eq!(Series::of(vec![1, 2, 3], &[f64::NAN, 5.0, 6.0]).pace, None);
        let flat = Series::of(vec![7, 7, 7], &HOURS[..3]);
        assert_eq!(flat.pace, Some(Pace { per_hour: 0.0, r_squared: None }));
        let wild = Series::of(vec![0, u64::MAX, 0], &[0.0, 1e-300, f64::MAX]);
        assert_eq!(wild.grew_in, 1);
    }
}
