//! Reads a row cell by cell, in the order of its columns: names are looked up nowhere.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::str::FromStr;
use std::vec;

use sea_orm::{DbErr, QueryResult};
use serde::de::DeserializeOwned;
use stent_core::backend::{Error, ErrorKind, Result};
use stent_core::model::Epoch;
use stent_core::{Payload, Timestamp};
use uuid::Uuid;

use super::tags;
use crate::batch::{Answer, Cell, Column, Kind};

/// Walks the cells of one row.
#[derive(Debug)]
pub(crate) struct Reader {
    columns: &'static [Column],
    cells: vec::IntoIter<Cell<'static>>,
}

/// What a cell can be read as.
pub(crate) trait FromCell: Sized {
    /// None if the cell holds something else.
    fn from_cell(cell: Cell<'static>) -> Option<Self>;
}

impl Reader {
    pub(crate) const fn new(columns: &'static [Column], cells: vec::IntoIter<Cell<'static>>) -> Self {
        Self { columns, cells }
    }

    /// The next cell.
    pub(crate) fn next<T: FromCell>(&mut self) -> Result<T> {
        match self.cells.next().and_then(T::from_cell) {
            Some(value) => Ok(value),
            None => Err(self.corrupt("it has another type, or is null")),
        }
    }

    /// The next cell, a count.
    pub(crate) fn count(&mut self) -> Result<u32> {
        u32::try_from(self.next::<i64>()?).map_err(|error| self.corrupt(error))
    }

    /// The next cell, a count that may be null.
    pub(crate) fn count_or_null(&mut self) -> Result<Option<u32>> {
        self.next::<Option<i64>>()?.map(u32::try_from).transpose().map_err(|error| self.corrupt(error))
    }

    /// The next cell, a word.
    pub(crate) fn word<T: FromStr<Err: StdError + Send + Sync + 'static>>(&mut self) -> Result<T> {
        self.next::<String>()?.parse().map_err(|error| self.corrupt(error))
    }

    /// The next cell, a word that may be null.
    pub(crate) fn word_or_null<T: FromStr<Err: StdError + Send + Sync + 'static>>(
        &mut self,
    ) -> Result<Option<T>> {
        let word: Option<String> = self.next()?;
        word.map(|word| word.parse()).transpose().map_err(|error| self.corrupt(error))
    }

    /// The next cell, a value in JSON that may be null.
    pub(crate) fn json_or_null<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let text: Option<String> = self.next()?;
        text.as_deref().map(serde_json::from_str).transpose().map_err(|error| self.corrupt(error))
    }

    /// The next cell, tags; null where there are none.
    pub(crate) fn tags(&mut self) -> Result<BTreeSet<String>> {
        let text: Option<String> = self.next()?;
        let tags = text.as_deref().map(tags::from_text).transpose().map_err(|error| self.corrupt(error))?;
        Ok(tags.unwrap_or_default())
    }

    /// The next cell, how many there are of something.
    pub(crate) fn number(&mut self) -> Result<u64> {
        u64::try_from(self.next::<i64>()?).map_err(|error| self.corrupt(error))
    }

    /// The next cell, an id.
    pub(crate) fn id<T>(&mut self, wrap: impl FnOnce(Uuid) -> T) -> Result<T> {
        self.next().map(wrap)
    }

    /// The next cell, an id that may be null.
    pub(crate) fn id_or_null<T>(&mut self, wrap: impl FnOnce(Uuid) -> T) -> Result<Option<T>> {
        Ok(self.next::<Option<Uuid>>()?.map(wrap))
    }

    /// The next cell, an epoch.
    pub(crate) fn epoch(&mut self) -> Result<Epoch> {
        Epoch::from_i64(self.next()?).ok_or_else(|| self.corrupt("it is not an epoch"))
    }

    /// The next cell, a moment.
    pub(crate) fn moment(&mut self) -> Result<Timestamp> {
        self.next().map(Timestamp::from_micros)
    }

    /// The next cell, a moment that may be null.
    pub(crate) fn moment_or_null(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_micros))
    }

    /// The next two cells, a payload.
    pub(crate) fn payload(&mut self) -> Result<Payload> {
        Ok(Payload::new(self.next::<String>()?, self.next()?))
    }

    /// The next two cells, a payload that may be null.
    pub(crate) fn payload_or_null(&mut self) -> Result<Option<Payload>> {
        let content_type: Option<String> = self.next()?;
        let bytes: Option<Vec<u8>> = self.next()?;
        Ok(content_type.zip(bytes).map(|(content_type, bytes)| Payload::new(content_type, bytes)))
    }

    /// The cell that was read last does not hold what it should.
    pub(crate) fn corrupt(&self, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        let error = error.into();
        let at = self.columns.len() - self.cells.len();
        let column = self.columns.get(at.saturating_sub(1)).map_or("?", |column| column.name);
        let message = format!("column {column:?} of a row has an unexpected value: {error}");
        Error::new(ErrorKind::Corrupt, "decode").with_message(message).with_source(error)
    }
}

impl FromCell for i64 {
    fn from_cell(cell: Cell<'static>) -> Option<Self> {
        if let Cell::Int(value) = cell { Some(value) } else { None }
    }
}

impl FromCell for i16 {
    fn from_cell(cell: Cell<'static>) -> Option<Self> {
        i64::from_cell(cell)?.try_into().ok()
    }
}

impl FromCell for Uuid {
    fn from_cell(cell: Cell<'static>) -> Option<Self> {
        if let Cell::Id(id) = cell { Some(id) } else { None }
    }
}

impl FromCell for String {
    fn from_cell(cell: Cell<'static>) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text.into_owned()) } else { None }
    }
}

impl FromCell for Vec<u8> {
    fn from_cell(cell: Cell<'static>) -> Option<Self> {
        if let Cell::Bytes(bytes) = cell { Some(bytes.into_owned()) } else { None }
    }
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: Cell<'static>) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}

/// Reads rows that came as rows.
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
