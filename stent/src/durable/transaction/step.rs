//! Steps that are transactions of the application's own database: what they do there and their record are committed together.

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
use stent_core::model::{Seq, StepKind};
use stent_core::{Failure, Kind, Payload, own_failure};
use tokio::time::Sleep;

use crate::durable::closure::TransactionClosure;
use crate::durable::context::{Durable, Pending, Wish};
use crate::durable::position::{Entered, Position};
use crate::durable::progress::polled_after_completion;
use crate::durable::transaction::queue::{Finished, Reply};
use crate::error::{Error, Result};
use crate::function::BoxFuture;
use crate::function::failure::{BoxError, from_any_kept, from_stent_error};
use crate::function::values::{decode_result, encode_output};
use crate::names::check_name;

/// How long a closure may have its transaction open, unless it says otherwise. On SQLite nobody else writes meanwhile, and
/// leases are renewed by writing.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a closure is run again because others were in the way or the database went away, with pauses from [`PAUSE_MIN`]
/// doubled: about five seconds in all.
const RERUNS_MAX: u32 = 9;
/// First pause before another try.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause between two tries to begin a transaction, of which there may be any number.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Runs a closure in a transaction of the application's database, and commits what it does there together with the step's
/// record: **exactly once**. The database is the one that the store is in.
///
/// If the process dies before the commit, nothing has happened and the closure runs again; once it is committed, the record
/// answers and the closure never runs again. An error of the closure rolls everything back and is recorded in place of a
/// result; like one of [`step`](crate::step()), it is not retried.
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
/// The closure may run several times before it is committed once: after a crash, and, a few times, when the database says that
/// others were in the way (a deadlock, a serialization failure, a lock) or the connection is lost before the commit. So what it does must be done **in
/// the transaction**: a mail that it sends is sent as often as it runs. Steps cannot be awaited in it. Executions are
/// dispatched and signals are sent as part of it by [`within`](crate::Dispatch::within); without, they are refused.
/// [`uuid`](crate::uuid()) and [`random`](crate::random()) draw from a stream of the step's own, the same each time that the
/// closure runs.
///
/// A closure that cannot be proved to be `Send` where the step is stored before it is awaited, or is in a `join!`, is written
/// `|txn| async move { … }`.
///
/// While it is open, nothing else of the function is written, and other steps of it that are awaited at the same time are not
/// started. On SQLite nobody writes to the store at all. So it is bounded by a [timeout](TransactionStep::timeout), which is
/// five seconds unless it is set: do what takes long before.
///
/// # Errors
/// What the closure fails with, as [`Error::Failed`]; [`Error::NoTransactions`] on a store without a database;
/// [`Error::InTransaction`] inside of another one; [`Error::OutsideDurable`]; store errors, if the database refuses.
///
/// # Cancel safety
/// If it is dropped before it is committed, it is rolled back.
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

/// An open transaction, as the closure of [`transaction`] has it: a connection for whatever takes one of sea-orm's, and a
/// [`DatabaseTransaction`] by reference. It is committed when the closure has returned, so the closure must not keep it.
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
    /// `None` is no limit.
    timeout: Result<Option<Duration>, DurationError>,
    body: F,
    position: Position,
    pending: Option<Pending>,
    stage: Stage<Fut>,
    /// How often the closure was run again.
    reruns: u32,
    location: &'static Location<'static>,
}

enum Stage<Fut> {
    Built,
    /// For the turn: to be let begin, or to hear what has become of the commit. If the record has the step, only for that.
    Waiting,
    /// Before another try.
    Pausing(Pin<Box<Sleep>>, Duration),
    Beginning(BoxFuture<'static, StoreResult<Arc<HostTransaction>>>, Duration),
    Running(Running<Fut>),
}

struct Running<Fut> {
    // In this order: the closure goes before what it works on.
    body: Pin<Box<Fut>>,
    timeout: Pin<Box<Sleep>>,
    transaction: Arc<HostTransaction>,
    closure: TransactionClosure,
}

impl<F, Fut> TransactionStep<F, Fut> {
    /// Names the step, for people who read a timeline; without, it is `transaction`. Another name is another step to code that
    /// is replayed.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Rolls back, and fails, if the closure takes longer than this; the default is five seconds. Stay well below the worker's
    /// lease. Zero is no limit: on SQLite, a closure that hangs then keeps everybody else from writing.
    pub fn timeout(mut self, timeout: impl IntoTimeout) -> Self {
        self.timeout = timeout.into_timeout();
        self
    }

    /// The longest that the closure may take.
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
    /// Asks for the step, and for its transaction if the record does not have it.
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
        let pending = reserved.ask(Wish::new(StepKind::Inline, &self.name, self.location))?;
        if pending.durable().replay(|replay| replay.must_run(seq)) {
            pending.durable().transactions(|queue| queue.enqueue(seq));
        }
        Ok(pending)
    }

    /// Runs the closure in a transaction that has begun.
    fn run(
        &mut self,
        durable: &Arc<Durable>,
        seq: Seq,
        transaction: Arc<HostTransaction>,
    ) -> Result<Stage<Fut>> {
        let Ok(open) = transaction.clone().downcast::<DatabaseTransaction>() else {
            return Err(Error::NoTransactions { store: durable.engine.store.info().name });
        };
        let closure = TransactionClosure::new(&durable.engine.store, durable.id_of(seq));
        let body = closure.enter(|| Box::pin((self.body)(Transaction(open))));
        let timeout = Box::pin(tokio::time::sleep(self.limit()?));
        Ok(Stage::Running(Running { body, timeout, transaction, closure }))
    }

    /// What a closure has come to.
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
                // Others were in the way, or the database went away. Nobody has tried to commit it, so nothing of it stands.
                let passes =
                    kinds.iter().any(|kind| matches!(kind, ErrorKind::Contended | ErrorKind::Unavailable));
                drop(transaction);
                // The server has ended its statement before we did.
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

    /// Before the closure is run again, if it may be.
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
                    // Has this polled again when the turn says something, too.
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

/// Records a failure in place of a result, in the ordinary way: the transaction is gone.
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

/// What was dropped may have taken with it what the closure had done before.
fn torn(name: &str) -> Failure {
    let message = format!(
        "the closure of `{name}` dropped a dispatch or a signal of its transaction before it was written, so the \
         transaction was rolled back; await each one, without a timeout or a select! around it"
    );
    own_failure(Kind::TRANSACTION_TORN, message).fatal()
}

/// There is nothing left that could be committed with the record.
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

/// The kind of an error, if it is one of the database's.
fn kind(transactions: &dyn Transactions, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    match error.downcast_ref::<Error>() {
        Some(Error::Database(error)) => transactions.classify(error),
        Some(Error::Store(error)) => Some(error.kind()),
        _ => transactions.classify(error),
    }
}

/// An error and what it comes from.
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
