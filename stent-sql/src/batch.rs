//! Many rows at once. A [`Batch`] is sent as the parameters of one statement, whose text does not depend on the number of rows;
//! an [`Answer`] has the rows that the statement returns.
//!
//! [`Transport`](crate::dialect::Transport) defines how the database driver transports both.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::vec;

use uuid::Uuid;

/// The type of a batch's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A UUID.
    Id,
    /// A 64-bit integer.
    Int,
    /// A count: an integer from 0 to `u32::MAX`.
    Count,
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
    /// Its type.
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
    Bytes(Cow<'a, [u8]>),
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

    /// Borrowed bytes.
    #[must_use]
    pub const fn bytes(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

/// Rows of equal columns.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    columns: &'static [Column],
    cells: Vec<Cell<'a>>,
}

impl<'a> Batch<'a> {
    /// A batch of these columns, with room for this many rows.
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
        self.push_row(|cells| cells.extend(row));
    }

    /// Adds the cells of a row.
    pub(crate) fn push_row(&mut self, add: impl FnOnce(&mut Vec<Cell<'a>>)) {
        let from = self.cells.len();
        add(&mut self.cells);
        debug_assert!(
            fits(self.columns, &self.cells[from..]),
            "{:?} does not fit {:?}",
            &self.cells[from..],
            self.columns
        );
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

/// The rows that a statement returned.
#[derive(Debug)]
pub struct Answer {
    columns: &'static [Column],
    cells: Vec<Cell<'static>>,
    overflow: Vec<usize>,
}

impl Answer {
    /// An answer without rows yet.
    #[must_use]
    pub const fn new(columns: &'static [Column]) -> Self {
        Self { columns, cells: Vec::new(), overflow: Vec::new() }
    }

    /// Adds a cell. Cells are added row by row, in the order of the columns.
    pub fn push(&mut self, cell: Cell<'static>) {
        self.cells.push(cell);
    }

    /// Adds a cell whose payload is overflow: a second statement reads the payload, by the row's first column.
    pub fn push_overflow(&mut self) {
        self.overflow.push(self.cells.len());
        self.cells.push(Cell::Null);
    }

    /// The columns.
    #[must_use]
    pub const fn columns(&self) -> &'static [Column] {
        self.columns
    }

    /// The rows.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = vec::IntoIter<Cell<'static>>> {
        let width = self.columns.len();
        let rows = self.cells.len() / width;
        let mut cells = self.cells.into_iter();
        (0..rows).map(move |_| cells.by_ref().take(width).collect::<Vec<_>>().into_iter())
    }

    /// The ids of rows with an overflow payload in a column.
    pub(crate) fn overflow_ids(&self, column: &str) -> Vec<Uuid> {
        let overflow = self.overflow.iter().filter(|at| self.column_of(**at).name == column);
        overflow.filter_map(|at| self.id_of(*at)).collect()
    }

    /// Adds overflow payloads of a column to the rows with these ids.
    pub(crate) fn bring(&mut self, column: &str, mut brought: BTreeMap<Uuid, Vec<u8>>) {
        for at in self.overflow.clone() {
            if self.column_of(at).name == column
                && let Some(bytes) = self.id_of(at).and_then(|id| brought.remove(&id))
            {
                self.cells[at] = Cell::Bytes(Cow::Owned(bytes));
            }
        }
    }

    fn column_of(&self, at: usize) -> &'static Column {
        &self.columns[at % self.columns.len()]
    }

    fn id_of(&self, at: usize) -> Option<Uuid> {
        match self.cells[at - at % self.columns.len()] {
            Cell::Id(id) => Some(id),
            _ => None,
        }
    }
}

fn fits(columns: &[Column], row: &[Cell<'_>]) -> bool {
    columns.len() == row.len()
        && columns.iter().zip(row).all(|(column, cell)| match cell {
            Cell::Null => column.nullable,
            Cell::Id(_) => column.kind == Kind::Id,
            Cell::Int(value) => match column.kind {
                Kind::Int => true,
                Kind::Count => u32::try_from(*value).is_ok(),
                Kind::Id | Kind::Text | Kind::Bytes => false,
            },
            Cell::Text(_) => column.kind == Kind::Text,
            Cell::Bytes(_) => column.kind == Kind::Bytes,
        })
}
