//! Counts tasks of limited functions, and finds tasks that must end.

use sea_orm::sea_query::{
    Alias, Expr, ExprTrait, Func, LockBehavior, LockType, OnConflict, Order, Query, SelectStatement,
    SimpleExpr, UnionType,
};
use stent_core::limits::EXPIRED_MAX;
use stent_core::model::Slot;

use super::{BATCH, Built, Sql, in_batch, insert_from, literal, name, names, number};
use crate::row::{EndingRow, EndingTask, Limited, NEXT, OVER, OneFunction, STOPPING, Shape, Started, Usage};
use crate::table::{rate, task};

/// How many tasks of the batch's functions have a slot, and how many have started (G8).
pub(super) fn usage(sql: Sql<'_>) -> Built {
    let in_slots = || {
        Query::select()
            .from(task::TABLE)
            .and_where(Expr::col((task::TABLE, task::LIMIT_KEY)).eq(in_batch("function_key")))
            .and_where(Expr::col((task::TABLE, task::LIMIT_KEY)).is_not_null())
            .take()
    };
    let now = || sql.param_after(Limited::COLUMNS, 1);
    let live = || in_slots().and_where(Expr::col((task::TABLE, task::READY_AT)).gt(now())).take();
    let over = || in_slots().and_where(Expr::col((task::TABLE, task::READY_AT)).lte(now())).take();
    let of_rate = |column: &'static str| Expr::col((rate::TABLE, column));
    let started = || {
        Query::select()
            .from(rate::TABLE)
            .and_where(of_rate(rate::FUNCTION_KEY).eq(in_batch("function_key")))
            .and_where(of_rate(rate::BUCKET).gte(in_batch("bucket")))
            .take()
    };
    let ready_at = || Expr::col((task::TABLE, task::READY_AT));
    let used = Func::coalesce([of_rate(rate::USED).sum(), literal(0_i64)]);
    let used = Expr::from(used).cast_as("bigint");
    let usage = Query::select()
        .with_cte(sql.batch_once(Limited::COLUMNS))
        .expr_as(in_batch("function_key"), Alias::new("function_key"))
        .expr_as(scalar(in_slots().expr(Expr::cust("COUNT(*)")).take()), Alias::new("running"))
        .expr_as(scalar(over().expr(Expr::cust("COUNT(*)")).take()), Alias::new("over"))
        .expr_as(scalar(live().expr(ready_at().min()).take()), Alias::new("first_end"))
        .expr_as(scalar(started().expr(used).take()), Alias::new("started"))
        .expr_as(scalar(started().expr(of_rate(rate::BUCKET).min()).take()), Alias::new("first_bucket"))
        .expr_as(scalar(started().expr(of_rate(rate::BUCKET).max()).take()), Alias::new("last_bucket"))
        .from(Alias::new(BATCH))
        .take();
    Built::read(Usage::COLUMNS, usage)
}

/// Vacates the slots of tasks of the batch's functions whose leases have expired. A row that another transaction has
/// locked is having its lease renewed, and keeps its slot for now.
pub(super) fn vacate(sql: Sql<'_>) -> Built {
    let mut over = Query::select();
    over.column(task::ID)
        .from(task::TABLE)
        .and_where(sql.in_batch_of(task::LIMIT_KEY, OneFunction::COLUMNS))
        .and_where(Expr::col(task::LIMIT_KEY).is_not_null())
        .and_where(Expr::col(task::READY_AT).lte(sql.param_after(OneFunction::COLUMNS, 1)));
    if sql.locks() {
        over.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    }
    let update = Query::update()
        .table(task::TABLE)
        .value(task::LIMIT_KEY, literal(Slot::Vacated.as_i64()))
        .and_where(sql.dialect.any_of(Expr::col(task::ID), over))
        .take();
    Built::write(update)
}

/// Adds to the numbers of started tasks.
pub(super) fn rate(sql: Sql<'_>) -> Built {
    let used = Expr::col((rate::TABLE, rate::USED)).add(Expr::col((name("excluded"), rate::USED)));
    let mut insert = insert_from(rate::TABLE, names(Started::COLUMNS), sql.upserted(Started::COLUMNS));
    let key = [rate::FUNCTION_KEY, rate::BUCKET];
    insert.on_conflict(OnConflict::columns(key).value(rate::USED, used).to_owned());
    Built::write(insert)
}

/// Deletes buckets that no longer count.
pub(super) fn trim_rate(sql: Sql<'_>) -> Built {
    let of_rate = |column: &'static str| Expr::col((rate::TABLE, column));
    let old = Query::select()
        .expr(Expr::cust("1"))
        .from(sql.batch_table(Limited::COLUMNS))
        .and_where(in_batch("function_key").eq(of_rate(rate::FUNCTION_KEY)))
        .and_where(in_batch("bucket").gt(of_rate(rate::BUCKET)))
        .take();
    let functions =
        Query::select().expr(in_batch("function_key")).from(sql.batch_table(Limited::COLUMNS)).take();
    let mut delete = Query::delete();
    delete
        .from_table(rate::TABLE)
        .and_where(sql.dialect.any_of(of_rate(rate::FUNCTION_KEY), functions))
        .and_where(Expr::exists(old));
    Built::write(delete)
}

/// Tasks whose deadline has passed, the earliest first; the task with the next deadline; and running tasks of a worker that
/// are asked to end.
pub(super) fn ends(sql: Sql<'_>) -> Built {
    let (now, worker) = (|| sql.param(1), || sql.param(2));
    let ending = |what: i64| {
        Query::select()
            .columns(names(EndingTask::COLUMNS))
            .expr_as(number(what), Alias::new("what"))
            .from(task::TABLE)
            .take()
    };
    let expiring = |what: i64, which: SimpleExpr, max: u64| {
        let expiring = ending(what)
            .and_where(Expr::col(task::EXPIRES_AT).is_not_null())
            .and_where(Expr::col(task::ENDED_AT).is_null())
            .and_where(which)
            .order_by(task::EXPIRES_AT, Order::Asc)
            .order_by(task::ID, Order::Asc)
            .limit(max)
            .take();
        Query::select()
            .columns(names(EndingRow::COLUMNS))
            .from_subquery(expiring, Alias::new("ending"))
            .take()
    };
    let over = expiring(OVER, Expr::col(task::EXPIRES_AT).lte(now()), EXPIRED_MAX as u64 + 1);
    let next = expiring(NEXT, Expr::col(task::EXPIRES_AT).gt(now()), 1);
    let stopping = ending(STOPPING).and_where(super::claim::stopping(worker())).take();
    let all = over.clone().union(UnionType::All, next).union(UnionType::All, stopping).take();
    Built::read(EndingRow::COLUMNS, all)
}

fn scalar(query: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(query.into()))
}
