//! Reads and writes key entries.

use sea_orm::sea_query::{
    Alias, Condition, Expr, ExprTrait, JoinType, OnConflict, Order, Query, SelectStatement, UnionType,
};

use super::mark::is_asked_to_end;
use super::{BATCH, Built, Sql, in_batch, insert_from, limit, literal, name, names, number};
use crate::row::{CLOSING, CascadeRow, KeyRow, NewKey, OneKey, Restore, Shape, Since, VACANT};
use crate::table::{key, task};

/// Key entries by key.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let entries = Query::select()
        .columns(names(KeyRow::COLUMNS))
        .from(key::TABLE)
        .and_where(sql.in_batch_of(key::KEY, OneKey::COLUMNS))
        .take();
    Built::read(KeyRow::COLUMNS, sql.locked(entries, key::KEY))
}

/// A page of an execution's key entries, except results with a value. Parameters: execution, from which key, how many.
pub(super) fn of_execution(sql: Sql<'_>) -> Built {
    let is_open = Condition::any()
        .add(Expr::col(key::KIND).ne(literal("result")))
        .add(Expr::col(key::VALUE_TYPE).is_null());
    let entries = Query::select()
        .columns(names(KeyRow::COLUMNS))
        .from(key::TABLE)
        .and_where(Expr::col(key::EXECUTION_ID).eq(sql.param(1)))
        .and_where(Expr::col(key::KEY).gte(sql.param(2)))
        .cond_where(is_open)
        .order_by(key::KEY, Order::Asc)
        .limit(limit(3))
        .take();
    Built::read(KeyRow::COLUMNS, entries)
}

/// Inserts or replaces key entries.
pub(super) fn write(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(key::TABLE, names(NewKey::COLUMNS), sql.upserted(NewKey::COLUMNS));
    let others = names(NewKey::COLUMNS).filter(|column| *column != name(key::KEY));
    insert.on_conflict(OnConflict::column(key::KEY).update_columns(others).to_owned());
    Built::write(insert)
}

pub(super) fn forget(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete.from_table(key::TABLE).and_where(sql.in_batch_of(key::KEY, OneKey::COLUMNS));
    Built::write(delete)
}

/// Returns values to key entries that have none.
pub(super) fn restore(sql: Sql<'_>) -> Built {
    let of_task = |column: &'static str| -> Expr {
        let value: SelectStatement = Query::select()
            .column((name("taker"), column))
            .from_as(task::TABLE, name("taker"))
            .and_where(Expr::col((name("taker"), task::ID)).eq(in_batch("id")))
            .take();
        Expr::SubQuery(None, Box::new(value.into()))
    };
    let update = Query::update()
        .table(key::TABLE)
        .value(key::VALUE_TYPE, of_task(task::RESULT_TYPE))
        .value(key::VALUE, of_task(task::RESULT))
        .from(sql.batch_table(Restore::COLUMNS))
        .and_where(Expr::col((key::TABLE, key::KEY)).eq(in_batch("key")))
        .and_where(Expr::col((key::TABLE, key::VALUE_TYPE)).is_null())
        .take();
    Built::write(update)
}

/// The next steps of cascades in executions: keys whose holders have ended without a result, and roots that are asked to end
/// and have no running task left. All open tasks below such a root are asked to end, too.
pub(super) fn cascade(sql: Sql<'_>) -> Built {
    let open = |alias: &'static str| {
        Query::select()
            .expr(Expr::cust("1"))
            .from_as(task::TABLE, name(alias))
            .and_where(Expr::col((name(alias), task::ENDED_AT)).is_null())
            .take()
    };
    let holder = open("holder")
        .and_where(Expr::col((name("holder"), task::ID)).equals((key::TABLE, key::HOLDER_ID)))
        .take();
    let vacant = Query::select()
        .expr_as(number(VACANT), Alias::new("what"))
        .expr_as(Expr::col((key::TABLE, key::KEY)), Alias::new("id"))
        .expr_as(in_batch("at"), Alias::new("at"))
        .from(Alias::new(BATCH))
        .cross_join(key::TABLE)
        .and_where(Expr::col((key::TABLE, key::EXECUTION_ID)).eq(in_batch("execution_id")))
        .and_where(Expr::col((key::TABLE, key::KIND)).eq(literal("result")))
        .and_where(Expr::col((key::TABLE, key::VALUE_TYPE)).is_null())
        .and_where(Expr::exists(holder).not())
        .take();
    let others = open("other")
        .and_where(Expr::col((name("other"), task::EXECUTION_ID)).equals((name("root"), task::ID)))
        .and_where(is_asked_to_end(Expr::col((name("other"), task::MARK))))
        .and_where(Expr::col((name("other"), task::ID)).ne(Expr::col((name("root"), task::ID))))
        .take();
    let of_root = |column: &'static str| Expr::col((name("root"), column));
    let closing = Query::select()
        .expr_as(number(CLOSING), Alias::new("what"))
        .expr_as(of_root(task::ID), Alias::new("id"))
        .expr_as(in_batch("at"), Alias::new("at"))
        .from(Alias::new(BATCH))
        .join_as(JoinType::CrossJoin, task::TABLE, name("root"), Condition::all())
        .and_where(of_root(task::ID).eq(in_batch("execution_id")))
        .and_where(of_root(task::STATUS).ne(literal("running")))
        .and_where(is_asked_to_end(of_root(task::MARK)))
        .and_where(of_root(task::ENDED_AT).is_null())
        .and_where(Expr::exists(others).not())
        .take();
    let all = vacant.clone().with_cte(sql.batch_once(Since::COLUMNS)).union(UnionType::All, closing).take();
    Built::read(CascadeRow::COLUMNS, all)
}
