//! The metrics that Stent reports through the `metrics` facade: their names, labels, units and descriptions. Records values
//! with whichever recorder is installed, and keeps none.

use ::metrics::{Key, Label, Level, Metadata, SharedString, Unit, with_recorder};

/// Upper bounds of histogram buckets for the metrics in seconds: from half a millisecond, which is a commit on a local
/// SQLite, to an hour, which is a wait. Exporters do not choose buckets by themselves; with `metrics-exporter-prometheus`:
///
/// ```
/// use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
/// use stent::metrics::{SECONDS_BUCKETS, SIZE_BUCKETS};
///
/// # fn main() -> Result<(), BuildError> {
/// let builder = PrometheusBuilder::new()
///     .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
///     .set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), &SIZE_BUCKETS)?;
/// # let _ = builder;
/// # Ok(())
/// # }
/// ```
pub const SECONDS_BUCKETS: [f64; 16] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0,
];

/// Upper bounds of histogram buckets for the metrics that end in `_batch_size`. An exchange carries at most 512
/// transitions.
pub const SIZE_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 32.0, 128.0, 256.0, 512.0];

static METADATA: Metadata<'static> = Metadata::new("stent", Level::INFO, Some("stent"));

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Counter,
    Gauge,
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub(super) struct Series {
    name: &'static str,
    shape: Shape,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
}

impl Series {
    const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, shape: Shape::Counter, unit: Unit::Count, labels, help }
    }

    const fn gauge(
        name: &'static str,
        unit: Unit,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, shape: Shape::Gauge, unit, labels, help }
    }

    const fn histogram(
        name: &'static str,
        unit: Unit,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, shape: Shape::Histogram, unit, labels, help }
    }

    /// Adds to a counter. The values are those of the labels, in order.
    pub(super) fn add<const N: usize>(&self, count: u64, values: [SharedString; N]) {
        debug_assert_eq!(self.shape, Shape::Counter, "{self:?}");
        let key = self.key(values);
        with_recorder(|recorder| recorder.register_counter(&key, &METADATA)).increment(count);
    }

    /// Sets a gauge.
    pub(super) fn set<const N: usize>(&self, value: f64, values: [SharedString; N]) {
        debug_assert_eq!(self.shape, Shape::Gauge, "{self:?}");
        let key = self.key(values);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA)).set(value);
    }

    /// Adds a value to a histogram.
    pub(super) fn record<const N: usize>(&self, value: f64, values: [SharedString; N]) {
        debug_assert_eq!(self.shape, Shape::Histogram, "{self:?}");
        let key = self.key(values);
        with_recorder(|recorder| recorder.register_histogram(&key, &METADATA)).record(value);
    }

    fn key<const N: usize>(&self, values: [SharedString; N]) -> Key {
        debug_assert_eq!(self.labels.len(), N, "each label of {self:?} has a value");
        let labels = self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value));
        Key::from_parts(self.name, labels.collect::<Vec<_>>())
    }
}

/// Tells the installed recorder the unit and the description of every metric.
pub(super) fn describe() {
    for series in ALL {
        let (name, unit, help) = (series.name.into(), Some(series.unit), series.help.into());
        with_recorder(|recorder| match series.shape {
            Shape::Counter => recorder.describe_counter(name, unit, help),
            Shape::Gauge => recorder.describe_gauge(name, unit, help),
            Shape::Histogram => recorder.describe_histogram(name, unit, help),
        });
    }
}

/// The name of every metric.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|series| series.name)
}

/// Declares the metrics, and the list of all of them.
macro_rules! series {
    ($($name:ident = $series:expr;)+) => {
        $(pub(super) static $name: Series = $series;)+

        static ALL: &[&Series] = &[$(&$name),+];
    };
}

series! {
    EXECUTIONS_DISPATCHED = Series::counter(
        "stent_executions_dispatched_total",
        &["function", "queue", "outcome"],
        "Dispatches of this process, by outcome: started, existing or uncommitted",
    );
    EXECUTIONS_DEAD_LETTERED = Series::counter(
        "stent_executions_dead_lettered_total",
        &["function", "queue", "kind"],
        "Executions that failed for good and became dead letters, by the kind of the failure",
    );
    TASKS_CLAIMED = Series::counter(
        "stent_tasks_claimed_total",
        &["function", "queue", "start"],
        "Claimed tasks, by how their code starts: fresh, cached or replayed",
    );
    TASKS_COMPLETED = Series::counter(
        "stent_tasks_completed_total",
        &["function", "queue", "task"],
        "Tasks that ended with a result, by root or step",
    );
    TASKS_FAILED = Series::counter(
        "stent_tasks_failed_total",
        &["function", "queue", "task", "kind"],
        "Tasks that failed for good or timed out, by root or step and by the kind of the failure",
    );
    TASKS_RETRIED = Series::counter(
        "stent_tasks_retried_total",
        &["function", "queue", "task", "kind"],
        "Attempts that failed and are retried, by root or step and by the kind of the failure",
    );
    TASK_DURATION = Series::histogram(
        "stent_task_duration_seconds",
        Unit::Seconds,
        &["function", "queue", "task"],
        "Time from the first start of a task to its result, including waits and earlier attempts",
    );
    TURN_DURATION = Series::histogram(
        "stent_turn_duration_seconds",
        Unit::Seconds,
        &["function", "queue", "end"],
        "Duration of turns, by how they ended",
    );
    QUEUE_WAIT = Series::histogram(
        "stent_queue_wait_seconds",
        Unit::Seconds,
        &["function", "queue"],
        "Time that tasks were due before a worker claimed them",
    );
    WAIT_DURATION = Series::histogram(
        "stent_wait_duration_seconds",
        Unit::Seconds,
        &["function", "queue"],
        "Time that parked functions waited before they continued from the cache",
    );
    COMMIT_DURATION = Series::histogram(
        "stent_commit_duration_seconds",
        Unit::Seconds,
        &["outcome"],
        "Duration of a worker's calls that send commits, by outcome: ok or error",
    );
    CLAIM_DURATION = Series::histogram(
        "stent_claim_duration_seconds",
        Unit::Seconds,
        &["outcome"],
        "Duration of a worker's calls that only claim, by outcome: ok or error",
    );
    COMMIT_BATCH_SIZE = Series::histogram(
        "stent_commit_batch_size",
        Unit::Count,
        &[],
        "Transitions per call that sends commits",
    );
    CLAIM_BATCH_SIZE = Series::histogram(
        "stent_claim_batch_size",
        Unit::Count,
        &[],
        "Claimed tasks per call that claims any",
    );
    LEASE_RENEWALS = Series::counter(
        "stent_lease_renewals_total",
        &["outcome"],
        "Renewals of leases, by outcome: renewed or failed",
    );
    LEASES_LOST = Series::counter(
        "stent_leases_lost_total",
        &["function", "queue", "loss"],
        "Leases that were lost, by how: lapsed, taken or broken_off",
    );
    STORE_ERRORS = Series::counter(
        "stent_store_errors_total",
        &["operation", "kind"],
        "Failed calls to the store, by operation and by the kind of the error",
    );
    QUEUE_DEPTH = Series::gauge(
        "stent_queue_depth",
        Unit::Count,
        &["function", "queue", "state"],
        "Tasks that wait for a worker, by state: due or delayed",
    );
    QUEUE_OLDEST_AGE = Series::gauge(
        "stent_queue_oldest_age_seconds",
        Unit::Seconds,
        &["function", "queue"],
        "How long the oldest due task has been due",
    );
    CLOCK_DRIFT = Series::gauge(
        "stent_clock_drift_seconds",
        Unit::Seconds,
        &[],
        "How far the store's clock is ahead of this host's; negative if it is behind",
    );
    HINTS_LOST = Series::counter(
        "stent_hints_lost_total",
        &[],
        "Outages of the application's channel of hints",
    );
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;

    /// A file of the repository.
    fn file(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The metrics that a text names, without the suffixes that Prometheus adds to histograms.
    fn named(text: &str) -> BTreeSet<&str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("stent_"));
        words.map(bare).collect()
    }

    fn bare(word: &str) -> &str {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let name = word.strip_suffix(suffix)?;
            ALL.iter().any(|series| series.name == name && series.shape == Shape::Histogram).then_some(name)
        });
        histogram.unwrap_or(word)
    }

    fn all() -> BTreeSet<&'static str> {
        names().collect()
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        assert_eq!(all().len(), ALL.len(), "each name is there once");
        for Series { name, shape, unit, help, .. } in ALL {
            assert_eq!(*shape == Shape::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(*unit == Unit::Seconds, name.ends_with("_seconds"), "{name}");
            assert!(name.starts_with("stent_") && !help.is_empty() && !help.ends_with('.'), "{name}");
        }
    }

    /// A misspelled name in a dashboard or an alert is an empty graph, or an alert that never fires.
    #[test]
    fn every_metric_is_on_the_dashboard_and_nothing_names_another_one() {
        let dashboard = file("deploy/grafana/stent.json");
        assert!(serde_json::from_str::<serde_json::Value>(&dashboard).is_ok(), "the dashboard is JSON");
        assert_eq!(named(&dashboard), all());
        for path in
            ["deploy/prometheus/alerts.yaml", "docs/guide/observability.md", "docs/guide/operations.md"]
        {
            let text = file(path);
            let unknown: Vec<_> = named(&text).difference(&all()).copied().collect();
            assert_eq!(unknown, [""; 0], "{path}");
        }
    }

    /// The labels that a text selects or groups by: `by (a, b)`, `{a="…"}`.
    fn labels_of(text: &str) -> BTreeSet<&str> {
        let grouped = text.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
        let selected = text.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let selected = selected.flat_map(|labels| labels.split(',')).filter_map(|label| {
            let (name, value) = label.split_once(['=', '!'])?;
            value.trim_start_matches(['=', '~']).starts_with(['"', '\\']).then_some(name)
        });
        grouped.flat_map(|labels| labels.split(',')).chain(selected).map(str::trim).collect()
    }

    #[test]
    fn dashboard_and_alerts_use_labels_that_exist() {
        let known: BTreeSet<&str> = ALL.iter().flat_map(|series| series.labels).copied().collect();
        for path in ["deploy/grafana/stent.json", "deploy/prometheus/alerts.yaml"] {
            let text = file(path);
            let labels = labels_of(&text);
            assert!(labels.contains("function") && labels.contains("start"), "{path}: {labels:?}");
            // Prometheus itself adds `le` and `instance`.
            let unknown =
                labels.iter().filter(|label| !known.contains(*label) && !["le", "instance"].contains(label));
            assert_eq!(unknown.copied().collect::<Vec<_>>(), [""; 0], "{path}");
        }
    }

    #[test]
    fn every_alert_has_a_line_in_the_runbook_and_the_reverse() {
        let (alerts, runbook) = (file("deploy/prometheus/alerts.yaml"), file("docs/guide/operations.md"));
        let after = |text: &str, start: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.trim().strip_prefix(start).map(str::to_owned)).collect()
        };
        let names = after(&alerts, "- alert: ");
        let page = "https://github.com/stent-rs/stent/blob/main/docs/guide/operations.md#";
        let links = after(&alerts, &format!("runbook_url: {page}"));
        let headings = after(&runbook, "### Stent");

        let lower = names.iter().map(|name| name.to_lowercase()).collect::<Vec<_>>();
        assert!(!names.is_empty());
        assert_eq!(links, lower, "each alert leads to its own heading");
        let headings: BTreeSet<_> = headings.iter().map(|rest| format!("Stent{rest}")).collect();
        assert_eq!(headings, names.into_iter().collect::<BTreeSet<_>>());
    }

    /// The rows of the guide's table: `| `name` | kind | labels | …`.
    #[test]
    fn the_guide_has_every_metric_with_its_labels() {
        let page = file("docs/guide/observability.md");
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let rows = page.lines().filter(|line| line.starts_with("| `stent_")).map(cells);
        let in_code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let listed: BTreeMap<_, _> = rows
            .map(|row| (row[1].trim_matches('`').to_owned(), (row[2].clone(), in_code(&row[3]))))
            .collect();

        let declared = ALL.iter().map(|series| {
            let shape = format!("{:?}", series.shape).to_lowercase();
            let labels: Vec<_> = series.labels.iter().map(|label| (*label).to_owned()).collect();
            (series.name.to_owned(), (shape, labels))
        });
        assert_eq!(listed, declared.collect::<BTreeMap<_, _>>());
    }
}
