//! What a worker sends to its store, and what becomes of it: one exchange at a time, which carries everything that has come up
//! since the last one and fetches the next work; or, where the store works on both at the same time, one of each.

use std::time::Duration;

use stent_core::backend::{ClaimRequest, Error as StoreError, Exchanged};
use stent_core::decide;
use stent_core::limits::{EXCHANGE_ROWS_MAX, EXCHANGE_TRANSITIONS_MAX};
use stent_core::model::{ExecutionStatus, NewTask, NewTaskState};
use stent_core::transition::{Change, Guard, News, Outcome, Transition};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Driver;
use crate::function::BoxFuture;
use crate::ids;
use crate::worker::report::Subject;

/// First pause after an exchange that failed; doubled up to [`RETRY_PAUSE_MAX`].
pub(super) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest such pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often the loop lets turns that are about to end do so before it commits without them. This is the bounded wait
/// under load: a few passes through the scheduler, no timer.
const GATHER_YIELDS: usize = 4;
/// From so many commits and so many free places on, a worker claims beside its commits, where its store works on both at the
/// same time. Below, one transaction for both is the cheaper way.
const APART_MIN: usize = 8;

/// What a turn waits for, or left to be committed.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) transition: Transition,
    pub(super) reply: Option<oneshot::Sender<Option<News>>>,
    pub(super) parked: bool,
    /// Whose turn has ended with it.
    pub(super) subject: Option<Subject>,
}

impl Submission {
    pub(super) const fn of(transition: Transition) -> Self {
        Self { transition, reply: None, parked: false, subject: None }
    }
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
        if !self.parallel {
            false
        } else if self.committing.is_none() && self.queue.is_empty() {
            true
        } else {
            max >= APART_MIN && (self.committing.is_some() || self.queue.len() >= APART_MIN)
        }
    }

    /// Lets turns that are about to end do so, so that their commits share this exchange.
    pub(super) async fn gather(&mut self) {
        for _ in 0..GATHER_YIELDS {
            if self.pump.running() == 0 || self.queue.len() >= EXCHANGE_TRANSITIONS_MAX {
                return;
            }
            tokio::task::yield_now().await;
            let before = self.queue.len();
            self.handle_rest();
            if self.queue.len() == before {
                return;
            }
        }
    }

    pub(super) fn exchange(
        &mut self,
        batch: Vec<Submission>,
        claim: Option<usize>,
    ) -> BoxFuture<'static, ExchangeDone> {
        self.hot.shrink();
        match claim {
            None => {}
            Some(0) => self.pump.handle_looking(),
            Some(_) => self.pump.handle_claiming(self.port.shared.clock.now()),
        }
        let (shared, functions, hot) = (self.port.shared.clone(), self.functions.clone(), self.hot.clone());
        let (worker, lease, queues) = (self.port.worker, self.port.lease, self.port.queues.clone());
        let (tags, limits) = (self.port.tags.clone(), self.limits.clone());
        Box::pin(async move {
            let (mut transitions, mut rest) =
                (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for submission in batch {
                transitions.push(submission.transition);
                rest.push((submission.reply, submission.parked, submission.subject));
            }
            let now = shared.clock.now();
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
                recall: &hot,
            });
            let sent = Instant::now();
            let answer = shared.store.exchange(&transitions, request.as_ref()).await;
            let took = sent.elapsed();
            let batch = transitions
                .into_iter()
                .zip(rest)
                .map(|(transition, (reply, parked, subject))| Submission {
                    transition,
                    reply,
                    parked,
                    subject,
                })
                .collect();
            ExchangeDone { batch, claim, took, answer }
        })
    }

    /// Takes what goes into the next exchange, in order and within its limits.
    pub(super) fn next_batch(&mut self) -> Vec<Submission> {
        let most = if self.one_by_one { 1 } else { EXCHANGE_TRANSITIONS_MAX };
        let mut rows = 0;
        let fits = self.queue.iter().take(most).take_while(|submission| {
            let first = rows == 0;
            rows += 1 + submission.transition.insert.len();
            first || rows <= EXCHANGE_ROWS_MAX
        });
        let count = fits.count();
        self.queue.drain(..count).collect()
    }

    /// An exchange came back: the one that commits, or the one beside it.
    pub(super) fn handle_exchange(&mut self, done: ExchangeDone, is_beside: bool) {
        let claimed = done.answer.as_ref().map(|exchanged| exchanged.claimed.len());
        self.port.report.exchanged(done.took, done.batch.len(), claimed);
        match done.answer {
            Ok(exchanged) => {
                if !is_beside {
                    self.one_by_one = self.one_by_one && !self.queue.is_empty();
                }
                // What failed beside this one waits for its own time.
                if !is_beside || self.retry_at.is_none() {
                    self.retry_at = None;
                    self.retry_pause = RETRY_PAUSE_MIN;
                }
                if done.claim.is_none() && done.batch.iter().any(|one| makes_ready(&one.transition)) {
                    // A claim beside it may have looked before this was there.
                    self.pump.handle_wake(self.port.shared.clock.now());
                }
                for (submission, outcome) in done.batch.into_iter().zip(exchanged.outcomes) {
                    self.committed(submission, outcome);
                }
                if let Some(max) = done.claim {
                    let (now, got) = (self.port.shared.clock.now(), exchanged.claimed.len());
                    for expired in &exchanged.expired {
                        let running = self.finished(expired.task).map(|active| {
                            active.abort.abort();
                            active.subject
                        });
                        let waiting = self.ahead.remove(expired.task).map(|ready| {
                            self.pump.handle_waited();
                            ready.subject
                        });
                        let subject = running.or(waiting);
                        let transition = decide::expire(expired, now);
                        self.submit(Submission { subject, ..Submission::of(transition) }, now);
                    }
                    for task in &exchanged.stopping {
                        let running = self.active.get(task).map(|active| &active.stop);
                        let waiting = || self.ahead.get(*task).map(|ready| &ready.activation.durable.stop);
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
            Err(error) => self.exchange_failed(done.batch, done.claim.is_some(), &error),
        }
        if done.claim.is_some() {
            self.hot.claimed();
            self.has_looked();
        }
    }

    /// The fate of the batch is unknown: it is sent again. A refusal is sent again one by one, and who is refused alone is
    /// given up: its lease runs out, and the task is claimed again.
    fn exchange_failed(&mut self, batch: Vec<Submission>, claimed: bool, error: &StoreError) {
        if claimed {
            self.pump.handle_claim_failed(self.port.shared.clock.now());
        }
        self.retry_at = Some(Instant::now() + self.retry_pause);
        self.retry_pause = (self.retry_pause * 2).min(RETRY_PAUSE_MAX);
        if error.is_transient() {
            tracing::debug!(%error, pause = ?self.retry_pause, "an exchange is sent again");
        } else if batch.len() <= 1 {
            tracing::error!(%error, task = ?batch.first().map(|one| one.transition.guard.task()), "an exchange was refused");
            for submission in batch {
                self.lost(submission);
            }
            return;
        } else {
            tracing::error!(%error, "an exchange was refused; its transitions are sent one by one");
            self.one_by_one = true;
        }
        self.queue.splice(0..0, batch);
    }

    fn committed(&mut self, submission: Submission, outcome: Outcome) {
        match outcome {
            Outcome::Applied(news) | Outcome::Already(news) => {
                let stopped = news.stopped;
                self.port.report.committed(&submission.transition, submission.subject.as_ref(), stopped);
                self.kept(&submission.transition);
                if !submission.transition.cancel.is_empty() {
                    drop(self.hot.take_below(&submission.transition.cancel));
                }
                if submission.parked {
                    self.parking_stands(&submission.transition);
                }
                if let Change::End(result) = &submission.transition.change
                    && !stopped
                    && let Guard::Leased { tree, .. } = &submission.transition.guard
                    && tree.parent.is_none()
                {
                    let status =
                        if result.is_ok() { ExecutionStatus::Completed } else { ExecutionStatus::Failed };
                    self.port.shared.waiters.resolve(tree.execution, status, Some(result));
                }
                if let Some(reply) = submission.reply {
                    let _ = reply.send(Some(news));
                }
            }
            Outcome::Fenced | Outcome::Exists(_) | Outcome::Gone => {
                // A nudge that came too late is no news.
                if submission.transition.guard.leased().is_some() {
                    tracing::debug!(task = %submission.transition.guard.task(), ?outcome, "a commit was refused");
                }
                self.lost(submission);
            }
        }
    }

    /// A parking stands in the store, and with it the step that its turn goes on with, if there is one.
    fn parking_stands(&mut self, transition: &Transition) {
        if let Some(fence) = transition.guard.leased() {
            self.hot.stands(fence.task, fence.epoch);
        }
        let leased = |row: &&NewTask| matches!(row.state, NewTaskState::Leased { .. });
        for row in transition.insert.iter().filter(leased) {
            if let Some(step) = self.active.get_mut(&row.id) {
                step.stands = true;
            }
        }
    }

    /// A write of a task that may still run here stands: the next one is checked against the next fence.
    pub(super) fn kept(&mut self, transition: &Transition) {
        if let Some(active) = self.active.get_mut(&transition.guard.task())
            && transition.guard.leased() == Some(&active.held.fence)
        {
            active.held.fence = active.held.fence.next();
        }
    }

    fn lost(&mut self, submission: Submission) {
        if submission.parked {
            self.hot.forget(submission.transition.guard.task());
        }
        if let Some(reply) = submission.reply {
            let _ = reply.send(None);
        }
    }
}

/// Whether a commit may make a task ready that this worker could claim in the same exchange.
pub(super) fn makes_ready(transition: &Transition) -> bool {
    let below_another = match &transition.guard {
        Guard::Leased { tree, .. } => tree.parent.is_some(),
        Guard::Absent { .. } | Guard::Known { .. } | Guard::Parked { .. } => true,
    };
    let dispatches = || {
        transition.insert.iter().any(|row| match row.state {
            NewTaskState::Pending { ready_at } => ready_at <= transition.at,
            _ => false,
        })
    };
    match &transition.change {
        Change::End(_) => below_another,
        Change::Wake | Change::Release | Change::Redo | Change::Expire(_) | Change::Revive { .. } => true,
        Change::Keep | Change::Park(_) => dispatches(),
        Change::Retry { .. }
        | Change::Start
        | Change::Cancel { .. }
        | Change::Signal { .. }
        | Change::Discard => false,
    }
}
