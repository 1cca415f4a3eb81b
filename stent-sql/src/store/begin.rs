//! Transactions of the store's own and of closures: how they begin, and when they may be said to be committed.
//!
//! The driver's word is not enough for that. Where the database tells what it does ([`OneWriter`](crate::OneWriter)), a commit
//! is confirmed only if the database has committed the very transaction that was begun.

use std::ops::Deref;
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use stent_core::backend::{Error, ErrorKind, Result};

use super::SqlStore;
use super::within::Began;
use crate::Writers;
use crate::writer::{Mark, Turn, Whose};

/// Most lost connections that a beginning transaction passes over: as many as a pool is likely to have.
const LOST_MAX: usize = 64;

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
        let transaction = self.begin_on(&self.connections.write, operation, self.dialect.settings()).await?;
        Ok(Open { transaction, mark: self.mark(), _turn: turn })
    }

    /// Begins one that the application's statements run in.
    pub(super) async fn begin_guest(&self, operation: &'static str) -> Result<Arc<DatabaseTransaction>> {
        self.check_open(operation)?;
        let turn = self.turn(operation, Whose::Guest).await?;
        let (number, mark) = self.guests.mark(&*self.dialect);
        let transaction = self.begin_on(&self.connections.guests, operation, mark.as_deref()).await?;
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
        transaction.rollback().await.map_err(|error| self.error(operation, error))
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
        transaction.commit().await.map_err(|error| self.error(operation, error))?;
        if marked.is_some_and(|(writer, mark)| !mark.was_committed(writer)) {
            return Err(Error::new(ErrorKind::Unavailable, operation).with_message(
                "the driver says that the transaction was committed, and the database does not",
            ));
        }
        self.check_place(operation)?;
        self.tally.transaction();
        if let Some(neighbours) = &self.neighbours {
            neighbours.committed();
        }
        Ok(())
    }

    async fn begin_on(
        &self,
        connection: &DatabaseConnection,
        operation: &'static str,
        settings: Option<&str>,
    ) -> Result<DatabaseTransaction> {
        let transaction = match self.dialect.writers() {
            Writers::One => connection.begin_with_options(self.dialect.begin()).await,
            Writers::Many { .. } => self.begin_among_many(connection, settings).await,
        }
        .map_err(|error| self.error(operation, error))?;
        self.check_place(operation)?;
        if let Some(neighbours) = &self.neighbours {
            neighbours.began();
        }
        Ok(transaction)
    }

    /// Begins in a task of its own: the driver forgets a BEGIN whose future is dropped, and the next who gets the connection
    /// would find itself in a transaction.
    ///
    /// A connection that was lost while nobody used it shows that here, where nothing has been done yet: then another one
    /// serves.
    async fn begin_among_many(
        &self,
        connection: &DatabaseConnection,
        settings: Option<&str>,
    ) -> std::result::Result<DatabaseTransaction, DbErr> {
        let mut lost = 0;
        loop {
            let (connection, options) = (connection.clone(), self.dialect.begin());
            let begun = tokio::spawn(async move { connection.begin_with_options(options).await }).await;
            match begun.map_err(|error| DbErr::Custom(format!("BEGIN did not end: {error}")))? {
                Ok(transaction) => {
                    if let Some(settings) = settings {
                        transaction.execute_unprepared(settings).await?;
                    }
                    return Ok(transaction);
                }
                Err(DbErr::Query(_) | DbErr::Exec(_)) if lost < LOST_MAX => lost += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the right to write, where one writes at a time.
    async fn turn(&self, operation: &'static str, whose: Whose) -> Result<Option<Turn>> {
        let Some(writer) = &self.writer else { return Ok(None) };
        let turn = writer.turn(whose).await.ok_or_else(|| {
            Error::new(ErrorKind::Contended, operation).with_message(
                "another transaction of this process has had the write lock all the time; a closure of stent::transaction \
                 that takes long, or keeps its transaction, does that",
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

/// A transaction is not open any more, and it was not the store that ended it.
pub(super) fn ended(operation: &'static str) -> Error {
    Error::new(ErrorKind::Ended, operation).with_message(
        "the transaction that was begun is not open any more: a statement has ended it (COMMIT, ROLLBACK, or a conflict under \
         OR ROLLBACK), or the database has",
    )
}
