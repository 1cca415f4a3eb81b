//! Several runs of one measurement: their median, and how far apart they are.

use serde::{Deserialize, Serialize};

use crate::report::Measurement;

/// The largest ratio between the best and the worst run of a median that can be quoted. Above it something else used the machine, or
/// the measurement is too short, and the line says so. The runs of an idle machine are within 10 %, and 25 % is what two busy
/// neighbours cost on two cores.
pub(crate) const NOISY: f64 = 1.25;

/// The spread of several runs. One run has none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) runs: usize,
    /// Of the figure of the measurement: the rate, or `p50_ms` where there is a latency.
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Whether they are further apart than a median says anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) noisy: bool,
}

impl Spread {
    /// Of the figures of all runs; none for less than two.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let (min, max) =
            (figures.iter().copied().reduce(f64::min)?, figures.iter().copied().reduce(f64::max)?);
        let ratio = max / min;
        let noisy = !ratio.is_finite() || ratio > NOISY;
        (figures.len() > 1).then_some(Self { runs: figures.len(), min, max, noisy })
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// The run with the median figure, with the spread of all runs.
///
/// # Panics
/// If there was no run.
pub(crate) fn median(mut runs: Vec<Measurement>) -> Measurement {
    runs.sort_by(|one, other| one.figure().value.total_cmp(&other.figure().value));
    let figures: Vec<f64> = runs.iter().map(|run| run.figure().value).collect();
    let mut median = runs.swap_remove((runs.len() - 1) / 2);
    median.spread = Spread::of(&figures);
    median
}

/// The warning for a line whose median is not one to quote.
pub(crate) fn warning(measurement: &Measurement) -> Option<String> {
    let spread = measurement.spread.filter(|spread| spread.noisy)?;
    Some(format!(
        "noisy: {} of {} on {}, {}, n {}: {} runs between {:.4} and {:.4} {}, more than {NOISY} apart; measure again on an idle machine",
        measurement.name,
        measurement.system(),
        measurement.backend,
        measurement.durability,
        measurement.n,
        spread.runs,
        spread.min,
        spread.max,
        measurement.figure().name,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::measurement;

    fn rated(rates: &[f64]) -> Vec<Measurement> {
        rates.iter().map(|rate| measurement(None, "jobs", 10, *rate)).collect()
    }

    #[test]
    fn the_middle_run_is_printed_with_the_spread_of_all() {
        let median = median(rated(&[120.0, 100.0, 110.0]));
        assert!((median.rate - 110.0).abs() < 1e-9);
        assert_eq!(median.spread, Some(Spread { runs: 3, min: 100.0, max: 120.0, noisy: false }));
        assert_eq!(warning(&median), None);
    }

    #[test]
    fn one_run_has_no_spread() {
        assert_eq!(median(rated(&[100.0])).spread, None);
    }

    #[test]
    fn runs_that_are_too_far_apart_are_called_noisy() {
        let median = median(rated(&[100.0, 126.0, 110.0]));
        let line = serde_json::to_value(&median).expect("it is plain data");
        assert_eq!(line["noisy"], true);
        let warning = warning(&median).expect("it is noisy");
        assert!(warning.contains("jobs of stent on sqlite, full, n 10: 3 runs between 100"), "{warning}");
    }

    #[test]
    fn a_run_of_no_time_is_noisy() {
        assert!(Spread::of(&[0.0, 1.0]).is_some_and(|spread| spread.noisy));
    }
}
