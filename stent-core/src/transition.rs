//! The unit of writing: one atomic, guarded change of the store, as plain data.
//!
//! Transitions are made in [`decide`](crate::decide) and applied by backends. A backend tests the guard and applies
//! the data; it knows no rule.

use crate::model::{
    Epoch, Fence, NewTask, NewTaskState, Note, RetryPolicy, Said, Step, TaskResult, Tree, Wait,
};
use crate::{Digest, ExecutionId, Failure, Key, Payload, TaskId, Timestamp};

/// One change of the store. All of it is applied, or none (G1).
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// What must hold for the change to be applied.
    pub guard: Guard,
    /// When it was decided. Stores write this moment; they read no clock of their own.
    pub at: Timestamp,
    /// What becomes of the task that the guard names.
    pub change: Change,
    /// Rows to write. Those with the state `Done` are completions of the guarded task, in this order.
    pub insert: Vec<NewTask>,
    /// Sleeps of the guarded task that are due: they complete, in this order, after what is inserted.
    pub fire: Vec<TaskId>,
    /// Steps that the guarded task has given up, with everything below them. Those that have ended stay as they are.
    pub cancel: Vec<TaskId>,
    /// Steps of the guarded task that leave the record with everything below them, because an attempt that had
    /// asked for them is tried again. The next attempt may write them anew under the same ids.
    pub erase: Vec<TaskId>,
    /// Maps of the guarded task that get items; the items themselves are in `insert`.
    pub feed: Vec<Feed>,
    /// How many completions the guarded task's code has seen.
    pub seen: u32,
    /// What the guarded task's code, and that of steps which ran in its turn, says about its execution, in this order.
    pub notes: Vec<Said>,
}

impl Transition {
    /// A transition that changes only the task which the guard names.
    #[must_use]
    pub const fn new(guard: Guard, at: Timestamp, change: Change) -> Self {
        Self {
            guard,
            at,
            change,
            insert: Vec::new(),
            fire: Vec::new(),
            cancel: Vec::new(),
            erase: Vec::new(),
            feed: Vec::new(),
            seen: 0,
            notes: Vec::new(),
        }
    }

    /// How many completions this transition itself adds to the guarded task.
    #[must_use]
    pub fn own_completions(&self) -> u32 {
        let Some(task) = self.guard.leased() else { return 0 };
        let inserted = self.insert.iter().filter(|new| {
            matches!(new.state, NewTaskState::Done { .. }) && new.tree.parent == Some(task.task)
        });
        u32::try_from(inserted.count() + self.fire.len()).unwrap_or(u32::MAX)
    }
}

/// What must hold for a transition to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No task has this id, and, if there is a key, none was dispatched under it: a dispatch. If one has the id, the
    /// dispatch was applied before.
    Absent {
        /// The id.
        task: TaskId,
        /// The key.
        key: Option<Key>,
    },
    /// The task runs under this claim and has come so far: a leaseholder's write.
    Leased {
        /// The claim and how far it has come.
        fence: Fence,
        /// Where the task hangs, so that a store knows which other rows its end changes.
        tree: Tree,
        /// The task's key, for the same reason.
        key: Option<Key>,
    },
    /// The task is there: a request from outside. What else must hold is said by the change.
    Known {
        /// The task.
        task: TaskId,
        /// Where it hangs.
        tree: Tree,
        /// Its key.
        key: Option<Key>,
    },
    /// The task is parked where this claim left it: a hint from its own code, still in memory.
    Parked {
        /// The task.
        task: TaskId,
        /// The claim that parked it.
        epoch: Epoch,
    },
}

impl Transition {
    /// About how many bytes it carries to the store: payloads, and texts that may be long.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_result = |result: &TaskResult| result.as_ref().map_or_else(of_failure, Payload::len);
        let change = match &self.change {
            Change::End(result) => of_result(result),
            Change::Retry { failure, .. } | Change::Expire(failure) => of_failure(failure),
            Change::Signal { value, .. } => value.len(),
            Change::Start
            | Change::Keep
            | Change::Park(_)
            | Change::Redo
            | Change::Release
            | Change::Unpark
            | Change::Postpone { .. }
            | Change::Cancel { .. }
            | Change::Redrive { .. }
            | Change::Discard => 0,
        };
        let rows = self.insert.iter().map(|row| {
            let result = match &row.state {
                NewTaskState::Done { result, .. } => of_result(result),
                NewTaskState::Pending { .. }
                | NewTaskState::Leased { .. }
                | NewTaskState::Timer { .. }
                | NewTaskState::Map
                | NewTaskState::Signal
                | NewTaskState::Join { .. } => 0,
            };
            ROW_BYTES + row.args.len() + result + row.failure.as_ref().map_or(0, of_failure)
        });
        let notes = self.notes.iter().map(|said| match &said.note {
            Note::Set { value, .. } | Note::SetFrom { value, .. } => value.len(),
            Note::Progress { text, .. } => text.len(),
            Note::Count { .. } | Note::CountFrom { .. } => 0,
        });
        ROW_BYTES + change + rows.sum::<usize>() + notes.sum::<usize>()
    }
}

/// What a row takes beside its payloads, roughly.
const ROW_BYTES: usize = 256;

fn of_failure(failure: &Failure) -> usize {
    let causes: usize = failure.causes.iter().map(String::len).sum();
    let trace = failure.trace.as_ref().map_or(0, String::len);
    failure.kind.len()
        + failure.message.len()
        + causes
        + trace
        + failure.data_type.as_ref().map_or(0, String::len)
        + failure.data.as_ref().map_or(0, Payload::len)
}

impl Guard {
    /// The task that the guard names.
    #[must_use]
    pub const fn task(&self) -> TaskId {
        match self {
            Self::Absent { task, .. } | Self::Known { task, .. } | Self::Parked { task, .. } => *task,
            Self::Leased { fence, .. } => fence.task,
        }
    }

    /// The fence of a leaseholder's write.
    #[must_use]
    pub const fn leased(&self) -> Option<&Fence> {
        match self {
            Self::Leased { fence, .. } => Some(fence),
            Self::Absent { .. } | Self::Known { .. } | Self::Parked { .. } => None,
        }
    }
}

/// What becomes of the guarded task.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is written for the first time: it is the first of the inserted rows. Only with [`Guard::Absent`].
    Start,
    /// It goes on under the same lease.
    Keep,
    /// It is parked: no worker, no lease, until the wait is satisfied.
    Park(Wait),
    /// It is tried again from this moment on, after this failure.
    Retry {
        /// Not before this moment (G6).
        ready_at: Timestamp,
        /// Why.
        failure: Failure,
    },
    /// It is tried again at once, on request: this is no attempt.
    Redo,
    /// It has ended.
    End(TaskResult),
    /// Its worker shuts down and hands it back; this is no attempt and no crash.
    Release,
    /// A parked task is worth waking: something that only its own code waits for has happened. Only with
    /// [`Guard::Parked`].
    Unpark,
    /// Moves a parked task's due moment later, while its worker still has the code, which waits for something that no store
    /// knows of. A task that was woken meanwhile is left alone. Only with [`Guard::Parked`].
    Postpone {
        /// When it is due.
        from: Timestamp,
        /// When it is to be due.
        until: Timestamp,
    },
    /// Its time is up: it ends as failed with this failure, and with it everything below it. A task that was asked to end
    /// and did not do so in time ends as cancelled. Only with [`Guard::Known`], only when it is due.
    Expire(Failure),
    /// An execution is asked to end: what does not run ends at once, what runs may tidy up until a moment, and the root
    /// ends when nothing below it runs any more. Only for a root, with [`Guard::Known`].
    Cancel {
        /// When all that still runs is ended.
        until: Timestamp,
    },
    /// A value for whoever waits, or will wait, for the signal: the latest one counts. Only for a root, with
    /// [`Guard::Known`].
    Signal {
        /// Which signal of the execution.
        key: Key,
        /// The signal's name.
        name: String,
        /// Names this send, so that one which is repeated is told.
        id: TaskId,
        /// The value.
        value: Payload,
    },
    /// A dead letter is tried again where it stood. Only for a root that has failed for good, with [`Guard::Known`].
    Redrive {
        /// By this policy from now on; none leaves the one that it has.
        retry: Option<RetryPolicy>,
    },
    /// A dead letter has been seen to. Its execution stays as failed. Only for a root that has failed for good, with
    /// [`Guard::Known`].
    Discard,
}

/// Items added to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The map's own task.
    pub map: TaskId,
    /// Items written so far, those of this transition included.
    pub fed: u32,
    /// Items in all, once the last of them is written.
    pub total: Option<u32>,
    /// What they are, those of this transition included: the map's digest from now on.
    pub digest: Option<Digest>,
}

/// What a store answers to one transition. All of these are normal.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The change was made.
    Applied(News),
    /// The change had been made before, by the same transition sent twice; nothing was changed now (G3).
    Already(News),
    /// Another claim has the task, or it is not where the guard says; nothing was changed (G3).
    Fenced,
    /// Another execution was dispatched under the same key before; nothing was changed (G12).
    Exists(ExecutionId),
    /// The task has ended or was purged, or stands where the change cannot be made; nothing was changed (G7).
    Gone,
}

impl Outcome {
    /// Whether the change stands in the store.
    #[must_use]
    pub const fn stands(&self) -> bool {
        match self {
            Self::Applied(_) | Self::Already(_) => true,
            Self::Fenced | Self::Exists(_) | Self::Gone => false,
        }
    }
}

/// What a leaseholder learns with its commit, when it keeps the task, and the sender of a signal with its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// Steps of the task that have ended so far.
    pub done: u32,
    /// Every completion after those that the code had seen, in order; left empty when they are exactly the ones that
    /// the transition itself brought, in its order.
    pub steps: Vec<Step>,
    /// Whether the task was asked to end and has now done so: it is cancelled, whatever it gave.
    pub stopped: bool,
    /// Whether the value of a signal took the place of one that nobody has consumed (G11).
    pub replaced: bool,
}
