//! The shop's own table, in the database that is also Stent's store: which execution fulfils which order.

use stent::ExecutionId;
use stent::prelude::*;
use stent::sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait, Value,
};

use crate::shop::{Order, fulfil};

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS orders (number VARCHAR(64) PRIMARY KEY, execution VARCHAR(36) NOT NULL)";
const INSERT: &str = "INSERT INTO orders (number, execution) VALUES ($1, $2) ON CONFLICT (number) DO NOTHING";
const FIND: &str = "SELECT execution FROM orders WHERE number = $1";

/// The orders of the shop.
#[derive(Clone, Debug)]
pub(crate) struct Orders(DatabaseConnection);

/// The outcome of a request for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    New,
    /// An earlier request has taken the order.
    Before,
}

impl Orders {
    /// Connects to the database, which Stent has created.
    pub(crate) async fn open(url: &str) -> Result<Self, DbErr> {
        let database = Database::connect(url).await?;
        database.execute_unprepared(TABLE).await?;
        Ok(Self(database))
    }

    /// Takes an order: its row and its execution are committed together, or neither is. So a client that got no answer can
    /// safely ask again.
    pub(crate) async fn take(&self, stent: &Stent, order: Order) -> stent::Result<Taken> {
        let txn = self.0.begin_with_options(self.options()).await?;
        let number = order.number.clone();
        let run = stent.dispatch(fulfil(order)).within(&txn).await?;
        let insert = self.statement(INSERT, [number.into(), run.id().to_string().into()]);
        let inserted = txn.execute_raw(insert).await?;
        if inserted.rows_affected() == 0 {
            // The new execution goes with the transaction.
            txn.rollback().await?;
            return Ok(Taken::Before);
        }
        txn.commit().await?;
        Ok(Taken::New)
    }

    /// The execution that fulfils an order.
    pub(crate) async fn execution(&self, number: &str) -> stent::Result<Option<ExecutionId>> {
        let Some(row) = self.0.query_one_raw(self.statement(FIND, [number.into()])).await? else {
            return Ok(None);
        };
        let id: String = row.try_get_by_index(0)?;
        Ok(Some(id.parse().map_err(|_| DbErr::Type(format!("order {number} has the execution {id:?}")))?))
    }

    pub(crate) async fn close(self) -> Result<(), DbErr> {
        self.0.close().await
    }

    fn options(&self) -> TransactionOptions {
        // SQLite: a transaction that will write must wait for the lock at its beginning, where waiting helps.
        let is_sqlite = self.0.get_database_backend() == DbBackend::Sqlite;
        TransactionOptions {
            sqlite_transaction_mode: is_sqlite.then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        }
    }

    fn statement<const N: usize>(&self, sql: &str, values: [Value; N]) -> Statement {
        Statement::from_sql_and_values(self.0.get_database_backend(), sql, values)
    }
}
