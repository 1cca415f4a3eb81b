//! Transactions of the application: transitions take part in them, and the application commits or rolls back.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, RuntimeErr, Statement, TransactionTrait};
use stent_core::backend::{Error, ErrorKind, HostTransaction, Result, Topic, Transactions};
use stent_core::model::{Lane, LaneKey};
use stent_core::transition::{Outcome, Transition};
use tokio::sync::Mutex as AsyncMutex;

use super::SqlStore;
use super::begin::ended;
use super::commit;
use super::run::Run;

use crate::Dialect;
use crate::dialect::Probes;
use crate::row::{self, OneLane, Place, Read};
use crate::writer::Mark;
use crate::{Locks, Statements};

pub(super) const OPERATION: &str = "exchange within a transaction";
const HOME: &str = "home";

#[async_trait]
impl Transactions for SqlStore {
    async fn begin(&self) -> Result<Arc<HostTransaction>> {
        Ok(self.begin_guest("begin", None).await?)
    }

    async fn begin_for(&self, limit: Duration) -> Result<Arc<HostTransaction>> {
        Ok(self.begin_guest("begin", Some(limit)).await?)
    }

    async fn exchange_within(
        &self,
        transaction: &HostTransaction,
        transitions: &[Transition],
    ) -> Result<Vec<Outcome>> {
        self.check_open(OPERATION)?;
        let transaction = transaction.downcast_ref::<DatabaseTransaction>().ok_or_else(not_ours)?;
        if transaction.get_database_backend() != self.dialect.backend() {
            return Err(elsewhere(&format!("one of {:?}", transaction.get_database_backend()), self));
        }
        let gate = self.gates.of(transaction);
        let _passed = gate.lock().await;
        self.apply_within(transaction, transitions).await.map_err(|error| self.for_the_application(error))
    }

    async fn commit(&self, transaction: Arc<HostTransaction>) -> Result<()> {
        let transaction = transaction.downcast::<DatabaseTransaction>().map_err(|_| not_ours())?;
        let mark = match self.guests.began(&transaction) {
            Some(Began::After(mark)) => Some(mark),
            Some(Began::Marked(_)) | None => None,
        };
        let transaction = Arc::into_inner(transaction).ok_or_else(|| {
            Error::new(ErrorKind::Config, "commit").with_message("other code still holds the transaction")
        })?;
        if let Some(writer) = &self.writer {
            writer.takes_over();
        }
        self.commit_marked("commit", transaction, mark).await?;
        // The transaction's effects were not tracked, so all topics are hinted.
        self.hub.hint(Topic::Work);
        self.hub.hint(Topic::Ended);
        Ok(())
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        // A retried transaction gets another session.
        let classify = |error: &DbErr| match self.dialect.is_of_session(error) {
            true => ErrorKind::Contended,
            false => self.dialect.classify_guest(error),
        };
        if let Some(error) = error.downcast_ref::<DbErr>() {
            return Some(classify(error));
        }
        // A transparent error hides the `DbErr` and shows only its source.
        let error = error.downcast_ref::<RuntimeErr>()?;
        Some(classify(&DbErr::Query(error.clone())))
    }
}

impl SqlStore {
    /// The database of the store.
    pub(super) async fn home(&self) -> Result<&str> {
        let read = || async {
            self.settle_schema().await?;
            Ok(self.reading(HOME)?.place().await?.home)
        };
        self.home.get_or_try_init(read).await.map(String::as_str)
    }

    /// Queries the schema of the tables, if the options do not name it, so that statements name it from now on.
    async fn settle_schema(&self) -> Result<()> {
        let Some(query) = self.dialect.schema_query() else { return Ok(()) };
        let run = self.reading(HOME)?;
        let query = Statement::from_string(self.dialect.backend(), query);
        let row = match run.connection.query_one_raw(query).await {
            Ok(row) => row,
            Err(error) => return Err(self.failed(HOME, error).await),
        };
        let schema = row.map(|row| row.try_get_by_index::<Option<String>>(0)).transpose();
        if let Some(schema) = schema.map_err(|error| self.error(HOME, error))?.flatten() {
            self.dialect.settle(schema);
            self.statements.settle(Statements::new(&*self.dialect));
            self.locks.iter().for_each(|locks| locks.settle(Locks::new(&*self.dialect)));
        }
        Ok(())
    }

    async fn apply_within(
        &self,
        transaction: &DatabaseTransaction,
        transitions: &[Transition],
    ) -> Result<Vec<Outcome>> {
        // If this call fails or is dropped, the application must not commit any part of it, but keeps its own earlier
        // work: the savepoint ensures both.
        let began = self.guests.began(transaction);
        let probes = if began.is_none() { self.dialect.probes() } else { None };
        match (&began, &self.writer) {
            (Some(Began::After(mark)), Some(writer)) if !mark.still_open(writer) => {
                return Err(ended(OPERATION));
            }
            _ => {}
        }
        if let Some(probes) = &probes {
            self.check_open_in_database(transaction, probes).await?;
        }
        let savepoint = transaction.begin().await.map_err(|error| self.error(OPERATION, error))?;
        let run = self.within(OPERATION, &savepoint);
        if let Some(probes) = &probes {
            self.check_outermost(&run, probes).await?;
        }
        if began.is_some()
            && let Some(only) = self.dialect.only_savepoint()
        {
            let is_only = run.connection.execute_unprepared(only).await;
            is_only.map_err(|error| self.error(OPERATION, error))?;
        }
        self.check_fit(&run, began.as_ref()).await?;
        // Unlike after a commit, stored lanes are not remembered: this transaction may be rolled back.
        let lanes = run.stored_lanes(transitions).await?;
        let committed = commit::apply_knowing(&run, lanes, transitions).await?;
        let (outcomes, effects) = committed.finish(&run).await?;
        for topic in effects.topics() {
            run.hint(topic).await?;
        }
        savepoint.commit().await.map_err(|error| self.error(OPERATION, error))?;
        Ok(outcomes)
    }

    /// Checks that a transaction that the application began is open in the database, whatever its driver reports: SQLite
    /// ends some transactions by itself, and outside a transaction, releasing a savepoint commits its changes.
    async fn check_open_in_database(&self, transaction: &DatabaseTransaction, probes: &Probes) -> Result<()> {
        if transaction.execute_unprepared(probes.begin).await.is_err() {
            return Ok(());
        }
        let undone = transaction.execute_unprepared(probes.rollback).await;
        undone.map_err(|error| self.error(OPERATION, error))?;
        Err(ended(OPERATION))
    }

    /// Checks that a transaction that the application began is an outermost one, and not a savepoint in another one. The
    /// latter happens if the database ended an earlier transaction on the connection and the driver did not notice; committing
    /// such a savepoint commits nothing.
    ///
    /// The driver numbers its savepoints. This call has just set one, and nothing was done since, so rolling back to it, by
    /// its number, changes nothing; rolling back to a savepoint that does not exist is an error.
    async fn check_outermost(&self, run: &Run<'_, DatabaseTransaction>, probes: &Probes) -> Result<()> {
        for nested in &probes.nested {
            if run.connection.execute_unprepared(nested).await.is_ok() {
                return Err(nested_one());
            }
        }
        Ok(())
    }

    /// Checks that a transaction is in the store's own database, and sees the commits of others there. Rows are locked,
    /// then read; an older snapshot would miss waits for a signal that began in between (G11).
    async fn check_fit(&self, run: &Run<'_, DatabaseTransaction>, expected: Option<&Began>) -> Result<()> {
        let own = self.home().await?;
        let Place { home, frozen, mark } = run.place().await?;
        if matches!(expected, Some(Began::Marked(number)) if mark.as_deref() != Some(&*number.to_string())) {
            return Err(ended(OPERATION));
        }
        // The server may have been replaced or restarted meanwhile.
        if own != home && self.reading(HOME)?.place().await?.home != home {
            return Err(elsewhere(&home, self));
        }
        frozen.map_or(Ok(()), |isolation| Err(sees_too_little(&isolation)))
    }

    /// Only the application can retry its own transaction.
    fn for_the_application(&self, error: Error) -> Error {
        let because = match (self.has_met_another(&error), self.has_a_bad_session(&error)) {
            (true, _) => "the transaction conflicted with another one",
            (_, true) => "the session of the transaction is in a bad state",
            _ => return error,
        };
        let met = error.source().map_or_else(String::new, |met| format!(" ({met})"));
        Error::new(ErrorKind::Contended, OPERATION)
            .with_message(format!("{because}; roll the transaction back, and run all of it again{met}"))
            .with_source(error)
    }
}

impl<C: ConnectionTrait> Run<'_, C> {
    /// The database of the connection.
    async fn place(&self) -> Result<Place> {
        let read = self.read(&self.store.statements.home, Vec::new(), Place::read).await?;
        read.into_iter().next().ok_or_else(|| Error::new(ErrorKind::Unavailable, "home"))
    }

    /// The stored lanes among those that this handle does not know, so that only missing lanes are written. Writing a lane
    /// locks it, even if it exists, and other writers of the lane would wait until the application's transaction ends.
    async fn stored_lanes(&self, transitions: &[Transition]) -> Result<BTreeMap<LaneKey, Lane>> {
        if self.locks.is_none() {
            return Ok(BTreeMap::new());
        }
        let tasks = transitions.iter().flat_map(Transition::rows);
        let unknown = self.store.unknown_lanes(tasks)?;
        if unknown.is_empty() {
            return Ok(BTreeMap::new());
        }
        let keys = self.values(&row::batch(unknown.into_keys().map(|key| OneLane { key })), []);
        let stored = self.read(&self.store.statements.stored_lanes, keys, row::lane).await?;
        Ok(stored.into_iter().collect())
    }

    /// Sends a hint of a topic when the transaction is committed, if the database can.
    async fn hint(&self, topic: Topic) -> Result<()> {
        let Some(statement) = self.store.dialect.hint_within(topic) else { return Ok(()) };
        self.store.tally.statement();
        let hinted = self.connection.execute_unprepared(&statement);
        let hinted = self.store.answered(self.operation, self.on, hinted).await;
        hinted.map(drop).map_err(|error| self.store.error(self.operation, error))
    }
}

/// Serializes the calls in one transaction: savepoints on one connection must not overlap.
///
/// A transaction is identified by its address in memory, which is unique while it is borrowed.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<BTreeMap<usize, Weak<AsyncMutex<()>>>>);

impl Gates {
    fn of(&self, transaction: &DatabaseTransaction) -> Arc<AsyncMutex<()>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| gate.strong_count() > 0);
        let place = std::ptr::from_ref(transaction).addr();
        gates.get(&place).and_then(Weak::upgrade).unwrap_or_else(|| {
            let gate = Arc::default();
            gates.insert(place, Arc::downgrade(&gate));
            gate
        })
    }
}

/// Distinguishes a closure's transaction from a transaction with which a statement of the closure replaced it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Began {
    /// Began after the database had ended this many transactions.
    After(Mark),
    /// Marked with this number.
    Marked(u64),
}

/// The transactions of closures that are open.
#[derive(Debug, Default)]
pub(super) struct Guests {
    open: Mutex<Vec<(Weak<DatabaseTransaction>, Began)>>,
    numbers: AtomicU64,
}

impl Guests {
    /// A number for the next transaction, and the statement that marks it.
    pub(super) fn mark(&self, dialect: &dyn Dialect) -> (u64, Option<String>) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        (number, dialect.mark(number))
    }

    pub(super) fn note(&self, transaction: &Arc<DatabaseTransaction>, began: Began) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(transaction, _)| transaction.strong_count() > 0);
        open.push((Arc::downgrade(transaction), began));
    }

    /// How a transaction began, if it is a closure's. The caller borrows the transaction, so no other has its address.
    fn began(&self, transaction: &DatabaseTransaction) -> Option<Began> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter().find(|(open, _)| {
            open.strong_count() > 0 && std::ptr::eq(open.as_ptr(), std::ptr::from_ref(transaction))
        });
        found.map(|(_, began)| *began)
    }
}

fn nested_one() -> Error {
    Error::new(ErrorKind::Config, OPERATION).with_message(
        "the transaction is a savepoint in another one, or SQLite ended an earlier transaction on this connection \
         that the driver still counts as open, so that a commit commits nothing; pass the outermost transaction, and \
         let the pool close connections in that state, as the guide to SQLite shows",
    )
}

fn not_ours() -> Error {
    Error::new(ErrorKind::Config, OPERATION).with_message("it is not a sea-orm transaction")
}

fn elsewhere(theirs: &str, store: &SqlStore) -> Error {
    let theirs = if theirs.is_empty() { "a database in memory" } else { theirs };
    Error::new(ErrorKind::Config, OPERATION).with_message(format!(
        "the transaction is in another database ({theirs}) than the store ({}); roll it back, and begin one on a connection \
         to the store's database",
        store.location
    ))
}

fn sees_too_little(isolation: &str) -> Error {
    Error::new(ErrorKind::Config, OPERATION).with_message(format!(
        "the transaction is {isolation} and does not see commits since it began, so a signal that it sends could \
         miss a waiting execution; roll it back, and begin one that is READ COMMITTED, by begin_with_config with \
         Some(IsolationLevel::ReadCommitted)"
    ))
}
