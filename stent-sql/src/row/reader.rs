//! Reads a row cell by cell, in the order of its columns, without looking up names.

use std::vec;

use sea_orm::{DbErr, QueryResult};
use stent_core::backend::{Error, ErrorKind, Result};

use super::cell::{Decode, Unfit};
use crate::batch::{Answer, Cell, Column, Kind};

/// Walks the cells of one row.
#[derive(Debug)]
pub(crate) struct Reader {
    columns: &'static [Column],
    cells: vec::IntoIter<Cell<'static>>,
}

impl Reader {
    pub(crate) const fn new(columns: &'static [Column], cells: vec::IntoIter<Cell<'static>>) -> Self {
        Self { columns, cells }
    }

    /// The next cell, which belongs to this column.
    pub(crate) fn take<T: Decode>(&mut self, column: &'static str) -> Result<T> {
        let at = self.columns.len() - self.cells.len();
        debug_assert_eq!(
            self.columns.get(at).map(|column| column.name),
            Some(column),
            "another column is next"
        );
        let cell = self.cells.next().ok_or_else(|| corrupt(column, "the row ends before it"))?;
        T::decode(cell).map_err(|error| corrupt(column, error))
    }
}

/// The error of a column whose cell cannot be decoded.
pub(crate) fn corrupt(column: &str, error: impl Into<Unfit>) -> Error {
    let error = error.into();
    let message = format!("column {column:?} of a row has an unexpected value: {error}");
    Error::new(ErrorKind::Corrupt, "decode").with_message(message).with_source(error)
}
/// Reads rows that are not packed.
pub(crate) fn read_plainly(
    rows: &[QueryResult],
    columns: &'static [Column],
) -> std::result::Result<Answer, DbErr> {
    let mut answer = Answer::new(columns);
    for row in rows {
        for (at, column) in columns.iter().enumerate() {
            answer.push(match column.kind {
                Kind::Id => Cell::or_null(row.try_get_by_index(at)?, Cell::Id),
                Kind::Int | Kind::Count => Cell::or_null(row.try_get_by_index(at)?, Cell::Int),
                Kind::Text => {
                    Cell::or_null(row.try_get_by_index(at)?, |text: String| Cell::Text(text.into()))
                }
                Kind::Bytes => {
                    Cell::or_null(row.try_get_by_index(at)?, |bytes: Vec<u8>| Cell::Bytes(bytes.into()))
                }
            });
        }
    }
    Ok(answer)
}
