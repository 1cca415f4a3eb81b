//! Commits of leaseholders, as cases write them.

use stent_core::backend::Claimed;
use stent_core::model::{Fence, Note, Said, Step, StepState, TaskResult, Threshold, Tree, Wait};
use stent_core::transition::{Commit, Feed, Next, Postpone, Transition, Unpark};
use stent_core::{Digest, Failure, Key, TaskId, Timestamp};

use crate::task::{Draft, t, text};

/// The next possible commits of a claim's holder. All of them happen at `t(0)` unless stated otherwise.
pub(crate) trait Holder {
    /// The claim's fence, its task's position in the tree, and the number of completions that the holder has seen.
    fn held(&self) -> (Fence, Tree, u32);

    /// The key of the claimed task.
    fn key(&self) -> Option<Key>;

    fn turn(&self, next: Next) -> Turn {
        let (fence, tree, seen) = self.held();
        Turn(Commit { seen, ..Commit::new(fence, tree, self.key(), t(0), next) })
    }

    fn keep(&self) -> Turn {
        self.turn(Next::Keep)
    }

    /// Waits for the next completion.
    fn park(&self) -> Turn {
        let (.., seen) = self.held();
        self.park_for(Wait::for_next(seen))
    }

    fn park_for(&self, wait: Wait) -> Turn {
        self.turn(Next::Park(wait))
    }

    fn complete(&self, result: &str) -> Turn {
        self.turn(Next::End(Ok(text(result))))
    }

    fn fail(&self, failure: Failure) -> Turn {
        self.turn(Next::End(Err(failure)))
    }

    fn retry(&self, ready_at: Timestamp, failure: Failure) -> Turn {
        self.turn(Next::Retry { ready_at, failure })
    }

    /// Redoes the failed step of a redriven dead letter at once.
    fn redo(&self) -> Turn {
        self.turn(Next::Redo)
    }

    fn release(&self) -> Turn {
        self.turn(Next::Release)
    }

    /// Unparks code that was parked under this claim.
    fn unpark(&self) -> Transition {
        let (fence, ..) = self.held();
        Unpark { task: fence.task, epoch: fence.epoch, at: t(0) }.into()
    }

    /// Postpones the moment at which the task that was parked under this claim is due.
    fn postpone(&self, from: Timestamp, until: Timestamp) -> Transition {
        let (fence, ..) = self.held();
        Postpone { task: fence.task, epoch: fence.epoch, at: t(0), from, until }.into()
    }
}

impl Holder for Claimed {
    fn held(&self) -> (Fence, Tree, u32) {
        (self.fence, self.task.tree, self.task.done)
    }

    fn key(&self) -> Option<Key> {
        self.task.key
    }
}

/// The same claim after `commits` more writes and with `seen` completions seen.
pub(crate) fn later(claimed: &Claimed, commits: u32, seen: u32) -> Claimed {
    let mut later = claimed.clone();
    later.fence.commit += commits;
    later.task.done = seen;
    later
}

/// The result of a step, as its parent's record has it.
pub(crate) fn given(steps: &[Step], step: TaskId) -> Option<TaskResult> {
    match &steps.iter().find(|recorded| recorded.id == step)?.state {
        StepState::Done { result, .. } => Some(result.clone()),
        StepState::Open { .. } | StepState::Cancelled => None,
    }
}

/// A wait until this many completions in total.
pub(crate) const fn wait_for(done: u32) -> Wait {
    Wait { done, until: None, maps: Vec::new() }
}

/// A wait for the next completion after `seen`, or for this many items of a map.
pub(crate) fn wait_for_items(seen: u32, map: TaskId, done: u32) -> Wait {
    Wait { maps: vec![Threshold { map, done }], ..Wait::for_next(seen) }
}

/// A leaseholder's commit under construction.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Commit);

impl Turn {
    pub(crate) const fn at(mut self, at: Timestamp) -> Self {
        self.0.at = at;
        self
    }

    pub(crate) const fn seen(mut self, seen: u32) -> Self {
        self.0.seen = seen;
        self
    }

    /// Writes a step of the task.
    pub(crate) fn with(mut self, step: Draft) -> Self {
        let tree = Tree::step(self.0.tree.execution, self.0.fence.task);
        self.0.insert.push(step.placed(tree));
        self
    }

    /// Starts another execution, as a step of the task.
    pub(crate) fn spawn(mut self, step: Draft, root: Draft) -> Self {
        let tree = Tree::root(root.id.execution());
        self.0.insert.push(root.placed(tree));
        self.with(step)
    }

    /// Writes a note about the execution.
    pub(crate) fn say(self, note: Note) -> Self {
        let task = self.0.fence.task;
        self.say_for(task, note)
    }

    /// Writes a note of a step that ran in this turn.
    pub(crate) fn say_for(mut self, task: TaskId, note: Note) -> Self {
        self.0.notes.push(Said { task, note });
        self
    }

    /// Writes items of one of the task's maps.
    pub(crate) fn items(mut self, map: TaskId, items: impl IntoIterator<Item = Draft>) -> Self {
        let place = Tree::item(self.0.tree.execution, map, self.0.fence.task);
        self.0.insert.extend(items.into_iter().map(|item| item.placed(place)));
        self
    }

    pub(crate) fn feed(self, map: TaskId, fed: u32, total: Option<u32>) -> Self {
        self.feed_with(map, fed, total, None)
    }

    /// Feeds a map; the items so far, including the earlier ones, have this digest.
    pub(crate) fn feed_with(
        mut self,
        map: TaskId,
        fed: u32,
        total: Option<u32>,
        digest: Option<Digest>,
    ) -> Self {
        self.0.feed.push(Feed { map, fed, total, digest });
        self
    }

    pub(crate) fn fire(mut self, sleep: TaskId) -> Self {
        self.0.fire.push(sleep);
        self
    }

    pub(crate) fn cancel(mut self, step: TaskId) -> Self {
        self.0.cancel.push(step);
        self
    }

    pub(crate) fn erase(mut self, step: TaskId) -> Self {
        self.0.erase.push(step);
        self
    }

    /// Erases no map that it feeds: no code does both.
    pub(crate) fn keep_fed(mut self) -> Self {
        let Commit { erase, feed, .. } = &mut self.0;
        erase.retain(|step| feed.iter().all(|feed| feed.map != *step));
        self
    }
}

impl From<Turn> for Transition {
    fn from(turn: Turn) -> Self {
        turn.0.into()
    }
}
