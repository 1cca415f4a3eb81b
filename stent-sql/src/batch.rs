//! Batches: many rows as the parameters of one statement, whose text does not depend on their number.
//!
//! What the parameters look like is the [`Dialect`](crate::Dialect)'s business: one packed buffer on SQLite, one array
//! per column on Postgres.

use std::borrow::Cow;

use uuid::Uuid;

/// What a column of a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A UUID.
    Id,
    /// A 64-bit integer.
    Int,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
}

/// A column of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in the derived table.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
}

impl Column {
    /// A column that is never null.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, nullable: false }
    }

    /// The same column, which may be null.
    #[must_use]
    pub const fn or_null(mut self) -> Self {
        self.nullable = true;
        self
    }
}

/// One value of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A UUID.
    Id(Uuid),
    /// An integer.
    Int(i64),
    /// A text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> Cell<'a> {
    /// The value, or null.
    pub fn or_null<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, cell)
    }

    /// A borrowed text.
    #[must_use]
    pub const fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// Rows of equal columns.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    columns: &'static [Column],
    cells: Vec<Cell<'a>>,
}

impl<'a> Batch<'a> {
    /// A batch of these columns, with room for so many rows.
    #[must_use]
    pub fn new(columns: &'static [Column], rows: usize) -> Self {
        Self { columns, cells: Vec::with_capacity(rows * columns.len()) }
    }

    /// A batch of ids.
    pub fn of_ids(columns: &'static [Column], ids: impl IntoIterator<Item = Uuid>) -> Self {
        Self { columns, cells: ids.into_iter().map(Cell::Id).collect() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// In debug builds, when a cell does not fit its column: a mistake in the caller's encoding.
    pub fn push<const N: usize>(&mut self, row: [Cell<'a>; N]) {
        debug_assert!(fits(self.columns, &row), "{row:?} does not fit {:?}", self.columns);
        self.cells.extend(row);
    }

    /// The columns.
    #[must_use]
    pub const fn columns(&self) -> &'static [Column] {
        self.columns
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[Cell<'a>]> {
        self.cells.chunks_exact(self.columns.len())
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len() / self.columns.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

fn fits(columns: &[Column], row: &[Cell<'_>]) -> bool {
    columns.len() == row.len()
        && columns.iter().zip(row).all(|(column, cell)| match cell {
            Cell::Null => column.nullable,
            Cell::Id(_) => column.kind == Kind::Id,
            Cell::Int(_) => column.kind == Kind::Int,
            Cell::Text(_) => column.kind == Kind::Text,
            Cell::Bytes(_) => column.kind == Kind::Bytes,
        })
}
