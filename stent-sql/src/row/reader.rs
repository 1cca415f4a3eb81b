//! Reads a result row column by column, by position: names are looked up in no hot path.

use std::fmt::Display;
use std::str::FromStr;

use sea_orm::{QueryResult, TryGetable};
use stent_core::backend::{Error, ErrorKind, Result};
use stent_core::model::Epoch;
use stent_core::{Payload, Timestamp};
use uuid::Uuid;

/// Walks the columns of one row, in the order in which a statement selects them.
#[derive(Debug)]
pub(crate) struct Reader<'r> {
    row: &'r QueryResult,
    at: usize,
}

impl<'r> Reader<'r> {
    pub(crate) const fn new(row: &'r QueryResult) -> Self {
        Self { row, at: 0 }
    }

    /// The next column.
    pub(crate) fn next<T: TryGetable>(&mut self) -> Result<T> {
        let at = self.at;
        self.at += 1;
        self.row.try_get_by_index(at).map_err(|error| corrupt(at, error))
    }

    /// The next column, a count.
    pub(crate) fn count(&mut self) -> Result<u32> {
        let at = self.at;
        u32::try_from(self.next::<i64>()?).map_err(|error| corrupt(at, error))
    }

    /// The next column, a count that may be null.
    pub(crate) fn count_or_null(&mut self) -> Result<Option<u32>> {
        let at = self.at;
        self.next::<Option<i64>>()?.map(u32::try_from).transpose().map_err(|error| corrupt(at, error))
    }

    /// The next column, a word.
    pub(crate) fn word<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(&mut self) -> Result<T> {
        let at = self.at;
        self.next::<String>()?.parse().map_err(|error| corrupt(at, error))
    }

    /// The next column, an id.
    pub(crate) fn id<T>(&mut self, wrap: impl FnOnce(Uuid) -> T) -> Result<T> {
        self.next().map(wrap)
    }

    /// The next column, an id that may be null.
    pub(crate) fn id_or_null<T>(&mut self, wrap: impl FnOnce(Uuid) -> T) -> Result<Option<T>> {
        Ok(self.next::<Option<Uuid>>()?.map(wrap))
    }

    /// The next column, an epoch.
    pub(crate) fn epoch(&mut self) -> Result<Epoch> {
        self.count().map(Epoch)
    }

    /// The next column, a moment.
    pub(crate) fn moment(&mut self) -> Result<Timestamp> {
        self.next().map(Timestamp::from_micros)
    }

    /// The next column, a moment that may be null.
    pub(crate) fn moment_or_null(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_micros))
    }

    /// The next two columns, a payload.
    pub(crate) fn payload(&mut self) -> Result<Payload> {
        Ok(Payload::new(self.next::<String>()?, self.next()?))
    }

    /// The next two columns, a payload that may be null.
    pub(crate) fn payload_or_null(&mut self) -> Result<Option<Payload>> {
        let (content_type, bytes): (Option<String>, Option<Vec<u8>>) = (self.next()?, self.next()?);
        Ok(content_type.zip(bytes).map(|(content_type, bytes)| Payload::new(content_type, bytes)))
    }

    /// What the store holds and cannot hold.
    pub(crate) fn corrupt(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        corrupt(self.at.saturating_sub(1), error)
    }
}

fn corrupt(at: usize, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Corrupt, "decode").with_message(described(at, &error)).with_source(error)
}

fn described(at: usize, error: &dyn Display) -> String {
    format!("column {at} of a row does not hold what it should: {error}")
}
