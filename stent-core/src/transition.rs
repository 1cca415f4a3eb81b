//! The unit of writing: one atomic, guarded change of the store, as plain data.
//!
//! Transitions are made in [`decide`](crate::decide) and applied by backends. A backend tests the guard and applies
//! the data; it knows no rule.
//!
//! | Transition | Sent by | Applied if |
//! |---|---|---|
//! | [`Dispatch`] | a caller | no task has the id, and no execution was dispatched under the key |
//! | [`Commit`] | the worker that holds the task's lease | the task runs under this claim, and no other commit came between |
//! | [`Request`] | a caller or an operator | the execution exists, and stands where the action applies |
//! | [`Expire`] | any worker or waiter | the task is open and its time is up |
//! | [`Unpark`], [`Postpone`] | the worker that has the parked task's code in memory | the task is parked by this claim |

use crate::model::{
    Epoch, Fence, NewTask, NewTaskState, Note, RetryPolicy, Said, Step, TaskResult, Tree, Wait,
};
use crate::{Digest, ExecutionId, Failure, Key, Payload, TaskId, Timestamp};

/// One change of the store. All of it is applied, or none (G1).
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "batches are short, and each dispatch would cost an allocation for a box"
)]
pub enum Transition {
    /// An execution starts.
    Dispatch(Dispatch),
    /// The holder of a task's lease records what the task's code did.
    Commit(Commit),
    /// Something is asked of an execution from outside.
    Request(Request),
    /// A task's time is up.
    Expire(Expire),
    /// A parked task becomes ready because of its own code.
    Unpark(Unpark),
    /// A parked task becomes due later.
    Postpone(Postpone),
}

/// Starts an execution: writes its root task.
///
/// If a task has the root's id already, this dispatch was applied before. If another execution was dispatched under the
/// key, nothing is written (G12).
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The root task. Its id is that of the execution.
    pub root: NewTask,
    /// The key under which only the first dispatch starts an execution.
    pub key: Option<Key>,
    /// When it was decided.
    pub at: Timestamp,
}

/// A leaseholder's write: what a turn of the task did, and what becomes of the task next.
///
/// Applied only if the task runs under the claim that [`fence`](Self::fence) names, and nothing was committed under that
/// claim since (G3).
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The claim, and how many commits of the task came before this one.
    pub fence: Fence,
    /// The task's place in its execution, so that a store knows which other rows its end changes. It never changes.
    pub tree: Tree,
    /// The task's key, for the same reason.
    pub key: Option<Key>,
    /// When it was decided. Stores write this moment; they read no clock of their own.
    pub at: Timestamp,
    /// Rows to write. Those with the state `Done` are completions of the task, in this order.
    pub insert: Vec<NewTask>,
    /// Sleeps of the task that are due: they complete, in this order, after the inserted completions.
    pub fire: Vec<TaskId>,
    /// Steps that the task has given up, with everything below them. Steps that have ended stay as they are.
    pub cancel: Vec<TaskId>,
    /// Steps of the task that leave the record with everything below them, because the attempt that asked for them is
    /// retried. The next attempt may write them anew under the same ids.
    pub erase: Vec<TaskId>,
    /// Maps of the task that get items; the items themselves are in `insert`.
    pub feed: Vec<Feed>,
    /// How many completions the task's code has seen.
    pub seen: u32,
    /// What the task's code, and that of steps which ran in its turn, says about its execution, in this order.
    pub notes: Vec<Said>,
    /// What becomes of the task.
    pub next: Next,
}

/// What becomes of a task with a [`Commit`].
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// It goes on under the same lease.
    Keep,
    /// It is parked: no worker, no lease, until the wait is satisfied.
    Park(Wait),
    /// It is retried from this moment on, after this failure.
    Retry {
        /// Not before this moment (G6).
        ready_at: Timestamp,
        /// Why.
        failure: Failure,
    },
    /// It runs again at once, because it was redriven. Not counted as an attempt.
    Redo,
    /// Its worker shuts down and hands it back. Counted neither as an attempt nor as a crash.
    Release,
    /// It has ended.
    End(TaskResult),
}

/// Something that is asked of an execution from outside. Steps are no executions: nothing can be asked of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The execution.
    pub execution: ExecutionId,
    /// When it was decided.
    pub at: Timestamp,
    /// What is asked.
    pub action: Action,
}

/// What a [`Request`] asks of an execution.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// To end. Tasks that do not run end at once; those that run may clean up until a moment; the root ends when no task
    /// below it runs any more.
    Cancel {
        /// When all that still runs is ended.
        until: Timestamp,
    },
    /// To take a value: the current or the next wait for this signal gets it. A later value replaces one that no wait has
    /// taken.
    Signal {
        /// Which signal of the execution.
        key: Key,
        /// The signal's name.
        name: String,
        /// Identifies this send, so that a repeated one is recognised.
        id: TaskId,
        /// The value.
        value: Payload,
    },
    /// To retry from the failed step. Only for a dead letter.
    Redrive {
        /// The retry policy from now on; none leaves the one that it has.
        retry: Option<RetryPolicy>,
    },
    /// To be no dead letter any more. The execution stays failed. Only for a dead letter.
    Discard,
}

/// Ends a task whose time is up, and everything below it. Applied only when it is due.
///
/// The task ends as failed with the failure; one that was asked to end and did not do so in time ends as cancelled.
#[derive(Clone, Debug, PartialEq)]
pub struct Expire {
    /// The task.
    pub task: TaskId,
    /// Its place in its execution.
    pub tree: Tree,
    /// Its key.
    pub key: Option<Key>,
    /// When it was decided.
    pub at: Timestamp,
    /// The failure with which it ends.
    pub failure: Failure,
}

/// Makes a parked task ready: something that only its own code, still in memory, waits for has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpark {
    /// The task.
    pub task: TaskId,
    /// The claim that parked it.
    pub epoch: Epoch,
    /// When it was decided.
    pub at: Timestamp,
}

/// Moves a parked task's due moment later, while its worker still has the code, which waits for something that no store
/// knows of. A task that became ready meanwhile is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postpone {
    /// The task.
    pub task: TaskId,
    /// The claim that parked it.
    pub epoch: Epoch,
    /// When it was decided.
    pub at: Timestamp,
    /// When it is due.
    pub from: Timestamp,
    /// When it is to be due.
    pub until: Timestamp,
}

impl Transition {
    /// The task that it names: the one that it starts, commits, or is asked for. For a request, the execution's root.
    #[must_use]
    pub const fn task(&self) -> TaskId {
        match self {
            Self::Dispatch(dispatch) => dispatch.root.id,
            Self::Commit(commit) => commit.fence.task,
            Self::Request(request) => request.execution.root(),
            Self::Expire(expire) => expire.task,
            Self::Unpark(unpark) => unpark.task,
            Self::Postpone(postpone) => postpone.task,
        }
    }

    /// When it was decided. Stores write this moment; they read no clock of their own.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Dispatch(Dispatch { at, .. })
            | Self::Commit(Commit { at, .. })
            | Self::Request(Request { at, .. })
            | Self::Expire(Expire { at, .. })
            | Self::Unpark(Unpark { at, .. })
            | Self::Postpone(Postpone { at, .. }) => *at,
        }
    }

    /// The same transition, decided at another moment.
    #[must_use]
    pub fn decided_at(mut self, moment: Timestamp) -> Self {
        match &mut self {
            Self::Dispatch(Dispatch { at, .. })
            | Self::Commit(Commit { at, .. })
            | Self::Request(Request { at, .. })
            | Self::Expire(Expire { at, .. })
            | Self::Unpark(Unpark { at, .. })
            | Self::Postpone(Postpone { at, .. }) => *at = moment,
        }
        self
    }

    /// The commit, if it is a leaseholder's write.
    #[must_use]
    pub const fn commit(&self) -> Option<&Commit> {
        match self {
            Self::Commit(commit) => Some(commit),
            Self::Dispatch(_) | Self::Request(_) | Self::Expire(_) | Self::Unpark(_) | Self::Postpone(_) => {
                None
            }
        }
    }

    /// [`commit`](Self::commit), to be changed.
    #[must_use]
    pub const fn commit_mut(&mut self) -> Option<&mut Commit> {
        match self {
            Self::Commit(commit) => Some(commit),
            Self::Dispatch(_) | Self::Request(_) | Self::Expire(_) | Self::Unpark(_) | Self::Postpone(_) => {
                None
            }
        }
    }

    /// The fence of a leaseholder's write.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.commit().map(|commit| commit.fence)
    }

    /// What becomes of the task with a leaseholder's write.
    #[must_use]
    pub fn next(&self) -> Option<&Next> {
        self.commit().map(|commit| &commit.next)
    }

    /// The action that is asked of an execution, if it is a request.
    #[must_use]
    pub const fn action(&self) -> Option<&Action> {
        match self {
            Self::Request(request) => Some(&request.action),
            Self::Dispatch(_) | Self::Commit(_) | Self::Expire(_) | Self::Unpark(_) | Self::Postpone(_) => {
                None
            }
        }
    }

    /// The rows that it writes for the first time.
    #[must_use]
    pub fn rows(&self) -> &[NewTask] {
        match self {
            Self::Dispatch(dispatch) => std::slice::from_ref(&dispatch.root),
            Self::Commit(commit) => &commit.insert,
            Self::Request(_) | Self::Expire(_) | Self::Unpark(_) | Self::Postpone(_) => &[],
        }
    }

    /// [`rows`](Self::rows), to be changed.
    #[must_use]
    pub fn rows_mut(&mut self) -> &mut [NewTask] {
        match self {
            Self::Dispatch(dispatch) => std::slice::from_mut(&mut dispatch.root),
            Self::Commit(commit) => &mut commit.insert,
            Self::Request(_) | Self::Expire(_) | Self::Unpark(_) | Self::Postpone(_) => &mut [],
        }
    }

    /// About how many bytes it carries to the store: payloads, and texts that may be long.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let own = match self {
            Self::Dispatch(_) | Self::Unpark(_) | Self::Postpone(_) => 0,
            Self::Commit(commit) => commit.next.bytes() + commit.note_bytes(),
            Self::Request(request) => match &request.action {
                Action::Signal { value, .. } => value.len(),
                Action::Cancel { .. } | Action::Redrive { .. } | Action::Discard => 0,
            },
            Self::Expire(expire) => of_failure(&expire.failure),
        };
        let rows = self.rows().iter().map(|row| {
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
        ROW_BYTES + own + rows.sum::<usize>()
    }
}

impl Commit {
    /// A commit that changes only the task itself.
    #[must_use]
    pub const fn new(fence: Fence, tree: Tree, key: Option<Key>, at: Timestamp, next: Next) -> Self {
        Self {
            fence,
            tree,
            key,
            at,
            insert: Vec::new(),
            fire: Vec::new(),
            cancel: Vec::new(),
            erase: Vec::new(),
            feed: Vec::new(),
            seen: 0,
            notes: Vec::new(),
            next,
        }
    }

    /// How many completions this commit itself adds to its task.
    #[must_use]
    pub fn own_completions(&self) -> u32 {
        let inserted = self.insert.iter().filter(|new| {
            matches!(new.state, NewTaskState::Done { .. }) && new.tree.parent == Some(self.fence.task)
        });
        u32::try_from(inserted.count() + self.fire.len()).unwrap_or(u32::MAX)
    }

    fn note_bytes(&self) -> usize {
        let notes = self.notes.iter().map(|said| match &said.note {
            Note::Set { value, .. } | Note::SetFrom { value, .. } => value.len(),
            Note::Progress { text, .. } => text.len(),
            Note::Count { .. } | Note::CountFrom { .. } => 0,
        });
        notes.sum()
    }
}

impl Next {
    fn bytes(&self) -> usize {
        match self {
            Self::End(result) => of_result(result),
            Self::Retry { failure, .. } => of_failure(failure),
            Self::Keep | Self::Park(_) | Self::Redo | Self::Release => 0,
        }
    }
}

macro_rules! transition_from {
    ($($kind:ident)*) => {
        $(
            impl From<$kind> for Transition {
                fn from(kind: $kind) -> Self {
                    Self::$kind(kind)
                }
            }
        )*
    };
}

transition_from!(Dispatch Commit Request Expire Unpark Postpone);

/// What a row takes beside its payloads, roughly.
const ROW_BYTES: usize = 256;

fn of_result(result: &TaskResult) -> usize {
    result.as_ref().map_or_else(of_failure, Payload::len)
}

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
