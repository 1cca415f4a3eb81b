//! A store in front of another one that also sends and receives hints through a channel. It judges a change by its transition
//! alone, and reads nothing.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    ClaimRequest, Error, ErrorKind, Exchanged, Forward, HintChannel, HostTransaction, Listener, Purge,
    PurgeRequest, Purged, Result, Store, Topic, Transactions,
};
use crate::model::{NewTask, NewTaskState};
use crate::transition::{Action, Commit, Next, Outcome, Request, Transition};

/// A store whose changes are also announced through a [`HintChannel`], and whose listeners also listen to the channel.
///
/// The inner store sends and receives its own hints as before.
///
/// # Transactions
/// After the commit of a transaction that the store [began](Transactions::begin), the channel is notified of both topics. The store
/// cannot see the commit of a transaction that the application began, so for its transitions only the inner store sends hints.
///
/// # Concurrency
/// A channel belongs to one store: a channel may ignore its own notifications, and closing the store closes the channel.
#[derive(Debug)]
pub struct Announced {
    store: Arc<dyn Store>,
    channel: Arc<dyn HintChannel>,
}

impl Announced {
    /// Puts a channel in front of a store.
    pub fn new(store: Arc<dyn Store>, channel: Arc<dyn HintChannel>) -> Self {
        Self { store, channel }
    }

    fn announce(&self, work: bool, ended: bool) {
        if work {
            self.channel.notify(Topic::Work);
        }
        if ended {
            self.channel.notify(Topic::Ended);
        }
    }

    fn inner_transactions(&self) -> Result<&dyn Transactions> {
        self.store.transactions().ok_or_else(|| Error::new(ErrorKind::Config, "transactions"))
    }
}

#[async_trait]
impl Forward for Announced {
    fn inner(&self) -> &dyn Store {
        &*self.store
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        self.store.transactions().map(|_| self as &dyn Transactions)
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        let exchanged = self.store.exchange(commit, claim).await?;
        // A repeated transition counts too: the call that applied it may have failed, and announced nothing.
        let changes = commit.iter().zip(&exchanged.outcomes).filter(|(_, outcome)| outcome.stands());
        let (work, ended) = changes.fold((false, false), |(work, ended), (transition, outcome)| {
            (work || may_make_work(transition), ended || may_end(transition, outcome))
        });
        self.announce(work, ended);
        Ok(exchanged)
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        let purged = self.store.purge(request).await?;
        // The purge may have freed keys, or slots of limits; workers hold neither.
        self.announce(purged.count > 0 && request.what != Purge::Workers, false);
        Ok(purged)
    }

    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        Box::new(Both { store: self.store.listen(topic), channel: self.channel.listen(topic) })
    }

    async fn close(&self) -> Result<()> {
        let closed = self.store.close().await;
        self.channel.close().await;
        closed
    }
}

#[async_trait]
impl Transactions for Announced {
    async fn begin(&self) -> Result<Arc<HostTransaction>> {
        self.inner_transactions()?.begin().await
    }

    async fn begin_for(&self, limit: Duration) -> Result<Arc<HostTransaction>> {
        self.inner_transactions()?.begin_for(limit).await
    }

    async fn exchange_within(
        &self,
        transaction: &HostTransaction,
        commit: &[Transition],
    ) -> Result<Vec<Outcome>> {
        self.inner_transactions()?.exchange_within(transaction, commit).await
    }

    async fn commit(&self, transaction: Arc<HostTransaction>) -> Result<()> {
        let committed = self.inner_transactions()?.commit(transaction).await;
        // Nobody tracks what was written in the transaction. A commit that failed may have been applied.
        self.announce(true, true);
        committed
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.store.transactions()?.classify(error)
    }
}

/// Whether a change may concern another worker: it may make a task ready, end a step of a running task, ask a running task to end,
/// or free a slot of a limit.
fn may_make_work(transition: &Transition) -> bool {
    match transition {
        Transition::Dispatch(_) | Transition::Expire(_) | Transition::Unpark(_) | Transition::Import(_) => {
            true
        }
        Transition::Commit(commit) => !is_own_record(commit),
        Transition::Request(Request { action, .. }) => match action {
            Action::Cancel { .. } | Action::Signal { .. } | Action::Redrive { .. } => true,
            Action::Discard => false,
        },
        // A task that is due later than before is no news for anybody.
        Transition::Postpone(_) => false,
    }
}

/// Whether a task continues on its worker, and records nothing but its own completed steps.
fn is_own_record(commit: &Commit) -> bool {
    let Commit {
        fence: _,
        tree: _,
        key: _,
        at: _,
        seen: _,
        notes: _,
        insert,
        fire: _,
        cancel,
        erase,
        feed,
        next,
    } = commit;
    let completes = insert.iter().all(|task| matches!(task.state, NewTaskState::Done { .. }));
    matches!(next, Next::Keep) && completes && cancel.is_empty() && erase.is_empty() && feed.is_empty()
}

/// Whether a change may end an execution. The end of a step can end a cancelled execution, and the execution that waits for its
/// key.
fn may_end(transition: &Transition, outcome: &Outcome) -> bool {
    match transition {
        Transition::Commit(commit) => {
            let ends = match commit.next {
                Next::End(_) => true,
                Next::Keep => false,
                // If the task was asked to end, any turn of it is the last, and the root may end with it.
                Next::Park(_) | Next::Retry { .. } | Next::Redo | Next::Release => may_have_stopped(outcome),
            };
            ends || commit.insert.iter().any(may_start_ended)
        }
        Transition::Dispatch(dispatch) => may_start_ended(&dispatch.root),
        Transition::Request(Request { action, .. }) => matches!(action, Action::Cancel { .. }),
        Transition::Expire(_) | Transition::Import(_) => true,
        Transition::Unpark(_) | Transition::Postpone(_) => false,
    }
}

/// Whether a task that was asked to end has ended. The answer to a repeated commit does not say.
const fn may_have_stopped(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Applied(news) => news.stopped,
        Outcome::Already(_) => true,
        Outcome::Fenced | Outcome::Exists(_) | Outcome::Gone => false,
    }
}

/// Whether a new task is an execution that ends at once: it is written as ended, or a result is kept under its key.
const fn may_start_ended(task: &NewTask) -> bool {
    task.tree.parent.is_none() && (task.keyed.is_some() || matches!(task.state, NewTaskState::Done { .. }))
}

/// Listens to the store and to the channel.
#[derive(Debug)]
struct Both {
    store: Box<dyn Listener>,
    channel: Box<dyn Listener>,
}

#[async_trait]
impl Listener for Both {
    async fn changed(&mut self) {
        let (mut store, mut channel) = (self.store.changed(), self.channel.changed());
        poll_fn(|context| {
            // Both are polled, so that a hint that came both ways is one hint.
            let (store, channel) = (store.as_mut().poll(context), channel.as_mut().poll(context));
            if store.is_ready() || channel.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
