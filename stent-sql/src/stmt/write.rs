//! Writes new tasks, and changes of tasks.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Func, Query, UpdateStatement};
use stent_core::model::TaskStatus;

use super::{Built, Sql, in_batch, insert_from, literal, name, names, null};
use crate::batch::Column;
use crate::row::{Copy, OneLane, Shape};
use crate::table::task::{
    Changing, Moved, Outcome, PlainClaim, PlainInsert, PlainUpdate, Rare, RareClaim, RareInsert, RareUpdate,
    Reason,
};
use crate::table::{lane, task};

/// Inserts tasks without rare columns.
pub(super) fn insert(sql: Sql<'_>) -> Built {
    whole(sql, PlainInsert::COLUMNS)
}

/// Inserts tasks with rare columns: a key, tags, a deadline and the like.
pub(super) fn insert_rare(sql: Sql<'_>) -> Built {
    whole(sql, RareInsert::COLUMNS)
}

/// Inserts all tasks, or none if one of their lanes is not stored: no claim would find a task without its lane. Lanes that the
/// store has seen may be gone.
fn whole(sql: Sql<'_>, all: &[Column]) -> Built {
    let first = sql.dialect.batch_params(all) + 2;
    let keys = sql.dialect.batch_source(OneLane::COLUMNS, first);
    let stored = Query::select()
        .expr(Expr::cust("COUNT(*)"))
        .from(lane::TABLE)
        .and_where(sql.dialect.any_of(Expr::col((lane::TABLE, lane::KEY)), keys))
        .take();
    let stored = Expr::SubQuery(None, Box::new(stored.into()));
    let mut rows = sql.batch(all);
    rows.and_where(stored.eq(sql.param_after(all, 1)));
    Built::write(insert_from(task::TABLE, names(all), rows))
}

/// Updates tasks without rare columns.
pub(super) fn update(sql: Sql<'_>) -> Built {
    let mut update = by_batch(sql, PlainUpdate::COLUMNS, Changing::COLUMNS);
    written(&mut update, Outcome::COLUMNS);
    Built::write(update)
}

/// Updates tasks that have, or had, a mark, a deadline, a failure and the like.
pub(super) fn update_rare(sql: Sql<'_>) -> Built {
    let mut update = by_batch(sql, RareUpdate::COLUMNS, Changing::COLUMNS);
    for column in Rare::COLUMNS {
        update.value(name(column.name), in_batch(column.name));
    }
    written(&mut update, Outcome::COLUMNS);
    written(&mut update, Reason::COLUMNS);
    let kept = Expr::col((task::TABLE, task::RETRY));
    let retry = Func::coalesce([in_batch(task::RETRY), kept]);
    update.value(task::RETRY, Expr::from(retry));
    Built::write(update)
}

/// Moves tasks to other lanes: their keys, and the names of their queues.
pub(super) fn relane(sql: Sql<'_>) -> Built {
    Built::write(by_batch(sql, Moved::COLUMNS, Moved::COLUMNS))
}

/// Sets columns of the rows whose result is written.
fn written(update: &mut UpdateStatement, set: &[Column]) {
    for column in set {
        let written = CaseStatement::new()
            .case(in_batch("written").eq(literal(0_i64)), Expr::col((task::TABLE, name(column.name))))
            .finally(in_batch(column.name));
        update.value(name(column.name), written);
    }
}

/// Copies results of tasks to other tasks.
pub(super) fn copy(sql: Sql<'_>) -> Built {
    const SOURCE: &str = "source_task";
    let mut update = Query::update();
    update.table(task::TABLE).from(sql.batch_table(Copy::COLUMNS));
    for column in Outcome::COLUMNS.iter().chain(Reason::COLUMNS) {
        let value = Query::select()
            .column((name(SOURCE), name(column.name)))
            .from_as(task::TABLE, name(SOURCE))
            .and_where(Expr::col((name(SOURCE), task::ID)).eq(in_batch("source")))
            .take();
        update.value(name(column.name), Expr::SubQuery(None, Box::new(value.into())));
    }
    update.and_where(Expr::col((task::TABLE, task::ID)).eq(in_batch("id")));
    Built::write(update)
}

/// Sets the columns that [`Row::claim`](stent_core::ledger::Row::claim) sets, and no others, so that no other index changes.
pub(super) fn claim(sql: Sql<'_>) -> Built {
    let claim = by_batch(sql, PlainClaim::COLUMNS, PlainClaim::COLUMNS)
        .value(task::STATUS, literal(TaskStatus::Running.as_str()))
        .value(task::WORKER_ID, sql.param_after(PlainClaim::COLUMNS, 1))
        .value(task::READY_AT, sql.param_after(PlainClaim::COLUMNS, 2))
        .value(task::WAKE_THRESHOLD, null())
        .take();
    Built::write(claim)
}

/// Writes claims of tasks that take a slot of a limit, and of tasks whose lease expired.
pub(super) fn claim_rare(sql: Sql<'_>) -> Built {
    let claim = by_batch(sql, RareClaim::COLUMNS, RareClaim::COLUMNS)
        .value(task::STATUS, literal(TaskStatus::Running.as_str()))
        .value(task::WORKER_ID, sql.param_after(RareClaim::COLUMNS, 1))
        .value(task::READY_AT, sql.param_after(RareClaim::COLUMNS, 2))
        .value(task::WAKE_THRESHOLD, null())
        .take();
    Built::write(claim)
}

/// Sets columns, except the id, to the batch's values for each of its ids.
fn by_batch(sql: Sql<'_>, batch: &[Column], set: &[Column]) -> UpdateStatement {
    let mut update = Query::update();
    update.table(task::TABLE).from(sql.batch_table(batch));
    for column in set.iter().filter(|column| column.name != task::ID) {
        update.value(name(column.name), in_batch(column.name));
    }
    update.and_where(Expr::col((task::TABLE, task::ID)).eq(in_batch("id")));
    update
}
