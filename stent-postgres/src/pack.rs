//! Passes a batch of rows as arrays, one per column, and reads rows.
//!
//! The driver's arrays cannot contain nulls. If columns may be null, one more array shows which cells of a row are
//! null, with one bit per such column. The column's own array contains a placeholder for each null.
//!
//! ```text
//! SELECT "id", CASE WHEN ("nulls" & 1) = 0 THEN "at" END AS "at"
//! FROM (SELECT unnest($1::uuid[]) AS "id", unnest($2::bigint[]) AS "at", unnest($3::bigint[]) AS "nulls") AS "packed"
//! ```

use sea_orm::sea_query::{Alias, ArrayType, Expr, Query, SelectStatement, Value};
use sea_orm::sqlx::postgres::{PgRow, PgValueRef};
use sea_orm::sqlx::{Decode, Postgres, Row, TypeInfo, ValueRef};
use sea_orm::{DbErr, QueryResult};
use stent_sql::batch::{Answer, Batch, Cell, Column, Kind};
use uuid::Uuid;

/// Name of the array that marks nulls.
const NULLS: &str = "nulls";

/// Number of parameters of a batch.
pub(crate) fn params(columns: &[Column]) -> usize {
    columns.len() + usize::from(columns.iter().any(|column| column.nullable))
}

/// The derived table.
pub(crate) fn source(columns: &[Column], first: usize) -> SelectStatement {
    let array = |n: usize, of: &str| Expr::cust(format!("unnest(${}::{of}[])", first + n));
    let mut packed = Query::select();
    for (n, column) in columns.iter().enumerate() {
        packed.expr_as(array(n, sql_type(column)), Alias::new(column.name));
    }
    if params(columns) == columns.len() {
        return packed;
    }
    packed.expr_as(array(columns.len(), "bigint"), Alias::new(NULLS));
    let mut rows = Query::select();
    let mut bit = 1_i64;
    for Column { name, nullable, .. } in columns {
        if *nullable {
            let cell = format!("CASE WHEN (\"{NULLS}\" & {bit}) = 0 THEN \"{name}\" END");
            rows.expr_as(Expr::cust(cell), Alias::new(*name));
            bit <<= 1;
        } else {
            rows.column(Alias::new(*name));
        }
    }
    rows.from_subquery(packed, Alias::new("packed")).take()
}

/// The values of a batch's parameters.
pub(crate) fn values(batch: &Batch<'_>) -> Vec<Value> {
    let columns = batch.columns();
    let mut values = Vec::with_capacity(params(columns));
    let mut nulls = vec![0_i64; batch.len()];
    let mut bit = 1;
    for (at, column) in columns.iter().enumerate() {
        if column.nullable {
            for (nulls, row) in nulls.iter_mut().zip(batch.rows()) {
                *nulls |= if row[at] == Cell::Null { bit } else { 0 };
            }
            bit <<= 1;
        }
        values.push(array(column, batch.rows().map(|row| &row[at])));
    }
    if bit > 1 {
        let nulls = nulls.into_iter().map(Value::from).collect();
        values.push(Value::Array(ArrayType::BigInt, Some(Box::new(nulls))));
    }
    values
}

fn array<'c>(column: &Column, cells: impl Iterator<Item = &'c Cell<'c>>) -> Value {
    let array_type = match column.kind {
        Kind::Id => ArrayType::Uuid,
        Kind::Int | Kind::Count => ArrayType::BigInt,
        Kind::Text => ArrayType::String,
        Kind::Bytes => ArrayType::Bytes,
    };
    let cells = cells.map(|cell| match cell {
        Cell::Null => stand_in(column),
        Cell::Id(id) => (*id).into(),
        Cell::Int(value) => (*value).into(),
        Cell::Text(text) => text.as_ref().into(),
        Cell::Bytes(bytes) => bytes.as_ref().into(),
    });
    Value::Array(array_type, Some(Box::new(cells.collect())))
}

fn stand_in(column: &Column) -> Value {
    match column.kind {
        Kind::Id => Uuid::nil().into(),
        Kind::Int | Kind::Count => 0_i64.into(),
        Kind::Text => "".into(),
        Kind::Bytes => Vec::<u8>::new().into(),
    }
}

const fn sql_type(column: &Column) -> &'static str {
    match column.kind {
        Kind::Id => "uuid",
        Kind::Int | Kind::Count => "bigint",
        Kind::Text => "text",
        Kind::Bytes => "bytea",
    }
}

/// Reads rows. Integers may be narrower than 64 bits.
pub(crate) fn read(rows: &[QueryResult], columns: &'static [Column]) -> Result<Answer, DbErr> {
    let mut answer = Answer::new(columns);
    for row in rows {
        let Some(row) = row.try_as_pg_row() else {
            return Err(DbErr::Type("a row that is not of Postgres".to_owned()));
        };
        for (at, column) in columns.iter().enumerate() {
            answer.push(cell(row, at, column)?);
        }
    }
    Ok(answer)
}

fn cell(row: &PgRow, at: usize, column: &Column) -> Result<Cell<'static>, DbErr> {
    let value = row.try_get_raw(at).map_err(|error| unfit(column, &error))?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    Ok(match column.kind {
        Kind::Id => Cell::Id(decoded(value, column)?),
        Kind::Int | Kind::Count if value.type_info().name() == "INT2" => {
            Cell::Int(decoded::<i16>(value, column)?.into())
        }
        Kind::Int | Kind::Count => Cell::Int(decoded(value, column)?),
        Kind::Text => Cell::Text(decoded::<String>(value, column)?.into()),
        Kind::Bytes => Cell::Bytes(decoded::<Vec<u8>>(value, column)?.into()),
    })
}

fn decoded<'r, T: Decode<'r, Postgres>>(value: PgValueRef<'r>, column: &Column) -> Result<T, DbErr> {
    T::decode(value).map_err(|error| unfit(column, &*error))
}

fn unfit(column: &Column, error: &(dyn std::error::Error + 'static)) -> DbErr {
    DbErr::Type(format!("column {:?}: {error}", column.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::new("id", Kind::Id),
        Column::new("at", Kind::Int).or_null(),
        Column::new("name", Kind::Text).or_null(),
    ];

    #[test]
    fn what_is_null_is_said_apart() {
        let mut batch = Batch::new(&COLUMNS, 3);
        batch.push([Cell::Id(Uuid::nil()), Cell::Null, Cell::text("")]);
        batch.push([Cell::Id(Uuid::nil()), Cell::Int(i64::MIN), Cell::Null]);
        batch.push([Cell::Id(Uuid::nil()), Cell::Null, Cell::Null]);

        let values = values(&batch);

        assert_eq!(values.len(), params(&COLUMNS));
        let Some(Value::Array(ArrayType::BigInt, Some(nulls))) = values.last() else { panic!("{values:?}") };
        assert_eq!(**nulls, [1_i64, 2, 3].map(Value::from));
    }

    #[test]
    fn columns_that_are_never_null_take_no_more_than_their_arrays() {
        let batch = Batch::of_ids(&COLUMNS[..1], [Uuid::nil(); 2]);

        assert_eq!(values(&batch).len(), 1);
    }
}
