//! The store: runs statements in transactions. Their text is in `stmt`, the decoding of their rows in `row`, and the
//! effect of a transition in the core's ledger.

mod again;
mod answer;
mod begin;
mod claim;
mod commit;
mod counters;
mod exchange;
mod inspect;
mod late;
mod limit;
mod lock;
mod migrate;
mod purge;
mod record;
mod renew;
mod run;
mod within;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use stent_core::Timestamp;
use stent_core::backend::{
    Backend, BackendInfo, ClaimRequest, Error, ErrorKind, Exchanged, Hints, Listener, PurgeRequest, Purged,
    Renewal, Result, Topic, Transactions,
};
use stent_core::model::{Lane, LaneKey, Lease, WorkerRecord};
use stent_core::transition::Transition;
use tokio::sync::OnceCell;

use answer::On;
pub use counters::Counters;
use counters::Tally;
use late::Late;
use run::Run;
use within::{Gates, Guests};

use crate::hints::{Hub, Neighbours};
use crate::{Backup, Dialect, Locks, OneWriter, Statements, Writers};

/// The connections of a store. Two kinds may share the same connections.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Writes, and reads that must stay valid until the write.
    pub write: DatabaseConnection,
    /// Reads that lock nothing.
    pub read: DatabaseConnection,
    /// Renewals of leases, which no other work may delay.
    pub renew: DatabaseConnection,
    /// Transactions for the application's statements. Before a connection is used again, their changes to it are undone, or
    /// it is closed.
    pub guests: DatabaseConnection,
}

impl Connections {
    /// Connections that write, also for renewals and for the application, and connections that read.
    #[must_use]
    pub fn new(write: DatabaseConnection, read: DatabaseConnection) -> Self {
        Self { renew: write.clone(), guests: write.clone(), write, read }
    }

    /// The same, with separate connections for renewals.
    #[must_use]
    pub fn with_renewals(mut self, renew: DatabaseConnection) -> Self {
        self.renew = renew;
        self
    }

    /// The same, with separate connections for transactions of the application's statements.
    #[must_use]
    pub fn with_guests(mut self, guests: DatabaseConnection) -> Self {
        self.guests = guests;
        self
    }
}

/// A store in an SQL database.
pub struct SqlStore {
    dialect: Arc<dyn Dialect>,
    statements: Late<Statements>,
    locks: Option<Late<Locks>>,
    connections: Connections,
    location: String,
    /// Lanes that are known to be stored. Never forgotten: there are as many as functions and queues.
    lanes: Mutex<BTreeMap<LaneKey, Lane>>,
    hub: Hub,
    neighbours: Option<Box<dyn Neighbours>>,
    /// The database of the store, once it was queried.
    home: OnceCell<String>,
    gates: Gates,
    guests: Guests,
    /// Set if the database has one writer at a time.
    writer: Option<Arc<OneWriter>>,
    backup: Option<Box<dyn Backup>>,
    tally: Tally,
    closed: AtomicBool,
    /// Whether the connections are the caller's, and stay open.
    borrowed: bool,
}

impl SqlStore {
    /// A store on these connections. `location` is for messages: no secrets.
    #[must_use]
    pub fn new(dialect: Arc<dyn Dialect>, connections: Connections, location: String) -> Self {
        Self {
            statements: Late::new(Statements::new(&*dialect)),
            locks: (dialect.writers() != Writers::One).then(|| Late::new(Locks::new(&*dialect))),
            dialect,
            connections,
            location,
            lanes: Mutex::default(),
            hub: Hub::default(),
            neighbours: None,
            home: OnceCell::new(),
            gates: Gates::default(),
            guests: Guests::default(),
            writer: None,
            backup: None,
            tally: Tally::default(),
            closed: AtomicBool::new(false),
            borrowed: false,
        }
    }

    /// The same store, on connections of the caller's own: they stay open when the store is closed.
    #[must_use]
    pub const fn on_borrowed_connections(mut self) -> Self {
        self.borrowed = true;
        self
    }

    /// The same store, which also notices the commits of other processes.
    #[must_use]
    pub fn with_neighbours(mut self, neighbours: impl Neighbours) -> Self {
        self.neighbours = Some(Box::new(neighbours));
        self
    }

    /// The same store, whose connections report the database's commits and rollbacks to this writer.
    #[must_use]
    pub fn with_writer(mut self, writer: Arc<OneWriter>) -> Self {
        self.writer = Some(writer);
        self
    }

    /// The same store, which can be copied.
    #[must_use]
    pub fn with_backup(mut self, backup: impl Backup) -> Self {
        self.backup = Some(Box::new(backup));
        self
    }

    /// The counted work so far, for tests and benches that check the store's budgets.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.tally.counters()
    }

    /// The text of the statements.
    #[must_use]
    pub fn statements(&self) -> &Statements {
        &self.statements
    }

    /// The text of the statements that lock, for databases with many concurrent writers.
    #[must_use]
    pub fn locks(&self) -> Option<&Locks> {
        self.locks.as_deref()
    }

    /// The connections, for applications that read Stent's tables together with their own.
    #[must_use]
    pub const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Runs statements in a transaction.
    fn within<'a>(
        &'a self,
        operation: &'static str,
        transaction: &'a DatabaseTransaction,
    ) -> Run<'a, DatabaseTransaction> {
        Run {
            store: self,
            connection: transaction,
            locks: self.locks.as_deref(),
            operation,
            on: On::Connection,
        }
    }

    /// Runs statements that only read.
    fn reading(&self, operation: &'static str) -> Result<Run<'_, DatabaseConnection>> {
        self.check_open(operation)?;
        self.check_place(operation)?;
        Ok(Run { store: self, connection: &self.connections.read, locks: None, operation, on: On::Pool })
    }

    /// The lanes that are known to be stored. Nothing is awaited under the guard.
    fn known_lanes(&self) -> MutexGuard<'_, BTreeMap<LaneKey, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a hint after a commit, in this process and, if the database has a way, in others.
    fn hint(&self, topic: Topic) {
        self.hub.hint(topic);
        if let Some(neighbours) = &self.neighbours {
            neighbours.hinted(topic);
        }
    }

    fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, operation));
        }
        Ok(())
    }

    fn error(&self, operation: &'static str, error: DbErr) -> Error {
        self.dialect.heard(&error);
        let failed = Error::new(self.dialect.classify(&error), operation);
        match self.dialect.explain(&error) {
            Some(message) => failed.with_message(message),
            None => failed.with_message(error.to_string()),
        }
        .with_source(error)
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("dialect", &self.dialect.name())
            .field("location", &self.location)
            .field("closed", &self.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for SqlStore {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            name: self.dialect.name(),
            location: self.location.clone(),
            parallel: self.dialect.writers() != Writers::One,
        }
    }

    async fn clock(&self) -> Result<Timestamp> {
        self.read_clock().await
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        self.run_exchange(commit, claim).await
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        self.run_renew(leases, now, until).await
    }

    async fn report(&self, worker: &WorkerRecord) -> Result<()> {
        self.run_report(worker).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.run_purge(request).await
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        Some(self)
    }

    async fn backup_to(&self, path: &Path) -> Result<()> {
        const OPERATION: &str = "backup";
        self.check_open(OPERATION)?;
        match &self.backup {
            Some(backup) => backup.copy_to(path).await,
            None => Err(Error::new(ErrorKind::Config, OPERATION).with_message(format!(
                "a {} store cannot copy itself to a file; use the tools of its database, such as pg_dump",
                self.dialect.name()
            ))),
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        if let Some(neighbours) = &self.neighbours {
            neighbours.close().await;
        }
        if self.borrowed {
            return Ok(());
        }
        // Closing a pool waits for its connections in use, and so for running calls.
        let Connections { write, read, renew, guests } = &self.connections;
        for connection in [guests, read, renew, write] {
            connection.close_by_ref().await.map_err(|error| self.error("close", error))?;
        }
        Ok(())
    }
}

impl Hints for SqlStore {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        let listener = self.hub.listen(topic);
        if let Some(neighbours) = &self.neighbours {
            neighbours.listening(&self.hub);
        }
        listener
    }
}
