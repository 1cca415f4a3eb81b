//! Reports a worker's work: to metrics hooks, to its status, and, when work is stopped, to the log. Decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Claimed, Error as StoreError};
use stent_core::model::{Lane, Lease, NewTask, NewTaskState, StepKind, TaskResult, Tree};
use stent_core::transition::{Next, Transition};
use stent_core::{Failure, TaskId, Timestamp};

use super::status::Vitals;
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::engine::expire::report_expired;
use crate::engine::hooks::Hooks;
use crate::metrics::{
    DispatchOutcome, Dispatched, ExchangeDone, LeaseLoss, LeaseLost, LeaseRenewed, TaskClaimed,
    TaskCompleted, TaskFailed, TaskRef, TurnEnd, TurnEnded,
};

/// The subject of a turn, for code that otherwise only knows its id.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    task: TaskId,
    tree: Tree,
    lane: Lane,
    /// When the task first started.
    started_at: Timestamp,
    /// When this turn started.
    turn_at: Timestamp,
}

impl Subject {
    pub(super) fn of_claim(claimed: &Claimed, now: Timestamp) -> Self {
        let task = &claimed.task;
        Self {
            task: task.id,
            tree: task.tree,
            lane: task.lane.clone(),
            started_at: task.started_at.unwrap_or(now),
            turn_at: now,
        }
    }

    /// The same task, with a turn that begins now.
    pub(super) fn from(self, now: Timestamp) -> Self {
        Self { turn_at: now, ..self }
    }

    /// The subject of a step that was written under its own lease.
    pub(super) fn of_step(row: &NewTask, now: Timestamp) -> Self {
        Self { task: row.id, tree: row.tree, lane: row.lane.clone(), started_at: now, turn_at: now }
    }

    pub(super) fn function(&self) -> &str {
        &self.lane.function
    }

    fn as_ref(&self) -> TaskRef<'_> {
        task_ref(self.task, &self.tree, &self.lane)
    }
}

fn task_ref<'a>(id: TaskId, tree: &Tree, lane: &'a Lane) -> TaskRef<'a> {
    TaskRef {
        id,
        execution: tree.execution,
        function: &lane.function,
        queue: &lane.queue,
        is_root: tree.parent.is_none(),
    }
}

/// Number of turns, and their functions.
fn counted<'a>(turns: impl Iterator<Item = &'a Subject>) -> (usize, String) {
    let mut functions = BTreeMap::<&str, usize>::new();
    turns.for_each(|turn| *functions.entry(&turn.lane.function).or_default() += 1);
    let count = functions.values().sum();
    let shown: Vec<String> = functions
        .into_iter()
        .map(
            |(function, count)| {
                if count == 1 { format!("`{function}`") } else { format!("{count} of `{function}`") }
            },
        )
        .collect();
    (count, shown.join(", "))
}

fn tell_retried(&TaskRef { id, execution, function, .. }: &TaskRef<'_>, failure: &Failure, pause: Duration) {
    tracing::info!(%execution, task = %id, function, %failure, "`{function}` failed and is retried in {pause:?}: \
                                                                {failure}");
}

fn tell_failed_step(&TaskRef { id, execution, function, .. }: &TaskRef<'_>, failure: &Failure) {
    tracing::info!(%execution, task = %id, function, %failure, "`{function}` failed, and its caller gets the error: {failure}");
}

/// How a turn ended whose last write this is; `None` if the turn continues, or if the write is of no turn.
const fn end_of_turn(transition: &Transition) -> Option<TurnEnd> {
    match transition {
        Transition::Commit(commit) => match &commit.next {
            Next::Keep => None,
            Next::Park(_) => Some(TurnEnd::Parked),
            Next::Retry { .. } => Some(TurnEnd::Retried),
            Next::Redo => Some(TurnEnd::Restarted),
            Next::Release => Some(TurnEnd::Released),
            Next::End(Ok(_)) => Some(TurnEnd::Completed),
            Next::End(Err(_)) => Some(TurnEnd::Failed),
        },
        Transition::Expire(_) => Some(TurnEnd::Failed),
        Transition::Dispatch(_)
        | Transition::Request(_)
        | Transition::Unpark(_)
        | Transition::Postpone(_)
        | Transition::Import(_) => None,
    }
}

/// The outcome of an attempt.
struct Ended<'a> {
    task: TaskRef<'a>,
    result: Result<(), &'a Failure>,
    is_retried: bool,
    duration: Duration,
    turn: Duration,
}

/// Receivers of a worker's reports.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    hooks: Hooks,
    clock: Arc<Clock>,
    vitals: Arc<Vitals>,
    /// The store's location, without secrets.
    store: Arc<str>,
}

impl Reporter {
    pub(super) fn new(engine: &Engine, vitals: Arc<Vitals>) -> Self {
        let (hooks, clock) = (engine.hooks.clone(), engine.clock.clone());
        Self { hooks, clock, vitals, store: engine.store.info().location.into() }
    }

    pub(super) fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// A task was claimed by a call that returned now; `waited` is how long its code was parked in the sticky cache.
    pub(super) fn claimed(&self, claimed: &Claimed, now: Timestamp, waited: Option<Duration>) {
        let task = &claimed.task;
        self.hooks.tell(|metrics| {
            metrics.task_claimed(&TaskClaimed {
                worker: self.vitals.id(),
                task: task_ref(task.id, &task.tree, &task.lane),
                attempts: task.attempts,
                queued: now.since(claimed.due_at),
                from_cache: claimed.cached.is_some(),
                is_replayed: claimed.cached.is_none() && !claimed.steps.is_empty(),
                waited,
            });
        });
    }

    /// A transition is committed: reports the end of its task. A task that ended because it was asked to has neither
    /// completed nor failed.
    pub(super) fn committed(&self, transition: &Transition, subject: Option<&Subject>, stopped: bool) {
        for row in transition.rows() {
            if let (StepKind::Call, NewTaskState::Done { started_at, result }) = (row.kind, &row.state) {
                self.ran_here(row, transition.at().since(*started_at), result, false);
            }
            if row.tree.parent.is_none() {
                self.spawned(row);
            }
        }
        if !stopped {
            report_expired(transition, subject.map(|subject| &*subject.lane.function));
        }
        let Some(subject) = subject.filter(|_| !stopped) else { return };
        if let Some(end) = end_of_turn(transition) {
            let (worker, task) = (self.vitals.id(), subject.as_ref());
            let duration = transition.at().since(subject.turn_at);
            self.hooks.tell(|metrics| metrics.turn_ended(&TurnEnded { worker, task, end, duration }));
        }
        let (result, is_retried) = match transition {
            Transition::Commit(commit) => match &commit.next {
                Next::End(result) => (result.as_ref().map(drop), false),
                Next::Retry { failure, .. } => (Err(failure), true),
                Next::Keep | Next::Park(_) | Next::Redo | Next::Release => return,
            },
            Transition::Expire(expire) => (Err(&expire.failure), false),
            Transition::Dispatch(_)
            | Transition::Request(_)
            | Transition::Unpark(_)
            | Transition::Postpone(_)
            | Transition::Import(_) => return,
        };
        self.ended(&Ended {
            task: subject.as_ref(),
            result,
            is_retried,
            duration: transition.at().since(subject.started_at),
            turn: transition.at().since(subject.turn_at),
        });
        if let (Some(Next::End(Err(failure))), None) = (transition.next(), subject.tree.parent) {
            self.hooks.dead_lettered(subject.as_ref(), failure);
        }
        self.tell_failure(subject, transition);
    }

    /// Durable code started an execution.
    fn spawned(&self, root: &NewTask) {
        let dispatched = Dispatched {
            execution: root.tree.execution,
            function: &root.lane.function,
            queue: &root.lane.queue,
            outcome: DispatchOutcome::Started,
        };
        self.hooks.tell(|metrics| metrics.dispatched(&dispatched));
    }

    /// Logs what follows from a failure.
    fn tell_failure(&self, subject: &Subject, transition: &Transition) {
        let (execution, task, function) = (subject.tree.execution, subject.task, &subject.lane.function);
        match (transition.next(), subject.tree.parent) {
            (Some(Next::Retry { ready_at, failure }), _) => {
                tell_retried(&subject.as_ref(), failure, ready_at.since(transition.at()));
            }
            (Some(Next::End(Err(failure))), Some(_)) => tell_failed_step(&subject.as_ref(), failure),
            (Some(Next::End(Err(failure))), None) => tracing::warn!(
                %execution,
                %task,
                function,
                %failure,
                "`{function}` failed for good and is kept as a dead letter: {failure}; stent.dead_letters() lists \
                 it, and can retry it from the step that failed"
            ),
            _ => {}
        }
    }

    /// A step ran in its parent's turn.
    pub(super) fn ran_here(&self, row: &NewTask, turn: Duration, result: &TaskResult, is_retried: bool) {
        let task = task_ref(row.id, &row.tree, &row.lane);
        self.ended(&Ended { task, result: result.as_ref().map(drop), is_retried, duration: turn, turn });
        match (result, &row.state) {
            (Err(failure), NewTaskState::Pending { ready_at }) => {
                tell_retried(&task, failure, ready_at.since(self.clock.now()));
            }
            (Err(failure), _) => tell_failed_step(&task, failure),
            (Ok(_), _) => {}
        }
    }

    fn ended(&self, ended: &Ended<'_>) {
        let worker = self.vitals.id();
        let &Ended { task, is_retried, duration, turn, .. } = ended;
        self.hooks.tell(|metrics| match ended.result {
            Ok(()) => metrics.task_completed(&TaskCompleted { worker, task, duration, turn }),
            Err(failure) => {
                metrics.task_failed(&TaskFailed { worker, task, failure, is_retried, duration, turn });
            }
        });
    }

    pub(super) fn exchanged(
        &self,
        duration: Duration,
        transitions: usize,
        answer: Result<usize, &StoreError>,
    ) {
        self.answered(answer.err());
        if let Err(error) = answer {
            self.hooks.store_failed(error);
        }
        let worker = self.vitals.id();
        let (claimed, is_ok) = (answer.unwrap_or(0), answer.is_ok());
        self.hooks.tell(|metrics| {
            metrics.exchange_done(&ExchangeDone { worker, transitions, claimed, duration, is_ok });
        });
    }

    pub(super) fn renewed(&self, task: TaskId) {
        self.tell_renewed(task, true);
    }

    pub(super) fn not_renewed(&self, leases: &[Lease], error: &StoreError) {
        tracing::debug!(%error, leases = leases.len(), "cannot renew leases; retrying soon");
        self.answered(Some(error));
        self.hooks.store_failed(error);
        leases.iter().for_each(|lease| self.tell_renewed(lease.task, false));
    }

    fn tell_renewed(&self, task: TaskId, is_renewed: bool) {
        let worker = self.vitals.id();
        self.hooks.tell(|metrics| metrics.lease_renewed(&LeaseRenewed { worker, task, is_renewed }));
    }

    /// A lease was lost, and the work under it was stopped.
    ///
    /// `blocked` is how long its code has blocked its thread, if it has: the code could then not be stopped in time.
    pub(super) fn lost(&self, subject: &Subject, loss: LeaseLoss, blocked: Option<Duration>) {
        let (execution, task, function) = (subject.tree.execution, subject.task, &subject.lane.function);
        let how = match loss {
            LeaseLoss::Lapsed => "it expired before it could be renewed",
            LeaseLoss::Taken => "another claim has the task, or the task has ended",
            LeaseLoss::BrokenOff => "its turn aborted",
        };
        match blocked {
            None => {
                tracing::warn!(%execution, %task, function, %loss, "the lease of `{function}` was lost and its work \
                                                                    stopped: {how}");
            }
            Some(blocked) => tracing::warn!(
                %execution,
                %task,
                function,
                %loss,
                ?blocked,
                "the lease of `{function}` was lost: {how}; its code has blocked its thread for {blocked:?}, so it \
                 could not be stopped, and may still run when another worker starts the task; move blocking code to \
                 tokio::task::spawn_blocking"
            ),
        }
        self.tell_lost(subject, loss);
    }

    /// A turn broke off outside the code that it ran.
    pub(super) fn broke_off(&self, subject: &Subject, failure: &Failure) {
        let (execution, task, function) = (subject.tree.execution, subject.task, &subject.lane.function);
        tracing::error!(
            %execution,
            %task,
            function,
            panic = failure.message,
            trace = failure.trace,
            "a turn of `{function}` aborted, because something outside its code panicked, such as a layer of your \
             tracing subscriber; it runs again when its lease expires, and fails as a crash loop if this repeats"
        );
        self.tell_lost(subject, LeaseLoss::BrokenOff);
    }

    fn tell_lost(&self, subject: &Subject, loss: LeaseLoss) {
        let lost = LeaseLost { worker: self.vitals.id(), task: subject.as_ref(), loss };
        self.hooks.tell(|metrics| metrics.lease_lost(&lost));
    }

    fn answered(&self, error: Option<&StoreError>) {
        let now = self.clock.now();
        let store = &self.store;
        match error {
            None => {
                if let Some(lasted) = self.vitals.reached(now) {
                    let worker = self.vitals.id();
                    tracing::info!(%worker, %store, "the store {store} answers again, after {lasted:?}");
                }
            }
            Some(error) => {
                let lasts = self.vitals.troubled(now, error);
                self.clock.doubt();
                if let Some(lasts) = lasts.filter(|_| error.is_transient()) {
                    let lease = Duration::from_millis(self.vitals.status().lease_ms);
                    let lasting = if lasts.is_zero() { String::new() } else { format!(" for {lasts:?}") };
                    tracing::warn!(
                        worker = %self.vitals.id(),
                        %store,
                        %error,
                        "the store {store} has not completed a request of this worker{lasting} ({error}); the \
                         worker keeps retrying, functions continue, and their results are committed when the store \
                         answers; work whose lease cannot be renewed within {lease:?} is stopped and runs again; \
                         check the store if this message repeats"
                    );
                }
            }
        }
    }

    /// The loop woke up this late.
    pub(super) fn held_up(&self, late: Duration) {
        tracing::warn!(
            worker = %self.vitals.id(),
            name = self.vitals.name(),
            ?late,
            "the worker's loop was delayed by {late:?}, and leases that are not renewed expire: either functions \
             block the threads of its runtime (move blocking code to tokio::task::spawn_blocking), or this process \
             was suspended"
        );
    }

    /// The worker begins to drain.
    pub(super) fn drains<'a>(&self, turns: impl Iterator<Item = &'a Subject>, grace: Option<Duration>) {
        let (count, functions) = counted(turns);
        let (worker, name) = (self.vitals.id(), self.vitals.name());
        let most = grace.map(|grace| format!(" for at most {grace:?}")).unwrap_or_default();
        match count {
            0 => tracing::info!(%worker, name, "the worker drains: it claims no more tasks"),
            _ => tracing::info!(
                %worker,
                name,
                running = count,
                "the worker drains: it claims no more tasks, and waits{most} until the running ones park or end: \
                 {functions}"
            ),
        }
    }

    /// The grace period of a drain is over, and turns are still running.
    pub(super) fn hands_back<'a>(&self, turns: impl Iterator<Item = &'a Subject>) {
        let (count, functions) = counted(turns);
        if count > 0 {
            tracing::info!(
                worker = %self.vitals.id(),
                name = self.vitals.name(),
                running = count,
                "stopping and releasing the tasks that still run, so that they run again elsewhere: {functions}"
            );
        }
    }
}
