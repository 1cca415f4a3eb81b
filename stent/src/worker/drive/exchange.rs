//! What a worker sends to its store, and what becomes of it: one exchange at a time, which carries everything that has come up
//! since the last one and fetches the next work; or, where the store works on both at the same time, one of each.

use std::time::Duration;

use stent_core::backend::{ClaimRequest, Error as StoreError, ErrorKind, Exchanged};
use stent_core::limits::{CLAIM_MAX, EXCHANGE_TRANSITIONS_MAX};
use stent_core::model::{ExecutionStatus, Fence, NewTask, NewTaskState};
use stent_core::transition::{Action, Commit, News, Next, Outcome, Transition};
use stent_core::{TaskId, Timestamp, decide};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::outbox::is_of_the_store;
use super::{Active, Driver};
use crate::engine::ids;
use crate::function::BoxFuture;
use crate::worker::port::Kept;
use crate::worker::report::Subject;

/// First pause after an exchange that failed; doubled up to [`RETRY_PAUSE_MAX`].
pub(super) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest such pause, and no longer than a third of a lease.
pub(super) const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often the loop lets turns that are about to end do so before it commits without them. This is the bounded wait
/// under load: a few passes through the scheduler, no timer.
const GATHER_YIELDS: usize = 4;
/// From so many commits and so many free places on, a worker claims beside its commits, where its store works on both at the
/// same time. Below, one transaction for both is the cheaper way.
const APART_MIN: usize = 8;

/// A turn goes on after a commit if at least such a part of its lease is left, or else when it is renewed. Renewals come before
/// half of it is over.
const GOES_ON_PART: u32 = 4;

/// What a turn waits for, or left to be committed.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) transition: Transition,
    pub(super) reply: Option<oneshot::Sender<Kept>>,
    pub(super) parked: bool,
    /// Whose turn has ended with it.
    pub(super) subject: Option<Subject>,
    /// About how much it carries.
    pub(super) bytes: usize,
    /// How many may share a unit with it, itself included: fewer, after one that it was in has failed.
    pub(super) fits_with: usize,
    /// How long it waited after it failed alone, if it did.
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

    /// Whether it is what a task's turn has done: thrown away, it would be done again.
    pub(super) fn is_result_of(&self, task: TaskId) -> bool {
        self.transition.task() == task && self.is_result()
    }

    fn is_result(&self) -> bool {
        self.transition.next().is_some_and(|next| !matches!(next, Next::Release))
    }

    /// Its transition, which goes to the store in a slice with others, and how it is put together again.
    fn split(self) -> (Transition, impl FnOnce(Transition) -> Self) {
        let Self { transition, reply, parked, subject, bytes, fits_with, pause } = self;
        let join = move |transition| Self { transition, reply, parked, subject, bytes, fits_with, pause };
        (transition, join)
    }

    /// Whether it was part of a unit that failed.
    pub(super) fn is_suspect(&self) -> bool {
        self.fits_with < usize::MAX
    }

    /// Whether it has failed alone.
    pub(super) const fn is_aside(&self) -> bool {
        self.pause.is_some()
    }
}

/// Which of the exchanges that may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The one that commits.
    Main,
    /// The one that claims beside it.
    Claims,
    /// The one that sends what failed alone.
    Stragglers,
}

/// An exchange that came back.
#[derive(Debug)]
pub(super) struct ExchangeDone {
    batch: Vec<Submission>,
    /// How much was asked for; nothing, if only what has changed of the work at hand.
    claim: Option<usize>,
    took: Duration,
    answer: Result<Exchanged, StoreError>,
}

impl Driver {
    /// Whether a claim is made beside what is committed, and not with it.
    pub(super) fn claims_apart(&self, max: usize) -> bool {
        if !self.parallel || self.outbox.hands_back() {
            // What is handed back comes before a claim that would find it taken over from a crash.
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
            Some(_) => self.pump.handle_claiming(self.port.host.engine.clock.now()),
        }
        let (engine, functions, hot) =
            (self.port.host.engine.clone(), self.functions.clone(), self.cache.clone());
        let (worker, lease, queues) = (self.port.host.worker, self.port.lease, self.port.queues.clone());
        let (tags, limits) = (self.port.tags.clone(), self.limits.clone());
        for submission in batch.iter().filter(|submission| submission.is_result()) {
            let fence = submission.transition.fence();
            self.under_way.extend(fence.map(|fence| (fence.task, fence.commit)));
        }
        Box::pin(async move {
            let now = engine.clock.now();
            let (mut transitions, rest): (Vec<_>, Vec<_>) = batch.into_iter().map(Submission::split).unzip();
            transitions.iter_mut().for_each(|transition| lease_from(now + lease, transition));
            let request = claim.map(|max| ClaimRequest {
                worker,
                nonce: ids::nonce(),
                now,
                until: now + lease,
                max,
                functions: &functions,
                queues: queues.as_deref(),
                tags: &tags,
                limits: &limits,
                cache: &hot,
            });
            let sent = Instant::now();
            let answer = engine.store.exchange(&transitions, request.as_ref());
            let answer = engine.call_timeout.bound("exchange", answer).await;
            let took = sent.elapsed();
            let batch =
                rest.into_iter().zip(transitions).map(|(join, transition)| join(transition)).collect();
            ExchangeDone { batch, claim, took, answer }
        })
    }

    /// Takes what goes into the next exchange. Where the store does one thing at a time, what has failed alone has its moments
    /// in between.
    pub(super) fn next_unit(&mut self) -> Vec<Submission> {
        if !self.parallel
            && let Some(straggler) = self.outbox.next_aside(Instant::now())
        {
            return vec![straggler];
        }
        self.outbox.next_unit()
    }

    /// An exchange came back.
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
                // What failed beside this one waits for its own time.
                if lane == Lane::Main || self.retry_at.is_none() {
                    self.retry_at = None;
                    self.retry_pause = RETRY_PAUSE_MIN.min(self.retry_pause_max);
                }
                if done.claim.is_none() && done.batch.iter().any(|one| makes_ready(&one.transition)) {
                    // A claim beside it may have looked before this was there.
                    self.pump.handle_wake(self.port.host.engine.clock.now());
                }
                for (submission, outcome) in done.batch.into_iter().zip(exchanged.outcomes) {
                    self.committed(submission, outcome);
                }
                if let Some(max) = done.claim {
                    let (now, got) = (self.port.host.engine.clock.now(), exchanged.claimed.len());
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

    /// The fate of the batch is unknown, and nothing of it is given up: it is sent again, in smaller pieces if they may be what
    /// is wrong. Only one that the store says it cannot hold, sent all by itself, ends its task.
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
        // Their rows were locked by this one for as long as it took, so nobody could renew their leases.
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

    /// What was under way while its task was claimed anew goes by the new claim from now on.
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

    /// The store says that it cannot hold this, whoever sends it and however often. So the task ends, and says so: to run its
    /// code again would give the same once more.
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
        // A step that was to have its first row by this will not run.
        let leased = |row: &NewTask| matches!(row.state, NewTaskState::Leased { .. }).then_some(row.id);
        let steps: Vec<TaskId> = commit.insert.iter().filter_map(leased).collect();
        for step in steps {
            self.finished(step).into_iter().for_each(|active| active.abort.abort());
        }
        if let (Next::Keep, Next::End(Err(failure)), Some(reply)) = (&commit.next, &end.next, reply)
            && reply.send(Kept::Refused(failure.clone())).is_ok()
        {
            // The turn is still there, and can say which of its steps are not wanted any more.
            self.settle_lease(&transition);
            return;
        }
        if parked {
            self.cache.forget(task);
        }
        self.submit(Submission { subject, ..Submission::of(end) }, now);
    }

    fn committed(&mut self, submission: Submission, outcome: Outcome) {
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
                    && !stopped
                    && commit.tree.parent.is_none()
                {
                    let status =
                        if result.is_ok() { ExecutionStatus::Completed } else { ExecutionStatus::Failed };
                    self.port.host.engine.waiters.resolve(commit.tree.execution, status, Some(result));
                }
                if let Some(reply) = submission.reply {
                    self.goes_on(commit, reply, news);
                }
            }
            Outcome::Fenced | Outcome::Exists(_) | Outcome::Gone => {
                let submission = self.under_later_claims(vec![submission]).pop();
                let Some(submission) = submission else { return };
                // A unpark that came too late is no news.
                if submission.transition.commit().is_some() {
                    tracing::debug!(task = %submission.transition.task(), ?outcome, "the store rejected a \
                                                                                           commit as outdated");
                }
                self.lost(submission);
            }
        }
    }

    /// A parking stands in the store, and with it the step that its turn goes on with, if there is one.
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

    /// A turn goes on with what comes after a commit: at once if its lease is good for that. A commit stands also under a lease
    /// that has run out, when it had waited for a row that somebody else held; but others may claim the task by now, so nothing
    /// else begins before the lease is renewed.
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

    /// A write of a task that may still run here stands: the next one is checked against the next fence.
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

/// A step that is written under a lease gets a full lease from the moment it is sent, however late that is.
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
        Transition::Dispatch(_) | Transition::Postpone(_) => false,
    }
}
