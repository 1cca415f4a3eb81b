//! Returns many rows as one: the counterpart of `batch.rs`.
//!
//! The driver runs SQLite on a separate thread and passes each row individually: a copy of every value, a message and
//! often a context switch, which together cost more than reading the row. A statement that may return many rows
//! therefore returns a single one, or one per [`ROWS_MAX`] rows if their number is not bounded:
//!
//! ```text
//! rows   [["0196…",7,"running",null,64],…]   ids in hex; of bytes, how many
//! bytes  │64 bytes│…                         row by row, one after the other
//! ```
//!
//! Byte values longer than [`INLINE_BYTES_MAX`] are left out, so that no value exceeds SQLite's size limit.

use std::fmt;

use sea_orm::sea_query::{Alias, Expr, Query, SelectStatement};
use sea_orm::{DbErr, QueryResult};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use stent_sql::batch::{Answer, Cell, Column, Kind};
use stent_sql::dialect::len_of;
use uuid::Uuid;

/// Longest byte value that is returned with its row. Longer values are read separately, which adds little to the cost
/// of reading them.
pub(crate) const INLINE_BYTES_MAX: usize = 4_096;

/// Rows per packed row, if rows are numbered: a megabyte at most, including their inline bytes.
const ROWS_MAX: usize = 256;

/// The statement that returns the rows of a query in few packed rows.
pub(crate) fn pack(query: SelectStatement, columns: &[Column], numbered_by: Option<&str>) -> SelectStatement {
    let cells: Vec<_> = columns
        .iter()
        .map(|Column { name, kind, .. }| match kind {
            Kind::Id => format!("hex(\"{name}\")"),
            Kind::Int | Kind::Count | Kind::Text => format!("\"{name}\""),
            Kind::Bytes => format!("\"{}\"", len_of(name)),
        })
        .collect();
    let bytes: Vec<_> = columns
        .iter()
        .filter(|column| column.kind == Kind::Bytes)
        .map(|Column { name, .. }| format!("IFNULL(\"{name}\", X'')"))
        .collect();
    let bytes = match bytes.is_empty() {
        true => "NULL".to_owned(),
        false => format!("CAST(group_concat({}, '') AS BLOB)", bytes.join(" || ")),
    };
    let mut packed = Query::select();
    packed
        .expr_as(
            Expr::cust(format!("json_group_array(json_array({}))", cells.join(", "))),
            Alias::new("rows"),
        )
        .expr_as(Expr::cust(bytes), Alias::new("bytes"))
        .from_subquery(query, Alias::new("row"));
    if let Some(number) = numbered_by {
        packed.add_group_by([Expr::cust(format!("\"{number}\" / {ROWS_MAX}"))]);
    }
    packed
}

/// Unpacks the rows of a packing statement.
pub(crate) fn unpack(rows: &[QueryResult], columns: &'static [Column]) -> Result<Answer, DbErr> {
    let mut answer = Answer::new(columns);
    for row in rows {
        let text: String = row.try_get_by_index(0)?;
        let bytes: Option<Vec<u8>> = row.try_get_by_index(1)?;
        let rows = Rows { answer: &mut answer, bytes: bytes.as_deref().unwrap_or_default() };
        let mut json = serde_json::Deserializer::from_str(&text);
        rows.deserialize(&mut json).map_err(|error| DbErr::Json(error.to_string()))?;
    }
    Ok(answer)
}

/// All rows of one packed text.
struct Rows<'a> {
    answer: &'a mut Answer,
    bytes: &'a [u8],
}

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        while rows.next_element_seed(Row { answer: self.answer, bytes: &mut self.bytes })?.is_some() {}
        Ok(())
    }
}

struct Row<'r, 'a> {
    answer: &'r mut Answer,
    bytes: &'r mut &'a [u8],
}

impl<'de> DeserializeSeed<'de> for Row<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of cells")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut cells: A) -> Result<(), A::Error> {
        let short = || A::Error::custom("a row has fewer cells than columns");
        for column in self.answer.columns() {
            match column.kind {
                Kind::Id => {
                    let Hex(id) = cells.next_element()?.ok_or_else(short)?;
                    self.answer.push(Cell::or_null(id, Cell::Id));
                }
                Kind::Int | Kind::Count => {
                    let value: Option<i64> = cells.next_element()?.ok_or_else(short)?;
                    self.answer.push(Cell::or_null(value, Cell::Int));
                }
                Kind::Text => {
                    let text: Option<String> = cells.next_element()?.ok_or_else(short)?;
                    self.answer.push(Cell::or_null(text, |text| Cell::Text(text.into())));
                }
                Kind::Bytes => {
                    let len: Option<usize> = cells.next_element()?.ok_or_else(short)?;
                    match len {
                        None => self.answer.push(Cell::Null),
                        Some(len) if len > INLINE_BYTES_MAX => self.answer.push_overflow(),
                        Some(len) => match self.bytes.split_at_checked(len) {
                            Some((bytes, rest)) => {
                                *self.bytes = rest;
                                self.answer.push(Cell::Bytes(bytes.to_vec().into()));
                            }
                            None => return Err(A::Error::custom("the bytes end before the cells do")),
                        },
                    }
                }
            }
        }
        match cells.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(A::Error::custom("a row has more cells than columns")),
        }
    }
}

/// An id in hex; the empty text is null.
struct Hex(Option<Uuid>);

impl<'de> serde::Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(HexVisitor)
    }
}

struct HexVisitor;

impl Visitor<'_> for HexVisitor {
    type Value = Hex;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id in hex")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Hex, E> {
        match text {
            "" => Ok(Hex(None)),
            text => Uuid::try_parse(text).map(|id| Hex(Some(id))).map_err(E::custom),
        }
    }
}
