//! One task's code against its recorded steps.
//!
//! ```text
//! code ── reserve, ask, record, feed, forget ──►┌────────┐◄── resume ── what the store says
//!      ◄─────────── take ───────────────────────│ Replay │
//! runtime ◄── deliver, needs, turn ─────────────└────────┘
//! ```
//!
//! Replay answers what is known, keeps what is wished for, and hands completions to the code one at a time, in the
//! order in which they were recorded: so code that is run again takes the same way (G4). It knows nothing of stores
//! or clocks; the moments that it is given come from the record.

mod ask;
mod map;
mod mismatch;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use ask::{Ask, Asked, CallSpec};
pub use map::MapWindow;
pub use mismatch::{Difference, Mismatch, Walk};
pub use turn::{End, Needs, Turn};

use crate::model::{Note, Seq, Step, StepKind, StepState, TaskResult};
use crate::{Origin, TaskId, Timestamp};

/// The state of one task's code.
///
/// Methods come in three kinds. The *code* calls [`reserve`](Self::reserve) when a step is built, [`ask`](Self::ask)
/// when it is first polled, [`take`](Self::take) when it is polled again, [`record`](Self::record) and
/// [`feed`](Self::feed) for the two kinds of step that the code itself drives, [`forget`](Self::forget) when it is
/// dropped, and [`hold`](Self::hold) while it reads what is recorded elsewhere. The *runtime* polls the code until it is quiet, calls [`deliver`](Self::deliver), polls again, and so on until
/// nothing is left to deliver; then [`needs`](Self::needs) says what the code is waiting for, and
/// [`turn`](Self::turn) takes what is to be committed. After the commit, [`resume`](Self::resume) brings what the store
/// knows more.
#[derive(Debug)]
pub struct Replay {
    next_seq: u32,
    /// What the code waits for or has not come to yet. A position below `next_seq` without a slot is over for the code,
    /// so a long function's slots stay few.
    slots: BTreeMap<Seq, Slot>,
    /// Completions that the code has not seen, by their order.
    undelivered: BTreeMap<u32, Seq>,
    /// Completions that the store knows, as far as we were told.
    done: u32,
    seen: u32,
    now: Timestamp,
    /// Wishes since the last turn, in the order in which they came.
    wished: VecDeque<Seq>,
    cancelled: Vec<TaskId>,
    fresh_inline: Vec<Seq>,
    steps_asked: bool,
    /// What the code has said since the last turn, and in which step, if it was in one's closure.
    notes: Vec<(Option<TaskId>, Note)>,
    /// Notes that an earlier run of the code has made, and this one has not come to yet.
    noted: u32,
    /// Reads of the code that nothing is delivered into.
    holds: u32,
    /// Whether the last completion that the code saw was a failure.
    saw_failure: bool,
    /// The order of the last failure that the code saw, or zero.
    failure: u32,
    /// What leaves the record if the code fails now and is tried again: see [`End::redo`].
    redo: BTreeSet<TaskId>,
    broken: Option<Mismatch>,
    /// Whether the task failed for good and is tried again: then it first comes to the failure that it has on record.
    redriven: bool,
    /// Failed steps that a redriven task asks for with other arguments. The failure that it comes to leaves the record, and so
    /// may they; if the code does not end with it, they are mismatches.
    excused: Vec<(TaskId, Mismatch)>,
    /// Whether a mismatch shows no arguments.
    is_sealed: bool,
}

/// What is known about one position.
#[derive(Debug)]
enum Slot {
    /// Recorded, and the code has not come so far yet.
    Recorded(Step),
    /// Asked for by the code.
    Open(Open),
    /// Handed to the code, which has not taken it yet.
    Delivered(TaskId, TaskResult),
}

#[derive(Debug)]
struct Open {
    id: TaskId,
    kind: StepKind,
    /// What to write, until it is written.
    unwritten: Option<Box<Ask>>,
    /// The result, once it is known and until it is delivered.
    ended: Option<(Timestamp, TaskResult)>,
    due: Option<Timestamp>,
    map: Option<MapWindow>,
    /// Whether the code has let go of it but wants it to go on. Its slot goes once it is written.
    detached: bool,
    /// Recorded as given up. The code will drop it again.
    dead: bool,
}

impl Replay {
    /// The state of code that starts from its first line, with what is recorded of earlier runs.
    ///
    /// `done` is how many completions the task has had, and `started_at` when it was first claimed.
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
        };
        replay.resume(done, steps);
        replay
    }

    /// The same, for code that has made so many notes in earlier runs: they are on record, and not made again.
    #[must_use]
    pub const fn noted(mut self, notes: u32) -> Self {
        self.noted = notes;
        self
    }

    /// The same, for code that failed for good and is tried again. The step whose failure it comes to first is run anew, so it
    /// may be asked for with other arguments.
    #[must_use]
    pub const fn redriven(mut self, revived: bool) -> Self {
        self.redriven = revived;
        self
    }

    /// The same, for a task whose arguments are sealed in the store: a mismatch, which is not, shows none.
    #[must_use]
    pub const fn sealed(mut self, is_sealed: bool) -> Self {
        self.is_sealed = is_sealed;
        self
    }

    // What the store says.

    /// Takes in what the store knows more: completions, and how far maps have come.
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
                // Over for the code: taken, given up or let go.
                None if step.seq.0 < self.next_seq => {}
                None => {
                    self.slots.insert(step.seq, Slot::Recorded(step));
                }
            }
        }
    }

    /// Takes in that the turn which was committed last brought its own completions and nothing else came between.
    pub fn committed(&mut self, own: &[Seq]) {
        for seq in own {
            self.done += 1;
            self.undelivered.insert(self.done, *seq);
        }
    }

    /// Keeps the result of a step that ran under this task's lease, for when its record is committed.
    pub fn ended(&mut self, seq: Seq, at: Timestamp, result: TaskResult) {
        if let Some(Slot::Open(open)) = self.slots.get_mut(&seq) {
            open.unwritten = None;
            open.ended = Some((at, result));
        }
    }

    // What the code does.

    /// Gives a step its position. Positions are given in the order in which steps are built, so that the order of polling
    /// cannot change them.
    pub fn reserve(&mut self) -> Seq {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        seq
    }

    /// The code asks for a step. Afterwards the step is open, or was known and is answered in its turn.
    ///
    /// # Errors
    /// When the record has something else at this position. The replay is broken from then on.
    pub fn ask(&mut self, seq: Seq, ask: Ask) -> Result<Asked, Mismatch> {
        self.steps_asked = true;
        let (id, asked) = match self.slots.remove(&seq) {
            None => {
                let id = ask.id;
                self.wished.push_back(seq);
                self.slots.insert(seq, Slot::Open(Open::wished(ask)));
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
                        // Its turn came while the code waited for the world: it takes it now.
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

    /// Whether an asked-for inline step must be run by the code, because the record does not have it.
    #[must_use]
    pub fn must_run(&self, seq: Seq) -> bool {
        matches!(self.slots.get(&seq), Some(Slot::Open(open)) if open.unwritten.is_some() && open.ended.is_none())
    }

    /// The code has run an inline step to its end.
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
        // A signal that was taken and not seen is given back: others may want it.
        let unseen = open.kind == StepKind::Signal && matches!(open.ended, Some((_, Ok(_))));
        if (open.ended.is_none() && !open.dead) || unseen {
            self.cancelled.push(open.id);
        }
        // What ended well without being seen may stay: the next attempt then need not run it. A signal that was given back
        // is not its own any more.
        if unseen || !matches!(open.ended, Some((_, Ok(_)))) {
            self.redo.insert(open.id);
        }
    }

    /// The code lets go of a step but wants it to go on.
    pub fn detach(&mut self, seq: Seq) {
        match self.slots.get_mut(&seq) {
            Some(Slot::Open(open)) if open.unwritten.is_some() => open.detached = true,
            Some(Slot::Open(_)) => {
                self.slots.remove(&seq);
            }
            Some(Slot::Recorded(_) | Slot::Delivered(..)) | None => {}
        }
    }

    /// The code begins to read something that is recorded, but not as a completion: the items of a map. Nothing is
    /// delivered until it has [done so](Self::release), so that a slow read takes the same way as a quick one.
    pub fn hold(&mut self) {
        self.holds += 1;
    }

    /// The code has read what it [held](Self::hold) deliveries for, or has dropped the read.
    pub fn release(&mut self) {
        debug_assert!(self.holds > 0, "a read ended that never began");
        self.holds = self.holds.saturating_sub(1);
    }

    /// The code says something about its execution.
    pub fn note(&mut self, note: Note) {
        match self.noted.checked_sub(1) {
            Some(left) => self.noted = left,
            None => self.notes.push((None, note)),
        }
    }

    /// The closure of an inline step says something about the execution. It is said under the step's name, and is none of the
    /// notes that are counted to be skipped: a closure whose step is recorded does not run again.
    pub fn note_in_step(&mut self, seq: Seq, note: Note) {
        // A closure that has ended says nothing.
        if let Some(Slot::Open(open)) = self.slots.get(&seq) {
            self.notes.push((Some(open.id), note));
        }
    }

    /// Whether the code has said something that is not committed yet.
    #[must_use]
    pub const fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Takes what the code has said.
    #[must_use]
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes).into_iter().map(|(_, note)| note).collect()
    }

    /// The time as of the last completion that the code has seen, or of its start: the same in every run.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The order of the last failure that the code has seen, or zero if it has seen none. What the code does after a retry
    /// has cut the record differs in it from what it did before.
    #[must_use]
    pub const fn failure(&self) -> u32 {
        self.failure
    }

    /// Where the code of a task asks for a step now: what the step's id is derived from.
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

    // What the runtime does.

    /// Hands the next completion to the code, in the recorded order. `None` when the code has seen all that is known, or
    /// reads something.
    ///
    /// A completion of a step that the code has not asked for, because it waits for the world first, takes its turn again
    /// when it is asked for. One of a step that the code has given up or let go is counted, and nobody sees it.
    pub fn deliver(&mut self) -> Option<Seq> {
        if self.holds > 0 {
            return None;
        }
        let (order, seq) = self.undelivered.pop_first().or_else(|| {
            // Completions that were erased from the record leave gaps in the count.
            self.seen = self.done;
            // The code has seen its failure and goes on.
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
            // It may still be asked for; if it never is, that is a mismatch at the end.
            Some(other) => {
                self.slots.insert(seq, other);
            }
            None => {}
        }
        Some(seq)
    }

    /// Lets the code see a completion.
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

    /// Replaces the mismatch that broke this replay by the same one, [shown](Mismatch::shown) with what is recorded.
    pub fn explain(&mut self, mismatch: Mismatch) {
        debug_assert!(self.broken.is_some(), "what is not broken needs no explanation");
        self.broken = Some(mismatch);
    }

    /// Whether the code has asked for any step: then it is no leaf.
    #[must_use]
    pub const fn has_steps(&self) -> bool {
        self.steps_asked
    }
}

impl Open {
    fn wished(ask: Ask) -> Self {
        let map = ask.kind.is_map().then(MapWindow::new);
        Self {
            id: ask.id,
            kind: ask.kind,
            due: ask.due,
            detached: ask.detached,
            unwritten: Some(Box::new(ask)),
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

    /// Whether the code waits for it, and the store has it.
    const fn is_awaited(&self) -> bool {
        self.ended.is_none() && !self.dead && !self.detached
    }
}

impl Step {
    /// What the record has at this position, in words.
    pub(crate) fn described(&self) -> String {
        format!("{} `{}`", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests;
