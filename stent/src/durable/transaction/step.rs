//! Steps that are transactions in the application's own database. The store commits their effects together with their
//! record.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::backend::{ErrorKind, HostTransaction, Result as StoreResult, Transactions};
use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::model::Seq;
use stent_core::replay::{Ask, StepSpec};
use stent_core::{Failure, Kind, Payload, own_failure};
use tokio::time::Sleep;

use crate::durable::closure::TransactionClosure;
use crate::durable::context::{Durable, Pending};
use crate::durable::position::{Entered, Position};
use crate::durable::progress::polled_after_completion;
use crate::durable::transaction::queue::{Finished, Reply};
use crate::error::{Error, Result};
use crate::function::BoxFuture;
use crate::function::failure::{BoxError, from_any_kept, from_stent_error};
use crate::function::values::{decode_result, encode_output};
use crate::names::check_name;

/// Default limit on how long a closure may keep its transaction open. On SQLite an open transaction blocks all other
/// writers, and renewing a lease is a write.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most reruns of a closure after a conflict or a lost connection. The pauses start at [`PAUSE_MIN`] and double: about
/// five seconds in all.
const RERUNS_MAX: u32 = 9;
/// First pause before a rerun.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause between attempts to begin a transaction, which are not limited in number.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Runs a closure in a transaction of the application's database and commits its effects together with the step's
/// record: **exactly once**. The database is the one that holds the store.
///
/// If the process dies before the commit, nothing has happened and the closure runs again. After the commit, the
/// recorded result is returned and the closure never runs again. If the closure returns an error, everything is rolled
/// back and the error is recorded as the step's result; like an error of [`step`](crate::step()), it is not retried.
///
/// ```
/// # use stent::prelude::*;
/// use stent::sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
///
/// #[durable]
/// async fn pay(account: i64, cents: i64) -> Result<i64, stent::Error> {
///     let left: i64 = stent::transaction(async |txn| {
///         let withdraw = Statement::from_sql_and_values(
///             DbBackend::Sqlite,
///             "UPDATE accounts SET cents = cents - ?2 WHERE id = ?1 RETURNING cents",
///             [account.into(), cents.into()],
///         );
///         let row = txn.query_one_raw(withdraw).await?;
///         row.ok_or(DbErr::RecordNotFound("no such account".to_owned()))?.try_get_by_index(0)
///     })
///     .await?;
///     Ok(left)
/// }
/// ```
///
/// The closure can run several times before it commits once: after a crash, and a few times when the database reports a
/// conflict (a deadlock, a serialization failure, a lock) or the connection is lost before the commit. Its effects must
/// therefore be **in the transaction**: an email sent from the closure is sent on every run. Steps cannot be awaited in
/// the closure. Use [`within`](crate::Dispatch::within) to dispatch executions and send signals as part of the
/// transaction; without it, they are refused. [`uuid`](crate::uuid()) and [`random`](crate::random()) draw from a
/// stream of this step, which yields the same values on every run of the closure.
///
/// If the compiler cannot prove that the closure is `Send`, which happens when the step is stored before it is awaited
/// or is part of a `join!`, write it as `|txn| async move { … }`.
///
/// While the transaction is open, nothing else of the function is written, and other steps that it awaits concurrently
/// do not start. On SQLite, nobody else can write to the store at all. A [timeout](TransactionStep::timeout), five
/// seconds by default, therefore bounds the transaction: do slow work before it.
///
/// # Errors
/// The closure's error, as [`Error::Failed`]; [`Error::NoTransactions`] on a store without a database;
/// [`Error::InTransaction`] inside another transaction; [`Error::OutsideDurable`]; store errors, if the database
/// refuses.
///
/// # Cancel safety
/// Dropping it before the commit rolls the transaction back.
#[track_caller]
pub fn transaction<F, Fut, T, E>(body: F) -> TransactionStep<F, Fut>
where
    F: FnMut(Transaction) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    T: Serialize + DeserializeOwned,
    E: Into<BoxError> + 'static,
{
    let position = Position::here();
    TransactionStep {
        name: "transaction".to_owned(),
        timeout: Ok(Some(TIMEOUT)),
        body,
        position,
        pending: None,
        stage: Stage::Built,
        reruns: 0,
        location: Location::caller(),
    }
}

/// An open transaction, as passed to the closure of [`transaction`]. It is a connection for any code that takes one of
/// sea-orm's, and dereferences to a [`DatabaseTransaction`]. It is committed when the closure returns, so the closure
/// must not keep it.
#[derive(Debug)]
pub struct Transaction(Arc<DatabaseTransaction>);

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.0
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.0.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.0.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.0.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.0.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.0.query_all_raw(statement).await
    }
}

/// A step that is a transaction: see [`transaction`].
#[must_use = "futures do nothing unless awaited"]
pub struct TransactionStep<F, Fut> {
    name: String,
    /// `None` means no limit.
    timeout: Result<Option<Duration>, DurationError>,
    body: F,
    position: Position,
    pending: Option<Pending>,
    stage: Stage<Fut>,
    /// Number of reruns so far.
    reruns: u32,
    location: &'static Location<'static>,
}

enum Stage<Fut> {
    Built,
    /// Waits for the turn: for the grant to begin, or for the result of the commit. If the step is recorded, only for
    /// the latter.
    Waiting,
    /// Waits before a rerun.
    Pausing(Pin<Box<Sleep>>, Duration),
    Beginning(BoxFuture<'static, StoreResult<Arc<HostTransaction>>>, Duration),
    Running(Running<Fut>),
}

struct Running<Fut> {
    // Fields drop in this order: the closure before the transaction that it uses.
    body: Pin<Box<Fut>>,
    timeout: Pin<Box<Sleep>>,
    transaction: Arc<HostTransaction>,
    closure: TransactionClosure,
}

impl<F, Fut> TransactionStep<F, Fut> {
    /// Names the step for people who read a timeline; the default is `transaction`. Renaming a step makes it a
    /// different step for a replay.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Rolls back and fails if the closure takes longer than this; the default is five seconds. Stay well below the
    /// worker's lease. Zero means no limit; on SQLite, a closure that hangs then blocks all other writers.
    pub fn timeout(mut self, timeout: impl IntoTimeout) -> Self {
        self.timeout = timeout.into_timeout();
        self
    }

    /// The longest that the closure may run.
    fn limit(&self) -> Result<Duration> {
        Ok(self.timeout.clone()?.unwrap_or(Duration::MAX))
    }
}

impl<F, Fut, T, E> TransactionStep<F, Fut>
where
    F: FnMut(Transaction) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    T: Serialize + DeserializeOwned,
    E: Into<BoxError> + 'static,
{
    /// Asks for the step and, if it is not recorded, for its transaction.
    fn start(&mut self) -> Result<Pending> {
        check_name("transaction", &self.name)?;
        self.timeout.clone()?;
        let Entered::Durable(reserved) = self.position.enter("stent::transaction")? else {
            return Err(Error::Option {
                option: "local",
                problem: "a body that runs with .local() has no database; dispatch it to a store, such as \
                          sqlite::memory:"
                    .to_owned(),
            });
        };
        reserved.durable.engine.transactions()?;
        let seq = reserved.seq;
        let pending = reserved.ask(Ask::new(StepSpec::Inline, &self.name, self.location))?;
        if pending.durable().replay(|replay| replay.must_run(seq)) {
            pending.durable().transactions(|queue| queue.enqueue(seq));
        }
        Ok(pending)
    }

    /// Runs the closure in an open transaction.
    fn run(
        &mut self,
        durable: &Arc<Durable>,
        seq: Seq,
        transaction: Arc<HostTransaction>,
    ) -> Result<Stage<Fut>> {
        let Ok(open) = transaction.clone().downcast::<DatabaseTransaction>() else {
            return Err(durable.engine.no_transactions());
        };
        let closure = TransactionClosure::new(&durable.engine.store, durable.id_of(seq));
        let body = closure.enter(|| Box::pin((self.body)(Transaction(open))));
        let timeout = Box::pin(tokio::time::sleep(self.limit()?));
        Ok(Stage::Running(Running { body, timeout, transaction, closure }))
    }

    /// Handles the closure's result.
    fn finish(
        &mut self,
        durable: &Arc<Durable>,
        seq: Seq,
        transaction: Arc<HostTransaction>,
        ran: Result<T, E>,
        is_over: bool,
    ) -> Stage<Fut> {
        let engine = &durable.engine;
        let value = match ran {
            Ok(value) => value,
            Err(error) => {
                let (failure, error) = from_any_kept(error);
                let kinds: Vec<_> = match engine.transactions() {
                    Ok(transactions) => {
                        chain(&*error).filter_map(|error| kind(transactions, error)).collect()
                    }
                    Err(_) => Vec::new(),
                };
                // A conflict or a lost database. The transaction was never committed, so it has no effect.
                let passes =
                    kinds.iter().any(|kind| matches!(kind, ErrorKind::Contended | ErrorKind::Unavailable));
                drop(transaction);
                // The server ended the statement before our own timeout did.
                let may_be_ended = passes || kinds.contains(&ErrorKind::Limit);
                if let (true, Ok(timeout)) = (may_be_ended && is_over, self.limit()) {
                    return fail(durable, seq, took_too_long(&self.name, timeout));
                }
                return match self.pause() {
                    Some(pause) if passes => {
                        tracing::debug!(step = self.name, %error, "retrying a transaction");
                        pause
                    }
                    _ if kinds.contains(&ErrorKind::Ended) => fail(durable, seq, ended(&self.name)),
                    _ => fail(durable, seq, failure),
                };
            }
        };
        match checked(durable, &self.name, &value) {
            Err(failure) => {
                drop(transaction);
                fail(durable, seq, failure)
            }
            Ok(_) if Arc::strong_count(&transaction) > 1 => {
                drop(transaction);
                let message = format!(
                    "the closure of `{}` returned while its transaction was still in use; do not hand the \
                     transaction to anything that outlives the closure",
                    self.name
                );
                fail(durable, seq, own_failure(Kind::TRANSACTION_KEPT, message).fatal())
            }
            Ok(result) => {
                durable.transactions(|queue| queue.finish(Finished { seq, transaction, result }));
                Stage::Waiting
            }
        }
    }

    /// The pause before a rerun, if the closure may run again.
    fn pause(&mut self) -> Option<Stage<Fut>> {
        if self.reruns == RERUNS_MAX {
            return None;
        }
        let pause = PAUSE_MIN * 2_u32.pow(self.reruns);
        self.reruns += 1;
        Some(Stage::Pausing(Box::pin(tokio::time::sleep(pause)), PAUSE_MIN))
    }
}

impl<F, Fut, T, E> Future for TransactionStep<F, Fut>
where
    F: FnMut(Transaction) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    T: Serialize + DeserializeOwned,
    E: Into<BoxError> + 'static,
{
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if matches!(this.stage, Stage::Built) {
            this.pending = Some(this.start()?);
            this.stage = Stage::Waiting;
        }
        let Some(pending) = &mut this.pending else {
            polled_after_completion("a transaction");
        };
        let (durable, seq) = (pending.durable().clone(), pending.seq());
        loop {
            this.stage = match &mut this.stage {
                Stage::Built => return Poll::Pending,
                Stage::Waiting => {
                    // Also polls this future again when the turn replies.
                    if let Some(Poll::Ready((_, result))) =
                        this.pending.as_mut().map(|pending| pending.poll(cx))
                    {
                        this.pending = None;
                        return Poll::Ready(decode_result(&this.name, result));
                    }
                    match durable.transactions(|queue| queue.take_reply(seq)) {
                        None => return Poll::Pending,
                        Some(Reply::Begin) => begin(&durable, PAUSE_MIN, this.limit()?),
                        Some(Reply::Refused(error)) => {
                            this.pending = None;
                            return Poll::Ready(Err(error.into()));
                        }
                        Some(Reply::Rejected(error)) => fail(&durable, seq, from_stent_error(&error.into())),
                        Some(Reply::Ended) => fail(&durable, seq, ended(&this.name)),
                        Some(Reply::Retry(error)) => match this.pause() {
                            Some(pause) => {
                                tracing::warn!(step = this.name, %error, "retrying a transaction");
                                pause
                            }
                            None => fail(&durable, seq, from_stent_error(&error.into())),
                        },
                    }
                }
                Stage::Pausing(sleep, next) => {
                    ready!(sleep.as_mut().poll(cx));
                    let next = *next;
                    begin(&durable, next, this.limit()?)
                }
                Stage::Beginning(begun, pause) => match ready!(begun.as_mut().poll(cx)) {
                    Ok(transaction) => this.run(&durable, seq, transaction)?,
                    Err(error) if !matches!(error.kind(), ErrorKind::Closed | ErrorKind::Limit) => {
                        let pause = *pause;
                        tracing::warn!(step = this.name, %error, ?pause, "cannot begin a transaction; retrying");
                        let next = (pause * 2).min(PAUSE_MAX);
                        Stage::Pausing(Box::pin(tokio::time::sleep(pause)), next)
                    }
                    Err(error) => {
                        this.pending = None;
                        return Poll::Ready(Err(error.into()));
                    }
                },
                Stage::Running(Running { body, timeout, closure, .. }) => {
                    let polled = closure.enter(|| body.as_mut().poll(cx));
                    let is_over =
                        !matches!(polled, Poll::Ready(Ok(_))) && timeout.as_mut().poll(cx).is_ready();
                    if polled.is_pending() && !is_over {
                        return Poll::Pending;
                    }
                    let Stage::Running(Running { body, transaction, closure, .. }) =
                        std::mem::replace(&mut this.stage, Stage::Waiting)
                    else {
                        return Poll::Pending;
                    };
                    drop(body);
                    match polled {
                        Poll::Ready(Ok(_)) if closure.is_torn() => {
                            drop(transaction);
                            fail(&durable, seq, torn(&this.name))
                        }
                        Poll::Ready(ran) => this.finish(&durable, seq, transaction, ran, is_over),
                        Poll::Pending => {
                            drop(transaction);
                            fail(&durable, seq, took_too_long(&this.name, this.limit()?))
                        }
                    }
                }
            };
        }
    }
}

fn begin<Fut>(durable: &Arc<Durable>, pause: Duration, limit: Duration) -> Stage<Fut> {
    let engine = durable.engine.clone();
    let begun = async move {
        match engine.store.transactions() {
            Some(transactions) => transactions.begin_for(limit).await,
            None => std::future::pending().await,
        }
    };
    Stage::Beginning(Box::pin(begun), pause)
}

/// Records a failure as the step's result, like that of any other step: the transaction is gone.
fn fail<Fut>(durable: &Arc<Durable>, seq: Seq, failure: Failure) -> Stage<Fut> {
    let left = durable.transactions(|queue| queue.leave(seq));
    drop(left);
    let (at, failure) = (durable.engine.clock.now(), durable.engine.storable(failure));
    durable.replay(|replay| replay.record(seq, at, Err(failure)));
    Stage::Waiting
}

fn checked<T: Serialize + DeserializeOwned>(
    durable: &Durable,
    name: &str,
    value: &T,
) -> Result<Payload, Failure> {
    let engine = &durable.engine;
    engine.checked(name, encode_output(name, engine.codec, value))
}

/// The future that was dropped may have rolled back earlier effects of the closure.
fn torn(name: &str) -> Failure {
    let message = format!(
        "the closure of `{name}` dropped a dispatch or a signal of its transaction before it was written, so the \
         transaction was rolled back; await each one, without a timeout or a select! around it"
    );
    own_failure(Kind::TRANSACTION_TORN, message).fatal()
}

/// No open transaction is left to commit with the record.
fn ended(name: &str) -> Failure {
    let message = format!(
        "the closure of `{name}` ended its transaction, by COMMIT, ROLLBACK or END as SQL, or by a conflict under OR \
         ROLLBACK; the step is not recorded as done; return Ok from the closure to commit, or an error to roll back"
    );
    own_failure(Kind::TRANSACTION_ENDED, message).fatal()
}

fn took_too_long(name: &str, timeout: Duration) -> Failure {
    let message = format!(
        "the closure of `{name}` ran for more than {timeout:?} and was rolled back; do slow work before the \
         transaction, await nothing in it that waits for the store, or raise the limit with .timeout(…)"
    );
    own_failure(Kind::TRANSACTION_TIMEOUT, message)
}

/// The error's kind, if it is a database error.
fn kind(transactions: &dyn Transactions, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    match error.downcast_ref::<Error>() {
        Some(Error::Database(error)) => transactions.classify(error),
        Some(Error::Store(error)) => Some(error.kind()),
        _ => transactions.classify(error),
    }
}

/// An error and its chain of sources.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

impl<F, Fut> Unpin for TransactionStep<F, Fut> {}

impl<F, Fut> fmt::Debug for TransactionStep<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionStep").field("name", &self.name).finish_non_exhaustive()
    }
}
