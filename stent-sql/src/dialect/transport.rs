//! How rows travel: batches in, packed rows out.

use std::fmt::Debug;

use sea_orm::sea_query::{SelectStatement, Value};
use sea_orm::{DbErr, QueryResult};

use crate::batch::{Answer, Batch, Column};

/// How many rows are sent and given.
pub trait Transport: Debug + Send + Sync + 'static {
    /// A derived table of these columns that reads a batch from the parameters from `first` on. Its text does not depend
    /// on the batch.
    fn batch_source(&self, columns: &[Column], first: usize) -> SelectStatement;

    /// How many parameters [`batch_source`](Self::batch_source) reads.
    fn batch_params(&self, columns: &[Column]) -> usize;

    /// The parameters that carry a batch.
    fn batch_values(&self, batch: &Batch<'_>) -> Vec<Value>;

    /// Most bytes that a cell of a [packed](Self::pack) row brings along; larger ones are read apart. None where rows
    /// are handed on one by one, with all they have.
    fn inline_bytes_max(&self) -> Option<usize>;

    /// The same rows in as few as can be, where it costs much to hand rows on one by one; read back by
    /// [`unpack`](Self::unpack).
    ///
    /// If columns hold bytes, the first column is an id. Each of them comes with another beside it, named by [`len_of`],
    /// that says how many there are; it is null if they are more than [`inline_bytes_max`](Self::inline_bytes_max). Where
    /// there is no bound on the rows, a column that numbers them is named.
    fn pack(&self, query: SelectStatement, columns: &[Column], numbered_by: Option<&str>) -> SelectStatement;

    /// Reads packed rows. They come in any order.
    ///
    /// # Errors
    /// When they do not hold what the columns say.
    fn unpack(&self, rows: Vec<QueryResult>, columns: &'static [Column]) -> Result<Answer, DbErr>;
}

/// Name of the column that says how many bytes there are in another.
#[must_use]
pub fn len_of(column: &str) -> String {
    format!("{column}_len")
}
