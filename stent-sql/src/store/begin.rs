//! Transactions of the store's own and of closures: how they begin, and when they may be said to be committed.
//!
//! The driver's word is not enough for that. Where the database tells what it does ([`OneWriter`](crate::OneWriter)), a commit
//! is confirmed only if the database has committed the very transaction that was begun.

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

/// Most lost connections that a beginning transaction passes over. A pool of the store's own drops the others when it hears of
/// the first; in one of the application's there may be as many as it has, which are found by more calls than one.
const LOST_MAX: u32 = 10;

/// So many of them are passed over without a pause. Before a server that lets in and then fails, the next ones are not idle
/// connections that were lost, but new ones.
const LOST_AT_ONCE: u32 = 2;

/// What runs first in a transaction. It is asked for once the transaction has begun: a dialect may have learned from its
/// connection.
type Settings<'a> = dyn Fn(&'a dyn Dialect) -> Option<Cow<'a, str>> + Send + Sync + 'a;

/// A transaction of the store's own. It is rolled back if it is dropped.
pub(super) struct Open {
    transaction: DatabaseTransaction,
    mark: Option<Mark>,
    /// Goes after the transaction.
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

    /// Begins one that renews leases.
    pub(super) async fn begin_renewal(&self, operation: &'static str) -> Result<Open> {
        self.check_open(operation)?;
        let turn = self.turn(operation, Whose::Own).await?;
        let transaction = self.begin_on(&self.connections.renew, operation, &own).await?;
        Ok(Open { transaction, mark: self.mark(), _turn: turn })
    }

    /// Begins one whose statements find the tables without naming their schema, and which only reads.
    pub(super) async fn begin_to_read(
        &self,
        operation: &'static str,
        enter: &str,
    ) -> Result<DatabaseTransaction> {
        self.check_open(operation)?;
        let settings = |_: &dyn Dialect| Some(Cow::Owned(enter.to_owned()));
        self.begin_on(&self.connections.read, operation, &settings).await
    }

    /// Begins one that the application's statements run in, for no longer than `limit`.
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

    /// Commits a transaction, and is content only if the database has committed it and others can see that.
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
        let committed = self.answered(operation, On::Connection, transaction.commit()).await;
        committed.map_err(|error| self.error(operation, error))?;
        if marked.is_some_and(|(writer, mark)| !mark.was_committed(writer)) {
            return Err(Error::new(ErrorKind::Unavailable, operation)
                .with_message("the driver reports the transaction as committed, but the database does not"));
        }
        self.check_place(operation)?;
        self.tally.transaction();
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

    /// A connection may have been left in a transaction by a statement past the driver. Nobody has that one, since the right to
    /// write is this call's: so it is rolled back.
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

    /// Begins in a task of its own: the driver forgets a BEGIN whose future is dropped, and the next who gets the connection
    /// would find itself in a transaction.
    ///
    /// A connection that was lost while nobody used it shows that here, where nothing has been done yet: then another one
    /// serves. So it does where a connection has become silent.
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
                // In here, for it goes on if nobody waits for it any more.
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
                // What was asked for may have been the last of the silent ones.
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

    /// An error of a call that may have waited for a connection in vain: then it is found out why.
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

    /// Waits for the right to write, where one writes at a time.
    async fn turn(&self, operation: &'static str, whose: Whose) -> Result<Option<Turn>> {
        let Some(writer) = &self.writer else { return Ok(None) };
        let turn = writer.turn(whose).await.ok_or_else(|| {
            Error::new(ErrorKind::Contended, operation).with_message(
                "another transaction of this process held the write lock all the time; a closure of \
                 stent::transaction that is slow, or keeps its transaction, does that",
            )
        });
        turn.map(Some)
    }

    fn mark(&self) -> Option<Mark> {
        self.writer.as_ref().map(|writer| writer.mark())
    }

    /// Fails where what is written would not be found by others.
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

/// A transaction is not open any more, and it was not the store that ended it.
pub(super) fn ended(operation: &'static str) -> Error {
    Error::new(ErrorKind::Ended, operation).with_message(
        "the transaction is no longer open: a statement ended it (COMMIT, ROLLBACK, or a conflict under OR \
         ROLLBACK), or the database did",
    )
}
