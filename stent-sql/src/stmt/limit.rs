//! How many tasks of limited functions run and have started, and which tasks are over.

use sea_orm::sea_query::{
    Alias, Expr, ExprTrait, Func, LockBehavior, LockType, OnConflict, Order, Query, SelectStatement,
    SimpleExpr, UnionType,
};
use stent_core::limits::EXPIRED_MAX;
use stent_core::model::FunctionKey;

use super::{BATCH, Built, Sql, in_batch, insert_from, literal, name, names, number};
use crate::entity::rate;
use crate::entity::task::{Column, Entity};
use crate::row::{NEXT, OVER, STOPPING, columns};

/// What has a place and what has started, of the batch's functions (G8).
pub(super) fn usage(sql: Sql<'_>) -> Built {
    let placed = || {
        Query::select()
            .from(Entity)
            .and_where(Expr::col((Entity, Column::LimitKey)).eq(in_batch("function_key")))
            .and_where(Expr::col((Entity, Column::LimitKey)).is_not_null())
            .take()
    };
    let now = || sql.param_after(&columns::LIMITED, 1);
    let live = || placed().and_where(Expr::col((Entity, Column::ReadyAt)).gt(now())).take();
    let over = || placed().and_where(Expr::col((Entity, Column::ReadyAt)).lte(now())).take();
    let of_rate = |column: rate::Column| Expr::col((rate::Entity, column));
    let started = || {
        Query::select()
            .from(rate::Entity)
            .and_where(of_rate(rate::Column::FunctionKey).eq(in_batch("function_key")))
            .and_where(of_rate(rate::Column::Bucket).gte(in_batch("bucket")))
            .take()
    };
    let ready_at = || Expr::col((Entity, Column::ReadyAt));
    let used = Func::coalesce([of_rate(rate::Column::Used).sum(), literal(0_i64)]);
    let used = Expr::from(used).cast_as("bigint");
    let usage = Query::select()
        .with_cte(sql.batch_once(&columns::LIMITED))
        .expr_as(in_batch("function_key"), Alias::new("function_key"))
        .expr_as(scalar(placed().expr(Expr::cust("COUNT(*)")).take()), Alias::new("running"))
        .expr_as(scalar(over().expr(Expr::cust("COUNT(*)")).take()), Alias::new("over"))
        .expr_as(scalar(live().expr(ready_at().min()).take()), Alias::new("first_end"))
        .expr_as(scalar(started().expr(used).take()), Alias::new("started"))
        .expr_as(
            scalar(started().expr(of_rate(rate::Column::Bucket).min()).take()),
            Alias::new("first_bucket"),
        )
        .expr_as(
            scalar(started().expr(of_rate(rate::Column::Bucket).max()).take()),
            Alias::new("last_bucket"),
        )
        .from(Alias::new(BATCH))
        .take();
    Built::read(&columns::USAGE, usage)
}

/// Takes the places away of what is over, of the batch's functions. Who holds one of the rows is at work on its lease, and
/// keeps the place for now.
pub(super) fn vacate(sql: Sql<'_>) -> Built {
    let mut over = Query::select();
    over.column(Column::Id)
        .from(Entity)
        .and_where(sql.in_batch_of(Column::LimitKey, &columns::ONE_LANE))
        .and_where(Expr::col(Column::LimitKey).is_not_null())
        .and_where(Expr::col(Column::ReadyAt).lte(sql.param_after(&columns::ONE_LANE, 1)));
    if sql.locks() {
        over.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    }
    let update = Query::update()
        .table(Entity)
        .value(Column::LimitKey, literal(FunctionKey::VACATED.as_i64()))
        .and_where(sql.dialect.any_of(Expr::col(Column::Id), over))
        .take();
    Built::write(update)
}

/// Adds to what has started.
pub(super) fn rate(sql: Sql<'_>) -> Built {
    let used =
        Expr::col((rate::Entity, rate::Column::Used)).add(Expr::col((name("excluded"), rate::Column::Used)));
    let mut insert = insert_from(rate::Entity, names(&columns::RATE), sql.upserted(&columns::RATE));
    let key = [rate::Column::FunctionKey, rate::Column::Bucket];
    insert.on_conflict(OnConflict::columns(key).value(rate::Column::Used, used).to_owned());
    Built::write(insert)
}

/// Deletes what started before moments.
pub(super) fn trim_rate(sql: Sql<'_>) -> Built {
    let of_rate = |column: rate::Column| Expr::col((rate::Entity, column));
    let old = Query::select()
        .expr(Expr::cust("1"))
        .from(sql.batch_table(&columns::LIMITED))
        .and_where(in_batch("function_key").eq(of_rate(rate::Column::FunctionKey)))
        .and_where(in_batch("bucket").gt(of_rate(rate::Column::Bucket)))
        .take();
    let functions =
        Query::select().expr(in_batch("function_key")).from(sql.batch_table(&columns::LIMITED)).take();
    let mut delete = Query::delete();
    delete
        .from_table(rate::Entity)
        .and_where(sql.dialect.any_of(of_rate(rate::Column::FunctionKey), functions))
        .and_where(Expr::exists(old));
    Built::write(delete)
}

/// Tasks whose time is up, those that are longest over first; the one whose time is up next; and those that run under leases
/// of a worker and are asked to end.
pub(super) fn ends(sql: Sql<'_>) -> Built {
    let (now, worker) = (|| sql.param(1), || sql.param(2));
    let ending = |what: i64| {
        Query::select()
            .expr_as(number(what), Alias::new("what"))
            .columns(columns::ENDS[1..].iter().map(|column| name(column.name)))
            .from(Entity)
            .take()
    };
    let expiring = |what: i64, which: SimpleExpr, max: u64| {
        let expiring = ending(what)
            .and_where(Expr::col(Column::ExpiresAt).is_not_null())
            .and_where(Expr::col(Column::EndedAt).is_null())
            .and_where(which)
            .order_by(Column::ExpiresAt, Order::Asc)
            .order_by(Column::Id, Order::Asc)
            .limit(max)
            .take();
        Query::select().columns(names(&columns::ENDS)).from_subquery(expiring, Alias::new("ending")).take()
    };
    let over = expiring(OVER, Expr::col(Column::ExpiresAt).lte(now()), EXPIRED_MAX as u64 + 1);
    let next = expiring(NEXT, Expr::col(Column::ExpiresAt).gt(now()), 1);
    let stopping = ending(STOPPING).and_where(super::claim::stopping(worker())).take();
    let all = over.clone().union(UnionType::All, next).union(UnionType::All, stopping).take();
    Built::read(&columns::ENDS, all)
}

fn scalar(query: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(query.into()))
}
