//! Reads tasks by id.

use sea_orm::sea_query::{Alias, CommonTableExpression, Expr, ExprTrait, Query, SelectStatement, UnionType};

use super::{Built, Sql, carried, names};
use crate::batch::Column;
use crate::row::{OneId, OneKey, OverflowArgs, OverflowResult, Shape};
use crate::table::task::{self, LaneNames};
use stent_core::ledger::Row;

/// The rows that transitions are applied to.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let rows =
        Query::select().exprs(carried(sql, Row::COLUMNS)).from(task::TABLE).and_where(among(sql)).take();
    sql.packed(Row::COLUMNS, sql.locked(rows, (task::TABLE, task::ID)))
}

/// These rows, and the open tasks under the keys of a second batch, with their parents and owners.
pub(super) fn read_keyed(sql: Sql<'_>) -> Built {
    const KEYED: &str = "keyed";
    let under = Query::select()
        .columns([task::ID, task::PARENT_ID, task::OWNER_ID])
        .from(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col(task::KEY), sql.batch_after(OneId::COLUMNS, OneKey::COLUMNS)))
        .and_where(Expr::col(task::KEY).is_not_null())
        .and_where(Expr::col(task::ENDED_AT).is_null())
        .take();
    let mut keyed = CommonTableExpression::from_select(under);
    keyed.table_name(KEYED).materialized(true);
    let of_keyed = |column| Query::select().column(column).from(Alias::new(KEYED)).take();
    let all = sql
        .batch(OneId::COLUMNS)
        .union(UnionType::All, of_keyed(task::ID))
        .union(UnionType::All, of_keyed(task::PARENT_ID))
        .union(UnionType::All, of_keyed(task::OWNER_ID))
        .take();
    let rows = Query::select()
        .with_cte(keyed)
        .exprs(carried(sql, Row::COLUMNS))
        .from(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), all))
        .take();
    sql.packed(Row::COLUMNS, sql.locked(rows, (task::TABLE, task::ID)))
}

/// The names of the lanes of tasks.
pub(super) fn lanes_of(sql: Sql<'_>) -> Built {
    let lanes =
        Query::select().columns(names(LaneNames::COLUMNS)).from(task::TABLE).and_where(among(sql)).take();
    Built::read(LaneNames::COLUMNS, lanes)
}

/// Arguments that were too large to come inline.
pub(super) fn overflow_args(sql: Sql<'_>) -> Built {
    Built::read(OverflowArgs::COLUMNS, overflow(sql, OverflowArgs::COLUMNS))
}

/// Results that were too large to come inline.
pub(super) fn overflow_results(sql: Sql<'_>) -> Built {
    Built::read(OverflowResult::COLUMNS, overflow(sql, OverflowResult::COLUMNS))
}

fn overflow(sql: Sql<'_>, gives: &[Column]) -> SelectStatement {
    Query::select().columns(names(gives)).from(task::TABLE).and_where(among(sql)).take()
}

fn among(sql: Sql<'_>) -> Expr {
    sql.in_batch_of((task::TABLE, task::ID), OneId::COLUMNS)
}
