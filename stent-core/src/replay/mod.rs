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

use std::collections::{BTreeMap, VecDeque};

pub use ask::{Ask, Asked, CallSpec};
pub use map::MapWindow;
pub use mismatch::Mismatch;
pub use turn::{End, Needs, Turn};

use crate::model::{Progress, Seq, Step, StepKind, StepState, TaskResult};
use crate::{TaskId, Timestamp};

/// The state of one task's code.
///
/// Methods come in three kinds. The *code* calls [`reserve`](Self::reserve) when a step is built, [`ask`](Self::ask)
/// when it is first polled, [`take`](Self::take) when it is polled again, [`record`](Self::record) and
/// [`feed`](Self::feed) for the two kinds of step that the code itself drives, and [`forget`](Self::forget) when it is
/// dropped. The *runtime* polls the code until it is quiet, calls [`deliver`](Self::deliver), polls again, and so on until
/// nothing is left to deliver; then [`needs`](Self::needs) says what the code is waiting for, and
/// [`turn`](Self::turn) takes what is to be committed. After the commit, [`resume`](Self::resume) brings what the store
/// knows more.
#[derive(Debug)]
pub struct Replay {
    next_seq: u32,
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
    /// If the last delivery was a failure: the step that failed and what was asked for since.
    since_failure: Vec<TaskId>,
    broken: Option<Mismatch>,
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
    unwritten: Option<Ask>,
    /// The result, once it is known and until it is delivered.
    ended: Option<(Timestamp, TaskResult)>,
    due: Option<Timestamp>,
    map: Option<MapWindow>,
    /// Whether the code has let go of it but wants it to go on.
    detached: bool,
    /// Given up for good; its slot stays so that nothing else takes the position.
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
            since_failure: Vec::new(),
            broken: None,
        };
        replay.resume(done, steps);
        replay
    }

    // What the store says.

    /// Takes in what the store knows more: completions, and how far maps have come.
    pub fn resume(&mut self, done: u32, steps: Vec<Step>) {
        self.done = self.done.max(done);
        for step in steps {
            if let Some(order) = step.order() {
                if order <= self.seen {
                    continue;
                }
                self.undelivered.insert(order, step.seq);
            }
            match self.slots.get_mut(&step.seq) {
                Some(Slot::Open(open)) => open.learn(step),
                Some(Slot::Delivered(..)) => {}
                Some(Slot::Recorded(_)) | None => {
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
        let (open, asked) = match self.slots.remove(&seq) {
            None => {
                self.wished.push_back(seq);
                (Open::wished(ask), Asked::New)
            }
            Some(Slot::Recorded(step)) => {
                if let Some(mismatch) = Mismatch::between(&step, &ask) {
                    self.broken = Some(mismatch.clone());
                    self.slots.insert(seq, Slot::Recorded(step));
                    return Err(mismatch);
                }
                (Open::recorded(step, &ask), Asked::Recorded)
            }
            Some(taken) => {
                self.slots.insert(seq, taken);
                return Ok(Asked::Recorded);
            }
        };
        if !self.since_failure.is_empty() {
            self.since_failure.push(open.id);
        }
        self.slots.insert(seq, Slot::Open(open));
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
        match self.slots.get_mut(&seq) {
            Some(Slot::Open(open)) if !open.detached => {
                if open.unwritten.take().is_some() {
                    self.wished.retain(|wished| *wished != seq);
                    self.fresh_inline.retain(|fresh| *fresh != seq);
                } else if open.ended.is_none() && !open.dead {
                    self.cancelled.push(open.id);
                }
                open.dead = true;
            }
            Some(Slot::Delivered(..)) => {
                self.slots.remove(&seq);
            }
            Some(Slot::Open(_) | Slot::Recorded(_)) | None => {}
        }
    }

    /// The code lets go of a step but wants it to go on.
    pub fn detach(&mut self, seq: Seq) {
        if let Some(Slot::Open(open)) = self.slots.get_mut(&seq) {
            open.detached = true;
        }
    }

    /// The time as of the last completion that the code has seen, or of its start: the same in every run.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    // What the runtime does.

    /// Hands the next completion to the code, in the recorded order. `None` when the code has seen all that is known.
    pub fn deliver(&mut self) -> Option<Seq> {
        let (order, seq) = self.undelivered.pop_first().or_else(|| {
            // Completions that were erased from the record leave gaps in the count.
            self.seen = self.done;
            None
        })?;
        self.seen = order;
        match self.slots.remove(&seq) {
            Some(Slot::Open(mut open)) => {
                if let Some((at, result)) = open.ended.take() {
                    self.now = self.now.max(at);
                    self.since_failure.clear();
                    if result.is_err() {
                        self.since_failure.push(open.id);
                    }
                    if !open.dead && !open.detached {
                        self.slots.insert(seq, Slot::Delivered(open.id, result));
                    }
                }
            }
            // The code has not asked for it: it will be a mismatch if it never does.
            Some(other) => {
                self.slots.insert(seq, other);
            }
            None => {}
        }
        Some(seq)
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

    /// Whether the code has asked for any step: then it is no leaf.
    #[must_use]
    pub const fn has_steps(&self) -> bool {
        self.steps_asked
    }
}

impl Open {
    const fn wished(ask: Ask) -> Self {
        let map = match ask.kind {
            StepKind::Map => Some(MapWindow::new()),
            StepKind::Call | StepKind::Sleep | StepKind::Inline => None,
        };
        Self {
            id: ask.id,
            kind: ask.kind,
            due: ask.due,
            detached: ask.detached,
            unwritten: Some(ask),
            ended: None,
            map,
            dead: false,
        }
    }

    fn recorded(step: Step, ask: &Ask) -> Self {
        let mut open = Self {
            id: step.id,
            kind: step.kind,
            unwritten: None,
            ended: None,
            due: None,
            map: step.map.map(MapWindow::recorded),
            detached: ask.detached,
            dead: false,
        };
        open.learn(step);
        open
    }

    fn learn(&mut self, step: Step) {
        if let (Some(map), Some(progress)) = (&mut self.map, step.map) {
            map.learn(progress);
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

impl From<Progress> for MapWindow {
    fn from(progress: Progress) -> Self {
        Self::recorded(progress)
    }
}

#[cfg(test)]
mod tests;
