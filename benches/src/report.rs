//! The result of a measurement, as it is printed.

use serde::{Deserialize, Serialize};

use crate::gauge::Usage;
use crate::plan::{Backend, Bench, Durability, Spec};
use crate::scene::Counters;
use crate::spread::Spread;

/// A measurement. Fields that do not apply to a bench, or could not be counted, are left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The library that was measured; Stent unless it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    pub(crate) name: Bench,
    pub(crate) backend: Backend,
    pub(crate) durability: Durability,
    /// The setting of the Redis server that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) appendfsync: Option<String>,
    /// The size: executions, items of a map, steps of a function, bytes of a payload, lanes, processes.
    pub(crate) n: u32,
    /// Executions, if the size is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) executions: Option<u32>,
    /// The duration of the work, without dispatching it.
    pub(crate) seconds: f64,
    /// Executions, items or steps per second of work, without dispatching it.
    pub(crate) rate: f64,
    #[serde(flatten)]
    pub(crate) dispatch: Option<Dispatching>,
    #[serde(flatten)]
    pub(crate) latency: Option<Latency>,
    #[serde(flatten)]
    pub(crate) fleet: Option<Fleet>,
    #[serde(flatten)]
    pub(crate) beside: Option<Beside>,
    #[serde(flatten)]
    pub(crate) parked: Option<Parked>,
    /// The lease of the worker that was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease_seconds: Option<f64>,
    #[serde(flatten)]
    pub(crate) memory: Option<ServerMemory>,
    #[serde(flatten)]
    pub(crate) size: Option<Size>,
    /// The peak resident memory of the process; of the larger one if there are two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak_rss_mb: Option<f64>,
    /// Steps that the executions called, or jobs and items if those are the steps.
    pub(crate) steps: u64,
    #[serde(flatten)]
    pub(crate) cost: Option<Cost>,
    #[serde(flatten)]
    pub(crate) usage: Option<Usage>,
    /// The load average of the machine, over the minute before the measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load: Option<f64>,
    #[serde(flatten)]
    pub(crate) spread: Option<Spread>,
}

/// The cost of dispatching, if everything is dispatched before the work begins.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Dispatching {
    pub(crate) dispatch_seconds: f64,
    pub(crate) dispatch_rate: f64,
    /// `n` per second of dispatching and working, one after the other.
    pub(crate) rate_with_dispatch: f64,
}

/// Times from the dispatch of an execution to its result, or to its start; or of one claim.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Figures of several workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fleet {
    /// Jobs that each worker ran.
    pub(crate) per_worker: Vec<usize>,
    /// Jobs that ran more than once.
    pub(crate) ran_twice: usize,
}

/// The memory of the server for one execution, on average.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ServerMemory {
    /// A job that waits.
    pub(crate) bytes_waiting: f64,
    /// A job that has ended.
    pub(crate) bytes_ended: f64,
    /// An execution of three steps that has ended.
    pub(crate) bytes_ended_with_three_steps: f64,
}

/// How large a store became whose old executions are deleted meanwhile. Sizes are those of SQLite's files with the log, of Postgres'
/// tables with their indexes, or of a Redis server's memory.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Size {
    /// The most executions in the store.
    pub(crate) executions_max: u64,
    /// Executions in the store, once all were old.
    pub(crate) executions_end: u64,
    /// The largest size in the first half of the work, and in the second half.
    pub(crate) mib_max_first_half: f64,
    pub(crate) mib_max_second_half: f64,
    pub(crate) mib_end: f64,
    /// The most dead rows of Postgres, as its statistics count them.
    pub(crate) dead_rows_max: u64,
}

/// The work of the store, including dispatching.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    transactions_per_step: f64,
    rows_per_step: f64,
    transactions: u64,
    statements: u64,
    rows_written: u64,
}

/// The latency and the claims of a store, before there was so much else in it; `p50_ms` is with it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Beside {
    pub(crate) p50_ms_before: f64,
    /// One claim of one task, median.
    pub(crate) claim_ms: f64,
    pub(crate) claim_ms_before: f64,
}

/// Functions that wait for a signal in a worker.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Parked {
    /// Resident memory for each of them.
    pub(crate) bytes_parked: f64,
    /// Statements, or commands of Redis, of the process per second while nothing happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_queries_per_second: Option<f64>,
}

/// The figure of a measurement that is compared, drawn and put into tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The name of its field.
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) better: Better,
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Measurement {
    /// The measurement of work that took this long.
    pub(crate) fn new(spec: &Spec, seconds: f64, steps: u64) -> Self {
        Self {
            peer: None,
            name: spec.bench,
            backend: spec.backend,
            durability: spec.durability,
            appendfsync: None,
            n: spec.n,
            executions: None,
            seconds,
            rate: f64::from(spec.n) / seconds,
            dispatch: None,
            latency: None,
            fleet: None,
            beside: None,
            parked: None,
            lease_seconds: None,
            memory: None,
            size: None,
            peak_rss_mb: None,
            steps,
            cost: None,
            usage: None,
            load: None,
            spread: None,
        }
    }

    /// For a size that is not the number of executions; comes before the other parts.
    pub(crate) fn of_executions(mut self, executions: u32) -> Self {
        self.executions = Some(executions);
        self.rate = f64::from(executions) / self.seconds;
        self
    }

    /// The number that the costs are divided by: of executions, items or steps.
    pub(crate) fn count(&self) -> f64 {
        f64::from(self.executions.unwrap_or(self.n))
    }

    /// The library that was measured.
    pub(crate) fn system(&self) -> &str {
        self.peer.as_deref().unwrap_or("stent")
    }

    /// Whether both measure the same, on whatever machine.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.system().to_owned(), it.name, it.backend, it.durability, it.n);
        key(self) == key(other)
    }

    pub(crate) fn figure(&self) -> Figure {
        use Better::{Higher, Lower};
        let (name, value, better) = match (self.name, self.latency, self.parked, self.memory) {
            (Bench::Parked, _, Some(parked), _) => ("bytes_parked", parked.bytes_parked, Lower),
            (Bench::Memory, _, _, Some(memory)) => ("bytes_waiting", memory.bytes_waiting, Lower),
            (_, Some(latency), _, _) => ("p50_ms", latency.p50_ms, Lower),
            _ => ("rate", self.rate, Higher),
        };
        Figure { name, value, better }
    }

    pub(crate) fn dispatched_in(mut self, dispatch_seconds: f64) -> Self {
        self.dispatch = Some(Dispatching {
            dispatch_seconds,
            dispatch_rate: self.count() / dispatch_seconds,
            rate_with_dispatch: self.count() / (dispatch_seconds + self.seconds),
        });
        self
    }

    pub(crate) fn costing(mut self, counters: Option<Counters>) -> Self {
        let per_step = |count: u64| count as f64 / self.steps as f64;
        self.cost = counters.map(|Counters { transactions, statements, rows_written }| Cost {
            transactions_per_step: per_step(transactions),
            rows_per_step: per_step(rows_written),
            transactions,
            statements,
            rows_written,
        });
        self
    }
}

impl Latency {
    /// The percentiles of some times in seconds, by nearest rank.
    pub(crate) fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let rank = (seconds.len() * percent).div_ceil(100).max(1);
            seconds.get(rank - 1).map_or(f64::NAN, |seconds| seconds * 1_000.0)
        };
        Self { p50_ms: percentile(50), p99_ms: percentile(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(bench: Bench, n: u32) -> Spec {
        Spec {
            bench,
            backend: Backend::Sqlite,
            durability: Durability::Full,
            n,
            concurrency: None,
            wait: false,
            dir: "x".into(),
        }
    }

    #[test]
    fn percentiles_are_taken_by_rank() {
        let latency = Latency::of((1..=200).rev().map(|ms| f64::from(ms) / 1_000.0).collect());
        assert!(
            (latency.p50_ms - 100.0).abs() < 1e-9 && (latency.p99_ms - 198.0).abs() < 1e-9,
            "{latency:?}"
        );
    }

    #[test]
    fn a_line_is_one_flat_object_without_what_does_not_apply() {
        let counters = Counters { transactions: 5, statements: 40, rows_written: 30 };
        let measurement = Measurement::new(&spec(Bench::TwoWorkers, 10), 2.0, 10)
            .dispatched_in(3.0)
            .costing(Some(counters));

        let line = serde_json::to_value(measurement).expect("it is plain data");

        assert_eq!(line["name"], "two-workers");
        assert_eq!((&line["rate"], &line["rate_with_dispatch"]), (&5.0.into(), &2.0.into()));
        assert_eq!((&line["transactions_per_step"], &line["rows_per_step"]), (&0.5.into(), &3.0.into()));
        assert!(
            line.get("p50_ms").is_none() && line.get("peak_rss_mb").is_none() && line.get("runs").is_none()
        );
    }

    #[test]
    fn a_line_is_read_as_it_was_printed() {
        let mut measurement =
            Measurement::new(&spec(Bench::Lanes, 7), 2.0, 10).of_executions(4).dispatched_in(1.0);
        measurement.peer = Some("other".to_owned());
        measurement.latency = Some(Latency { p50_ms: 1.5, p99_ms: 3.0 });
        let line = serde_json::to_string(&measurement).expect("it is plain data");

        let read: Measurement = serde_json::from_str(&line).expect("it was printed");

        assert_eq!(serde_json::to_string(&read).expect("it is plain data"), line);
        assert!((read.rate - 2.0).abs() < 1e-9 && read.beside.is_none() && read.spread.is_none(), "{line}");
    }

    #[test]
    fn the_figure_is_the_latency_where_there_is_one() {
        let mut measurement = Measurement::new(&spec(Bench::Jobs, 10), 2.0, 10);
        assert_eq!(measurement.figure(), Figure { name: "rate", value: 5.0, better: Better::Higher });
        measurement.latency = Some(Latency { p50_ms: 1.5, p99_ms: 3.0 });
        assert_eq!(measurement.figure(), Figure { name: "p50_ms", value: 1.5, better: Better::Lower });
    }
}
