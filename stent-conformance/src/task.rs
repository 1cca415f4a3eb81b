//! Tasks to be written, in the words of a case.

use stent_core::model::{Lane, NewTask, NewTaskState, RetryPolicy, Seq, StepKind, TaskResult, Tree};
use stent_core::transition::{Change, Guard, Transition};
use stent_core::{Failure, Payload, TaskId, Timestamp, WorkerId};

/// A moment, in seconds from the one at which every case begins. It has a fraction, as real moments do.
pub(crate) const fn t(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_763_683_200_123_456 + seconds * 1_000_000)
}

/// A payload that people can read.
pub(crate) fn text(text: &str) -> Payload {
    Payload::new("text/plain", text.as_bytes().to_vec())
}

/// The failure of cases that do not care which.
pub(crate) fn declined() -> Failure {
    Failure::new("Declined", "no funds")
}

/// A task to be written. It takes its place in a tree when it is dispatched or put into a turn.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) id: TaskId,
    seq: Seq,
    kind: StepKind,
    lane: Lane,
    priority: i16,
    args: Payload,
    retry: Option<RetryPolicy>,
    attempts: u32,
    state: NewTaskState,
}

impl Draft {
    pub(crate) fn new(id: TaskId, seq: u32, kind: StepKind, name: &str, state: NewTaskState) -> Self {
        let queue = if kind == StepKind::Call { Lane::DEFAULT_QUEUE } else { "" };
        let args = if kind == StepKind::Call { text("args") } else { Payload::empty() };
        Self {
            id,
            seq: Seq(seq),
            kind,
            lane: Lane::new(queue, name),
            priority: 0,
            args,
            retry: None,
            attempts: 0,
            state,
        }
    }

    pub(crate) fn on(mut self, queue: &str) -> Self {
        self.lane.queue = queue.to_owned();
        self
    }

    pub(crate) const fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    pub(crate) fn args(mut self, args: Payload) -> Self {
        self.args = args;
        self
    }

    pub(crate) const fn seq(mut self, seq: u32) -> Self {
        self.seq = Seq(seq);
        self
    }

    pub(crate) fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    pub(crate) const fn failed_before(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    pub(crate) fn due(self, ready_at: Timestamp) -> Self {
        self.state(NewTaskState::Pending { ready_at })
    }

    pub(crate) fn leased(self, worker: WorkerId, until: Timestamp) -> Self {
        self.state(NewTaskState::Leased { worker, until })
    }

    pub(crate) fn done(self, started_at: Timestamp, result: TaskResult) -> Self {
        self.state(NewTaskState::Done { started_at, result })
    }

    fn state(mut self, state: NewTaskState) -> Self {
        self.state = state;
        self
    }

    /// The transition that dispatches it.
    pub(crate) fn start(self, at: Timestamp) -> Transition {
        let mut start = Transition::new(Guard::Absent(self.id), at, Change::Start);
        let tree = Tree::root(self.id.execution());
        start.insert.push(self.placed(tree));
        start
    }

    /// The row to insert.
    pub(crate) fn placed(self, tree: Tree) -> NewTask {
        NewTask {
            id: self.id,
            tree,
            seq: if tree.parent.is_none() { Seq(0) } else { self.seq },
            kind: self.kind,
            lane: self.lane,
            priority: self.priority,
            args: self.args,
            retry: self.retry,
            attempts: self.attempts,
            state: self.state,
        }
    }
}
