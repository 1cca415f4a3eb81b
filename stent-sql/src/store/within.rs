//! Transactions of the application's own: transitions take part in them, and the application decides whether they stand.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, RuntimeErr, TransactionTrait};
use stent_core::backend::{Error, ErrorKind, HostTransaction, Result, Topic, Transactions};
use stent_core::model::{Lane, LaneKey};
use stent_core::transition::{Outcome, Transition};
use tokio::sync::Mutex as AsyncMutex;

use super::SqlStore;
use super::commit;
use super::run::Run;
use crate::row::{self, Reader};

const OPERATION: &str = "exchange within a transaction";

#[async_trait]
impl Transactions for SqlStore {
    async fn begin(&self) -> Result<Arc<HostTransaction>> {
        Ok(Arc::new(self.begin("begin").await?))
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
        let transaction = Arc::into_inner(transaction).ok_or_else(|| {
            Error::new(ErrorKind::Config, "commit").with_message("somebody else still holds the transaction")
        })?;
        self.commit("commit", transaction).await?;
        // Nobody has kept count of what was done in it. Hints may come in vain.
        self.hub.hint(Topic::Work);
        self.hub.hint(Topic::Ended);
        Ok(())
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        if let Some(error) = error.downcast_ref::<DbErr>() {
            return Some(self.dialect.classify(error));
        }
        // What is left of a `DbErr` underneath an error that is transparent.
        let error = error.downcast_ref::<RuntimeErr>()?;
        Some(self.dialect.classify(&DbErr::Query(error.clone())))
    }
}

impl SqlStore {
    /// In which database the store is.
    pub(super) async fn home(&self) -> Result<&str> {
        let read = || async { Ok(self.reading("home")?.place().await?.home) };
        self.home.get_or_try_init(read).await.map(String::as_str)
    }

    async fn apply_within(
        &self,
        transaction: &DatabaseTransaction,
        transitions: &[Transition],
    ) -> Result<Vec<Outcome>> {
        // Of a call that fails or is dropped nothing must stay for the application to commit, and its own work must: with
        // the savepoint both go without saying.
        let savepoint = transaction.begin().await.map_err(|error| self.error(OPERATION, error))?;
        let run = self.within(OPERATION, &savepoint);
        self.check_fit(&run).await?;
        // What is remembered of a commit, such as which lanes are stored, is not: this may be rolled back.
        let lanes = run.stored_lanes(transitions).await?;
        let committed = commit::apply_knowing(&run, lanes, transitions).await?;
        let (outcomes, effects) = committed.finish(&run).await?;
        for topic in effects.topics() {
            run.hint(topic).await?;
        }
        savepoint.commit().await.map_err(|error| self.error(OPERATION, error))?;
        Ok(outcomes)
    }

    /// Whether a transaction is in the store's own database, and sees what others have committed there. What is held is
    /// read once it is held; one that looks at an older state would miss who has begun to wait for a signal since (G11).
    async fn check_fit(&self, run: &Run<'_, DatabaseTransaction>) -> Result<()> {
        let own = self.home().await?;
        let Place { home, frozen } = run.place().await?;
        if own != home {
            return Err(elsewhere(&home, self));
        }
        if frozen.is_empty() { Ok(()) } else { Err(sees_too_little(&frozen)) }
    }

    /// Nobody can run a transaction again but the application, whose it is.
    fn for_the_application(&self, error: Error) -> Error {
        if !self.has_met_another(&error) {
            return error;
        }
        let met = error.source().map_or_else(String::new, |met| format!(" ({met})"));
        error.with_message(format!(
            "another transaction was in the way; roll this one back, and run all of it again{met}"
        ))
    }
}

/// Where a transaction is.
struct Place {
    /// In which database.
    home: String,
    /// Its isolation level, if it does not see what others commit.
    frozen: String,
}

impl<C: ConnectionTrait> Run<'_, C> {
    /// Where the connection is.
    async fn place(&self) -> Result<Place> {
        let place = |reader: &mut Reader| Ok(Place { home: reader.next()?, frozen: reader.next()? });
        let read = self.read(&self.store.statements.home, Vec::new(), place).await?;
        read.into_iter().next().ok_or_else(|| Error::new(ErrorKind::Unavailable, "home"))
    }

    /// Which lanes are stored of those that this handle does not know, so that only those are written that are not. Whoever
    /// writes a lane holds it, also one that is there, and everybody else who does waits until the application is done.
    async fn stored_lanes(&self, transitions: &[Transition]) -> Result<BTreeMap<LaneKey, Lane>> {
        if self.locks.is_none() {
            return Ok(BTreeMap::new());
        }
        let tasks = transitions.iter().flat_map(|transition| &transition.insert);
        let unknown = self.store.unknown_lanes(tasks)?;
        if unknown.is_empty() {
            return Ok(BTreeMap::new());
        }
        let keys = self.values(&row::lane_keys(unknown.into_keys()), []);
        let stored = self.read(&self.store.statements.stored_lanes, keys, row::lane).await?;
        Ok(stored.into_iter().collect())
    }

    /// Hints at a topic when the transaction is committed, where the database can.
    async fn hint(&self, topic: Topic) -> Result<()> {
        let Some(statement) = self.store.dialect.hint_within(topic) else { return Ok(()) };
        self.store.tally.statement();
        let hinted = self.connection.execute_unprepared(&statement).await;
        hinted.map(drop).map_err(|error| self.store.error(self.operation, error))
    }
}

/// Lets calls in one transaction pass one by one: savepoints on one connection must not cross each other.
///
/// A transaction is known by where it lies in memory, which is its own for as long as somebody borrows it.
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

fn not_ours() -> Error {
    Error::new(ErrorKind::Config, OPERATION).with_message("it is no transaction of sea-orm's")
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
        "the transaction is {isolation}, and does not see what others have committed since it began: a signal that is sent in \
         it could pass by who waits for it; roll it back, and begin one that is READ COMMITTED, by begin_with_config with \
         Some(IsolationLevel::ReadCommitted)"
    ))
}
