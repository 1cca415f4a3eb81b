//! What happens to everything below a task.

use sea_orm::sea_query::{
    Alias, CommonTableExpression, DeleteStatement, DynIden, Expr, ExprTrait, JoinType, Query, SelectStatement, UnionType,
    UpdateStatement, WithClause,
};
use sea_orm::EntityName;
use stent_core::model::TaskStatus;

use super::{Sql, literal, name};
use crate::entity::task::{Column, Entity};
use crate::row::ID_BATCH;

const BELOW: &str = "below";

/// Cancels every open task below those of the batch, at the moment at which they themselves ended.
pub(super) fn sweep(sql: Sql<'_>) -> UpdateStatement {
    let root = || name("root");
    let directly = Query::select()
        .column((name("task"), Column::Id))
        .column((root(), Column::EndedAt))
        .from_as(Entity, root())
        .join_as(JoinType::InnerJoin, Entity, name("task"), child_of(root()))
        .and_where(Expr::col((root(), Column::Id)).in_subquery(sql.batch_rows(&ID_BATCH)))
        .take();
    let further = Query::select()
        .column((name("task"), Column::Id))
        .column((name(BELOW), Column::EndedAt))
        .from(Alias::new(BELOW))
        .join_as(JoinType::InnerJoin, Entity, name("task"), child_of(name(BELOW)))
        .take();
    Query::update()
        .with_cte(recursive(directly, further, &[Column::Id, Column::EndedAt]))
        .table(Entity)
        .value(Column::Status, literal(TaskStatus::Cancelled.as_str()))
        .value(Column::ReadyAt, Expr::cust("NULL"))
        .value(Column::WorkerId, Expr::cust("NULL"))
        .value(Column::WakeAt, Expr::cust("NULL"))
        .value(Column::EndedAt, Expr::col((name(BELOW), Column::EndedAt)))
        .from(Alias::new(BELOW))
        .and_where(Expr::col((name(Entity.table_name()), Column::Id)).equals((name(BELOW), Column::Id)))
        .and_where(Expr::col((name(Entity.table_name()), Column::EndedAt)).is_null())
        .take()
}

/// Deletes the tasks of the batch and everything below them.
pub(super) fn erase(sql: Sql<'_>) -> DeleteStatement {
    let below = Query::select()
        .column((name("task"), Column::Id))
        .from(Alias::new(BELOW))
        .join_as(JoinType::InnerJoin, Entity, name("task"), child_of(name(BELOW)))
        .take();
    let mut all = Query::select();
    all.column(Column::Id).from(Alias::new(BELOW));
    let mut delete = Query::delete();
    delete
        .with_cte(recursive(sql.batch_rows(&ID_BATCH), below, &[Column::Id]))
        .from_table(Entity)
        .and_where(Expr::col(Column::Id).in_subquery(all));
    delete
}

fn recursive(mut first: SelectStatement, next: SelectStatement, columns: &[Column]) -> WithClause {
    first.union(UnionType::All, next);
    let mut below = CommonTableExpression::new();
    below.table_name(BELOW).columns(columns.iter().copied()).query(first);
    let mut with = WithClause::new();
    with.recursive(true).cte(below);
    with
}

fn child_of(above: DynIden) -> Expr {
    Expr::col((name("task"), Column::ParentId)).equals((above, Column::Id))
}
