//! A turn's side of a transaction: the grant, and the commit of the code's effects together with the record.
//!
//! The record is an ordinary write of the leaseholder, so the fence shows whether it is committed. It is only ever sent
//! within a transaction that contains the effects: effects that were not committed must not be recorded.

use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Error as StoreError, ErrorKind, HostTransaction, Store, Transactions};
use stent_core::decide;
use stent_core::replay::Turn;
use stent_core::transition::{News, Outcome, Transition};

use super::port::Kept;
use super::turn::{Running, completed};
use crate::durable::transaction::queue::{Finished, Reply, TransactionQueue};

/// Pause before the fate of a commit is queried again; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The fate of a transaction.
enum Fate {
    /// It is committed.
    Stands(News),
    /// It is rolled back and may succeed on a rerun.
    Again(StoreError),
    /// It is rolled back, and the store can never commit it.
    Refused(StoreError),
    /// It is rolled back, because a constraint or a trigger of the application rejected its commit.
    Failed(StoreError),
    /// A statement of the closure ended it, and nothing is recorded.
    Ended,
    /// The task was lost to another claim, and nothing of the transaction is committed.
    Lost,
}

impl Running {
    /// Lets the first waiting step begin its transaction, now that nothing else has to be written.
    pub(super) fn grant(&self) -> bool {
        let durable = &self.activation.durable;
        let granted = durable.transactions(TransactionQueue::grant);
        if let Some(seq) = granted {
            durable.wake(seq);
        }
        granted.is_some()
    }

    /// The code runs its transaction. Nothing is written meanwhile, whatever is due; completions of other tasks are
    /// still delivered.
    pub(super) async fn wait_for_the_transaction(mut self) -> Option<Self> {
        self.listen();
        let stop = self.stop().clone();
        tokio::select! {
            biased;
            steps = completed(self.listener.as_ref()) => self.learn_completions(steps),
            () = self.activation.waker.woken() => {}
            () = stop.wait(), if !stop.is_set() => {}
        }
        Some(self)
    }

    /// Commits the effects of the code's transaction together with its record.
    pub(super) async fn commit_within(mut self) -> Option<Self> {
        let durable = self.activation.durable.clone();
        let Some(Finished { seq, transaction, result }) =
            durable.transactions(TransactionQueue::take_finished)
        else {
            return Some(self);
        };
        let (now, result) = (self.now(), Ok(result));
        // Only the step's row, so that a rollback does not have to undo anything else.
        let (row, seen) = durable.replay(|replay| {
            let row = replay.row_within(self.held.fence.task, &self.held.tree, seq, result.clone());
            (row, replay.seen())
        });
        let turn = Turn { insert: row.into_iter().collect(), seen, ..Turn::default() };
        let commit = decide::keep(&self.held, turn, now);
        match settle(self.port.host.engine.store.clone(), &commit.clone().into(), transaction).await {
            Fate::Stands(news) => {
                self.held.fence = self.held.fence.next();
                let Kept::Stands(news) = self.port.kept(commit, news).await else { return self.lost() };
                durable.replay(|replay| replay.ended(seq, now, result));
                drop(durable.transactions(|queue| queue.leave(seq)));
                self.learn(news, &[seq]);
                Some(self)
            }
            Fate::Again(error) => Some(self.reply(seq, Reply::Retry(error))),
            Fate::Refused(error) => Some(self.reply(seq, Reply::Refused(error))),
            Fate::Failed(error) => Some(self.reply(seq, Reply::Rejected(error))),
            Fate::Ended => Some(self.reply(seq, Reply::Ended)),
            Fate::Lost => self.lost(),
        }
    }

    fn reply(self, seq: stent_core::model::Seq, reply: Reply) -> Self {
        self.activation.durable.transactions(|queue| queue.reply(seq, reply));
        self.activation.durable.wake(seq);
        self
    }
}

async fn settle(store: Arc<dyn Store>, transition: &Transition, transaction: Arc<HostTransaction>) -> Fate {
    let Some(transactions) = store.transactions() else { return Fate::Lost };
    let news = match ask(transactions, transition, &*transaction).await {
        Ok(Outcome::Applied(news)) => news,
        // An earlier commit of the record was applied after all, so this one is rolled back.
        Ok(Outcome::Already(news)) => return Fate::Stands(news),
        Ok(Outcome::Fenced | Outcome::Gone | Outcome::Exists(_)) => return Fate::Lost,
        Err(error) => return failed(error),
    };
    match transactions.commit(transaction).await {
        Ok(()) => Fate::Stands(news),
        Err(error) if error.kind() == ErrorKind::Ended => Fate::Ended,
        Err(error) => look(transactions, transition, error).await,
    }
}

/// The fate of a transaction that is rolled back. It is retried unless a retry cannot help; transient errors of a
/// server or a pooler are retried.
fn failed(error: StoreError) -> Fate {
    match error.kind() {
        ErrorKind::Ended => Fate::Ended,
        ErrorKind::Rejected => Fate::Failed(error),
        ErrorKind::Limit | ErrorKind::Corrupt => Fate::Refused(error),
        ErrorKind::Closed => Fate::Lost,
        _ => Fate::Again(error),
    }
}

/// Finds out the fate of a commit whose answer was lost: an attempt to write the same record either finds it or is the
/// first. Nothing here is committed.
async fn look(transactions: &dyn Transactions, transition: &Transition, failed: StoreError) -> Fate {
    tracing::warn!(error = %failed, task = %transition.task(), "it is unknown whether a commit was applied; \
                                                                      asking the store");
    let mut pause = PAUSE_MIN;
    // Until the lease expires: then the turn is ended from outside.
    loop {
        let answer = match transactions.begin().await {
            Ok(probe) => ask(transactions, transition, &*probe).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(Outcome::Already(news)) => return Fate::Stands(news),
            Ok(Outcome::Applied(_)) => return self::failed(failed),
            Ok(Outcome::Fenced | Outcome::Gone | Outcome::Exists(_)) => return Fate::Lost,
            Err(error) if error.kind() == ErrorKind::Closed => return Fate::Lost,
            Err(error) => {
                if !error.is_transient() {
                    tracing::error!(%error, task = %transition.task(), "cannot read whether a commit was \
                                                                              applied; retrying");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn ask(
    transactions: &dyn Transactions,
    transition: &Transition,
    transaction: &HostTransaction,
) -> Result<Outcome, StoreError> {
    let outcomes = transactions.exchange_within(transaction, std::slice::from_ref(transition)).await?;
    // One outcome per transition, so there is one.
    Ok(outcomes.into_iter().next().unwrap_or(Outcome::Gone))
}
