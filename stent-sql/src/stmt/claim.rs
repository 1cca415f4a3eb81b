//! Finds work. A lane's tasks of one priority are a stream; due ones stand at its head, in order.
//!
//! Nothing here looks at a row that is not due or not admitted, however many there are (G9): streams are found by jumping
//! from one to the next in the claim index, and of each only the head is read.

use sea_orm::EntityName;
use sea_orm::sea_query::{
    Alias, CommonTableExpression, Expr, ExprTrait, JoinType, LockBehavior, LockType, Order, Query, SelectStatement,
    UnionType, WithClause, WithQuery,
};

use super::read::ROW_COLUMNS;
use super::{BATCH, Sql, in_batch, name};
use crate::entity::lane;
use crate::entity::task::{Column, Entity};
use crate::row::{CLAIM_COLUMNS, STREAM_BATCH};

const STREAM: &str = "stream";

/// Every lane by priority, with the moments of its first task and of its first one that is not due.
pub(super) fn streams(sql: Sql<'_>) -> WithQuery {
    let highest = |lane: Expr| {
        ready(lane).expr(Expr::col((name("task"), Column::Priority)).max()).take()
    };
    let first = Query::select()
        .column((name("lane"), lane::Column::Key))
        .expr(scalar(highest(Expr::col((name("lane"), lane::Column::Key)))))
        .from_as(lane::Entity, name("lane"))
        .take();
    let mut lower = highest(Expr::col((name(STREAM), Column::Lane)));
    lower.and_where(
        Expr::col((name("task"), Column::Priority)).lt(Expr::col((name(STREAM), Column::Priority))),
    );
    let next = Query::select()
        .column((name(STREAM), Column::Lane))
        .expr(scalar(lower))
        .from(Alias::new(STREAM))
        .and_where(Expr::col((name(STREAM), Column::Priority)).is_not_null())
        .take();
    let mut streams = CommonTableExpression::new();
    let mut all = first;
    all.union(UnionType::All, next);
    streams.table_name(STREAM).columns([Column::Lane, Column::Priority]).query(all);

    let earliest = || {
        ready(Expr::col((name(STREAM), Column::Lane)))
            .expr(Expr::col((name("task"), Column::ReadyAt)).min())
            .and_where(Expr::col((name("task"), Column::Priority)).equals((name(STREAM), Column::Priority)))
            .take()
    };
    let mut not_due = earliest();
    not_due.and_where(Expr::col((name("task"), Column::ReadyAt)).gt(sql.param(1)));
    let listed = Query::select()
        .columns([lane::Column::Key, lane::Column::Queue, lane::Column::Function].map(|column| (name("lane"), column)))
        .column((name(STREAM), Column::Priority))
        .expr_as(scalar(earliest()), "first_at")
        .expr_as(scalar(not_due), "next_at")
        .from(Alias::new(STREAM))
        .join_as(
            JoinType::InnerJoin,
            lane::Entity,
            name("lane"),
            Expr::col((name("lane"), lane::Column::Key)).equals((name(STREAM), Column::Lane)),
        )
        .and_where(Expr::col((name(STREAM), Column::Priority)).is_not_null())
        .take();
    let mut with = WithClause::new();
    with.recursive(true).cte(streams);
    listed.with(with)
}

/// The heads of the batch's streams, merged in the order priority, due time, age.
pub(super) fn pick(sql: Sql<'_>) -> SelectStatement {
    let now = sql.param_after(&STREAM_BATCH, 1);
    let max = sql.limit_after(&STREAM_BATCH, 2);
    let head = Query::select()
        .column((name("head"), Column::Id))
        .from_as(Entity, name("head"))
        .and_where(Expr::col((name("head"), Column::Lane)).eq(in_batch("lane")))
        .and_where(Expr::col((name("head"), Column::Priority)).eq(in_batch("priority")))
        .and_where(Expr::col((name("head"), Column::ReadyAt)).lte(now))
        .order_by((name("head"), Column::ReadyAt), Order::Asc)
        .order_by((name("head"), Column::Id), Order::Asc)
        .limit(max)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .take();
    let task = name(Entity.table_name());
    Query::select()
        .columns(ROW_COLUMNS.into_iter().chain(CLAIM_COLUMNS).map(|column| (task.clone(), column)))
        .with_cte(sql.batch(&STREAM_BATCH))
        .from(Alias::new(BATCH))
        .cross_join(Entity)
        .and_where(sql.dialect.any_of(Expr::col((task.clone(), Column::Id)), head))
        .order_by((task.clone(), Column::Priority), Order::Desc)
        .order_by((task.clone(), Column::ReadyAt), Order::Asc)
        .order_by((task, Column::Id), Order::Asc)
        .limit(max)
        .take()
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
