//! The unit of writing: one atomic, guarded change of the store, as plain data.
//!
//! Transitions are made in [`decide`](crate::decide) and applied by backends. A backend tests the guard and applies
//! the data; it knows no rule.
//!
//! | Transition | Sent by | Applied if |
//! |---|---|---|
//! | [`Dispatch`] | a caller | no task has the id, and no execution was dispatched under the key |
//! | [`Import`] | an operator | no task has the root's id, no other execution has a key of it, and the executions that it waits for exist |
//! | [`Commit`] | the worker that holds the task's lease | the task runs under this claim, and no other commit came between |
//! | [`Request`] | a caller or an operator | the execution exists, and is in a state to which the action applies |
//! | [`Expire`] | any worker or waiter | the task is open and its time is up |
//! | [`Unpark`], [`Postpone`] | the worker that has the parked task's code in memory | the task is parked by this claim |

use crate::backend::StoredTask;
use crate::model::{
    EndedClaim, Epoch, Fence, KeyEntry, NewTask, NewTaskState, Note, RetryPolicy, Said, Step, TaskResult,
    Tree, Wait,
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
    /// A caller or an operator asks something of an execution.
    Request(Request),
    /// A task's deadline has passed.
    Expire(Expire),
    /// A parked task becomes ready because of its own code.
    Unpark(Unpark),
    /// A parked task becomes due later.
    Postpone(Postpone),
    /// An execution comes from another store, with its record.
    Import(Import),
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

/// A leaseholder's write: the effects of a turn of the task, and the task's next state.
///
/// Applied only if the task runs under the claim that [`fence`](Self::fence) names, and nothing was committed under that
/// claim since (G3).
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The claim, and how many commits of the task came before this one.
    pub fence: Fence,
    /// The task's position in its execution, so that a store knows which other rows its end changes. The position never
    /// changes.
    pub tree: Tree,
    /// The task's key, for the same reason.
    pub key: Option<Key>,
    /// When it was decided. Stores write this moment; they read no clock of their own.
    pub at: Timestamp,
    /// Rows to write. Those with the state `Done` are completions of the task, in this order.
    pub insert: Vec<NewTask>,
    /// Sleeps of the task that are due. They complete after the inserted completions, in this order.
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
    /// Notes of the task's code, and of steps that ran in its turn, about the execution, in this order.
    pub notes: Vec<Said>,
    /// The task's next state.
    pub next: Next,
}

/// The next state of a task after a [`Commit`].
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The task keeps running under the same lease.
    Keep,
    /// The task is parked, without a worker or a lease, until the wait is satisfied.
    Park(Wait),
    /// The task is retried from this moment on, after this failure.
    Retry {
        /// Not before this moment (G6).
        ready_at: Timestamp,
        /// Why.
        failure: Failure,
    },
    /// The task runs again at once, because it was redriven. Not counted as an attempt.
    Redo,
    /// The task's worker shuts down and releases it. Counted neither as an attempt nor as a crash.
    Release,
    /// The task has ended.
    End(TaskResult),
}

/// A request of a caller or an operator to an execution. Steps are not executions and get no requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The execution.
    pub execution: ExecutionId,
    /// When it was decided.
    pub at: Timestamp,
    /// The action.
    pub action: Action,
}

/// The action of a [`Request`].
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Cancel the execution. Tasks that do not run end at once; running tasks may clean up until `until`; the root ends
    /// when no task below it runs any more.
    Cancel {
        /// When tasks that still run are ended.
        until: Timestamp,
    },
    /// Send a value: the current or the next wait for this signal gets it. A later value replaces a value that no wait
    /// has taken.
    Signal {
        /// The signal's key.
        key: Key,
        /// The signal's name.
        name: String,
        /// Identifies this send, so that a repeated send is recognised.
        id: TaskId,
        /// The value.
        value: Payload,
    },
    /// Retry from the failed step. Applies to dead letters only.
    Redrive {
        /// The retry policy from now on; `None` keeps the present policy.
        retry: Option<RetryPolicy>,
        /// The queue of the root from now on; `None` keeps the present queue. The root's function, tags and priority stay, and
        /// no other task moves.
        queue: Option<String>,
    },
    /// Remove the execution from the dead letters. It stays failed. Applies to dead letters only.
    Discard,
}

/// Ends a task whose deadline has passed, and everything below it. Applied only once the deadline has passed.
///
/// The task ends as failed with this failure. A task that was asked to end and did not end in time ends as cancelled.
#[derive(Clone, Debug, PartialEq)]
pub struct Expire {
    /// The task.
    pub task: TaskId,
    /// Its position in its execution.
    pub tree: Tree,
    /// Its key.
    pub key: Option<Key>,
    /// When it was decided.
    pub at: Timestamp,
    /// The failure with which it ends.
    pub failure: Failure,
}

/// Makes a parked task ready, because an event has happened that only its code, still in memory, waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpark {
    /// The task.
    pub task: TaskId,
    /// The claim that parked it.
    pub epoch: Epoch,
    /// When it was decided.
    pub at: Timestamp,
}

/// Moves a parked task's due moment later. Sent while a worker still has the task's code, which waits for an event that
/// no store knows. Has no effect on a task that became ready meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postpone {
    /// The task.
    pub task: TaskId,
    /// The claim that parked it.
    pub epoch: Epoch,
    /// When it was decided.
    pub at: Timestamp,
    /// The task's due moment so far.
    pub from: Timestamp,
    /// The new due moment.
    pub until: Timestamp,
}

/// Writes an execution that another store has exported, with its whole record.
///
/// All of it is written, or none. If a task has the root's id already, the outcome is [`Already`](Outcome::Already). If another
/// execution holds one of the keys, it is [`Exists`](Outcome::Exists). If an execution that it waits for is not in the store, it is
/// [`Gone`](Outcome::Gone): nobody would wake the wait.
///
/// No lease comes with it. A task that ran is pending and due, and its claim is counted neither as an attempt nor as a crash; if it
/// was asked to end, it has ended. The epochs keep their counts and lose their nonces, so no write of an earlier claim passes (G3).
/// Parked tasks stay parked, with their thresholds and moments. A call that waited for another execution's result under a key
/// becomes the key's holder, unless this store has a holder or a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The execution.
    pub execution: ExecutionId,
    /// When it was decided.
    pub at: Timestamp,
    /// Its tasks, the root among them, in any order.
    pub tasks: Vec<StoredTask>,
    /// Claims of these tasks that ended badly; those of a task in their order.
    pub ended_claims: Vec<EndedClaim>,
    /// The key entries that belong to it: its dispatch, signals, and results that its tasks still compute.
    pub key_entries: Vec<KeyEntry>,
    /// Notes, in order.
    pub notes: Vec<ImportedNote>,
    /// Its open waits for executions, each with the execution.
    pub awaits: Vec<(TaskId, ExecutionId)>,
}

/// A note of an imported execution.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedNote {
    /// The task whose code wrote it.
    pub task: TaskId,
    /// When it was committed.
    pub at: Timestamp,
    /// The note.
    pub note: Note,
}

impl Import {
    /// An import without tasks.
    #[must_use]
    pub const fn new(execution: ExecutionId, at: Timestamp) -> Self {
        Self {
            execution,
            at,
            tasks: Vec::new(),
            ended_claims: Vec::new(),
            key_entries: Vec::new(),
            notes: Vec::new(),
            awaits: Vec::new(),
        }
    }

    /// The approximate number of bytes of its data.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tasks = self
            .tasks
            .iter()
            .map(|stored| ROW_BYTES + stored.task.args.len() + stored.result.as_ref().map_or(0, of_result));
        let ended = self.ended_claims.iter().filter_map(|ended| ended.failure.as_ref()).map(Failure::bytes);
        let keys = self.key_entries.iter().map(|entry| entry.value.as_ref().map_or(0, Payload::len));
        let notes = self.notes.iter().map(|noted| of_note(&noted.note));
        tasks.chain(ended).chain(keys).chain(notes).sum()
    }
}

impl Transition {
    /// The task that the transition changes. For a dispatch or a request, the execution's root.
    #[must_use]
    pub const fn task(&self) -> TaskId {
        match self {
            Self::Dispatch(dispatch) => dispatch.root.id,
            Self::Commit(commit) => commit.fence.task,
            Self::Request(request) => request.execution.root(),
            Self::Expire(expire) => expire.task,
            Self::Unpark(unpark) => unpark.task,
            Self::Postpone(postpone) => postpone.task,
            Self::Import(import) => import.execution.root(),
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
            | Self::Postpone(Postpone { at, .. })
            | Self::Import(Import { at, .. }) => *at,
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
            | Self::Postpone(Postpone { at, .. })
            | Self::Import(Import { at, .. }) => *at = moment,
        }
        self
    }

    /// The commit, if it is a leaseholder's write.
    #[must_use]
    pub const fn commit(&self) -> Option<&Commit> {
        match self {
            Self::Commit(commit) => Some(commit),
            Self::Dispatch(_)
            | Self::Request(_)
            | Self::Expire(_)
            | Self::Unpark(_)
            | Self::Postpone(_)
            | Self::Import(_) => None,
        }
    }

    /// The mutable form of [`commit`](Self::commit).
    #[must_use]
    pub const fn commit_mut(&mut self) -> Option<&mut Commit> {
        match self {
            Self::Commit(commit) => Some(commit),
            Self::Dispatch(_)
            | Self::Request(_)
            | Self::Expire(_)
            | Self::Unpark(_)
            | Self::Postpone(_)
            | Self::Import(_) => None,
        }
    }

    /// The fence of a leaseholder's write.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.commit().map(|commit| commit.fence)
    }

    /// The task's next state, if it is a leaseholder's write.
    #[must_use]
    pub fn next(&self) -> Option<&Next> {
        self.commit().map(|commit| &commit.next)
    }

    /// The action, if it is a request.
    #[must_use]
    pub const fn action(&self) -> Option<&Action> {
        match self {
            Self::Request(request) => Some(&request.action),
            Self::Dispatch(_)
            | Self::Commit(_)
            | Self::Expire(_)
            | Self::Unpark(_)
            | Self::Postpone(_)
            | Self::Import(_) => None,
        }
    }

    /// The rows that the transition inserts, except those of an import, which are not new.
    #[must_use]
    pub fn rows(&self) -> &[NewTask] {
        match self {
            Self::Dispatch(dispatch) => std::slice::from_ref(&dispatch.root),
            Self::Commit(commit) => &commit.insert,
            Self::Request(_) | Self::Expire(_) | Self::Unpark(_) | Self::Postpone(_) | Self::Import(_) => &[],
        }
    }

    /// The mutable form of [`rows`](Self::rows).
    #[must_use]
    pub fn rows_mut(&mut self) -> &mut [NewTask] {
        match self {
            Self::Dispatch(dispatch) => std::slice::from_mut(&mut dispatch.root),
            Self::Commit(commit) => &mut commit.insert,
            Self::Request(_) | Self::Expire(_) | Self::Unpark(_) | Self::Postpone(_) | Self::Import(_) => {
                &mut []
            }
        }
    }

    /// The approximate number of bytes that it carries to the store: payloads, and texts that may be long.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let own = match self {
            Self::Dispatch(_) | Self::Unpark(_) | Self::Postpone(_) => 0,
            Self::Commit(commit) => commit.next.bytes() + commit.note_bytes(),
            Self::Request(request) => match &request.action {
                Action::Signal { value, .. } => value.len(),
                Action::Redrive { queue, .. } => queue.as_ref().map_or(0, String::len),
                Action::Cancel { .. } | Action::Discard => 0,
            },
            Self::Expire(expire) => expire.failure.bytes(),
            Self::Import(import) => import.bytes(),
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
            ROW_BYTES + row.args.len() + result + row.failure.as_ref().map_or(0, Failure::bytes)
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

    /// The number of completions that this commit itself adds to its task.
    #[must_use]
    pub fn own_completions(&self) -> u32 {
        let inserted = self.insert.iter().filter(|new| {
            matches!(new.state, NewTaskState::Done { .. }) && new.tree.parent == Some(self.fence.task)
        });
        u32::try_from(inserted.count() + self.fire.len()).unwrap_or(u32::MAX)
    }

    fn note_bytes(&self) -> usize {
        self.notes.iter().map(|said| of_note(&said.note)).sum()
    }
}

impl Next {
    fn bytes(&self) -> usize {
        match self {
            Self::End(result) => of_result(result),
            Self::Retry { failure, .. } => failure.bytes(),
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

transition_from!(Dispatch Commit Request Expire Unpark Postpone Import);

/// The approximate size of a row without its payloads.
const ROW_BYTES: usize = 256;

pub(crate) fn of_result(result: &TaskResult) -> usize {
    result.as_ref().map_or_else(Failure::bytes, Payload::len)
}

fn of_note(note: &Note) -> usize {
    match note {
        Note::Set { value, .. } | Note::SetFrom { value, .. } => value.len(),
        Note::Progress { text, .. } => text.len(),
        Note::Count { .. } | Note::CountFrom { .. } => 0,
    }
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
    /// The digest of the items written so far, those of this transition included: the map's digest from now on.
    pub digest: Option<Digest>,
}

/// A store's answer to one transition. None of these is an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The change was made.
    Applied(News),
    /// The same transition was applied before; nothing was changed now (G3).
    Already(News),
    /// Another claim has the task, or its state does not match the guard; nothing was changed (G3).
    Fenced,
    /// Another execution was dispatched under the same key before, or holds a key of an import; nothing was changed (G12).
    Exists(ExecutionId),
    /// The task has ended or was purged, its state does not admit the change, or an import waits for an execution that is not in the
    /// store; nothing was changed (G7).
    Gone,
}

impl Outcome {
    /// Whether the store contains the change.
    #[must_use]
    pub const fn stands(&self) -> bool {
        match self {
            Self::Applied(_) | Self::Already(_) => true,
            Self::Fenced | Self::Exists(_) | Self::Gone => false,
        }
    }
}

/// Data that a leaseholder gets with the answer to its commit, if it keeps the task, and that the sender of a signal
/// gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// The number of the task's steps that have ended so far.
    pub done: u32,
    /// Every completion after those that the code had seen, in order; empty if these are exactly the completions
    /// that the transition itself added, in its order.
    pub steps: Vec<Step>,
    /// Whether the task was asked to end and has now ended: it is cancelled, whatever its code returned.
    pub stopped: bool,
    /// Whether the signal's value replaced a value that no wait had consumed (G11).
    pub replaced: bool,
}
