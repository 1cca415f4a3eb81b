//! Runs one statement: binds, counts, and says in whose name it failed.

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, QueryResult, Statement};
use stent_core::backend::Result;

use super::SqlStore;
use crate::batch::Batch;
use crate::row::Reader;

/// Runs statements on a connection, for an operation.
pub(super) struct Run<'a, C> {
    pub(super) store: &'a SqlStore,
    pub(super) connection: &'a C,
    pub(super) operation: &'static str,
}

impl<C: ConnectionTrait> Run<'_, C> {
    /// Runs a statement and decodes each row that it gives.
    pub(super) async fn read<T>(
        &self,
        text: &str,
        values: Vec<Value>,
        decode: impl Fn(&mut Reader<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let rows: Vec<QueryResult> =
            self.connection.query_all_raw(self.statement(text, values)).await.map_err(|error| self.error(error))?;
        rows.iter().map(|row| decode(&mut Reader::new(row))).collect()
    }

    /// Runs a statement that writes and counts the rows that it wrote.
    pub(super) async fn write(&self, text: &str, values: Vec<Value>) -> Result<u64> {
        let result =
            self.connection.execute_raw(self.statement(text, values)).await.map_err(|error| self.error(error))?;
        self.store.tally.rows_written(result.rows_affected());
        Ok(result.rows_affected())
    }

    /// The parameters of a statement that takes a batch and, after it, others.
    pub(super) fn values(&self, batch: &Batch<'_>, others: impl IntoIterator<Item = Value>) -> Vec<Value> {
        let mut values = self.store.dialect.batch_values(batch);
        values.extend(others);
        values
    }

    fn statement(&self, text: &str, values: Vec<Value>) -> Statement {
        self.store.tally.statement();
        Statement::from_sql_and_values(self.store.dialect.backend(), text, values)
    }

    fn error(&self, error: sea_orm::DbErr) -> stent_core::backend::Error {
        self.store.error(self.operation, error)
    }
}
