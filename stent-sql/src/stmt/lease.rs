//! Extends leases.

use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, Query, SelectStatement};
use stent_core::model::{Slot, TaskStatus};

use super::{BATCH, Built, Sql, in_batch, literal, name, of};
use crate::row::{Held, Shape};
use crate::table::task;

const TASK: &str = "task";

/// Extends leases. Rows that other transactions have locked are skipped, so that one long lock does not let all other leases
/// expire. Claims skip such rows, too.
pub(super) fn renew(sql: Sql<'_>) -> Built {
    let (until, now) = (sql.param_after(Held::COLUMNS, 1), sql.param_after(Held::COLUMNS, 2));
    let mut renew = Query::update();
    renew.table(task::TABLE).value(task::READY_AT, until);
    if sql.locks() {
        let free = renewable(sql, now)
            .column((name(TASK), task::ID))
            .lock_with_tables_behavior(LockType::Update, [name(TASK)], LockBehavior::SkipLocked)
            .take();
        renew.and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), free));
    } else {
        renew
            .from(sql.batch_table(Held::COLUMNS))
            .and_where(Expr::col((task::TABLE, task::ID)).eq(in_batch("id")))
            .and_where(Expr::col((task::TABLE, task::EPOCH)).eq(in_batch("epoch")))
            .and_where(runs(task::TABLE))
            .and_where(is_not_over(task::TABLE, now));
    }
    renew.returning(Query::returning().columns(of(task::TABLE, Held::COLUMNS)));
    Built::read(Held::COLUMNS, renew)
}

/// Leases that would be extended if their rows were not locked. Takes no locks.
pub(super) fn held(sql: Sql<'_>) -> Built {
    let held = renewable(sql, sql.param_after(Held::COLUMNS, 1)).columns(of(TASK, Held::COLUMNS)).take();
    Built::read(Held::COLUMNS, held)
}

/// The running tasks of a batch of leases: the conditions of [`Row::renew`](stent_core::ledger::Row::renew).
fn renewable(sql: Sql<'_>, now: Expr) -> SelectStatement {
    Query::select()
        .from_as(task::TABLE, name(TASK))
        .from_subquery(sql.batch(Held::COLUMNS), BATCH)
        .and_where(Expr::col((name(TASK), task::ID)).eq(in_batch("id")))
        .and_where(Expr::col((name(TASK), task::EPOCH)).eq(in_batch("epoch")))
        .and_where(runs(TASK))
        .and_where(is_not_over(TASK, now))
        .take()
}

fn runs(task: &'static str) -> Expr {
    Expr::col((name(task), task::STATUS)).eq(literal(TaskStatus::Running.as_str()))
}

/// G8: another task may have the slot already: see [`Row::renew`](stent_core::ledger::Row::renew).
fn is_not_over(task: &'static str, now: Expr) -> Expr {
    let of_task = |column| Expr::col((name(task), column));
    let has_place = of_task(task::LIMIT_KEY).ne(literal(Slot::Vacated.as_i64()));
    of_task(task::LIMIT_KEY).is_null().or(has_place.and(of_task(task::READY_AT).gt(now)))
}
