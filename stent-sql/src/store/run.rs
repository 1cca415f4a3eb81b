//! Runs one statement: binds, counts, decodes, and names the operation in errors.

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DbErr};
use stent_core::backend::{Error, Result};
use uuid::Uuid;

use super::SqlStore;
use super::answer::On;
use crate::batch::{Answer, Batch};
use crate::row::{OneId, OverflowArgs, OverflowResult, Read, Reader, Shape, read_plainly};
use crate::stmt::{Locks, Statement};
use crate::table::task;

/// Runs statements on a connection, for an operation.
pub(super) struct Run<'a, C> {
    pub(super) store: &'a SqlStore,
    pub(super) connection: &'a C,
    /// The statements that lock. Set within a transaction of a database with many concurrent writers.
    pub(super) locks: Option<&'a Locks>,
    pub(super) operation: &'static str,
    pub(super) on: On,
}

impl<C: ConnectionTrait> Run<'_, C> {
    /// Runs a statement and decodes each row that it returns. Overflow payloads are read by separate statements, which
    /// is rare: only large payloads overflow.
    pub(super) async fn read<T>(
        &self,
        statement: &Statement,
        values: Vec<Value>,
        decode: impl Fn(&mut Reader) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut answer = self.answer(statement, values).await?;
        let statements = &self.store.statements;
        let ids = answer.overflow_ids(task::ARGS);
        if !ids.is_empty() {
            let args = self.answer(&statements.overflow_args, self.ids(ids)).await?;
            let args = decode_all(args, |reader| OverflowArgs::read(reader).map(|row| (row.id, row.args)))?;
            answer.bring(task::ARGS, args.into_iter().collect());
        }
        let ids = answer.overflow_ids(task::RESULT);
        if !ids.is_empty() {
            let results = self.answer(&statements.overflow_results, self.ids(ids)).await?;
            let results =
                decode_all(results, |reader| OverflowResult::read(reader).map(|row| (row.id, row.result)))?;
            answer.bring(task::RESULT, results.into_iter().collect());
        }
        decode_all(answer, decode)
    }

    /// Runs a statement that writes and counts the rows that it wrote.
    pub(super) async fn write(&self, statement: &Statement, values: Vec<Value>) -> Result<()> {
        self.store.tally.rows_written(self.run(statement, values).await?);
        Ok(())
    }

    /// Runs a statement, and returns the number of affected rows.
    pub(super) async fn run(&self, statement: &Statement, values: Vec<Value>) -> Result<u64> {
        let run = self.connection.execute_raw(self.bound(statement, values));
        let run = self.store.answered(self.operation, self.on, run).await;
        Ok(run.map_err(|error| self.error(error))?.rows_affected())
    }

    /// Runs a statement for a batch, unless that is empty.
    pub(super) async fn write_batch(&self, statement: &Statement, batch: &Batch<'_>) -> Result<()> {
        match batch.is_empty() {
            true => Ok(()),
            false => self.write(statement, self.values(batch, [])).await,
        }
    }

    /// The parameters of a statement that takes a batch and, after it, others.
    pub(super) fn values(&self, batch: &Batch<'_>, others: impl IntoIterator<Item = Value>) -> Vec<Value> {
        let mut values = self.store.dialect.batch_values(batch);
        values.extend(others);
        values
    }

    fn ids(&self, ids: Vec<Uuid>) -> Vec<Value> {
        self.values(&Batch::of_ids(OneId::COLUMNS, ids), [])
    }

    /// The parameters of a statement that takes two batches, with others between them.
    pub(super) fn values_of_two(
        &self,
        first: &Batch<'_>,
        between: impl IntoIterator<Item = Value>,
        second: &Batch<'_>,
    ) -> Vec<Value> {
        let mut values = self.values(first, between);
        values.extend(self.store.dialect.batch_values(second));
        values
    }

    async fn answer(&self, statement: &Statement, values: Vec<Value>) -> Result<Answer> {
        let rows = self.connection.query_all_raw(self.bound(statement, values));
        let rows = self.store.answered(self.operation, self.on, rows).await;
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return Err(self.store.failed(self.operation, error).await),
        };
        let answer = match statement.packed {
            true => self.store.dialect.unpack(rows, statement.gives),
            false => read_plainly(&rows, statement.gives),
        };
        answer.map_err(|error| self.error(error))
    }

    fn bound(&self, statement: &Statement, values: Vec<Value>) -> sea_orm::Statement {
        self.store.tally.statement();
        sea_orm::Statement::from_sql_and_values(self.store.dialect.backend(), statement.text.as_str(), values)
    }

    fn error(&self, error: DbErr) -> Error {
        self.store.error(self.operation, error)
    }
}

fn decode_all<T>(answer: Answer, decode: impl Fn(&mut Reader) -> Result<T>) -> Result<Vec<T>> {
    let columns = answer.columns();
    answer.into_rows().map(|cells| decode(&mut Reader::new(columns, cells))).collect()
}
