//! Replays one task's code against its recorded steps.
//!
//! ```text
//! code ── reserve, ask, record, feed, forget ──►┌────────┐◄── resume ── news from the store
//!      ◄─────────── take ───────────────────────│ Replay │
//! runtime ◄── deliver, needs, turn ─────────────└────────┘
//! ```
//!
//! Replay answers requests whose results are known, keeps new ones, and delivers completions to the code one at a time, in the
//! recorded order: so code that runs again takes the same path (G4). It knows nothing of stores or clocks; its moments come
//! from the record.

mod ask;
mod map;
mod mismatch;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use ask::{Ask, Asked, CallSpec, StepSpec};
pub use map::MapWindow;
pub use mismatch::{Difference, Mismatch, Walk};
pub use turn::{End, Needs, Turn};

use crate::model::{Note, Seq, Step, StepKind, StepState, TaskResult};
use crate::{Origin, TaskId, Timestamp};

/// The state of one task's code.
///
/// Methods come in three kinds. The *code* calls [`reserve`](Self::reserve) when a step is built, [`ask`](Self::ask) when it is
/// first polled, [`take`](Self::take) when it is polled again, [`record`](Self::record) and [`feed`](Self::feed) for the two
/// kinds of step that the code itself drives, [`forget`](Self::forget) when it is dropped, and [`hold`](Self::hold) while it
/// reads data that is recorded elsewhere. The *runtime* polls the code until it is quiet, calls [`deliver`](Self::deliver),
/// polls again, and so on until nothing is left to deliver; then [`needs`](Self::needs) returns what the code waits for, and
/// [`turn`](Self::turn) returns the data to commit. After the commit, [`resume`](Self::resume) adds the *store's* news.
#[derive(Debug)]
pub struct Replay {
    next_seq: u32,
    /// Positions that the code waits for or has not reached yet. A position below `next_seq` without a slot is finished for the
    /// code, so a long function has few slots.
    slots: BTreeMap<Seq, Slot>,
    /// Completions that the code has not seen, by their order.
    undelivered: BTreeMap<u32, Seq>,
    /// Completions in the store, as far as this replay knows.
    done: u32,
    seen: u32,
    now: Timestamp,
    /// Requests since the last turn, in order.
    wished: VecDeque<Seq>,
    cancelled: Vec<TaskId>,
    fresh_inline: Vec<Seq>,
    steps_asked: bool,
    /// Notes that the code has written since the last turn, with the step if a step's closure wrote them.
    notes: Vec<(Option<TaskId>, Note)>,
    /// Notes of an earlier run that this run has not reached yet.
    noted: u32,
    /// The code's current reads, during which nothing is delivered.
    holds: u32,
    /// Whether the last completion that the code saw was a failure.
    saw_failure: bool,
    /// The order of the last failure that the code saw, or zero.
    failure: u32,
    /// Steps that leave the record if the code fails now and is retried: see [`End::redo`].
    redo: BTreeSet<TaskId>,
    broken: Option<Mismatch>,
    /// Whether the task is a redriven dead letter: then its code first reaches the recorded failure.
    redriven: bool,
    /// Failed steps that a redriven task asks for with other arguments. When the code reaches its recorded failure, that
    /// failure leaves the record, and these steps may leave it, too; if the code does not end with the failure, they are
    /// mismatches.
    excused: Vec<(TaskId, Mismatch)>,
    /// Whether a mismatch shows no arguments.
    is_sealed: bool,
    /// Whether the code runs nothing itself.
    is_rehearsal: bool,
    /// Whether the code has seen completions that are not committed yet.
    is_ahead: bool,
}

/// The state of one position.
#[derive(Debug)]
enum Slot {
    /// Recorded, and not yet reached by the code.
    Recorded(Step),
    /// Asked for by the code.
    Open(Open),
    /// Delivered to the code, which has not taken it yet.
    Delivered(TaskId, TaskResult),
}

#[derive(Debug)]
struct Open {
    id: TaskId,
    kind: StepKind,
    /// The request, until it is written.
    unwritten: Option<Box<Unwritten>>,
    /// The result, once it is known and until it is delivered.
    ended: Option<(Timestamp, TaskResult)>,
    due: Option<Timestamp>,
    map: Option<MapWindow>,
    /// Whether the code has detached the step, so that the step continues without the code. Its slot is removed once it
    /// is written.
    detached: bool,
    /// Whether the record says that the step was given up. The code will drop it again.
    dead: bool,
}

/// A request that is not written yet.
#[derive(Clone, Debug)]
struct Unwritten {
    ask: Ask,
    /// When the code asked.
    at: Timestamp,
}

impl Replay {
    /// The state of code that starts from its first line, with the record of earlier runs.
    ///
    /// `done` is the task's number of completions, and `started_at` is when it was first claimed.
    #[must_use]
    pub fn new(started_at: Timestamp, done: u32, steps: Vec<Step>) -> Self {
        let mut replay = Self {
            next_seq: 0,
            slots: BTreeMap::new(),
            undelivered: BTreeMap::new(),
            done: 0,
            seen: 0,
            now: started_at,
            wished: VecDeque::new(),
            cancelled: Vec::new(),
            fresh_inline: Vec::new(),
            steps_asked: !steps.is_empty(),
            notes: Vec::new(),
            noted: 0,
            holds: 0,
            saw_failure: false,
            failure: 0,
            redo: BTreeSet::new(),
            broken: None,
            redriven: false,
            excused: Vec::new(),
            is_sealed: false,
            is_rehearsal: false,
            is_ahead: false,
        };
        replay.resume(done, steps);
        replay
    }

    /// The same, for code that wrote this many notes in earlier runs: they are on record, and are not written again.
    #[must_use]
    pub const fn noted(mut self, notes: u32) -> Self {
        self.noted = notes;
        self
    }

    /// The same, for code of a redriven dead letter. The step whose failure the code reaches first runs again, so it may have
    /// other arguments.
    #[must_use]
    pub const fn redriven(mut self, redriven: bool) -> Self {
        self.redriven = redriven;
        self
    }

    /// The same, for a task whose arguments are sealed in the store: mismatches, which are not sealed, show no arguments.
    #[must_use]
    pub const fn sealed(mut self, is_sealed: bool) -> Self {
        self.is_sealed = is_sealed;
        self
    }

    /// The same, for a rehearsal, which only compares code with a record: inline steps that are not recorded stay open, and their
    /// closures do not run.
    #[must_use]
    pub const fn rehearsal(mut self) -> Self {
        self.is_rehearsal = true;
        self
    }

    // Events from the store.

    /// Adds news from the store: completions, and the progress of maps.
    pub fn resume(&mut self, done: u32, steps: Vec<Step>) {
        self.done = self.done.max(done);
        for step in steps {
            if let Some(order) = step.order() {
                // Steps may be read a little later than they were counted.
                self.done = self.done.max(order);
                if order <= self.seen {
                    continue;
                }
                self.undelivered.insert(order, step.seq);
            }
            match self.slots.get_mut(&step.seq) {
                Some(Slot::Open(open)) => open.learn(step),
                Some(Slot::Recorded(known)) => *known = step,
                Some(Slot::Delivered(..)) => {}
                // Finished for the code: taken, given up or detached.
                None if step.seq.0 < self.next_seq => {}
                None => {
                    self.slots.insert(step.seq, Slot::Recorded(step));
                }
            }
        }
    }

    /// Notes that the last turn was committed with its own completions and no others in between.
    pub fn committed(&mut self, own: &[Seq]) {
        for seq in own {
            self.done += 1;
            self.undelivered.insert(self.done, *seq);
        }
    }

    /// Keeps the result of a step that ran under this task's lease until its record is committed.
    pub fn ended(&mut self, seq: Seq, at: Timestamp, result: TaskResult) {
        if let Some(Slot::Open(open)) = self.slots.get_mut(&seq) {
            open.unwritten = None;
            open.ended = Some((at, result));
        }
    }

    // Requests of the code.

    /// Assigns a step its position. Positions are assigned in the order in which steps are built, so that the order of polling
    /// cannot change them.
    pub fn reserve(&mut self) -> Seq {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        seq
    }

    /// The code asks for a step. Afterwards the step is open, or it was recorded and is answered in its turn.
    ///
    /// A new step gets this id. `at` is the moment of the request; it becomes the start of an inline step.
    ///
    /// # Errors
    /// If the record has another step at this position. The replay is broken from then on.
    pub fn ask(&mut self, seq: Seq, id: TaskId, at: Timestamp, ask: Ask) -> Result<Asked, Mismatch> {
        self.steps_asked = true;
        let (id, asked) = match self.slots.remove(&seq) {
            None => {
                self.wished.push_back(seq);
                self.slots.insert(seq, Slot::Open(Open::wished(id, at, ask)));
                (id, Asked::New)
            }
            Some(Slot::Recorded(step)) => {
                if let Some(mismatch) = Mismatch::between(&step, &ask, self.is_sealed) {
                    if self.redriven && mismatch.is_of_a_failure(&step) {
                        self.excused.push((step.id, mismatch));
                    } else {
                        self.broken.get_or_insert_with(|| mismatch.clone());
                        self.slots.insert(seq, Slot::Recorded(step));
                        return Err(mismatch);
                    }
                }
                let id = step.id;
                if !ask.detached {
                    if let Some(order) = step.order().filter(|order| *order <= self.seen) {
                        // Its turn came while the code awaited non-durable work: the code takes it now.
                        self.undelivered.insert(order, seq);
                    }
                    let digest = step.digest.filter(|_| mismatch::is_comparable(&step, &ask));
                    self.slots.insert(seq, Slot::Open(Open::recorded(Step { digest, ..step })));
                }
                (id, Asked::Recorded)
            }
            Some(taken) => {
                self.slots.insert(seq, taken);
                return Ok(Asked::Recorded);
            }
        };
        if self.saw_failure {
            self.redo.insert(id);
        }
        Ok(asked)
    }

    /// Whether the code must run the inline step that it asked for, or end its sleep of zero, because it is not recorded.
    #[must_use]
    pub fn must_run(&self, seq: Seq) -> bool {
        !self.is_rehearsal
            && matches!(self.slots.get(&seq), Some(Slot::Open(open)) if open.unwritten.is_some() && open.ended.is_none())
    }

    /// Whether the record has a step at this position that the code has not asked for yet.
    #[must_use]
    pub fn has_recorded(&self, seq: Seq) -> bool {
        matches!(self.slots.get(&seq), Some(Slot::Recorded(_)))
    }

    /// Whether the record has steps that the code has not asked for, other than steps that were given up.
    #[must_use]
    pub fn has_unasked(&self) -> bool {
        let is_left =
            |slot: &Slot| matches!(slot, Slot::Recorded(step) if step.state != StepState::Cancelled);
        self.slots.values().any(is_left)
    }

    /// Whether the code [reads](Self::hold) recorded data.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        self.holds > 0
    }

    /// The code has taken the result of a step that has these parts. If the result is a failure, the parts leave the
    /// record with it.
    pub fn redo_with(&mut self, parts: impl IntoIterator<Item = TaskId>) {
        if self.saw_failure {
            self.redo.extend(parts);
        }
    }

    /// The code has completed an inline step, or a sleep of zero.
    pub fn record(&mut self, seq: Seq, at: Timestamp, result: TaskResult) {
        if let Some(Slot::Open(open)) = self.slots.get_mut(&seq) {
            open.ended = Some((at, result));
            self.fresh_inline.push(seq);
        }
    }

    /// Takes the result of a step once it has been delivered.
    pub fn take(&mut self, seq: Seq) -> Option<(TaskId, TaskResult)> {
        match self.slots.remove(&seq) {
            Some(Slot::Delivered(id, result)) => Some((id, result)),
            Some(other) => {
                self.slots.insert(seq, other);
                None
            }
            None => None,
        }
    }

    /// The code has dropped a step before its result: the step is given up.
    pub fn forget(&mut self, seq: Seq) {
        let open = match self.slots.remove(&seq) {
            Some(Slot::Open(open)) if !open.detached => open,
            Some(Slot::Delivered(..)) | None => return,
            Some(other) => {
                self.slots.insert(seq, other);
                return;
            }
        };
        if open.unwritten.is_some() {
            self.wished.retain(|wished| *wished != seq);
            self.fresh_inline.retain(|fresh| *fresh != seq);
            self.redo.remove(&open.id);
            return;
        }
        // A signal value that was taken and not seen returns to its slot: other waits may take it.
        let unseen = open.kind == StepKind::Signal && matches!(open.ended, Some((_, Ok(_))));
        if (open.ended.is_none() && !open.dead) || unseen {
            self.cancelled.push(open.id);
        }
        // A step that succeeded, but whose result the code has not seen, may stay in the record, so that the next attempt need
        // not run it. A signal value that was returned to its slot does not belong to the step any more.
        if unseen || !matches!(open.ended, Some((_, Ok(_)))) {
            self.redo.insert(open.id);
        }
    }

    /// The code detaches a step, which continues without it.
    pub fn detach(&mut self, seq: Seq) {
        match self.slots.get_mut(&seq) {
            Some(Slot::Open(open)) if open.unwritten.is_some() => open.detached = true,
            Some(Slot::Open(_)) => {
                self.slots.remove(&seq);
            }
            Some(Slot::Recorded(_) | Slot::Delivered(..)) | None => {}
        }
    }

    /// The code begins to read recorded data that is not a completion: the items of a map. Nothing is delivered until the read
    /// [has ended](Self::release), so that a slow read leads to the same path as a fast one.
    pub fn hold(&mut self) {
        self.holds += 1;
    }

    /// The code has finished or dropped the read for which it [held](Self::hold) deliveries.
    pub fn release(&mut self) {
        debug_assert!(self.holds > 0, "a read ended that never began");
        self.holds = self.holds.saturating_sub(1);
    }

    /// The code writes a note about its execution.
    pub fn note(&mut self, note: Note) {
        match self.noted.checked_sub(1) {
            Some(left) => self.noted = left,
            None => self.notes.push((None, note)),
        }
    }

    /// The closure of an inline step writes a note about the execution. The note belongs to the step, and does not count among
    /// the notes that a replay skips: a closure whose step is recorded does not run again.
    pub fn note_in_step(&mut self, seq: Seq, note: Note) {
        // A closure that has ended writes nothing.
        if let Some(Slot::Open(open)) = self.slots.get(&seq) {
            self.notes.push((Some(open.id), note));
        }
    }

    /// Whether the code has written notes that are not committed yet.
    #[must_use]
    pub const fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Takes the code's notes.
    #[must_use]
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes).into_iter().map(|(_, note)| note).collect()
    }

    /// The time of the last completion that the code has seen, or of its start: the same in every run.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The order of the last failure that the code has seen, or zero. It differs before and after a retry has cut the record.
    #[must_use]
    pub const fn failure(&self) -> u32 {
        self.failure
    }

    /// The origin of a step that the task's code asks for now, from which the step's id is derived.
    #[must_use]
    pub const fn origin<'a>(&self, task: TaskId, seq: Seq, kind: StepKind, name: &'a str) -> Origin<'a> {
        Origin { parent: task, seq, failure: self.failure, kind, name, now: self.now }
    }

    /// The id of a step that the code waits for.
    #[must_use]
    pub fn id_of(&self, seq: Seq) -> Option<TaskId> {
        match self.slots.get(&seq) {
            Some(Slot::Open(open)) => Some(open.id),
            Some(Slot::Recorded(_) | Slot::Delivered(..)) | None => None,
        }
    }

    // Requests of the runtime.

    /// Delivers the next completion to the code, in the recorded order. `None` if the code has seen all known completions, or
    /// is reading.
    ///
    /// If the code has not asked for a step yet, because it awaits non-durable work first, the step's completion gets its turn
    /// again when the code asks for it. Completions of steps that the code gave up or detached are counted and not delivered.
    pub fn deliver(&mut self) -> Option<Seq> {
        if self.holds > 0 {
            return None;
        }
        let (order, seq) = self.undelivered.pop_first().or_else(|| {
            // Completions that were erased from the record leave gaps in the count.
            self.seen = self.done;
            // The code has seen its failure and continues.
            if let Some((_, mismatch)) = self.excused.first() {
                self.broken.get_or_insert_with(|| mismatch.clone());
            }
            None
        })?;
        self.seen = self.seen.max(order);
        match self.slots.remove(&seq) {
            Some(Slot::Open(Open { id, ended: Some((at, result)), detached: false, .. })) => {
                self.show(order, seq, id, at, result);
            }
            // The code may still ask for the step; if it never does, that is a mismatch at the end.
            Some(other) => {
                self.slots.insert(seq, other);
            }
            None => {}
        }
        Some(seq)
    }

    /// Shows a completion to the code.
    fn show(&mut self, order: u32, seq: Seq, id: TaskId, at: Timestamp, result: TaskResult) {
        self.now = self.now.max(at);
        self.saw_failure = result.is_err();
        self.redo.clear();
        if self.saw_failure {
            self.failure = order;
            self.redo.insert(id);
        }
        self.slots.insert(seq, Slot::Delivered(id, result));
    }

    /// Completions that the code has seen.
    #[must_use]
    pub const fn seen(&self) -> u32 {
        self.seen
    }

    /// The mismatch that broke this replay.
    #[must_use]
    pub const fn broken(&self) -> Option<&Mismatch> {
        self.broken.as_ref()
    }

    /// Replaces the mismatch that broke this replay by the same one, [shown](Mismatch::shown) with the recorded data.
    pub fn explain(&mut self, mismatch: Mismatch) {
        debug_assert!(self.broken.is_some(), "what is not broken needs no explanation");
        self.broken = Some(mismatch);
    }

    /// Whether the code has asked for any step: then it is not a leaf.
    #[must_use]
    pub const fn has_steps(&self) -> bool {
        self.steps_asked
    }
}

impl Open {
    fn wished(id: TaskId, at: Timestamp, ask: Ask) -> Self {
        let kind = ask.kind();
        let due = match ask.what {
            StepSpec::Sleep { due } => Some(due),
            _ => None,
        };
        let map = kind.is_map().then(MapWindow::new);
        Self {
            id,
            kind,
            due,
            detached: ask.detached,
            unwritten: Some(Box::new(Unwritten { ask, at })),
            ended: None,
            map,
            dead: false,
        }
    }

    fn recorded(step: Step) -> Self {
        let mut open = Self {
            id: step.id,
            kind: step.kind,
            unwritten: None,
            ended: None,
            due: None,
            map: step.map.map(|progress| MapWindow::recorded(progress, step.digest)),
            detached: false,
            dead: false,
        };
        open.learn(step);
        open
    }

    fn learn(&mut self, step: Step) {
        if let (Some(map), Some(progress)) = (&mut self.map, step.map) {
            map.learn(progress, step.digest);
        }
        match step.state {
            StepState::Open { due } => self.due = due,
            StepState::Done { at, result, .. } => self.ended = Some((at, result)),
            StepState::Cancelled => self.dead = true,
        }
    }

    /// Whether the code waits for the step, and the store has it.
    const fn is_awaited(&self) -> bool {
        self.ended.is_none() && !self.dead && !self.detached
    }
}

impl Step {
    /// The recorded step at this position, in words.
    pub(crate) fn described(&self) -> String {
        format!("{} `{}`", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests;
