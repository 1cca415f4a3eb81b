//! Exchanges between a worker and its store. One exchange at a time sends everything new and claims the next work; if
//! the store works in parallel, commits and claims each have an exchange of their own.

use std::future;
use std::panic;
use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Error as StoreError, ErrorKind, Exchanged};
use stent_core::limits::{CLAIM_MAX, EXCHANGE_TRANSITIONS_MAX};
use stent_core::model::{ExecutionStatus, Fence, NewTask, NewTaskState};
use stent_core::transition::{Action, Commit, News, Next, Outcome, Transition};
use stent_core::{TaskId, Timestamp, decide};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::outbox::is_of_the_store;
use super::{Active, Driver};
use crate::engine::rides::Claim;
use crate::engine::waiters::Begun;
use crate::function::BoxFuture;
use crate::worker::port::Kept;
use crate::worker::report::Subject;

/// First pause after a failed exchange; doubled up to [`RETRY_PAUSE_MAX`].
pub(super) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest such pause. It is also capped at a third of a lease.
pub(super) const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often the loop yields to turns that are about to end before it commits without them. This bounds the wait under
/// load to a few passes through the scheduler, without a timer.
const GATHER_YIELDS: usize = 4;
/// From this many commits and this many free slots on, a worker claims in a separate exchange, if its store works in
/// parallel. For fewer, one transaction for both is cheaper.
const APART_MIN: usize = 8;

/// A turn continues after a commit if at least this part of its lease is left; otherwise it continues after the next
/// renewal. Renewals come before half of a lease is over.
const GOES_ON_PART: u32 = 4;

/// A transition to send: the result of a turn, or a commit that a turn waits for.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) transition: Transition,
    pub(super) reply: Option<oneshot::Sender<Kept>>,
    pub(super) parked: bool,
    /// The turn that ended with it.
    pub(super) subject: Option<Subject>,
    /// Its approximate size.
    pub(super) bytes: usize,
    /// How many submissions may share a unit with it, including itself. Lower after a failure of a unit that contained
    /// it.
    pub(super) fits_with: usize,
    /// How long it last waited after it failed alone.
    pub(super) pause: Option<Duration>,
}

impl Submission {
    pub(super) fn of(transition: impl Into<Transition>) -> Self {
        let transition = transition.into();
        let bytes = transition.bytes();
        Self {
            transition,
            reply: None,
            parked: false,
            subject: None,
            bytes,
            fits_with: usize::MAX,
            pause: None,
        }
    }

    /// Whether it is the result of a task's turn: if it were dropped, the turn would run again.
    pub(super) fn is_result_of(&self, task: TaskId) -> bool {
        self.transition.task() == task && self.is_result()
    }

    fn is_result(&self) -> bool {
        self.transition.next().is_some_and(|next| !matches!(next, Next::Release))
    }

    /// Splits off the transition, which is sent in a slice with others; the closure puts the submission back together.
    fn split(self) -> (Transition, impl FnOnce(Transition) -> Self) {
        let Self { transition, reply, parked, subject, bytes, fits_with, pause } = self;
        let join = move |transition| Self { transition, reply, parked, subject, bytes, fits_with, pause };
        (transition, join)
    }

    /// Whether a unit that contained it has failed.
    pub(super) fn is_suspect(&self) -> bool {
        self.fits_with < usize::MAX
    }

    /// Whether it has failed alone.
    pub(super) const fn is_aside(&self) -> bool {
        self.pause.is_some()
    }
}

/// One of the exchanges that can be in flight concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Commits.
    Main,
    /// Claims, beside the main exchange.
    Claims,
    /// Sends submissions that failed alone.
    Stragglers,
    /// A claim that rode with a dispatch.
    Rides,
}

/// A completed exchange.
#[derive(Debug)]
pub(super) struct ExchangeDone {
    batch: Vec<Submission>,
    /// The maximum number of tasks that it claimed; 0 if it only asked for changes of the worker's own tasks; `None`
    /// without a claim.
    claim: Option<usize>,
    took: Duration,
    answer: Result<Exchanged, StoreError>,
    /// The waits for executions that had begun when it was sent.
    begun: Begun,
}

impl ExchangeDone {
    /// A claim that rode with a dispatch.
    pub(super) const fn of_ride(max: usize, took: Duration, answer: Exchanged, begun: Begun) -> Self {
        Self { batch: Vec::new(), claim: Some(max), took, answer: Ok(answer), begun }
    }
}

impl Driver {
    /// Whether to claim in a separate exchange, and not together with a commit.
    pub(super) fn claims_apart(&self, max: usize) -> bool {
        if !self.parallel || self.outbox.hands_back() {
            // Releases go first: a claim would find their tasks expired and count a crash.
            false
        } else if self.committing.is_none() && self.outbox.is_empty() {
            true
        } else {
            max >= APART_MIN && (self.committing.is_some() || self.outbox.len() >= APART_MIN)
        }
    }

    /// Lets turns that are about to end do so, so that their commits share this exchange.
    pub(super) async fn gather(&mut self) {
        for _ in 0..GATHER_YIELDS {
            if self.pump.running() == 0 || self.outbox.len() >= EXCHANGE_TRANSITIONS_MAX {
                return;
            }
            tokio::task::yield_now().await;
            let before = self.outbox.len();
            self.handle_rest();
            if self.outbox.len() == before {
                return;
            }
        }
    }

    pub(super) fn exchange(
        &mut self,
        batch: Vec<Submission>,
        claim: Option<usize>,
    ) -> BoxFuture<'static, ExchangeDone> {
        self.cache.shrink();
        match claim {
            None => {}
            Some(0) => self.pump.handle_looking(),
            Some(_) => {
                self.resting.claims();
                self.pump.handle_claiming(self.port.host.engine.clock.now());
            }
        }
        let (engine, lease) = (self.port.host.engine.clone(), self.port.lease);
        let next = claim.map(|max| self.next_claim(max));
        for submission in batch.iter().filter(|submission| submission.is_result()) {
            let fence = submission.transition.fence();
            self.under_way.extend(fence.map(|fence| (fence.task, fence.commit)));
        }
        // In a task of its own, so that packing and reading rows does not hold up the loop. Dropping the set aborts it.
        let mut sent = JoinSet::new();
        let exchange = async move {
            let (now, begun) = (engine.clock.now(), engine.waiters.begun());
            let (mut transitions, rest): (Vec<_>, Vec<_>) = batch.into_iter().map(Submission::split).unzip();
            transitions.iter_mut().for_each(|transition| lease_from(now + lease, transition));
            let request = next.as_ref().map(|next| next.request(now));
            let sent = Instant::now();
            let answer = engine.store.exchange(&transitions, request.as_ref());
            let answer = engine.call_timeout.bound("exchange", answer).await;
            let took = sent.elapsed();
            let batch =
                rest.into_iter().zip(transitions).map(|(join, transition)| join(transition)).collect();
            ExchangeDone { batch, claim, took, answer, begun }
        };
        sent.spawn(exchange.in_current_span());
        Box::pin(async move {
            match sent.join_next().await {
                Some(Ok(done)) => done,
                Some(Err(error)) if error.is_panic() => panic::resume_unwind(error.into_panic()),
                // The runtime shuts down.
                Some(Err(_)) | None => future::pending().await,
            }
        })
    }

    /// A claim of at most `max` tasks.
    pub(super) fn next_claim(&self, max: usize) -> Claim {
        Claim {
            worker: self.port.host.worker,
            lease: self.port.lease,
            max,
            functions: self.functions.clone(),
            queues: self.port.queues.clone(),
            tags: self.port.tags.clone(),
            limits: self.limits.clone(),
            cache: Arc::new(self.cache.clone()),
        }
    }

    /// Takes the next unit to send. If the store does one thing at a time, submissions that failed alone are sent
    /// between the units.
    pub(super) fn next_unit(&mut self) -> Vec<Submission> {
        if !self.parallel
            && let Some(straggler) = self.outbox.next_aside(Instant::now())
        {
            return vec![straggler];
        }
        self.outbox.next_unit()
    }

    /// Handles a completed exchange.
    pub(super) fn handle_exchange(&mut self, done: ExchangeDone, lane: Lane) {
        for submission in &done.batch {
            self.under_way.remove(&submission.transition.task());
        }
        let claimed = done.answer.as_ref().map(|exchanged| exchanged.claimed.len());
        self.port.report.exchanged(done.took, done.batch.len(), claimed);
        match done.answer {
            Ok(exchanged) => {
                self.outbox.succeeded(&done.batch);
                if done.claim.is_some_and(|max| max > 0) {
                    self.claim_unit = (self.claim_unit * 2).min(CLAIM_MAX);
                }
                // The success of another lane does not end the pause after a failure of the main lane.
                if lane == Lane::Main || self.retry_at.is_none() {
                    self.retry_at = None;
                    self.retry_pause = RETRY_PAUSE_MIN.min(self.retry_pause_max);
                }
                if done.claim.is_none() && done.batch.iter().any(|one| makes_ready(&one.transition)) {
                    // A claim in parallel may have looked before these tasks were ready.
                    self.pump.handle_wake(self.port.host.engine.clock.now());
                }
                let worked = !done.batch.is_empty() || !exchanged.claimed.is_empty();
                if worked || !exchanged.expired.is_empty() {
                    self.resting.worked();
                }
                for (submission, outcome) in done.batch.into_iter().zip(exchanged.outcomes) {
                    self.committed(submission, outcome, done.begun);
                }
                if let Some(max) = done.claim {
                    let (now, got) = (self.port.host.engine.clock.now(), exchanged.claimed.len());
                    if max > 0 && got == 0 && exchanged.expired.is_empty() {
                        self.resting.found_nothing(exchanged.next_due);
                    }
                    for expired in &exchanged.expired {
                        let running = self.finished(expired.task).map(|active| {
                            active.abort.abort();
                            active.subject
                        });
                        let waiting = self.prefetched.remove(expired.task).map(|ready| {
                            self.pump.handle_waited();
                            ready.subject
                        });
                        let subject = running.or(waiting);
                        let transition = decide::expire(expired, now);
                        self.submit(Submission { subject, ..Submission::of(transition) }, now);
                    }
                    for task in &exchanged.stopping {
                        let running = self.active.get(task).map(|active| &active.stop);
                        let waiting =
                            || self.prefetched.get(*task).map(|ready| &ready.activation.durable.stop);
                        running.or_else(waiting).into_iter().for_each(|stop| stop.set());
                    }
                    for claimed in exchanged.claimed {
                        self.take(claimed, now);
                    }
                    match max {
                        0 => self.pump.handle_looked(now, exchanged.next_due),
                        _ if lane == Lane::Rides => {
                            self.pump.handle_ridden(now, done.took, max, got, exchanged.next_due);
                        }
                        _ => self.pump.handle_claimed(now, max, got, exchanged.next_due),
                    }
                }
            }
            Err(error) => self.exchange_failed(done.batch, done.claim, done.took, lane, &error),
        }
        if done.claim.is_some() {
            self.cache.claimed();
            self.has_looked();
        }
    }

    /// Handles a failed exchange. The fate of its batch is unknown, so the batch is kept and sent again, in smaller
    /// units if its content may be the cause. A task only fails if the store reports that it cannot hold a submission
    /// that was sent alone.
    fn exchange_failed(
        &mut self,
        batch: Vec<Submission>,
        claim: Option<usize>,
        took: Duration,
        lane: Lane,
        error: &StoreError,
    ) {
        let (now, kind) = (self.port.host.engine.clock.now(), error.kind());
        let mut batch = self.under_later_claims(batch);
        if let Some(max) = claim {
            self.pump.handle_claim_failed(now);
            if matches!(kind, ErrorKind::Contended | ErrorKind::Limit) {
                self.claim_unit = (max / 2).max(1);
            }
        }
        if kind == ErrorKind::Closed {
            tracing::error!(%error, commits = batch.len(), "the store was closed while a worker was running");
            batch.into_iter().for_each(|submission| self.lost(submission));
            return;
        }
        let is_alone = batch.len() == 1 && claim.is_none();
        let is_told = batch.first().is_some_and(Submission::is_aside);
        if is_alone && kind == ErrorKind::Limit {
            batch.drain(..).for_each(|submission| self.refused(submission, error));
            return;
        }
        let of_store = is_of_the_store(kind);
        if batch.is_empty() || (of_store && lane == Lane::Main) {
            self.retry_at = Some(Instant::now() + self.retry_pause);
            self.retry_pause = (self.retry_pause * 2).min(self.retry_pause_max);
        }
        let commits = batch.len();
        let task = batch.first().filter(|_| commits == 1).map(|one| one.transition.task());
        if is_told || (error.is_transient() && of_store) {
            tracing::debug!(%error, commits, ?task, pause = ?self.retry_pause, "retrying an exchange");
        } else if error.is_transient() {
            tracing::warn!(
                %error,
                commits,
                ?task,
                "a commit takes too long or waits for another transaction's locks ({error}); it is retried in \
                 smaller pieces, and nothing is lost"
            );
        } else {
            tracing::error!(
                %error,
                commits,
                ?task,
                "the store refuses a commit ({error}) until somebody repairs the store; the commit is kept and \
                 retried"
            );
        }
        if batch.is_empty() {
            return;
        }
        // This exchange held the locks of its rows all the time, so nobody could renew their leases.
        if took >= self.port.lease / 10 {
            self.renews_first = true;
            self.pump.handle_overdue(now);
        }
        match batch.len() {
            1 if claim.is_some() && !of_store => {
                batch.into_iter().for_each(|submission| self.outbox.failed_with_a_claim(submission));
            }
            _ => self.outbox.failed(batch, kind, Instant::now()),
        }
    }

    /// Moves submissions whose tasks were claimed again meanwhile to the new claim.
    fn under_later_claims(&mut self, batch: Vec<Submission>) -> Vec<Submission> {
        let now = self.port.host.engine.clock.now();
        let mut left = Vec::with_capacity(batch.len());
        for submission in batch {
            match self.taken_back.remove(&submission.transition.task()) {
                Some((held, lease)) if submission.is_result() => {
                    self.write_under(submission, &held, lease, now);
                }
                _ => left.push(submission),
            }
        }
        left
    }

    /// The store cannot hold this submission, however often it is sent. The task fails, because running its code
    /// again would produce the same value.
    fn refused(&mut self, submission: Submission, error: &StoreError) {
        let now = self.port.host.engine.clock.now();
        let Submission { transition, reply, parked, subject, .. } = submission;
        let task = transition.task();
        let refused =
            transition.commit().and_then(|commit| Some((commit, decide::refuse(commit, error, now)?)));
        let Some((commit, end)) = refused else {
            tracing::error!(%error, %task, next = ?transition.next(), "the store cannot hold a commit of task \
                                                                         {task} ({error}); the commit is dropped");
            self.lost(Submission { reply, parked, subject, ..Submission::of(transition) });
            return;
        };
        tracing::error!(%error, %task, "the store cannot hold a value of task {task} ({error}); the task fails");
        // A step whose first row was part of this submission will not run.
        let leased = |row: &NewTask| matches!(row.state, NewTaskState::Leased { .. }).then_some(row.id);
        let steps: Vec<TaskId> = commit.insert.iter().filter_map(leased).collect();
        for step in steps {
            self.finished(step).into_iter().for_each(|active| active.abort.abort());
        }
        if let (Next::Keep, Next::End(Err(failure)), Some(reply)) = (&commit.next, &end.next, reply)
            && reply.send(Kept::Refused(failure.clone())).is_ok()
        {
            // The turn still runs and can decide which of its steps are no longer wanted.
            self.settle_lease(&transition);
            return;
        }
        if parked {
            self.cache.forget(task);
        }
        self.submit(Submission { subject, ..Submission::of(end) }, now);
    }

    fn committed(&mut self, submission: Submission, outcome: Outcome, begun: Begun) {
        // A repeat is also answered after the dead letter that it made was retried.
        let is_new = matches!(outcome, Outcome::Applied(_));
        match outcome {
            Outcome::Applied(news) | Outcome::Already(news) => {
                let stopped = news.stopped;
                self.settle_lease(&submission.transition);
                self.port.report.committed(&submission.transition, submission.subject.as_ref(), stopped);
                let Some(commit) = submission.transition.commit() else { return };
                self.kept(&commit.fence);
                if !commit.cancel.is_empty() {
                    drop(self.cache.take_below(&commit.cancel));
                }
                if submission.parked {
                    self.parking_stands(commit);
                }
                if let Next::End(result) = &commit.next
                    && is_new
                    && !stopped
                    && commit.tree.parent.is_none()
                {
                    let status =
                        if result.is_ok() { ExecutionStatus::Completed } else { ExecutionStatus::Failed };
                    let waiters = &self.port.host.engine.waiters;
                    waiters.resolve(commit.tree.execution, begun, status, Some(result));
                }
                if let Some(reply) = submission.reply {
                    self.goes_on(commit, reply, news);
                }
            }
            Outcome::Fenced | Outcome::Exists(_) | Outcome::Gone => {
                let submission = self.under_later_claims(vec![submission]).pop();
                let Some(submission) = submission else { return };
                // An unpark may normally arrive too late.
                if submission.transition.commit().is_some() {
                    tracing::debug!(task = %submission.transition.task(), ?outcome, "the store rejected a \
                                                                                           commit as outdated");
                }
                self.lost(submission);
            }
        }
    }

    /// The parking is committed, and with it the row of the step that its turn continues with, if there is one.
    fn parking_stands(&mut self, commit: &Commit) {
        self.cache.stands(commit.fence.task, commit.fence.epoch);
        let leased = |row: &&NewTask| matches!(row.state, NewTaskState::Leased { .. });
        for row in commit.insert.iter().filter(leased) {
            if let (Some(step), NewTaskState::Leased { until, .. }) =
                (self.active.get_mut(&row.id), &row.state)
            {
                step.stands = true;
                step.lease.until = *until;
                step.stored_until = *until;
                self.lapse_at = self.lapse_at.into_iter().chain([*until]).min();
            }
        }
    }

    /// Lets a turn continue after a commit: at once if enough of its lease is left. A commit that waited for a row lock
    /// can succeed under an expired lease; another worker may have claimed the task by then, so the turn starts nothing
    /// else before its lease is renewed.
    pub(super) fn goes_on(&mut self, commit: &Commit, reply: oneshot::Sender<Kept>, news: News) {
        let now = self.port.host.engine.clock.now();
        let leased = |row: &&NewTask| matches!(row.state, NewTaskState::Leased { .. });
        let step = commit.insert.iter().find(leased).map(|row| row.id);
        let task = step.unwrap_or(commit.fence.task);
        let least = self.port.lease / GOES_ON_PART;
        let runs_out = |active: &&mut Active| active.stands && active.stored_until.since(now) < least;
        match self.active.get_mut(&task).filter(runs_out) {
            Some(active) => {
                tracing::debug!(%task, "a turn continues when its lease is renewed");
                active.goes_on = Some((reply, news));
                self.pump.handle_overdue(now);
            }
            None => drop(reply.send(Kept::Stands(news))),
        }
    }

    /// A write of a task that may still run here is committed, so its next write is checked against the next fence.
    pub(super) fn kept(&mut self, fence: &Fence) {
        if let Some(active) = self.active.get_mut(&fence.task)
            && active.held.fence == *fence
        {
            active.held.fence = active.held.fence.next();
        }
    }

    pub(super) fn lost(&mut self, submission: Submission) {
        self.settle_lease(&submission.transition);
        if submission.parked {
            self.cache.forget(submission.transition.task());
        }
        if let Some(reply) = submission.reply {
            let _ = reply.send(Kept::Lost);
        }
    }
}

/// Gives a step that is inserted under a lease a full lease from the moment it is sent, however late that is.
fn lease_from(until: Timestamp, transition: &mut Transition) {
    for row in transition.rows_mut() {
        if let NewTaskState::Leased { until: ends, .. } = &mut row.state {
            *ends = until;
        }
    }
}

/// Whether a commit may make a task ready that this worker could claim in the same exchange.
pub(super) fn makes_ready(transition: &Transition) -> bool {
    match transition {
        Transition::Commit(commit) => match &commit.next {
            Next::End(_) => commit.tree.parent.is_some(),
            Next::Release | Next::Redo => true,
            Next::Keep | Next::Park(_) => commit.insert.iter().any(|row| match row.state {
                NewTaskState::Pending { ready_at } => ready_at <= commit.at,
                _ => false,
            }),
            Next::Retry { .. } => false,
        },
        Transition::Unpark(_) | Transition::Expire(_) => true,
        Transition::Request(request) => match request.action {
            Action::Redrive { .. } => true,
            Action::Cancel { .. } | Action::Signal { .. } | Action::Discard => false,
        },
        Transition::Dispatch(_) | Transition::Postpone(_) | Transition::Import(_) => false,
    }
}
