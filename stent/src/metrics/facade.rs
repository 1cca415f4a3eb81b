//! The hooks' events as metrics of the `metrics` facade. Keeps no numbers: the application installs an exporter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::SharedString;

use super::series::{
    self, CLAIM_BATCH_SIZE, CLAIM_DURATION, CLOCK_DRIFT, COMMIT_BATCH_SIZE, COMMIT_DURATION,
    EXECUTIONS_DEAD_LETTERED, EXECUTIONS_DISPATCHED, HINTS_LOST, LEASE_RENEWALS, LEASES_LOST, QUEUE_DEPTH,
    QUEUE_OLDEST_AGE, QUEUE_WAIT, STORE_ERRORS, TASK_DURATION, TASKS_CLAIMED, TASKS_COMPLETED, TASKS_FAILED,
    TASKS_RETRIED, TURN_DURATION, WAIT_DURATION,
};
use super::{
    ClockDrift, DeadLettered, Dispatched, ExchangeDone, HintsLost, LanesSampled, LeaseLost, LeaseRenewed,
    Metrics, StoreFailed, TaskClaimed, TaskCompleted, TaskFailed, TaskRef, TurnEnded,
};

/// Most pairs of function and queue that get series of their own. Queues are texts that an application may make up at run
/// time, and a process must not grow with them; further pairs share the labels of [`OTHER`].
const LANES_MAX: usize = 1_000;
/// Most kinds of failures that get series of their own, for the same reason.
const KINDS_MAX: usize = 200;
/// The value of labels beyond these bounds.
const OTHER: &str = "other";

/// Reports events through the [`metrics`](https://docs.rs/metrics) facade, with names and units by the conventions of
/// Prometheus. The guide's page on observability lists all metrics and labels.
///
/// Install the exporter before you create this, so that it gets the descriptions. No metric has an id as a label. The number
/// of series is bounded: beyond 1,000 pairs of function and queue, or 200 kinds of failures, the labels are `other`.
///
/// ```
/// use stent::Stent;
/// use stent::metrics::Facade;
///
/// // Here the application installs an exporter, for example that of `metrics-exporter-prometheus`.
/// let builder = Stent::builder().metrics(Facade::new()).sample_lanes("15s");
/// # let _ = builder;
/// ```
#[derive(Debug)]
pub struct Facade {
    lanes: RwLock<Lanes>,
    kinds: RwLock<HashMap<Box<str>, SharedString>>,
    /// The lanes of the last sample, whose gauges become zero when nothing waits in them any more.
    sampled: Mutex<BTreeSet<LaneLabels>>,
}

/// The known lanes, by function and queue.
#[derive(Debug, Default)]
struct Lanes {
    known: HashMap<Box<str>, HashMap<Box<str>, LaneLabels>>,
    count: usize,
}

/// The labels of a lane. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LaneLabels {
    function: SharedString,
    queue: SharedString,
}

/// The waiting tasks of a function on a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Depth {
    due: u64,
    delayed: u64,
    oldest: Duration,
}

impl Facade {
    /// Describes the metrics to the installed recorder.
    #[must_use]
    pub fn new() -> Self {
        series::describe();
        Self { lanes: RwLock::default(), kinds: RwLock::default(), sampled: Mutex::default() }
    }

    fn lane(&self, function: &str, queue: &str) -> LaneLabels {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(labels) = lanes.get(function, queue) {
            return labels.clone();
        }
        drop(lanes);
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).add(function, queue)
    }

    fn lane_of(&self, task: &TaskRef<'_>) -> LaneLabels {
        self.lane(task.function, task.queue)
    }

    fn kind(&self, name: &str) -> SharedString {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = kinds.get(name) {
            return kind.clone();
        }
        drop(kinds);
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= KINDS_MAX {
            return SharedString::const_str(OTHER);
        }
        kinds.entry(name.into()).or_insert_with(|| shared(name)).clone()
    }
}

impl Default for Facade {
    fn default() -> Self {
        Self::new()
    }
}

impl Lanes {
    fn get(&self, function: &str, queue: &str) -> Option<&LaneLabels> {
        self.known.get(function)?.get(queue)
    }

    fn add(&mut self, function: &str, queue: &str) -> LaneLabels {
        // Another thread may have been first.
        if let Some(labels) = self.get(function, queue) {
            return labels.clone();
        }
        if self.count >= LANES_MAX {
            let other = SharedString::const_str(OTHER);
            return LaneLabels { function: other.clone(), queue: other };
        }
        self.count += 1;
        let labels = LaneLabels { function: shared(function), queue: shared(queue) };
        self.known.entry(function.into()).or_default().insert(queue.into(), labels.clone());
        labels
    }
}

fn shared(text: &str) -> SharedString {
    SharedString::from_shared(Arc::from(text))
}

const fn text(text: &'static str) -> SharedString {
    SharedString::const_str(text)
}

const fn place(task: &TaskRef<'_>) -> SharedString {
    text(if task.is_root { "root" } else { "step" })
}

const fn outcome(is_ok: bool) -> SharedString {
    text(if is_ok { "ok" } else { "error" })
}

/// Exact up to 52 bits, which is enough for graphs.
const fn number(count: u64) -> f64 {
    count as f64
}

impl Metrics for Facade {
    fn dispatched(&self, event: &Dispatched<'_>) {
        let LaneLabels { function, queue } = self.lane(event.function, event.queue);
        EXECUTIONS_DISPATCHED.add(1, [function, queue, text(event.outcome.as_str())]);
    }

    fn task_claimed(&self, event: &TaskClaimed<'_>) {
        let LaneLabels { function, queue } = self.lane_of(&event.task);
        QUEUE_WAIT.record(event.queued.as_secs_f64(), [function.clone(), queue.clone()]);
        if let Some(waited) = event.waited {
            WAIT_DURATION.record(waited.as_secs_f64(), [function.clone(), queue.clone()]);
        }
        let start = match (event.from_cache, event.is_replayed) {
            (true, _) => "cached",
            (false, true) => "replayed",
            (false, false) => "fresh",
        };
        TASKS_CLAIMED.add(1, [function, queue, text(start)]);
    }

    fn turn_ended(&self, event: &TurnEnded<'_>) {
        let LaneLabels { function, queue } = self.lane_of(&event.task);
        TURN_DURATION.record(event.duration.as_secs_f64(), [function, queue, text(event.end.as_str())]);
    }

    fn task_completed(&self, event: &TaskCompleted<'_>) {
        let LaneLabels { function, queue } = self.lane_of(&event.task);
        let labels = [function, queue, place(&event.task)];
        TASK_DURATION.record(event.duration.as_secs_f64(), labels.clone());
        TASKS_COMPLETED.add(1, labels);
    }

    fn task_failed(&self, event: &TaskFailed<'_>) {
        let LaneLabels { function, queue } = self.lane_of(&event.task);
        let kind = self.kind(event.failure.kind.as_str());
        let series = if event.is_retried { &TASKS_RETRIED } else { &TASKS_FAILED };
        series.add(1, [function, queue, place(&event.task), kind]);
    }

    fn dead_lettered(&self, event: &DeadLettered<'_>) {
        let LaneLabels { function, queue } = self.lane_of(&event.task);
        EXECUTIONS_DEAD_LETTERED.add(1, [function, queue, self.kind(event.failure.kind.as_str())]);
    }

    fn lease_renewed(&self, event: &LeaseRenewed) {
        LEASE_RENEWALS.add(1, [text(if event.is_renewed { "renewed" } else { "failed" })]);
    }

    fn lease_lost(&self, event: &LeaseLost<'_>) {
        let LaneLabels { function, queue } = self.lane_of(&event.task);
        LEASES_LOST.add(1, [function, queue, text(event.loss.as_str())]);
    }

    fn exchange_done(&self, event: &ExchangeDone) {
        let took = event.duration.as_secs_f64();
        if event.transitions > 0 {
            COMMIT_DURATION.record(took, [outcome(event.is_ok)]);
            COMMIT_BATCH_SIZE.record(number(event.transitions as u64), []);
        } else {
            CLAIM_DURATION.record(took, [outcome(event.is_ok)]);
        }
        if event.claimed > 0 {
            CLAIM_BATCH_SIZE.record(number(event.claimed as u64), []);
        }
    }

    fn store_failed(&self, event: &StoreFailed) {
        STORE_ERRORS.add(1, [text(event.operation), text(event.kind_str())]);
    }

    fn lanes_sampled(&self, event: &LanesSampled<'_>) {
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *sampled).into_iter().map(|labels| (labels, Depth::default()));
        let mut depths: BTreeMap<LaneLabels, Depth> = gone.collect();
        for view in event.lanes {
            let labels = self.lane(&view.lane.function, &view.lane.queue);
            let depth = depths.entry(labels.clone()).or_default();
            depth.due += view.due;
            depth.delayed += view.delayed;
            let age = view.oldest_due_at.map_or(Duration::ZERO, |oldest| event.at.since(oldest));
            depth.oldest = depth.oldest.max(age);
            sampled.insert(labels);
        }
        for (LaneLabels { function, queue }, depth) in depths {
            QUEUE_DEPTH.set(number(depth.due), [function.clone(), queue.clone(), text("due")]);
            QUEUE_DEPTH.set(number(depth.delayed), [function.clone(), queue.clone(), text("delayed")]);
            QUEUE_OLDEST_AGE.set(depth.oldest.as_secs_f64(), [function, queue]);
        }
    }

    fn clock_drift(&self, event: &ClockDrift) {
        let ahead = Duration::from_micros(event.ahead_us.unsigned_abs()).as_secs_f64();
        CLOCK_DRIFT.set(if event.ahead_us < 0 { -ahead } else { ahead }, []);
    }

    fn hints_lost(&self, _event: &HintsLost) {
        HINTS_LOST.add(1, []);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
    use stent_core::backend::ErrorKind;
    use stent_core::model::Lane;
    use stent_core::{ExecutionId, Failure, TaskId, Timestamp, WorkerId};
    use uuid::Uuid;

    use super::*;
    use crate::metrics::{DispatchOutcome, LeaseLoss, SECONDS_BUCKETS, SIZE_BUCKETS, TurnEnd};

    const WORKER: WorkerId = WorkerId::from_uuid(Uuid::from_u128(1));

    fn task(is_root: bool) -> TaskRef<'static> {
        TaskRef {
            id: TaskId::from_uuid(Uuid::from_u128(2)),
            execution: ExecutionId::from_uuid(Uuid::from_u128(3)),
            function: "charge",
            queue: "payments",
            is_root,
        }
    }

    /// What an exporter shows after some events.
    fn scraped(events: impl FnOnce(&Facade)) -> String {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), &SIZE_BUCKETS)
            })
            .expect("buckets")
            .build_recorder();
        ::metrics::with_local_recorder(&recorder, || events(&Facade::new()));
        recorder.handle().render()
    }

    #[test]
    fn every_event_has_its_series_unit_and_description() {
        let (s, ms) = (Duration::from_secs, Duration::from_millis);
        let failure = Failure::new(stent_core::Kind::new("shop::Declined"), "no");
        let (worker, step, root) = (WORKER, task(false), task(true));
        let failed = |is_retried| TaskFailed {
            worker,
            task: root,
            failure: &failure,
            is_retried,
            duration: s(1),
            turn: s(1),
        };
        let claimed = |from_cache, is_replayed, waited| TaskClaimed {
            worker,
            task: root,
            attempts: 0,
            queued: ms(250),
            from_cache,
            is_replayed,
            waited,
        };
        let exchange = |transitions, claimed, is_ok| ExchangeDone {
            worker,
            transitions,
            claimed,
            duration: ms(2),
            is_ok,
        };
        let mut lane = stent_core::backend::LaneView::new(Lane::new("payments", "charge"));
        (lane.due, lane.delayed, lane.oldest_due_at) = (3, 4, Some(Timestamp::from_micros(1_000_000)));

        let text = scraped(|facade| {
            for outcome in [DispatchOutcome::Started, DispatchOutcome::Existing, DispatchOutcome::Uncommitted]
            {
                let (function, queue) = ("charge", "payments");
                facade.dispatched(&Dispatched { execution: root.execution, function, queue, outcome });
            }
            facade.task_claimed(&claimed(false, false, None));
            facade.task_claimed(&claimed(false, true, None));
            facade.task_claimed(&claimed(true, false, Some(s(2))));
            facade.turn_ended(&TurnEnded { worker, task: root, end: TurnEnd::Parked, duration: ms(3) });
            facade.task_completed(&TaskCompleted { worker, task: step, duration: s(9), turn: ms(1) });
            facade.task_failed(&failed(true));
            facade.task_failed(&failed(false));
            facade.dead_lettered(&DeadLettered { task: root, failure: &failure });
            facade.lease_renewed(&LeaseRenewed { worker, task: root.id, is_renewed: true });
            facade.lease_renewed(&LeaseRenewed { worker, task: root.id, is_renewed: false });
            facade.lease_lost(&LeaseLost { worker, task: root, loss: LeaseLoss::Lapsed });
            facade.exchange_done(&exchange(7, 0, true));
            facade.exchange_done(&exchange(0, 2, false));
            facade.store_failed(&StoreFailed { operation: "exchange", kind: ErrorKind::Contended });
            let at = Timestamp::from_micros(3_500_000);
            facade.lanes_sampled(&LanesSampled { lanes: std::slice::from_ref(&lane), at, duration: ms(1) });
            facade.clock_drift(&ClockDrift { ahead_us: -1_500_000, uncertainty: ms(1) });
            facade.hints_lost(&HintsLost { outages: 1 });
        });

        let lane = r#"function="charge",queue="payments""#;
        for line in [
            format!("stent_executions_dispatched_total{{{lane},outcome=\"started\"}} 1"),
            format!("stent_executions_dispatched_total{{{lane},outcome=\"existing\"}} 1"),
            format!("stent_executions_dispatched_total{{{lane},outcome=\"uncommitted\"}} 1"),
            format!("stent_executions_dead_lettered_total{{{lane},kind=\"shop::Declined\"}} 1"),
            format!("stent_tasks_claimed_total{{{lane},start=\"fresh\"}} 1"),
            format!("stent_tasks_claimed_total{{{lane},start=\"replayed\"}} 1"),
            format!("stent_tasks_claimed_total{{{lane},start=\"cached\"}} 1"),
            format!("stent_tasks_completed_total{{{lane},task=\"step\"}} 1"),
            format!("stent_tasks_retried_total{{{lane},task=\"root\",kind=\"shop::Declined\"}} 1"),
            format!("stent_tasks_failed_total{{{lane},task=\"root\",kind=\"shop::Declined\"}} 1"),
            format!("stent_task_duration_seconds_sum{{{lane},task=\"step\"}} 9"),
            format!("stent_turn_duration_seconds_bucket{{{lane},end=\"parked\",le=\"0.005\"}} 1"),
            format!("stent_queue_wait_seconds_sum{{{lane}}} 0.75"),
            format!("stent_wait_duration_seconds_sum{{{lane}}} 2"),
            "stent_commit_duration_seconds_count{outcome=\"ok\"} 1".to_owned(),
            "stent_claim_duration_seconds_count{outcome=\"error\"} 1".to_owned(),
            "stent_commit_batch_size_sum 7".to_owned(),
            "stent_claim_batch_size_bucket{le=\"2\"} 1".to_owned(),
            "stent_lease_renewals_total{outcome=\"renewed\"} 1".to_owned(),
            "stent_lease_renewals_total{outcome=\"failed\"} 1".to_owned(),
            format!("stent_leases_lost_total{{{lane},loss=\"lapsed\"}} 1"),
            "stent_store_errors_total{operation=\"exchange\",kind=\"contended\"} 1".to_owned(),
            format!("stent_queue_depth{{{lane},state=\"due\"}} 3"),
            format!("stent_queue_depth{{{lane},state=\"delayed\"}} 4"),
            format!("stent_queue_oldest_age_seconds{{{lane}}} 2.5"),
            "stent_clock_drift_seconds -1.5".to_owned(),
            "stent_hints_lost_total 1".to_owned(),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
        }
        for series in series::names() {
            assert!(text.contains(&format!("# HELP {series} ")), "{series} has no description in\n{text}");
        }
    }

    #[test]
    fn a_lane_in_which_nothing_waits_any_more_shows_zero() {
        let mut lane = stent_core::backend::LaneView::new(Lane::new("payments", "charge"));
        (lane.due, lane.oldest_due_at) = (3, Some(Timestamp::from_micros(0)));
        let at = Timestamp::from_micros(5_000_000);

        let text = scraped(|facade| {
            for lanes in [std::slice::from_ref(&lane), &[]] {
                facade.lanes_sampled(&LanesSampled { lanes, at, duration: Duration::ZERO });
            }
        });

        let labels = r#"function="charge",queue="payments""#;
        assert!(text.contains(&format!("stent_queue_depth{{{labels},state=\"due\"}} 0\n")), "{text}");
        assert!(text.contains(&format!("stent_queue_oldest_age_seconds{{{labels}}} 0\n")), "{text}");
    }

    #[test]
    fn queues_that_are_made_up_share_one_series_from_a_bound_on() {
        let facade = Facade::new();
        let first = facade.lane("f", "queue-0");

        for n in 0..2 * LANES_MAX {
            facade.lane("f", &format!("queue-{n}"));
        }

        let late = facade.lane("f", &format!("queue-{}", 2 * LANES_MAX - 1));
        assert_eq!((late.function.as_ref(), late.queue.as_ref()), (OTHER, OTHER));
        assert_eq!(facade.lane("f", "queue-0"), first, "those that are known stay");
        assert_eq!(facade.lanes.read().expect("whole").count, LANES_MAX);
    }

    #[test]
    fn kinds_of_failures_share_one_series_from_a_bound_on() {
        let facade = Facade::new();

        let kinds: BTreeSet<_> = (0..2 * KINDS_MAX).map(|n| facade.kind(&format!("kind-{n}"))).collect();

        assert_eq!(kinds.len(), KINDS_MAX + 1);
        assert!(kinds.contains(&SharedString::const_str(OTHER)));
    }
}
