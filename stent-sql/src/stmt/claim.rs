//! Finds work. A lane's tasks of one priority are a stream; due ones stand at its head, in order.
//!
//! Nothing here looks at a row that is not due or not admitted, however many there are (G9): streams are found by jumping
//! from one to the next in the claim index, and of each only the head is read.

use sea_orm::EntityName;
use sea_orm::sea_query::{
    Alias, CommonTableExpression, Expr, ExprTrait, JoinType, LockBehavior, LockType, Order, Query,
    SelectStatement, UnionType, WithClause,
};

use stent_core::model::{Mark, TaskStatus};

use super::{BATCH, Built, Sql, carried, in_batch, literal, name, names, number, of};
use crate::entity::lane;
use crate::entity::task::{Column, Entity};
use crate::row::columns;

const STREAM: &str = "stream";

/// Every lane by priority, with the moments of its first task and of its first one that is not due. And one row without a
/// function, which says whether [`ends`](super::limit::ends) is worth asking: when the first task's time is up, and whether
/// one of a worker is asked to end. So those who find nothing have asked once.
pub(super) fn streams(sql: Sql<'_>) -> Built {
    let of_lane = |column| Expr::col((name("lane"), column));
    let of_stream = |column| Expr::col((name(STREAM), column));
    let of_task = |column| Expr::col((name("task"), column));

    let highest = |lane| ready(lane).expr(of_task(Column::Priority).max()).take();
    let first = Query::select()
        .column((name("lane"), lane::Column::Key))
        .expr(scalar(highest(of_lane(lane::Column::Key))))
        .from_as(lane::Entity, name("lane"))
        .take();
    let lower = highest(of_stream(Column::Lane))
        .and_where(of_task(Column::Priority).lt(of_stream(Column::Priority)))
        .take();
    let next = Query::select()
        .column((name(STREAM), Column::Lane))
        .expr(scalar(lower))
        .from(Alias::new(STREAM))
        .and_where(of_stream(Column::Priority).is_not_null())
        .take();
    let mut streams = CommonTableExpression::new();
    streams
        .table_name(STREAM)
        .columns([Column::Lane, Column::Priority])
        .query(first.clone().union(UnionType::All, next).take());

    let earliest = || {
        ready(of_stream(Column::Lane))
            .expr(of_task(Column::ReadyAt).min())
            .and_where(of_task(Column::Priority).eq(of_stream(Column::Priority)))
            .and_where(wanted("task", sql.param(1)))
            .take()
    };
    let not_due = earliest().and_where(of_task(Column::ReadyAt).gt(sql.param(1))).take();
    let listed = Query::select()
        .columns(of("lane", &columns::LANE_NAME))
        .column((name(STREAM), Column::Priority))
        .expr_as(scalar(earliest()), "first_at")
        .expr_as(scalar(not_due), "next_at")
        .from(Alias::new(STREAM))
        .join_as(
            JoinType::InnerJoin,
            lane::Entity,
            name("lane"),
            of_lane(lane::Column::Key).eq(of_stream(Column::Lane)),
        )
        .and_where(of_stream(Column::Priority).is_not_null())
        .union(UnionType::All, end_hints(sql))
        .take();
    let mut with = WithClause::new();
    with.recursive(true).cte(streams);
    Built::read(&columns::STREAM, listed.with(with))
}

/// Of what ends, only whether and when, in the form of a stream.
fn end_hints(sql: Sql<'_>) -> SelectStatement {
    let first_end = Query::select()
        .expr(Expr::col(Column::ExpiresAt).min())
        .from(Entity)
        .and_where(Expr::col(Column::ExpiresAt).is_not_null())
        .and_where(Expr::col(Column::EndedAt).is_null())
        .take();
    // The end of a lease stands for its being there.
    let stopping = Query::select()
        .expr(Expr::col(Column::ReadyAt).min())
        .from(Entity)
        .and_where(stopping(sql.param(2)))
        .take();
    Query::select()
        .exprs([number(0), literal(""), literal(""), literal("[]"), number(0)])
        .exprs([scalar(first_end), scalar(stopping)])
        .take()
}

/// Tasks of a worker that are asked to end.
pub(super) fn stopping(worker: Expr) -> Expr {
    Expr::col(Column::WorkerId)
        .eq(worker)
        .and(Expr::col(Column::WorkerId).is_not_null())
        .and(Expr::col(Column::Mark).eq(literal(Mark::Cancel.as_str())))
        .and(Expr::col(Column::Status).eq(literal(TaskStatus::Running.as_str())))
}

/// The heads of the batch's streams, merged in the order priority, due time, age.
pub(super) fn pick(sql: Sql<'_>) -> Built {
    if sql.locks() {
        return sql.packed(&columns::PICKED, taken(sql, &columns::PICKED));
    }
    // Sorted by what is narrow; what is wide is read of those that are left.
    let rows = Query::select()
        .exprs(carried(sql, &columns::PICKED))
        .from(Entity)
        .and_where(Expr::col((Entity, Column::Id)).in_subquery(picked(sql)))
        .take();
    sql.packed(&columns::PICKED, rows)
}

/// The same, with the tasks of a second batch.
pub(super) fn pick_with(sql: Sql<'_>) -> Built {
    let first = sql.dialect.batch_params(&columns::HEADS) + 3;
    let others = sql.dialect.batch_source(&columns::ONE_ID, first);
    let rows = |ids| {
        Query::select()
            .exprs(carried(sql, &columns::PICKED))
            .from(Entity)
            .and_where(sql.dialect.any_of(Expr::col((Entity, Column::Id)), ids))
            .take()
    };
    if sql.locks() {
        // The others are locked already.
        let both = Query::select()
            .columns(names(&columns::PICKED))
            .from_subquery(taken(sql, &columns::PICKED), Alias::new("picked"))
            .union(UnionType::All, rows(others))
            .take();
        return sql.packed(&columns::PICKED, both);
    }
    let both = Query::select()
        .column(Column::Id)
        .from_subquery(picked(sql), Alias::new("picked"))
        .union(UnionType::All, others)
        .take();
    sql.packed(&columns::PICKED, rows(both))
}

/// The heads of the batch's streams, as far as is needed to tell which of them there is room for.
pub(super) fn heads(sql: Sql<'_>) -> Built {
    if sql.locks() {
        return sql.packed(&columns::RANKED, locked_heads(sql, &columns::RANKED));
    }
    let heads = Query::select()
        .with_cte(sql.batch_once(&columns::HEADS))
        .columns(columns::RANKED.iter().map(|column| (Entity, name(column.name))))
        .from(Alias::new(BATCH))
        .cross_join(Entity)
        .and_where(sql.dialect.any_of(Expr::col((Entity, Column::Id)), head(sql)))
        .take();
    sql.packed(&columns::RANKED, heads)
}

/// The heads of the batch's streams, locked. What is given of them is what was locked: the same rows looked up by their
/// ids could be older. Those that others have locked are passed over, and those behind them taken.
fn locked_heads(sql: Sql<'_>, gives: &[crate::batch::Column]) -> SelectStatement {
    let head = head(sql)
        .clear_selects()
        .columns(of("head", gives))
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .take();
    Query::select()
        .with_cte(sql.batch_once(&columns::HEADS))
        .columns(of(Entity.table_name(), gives))
        .from(Alias::new(BATCH))
        .join_lateral(JoinType::InnerJoin, head, Entity, Expr::cust("TRUE"))
        .take()
}

/// The first of them, in the order priority, due time, age. The others stay locked as long as the transaction lasts, which
/// is not long.
fn taken(sql: Sql<'_>, gives: &[crate::batch::Column]) -> SelectStatement {
    locked_heads(sql, gives)
        .order_by((Entity, Column::Priority), Order::Desc)
        .order_by((Entity, Column::ReadyAt), Order::Asc)
        .order_by((Entity, Column::Id), Order::Asc)
        .limit(sql.limit_after(&columns::HEADS, 2))
        .take()
}

/// The head of a stream of the batch.
fn head(sql: Sql<'_>) -> SelectStatement {
    let now = sql.param_after(&columns::HEADS, 1);
    let of_head = |column| Expr::col((name("head"), column));
    Query::select()
        .column((name("head"), Column::Id))
        .from_as(Entity, name("head"))
        .and_where(of_head(Column::Lane).eq(in_batch("lane")))
        .and_where(of_head(Column::Priority).eq(in_batch("priority")))
        .and_where(of_head(Column::ReadyAt).lte(now.clone()))
        .and_where(wanted("head", now))
        .order_by((name("head"), Column::ReadyAt), Order::Asc)
        .order_by((name("head"), Column::Id), Order::Asc)
        .limit(sql.limit_after(&columns::HEADS, 2))
        .take()
}

fn picked(sql: Sql<'_>) -> SelectStatement {
    Query::select()
        .with_cte(sql.batch_once(&columns::HEADS))
        .column((Entity, Column::Id))
        .from(Alias::new(BATCH))
        // In this order: for each stream its head, and for each of the head its row.
        .cross_join(Entity)
        .and_where(sql.dialect.any_of(Expr::col((Entity, Column::Id)), head(sql)))
        .order_by((Entity, Column::Priority), Order::Desc)
        .order_by((Entity, Column::ReadyAt), Order::Asc)
        .order_by((Entity, Column::Id), Order::Asc)
        .limit(sql.limit_after(&columns::HEADS, 2))
        .take()
}

/// Neither asked to end nor at the end of its time: no code of the others starts again (G15). The claim index knows.
fn wanted(task: &'static str, now: Expr) -> Expr {
    let of_task = |column| Expr::col((name(task), column));
    let mark = of_task(Column::Mark);
    let not_asked = mark.clone().ne(literal(Mark::Cancel.as_str()));
    let in_time = of_task(Column::ExpiresAt).is_null().or(of_task(Column::ExpiresAt).gt(now));
    mark.is_null().or(not_asked).and(in_time)
}

/// Tasks of a lane that are ready now or later: those in the claim index.
fn ready(lane: Expr) -> SelectStatement {
    Query::select()
        .from_as(Entity, name("task"))
        .and_where(Expr::col((name("task"), Column::Lane)).eq(lane))
        .and_where(Expr::col((name("task"), Column::ReadyAt)).is_not_null())
        .take()
}

fn scalar(query: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(query.into()))
}
