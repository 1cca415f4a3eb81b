//! One turn of one task, from its claim to its next wait or its end.
//!
//! ```text
//!          ┌──────────── poll until quiet ◄───────────┐
//!          ▼                                          │
//!   ended: commit    known completions: deliver one ──┤
//!                    something to record: commit ─────┤
//!                    one call: run it here, commit ───┤
//!                    a transaction: see `transact` ───┤
//!                    the world: wait for a waker, ────┘
//!                      and for completions of others
//!                    steps of others: park
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use stent_core::backend::Store;
use stent_core::decide::{self, Held};
use stent_core::model::{
    Epoch, Fence, Lease, NewTask, NewTaskState, Note, Said, Seq, Step, TaskResult, Tree,
};
use stent_core::replay::{CallSpec, Difference, End, Mismatch, Needs, Replay, Turn};
use stent_core::transition::{Commit, News};
use stent_core::{Failure, TaskId, Timestamp};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::activation::Activation;
use super::port::{Kept, Message, Parked, Port};
use crate::durable::context::{Durable, Place};
use crate::durable::stop::StopSign;
use crate::durable::transaction::queue::TransactionStage;
use crate::engine::completions::Listener;
use crate::engine::ids;
use crate::function::panics::panic_failure;

/// How long notes may wait for the next commit.
const NOTES_PAUSE: Duration = Duration::from_secs(1);

/// Runs a turn to its end. The loop always learns of the end: through the turn's commit, or because the turn broke off.
pub(super) async fn run(port: Port, activation: Activation, held: Held) {
    let messages = port.messages.clone();
    let turn = AssertUnwindSafe(advance_to_the_end(Running {
        port,
        activation,
        held,
        said_by: None,
        listener: None,
        ahead: None,
    }));
    if let Err(panic) = turn.catch_unwind().await {
        // If the loop has ended, nobody receives this.
        let _ = messages.send(Message::BrokeOff { turn: tokio::task::id(), failure: panic_failure(panic) });
    }
}

async fn advance_to_the_end(turn: Running) {
    let mut running = Some(turn);
    while let Some(turn) = running {
        running = turn.advance().await;
    }
}

/// A task under a lease, in a turn. Whatever ends the turn consumes it.
pub(super) struct Running {
    pub(super) port: Port,
    pub(super) activation: Activation,
    pub(super) held: Held,
    /// When the notes of the code must be committed.
    said_by: Option<Instant>,
    /// Listens for completions of the code's steps while the code awaits other work.
    pub(super) listener: Option<Listener>,
    /// A record that the code has seen although it is not committed yet.
    ahead: Option<Box<Ahead>>,
}

/// The record of steps that ran here, while the code continues with their results: if the code ends without asking for
/// anything else, one commit has both. Otherwise the record is committed before anything else happens.
struct Ahead {
    turn: Turn,
    /// The moment at which the code saw the steps end, which a replay will read.
    at: Timestamp,
}

/// A step that ran in its parent's turn and has to be recorded.
struct Ran {
    seq: Seq,
    row: NewTask,
    notes: Vec<Note>,
}

/// The outcome of a step that ran in its parent's turn.
enum Local {
    /// It ended.
    Ended { result: TaskResult, notes: Vec<Note> },
    /// It was asked to end, together with its parent.
    Stopped,
    /// It asks for steps of its own, so it needs its own row and lease.
    Grew(Activation),
    /// Its parent's code continued meanwhile and does not want it any more.
    Dropped,
    /// Its parent's code ended meanwhile.
    ParentEnded(TaskResult),
}

impl Running {
    async fn advance(mut self) -> Option<Self> {
        let stopping = self.stop().is_set();
        if stopping && !self.stop().is_heeded() {
            return self.stopped();
        }
        let ended = match self.activation.poll_until_quiet().await {
            Some(result) => Some(result),
            None => match self.activation.deliver() {
                Ok(true) => return Some(self),
                Ok(false) => None,
                Err(failure) => {
                    self.activation.abandon();
                    Some(Err(failure))
                }
            },
        };
        match ended {
            // A retry forgets what its attempt has not committed, so a failure comes after the record.
            Some(Err(failure)) if self.ahead.is_some() => self.activation.has_ended(Err(failure)),
            Some(result) => return self.end(result),
            None => {}
        }
        if self.ahead.is_some() {
            return self.keep(None).await;
        }
        let needs = self.activation.durable.replay(|replay| replay.needs());
        match self.activation.durable.transactions(|queue| queue.stage()) {
            // Nothing is written for code that does not match its record.
            _ if matches!(needs, Needs::Nothing(_)) => {}
            TransactionStage::Finished => return self.commit_within().await,
            TransactionStage::Open => return self.wait_for_the_transaction().await,
            TransactionStage::Queued | TransactionStage::Idle => {}
        }
        match needs {
            // Code that cleans up may wait for things outside the store, and for nothing else.
            Needs::Call(_) | Needs::Steps if stopping => self.stopped(),
            Needs::Nothing(mismatch) => {
                self.activation.abandon();
                self.explain(&mismatch).await.end(Err(Failure::from(&mismatch)))
            }
            Needs::Commit => self.keep(None).await,
            Needs::Call(seq) => self.call(seq).await,
            Needs::Steps => self.park(None),
            Needs::World => {
                if self.grant() {
                    return Some(self);
                }
                let durable = &self.activation.durable;
                if durable.replay(|replay| replay.has_steps() && !replay.is_in_step()) {
                    self.port.host.fleet.unrecorded.waited(&durable.function);
                }
                self.wait_for_the_world().await
            }
        }
    }

    /// Adds the recorded step to a mismatch; it is read only now.
    async fn explain(self, mismatch: &Mismatch) -> Self {
        let store = self.port.host.engine.store.clone();
        explain(&*store, &self.activation.durable, mismatch).await;
        self
    }

    pub(super) fn now(&self) -> Timestamp {
        self.port.host.engine.clock.now()
    }

    pub(super) fn stop(&self) -> &Arc<StopSign> {
        &self.activation.durable.stop
    }

    /// The task was asked to end: drops its code where it is.
    fn stopped(mut self) -> Option<Self> {
        self.activation.abandon();
        let turn = self.take_turn();
        let commit = decide::stop(&self.held, turn, self.now());
        self.port.send(Message::Done { commit, parked: None });
        None
    }

    fn end(mut self, result: TaskResult) -> Option<Self> {
        let turn = self.take_turn();
        let end = self.activation.durable.replay(|replay| replay.end(result));
        self.activation.report_end(&end.result);
        let commit = decide::end(&self.held, turn, end, self.now());
        self.port.send(Message::Done { commit, parked: None });
        None
    }

    /// Commits everything to record, including a step that ran here, and continues once it is committed. If the code may see its
    /// steps before, it continues at once; the next call, without a step, commits what it has seen.
    async fn keep(mut self, ran: Option<Ran>) -> Option<Self> {
        let was_ahead = self.ahead.is_some();
        let (turn, own, now) = match self.ahead.take() {
            // The code has seen these completions.
            Some(ahead) => (ahead.turn, Vec::new(), ahead.at),
            None => {
                let (turn, now) = self.turn_with(ran);
                if self.activation.durable.replay(|replay| replay.run_ahead(&turn)) {
                    self.ahead = Some(Box::new(Ahead { turn, at: now }));
                    return Some(self);
                }
                let own = turn.own.clone();
                (turn, own, now)
            }
        };
        match self.port.keep(decide::keep(&self.held, turn, now)).await {
            Kept::Stands(news) => {
                self.said_by = None;
                self.held.fence = self.held.fence.next();
                self.learn(news, &own);
                if was_ahead {
                    self.activation.durable.catch_up();
                }
                Some(self)
            }
            Kept::Refused(failure) => self.refused(failure),
            Kept::Lost => self.lost(),
        }
    }

    /// Takes everything to record, with a step that ran here and the sleeps that are due.
    fn turn_with(&mut self, ran: Option<Ran>) -> (Turn, Timestamp) {
        let now = self.now();
        let mut turn = self.take_turn();
        if let Some(Ran { seq, row, notes }) = ran {
            turn.notes.extend(notes.into_iter().map(|note| Said { task: row.id, note }));
            turn.insert.push(row);
            turn.own.push(seq);
        }
        self.activation.durable.replay(|replay| replay.fire_due(now, &mut turn));
        (turn, now)
    }

    /// The store cannot hold a value of the code. Drops the code where it is, because running it again would produce
    /// the same value.
    fn refused(mut self, failure: Failure) -> Option<Self> {
        self.activation.abandon();
        // Nothing that the code asked for is written, because that may be what the store cannot hold.
        let Turn { cancel, seen, .. } = self.take_turn();
        let turn = Turn { cancel, seen, ..Turn::default() };
        let end = End { result: Err(failure), had_steps: true, redo: Vec::new() };
        let commit = decide::end(&self.held, turn, end, self.now());
        self.port.send(Message::Done { commit, parked: None });
        None
    }

    pub(super) fn learn(&self, news: News, own: &[Seq]) {
        self.activation.durable.replay(|replay| {
            if news.steps.is_empty() {
                replay.committed(own);
            } else {
                replay.resume(news.done, news.steps);
            }
        });
        // A map may have room for its next chunk now.
        self.activation.waker.set_woken();
    }

    fn park(self, insert: Option<NewTask>) -> Option<Self> {
        let port = self.port.clone();
        let (commit, parked) = self.parking(insert);
        port.send(Message::Done { commit, parked: Some(parked) });
        None
    }

    /// The commit of a parking, and the code that stays in memory.
    fn parking(mut self, insert: Option<NewTask>) -> (Commit, Parked) {
        let mut turn = self.take_turn();
        turn.insert.extend(insert);
        let (now, durable) = (self.now(), &self.activation.durable);
        let (mut wait, seen) = durable.replay(|replay| (replay.wait(), replay.seen()));
        let mut due = None;
        if self.activation.awaits_the_world() {
            if self.activation.surely_awaits_the_world() {
                self.port.host.fleet.unrecorded.parked(&durable.function);
            }
            // The store does not know what would wake it. If this process dies, the task becomes due as if it had been
            // running.
            wait = wait.no_longer_than(now + self.port.lease);
            due = wait.until;
        }
        let parking = decide::park(&self.held, turn, wait, now);
        let Fence { task, epoch, commit } = self.held.fence.next();
        (parking, Parked { task, epoch, commit, seen, at: now, due, activation: self.activation })
    }

    /// Takes everything to commit, with a record that the code has seen already.
    fn take_turn(&mut self) -> Turn {
        let turn =
            self.activation.durable.replay(|replay| replay.turn(self.held.fence.task, &self.held.tree));
        match self.ahead.take() {
            Some(ahead) => ahead.turn.then(turn),
            None => turn,
        }
    }

    pub(super) fn lost(self) -> Option<Self> {
        self.port.send(Message::Gone { fence: self.held.fence });
        None
    }

    /// Starts to listen for steps that other tasks complete, if the code waits for any.
    pub(super) fn listen(&mut self) {
        let Some(seen) = self.activation.durable.replay(|replay| replay.listens()) else {
            self.listener = None;
            return;
        };
        match &self.listener {
            Some(listener) => listener.has_seen(seen),
            None => {
                let engine = &self.port.host.engine;
                self.listener = Some(engine.completions.listen(&engine.store, self.held.fence.task, seen));
            }
        }
    }

    /// Delivers completions of other tasks while the code awaits other work. This needs no write: the position of a
    /// completion among the others is already recorded (G4).
    pub(super) fn learn_completions(&self, steps: Vec<Step>) {
        self.activation.durable.replay(|replay| replay.resume(0, steps));
        // A map may have room for its next chunk now.
        self.activation.waker.set_woken();
    }

    /// The code waits for something that is not recorded. Its sleeps may become due meanwhile, and its steps may
    /// complete.
    async fn wait_for_the_world(mut self) -> Option<Self> {
        self.listen();
        let (due, says) = self.activation.durable.replay(|replay| (replay.next_due(), replay.has_notes()));
        let due = due.map(|due| Instant::now() + due.since(self.now()));
        self.said_by = says.then(|| self.said_by.unwrap_or_else(|| Instant::now() + NOTES_PAUSE));
        let deadline = due.into_iter().chain(self.said_by).min();
        let stop = self.stop().clone();
        // The deadline comes first, because code that is woken all the time must not starve it.
        tokio::select! {
            biased;
            () = until(deadline) => self.keep(None).await,
            steps = completed(self.listener.as_ref()) => {
                self.learn_completions(steps);
                Some(self)
            }
            () = self.activation.waker.woken() => Some(self),
            () = stop.wait(), if !stop.is_set() => Some(self),
        }
    }

    /// The code waits for exactly one call. If this worker may run it, it does so at once, under the current lease;
    /// otherwise the call becomes a row that other workers claim.
    async fn call(mut self, seq: Seq) -> Option<Self> {
        let wished = self.activation.durable.replay(|replay| {
            let (id, call) = replay.wished_call(seq)?;
            Some((id, call.clone()))
        });
        let Some((id, call)) = wished else { return Some(self) };
        if !self.port.admits(&call.lane) {
            return self.park(None);
        }
        let tree = Tree::step(self.held.tree.execution, self.held.fence.task);
        let place = Place { task: id, tree, function: call.lane.function.clone(), attempts: 0 };
        // The step is not recorded yet and may begin again from here, so its time must be the same then.
        let (started_at, began_at) = (self.now(), self.activation.durable.now());
        let step = Activation::of_step(&self.port.host, place, &call, self.stop().clone(), began_at);
        match self.run_here(seq, step).await {
            Local::Ended { result, notes } => self.record(seq, id, &call, started_at, result, notes).await,
            Local::Stopped => self.stopped(),
            Local::Grew(step) => self.promote(seq, id, began_at, step).await,
            Local::Dropped => Some(self),
            Local::ParentEnded(result) => self.end(result),
        }
    }

    /// Runs a step's code in this turn until it ends or wants steps of its own. The parent's code is polled meanwhile.
    async fn run_here(&mut self, seq: Seq, mut step: Activation) -> Local {
        let mut said_by = None;
        loop {
            let ended = step.poll_until_quiet().await;
            // A transaction is written under the fence of the task whose code runs it, so such a step needs a row, too.
            let is_leaf = matches!(step.durable.replay(|replay| replay.needs()), Needs::World)
                && step.durable.transactions(|queue| queue.stage()) == TransactionStage::Idle;
            match ended {
                Some(result) if is_leaf => {
                    let notes = step.durable.replay(Replay::take_notes);
                    step.report_end(&result);
                    return Local::Ended { result, notes };
                }
                // It has detached steps, which need a parent row.
                Some(result) => {
                    step.has_ended(result);
                    return Local::Grew(step);
                }
                None if !is_leaf => return Local::Grew(step),
                None => {}
            }
            let stop = self.stop().clone();
            if stop.is_set() && !stop.is_heeded() {
                step.abandon();
                return Local::Stopped;
            }
            let says = [&self.activation, &step].map(|code| code.durable.replay(|replay| replay.has_notes()));
            said_by = says.contains(&true).then(|| said_by.unwrap_or_else(|| Instant::now() + NOTES_PAUSE));
            tokio::select! {
                biased;
                // Notes are committed under the task that wrote them, so the step needs a row.
                () = until(said_by) => return Local::Grew(step),
                () = step.waker.woken() => {}
                () = stop.wait(), if !stop.is_set() => {}
                () = self.activation.waker.woken() => {
                    if let Some(result) = self.activation.poll_until_quiet().await {
                        step.abandon();
                        return Local::ParentEnded(result);
                    }
                    if self.activation.durable.replay(|replay| replay.wished_call(seq).is_none()) {
                        step.abandon();
                        return Local::Dropped;
                    }
                    // The parent has asked for more, which must not wait until the step is done.
                    let needs = self.activation.durable.replay(|replay| replay.needs());
                    if matches!(needs, Needs::Steps | Needs::Commit) {
                        return Local::Grew(step);
                    }
                }
            }
        }
    }

    /// Records a step that ran here: its result in one row, or its first failure as a row that is retried.
    async fn record(
        self,
        seq: Seq,
        id: TaskId,
        call: &CallSpec,
        started_at: Timestamp,
        result: TaskResult,
        notes: Vec<Note>,
    ) -> Option<Self> {
        let (task, tree, now) = (self.held.fence.task, self.held.tree, self.now());
        let policy = call.retry.as_ref();
        let delay =
            result.as_ref().err().and_then(|failure| decide::retry_delay(policy, false, id, 0, failure));
        if let Some(delay) = delay {
            let state = NewTaskState::Pending { ready_at: now + delay };
            let row = self.activation.durable.replay(|replay| replay.write_call(task, &tree, seq, state));
            if let Some(row) = &row {
                self.port.report.ran_here(row, now.since(started_at), &result, true);
            }
            return self.park(row.map(|row| NewTask { attempts: 1, failure: result.err(), ..row }));
        }
        let state = NewTaskState::Done { started_at, result: result.clone() };
        let row = self.activation.durable.replay(|replay| {
            let row = replay.write_call(task, &tree, seq, state);
            replay.ended(seq, now, result);
            row
        });
        self.keep(row.map(|row| Ran { seq, row, notes })).await
    }

    /// Gives a step its own row and lease, parks its parent, and continues with the step.
    async fn promote(self, seq: Seq, id: TaskId, started_at: Timestamp, step: Activation) -> Option<Self> {
        let (task, tree) = (self.held.fence.task, self.held.tree);
        let until = self.now() + self.port.lease;
        let nonce = ids::nonce();
        let state = NewTaskState::Leased { started_at, worker: self.port.host.worker, nonce, until };
        let row = self.activation.durable.replay(|replay| replay.write_call(task, &tree, seq, state));
        let Some(row) = row else { return Some(self) };
        let port = self.port.clone();
        let epoch = Epoch::new(1, nonce);
        let fence = Fence { task: id, epoch, commit: 0 };
        let held =
            Held { fence, tree: row.tree, retry: row.retry.clone(), attempts: 0, key: None, redriven: false };
        let lease = Lease { task: id, epoch, until };
        let (commit, parked) = self.parking(Some(row));
        let (reply, answer) = oneshot::channel();
        port.send(Message::Promote { commit, parked, step: Box::new(held.clone()), lease, reply });
        let promoted = Self { port, activation: step, held, said_by: None, listener: None, ahead: None };
        match answer.await.unwrap_or(Kept::Lost) {
            Kept::Stands(_) => Some(promoted),
            Kept::Refused(_) | Kept::Lost => promoted.lost(),
        }
    }
}

/// Adds the recorded step to the mismatch that broke the code's replay.
pub(super) async fn explain(store: &dyn Store, durable: &Durable, mismatch: &Mismatch) {
    let recorded = match &mismatch.difference {
        Difference::Step | Difference::Sealed => return,
        Difference::Args { of, .. } => store.args(*of).await.map(|args| vec![args]),
        Difference::Items { of, asked } => store
            .items(*of, Seq(0), asked.len())
            .await
            .map(|items| items.into_iter().map(|item| Some(item.args)).collect()),
    };
    let shown = match recorded {
        Ok(recorded) => mismatch.clone().shown(Ok(&recorded)),
        Err(error) => mismatch.clone().shown(Err(&format!("{error:#}"))),
    };
    durable.replay(|replay| replay.explain(shown));
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The next steps that have ended elsewhere; never ready without a listener.
pub(super) async fn completed(listener: Option<&Listener>) -> Vec<Step> {
    match listener {
        Some(listener) => listener.next().await,
        None => std::future::pending().await,
    }
}
