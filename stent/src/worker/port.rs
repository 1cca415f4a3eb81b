//! Messages between turns and the worker's loop.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stent_core::decide::Held;
use stent_core::model::{Epoch, Fence, Lane, Lease};
use stent_core::transition::{Commit, News};
use stent_core::{ExecutionId, Failure, TaskId, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use super::activation::Activation;
use super::host::Host;
use super::report::Reporter;
use super::status::Stop;

/// A message from a turn to the loop.
#[derive(Debug)]
pub(super) enum Message {
    /// The turn records something and continues once that is committed.
    Keep { commit: Commit, reply: oneshot::Sender<Kept> },
    /// The turn has committed something itself, in a transaction of the application, and continues when the loop
    /// replies.
    Kept { commit: Commit, news: News, reply: oneshot::Sender<Kept> },
    /// The turn has ended. Parked code comes along, to be kept in memory.
    Done { commit: Commit, parked: Option<Parked> },
    /// The turn's task is parked, and the turn continues with a step of it, which is written under its own lease in the
    /// same commit.
    Promote { commit: Commit, parked: Parked, step: Box<Held>, lease: Lease, reply: oneshot::Sender<Kept> },
    /// Something outside the store woke parked code.
    Unpark { task: TaskId, epoch: Epoch },
    /// The turn ended without anything to commit: its task was lost to another claim.
    Gone { fence: Fence },
    /// The turn that runs as this task of the runtime broke off: something other than its code panicked.
    BrokeOff { turn: tokio::task::Id, failure: Failure },
}

/// The loop's reply about what a turn has recorded.
#[derive(Debug)]
pub(super) enum Kept {
    /// It is committed.
    Stands(News),
    /// The store can never hold it: the task must end with this failure.
    Refused(Failure),
    /// The task was lost to another claim.
    Lost,
}

/// Code in memory, between two turns.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) task: TaskId,
    pub(super) epoch: Epoch,
    /// How many transitions of the task are committed, including its parking.
    pub(super) commit: u32,
    pub(super) seen: u32,
    /// When its turn ended.
    pub(super) at: Timestamp,
    /// When it is due because its code waits for something outside the store, unless that is postponed.
    pub(super) due: Option<Timestamp>,
    pub(super) activation: Activation,
}

impl Parked {
    pub(super) fn execution(&self) -> ExecutionId {
        self.activation.durable.execution()
    }

    pub(super) fn parent(&self) -> Option<TaskId> {
        self.activation.durable.tree.parent
    }
}

/// A turn's access to its worker.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) host: Arc<Host>,
    pub(super) lease: Duration,
    pub(super) queues: Option<Arc<[String]>>,
    pub(super) tags: Arc<[String]>,
    pub(super) messages: mpsc::UnboundedSender<Message>,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) report: Reporter,
}

impl Port {
    /// Whether this worker may run a call of this lane itself.
    pub(super) fn admits(&self, lane: &Lane) -> bool {
        self.queues.as_ref().is_none_or(|queues| queues.contains(&lane.queue))
            && (self.tags.is_empty()
                || lane.tags.is_empty()
                || self.tags.iter().any(|tag| lane.tags.contains(tag)))
            && *self.stop.borrow() == Stop::No
    }

    /// Sends a message to the loop. If the loop has ended, the turn ends with it; its task was released.
    pub(super) fn send(&self, message: Message) {
        let _ = self.messages.send(message);
    }

    /// Commits, and waits for the fate of the commit.
    pub(super) async fn keep(&self, commit: Commit) -> Kept {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Keep { commit, reply });
        answer.await.unwrap_or(Kept::Lost)
    }

    /// Reports a commit that was made without the loop, and waits until the turn may continue.
    pub(super) async fn kept(&self, commit: Commit, news: News) -> Kept {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Kept { commit, news, reply });
        answer.await.unwrap_or(Kept::Lost)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("worker", &self.host.worker).finish_non_exhaustive()
    }
}
