//! Reads for people and waiters. None of them locks.

use sea_orm::sea_query::{Expr, ExprTrait, Order, Query, SelectStatement, UnionType};

use super::{Sql, limit};
use crate::entity::task::{Column, Entity};
use crate::row::ID_BATCH;

/// What makes an execution's view, in the order in which it is decoded.
pub(super) const EXECUTION_COLUMNS: [Column; 10] = [
    Column::Id,
    Column::Name,
    Column::Queue,
    Column::Status,
    Column::CreatedAt,
    Column::StartedAt,
    Column::EndedAt,
    Column::Failure,
    Column::ResultType,
    Column::Result,
];

/// What makes a task's view, in the order in which it is decoded.
pub(super) const TASK_COLUMNS: [Column; 13] = [
    Column::Id,
    Column::ParentId,
    Column::Seq,
    Column::Kind,
    Column::Name,
    Column::Status,
    Column::Attempts,
    Column::DoneOrder,
    Column::Failure,
    Column::ReadyAt,
    Column::CreatedAt,
    Column::StartedAt,
    Column::EndedAt,
];

/// What makes an item's view, in the order in which it is decoded.
pub(super) const ITEM_COLUMNS: [Column; 7] = [
    Column::Seq,
    Column::Status,
    Column::ArgsType,
    Column::Args,
    Column::Failure,
    Column::ResultType,
    Column::Result,
];

pub(super) fn clock(sql: Sql<'_>) -> SelectStatement {
    Query::select().expr_as(sql.dialect.clock(), "now").take()
}

pub(super) fn executions(sql: Sql<'_>) -> SelectStatement {
    Query::select()
        .columns(EXECUTION_COLUMNS)
        .from(Entity)
        .and_where(Expr::col(Column::Id).in_subquery(sql.batch_rows(&ID_BATCH)))
        .and_where(Expr::col(Column::ParentId).is_null())
        .take()
}

/// A page of an execution's tasks, by id, which is by age. The root is found by its own id: roots, of which there may be
/// as many as tasks, are not in the index of executions.
pub(super) fn tasks(sql: Sql<'_>) -> SelectStatement {
    let (execution, after) = (|| sql.param(1), || sql.param(2));
    let root = Query::select()
        .columns(TASK_COLUMNS)
        .from(Entity)
        .and_where(Expr::col(Column::Id).eq(execution()))
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::Id).gt(after()))
        .take();
    let mut all = Query::select()
        .columns(TASK_COLUMNS)
        .from(Entity)
        .and_where(Expr::col(Column::ExecutionId).eq(execution()))
        .and_where(Expr::col(Column::ParentId).is_not_null())
        .and_where(Expr::col(Column::Id).gt(after()))
        .take();
    all.union(UnionType::All, root).order_by(Column::Id, Order::Asc).limit(limit(3));
    all
}

/// A page of a map's items. Items have no `done_order`: their map only counts them.
pub(super) fn items(sql: Sql<'_>) -> SelectStatement {
    Query::select()
        .columns(ITEM_COLUMNS)
        .from(Entity)
        .and_where(Expr::col(Column::ParentId).eq(sql.param(1)))
        .and_where(Expr::col(Column::DoneOrder).is_null())
        .and_where(Expr::col(Column::Seq).gte(sql.param(2)))
        .order_by(Column::Seq, Order::Asc)
        .limit(limit(3))
        .take()
}
