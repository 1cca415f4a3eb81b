//! How rows travel: batches in, packed rows out.

use std::fmt::Debug;

use sea_orm::sea_query::{SelectStatement, Value};
use sea_orm::{DbErr, QueryResult};

use crate::batch::{Answer, Batch, Column};

/// How rows are sent to the database and come back.
pub trait Transport: Debug + Send + Sync + 'static {
    /// A derived table that reads a batch of these columns from the parameters that begin at `first`. Its text does not depend
    /// on the number of rows.
    fn batch_source(&self, columns: &[Column], first: usize) -> SelectStatement;

    /// The number of parameters that [`batch_source`](Self::batch_source) reads.
    fn batch_params(&self, columns: &[Column]) -> usize;

    /// The parameters that carry a batch.
    fn batch_values(&self, batch: &Batch<'_>) -> Vec<Value>;

    /// The largest payload, in bytes, that a [packed](Self::pack) row has inline. Larger ones (overflow) are read by a second
    /// statement. None if rows are not packed.
    fn inline_bytes_max(&self) -> Option<usize>;

    /// Packs the rows of a query into few rows, for drivers that are slow per row. [`unpack`](Self::unpack) reads them.
    ///
    /// If a column holds bytes, the first column is an id, and the query has a second column for each such column: its name
    /// is [`len_of`] the first, and its value is the number of bytes. The bytes are null if there are more than
    /// [`inline_bytes_max`](Self::inline_bytes_max). If the number of rows is unbounded, `numbered_by` names a column that
    /// numbers them.
    fn pack(&self, query: SelectStatement, columns: &[Column], numbered_by: Option<&str>) -> SelectStatement;

    /// Reads packed rows, in any order.
    ///
    /// # Errors
    /// If a value does not fit its column.
    fn unpack(&self, rows: Vec<QueryResult>, columns: &'static [Column]) -> Result<Answer, DbErr>;
}

/// The name of the column with the number of bytes of another column.
#[must_use]
pub fn len_of(column: &str) -> String {
    format!("{column}_len")
}
