//! Transactions of the store's own and of closures: how they begin, and when they count as committed.
//!
//! The driver's report is not enough for that. If the database reports its commits and rollbacks
//! ([`OneWriter`](crate::OneWriter)), a commit is confirmed only if the database has committed the same transaction that was
//! begun.

use std::borrow::Cow;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait,
};
use stent_core::backend::{Error, ErrorKind, Result};

use super::SqlStore;
use super::again::Pauses;
use super::answer::{On, is_silence, silence};
use super::within::Began;
use crate::Dialect;
use crate::writer::{Mark, Turn, Whose};

/// The maximum number of lost connections that a beginning transaction skips. The store's own pools drop the other lost
/// connections after the first error. In a pool of the application, all connections may be lost, and several calls find them.
const LOST_MAX: u32 = 10;

/// The number of lost connections that are skipped without a pause. If a server accepts logins and then fails, further
/// connections are new ones, not idle ones that were lost.
const LOST_AT_ONCE: u32 = 2;

/// The statements that run first in a transaction. The dialect is asked for them once the transaction has begun, because
/// it may have learned from the connection.
type Settings<'a> = dyn Fn(&'a dyn Dialect) -> Option<Cow<'a, str>> + Send + Sync + 'a;

/// A transaction of the store's own. It is rolled back if it is dropped.
pub(super) struct Open {
    transaction: DatabaseTransaction,
    mark: Option<Mark>,
    /// Dropped after the transaction.
    _turn: Option<Turn>,
}

impl Deref for Open {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}

impl SqlStore {
    /// Begins a transaction that writes.
    pub(super) async fn begin(&self, operation: &'static str) -> Result<Open> {
        self.check_open(operation)?;
        let turn = self.turn(operation, Whose::Own).await?;
        let transaction = self.begin_on(&self.connections.write, operation, &own).await?;
        Ok(Open { transaction, mark: self.mark(), _turn: turn })
    }

    /// Begins a transaction that renews leases.
    pub(super) async fn begin_renewal(&self, operation: &'static str) -> Result<Open> {
        self.check_open(operation)?;
        let turn = self.turn(operation, Whose::Own).await?;
        let transaction = self.begin_on(&self.connections.renew, operation, &own).await?;
        Ok(Open { transaction, mark: self.mark(), _turn: turn })
    }

    /// Begins a transaction that only reads, and whose statements find the tables without naming their schema.
    pub(super) async fn begin_to_read(
        &self,
        operation: &'static str,
        enter: &str,
    ) -> Result<DatabaseTransaction> {
        self.check_open(operation)?;
        let settings = |_: &dyn Dialect| Some(Cow::Owned(enter.to_owned()));
        self.begin_on(&self.connections.read, operation, &settings).await
    }

    /// Begins a transaction for the application's statements, which lasts for at most `limit`.
    pub(super) async fn begin_guest(
        &self,
        operation: &'static str,
        limit: Option<Duration>,
    ) -> Result<Arc<DatabaseTransaction>> {
        self.check_open(operation)?;
        let turn = self.turn(operation, Whose::Guest).await?;
        let (number, mark) = self.guests.mark(&*self.dialect);
        let settings = |dialect: &dyn Dialect| {
            let all: Vec<_> = dialect.guest_settings(limit).into_iter().chain(mark.clone()).collect();
            (!all.is_empty()).then(|| Cow::Owned(all.join("; ")))
        };
        let transaction = self.begin_on(&self.connections.guests, operation, &settings).await?;
        let began = match (&self.writer, turn) {
            (Some(writer), Some(turn)) => Began::After(writer.lend(turn)),
            _ => Began::Marked(number),
        };
        let transaction = Arc::new(transaction);
        self.guests.note(&transaction, began);
        Ok(transaction)
    }

    /// Commits a transaction of the store's own.
    pub(super) async fn commit(&self, operation: &'static str, open: Open) -> Result<()> {
        let Open { transaction, mark, _turn } = open;
        self.commit_marked(operation, transaction, mark).await
    }

    /// Rolls a transaction of the store's own back.
    pub(super) async fn rollback(&self, operation: &'static str, open: Open) -> Result<()> {
        let Open { transaction, mark: _, _turn } = open;
        let rolled_back = self.answered(operation, On::Connection, transaction.rollback()).await;
        rolled_back.map_err(|error| self.error(operation, error))
    }

    /// Commits a transaction. Succeeds only if the database has committed it and other processes can see the commit.
    pub(super) async fn commit_marked(
        &self,
        operation: &'static str,
        transaction: DatabaseTransaction,
        mark: Option<Mark>,
    ) -> Result<()> {
        let marked = self.writer.as_deref().zip(mark);
        if marked.is_some_and(|(writer, mark)| !mark.still_open(writer)) {
            return Err(ended(operation));
        }
        // Counted before: a reader may see its effects before the reply arrives here.
        self.tally.transaction();
        let committed = self.answered(operation, On::Connection, transaction.commit()).await;
        committed.map_err(|error| self.error(operation, error))?;
        if marked.is_some_and(|(writer, mark)| !mark.was_committed(writer)) {
            return Err(Error::new(ErrorKind::Unavailable, operation)
                .with_message("the driver reports the transaction as committed, but the database does not"));
        }
        self.check_place(operation)?;
        if let Some(neighbours) = &self.neighbours {
            neighbours.committed();
        }
        Ok(())
    }

    async fn begin_on<'a>(
        &'a self,
        connection: &DatabaseConnection,
        operation: &'static str,
        settings: &Settings<'a>,
    ) -> Result<DatabaseTransaction> {
        let begun = match self.dialect.is_remote() {
            true => self.begin_remotely(connection, operation, settings).await,
            false => self.begin_here(connection).await,
        };
        let transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) => return Err(self.failed(operation, error).await),
        };
        self.check_place(operation)?;
        if let Some(neighbours) = &self.neighbours {
            neighbours.began();
        }
        Ok(transaction)
    }

    /// A statement that bypassed the driver may have left the connection in a transaction. No other call uses that transaction,
    /// because this call has the right to write, so it is rolled back.
    async fn begin_here(
        &self,
        connection: &DatabaseConnection,
    ) -> std::result::Result<DatabaseTransaction, DbErr> {
        let begun = connection.begin_with_options(self.dialect.begin()).await;
        let Err(error) = &begun else { return begun };
        let Some(rollback) = self.dialect.left_open(error) else { return begun };
        connection.execute_unprepared(rollback).await?;
        connection.begin_with_options(self.dialect.begin()).await
    }

    /// Begins in a separate task: the driver forgets a `BEGIN` whose future is dropped, and the next user of the connection
    /// would be in a transaction.
    ///
    /// A connection that was lost while idle fails here, before any work was done, so another connection is used. The
    /// same holds for a connection that no longer answers.
    async fn begin_remotely<'a>(
        &'a self,
        connection: &DatabaseConnection,
        operation: &'static str,
        settings: &Settings<'a>,
    ) -> std::result::Result<DatabaseTransaction, DbErr> {
        let (mut lost, mut pauses) = (0, Pauses::new());
        loop {
            let (connection, options) = (connection.clone(), self.dialect.begin());
            let (limit, dialect) = (self.limit(operation, On::Pool), Arc::clone(&self.dialect));
            let begun = tokio::spawn(async move {
                let begin = pin!(connection.begin_with_options(options));
                let Some(limit) = limit else { return begin.await };
                // The timeout is inside the task, which continues if nobody waits for it any more.
                match tokio::time::timeout(limit, begin).await {
                    Ok(begun) => begun,
                    Err(_) => Err(silence(&*dialect, limit)),
                }
            });
            match begun.await.map_err(|error| DbErr::Custom(format!("BEGIN did not complete: {error}")))? {
                Ok(transaction) => {
                    if let Some(settings) = settings(&*self.dialect) {
                        let set = transaction.execute_unprepared(&settings);
                        self.answered(operation, On::Connection, set).await?;
                    }
                    self.dialect.begun();
                    return Ok(transaction);
                }
                // This connection may have been the last unresponsive one.
                Err(error) if lost == 0 && is_silence(&error) => lost += 1,
                Err(error @ (DbErr::Query(_) | DbErr::Exec(_))) if lost < LOST_MAX => {
                    self.dialect.heard(&error);
                    lost += 1;
                    if lost > LOST_AT_ONCE {
                        tokio::time::sleep(pauses.next()).await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The error of a call that may have waited for a connection in vain; if so, diagnoses the reason.
    pub(super) async fn failed(&self, operation: &'static str, error: DbErr) -> Error {
        let is_late = matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        let failed = self.error(operation, error);
        match &self.neighbours {
            Some(neighbours) if is_late => match neighbours.diagnose().await {
                Some(cause) => failed.with_message(cause),
                None => failed,
            },
            _ => failed,
        }
    }

    /// Waits for the right to write, if the database has one writer at a time.
    async fn turn(&self, operation: &'static str, whose: Whose) -> Result<Option<Turn>> {
        let Some(writer) = &self.writer else { return Ok(None) };
        let turn = writer.turn(whose).await.ok_or_else(|| {
            Error::new(ErrorKind::Contended, operation).with_message(
                "another transaction of this process held the write lock for the whole wait; look for a closure of \
                 stent::transaction that is slow or keeps its transaction",
            )
        });
        turn.map(Some)
    }

    fn mark(&self) -> Option<Mark> {
        self.writer.as_ref().map(|writer| writer.mark())
    }

    /// Fails if other processes would not find the data that is written.
    pub(super) fn check_place(&self, operation: &'static str) -> Result<()> {
        match &self.neighbours {
            Some(neighbours) => neighbours.check_place(operation),
            None => Ok(()),
        }
    }
}

fn own(dialect: &dyn Dialect) -> Option<Cow<'_, str>> {
    dialect.settings().map(Cow::Borrowed)
}

/// The error for a transaction that is no longer open, although the store did not end it.
pub(super) fn ended(operation: &'static str) -> Error {
    Error::new(ErrorKind::Ended, operation).with_message(
        "the transaction is no longer open: a statement ended it (COMMIT, ROLLBACK, or a conflict under OR \
         ROLLBACK), or the database did",
    )
}
