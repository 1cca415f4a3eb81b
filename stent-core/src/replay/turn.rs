//! Turns: their commits, and the ends of code.

use super::{Ask, CallSpec, Mismatch, Open, Replay, Slot, StepSpec, Unwritten, Walk};
use crate::model::{
    Keyed, Lane, NewTask, NewTaskState, Progress, Said, Seq, StepKind, StepState, TaskResult, Threshold,
    Tree, Wait,
};
use crate::transition::Feed;
use crate::{Codec, Digest, ExecutionId, Failure, Key, Payload, TaskId, Timestamp};

/// The reason for which quiet code waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The record and the code disagree.
    Nothing(Mismatch),
    /// Data must be committed before the code can continue: results of inline steps, or a chunk of a map with room for more.
    Commit,
    /// Exactly one call and nothing else: it may run at once, under this task's lease.
    Call(Seq),
    /// Steps that run elsewhere, sleeps, maps: the task can be parked.
    Steps,
    /// Nothing that is recorded: the code awaits non-durable work, and must stay in memory under its lease.
    World,
}

/// The data that one turn commits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// Rows to write.
    pub insert: Vec<NewTask>,
    /// Positions of the completions among them, in order.
    pub own: Vec<Seq>,
    /// Steps given up.
    pub cancel: Vec<TaskId>,
    /// Chunks of maps.
    pub feed: Vec<Feed>,
    /// Sleeps that are due.
    pub fire: Vec<TaskId>,
    /// The number of completions that the code had seen.
    pub seen: u32,
    /// The code's notes.
    pub notes: Vec<Said>,
}

impl Turn {
    /// This turn and the next one, in one.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        let Self { insert, own, cancel, feed, fire, seen, notes } = next;
        self.insert.extend(insert);
        self.own.extend(own);
        self.cancel.extend(cancel);
        self.feed.extend(feed);
        self.fire.extend(fire);
        self.notes.extend(notes);
        Self { seen, ..self }
    }
}

/// How a task's code ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// The result.
    pub result: TaskResult,
    /// Whether the code had recorded steps.
    pub had_steps: bool,
    /// The steps that leave the record if the task is retried, by age: the step whose failure was the last completion that the
    /// code saw, and all steps that the code asked for since; and the steps that the code has dropped since the last
    /// completion that it saw, of any kind, unless they are known to have succeeded. Dropped steps were given up, and the next
    /// attempt would wait for them in vain.
    pub redo: Vec<TaskId>,
}

impl Replay {
    /// Feeds a map its next items. `digest` is that of all of its items so far, if they are compared.
    pub fn feed(&mut self, seq: Seq, items: Vec<NewTask>, last: bool, digest: Option<Digest>) {
        if let Some(map) = self.map_mut(seq) {
            map.feed(items, last, digest);
        }
    }

    /// The items that earlier runs fed to a map: its progress, and the digest of the items if they are to be compared. `None`
    /// if the map is new, or was not fed yet.
    #[must_use]
    pub fn fed_before(&self, seq: Seq) -> Option<(Progress, Option<Digest>)> {
        match self.slots.get(&seq) {
            Some(Slot::Open(Open { map: Some(map), unwritten: None, .. })) if map.progress().fed > 0 => {
                Some((map.progress(), map.digest))
            }
            _ => None,
        }
    }

    /// The code has passed over the items that a map was [fed before](Self::fed_before). The replay is broken if they differ.
    pub fn walked(&mut self, seq: Seq, walk: Walk) {
        let Some(Slot::Open(Open { id, kind, map: Some(map), .. })) = self.slots.get(&seq) else { return };
        let mismatch = Mismatch::walked(seq, *id, *kind, map, walk, self.is_sealed);
        if let Some(mismatch) = mismatch {
            self.broken.get_or_insert(mismatch);
        }
    }

    /// How many items a map takes now, and how many it has been given, or `None` if no such map is open.
    #[must_use]
    pub fn map_room(&self, seq: Seq) -> Option<(TaskId, usize, Progress)> {
        if self.broken.is_some() {
            return None;
        }
        match self.slots.get(&seq) {
            Some(Slot::Open(Open { id, map: Some(map), ended: None, dead: false, .. })) => {
                Some((*id, map.room(), map.progress()))
            }
            _ => None,
        }
    }

    fn map_mut(&mut self, seq: Seq) -> Option<&mut super::MapWindow> {
        match self.slots.get_mut(&seq) {
            Some(Slot::Open(open)) => open.map.as_mut(),
            _ => None,
        }
    }

    /// The reason for which the code waits, given that it is quiet and has seen all known completions.
    #[must_use]
    pub fn needs(&self) -> Needs {
        if let Some(mismatch) = &self.broken {
            return Needs::Nothing(mismatch.clone());
        }
        let maps = || self.opens().filter_map(|(_, open)| open.map.as_ref());
        if !self.fresh_inline.is_empty() || maps().any(wants_more) {
            return Needs::Commit;
        }
        let unsaid = self.is_unsaid();
        let awaited = || self.opens().filter(|(_, open)| open.is_awaited());
        let busy = self.holds > 0 || awaited().any(|(_, open)| open.kind == StepKind::Inline);
        let mut steps = awaited();
        match (steps.next(), steps.next()) {
            (Some((seq, open)), None) if !busy && open.runs_here() && self.wished.len() == 1 => {
                Needs::Call(seq)
            }
            (Some(_), _) if !busy => Needs::Steps,
            _ if unsaid => Needs::Commit,
            _ => Needs::World,
        }
    }

    /// Whether the code runs an inline step or reads recorded data: then it may await non-durable work.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        let runs =
            |open: &Open| open.kind == StepKind::Inline && open.unwritten.is_some() && open.ended.is_none();
        self.holds > 0 || self.opens().any(|(_, open)| runs(open))
    }

    /// Whether the code waits for steps that complete elsewhere, and how many completions it knows: it should get the next
    /// completion even while it awaits other work.
    #[must_use]
    pub fn listens(&self) -> Option<u32> {
        let by_others = |open: &Open| {
            open.unwritten.is_none() && !matches!(open.kind, StepKind::Sleep | StepKind::Inline)
        };
        self.opens().any(|(_, open)| open.is_awaited() && by_others(open)).then_some(self.done)
    }

    /// Whether something must be written before the code's steps can be awaited.
    #[must_use]
    pub fn is_unsaid(&self) -> bool {
        self.wished_dispatch()
            || !self.cancelled.is_empty()
            || self.opens().any(|(_, open)| open.map.as_ref().is_some_and(|map| map.changed))
    }

    /// The earliest moment at which a sleep of the code is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.opens()
            .filter(|(_, open)| open.is_awaited() && open.unwritten.is_none())
            .filter_map(|(_, open)| open.due)
            .min()
    }

    /// The wait of the code.
    #[must_use]
    pub fn wait(&self) -> Wait {
        let sleeps = self.opens().filter(|(_, open)| open.is_awaited() && open.kind == StepKind::Sleep);
        let mut wait = Wait::for_next(self.seen).until(sleeps.filter_map(|(_, open)| open.due).min());
        wait.maps = self
            .opens()
            .filter(|(_, open)| open.is_awaited())
            .filter_map(|(_, open)| Some(Threshold { map: open.id, done: open.map.as_ref()?.threshold()? }))
            .collect();
        wait
    }

    /// Takes the data to commit: all requests, completed inline steps, fed maps, and steps given up.
    pub fn turn(&mut self, task: TaskId, tree: &Tree) -> Turn {
        let tree = &Tree::step(tree.execution, task);
        let mut turn =
            Turn { seen: self.seen, cancel: std::mem::take(&mut self.cancelled), ..Turn::default() };
        if self.broken.is_some() {
            // Nothing is appended to a record that the code does not match.
            return turn;
        }
        let notes = std::mem::take(&mut self.notes).into_iter();
        turn.notes = notes.map(|(step, note)| Said { task: step.unwrap_or(task), note }).collect();
        let fresh = std::mem::take(&mut self.fresh_inline);
        for seq in fresh {
            if let Some(Slot::Open(open)) = self.slots.get_mut(&seq)
                && let (Some(unwritten), Some((_, result))) = (open.unwritten.take(), &open.ended)
            {
                let state = NewTaskState::Done { started_at: unwritten.at, result: result.clone() };
                let (root, row) = unwritten.into_rows(open.id, tree, seq, state);
                turn.insert.extend(root.map(|root| *root).into_iter().chain([row]));
                turn.own.push(seq);
            }
        }
        let mut kept = std::collections::VecDeque::new();
        for seq in std::mem::take(&mut self.wished) {
            let Some(Slot::Open(open)) = self.slots.get_mut(&seq) else { continue };
            let Some(unwritten) = open.unwritten.take() else { continue };
            let Some(state) = unwritten.first_state() else {
                // Still running: the step is written when it has ended.
                open.unwritten = Some(unwritten);
                kept.push_back(seq);
                continue;
            };
            let id = open.id;
            if open.detached {
                self.slots.remove(&seq);
            }
            turn.insert.push(unwritten.into_rows(id, tree, seq, state).1);
        }
        self.wished = kept;
        for slot in self.slots.values_mut() {
            if let Slot::Open(Open { id, map: Some(map), .. }) = slot
                && std::mem::take(&mut map.changed)
            {
                let progress = map.progress();
                let digest = map.digest;
                turn.feed.push(Feed { map: *id, fed: progress.fed, total: progress.total, digest });
                turn.insert.append(&mut map.chunk);
            }
        }
        turn
    }

    /// Shows the code its own completions in a turn before the turn is committed, if that cannot change the order in which a
    /// replay will see completions: they are successes, and nothing else is open that could complete before them. Returns
    /// whether it does. Until the runtime has [caught up](Self::catch_up), the code must begin no further step.
    pub fn run_ahead(&mut self, turn: &Turn) -> bool {
        let succeeded = |seq: &Seq| {
            matches!(
                self.slots.get(seq),
                Some(Slot::Open(Open {
                    kind: StepKind::Call | StepKind::Inline,
                    ended: Some((_, Ok(_))),
                    detached: false,
                    dead: false,
                    ..
                }))
            )
        };
        let is_alone = self.broken.is_none()
            && self.excused.is_empty()
            && !self.saw_failure
            && self.holds == 0
            && self.wished.is_empty()
            && self.cancelled.is_empty()
            && self.undelivered.is_empty()
            && turn.cancel.is_empty()
            && turn.feed.is_empty()
            && turn.fire.is_empty()
            && !turn.own.is_empty()
            && turn.insert.len() == turn.own.len()
            && self.slots.len() == turn.own.len()
            && turn.own.iter().all(succeeded);
        if is_alone {
            self.committed(&turn.own);
            self.is_ahead = true;
        }
        is_alone
    }

    /// The turn that the code [ran ahead](Self::run_ahead) of is committed.
    pub const fn catch_up(&mut self) {
        self.is_ahead = false;
    }

    /// Whether the code has seen completions that are not committed yet.
    #[must_use]
    pub const fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    /// Adds the due sleeps to a turn, in the order of their moments: they are its last completions. `now` is the moment of the
    /// turn's transition, at which all of its completions are recorded as ended.
    pub fn fire_due(&mut self, now: Timestamp, turn: &mut Turn) {
        let mut due: Vec<(Timestamp, Seq, TaskId)> = self
            .opens()
            .filter(|(_, open)| open.is_awaited() && open.unwritten.is_none())
            .filter_map(|(seq, open)| Some((open.due.filter(|due| *due <= now)?, seq, open.id)))
            .collect();
        due.sort_unstable();
        for (_, seq, id) in due {
            self.ended(seq, now, Ok(Payload::new("", Vec::new())));
            turn.fire.push(id);
            turn.own.push(seq);
        }
        // The code must see the moment now that a replay will read.
        for seq in &turn.own {
            if let Some(Slot::Open(Open { ended: Some((at, _)), .. })) = self.slots.get_mut(seq) {
                *at = now;
            }
        }
    }

    /// A requested call that the runtime may run here, and the id that it gets.
    #[must_use]
    pub fn wished_call(&self, seq: Seq) -> Option<(TaskId, &CallSpec)> {
        match self.unwritten(seq)? {
            (id, Unwritten { ask: Ask { what: StepSpec::Call { spec, .. }, .. }, .. }) => Some((id, &**spec)),
            _ => None,
        }
    }

    fn unwritten(&self, seq: Seq) -> Option<(TaskId, &Unwritten)> {
        match self.slots.get(&seq) {
            Some(Slot::Open(open)) => Some((open.id, open.unwritten.as_deref()?)),
            _ => None,
        }
    }

    /// Takes the row of a requested call for the commit, in the given state.
    pub fn write_call(
        &mut self,
        task: TaskId,
        tree: &Tree,
        seq: Seq,
        state: NewTaskState,
    ) -> Option<NewTask> {
        let Some(Slot::Open(open)) = self.slots.get_mut(&seq) else { return None };
        let unwritten = open.unwritten.take()?;
        self.wished.retain(|wished| *wished != seq);
        Some(unwritten.into_rows(open.id, &Tree::step(tree.execution, task), seq, state).1)
    }

    /// The row of a step that the code has asked for and has completed in a transaction, for the commit of both. The request
    /// stays until the step has [`ended`](Self::ended): a rolled back step never existed.
    #[must_use]
    pub fn row_within(&self, task: TaskId, tree: &Tree, seq: Seq, result: TaskResult) -> Option<NewTask> {
        let (id, unwritten) = self.unwritten(seq)?;
        let state = NewTaskState::Done { started_at: unwritten.at, result };
        Some(unwritten.clone().into_rows(id, &Tree::step(tree.execution, task), seq, state).1)
    }

    /// How the code ended: with its own result, unless the result is a success and the record has steps that the code never
    /// asked for. Code that fails may do so before it reaches the end of an earlier run.
    #[must_use]
    pub fn end(&self, result: TaskResult) -> End {
        let unasked = self.slots.values().find_map(|slot| match slot {
            Slot::Recorded(step) if result.is_ok() && step.state != StepState::Cancelled => Some(step),
            _ => None,
        });
        let stays = |(id, _): &&(TaskId, Mismatch)| result.is_ok() || !self.redo.contains(id);
        let excused = self.excused.iter().find(stays).map(|(_, mismatch)| mismatch);
        let result = match (self.broken.as_ref().or(excused), unasked) {
            (Some(mismatch), _) => Err(Failure::from(mismatch)),
            (None, Some(step)) => Err(Failure::from(&Mismatch::never_asked(step))),
            (None, None) => result,
        };
        End { result, had_steps: self.steps_asked, redo: self.redo.iter().copied().collect() }
    }

    fn opens(&self) -> impl Iterator<Item = (Seq, &Open)> {
        self.slots.iter().filter_map(|(seq, slot)| match slot {
            Slot::Open(open) => Some((*seq, open)),
            Slot::Recorded(_) | Slot::Delivered(..) => None,
        })
    }

    /// Whether there are requests that other workers can run.
    fn wished_dispatch(&self) -> bool {
        self.wished.iter().any(|seq| {
            matches!(self.slots.get(seq), Some(Slot::Open(open)) if open.kind != StepKind::Inline && open.unwritten.is_some())
        })
    }
}

fn wants_more(map: &super::MapWindow) -> bool {
    // A chunk that leaves room for another is committed by itself; the last one is committed with the parking.
    map.changed && map.progress().total.is_none() && {
        let open = map.progress().fed - map.progress().done.min(map.progress().fed);
        (open as usize) + crate::limits::MAP_CHUNK
            <= crate::limits::MAP_CHUNK * crate::limits::MAP_WINDOW_CHUNKS
    }
}

impl Open {
    fn runs_here(&self) -> bool {
        match self.unwritten.as_deref().map(|unwritten| &unwritten.ask.what) {
            Some(StepSpec::Call { spec, keyed: None }) => {
                spec.ready_at.is_none() && spec.expires_at.is_none() && !spec.limited
            }
            _ => false,
        }
    }
}

impl Unwritten {
    /// The state in which the step is written; `None` if it is written only once it has ended.
    fn first_state(&self) -> Option<NewTaskState> {
        Some(match &self.ask.what {
            StepSpec::Call { spec, .. } => {
                NewTaskState::Pending { ready_at: spec.ready_at.unwrap_or(self.at) }
            }
            StepSpec::Sleep { due } => NewTaskState::Timer { due: *due },
            StepSpec::Map | StepSpec::Gather => NewTaskState::Map,
            StepSpec::Signal { .. } => NewTaskState::Signal,
            StepSpec::Join { execution } => NewTaskState::Join { execution: *execution },
            StepSpec::Inline | StepSpec::Spawn { .. } => return None,
        })
    }

    /// The root of the execution that the step starts, if it is a spawn, and the step's own row.
    fn into_rows(
        self,
        id: TaskId,
        tree: &Tree,
        seq: Seq,
        state: NewTaskState,
    ) -> (Option<Box<NewTask>>, NewTask) {
        let Ask { name, what, digest, .. } = self.ask;
        let mut row = NewTask {
            id,
            tree: *tree,
            seq,
            kind: what.kind(),
            lane: Lane::new("", name),
            priority: 0,
            args: Payload::empty(),
            retry: None,
            attempts: 0,
            failure: None,
            keyed: None,
            expires_at: None,
            trace: None,
            digest,
            state,
        };
        let mut started = None;
        match what {
            StepSpec::Call { spec, keyed } => {
                let CallSpec { lane, priority, args, retry, expires_at, trace, .. } = *spec;
                row = NewTask { lane, priority, args, retry, keyed, expires_at, trace, ..row };
            }
            StepSpec::Signal { keyed } => row.keyed = Some(keyed),
            StepSpec::Join { execution } => {
                row.keyed = Some(Keyed::new(Key::of_execution(execution)));
                // Kept for people: no other column shows the execution that is awaited.
                row.args = waits_for(execution);
            }
            StepSpec::Spawn { root } => started = Some(root),
            StepSpec::Sleep { .. } | StepSpec::Inline | StepSpec::Map | StepSpec::Gather => {}
        }
        (started, row)
    }
}

/// The argument of a join.
fn waits_for(execution: ExecutionId) -> Payload {
    Payload::new(Codec::Json.content_type(), format!("[\"{execution}\"]").into_bytes())
}
