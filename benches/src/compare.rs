//! This run against an earlier one.

use crate::record::Record;
use crate::report::{Better, Measurement};

/// One line for a person, if the earlier run measured the same.
pub(crate) fn line(now: &Measurement, earlier: &Record) -> Option<String> {
    let before = earlier.measurements.iter().find(|earlier| earlier.is_like(now))?;
    let (new, old) = (now.figure(), before.figure());
    let ratio = new.value / old.value;
    let better = match new.better {
        Better::Higher => ratio > 1.0,
        Better::Lower => ratio < 1.0,
    };
    let verdict = match (now.spread, before.spread) {
        (Some(now), Some(before)) if now.overlaps(&before) => "within the spread",
        (Some(_), Some(_)) if better => "better",
        (Some(_), Some(_)) => "worse",
        _ => "one run says nothing: use --runs",
    };
    Some(format!(
        "{} of {} on {}, {}, n {}: {} {} now, {} before: × {ratio:.2}, {verdict}",
        now.name,
        now.system(),
        now.backend,
        now.durability,
        now.n,
        new.name,
        shown(now),
        shown(before),
    ))
}

/// The median with its spread.
fn shown(measurement: &Measurement) -> String {
    let value = number(measurement.figure().value);
    match measurement.spread {
        Some(spread) => format!("{value} ({}–{})", number(spread.min), number(spread.max)),
        None => format!("{value} (one run)"),
    }
}

/// Three digits that matter, with commas between thousands.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value.abs() < 100.0 {
        let decimals = if value.abs() >= 10.0 { 1 } else { 2 };
        return format!("{value:.decimals$}");
    }
    // Digits behind the third say nothing that a second run would say, too.
    let unit = 10_f64.powi(value.abs().log10().floor() as i32 - 2);
    whole((value / unit).round() * unit)
}

/// A count or a size, with commas between thousands.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !shown.ends_with('-') {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::measurement;
    use crate::spread::median;

    fn runs(rates: &[f64]) -> Measurement {
        median(rates.iter().map(|rate| measurement(None, "jobs", 10, *rate)).collect())
    }

    fn against(now: &[f64], before: &[f64]) -> String {
        let earlier = Record { machines: Vec::new(), measurements: vec![runs(before)] };
        line(&runs(now), &earlier).expect("both measure the same")
    }

    #[test]
    fn the_ratio_is_of_medians_and_both_spreads_are_shown() {
        assert_eq!(
            against(&[300.0, 290.0, 310.0], &[100.0, 98.0, 102.0]),
            "jobs of stent on sqlite, full, n 10: rate 300 (290–310) now, 100 (98.0–102) before: × 3.00, better"
        );
    }

    #[test]
    fn overlapping_runs_decide_nothing() {
        assert!(against(&[110.0, 100.0, 120.0], &[100.0, 95.0, 101.0]).ends_with("within the spread"));
        assert!(against(&[80.0, 81.0, 79.0], &[100.0, 95.0, 101.0]).ends_with("worse"));
        assert!(against(&[300.0], &[100.0, 95.0]).ends_with("one run says nothing: use --runs"));
    }

    #[test]
    fn what_the_earlier_run_did_not_measure_has_no_line() {
        let earlier =
            Record { machines: Vec::new(), measurements: vec![measurement(Some("other"), "jobs", 10, 1.0)] };
        assert_eq!(line(&runs(&[1.0]), &earlier), None);
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let shown = [0.123, 2.345, 45.67, 123.4, 28_376.0, 1_234_567.0, f64::NAN].map(number);
        assert_eq!(shown, ["0.12", "2.35", "45.7", "123", "28,400", "1,230,000", "–"]);
        assert_eq!([10.0, 262_144.0, 1_000.0].map(whole), ["10", "262,144", "1,000"]);
    }
}
