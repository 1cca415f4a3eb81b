//! The one loop of a worker. It performs the actions of the core's [`Pump`], and groups the commits of turns.
//!
//! | File | Does |
//! |---|---|
//! | `forget` | drops parked code whose executions have ended elsewhere |
//! | `outbox` | transitions to send, and their grouping into units |
//! | `exchange` | one exchange with the store: sends everything new and claims the next work; handles the answer |
//! | `ride` | claims that go with the dispatches of this process |
//! | `rest` | reports to a test's clock when the worker has nothing to do |
//! | `lease` | renews held leases, and stops work whose lease is lost |

mod exchange;
mod forget;
mod lease;
mod outbox;
mod rest;
mod ride;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use stent_core::backend::{Claimed, Expired, Limit, Listener, Topic};
use stent_core::decide::{self, Held};
use stent_core::limits::CLAIM_MAX;
use stent_core::model::{Fence, Lease};
use stent_core::pace::{Action, Pump, PumpConfig};
use stent_core::transition::News;
use stent_core::{Failure, TaskId, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::exchange::{ExchangeDone, Lane, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN, Submission, makes_ready};
use self::forget::Asked;
use self::lease::Renewed;
use self::outbox::Outbox;
use self::rest::Resting;
use super::activation::Activation;
use super::cache::Cache;
use super::config::Config;
use super::fleet::Fleet;
use super::host::Host;
use super::port::{Kept, Message, Parked, Port};
use super::prefetch::{Prefetched, Ready};
use super::presence::Presence;
use super::report::{Reporter, Subject};
use super::status::Stop;
use super::turn;
use crate::durable::poll_timer::BLOCKING_POLL;
use crate::durable::stop::StopSign;
use crate::engine::Engine;
use crate::engine::rides::Offer;
use crate::error::{Error, Result};
use crate::function::panics::panic_failure;
use crate::function::{BoxFuture, FunctionOptions, Registration};
use crate::metrics::LeaseLoss;

/// How long a stopping worker waits for the destructors of its parked code.
const DROPS_MAX: Duration = Duration::from_secs(10);

/// A running turn.
#[derive(Debug)]
struct Active {
    held: Held,
    lease: Lease,
    abort: AbortHandle,
    subject: Subject,
    stop: Arc<StopSign>,
    expires_at: Option<Timestamp>,
    /// Whether the store has the lease. A step that its parent's turn continues with gets its row and its lease with
    /// the next commit.
    stands: bool,
    /// Until when the store itself has the lease. If a renewal finds the row locked by another transaction, the lease
    /// is extended here but not in the store.
    stored_until: Timestamp,
    /// The reply that lets the turn continue once its lease is renewed.
    goes_on: Option<(oneshot::Sender<Kept>, News)>,
}

/// The state of a worker's loop.
pub(super) struct Driver {
    port: Port,
    pump: Pump,
    cache: Cache,
    functions: Arc<[String]>,
    limits: Arc<[Limit]>,
    /// How long a drain waits; `None` means no limit.
    grace: Option<Duration>,
    inbox: mpsc::UnboundedReceiver<Message>,
    hints: Box<dyn Listener>,
    active: HashMap<TaskId, Active>,
    prefetched: Prefetched,
    outbox: Outbox,
    /// Leases of tasks with results to commit, whether or not their turn still runs. They are kept until the commit is
    /// confirmed, so that no other worker runs the tasks meanwhile.
    kept: HashMap<TaskId, Lease>,
    /// Tasks that were claimed here again while a write under their older claim was in flight.
    taken_back: HashMap<TaskId, (Held, Lease)>,
    /// Tasks with a write in flight, and how many of their writes came before it.
    under_way: HashMap<TaskId, u32>,
    /// The exchange in flight that commits. It also claims, unless another exchange does.
    committing: Option<BoxFuture<'static, ExchangeDone>>,
    /// An exchange in flight beside it that only claims.
    claiming: Option<BoxFuture<'static, ExchangeDone>>,
    /// The next claim, which a dispatch of this process may take along.
    riding: Option<Offer>,
    /// An exchange in flight beside them that sends a submission which failed alone before, because it may wait for a
    /// row lock.
    straggling: Option<BoxFuture<'static, ExchangeDone>>,
    /// Most tasks in one claim, as learned from the claims that the store answered in time.
    claim_unit: usize,
    /// Whether the store can commit and claim in parallel.
    parallel: bool,
    renewal: Option<BoxFuture<'static, Renewed>>,
    /// The query in flight that asks which executions with parked code here are still open.
    asking: Option<BoxFuture<'static, Asked>>,
    /// How many of these executions are still to be asked about, and when the last query was.
    ask_left: usize,
    asked_at: Instant,
    ends: Box<dyn Listener>,
    /// No held lease expires before this.
    lapse_at: Option<Timestamp>,
    /// After a failed exchange: the earliest time of the next one, and the pause after the next failure.
    retry_at: Option<Instant>,
    retry_pause: Duration,
    /// The longest such pause.
    retry_pause_max: Duration,
    /// Whether leases must be renewed before the next commit, because a slow, failed commit has locked rows.
    renews_first: bool,
    resting: Resting,
}

/// Runs a worker's loop until it ends. If it panics, it drops the worker's presence, which reports that.
///
/// # Errors
/// [`Error::WorkerCrashed`] if it panicked.
pub(super) async fn run(driver: Driver, presence: Presence) -> Result<()> {
    let worker = driver.port.host.worker;
    let ran = AssertUnwindSafe(driver.run(presence)).catch_unwind().await;
    ran.map_err(|panic| {
        let failure = panic_failure(panic);
        tracing::error!(
            %worker,
            panic = failure.message,
            trace = failure.trace,
            "the worker crashed: its loop panicked, and it runs nothing any more; its tasks become due again when \
             their leases expire; start another worker, or restart the process"
        );
        Error::WorkerCrashed { panic: failure.message }
    })
}

impl Driver {
    pub(super) fn new(
        report: Reporter,
        engine: Arc<Engine>,
        fleet: Arc<Fleet>,
        config: Config,
        pump: PumpConfig,
    ) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (hints, ends) = (engine.store.listen(Topic::Work), engine.store.listen(Topic::Ended));
        let functions = engine.registry.names().map(str::to_owned).collect();
        let limits = engine.registry.functions().filter_map(limit_of).collect();
        let parallel = engine.store.info().parallel;
        // No longer, so that the worker notices the end of an outage before its leases expire.
        let retry_pause_max = RETRY_PAUSE_MAX.min(config.lease / 3);
        let resting = Resting::new(engine.clock.skip(), report.vitals().id());
        Self {
            pump: Pump::new(pump, engine.clock.now()),
            port: Port {
                host: Arc::new(Host {
                    engine,
                    fleet,
                    states: Arc::new(config.states),
                    worker: report.vitals().id(),
                    drop_queue: Arc::default(),
                }),
                lease: config.lease,
                queues: config.queues.map(Arc::from),
                tags: Arc::from(config.tags),
                messages,
                stop: report.vitals().stopping(),
                report,
            },
            cache: Cache::new(config.cache),
            functions,
            limits,
            grace: config.grace,
            inbox,
            hints,
            active: HashMap::new(),
            prefetched: Prefetched::default(),
            outbox: Outbox::new(retry_pause_max),
            kept: HashMap::new(),
            taken_back: HashMap::new(),
            under_way: HashMap::new(),
            committing: None,
            claiming: None,
            riding: None,
            straggling: None,
            claim_unit: CLAIM_MAX,
            parallel,
            renewal: None,
            asking: None,
            ask_left: 0,
            asked_at: Instant::now(),
            ends,
            lapse_at: None,
            retry_at: None,
            retry_pause: RETRY_PAUSE_MIN.min(retry_pause_max),
            retry_pause_max,
            renews_first: false,
            resting,
        }
    }

    /// Runs until the worker is stopped and has committed or released everything, or gives up on that.
    async fn run(mut self, presence: Presence) {
        let end = End { report: self.port.report.clone(), is_well: false };
        let mut stop = self.port.stop.clone();
        let mut steps = self.port.host.engine.clock.steps();
        let mut handed_back = false;
        // When a drain stops waiting. `None` without a drain, and in a drain without a limit.
        let mut deadline: Option<Instant> = None;
        loop {
            match *stop.borrow_and_update() {
                Stop::No => {}
                Stop::Drain if self.pump.is_draining() => {}
                Stop::Drain => {
                    self.pump.handle_drain();
                    deadline = self.grace.and_then(|grace| Instant::now().checked_add(grace));
                }
                Stop::Now => {
                    self.pump.handle_drain();
                    // Only once: each further round of the loop must not postpone the deadline.
                    deadline = Some(deadline.map_or_else(Instant::now, |known| known.min(Instant::now())));
                }
            }
            // Not while an exchange is in flight: it may advance the fences against which a release is checked.
            let due = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if due && !handed_back && !self.exchanges() {
                handed_back = true;
                self.hand_back();
            }
            if self.pump.is_draining() {
                self.withdraw();
                if self.port.report.vitals().draining() {
                    self.port.report.drains(self.active.values().map(|active| &active.subject), self.grace);
                }
                if self.is_idle() {
                    break;
                }
            }
            // At this time every lease that could not be released has expired.
            let given_up = deadline.and_then(|deadline| deadline.checked_add(self.port.lease));
            if given_up.is_some_and(|given_up| given_up <= Instant::now()) {
                self.give_up();
                break;
            }
            self.stop_lapsed();
            self.end_expired();
            self.postpone();
            self.start_waiting();
            self.act().await;
            // The exchange that begins now commits the turns that just ended; other tasks can use their slots
            // meanwhile.
            self.start_waiting();
            self.port.report.vitals().count(self.pump.running(), self.cache.len());
            if self.resting.is_watched() {
                self.resting
                    .report(self.is_idle() && !self.cache.awaits_the_world(), self.pump.is_draining());
            }
            let hands_back = deadline.filter(|_| !handed_back && !self.exchanges());
            let wait = self.next_deadline(hands_back.or(given_up));
            let due = wait.map(|wait| wait.max(Instant::now()));
            self.port.report.vitals().due(due);
            tokio::select! {
                biased;
                Some(message) = self.inbox.recv() => {
                    self.handle(message);
                    self.handle_rest();
                }
                done = poll_some(&mut self.committing) => {
                    self.committing = None;
                    self.handle_exchange(done, Lane::Main);
                }
                done = poll_some(&mut self.claiming) => {
                    self.claiming = None;
                    self.handle_exchange(done, Lane::Claims);
                }
                done = poll_some(&mut self.straggling) => {
                    self.straggling = None;
                    self.handle_exchange(done, Lane::Stragglers);
                }
                ridden = ride::answer(&mut self.riding) => self.handle_ridden(ridden),
                renewed = poll_some(&mut self.renewal) => self.handle_renewed(renewed),
                asked = poll_some(&mut self.asking) => {
                    self.asking = None;
                    self.handle_asked(asked);
                }
                _ = stop.changed() => {}
                _ = steps.changed() => self.pump.handle_step(self.port.host.engine.clock.now()),
                () = self.hints.changed(), if !self.pump.is_draining() || !self.active.is_empty() => self.pump.handle_wake(self.port.host.engine.clock.now()),
                () = self.ends.changed(), if self.ask_left == 0 && self.cache.len() > 0 => self.handle_ended(),
                () = sleep_until(wait) => {}
            }
            let now = Instant::now();
            self.port.report.vitals().due(Some(now));
            let late = due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
            if late >= BLOCKING_POLL.max(self.port.lease / 3) {
                self.port.report.held_up(late);
            }
        }
        // Parked code and its states are destroyed before the worker is reported as stopped.
        let (worker, drop_queue, states) =
            (self.port.host.worker, self.port.host.drop_queue.clone(), self.port.host.states.clone());
        drop(self);
        drop_queue.push(states);
        if tokio::time::timeout(DROPS_MAX, drop_queue.drained()).await.is_err() {
            tracing::warn!(
                %worker,
                "a destructor of parked code has not returned after {DROPS_MAX:?}; the worker stops without \
                 waiting for it"
            );
        }
        presence.end().await;
        end.well();
        tracing::info!(%worker, "worker stopped");
    }

    /// Stops although not everything is released, because the store could not be reached for as long as leases last.
    fn give_up(&mut self) {
        tracing::warn!(
            worker = %self.port.host.worker,
            running = self.active.len(),
            commits = self.outbox.iter().count(),
            "the store cannot be reached, so the worker stops without releasing its tasks; they become due again \
             when their leases expire"
        );
        for (_, active) in self.active.drain() {
            active.abort.abort();
        }
    }

    /// Ends running tasks whose deadline has passed.
    fn end_expired(&mut self) {
        let now = self.port.host.engine.clock.now();
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

    /// Postpones the due moments of parked tasks that wait for something outside the store: their code is still in
    /// memory.
    fn postpone(&mut self) {
        let now = self.port.host.engine.clock.now();
        for transition in self.cache.postpone(now, self.port.lease) {
            self.submit(Submission::of(transition), now);
        }
    }

    /// Starts prefetched tasks while there are free slots, and releases the ones that have waited too long.
    fn start_waiting(&mut self) {
        if self.prefetched.is_empty() {
            return;
        }
        let now = self.port.host.engine.clock.now();
        let draining = self.pump.is_draining();
        while !draining && self.pump.has_slot() {
            let Some(ready) = self.prefetched.next() else { return };
            self.pump.handle_waited();
            // A task does not start under a lease that expires soon. Leases of waiting tasks are not renewed.
            match ready.lease.until.since(now) < self.port.lease / 2 {
                true => self.release(&ready.held, now),
                false => self.start(ready, now),
            }
        }
        let patience = if draining { Duration::ZERO } else { self.pump.patience() };
        while let Some(ready) = self.prefetched.overdue(now, patience) {
            self.pump.handle_waited();
            self.release(&ready.held, now);
        }
    }

    fn is_idle(&self) -> bool {
        self.active.is_empty()
            && self.prefetched.is_empty()
            && self.outbox.is_done()
            && !self.exchanges()
            && self.inbox.is_empty()
    }

    fn exchanges(&self) -> bool {
        self.committing.is_some() || self.claiming.is_some() || self.straggling.is_some() || self.rides()
    }

    /// The latest time at which the loop must wake up.
    fn next_deadline(&self, stops_at: Option<Instant>) -> Option<Instant> {
        let now = self.port.host.engine.clock.now();
        let is_busy = self.committing.is_some() && !self.claims_apart(self.pump.free());
        let can_claim = !is_busy && self.retry_at.is_none() && !self.rides();
        let expires_at = self.active.values().filter_map(|active| active.expires_at).min();
        let overdue_at = self.prefetched.overdue_at(self.pump.patience());
        let paced = self.pump.poll_deadline(can_claim).into_iter();
        let postpone_at = self.cache.postpone_at(self.port.lease);
        let paced = paced.chain(self.lapse_at).chain(expires_at).chain(overdue_at).chain(postpone_at);
        let paced = paced.min().map(|at| Instant::now() + at.since(now));
        let retry_at = self.retry_at.filter(|_| self.committing.is_none());
        let lane = if self.parallel { &self.straggling } else { &self.committing };
        let aside_at = self.outbox.aside_at().filter(|_| lane.is_none());
        let aside_at = aside_at.map(|at| self.retry_at.map_or(at, |retry_at| retry_at.max(at)));
        let at = paced.into_iter().chain(retry_at).chain(aside_at).chain(self.ask_at()).chain(stops_at);
        at.min()
    }

    /// Performs the next actions: exchanges and renewals.
    async fn act(&mut self) {
        let now = self.port.host.engine.clock.now();
        if self.renewal.is_none() && self.pump.poll_action(now) == Some(Action::Renew) {
            self.start_renewal(now);
        }
        self.start_asking();
        if self.retry_at.is_some_and(|retry_at| retry_at > Instant::now()) {
            return;
        }
        self.retry_at = None;
        if self.renews_first && self.renewal.is_some() {
            return;
        }
        self.renews_first = false;
        if self.parallel
            && self.straggling.is_none()
            && let Some(straggler) = self.outbox.next_aside(Instant::now())
        {
            self.straggling = Some(self.exchange(vec![straggler], None));
        }
        let commits = self.committing.is_none();
        if !commits && !self.parallel {
            return;
        }
        if commits && !self.outbox.is_empty() {
            self.gather().await;
        }
        let mut claim = match self.pump.poll_action(self.port.host.engine.clock.now()) {
            Some(Action::Claim { max }) if self.withdraw() => Some(max.min(self.claim_unit)),
            Some(Action::Look) if self.withdraw() => Some(0),
            Some(_) | None => None,
        };
        if claim.is_some_and(|max| self.claims_apart(max)) {
            self.claiming = Some(self.exchange(Vec::new(), claim.take()));
        }
        if commits {
            let unit = self.next_unit();
            // A suspect unit is sent without a claim, so that a failure can only be its own.
            let claim = claim.filter(|_| !unit.iter().any(Submission::is_suspect));
            if !unit.is_empty() || claim.is_some() {
                self.committing = Some(self.exchange(unit, claim));
            }
        }
        self.offer();
    }

    fn handle_rest(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.handle(message);
        }
    }

    fn handle(&mut self, message: Message) {
        let now = self.port.host.engine.clock.now();
        match message {
            Message::Keep { commit, reply } => {
                self.keep_lease(&commit.fence, now);
                self.submit(Submission { reply: Some(reply), ..Submission::of(commit) }, now);
            }
            Message::Kept { commit, news, reply } => {
                self.kept(&commit.fence);
                self.goes_on(&commit, reply, news);
            }
            Message::Done { commit, parked } => {
                self.keep_lease(&commit.fence, now);
                let ended = self.ended(&commit.fence);
                let (is_parked, subject) = (parked.is_some(), ended.map(|active| active.subject));
                if let Some(parked) = parked {
                    self.cache_parked(parked);
                }
                self.submit(Submission { parked: is_parked, subject, ..Submission::of(commit) }, now);
            }
            Message::Promote { commit, parked, step, lease, reply } => {
                self.keep_lease(&commit.fence, now);
                // The turn continues with the step and keeps its slot.
                let row = commit.insert.iter().find(|row| row.id == lease.task);
                let fence = Some(&commit.fence).filter(|fence| self.is_current(fence));
                let parent = fence.and_then(|fence| self.active.remove(&fence.task));
                let mut of_parent = None;
                if let (Some(Active { abort, stop, subject, .. }), Some(row)) = (parent, row) {
                    of_parent = Some(subject);
                    let subject = Subject::of_step(row, now);
                    self.hold(Active {
                        held: *step,
                        lease,
                        abort,
                        subject,
                        stop,
                        expires_at: None,
                        stands: false,
                        stored_until: lease.until,
                        goes_on: None,
                    });
                }
                self.cache_parked(parked);
                let submission = Submission::of(commit);
                let submission =
                    Submission { reply: Some(reply), parked: true, subject: of_parent, ..submission };
                self.submit(submission, now);
            }
            Message::Unpark { task, epoch } => {
                let transition = decide::unpark(task, epoch, now);
                self.submit(Submission::of(transition), now);
            }
            Message::Gone { fence } => {
                if self.is_current(&fence) {
                    self.lose(fence.task, LeaseLoss::Taken);
                }
            }
            Message::BrokeOff { turn, failure } => self.broke_off(turn, &failure),
        }
    }

    /// A turn ended without leaving anything to commit. Its lease expires, and the next claim counts a crash.
    fn broke_off(&mut self, turn: tokio::task::Id, failure: &Failure) {
        let is_it = |active: &&Active| active.abort.id() == turn;
        let Some(task) = self.active.values().find(is_it).map(|active| active.lease.task) else { return };
        if let Some(active) = self.finished(task) {
            self.port.report.broke_off(&active.subject, failure);
        }
    }

    fn cache_parked(&self, parked: Parked) {
        // Here and not in the turn: an unpark must come after the parking that it refers to.
        let (messages, task, epoch) = (self.port.messages.clone(), parked.task, parked.epoch);
        let unpark = move || drop(messages.send(Message::Unpark { task, epoch }));
        parked.activation.waker.park(unpark);
        self.cache.insert(parked);
    }

    fn hold(&mut self, active: Active) {
        self.lapse_at = self.lapse_at.into_iter().chain([active.lease.until]).min();
        self.active.insert(active.lease.task, active);
    }

    /// Whether this fence belongs to the current turn of its task. A turn that was stopped because its lease expired
    /// may still send a message after its task was claimed here again.
    fn is_current(&self, fence: &Fence) -> bool {
        self.active.get(&fence.task).is_some_and(|active| active.lease.epoch == fence.epoch)
    }

    /// The turn under this fence has ended.
    fn ended(&mut self, fence: &Fence) -> Option<Active> {
        if self.is_current(fence) { self.finished(fence.task) } else { None }
    }

    fn finished(&mut self, task: TaskId) -> Option<Active> {
        let active = self.active.remove(&task)?;
        self.pump.handle_finished();
        Some(active)
    }

    fn submit(&mut self, submission: Submission, now: Timestamp) {
        if makes_ready(&submission.transition) {
            // It can then be claimed in the exchange that makes it ready.
            self.pump.handle_wake(now);
        }
        self.outbox.push(submission);
    }

    /// Releases a task, so that any worker can claim it.
    fn release(&mut self, held: &Held, now: Timestamp) {
        self.submit(Submission::of(decide::release(held, now)), now);
    }

    /// Accepts a claimed task. Its turn starts at once or when a slot is free; if the worker was stopped meanwhile, the
    /// task is released.
    fn take(&mut self, claimed: Claimed, now: Timestamp) {
        let parked_at = claimed.cached.and_then(|_| self.cache.parked_at(claimed.task.id));
        self.port.report.claimed(&claimed, now, parked_at.map(|at| now.since(at)));
        // The store lets a task be claimed again when its lease has expired, which may be before this worker notices.
        self.lose(claimed.task.id, LeaseLoss::Lapsed);
        if self.take_back(&claimed, now) {
            return;
        }
        // The claim's answer may arrive so late that another worker has the task.
        if self.pump.is_draining() || claimed.lease.until <= now {
            self.release(&Held::claimed(&claimed), now);
            return;
        }
        let subject = Subject::of_claim(&claimed, now);
        if let Some(commit) = decide::crashed(&claimed, now) {
            let (function, claims) = (&claimed.task.lane.function, claimed.task.uncommitted_claims);
            tracing::error!(
                execution = %claimed.task.tree.execution,
                task = %claimed.task.id,
                function,
                "giving up on `{function}`: {claims} claims of it ended without progress, because workers died, lost \
                 their leases or aborted a turn; stent.dead_letters().history(task) lists these claims"
            );
            self.submit(Submission { subject: Some(subject), ..Submission::of(commit) }, now);
            return;
        }
        let (held, lease, expires_at) = (Held::claimed(&claimed), claimed.lease, claimed.task.expires_at);
        let activation = match claimed.cached {
            Some(_) => match self.cache.take(claimed.task.id, lease.epoch) {
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
                    // The claim relied on cached code that is gone, so the claimed steps are incomplete. Release the
                    // task, to be claimed without the cache.
                    self.release(&held, now);
                    return;
                }
            },
            None => {
                self.cache.forget(claimed.task.id);
                Activation::of_claim(&self.port.host, claimed)
            }
        };
        let ready = Ready { held, lease, activation, subject, expires_at };
        if self.prefetched.is_empty() && self.pump.has_slot() {
            self.start(ready, now);
        } else {
            self.pump.handle_waiting();
            self.prefetched.push(now, ready);
        }
    }

    fn start(&mut self, ready: Ready, now: Timestamp) {
        let Ready { held, lease, activation, subject, expires_at } = ready;
        self.pump.handle_started(now);
        let stop = activation.durable.stop.clone();
        let subject = subject.from(now);
        let running = tokio::spawn(turn::run(self.port.clone(), activation, held.clone()));
        let abort = running.abort_handle();
        let stored_until = lease.until;
        self.hold(Active {
            held,
            lease,
            abort,
            subject,
            stop,
            expires_at,
            stands: true,
            stored_until,
            goes_on: None,
        });
    }

    /// Stops every turn and releases its task.
    fn hand_back(&mut self) {
        self.handle_rest();
        let now = self.port.host.engine.clock.now();
        self.port.report.hands_back(self.active.values().map(|active| &active.subject));
        for (task, mut active) in std::mem::take(&mut self.active) {
            tracing::debug!(%task, "released a task");
            active.abort.abort();
            self.pump.handle_finished();
            // The turn's pending commits go first and advance the fence.
            for submission in self.outbox.iter() {
                if submission.transition.fence().is_some_and(|fence| fence.task == task) {
                    active.held.fence = active.held.fence.next();
                }
            }
            let release = Submission::of(decide::release(&active.held, now));
            self.submit(Submission { subject: Some(active.subject), ..release }, now);
        }
    }
}

impl Drop for Driver {
    /// A worker that was killed takes its turns with it. Any other worker has none left.
    fn drop(&mut self) {
        self.active.values().for_each(|active| active.abort.abort());
    }
}

/// The limits of a function, if it has any.
fn limit_of(function: &Registration) -> Option<Limit> {
    let FunctionOptions { max_concurrent, rate, .. } = (function.options)();
    let limit = Limit { function: function.name.to_owned(), max_concurrent, rate };
    (max_concurrent.is_some() || rate.is_some()).then_some(limit)
}

/// Reports that the worker has ended, however its loop ended.
struct End {
    report: Reporter,
    is_well: bool,
}

impl End {
    fn well(mut self) {
        self.is_well = true;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // A loop that is dropped with its runtime has not panicked, but probes on another runtime may still ask for it.
        let vitals = self.report.vitals();
        let was_asked = *vitals.stopping().borrow() != Stop::No;
        match self.is_well || (was_asked && !std::thread::panicking()) {
            true => vitals.stopped(),
            false => vitals.crashed(),
        }
    }
}

/// Polls an optional future; `None` is never ready.
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
