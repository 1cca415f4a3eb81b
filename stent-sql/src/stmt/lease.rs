//! Extends leases.

use sea_orm::EntityName;
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, Query, SelectStatement};
use stent_core::model::{FunctionKey, TaskStatus};

use super::{BATCH, Built, Sql, in_batch, literal, name, of};
use crate::entity::task::{Column, Entity};
use crate::row::columns::HELD;

const TASK: &str = "task";

/// Rows that others have locked are passed over: one that somebody holds for long must not let the leases of all others run
/// out. Nobody can claim it meanwhile, since claims pass it over, too.
pub(super) fn renew(sql: Sql<'_>) -> Built {
    let (until, now) = (sql.param_after(&HELD, 1), sql.param_after(&HELD, 2));
    let mut renew = Query::update();
    renew.table(Entity).value(Column::ReadyAt, until);
    if sql.locks() {
        let free = renewable(sql, now)
            .column((name(TASK), Column::Id))
            .lock_with_tables_behavior(LockType::Update, [name(TASK)], LockBehavior::SkipLocked)
            .take();
        renew.and_where(sql.dialect.any_of(Expr::col((Entity, Column::Id)), free));
    } else {
        renew
            .from(sql.batch_table(&HELD))
            .and_where(Expr::col((Entity, Column::Id)).eq(in_batch("id")))
            .and_where(Expr::col((Entity, Column::Epoch)).eq(in_batch("epoch")))
            .and_where(runs(Entity.table_name()))
            .and_where(is_not_over(Entity.table_name(), now));
    }
    renew.returning(Query::returning().columns(of(Entity.table_name(), &HELD)));
    Built::read(&HELD, renew)
}

/// Leases that could be extended if nobody had locked them. Locks nothing, and waits for nobody.
pub(super) fn held(sql: Sql<'_>) -> Built {
    let held = renewable(sql, sql.param_after(&HELD, 1)).columns(of(TASK, &HELD)).take();
    Built::read(&HELD, held)
}

/// The tasks of a batch of leases that run under them.
fn renewable(sql: Sql<'_>, now: Expr) -> SelectStatement {
    Query::select()
        .from_as(Entity, name(TASK))
        .from_subquery(sql.batch(&HELD), BATCH)
        .and_where(Expr::col((name(TASK), Column::Id)).eq(in_batch("id")))
        .and_where(Expr::col((name(TASK), Column::Epoch)).eq(in_batch("epoch")))
        .and_where(runs(TASK))
        .and_where(is_not_over(TASK, now))
        .take()
}

fn runs(task: &'static str) -> Expr {
    Expr::col((name(task), Column::Status)).eq(literal(TaskStatus::Running.as_str()))
}

/// G8: the place may have been given to another, or was: see [`Row::keeps_place`](stent_core::ledger::Row::keeps_place).
fn is_not_over(task: &'static str, now: Expr) -> Expr {
    let of_task = |column| Expr::col((name(task), column));
    let has_place = of_task(Column::LimitKey).ne(literal(FunctionKey::VACATED.as_i64()));
    of_task(Column::LimitKey).is_null().or(has_place.and(of_task(Column::ReadyAt).gt(now)))
}
