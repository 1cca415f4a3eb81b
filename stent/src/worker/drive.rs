//! The one loop of a worker. It performs what the core's [`Pump`] says, and groups what turns commit: one exchange at a time,
//! which carries everything that has come up since the last one and fetches the next work.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{
    ClaimRequest, Claimed, Error as StoreError, ErrorKind, Exchanged, Expired, Limit, Listener, Renewal,
    Topic,
};
use stent_core::decide::{self, Held};
use stent_core::limits::{EXCHANGE_ROWS_MAX, EXCHANGE_TRANSITIONS_MAX};
use stent_core::model::{ExecutionStatus, Lease, NewTaskState};
use stent_core::schedule::{Action, Pump, PumpConfig};
use stent_core::transition::{Change, News, Outcome, Transition};
use stent_core::{TaskId, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::activation::Activation;
use super::ahead::{Ahead, Ready};
use super::hot::Hot;
use super::port::{Message, Parked, Port};
use super::report::{Reporter, Subject};
use super::{Config, Stop, turn};
use crate::client::Shared;
use crate::function::{BoxFuture, FunctionOptions, Registration};
use crate::metrics::LeaseLoss;
use crate::stop::StopSign;

/// First pause after an exchange that failed; doubled up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
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
struct Submission {
    transition: Transition,
    reply: Option<oneshot::Sender<Option<News>>>,
    parked: bool,
    /// Whose turn has ended with it.
    subject: Option<Subject>,
}

impl Submission {
    const fn of(transition: Transition) -> Self {
        Self { transition, reply: None, parked: false, subject: None }
    }
}

/// A turn that runs.
#[derive(Debug)]
struct Active {
    held: Held,
    lease: Lease,
    abort: AbortHandle,
    subject: Subject,
    stop: Arc<StopSign>,
    expires_at: Option<Timestamp>,
}

/// An exchange that came back.
#[derive(Debug)]
struct ExchangeDone {
    batch: Vec<Submission>,
    /// How much was asked for; nothing, if only what has changed of the work at hand.
    claim: Option<usize>,
    took: Duration,
    answer: Result<Exchanged, StoreError>,
}

type Renewed = (Vec<Lease>, Timestamp, Result<Vec<Renewal>, StoreError>);

/// The state of a worker's loop.
pub(super) struct Driver {
    port: Port,
    pump: Pump,
    hot: Hot,
    functions: Arc<[String]>,
    limits: Arc<[Limit]>,
    grace: Duration,
    inbox: mpsc::UnboundedReceiver<Message>,
    hints: Box<dyn Listener>,
    active: HashMap<TaskId, Active>,
    ahead: Ahead,
    queue: Vec<Submission>,
    /// The exchange under way that commits, and claims as well unless another one does.
    committing: Option<BoxFuture<'static, ExchangeDone>>,
    /// One beside it that only claims.
    claiming: Option<BoxFuture<'static, ExchangeDone>>,
    /// Whether the store works on both at the same time.
    parallel: bool,
    renewal: Option<BoxFuture<'static, Renewed>>,
    /// No lease that is held runs out before this.
    lapse_at: Option<Timestamp>,
    /// After a failed exchange: not before this, and how long to pause after the next failure.
    retry_at: Option<Instant>,
    retry_pause: Duration,
    /// After an exchange that the store refused for good: transitions go one by one, so that one bad one stops no other.
    one_by_one: bool,
}

impl Driver {
    pub(super) fn new(report: Reporter, shared: Arc<Shared>, config: Config, pump: PumpConfig) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let hints = shared.store.listen(Topic::Work);
        let functions = shared.registry.names().map(str::to_owned).collect();
        let limits = shared.registry.functions().filter_map(limit_of).collect();
        let parallel = shared.store.info().parallel;
        Self {
            pump: Pump::new(pump, shared.clock.now()),
            port: Port {
                shared,
                states: Arc::new(config.states),
                worker: report.vitals().id(),
                lease: config.lease,
                queues: config.queues.map(Arc::from),
                tags: Arc::from(config.tags),
                messages,
                stop: report.vitals().stopping(),
                report,
            },
            hot: Hot::new(config.cache),
            functions,
            limits,
            grace: config.grace,
            inbox,
            hints,
            active: HashMap::new(),
            ahead: Ahead::default(),
            queue: Vec::new(),
            committing: None,
            claiming: None,
            parallel,
            renewal: None,
            lapse_at: None,
            retry_at: None,
            retry_pause: RETRY_PAUSE_MIN,
            one_by_one: false,
        }
    }

    /// Runs until the worker is stopped and has committed or handed back everything, or has tried for long enough.
    pub(super) async fn run(mut self) {
        let end = End(self.port.report.clone());
        let mut stop = self.port.stop.clone();
        let mut steps = self.port.shared.clock.steps();
        let mut handed_back = false;
        let mut deadline: Option<Instant> = None;
        loop {
            match *stop.borrow_and_update() {
                Stop::No => {}
                Stop::Drain => {
                    self.pump.handle_drain();
                    deadline.get_or_insert_with(|| Instant::now() + self.grace);
                }
                Stop::Now => {
                    self.pump.handle_drain();
                    deadline = Some(Instant::now());
                }
            }
            // Not while an exchange is under way: it may move the fences that a hand-back is checked against.
            let due = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if due && !handed_back && !self.exchanges() {
                handed_back = true;
                self.hand_back();
            }
            if self.pump.is_draining() {
                self.port.report.vitals().draining();
                if self.is_idle() {
                    break;
                }
            }
            // By then every lease has run out that could not be handed back.
            let given_up = deadline.map(|deadline| deadline + self.port.lease);
            if given_up.is_some_and(|given_up| given_up <= Instant::now()) {
                self.give_up();
                break;
            }
            self.stop_lapsed();
            self.end_expired();
            self.start_waiting();
            self.act().await;
            // Turns that ended just now are in the exchange that begins: others use their slots meanwhile.
            self.start_waiting();
            self.port.report.vitals().count(self.pump.running(), self.hot.len());
            let hands_back = deadline.filter(|_| !handed_back && !self.exchanges());
            let wait = self.next_deadline(hands_back.or(given_up));
            tokio::select! {
                biased;
                Some(message) = self.inbox.recv() => self.handle_all(message),
                done = poll_some(&mut self.committing) => {
                    self.committing = None;
                    self.handle_exchange(done, false);
                }
                done = poll_some(&mut self.claiming) => {
                    self.claiming = None;
                    self.handle_exchange(done, true);
                }
                renewed = poll_some(&mut self.renewal) => self.handle_renewed(renewed),
                _ = stop.changed() => {}
                _ = steps.changed() => self.pump.handle_step(self.port.shared.clock.now()),
                () = self.hints.changed(), if !self.pump.is_draining() || !self.active.is_empty() => self.pump.handle_wake(self.port.shared.clock.now()),
                () = sleep_until(wait) => {}
            }
        }
        // Parked code is dropped before anybody is told that nothing runs here any more.
        let worker = self.port.worker;
        drop(self);
        drop(end);
        tracing::info!(%worker, "worker stopped");
    }

    /// Stops without having handed everything back: the store could not be reached for as long as leases last.
    fn give_up(&mut self) {
        tracing::warn!(
            worker = %self.port.worker,
            running = self.active.len(),
            commits = self.queue.len(),
            "the store cannot be reached, so the worker stops without handing its work back; it is due again when its leases \
             have run out"
        );
        for (_, active) in self.active.drain() {
            active.abort.abort();
        }
    }

    /// Stops the work whose lease has run out: another worker may be at it by now.
    fn stop_lapsed(&mut self) {
        let now = self.port.shared.clock.now();
        if self.lapse_at.is_none_or(|lapse_at| lapse_at > now) {
            return;
        }
        let ran_out = self.active.values().map(|active| active.lease).filter(|lease| lease.until <= now);
        let lapsed: Vec<TaskId> = ran_out.map(|lease| lease.task).collect();
        lapsed.into_iter().for_each(|task| self.lose(task, LeaseLoss::Lapsed));
        self.lapse_at = self.active.values().map(|active| active.lease.until).min();
    }

    /// Ends what runs here and has come to the end of its time.
    fn end_expired(&mut self) {
        let now = self.port.shared.clock.now();
        let is_over = |active: &&Active| active.expires_at.is_some_and(|expires_at| expires_at <= now);
        let over: Vec<TaskId> =
            self.active.values().filter(is_over).map(|active| active.lease.task).collect();
        for task in over {
            let Some(Active { held, subject, abort, expires_at: Some(expires_at), .. }) = self.finished(task)
            else {
                continue;
            };
            abort.abort();
            let expired = Expired { task, tree: held.tree, key: held.key, expires_at };
            let transition = decide::expire(&expired, now);
            self.submit(Submission { subject: Some(subject), ..Submission::of(transition) }, now);
        }
    }

    /// Starts what was claimed ahead, as far as there are slots, and hands back what has waited for too long.
    fn start_waiting(&mut self) {
        if self.ahead.is_empty() {
            return;
        }
        let now = self.port.shared.clock.now();
        let draining = self.pump.is_draining();
        while !draining && self.pump.has_slot() {
            let Some(ready) = self.ahead.next() else { return };
            self.pump.handle_waited();
            // Nothing starts under a lease that is about to run out: it was not renewed while the task waited.
            match ready.lease.until.since(now) < self.port.lease / 2 {
                true => self.submit(Submission::of(decide::release(&ready.held, now)), now),
                false => self.start(ready, now),
            }
        }
        let patience = if draining { Duration::ZERO } else { self.pump.patience() };
        while let Some(ready) = self.ahead.overdue(now, patience) {
            self.pump.handle_waited();
            self.submit(Submission::of(decide::release(&ready.held, now)), now);
        }
    }

    /// The lease on a task is lost: whatever runs under it is stopped.
    fn lose(&mut self, task: TaskId, loss: LeaseLoss) {
        let Some(active) = self.finished(task) else { return };
        active.abort.abort();
        self.port.report.lost(&active.subject, loss);
    }

    fn is_idle(&self) -> bool {
        self.active.is_empty()
            && self.ahead.is_empty()
            && self.queue.is_empty()
            && !self.exchanges()
            && self.inbox.is_empty()
    }

    const fn exchanges(&self) -> bool {
        self.committing.is_some() || self.claiming.is_some()
    }

    /// When the loop must look again, if nothing happens before.
    fn next_deadline(&self, stops_at: Option<Instant>) -> Option<Instant> {
        let now = self.port.shared.clock.now();
        let can_claim = self.committing.is_none() && self.retry_at.is_none();
        let expires_at = self.active.values().filter_map(|active| active.expires_at).min();
        let overdue_at = self.ahead.overdue_at(self.pump.patience());
        let paced = self.pump.poll_deadline(can_claim).into_iter();
        let paced = paced.chain(self.lapse_at).chain(expires_at).chain(overdue_at);
        let paced = paced.min().map(|at| Instant::now() + at.since(now));
        let retry_at = self.retry_at.filter(|_| self.committing.is_none());
        paced.into_iter().chain(retry_at).chain(stops_at).min()
    }

    /// Does what is to be done: an exchange, a renewal.
    async fn act(&mut self) {
        let now = self.port.shared.clock.now();
        if self.renewal.is_none() && self.pump.poll_action(now) == Some(Action::Renew) {
            self.start_renewal(now);
        }
        if self.retry_at.is_some_and(|retry_at| retry_at > Instant::now()) {
            return;
        }
        self.retry_at = None;
        let commits = self.committing.is_none();
        if !commits && !self.parallel {
            return;
        }
        if commits && !self.queue.is_empty() {
            self.gather().await;
        }
        let mut claim = match self.pump.poll_action(self.port.shared.clock.now()) {
            Some(Action::Claim { max }) => Some(max),
            Some(Action::Look) => Some(0),
            Some(Action::Renew) | None => None,
        };
        if claim.is_some_and(|max| self.claims_apart(max)) {
            self.claiming = Some(self.exchange(Vec::new(), claim.take()));
        }
        if commits && (!self.queue.is_empty() || claim.is_some()) {
            let batch = self.next_batch();
            self.committing = Some(self.exchange(batch, claim));
        }
    }

    /// Whether a claim is made beside what is committed, and not with it.
    fn claims_apart(&self, max: usize) -> bool {
        let is_much = |commits: usize| commits >= APART_MIN && max >= APART_MIN;
        let is_alone = self.committing.is_none() && self.queue.is_empty();
        self.parallel
            && (is_alone || self.committing.is_some() && is_much(APART_MIN) || is_much(self.queue.len()))
    }

    /// Lets turns that are about to end do so, so that their commits share this exchange.
    async fn gather(&mut self) {
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

    fn handle_all(&mut self, first: Message) {
        self.handle(first);
        self.handle_rest();
    }

    fn handle_rest(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.handle(message);
        }
    }

    fn handle(&mut self, message: Message) {
        let now = self.port.shared.clock.now();
        match message {
            Message::Keep { transition, reply } => {
                self.submit(Submission { reply: Some(reply), ..Submission::of(transition) }, now);
            }
            Message::Kept { transition } => self.kept(&transition),
            Message::Done { transition, parked } => {
                let ended = self.finished(transition.guard.task());
                let (is_parked, subject) = (parked.is_some(), ended.map(|active| active.subject));
                if let Some(parked) = parked {
                    self.keep_hot(parked);
                }
                self.submit(Submission { parked: is_parked, subject, ..Submission::of(transition) }, now);
            }
            Message::Promote { transition, parked, step, lease, reply } => {
                // The turn goes on with the step: it keeps its slot.
                let row = transition.insert.iter().find(|row| row.id == lease.task);
                if let (Some(active), Some(row)) = (self.active.remove(&parked.task), row) {
                    let subject = Subject::of_step(row, now);
                    let Active { abort, stop, .. } = active;
                    self.hold(Active { held: *step, lease, abort, subject, stop, expires_at: None });
                }
                self.keep_hot(parked);
                self.submit(
                    Submission { reply: Some(reply), parked: true, ..Submission::of(transition) },
                    now,
                );
            }
            Message::Nudge { task, epoch } => {
                let transition = decide::nudge(task, epoch, now);
                self.submit(Submission::of(transition), now);
            }
            Message::Gone { task } => self.lose(task, LeaseLoss::Taken),
        }
    }

    fn keep_hot(&self, parked: Parked) {
        // Here and not in the turn: a nudge must come after the parking that it is about.
        parked.activation.waker.park(self.port.messages.clone(), parked.task, parked.epoch);
        self.hot.insert(parked);
    }

    fn hold(&mut self, active: Active) {
        self.lapse_at = self.lapse_at.into_iter().chain([active.lease.until]).min();
        self.active.insert(active.lease.task, active);
    }

    fn finished(&mut self, task: TaskId) -> Option<Active> {
        let active = self.active.remove(&task)?;
        self.pump.handle_finished();
        Some(active)
    }

    fn submit(&mut self, submission: Submission, now: Timestamp) {
        if makes_ready(&submission.transition) {
            // Claimed in the same exchange that makes it ready.
            self.pump.handle_wake(now);
        }
        self.queue.push(submission);
    }

    fn exchange(&mut self, batch: Vec<Submission>, claim: Option<usize>) -> BoxFuture<'static, ExchangeDone> {
        if !self.exchanges() {
            self.hot.shrink();
        }
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
    fn next_batch(&mut self) -> Vec<Submission> {
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
    fn handle_exchange(&mut self, done: ExchangeDone, is_beside: bool) {
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
                if done.claim.is_some() {
                    let now = self.port.shared.clock.now();
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
                }
                if let Some(max) = done.claim {
                    let (now, got) = (self.port.shared.clock.now(), exchanged.claimed.len());
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
            tracing::warn!(%error, pause = ?self.retry_pause, "an exchange is sent again");
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
                if let Change::End(result) = &submission.transition.change
                    && !stopped
                    && let stent_core::transition::Guard::Leased { tree, .. } = &submission.transition.guard
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

    /// A write of a task that may still run here stands: the next one is checked against the next fence.
    fn kept(&mut self, transition: &Transition) {
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

    /// Takes on what was claimed: its turn starts, at once or when there is a slot for it; or it is handed back, when the
    /// worker was told to stop meanwhile.
    fn take(&mut self, claimed: Claimed, now: Timestamp) {
        self.port.report.claimed(&claimed);
        if self.pump.is_draining() {
            self.submit(Submission::of(decide::release(&Held::claimed(&claimed), now)), now);
            return;
        }
        let subject = Subject::of_claim(&claimed, now);
        if let Some(transition) = decide::crashed(&claimed, now) {
            tracing::error!(task = %claimed.task.id, function = claimed.task.lane.function, "given up: it crashes its workers");
            self.submit(Submission { subject: Some(subject), ..Submission::of(transition) }, now);
            return;
        }
        let (held, lease, expires_at) = (Held::claimed(&claimed), claimed.lease, claimed.task.expires_at);
        let activation = match claimed.recalled {
            Some(_) => match self.hot.take(claimed.task.id, lease.epoch) {
                Some(parked) => {
                    parked.activation.waker.unpark();
                    parked
                        .activation
                        .durable
                        .replay(|replay| replay.resume(claimed.task.done, claimed.steps));
                    // A map may have room for its next chunk now.
                    parked.activation.waker.set_woken();
                    parked.activation
                }
                None => {
                    // What was recalled is gone: without it the steps are not whole. Hand the task back, to be claimed cold.
                    self.submit(Submission::of(decide::release(&held, now)), now);
                    return;
                }
            },
            None => {
                self.hot.forget(claimed.task.id);
                Activation::of_claim(&self.port, claimed)
            }
        };
        let ready = Ready { held, lease, activation, subject, expires_at };
        if self.ahead.is_empty() && self.pump.has_slot() {
            self.start(ready, now);
        } else {
            self.pump.handle_waiting();
            self.ahead.push(now, ready);
        }
    }

    fn start(&mut self, ready: Ready, now: Timestamp) {
        let Ready { held, lease, activation, subject, expires_at } = ready;
        self.pump.handle_started(now);
        let stop = activation.durable.stop.clone();
        let subject = subject.from(now);
        let running = tokio::spawn(turn::run(self.port.clone(), activation, held.clone()));
        self.hold(Active { held, lease, abort: running.abort_handle(), subject, stop, expires_at });
    }

    fn start_renewal(&mut self, now: Timestamp) {
        self.pump.handle_renewing();
        let leases: Vec<Lease> = self.active.values().map(|active| active.lease).collect();
        let (shared, until) = (self.port.shared.clone(), now + self.port.lease);
        // So that there is time to ask again: renewing is idempotent.
        let patience = self.port.lease / 3;
        self.renewal = Some(Box::pin(async move {
            let answer = tokio::time::timeout(patience, shared.store.renew(&leases, now, until)).await;
            let answer = answer.unwrap_or_else(|_| {
                let message = format!("no answer within {patience:?}");
                Err(StoreError::new(ErrorKind::Unavailable, "renew").with_message(message))
            });
            (leases, until, answer)
        }));
    }

    fn handle_renewed(&mut self, (leases, until, answer): Renewed) {
        self.renewal = None;
        let now = self.port.shared.clock.now();
        match answer {
            Ok(renewals) => {
                self.pump.handle_renewed(now, false);
                for (lease, renewal) in leases.into_iter().zip(renewals) {
                    let Some(active) = self.active.get_mut(&lease.task) else { continue };
                    match renewal {
                        Renewal::Renewed => {
                            active.lease.until = until;
                            self.port.report.renewed(lease.task);
                        }
                        Renewal::Lost if active.lease.epoch == lease.epoch => {
                            self.lose(lease.task, LeaseLoss::Taken);
                        }
                        Renewal::Lost => {}
                    }
                }
            }
            Err(error) => {
                self.port.report.not_renewed(&leases, &error);
                self.pump.handle_renewed(now, true);
            }
        }
    }

    /// Stops every turn and hands its task back.
    fn hand_back(&mut self) {
        self.handle_rest();
        let now = self.port.shared.clock.now();
        for (task, mut active) in std::mem::take(&mut self.active) {
            tracing::debug!(%task, "handed back");
            active.abort.abort();
            self.pump.handle_finished();
            // What the turn has left to be committed comes first, and moves the fence on.
            for submission in &self.queue {
                if submission.transition.guard.leased().is_some_and(|fence| fence.task == task) {
                    active.held.fence = active.held.fence.next();
                }
            }
            self.submit(Submission::of(decide::release(&active.held, now)), now);
        }
    }
}

/// What limits a function, if anything does.
fn limit_of(function: &Registration) -> Option<Limit> {
    let FunctionOptions { max_concurrent, rate, .. } = (function.options)();
    let limit = Limit { function: function.name.to_owned(), max_concurrent, rate };
    (max_concurrent.is_some() || rate.is_some()).then_some(limit)
}

/// Says that the worker has stopped, however its loop ended.
struct End(Reporter);

impl Drop for End {
    fn drop(&mut self) {
        self.0.vitals().stopped();
    }
}

/// Whether a commit may make a task ready that this worker could claim in the same exchange.
fn makes_ready(transition: &Transition) -> bool {
    let below_another = match &transition.guard {
        stent_core::transition::Guard::Leased { tree, .. } => tree.parent.is_some(),
        stent_core::transition::Guard::Absent { .. }
        | stent_core::transition::Guard::Known { .. }
        | stent_core::transition::Guard::Parked { .. } => true,
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

/// Polls a future that may not be there; one that is not is never ready.
async fn poll_some<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
