//! Tasks to be written, as cases write them.

use std::time::Duration;

use stent_core::model::{
    Keyed, Lane, NewTask, NewTaskState, Nonce, RetryPolicy, Seq, StepKind, TaskResult, Tree,
};
use stent_core::transition::{Dispatch, Transition};
use stent_core::{Digest, Failure, Key, Payload, TaskId, Timestamp, WorkerId};
use uuid::Uuid;

/// A moment, in seconds after the start of the case. It has a fraction, as real moments do.
pub(crate) const fn t(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_763_683_200_123_456 + seconds * 1_000_000)
}

/// The `n`-th id of a case. Ids grow, and have the bits of a version 7 UUID.
pub(crate) fn id(n: u64) -> TaskId {
    let millis: u128 = 1_763_683_200_123;
    TaskId::from_uuid(Uuid::from_u128((millis << 80) | (0x7 << 76) | (0b10 << 62) | u128::from(n)))
}

/// A readable payload.
pub(crate) fn text(text: &str) -> Payload {
    Payload::new("text/plain", text.as_bytes().to_vec())
}

/// A failure for cases to which its content does not matter.
pub(crate) fn declined() -> Failure {
    Failure::new("Declined", "no funds")
}

/// The key that equal calls share.
pub(crate) fn key(text: &str) -> Key {
    Key::of_user("charge", None, text)
}

/// The key that equal dispatches share.
pub(crate) fn dispatch_key(text: &str) -> Key {
    Key::of_dispatch("charge", text)
}

/// A task to be written. It gets its position in a tree when it is dispatched or added to a turn.
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
    failure: Option<Failure>,
    keyed: Option<Keyed>,
    expires_at: Option<Timestamp>,
    trace: Option<String>,
    digest: Option<Digest>,
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
            failure: None,
            keyed: None,
            expires_at: None,
            trace: None,
            digest: None,
            state,
        }
    }

    pub(crate) fn on(mut self, queue: &str) -> Self {
        self.lane.queue = queue.to_owned();
        self
    }

    pub(crate) fn tags<const N: usize>(mut self, tags: [&str; N]) -> Self {
        self.lane = self.lane.with_tags(tags);
        self
    }

    /// The task has this key, with no time limit.
    pub(crate) const fn keyed(mut self, key: Key) -> Self {
        self.keyed = Some(Keyed::new(key));
        self
    }

    /// Its keyed result is valid for this many seconds.
    pub(crate) fn ttl(self, seconds: u64) -> Self {
        self.good_for(Duration::from_secs(seconds))
    }

    /// Its keyed result is valid for this long.
    pub(crate) fn good_for(mut self, ttl: Duration) -> Self {
        self.keyed = self.keyed.map(|keyed| Keyed { ttl: Some(ttl), ..keyed });
        self
    }

    /// The task has an id that the case chose.
    pub(crate) const fn with_id(mut self, id: TaskId) -> Self {
        self.id = id;
        self
    }

    /// The task has this deadline.
    pub(crate) const fn expires(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }

    /// The task was requested within this trace.
    pub(crate) fn traced(mut self, trace: &str) -> Self {
        self.trace = Some(trace.to_owned());
        self
    }

    /// Its arguments have this digest.
    pub(crate) const fn digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
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

    /// The task failed with this before it was first written.
    pub(crate) fn failure(mut self, failure: Failure) -> Self {
        self.failure = Some(failure);
        self
    }

    pub(crate) fn due(self, ready_at: Timestamp) -> Self {
        self.state(NewTaskState::Pending { ready_at })
    }

    pub(crate) fn leased(self, started_at: Timestamp, worker: WorkerId, until: Timestamp) -> Self {
        self.state(NewTaskState::Leased { started_at, worker, nonce: Nonce::new(1), until })
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
        self.start_under(None, at)
    }

    /// The transition that dispatches it, unless the key has been used for a dispatch.
    pub(crate) fn start_under(self, key: Option<Key>, at: Timestamp) -> Transition {
        let tree = Tree::root(self.id.execution());
        Dispatch { root: self.placed(tree), key, at }.into()
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
            failure: self.failure,
            keyed: self.keyed,
            expires_at: self.expires_at,
            trace: self.trace,
            digest: self.digest,
            state: self.state,
        }
    }
}
